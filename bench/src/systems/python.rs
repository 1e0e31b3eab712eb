//! A script on Python's own `imaplib` or `smtplib`, with one command for all waiting mail.

use std::io;
use std::path::Path;

use crate::job::{Account, Params, Result};
use crate::mails::{Bodies, LINE, SENDER, Seen};
use crate::python::Process;

use super::{Mailbox, Outbox, boxed};

/// A running script: it reads an order a line, and answers with a number.
struct Script(Process);

pub fn mailboxes(params: &Params, accounts: &[Account]) -> Result<Vec<Box<dyn Mailbox>>> {
    let start = |account| Script::start("peers/imap_batched.py", account, &params.ca_bundle);
    let mut scripts = accounts.iter().map(start).collect::<io::Result<Vec<_>>>()?;
    scripts.iter_mut().try_for_each(|script| script.order("noop").map(|_| ()))?;
    Ok(scripts.into_iter().map(boxed).collect())
}

pub fn outbox(params: &Params) -> Result<Box<dyn Outbox>> {
    let mut script = Script::start("peers/smtp_batched.py", &params.smtp, &params.ca_bundle)?;
    script.order("noop")?;
    Ok(Box::new(Sender { script, recipient: params.recipient.clone() }))
}

impl Script {
    fn start(script: &str, account: &Account, ca_bundle: &Path) -> io::Result<Self> {
        Process::start(script, account, ca_bundle).map(Self)
    }

    fn order(&mut self, order: &str) -> Result<usize> {
        self.0.ask(order.as_bytes())?;
        Ok(self.0.answer()?.parse()?)
    }
}

impl Mailbox for Script {
    fn receive(&mut self, _: &mut Seen) -> Result<usize> {
        self.order("drain")
    }

    fn account_for(&mut self, seen: &mut Seen) -> Result<()> {
        for _ in 0..self.order("account")? {
            let line = self.0.answer()?;
            let (id, size) = line.split_once(' ').ok_or("no size")?;
            seen.add_size(id, size.parse()?)?;
        }
        Ok(())
    }

    fn noop(&mut self) -> Result<()> {
        self.order("noop").map(|_| ())
    }

    fn processes(&self) -> Vec<u32> {
        // The script does all the work; this process waits.
        vec![self.0.id()]
    }

    fn stop(self: Box<Self>) -> Result<()> {
        Ok(self.0.stop()?)
    }
}

struct Sender {
    script: Script,
    recipient: String,
}

impl Outbox for Sender {
    /// The messages are passed before the clock starts.
    fn prepare(&mut self, bodies: &Bodies) -> Result<()> {
        let sizes: Vec<_> = bodies.iter().map(|(_, body)| body.len()).collect();
        let order = serde_json::json!({"from": SENDER, "to": self.recipient, "sizes": sizes, "line": LINE});
        self.script.order(&order.to_string()).map(|_| ())
    }

    fn send_all(&mut self, bodies: &Bodies) -> Result<()> {
        let sent = self.script.order("send")?;
        if sent == bodies.count() { Ok(()) } else { Err(format!("only {sent} were sent").into()) }
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.script.0.id()]
    }

    fn stop(self: Box<Self>) -> Result<()> {
        Ok(self.script.0.stop()?)
    }
}
