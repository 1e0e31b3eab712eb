//! `smtp-sink`, Postfix's server that discards mail: the fastest receiver for a sender.

use std::fs;
use std::io::{self, Read as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::job::Result;
use crate::support::process::program;

const DEADLINE: Duration = Duration::from_mins(1);
const GLANCE: Duration = Duration::from_millis(5);

/// A running `smtp-sink`. Dropping it kills it.
pub struct Sink {
    child: Child,
    port: u16,
    counts: Receiver<usize>,
}

impl Sink {
    /// Starts it; it is ready when this returns.
    ///
    /// # Errors
    /// `smtp-sink` does not start.
    pub fn start() -> Result<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut child = command(port).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or("smtp-sink without stdout")?;
        let (sender, counts) = mpsc::channel();
        thread::Builder::new().name("sink".into()).spawn(move || count(stdout, &sender))?;
        let sink = Self { child, port, counts };
        sink.wait_until_it_listens()?;
        Ok(sink)
    }

    /// Returns its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits until exactly `n` messages have arrived since the start.
    ///
    /// # Errors
    /// More messages arrived, or fewer in ten seconds.
    pub fn expect(&self, n: usize) -> Result<()> {
        let mut seen = 0;
        while seen < n {
            seen = self.counts.recv_timeout(DEADLINE).map_err(|_| format!("smtp-sink got {seen} of {n}"))?;
        }
        let more = self.counts.try_iter().last().unwrap_or(seen);
        if more == n { Ok(()) } else { Err(format!("smtp-sink got {more} instead of {n}").into()) }
    }

    fn wait_until_it_listens(&self) -> io::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while let Err(error) = TcpStream::connect(("127.0.0.1", self.port)) {
            if Instant::now() > deadline {
                return Err(error);
            }
            thread::park_timeout(GLANCE);
        }
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // Both fail for a process that has ended already, which is the aim.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(port: u16) -> Command {
    let mut command = Command::new(program("smtp-sink", "postfix"));
    // As root it needs the option to drop its rights, and as another user it refuses the option.
    if is_root() {
        command.args(["-u", "nobody"]);
    }
    command.args(["-c", &format!("127.0.0.1:{port}"), "100"]);
    command
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Reads the running counters, `sess=1 quit=0 mesg=42` and a carriage return each time.
fn count(mut stdout: ChildStdout, counts: &Sender<usize>) {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while let Ok(length @ 1..) = stdout.read(&mut buffer) {
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        while let Some((line, rest)) = text.split_once(['\r', '\n']) {
            let messages = line.split_once("mesg=").and_then(|(_, number)| number.trim().parse().ok());
            if messages.is_some_and(|messages| counts.send(messages).is_err()) {
                return;
            }
            text = rest.to_owned();
        }
    }
}
