//! One turn of one contestant: fresh user, fresh client process, everything counted afterwards.

use std::env;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cases::Case;
use crate::job::{Account, Outcome, Params, Result, System, Work};
use crate::proxy;
use crate::servers::Servers;
use crate::sink::Sink;
use crate::subprocess;

static USERS: AtomicUsize = AtomicUsize::new(1);

/// Let a contestant do the case's work once.
///
/// # Errors
/// When anything at all goes wrong, a wrong count included.
pub fn take(servers: &Servers, case: &Case, system: System, python: &str) -> Result<Outcome> {
    let user = format!("bench{}@example.test", USERS.fetch_add(1, Ordering::Relaxed));
    let mut params = servers.params(&user, case.n, case.size);
    if case.rtt_ms > 0 {
        params.imap.port = proxy::start(params.imap.port, case.rtt())?;
        params.smtp.port = proxy::start(params.smtp.port, case.rtt())?;
    }
    match case.work {
        Work::Send | Work::SendAll if !case.tls => to_sink(case, system, python, params),
        Work::Send | Work::SendAll => {
            let outcome = client(case, system, python, &params, || Ok(()))?;
            servers.expect(&user, case.n, case.size)?;
            Ok(outcome)
        }
        Work::Receive => {
            let deliver = || servers.deliver(&user, case.n, case.size);
            let outcome = client(case, system, python, &params, deliver)?;
            servers.expect_archived(&user, case.n)?;
            Ok(outcome)
        }
        Work::Start | Work::Memory => client(case, system, python, &params, || Ok(())),
    }
}

fn to_sink(case: &Case, system: System, python: &str, mut params: Params) -> Result<Outcome> {
    let sink = Sink::start()?;
    params.smtp = Account { host: "127.0.0.1".into(), port: sink.port(), plain: true, ..params.smtp };
    let outcome = client(case, system, python, &params, || Ok(()))?;
    sink.expect(case.n)?;
    Ok(outcome)
}

/// Run a client; `prepare` comes between its "ready" and its "go".
fn client(
    case: &Case,
    system: System,
    python: &str,
    params: &Params,
    prepare: impl FnOnce() -> Result<()>,
) -> Result<Outcome> {
    let mut client = Client::start(case.work, system, python, params)?;
    client.expect("ready")?;
    prepare()?;
    writeln!(client.stdin, "go")?;
    let outcome = serde_json::from_str(&client.line()?)?;
    let status = client.child.wait()?;
    if status.success() { Ok(outcome) } else { Err(format!("the client ended with {status}").into()) }
}

struct Client {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Client {
    fn start(work: Work, system: System, python: &str, params: &Params) -> Result<Self> {
        let text = |value| serde_json::from_value::<String>(value);
        let mut child = Command::new(env::current_exe()?)
            .arg("client")
            .args([text(serde_json::to_value(work)?)?, text(serde_json::to_value(system)?)?])
            .arg(serde_json::to_string(params)?)
            .env(subprocess::PYTHON, python)
            .env_remove("SSL_CERT_FILE") // both trust the system's certificates and the servers' own
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

impl Drop for Client {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
