//! The process with the handles, as the checker sees it: its reports, its memory and its threads.

use std::env;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::plan::Plan;
use crate::support::books::{Books, Told};

/// The process, and its reports so far.
pub struct Watch {
    child: Child,
    lines: Receiver<String>,
    began: Instant,
    /// Every message's account.
    pub books: Books,
    /// The number of connected handles.
    pub connected: usize,
    /// The number of replaced connections.
    pub reconnects: u64,
    /// The number of accounts that still send, or lack outcomes.
    pub sending: usize,
    /// Failures that must never be.
    pub wrong: Vec<String>,
}

/// The resources of a process.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Its memory, in megabytes.
    pub rss_mb: f64,
    /// Its threads.
    pub threads: usize,
}

impl Watch {
    /// Starts it.
    pub fn start(plan: &Plan) -> io::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["worker", &serde_json::to_string(plan)?]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        Ok(Self {
            child,
            lines,
            began: Instant::now(),
            books: Books::default(),
            connected: 0,
            reconnects: 0,
            sending: plan.accounts.len(),
            wrong: Vec::new(),
        })
    }

    /// Listens until a condition holds; an error after this time.
    pub fn until(&mut self, what: &str, most: Duration, is_so: impl Fn(&Self) -> bool) -> io::Result<()> {
        let deadline = Instant::now() + most;
        while !is_so(self) {
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("gave up waiting for {what}")));
            }
            self.listen()?;
        }
        Ok(())
    }

    /// Listens for this time.
    pub fn listen_for(&mut self, long: Duration) -> io::Result<()> {
        let deadline = Instant::now() + long;
        while Instant::now() < deadline {
            self.listen()?;
        }
        Ok(())
    }

    fn listen(&mut self) -> io::Result<()> {
        match self.lines.recv_timeout(Duration::from_millis(500)) {
            Ok(line) => self.take_in(&line),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(io::Error::other("the worker is gone")),
        }
        Ok(())
    }

    fn take_in(&mut self, line: &str) {
        let at = u32::try_from(self.began.elapsed().as_secs()).unwrap_or(u32::MAX);
        let mut words = line.split(' ');
        let (word, first, second) = (words.next(), words.next(), words.next());
        let number = |word: Option<&str>| word.and_then(|word| word.parse::<u64>().ok());
        let (Some(word), Some(first), Some(second)) = (word, number(first), number(second)) else {
            eprintln!("at {at} s: {line}");
            self.wrong.push(line.to_owned());
            return;
        };
        let account = u8::try_from(first).unwrap_or(u8::MAX);
        match word {
            "sent" => self.books.told(second, account, Told::Sent, at),
            "unknown" => self.books.told(second, account, Told::Unknown, at),
            "failed" => self.books.told(second, account, Told::Failed, at),
            "received" => {
                let uid = number(words.next()).and_then(|uid| u32::try_from(uid).ok());
                self.books.received(second, account, uid.unwrap_or_default(), at);
            }
            "ended" => self.sending = self.sending.saturating_sub(1),
            _ => (self.connected, self.reconnects) = (usize::try_from(first).unwrap_or(0), second),
        }
    }

    /// Measures its resources.
    pub fn size(&self) -> io::Result<Size> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u32>().ok()
        };
        let missing = || io::Error::other("no such line in the process's status");
        let kilobytes = number("VmRSS:").ok_or_else(missing)?;
        let threads = number("Threads:").ok_or_else(missing)?;
        let rss_mb = (f64::from(kilobytes) / 102.4).round() / 10.0;
        Ok(Size { rss_mb, threads: usize::try_from(threads).unwrap_or(0) })
    }

    /// Stops its senders.
    pub fn stop_sending(&mut self) -> io::Result<()> {
        self.child.stdin.as_mut().map_or(Ok(()), |input| writeln!(input, "stop"))
    }

    /// Ends it, and waits for its end.
    pub fn end(&mut self) -> io::Result<ExitStatus> {
        drop(self.child.stdin.take());
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(120)) {
            self.take_in(&line);
        }
        self.child.wait()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
