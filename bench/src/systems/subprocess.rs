//! The subprocess version: two Python scripts driven by JSON lines, one message at a time.

use std::io;
use std::path::Path;
use std::process;

use serde_json::{Value, json};

use crate::job::{Account, Params, Result};
use crate::mails::{Bodies, SENDER, Seen};
use crate::python::Process;

use super::{Mailbox, Outbox, boxed};

/// A running `imap_server.py`.
pub struct Receiver(Process);

impl Receiver {
    /// Starts the process, which connects while the caller goes on.
    ///
    /// # Errors
    /// The process can't be started.
    pub fn start(account: &Account, ca_file: &Path) -> io::Result<Self> {
        Process::start("subprocess/imap_server.py", account, ca_file).map(Self)
    }

    /// Waits for the connection: the first answer. INBOX should be empty.
    fn ready(&mut self) -> Result<()> {
        Mailbox::noop(self)
    }
}

impl Mailbox for Receiver {
    fn receive(&mut self, seen: &mut Seen) -> Result<usize> {
        self.0.ask(b"")?;
        let mut count = 0;
        loop {
            match self.0.answer()? {
                "" => return Ok(count),
                line => note(serde_json::from_str(line)?, seen)?,
            }
            count += 1;
        }
    }

    fn noop(&mut self) -> Result<()> {
        self.0.ask(b"noop")?;
        let answer = self.0.answer()?;
        if answer.is_empty() { Ok(()) } else { Err(answer.into()) }
    }

    fn has_heartbeat(&self) -> bool {
        true
    }

    fn processes(&self) -> Vec<u32> {
        vec![process::id(), self.0.id()]
    }

    fn stop(self: Box<Self>) -> Result<()> {
        Ok(self.0.stop()?)
    }
}

struct Sender {
    process: Process,
    recipient: String,
}

impl Sender {
    fn start(params: &Params) -> Result<Self> {
        let process = Process::start("subprocess/smtp_server.py", &params.smtp, &params.ca_bundle)?;
        Ok(Self { process, recipient: params.recipient.clone() })
    }

    /// Waits for the connection: the script then answers a line that is no message with an error.
    fn ready(&mut self) -> Result<()> {
        self.process.ask(b"ready?")?;
        Ok(self.process.answer().map(|_| ())?)
    }
}

impl Outbox for Sender {
    fn send_all(&mut self, bodies: &Bodies) -> Result<()> {
        for (id, body) in bodies.iter() {
            let message =
                json!({"Id": id.to_string(), "SentBy": SENDER, "SentTo": self.recipient, "Body": body});
            self.process.ask(&serde_json::to_vec(&message)?)?;
            let answer = self.process.answer()?;
            if !answer.is_empty() {
                return Err(answer.into());
            }
        }
        Ok(())
    }

    fn processes(&self) -> Vec<u32> {
        vec![process::id(), self.process.id()]
    }

    fn stop(self: Box<Self>) -> Result<()> {
        Ok(self.process.stop()?)
    }
}

pub fn mailboxes(params: &Params, accounts: &[Account]) -> Result<Vec<Box<dyn Mailbox>>> {
    let started = accounts.iter().map(|account| Receiver::start(account, &params.ca_bundle));
    let mut processes = started.collect::<io::Result<Vec<_>>>()?;
    processes.iter_mut().try_for_each(Receiver::ready)?;
    Ok(processes.into_iter().map(boxed).collect())
}

pub fn outbox(params: &Params) -> Result<Box<dyn Outbox>> {
    let mut sender = Sender::start(params)?;
    sender.ready()?;
    Ok(Box::new(sender))
}

pub fn both(params: &Params) -> Result<(Box<dyn Mailbox>, Box<dyn Outbox>)> {
    let mut imap = Receiver::start(&params.imap, &params.ca_bundle)?;
    let mut smtp = Sender::start(params)?;
    imap.ready()?;
    smtp.ready()?;
    Ok((boxed(imap), Box::new(smtp)))
}

fn note(mut message: Value, seen: &mut Seen) -> Result<()> {
    match (message["Id"].take(), message["Body"].take()) {
        (Value::String(id), Value::String(body)) => seen.add(&id, body.as_bytes()),
        _ => Err(format!("received {message}").into()),
    }
}
