//! One turn of one system: a fresh user, a fresh client process, and counts afterwards.

use std::env;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pymail_test_support::script::Script;

use crate::cases::Case;
use crate::job::{Account, Outcome, Params, Result, System, Work};
use crate::mails::Bodies;
use crate::proxy;
use crate::python;
use crate::servers::Servers;
use crate::sink::Sink;

/// The variable that names a command to run each client with, such as a profiler.
const WRAP: &str = "PYMAIL_BENCH_WRAP";

/// The time in which a client archives a message and waits again.
const SETTLING: Duration = Duration::from_millis(200);

/// The response to SELECT of a mailbox without messages.
const EMPTY: &str = "* 0 EXISTS\r\n* OK [UIDVALIDITY 7] life\r\nTAG OK [READ-WRITE] done\r\n";

static USERS: AtomicUsize = AtomicUsize::new(1);

/// Runs the case's work once with one system, for `n` messages, mailboxes or calls.
///
/// # Errors
/// Any failure, a wrong count included.
pub fn take(servers: &Servers, case: &Case, system: System, n: usize, python: &str) -> Result<Outcome> {
    let user = format!("bench{}@example.test", USERS.fetch_add(1, Ordering::Relaxed));
    let turn = Turn { case, system, python };
    let params = servers.params(&user, case, n);
    match case.work {
        Work::Drain => turn.drain(servers, params),
        Work::Send => turn.send(params),
        Work::Start => turn.start(servers, params),
        Work::Noop | Work::Mailboxes | Work::Idle => turn.client(&params, || Ok(())),
        Work::IdleScripted => turn.idle_scripted(params),
        Work::Push => turn.push(servers, params),
    }
}

struct Turn<'a> {
    case: &'a Case,
    system: System,
    python: &'a str,
}

impl Turn<'_> {
    fn drain(&self, servers: &Servers, mut params: Params) -> Result<Outcome> {
        params.imap.port = self.distant(params.imap.port)?;
        let outcome = self.client(&params, || servers.deliver(&params))?;
        servers.expect_archived(&params.imap.user, params.n)?;
        servers.forget(&params.imap.user)?;
        Ok(outcome)
    }

    /// Delivers the messages one after the other, each when the one before was handled a while ago.
    fn push(&self, servers: &Servers, mut params: Params) -> Result<Outcome> {
        params.imap.port = self.distant(params.imap.port)?;
        let mut client = Client::start(self.case.work, self.system, self.python, &params)?;
        client.expect("ready")?;
        writeln!(client.stdin, "go")?;
        let mut waits = Vec::new();
        for (id, body) in Bodies::new(params.n, params.sizes).iter() {
            thread::sleep(SETTLING + self.case.rtt() * 4);
            let delivered = servers.deliver_one(&params.imap.user, id, body);
            let handled: u128 = client.line()?.parse()?;
            waits.push(Duration::from_nanos(u64::try_from(handled.saturating_sub(delivered))?));
        }
        waits.sort_unstable();
        let percentile = |percent: usize| waits.get((waits.len() * percent).div_ceil(100).saturating_sub(1));
        let ms = |percent| percentile(percent).map(|wait| wait.as_secs_f64() * 1e3);
        let outcome: Outcome = serde_json::from_str(&client.line()?)?;
        client.child.wait()?;
        Ok(Outcome { p50_ms: ms(50), p99_ms: ms(99), ..outcome })
    }

    fn idle_scripted(&self, mut params: Params) -> Result<Outcome> {
        let server = Script::imap(&["IDLE", "MOVE", "UIDPLUS", "ESEARCH", "SEARCHRES"]);
        let port = server.says("SELECT", EMPTY).start().port();
        params.imap = Account { host: "127.0.0.1".into(), port, plain: true, ..params.imap };
        self.client(&params, || Ok(()))
    }

    fn send(&self, mut params: Params) -> Result<Outcome> {
        let sink = Sink::start()?;
        let port = self.distant(sink.port())?;
        params.smtp = Account { host: "127.0.0.1".into(), port, plain: true, ..params.smtp };
        let outcome = self.client(&params, || Ok(()))?;
        sink.expect(params.n)?;
        Ok(outcome)
    }

    fn start(&self, servers: &Servers, mut params: Params) -> Result<Outcome> {
        params.smtp.port = servers.submission_port();
        let begin = Instant::now();
        let mut seconds = 0.0;
        let ready = || {
            seconds = begin.elapsed().as_secs_f64();
            Ok(())
        };
        let outcome = self.client(&params, ready)?;
        Ok(Outcome { seconds, ..outcome })
    }

    /// Returns the port to connect to: that of a delay proxy where the case asks for a distance.
    fn distant(&self, port: u16) -> Result<u16> {
        Ok(if self.case.rtt_ms == 0 { port } else { proxy::start(port, self.case.rtt())? })
    }

    /// Runs a client; `prepare` runs between its "ready" and its "go".
    fn client(&self, params: &Params, prepare: impl FnOnce() -> Result<()>) -> Result<Outcome> {
        let mut client = Client::start(self.case.work, self.system, self.python, params)?;
        client.expect("ready")?;
        prepare()?;
        writeln!(client.stdin, "go")?;
        let outcome = serde_json::from_str(&client.line()?)?;
        let status = client.child.wait()?;
        if status.success() { Ok(outcome) } else { Err(format!("the client ended with {status}").into()) }
    }
}

struct Client {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Client {
    fn start(work: Work, system: System, python: &str, params: &Params) -> Result<Self> {
        let text = |value| serde_json::from_value::<String>(value);
        let mut child = command()?
            .arg("client")
            .args([text(serde_json::to_value(work)?)?, text(serde_json::to_value(system)?)?])
            .arg(serde_json::to_string(params)?)
            .env(python::PYTHON, python)
            .env_remove("SSL_CERT_FILE") // all trust the system's certificates and the servers' own
            .env_remove("SSL_CERT_DIR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (stdin, stdout) = child.stdin.take().zip(child.stdout.take()).ok_or("a client without pipes")?;
        Ok(Self { child, stdin, stdout: BufReader::new(stdout).lines() })
    }

    fn line(&mut self) -> Result<String> {
        Ok(self.stdout.next().ok_or("the client ended early")??)
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        let line = self.line()?;
        if line == word { Ok(()) } else { Err(format!("the client said {line:?}").into()) }
    }
}

/// Returns this program's command, with the wrapper before it.
fn command() -> Result<Command> {
    let this = env::current_exe()?;
    let wrap = env::var(WRAP).unwrap_or_default();
    let mut words = wrap.split_whitespace();
    let Some(program) = words.next() else { return Ok(Command::new(this)) };
    let mut command = Command::new(program);
    command.args(words).arg(this);
    Ok(command)
}

impl Drop for Client {
    fn drop(&mut self) {
        // Both fail for a process that has ended already, which is the aim.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
