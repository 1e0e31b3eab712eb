//! Postfix's `smtp-source`, in C: one session, its own messages of one size, nothing composed.
//!
//! It connects at its start, within the measured time: some milliseconds.

use std::process::Command;

use crate::job::{Params, Result};
use crate::mails::{Bodies, SENDER};
use crate::support::process;

use super::Outbox;

struct Sender {
    command: Command,
}

pub fn outbox(params: &Params) -> Box<dyn Outbox> {
    let size = params.sizes.typical().to_string();
    let mut command = Command::new(process::program("smtp-source", "postfix"));
    // One session for all messages.
    command.args(["-4", "-d", "-s", "1", "-m", &params.n.to_string(), "-l", &size]);
    command.args(["-f", SENDER, "-t", &params.recipient]);
    command.arg(format!("{}:{}", params.smtp.host, params.smtp.port));
    Box::new(Sender { command })
}

impl Outbox for Sender {
    fn send_all(&mut self, _: &Bodies) -> Result<()> {
        let status = self.command.status()?;
        if status.success() { Ok(()) } else { Err(format!("smtp-source: {status}").into()) }
    }

    /// No process lives before and after: the meter counts children that have ended.
    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }

    fn stop(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
