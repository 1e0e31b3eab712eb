//! An SMTP server on the loopback that keeps all mails, and kills its client at a planned stage.
//!
//! It refuses recipients that begin with `never`, and ones that begin with `later` the first time.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// A stage of an SMTP transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The client has connected.
    Greeting,
    /// EHLO was received, but not replied to.
    Ehlo,
    /// MAIL was received, but not replied to.
    Mail,
    /// RCPT was received, but not replied to.
    Rcpt,
    /// DATA was received, but not replied to.
    Data,
    /// The first line of the data was received.
    FirstLine,
    /// The mail was received and kept, but the final reply not sent.
    End,
    /// The final reply was sent.
    Replied,
}

impl Stage {
    pub const ALL: [Self; 8] = [
        Self::Greeting,
        Self::Ehlo,
        Self::Mail,
        Self::Rcpt,
        Self::Data,
        Self::FirstLine,
        Self::End,
        Self::Replied,
    ];
}

/// A planned kill: at a stage, when it comes for the nth time.
struct Plan {
    stage: Stage,
    nth: usize,
    client: Arc<Mutex<Child>>,
}

#[derive(Default)]
struct State {
    mails: Vec<String>,
    plan: Option<Plan>,
    is_late: bool,
}

/// The server.
pub struct Sink {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Sink {
    /// Listens until the process ends.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // A killed client's connection ends in an error.
                thread::spawn(move || drop(serve(&stream, &state)));
            }
        });
        Self { port, state }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Plans to kill the client when a stage comes for the nth time; the first two come once a connection.
    pub fn kill_at(&self, stage: Stage, nth: usize, client: &Arc<Mutex<Child>>) {
        let nth = if matches!(stage, Stage::Greeting | Stage::Ehlo) { 1 } else { nth };
        lock(&self.state).plan = Some(Plan { stage, nth, client: Arc::clone(client) });
    }

    /// Drops the plan.
    pub fn disarm(&self) {
        lock(&self.state).plan = None;
    }

    /// Returns all mails that were received whole, in order.
    pub fn mails(&self) -> Vec<String> {
        lock(&self.state).mails.clone()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no panic")
}

/// Kills the client if this is the planned stage.
fn reach(stage: Stage, state: &Mutex<State>) {
    let mut state = lock(state);
    let Some(plan) = state.plan.as_mut().filter(|plan| plan.stage == stage) else { return };
    plan.nth -= 1;
    if plan.nth == 0 {
        plan.client.lock().expect("no panic").kill().expect("a signal");
        state.plan = None;
    }
}

fn serve(mut stream: &TcpStream, state: &Mutex<State>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    reach(Stage::Greeting, state);
    stream.write_all(b"220 sink\r\n")?;
    let mut lines = BufReader::new(stream).split(b'\n');
    while let Some(line) = lines.next() {
        let line = String::from_utf8_lossy(&line?).to_ascii_uppercase();
        let (stage, reply) = match line.get(..4).unwrap_or_default() {
            "EHLO" => (Some(Stage::Ehlo), "250-sink\r\n250 PIPELINING\r\n"),
            "MAIL" => (Some(Stage::Mail), "250 ok\r\n"),
            "RCPT" => (Some(Stage::Rcpt), "250 ok\r\n"),
            "DATA" => (Some(Stage::Data), "354 go ahead\r\n"),
            "QUIT" => return stream.write_all(b"221 bye\r\n"),
            _ => (None, "250 ok\r\n"),
        };
        let reply = if stage == Some(Stage::Rcpt) { reply_to_rcpt(&line, state) } else { reply };
        stage.into_iter().for_each(|stage| reach(stage, state));
        stream.write_all(reply.as_bytes())?;
        if stage == Some(Stage::Data) {
            let mail = receive(&mut lines, state)?;
            // Empty: no recipient was accepted, so that the client sends no mail.
            lock(state).mails.extend(Some(mail).filter(|mail| !mail.is_empty()));
            reach(Stage::End, state);
            stream.write_all(b"250 kept\r\n")?;
            reach(Stage::Replied, state);
        }
    }
    Ok(())
}

fn reply_to_rcpt(line: &str, state: &Mutex<State>) -> &'static str {
    if line.contains("<NEVER") {
        return "550 5.1.1 no such user\r\n";
    }
    let is_first = line.contains("<LATER") && !std::mem::replace(&mut lock(state).is_late, true);
    if is_first { "450 4.2.1 not now\r\n" } else { "250 ok\r\n" }
}

/// Reads a mail up to its final dot.
fn receive(
    lines: &mut impl Iterator<Item = io::Result<Vec<u8>>>,
    state: &Mutex<State>,
) -> io::Result<String> {
    let mut mail = String::new();
    for line in lines {
        let line = String::from_utf8_lossy(&line?).into_owned() + "\n";
        if line == ".\r\n" {
            return Ok(mail);
        }
        if mail.is_empty() {
            reach(Stage::FirstLine, state);
        }
        mail.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}
