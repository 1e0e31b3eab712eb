//! The measured process: does one piece of work with one contestant and prints the outcome.
//!
//! It says "ready" once its connections are there, waits for "go" (the bench delivers mail meanwhile), works, and
//! prints an [`Outcome`] as JSON.

use std::collections::HashSet;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use pymail::Message;

use crate::job::{Outcome, Params, Result, System, Work};
use crate::meter::Meter;
use crate::systems::{self, Received};

/// No case takes longer than this, unless messages are lost.
const DEADLINE: Duration = Duration::from_secs(200);

/// Do the work and print its outcome.
///
/// # Errors
/// When anything at all went wrong, a wrong count included.
pub fn run(work: Work, system: System, params: &Params) -> Result<()> {
    let outcome = match work {
        Work::Receive => receive(system, params),
        Work::Send | Work::SendAll => send(work, system, params),
        Work::Start => start(system, params),
        Work::Memory => memory(system, params),
    }?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

fn receive(system: System, params: &Params) -> Result<Outcome> {
    let users = [params.imap.user.clone()];
    let mut mailbox = systems::mailboxes(system, params, &users)?.remove(0);
    let children = Vec::from_iter(mailbox.child());
    wait_for_go()?;
    let (meter, deadline) = (Meter::start(&children)?, Instant::now() + DEADLINE);
    let mut seen = Seen::default();
    while seen.count() < params.n {
        if Instant::now() > deadline {
            return Err(format!("only {} of {} messages came", seen.count(), params.n).into());
        }
        seen.add(mailbox.receive()?, params)?;
    }
    let outcome = meter.stop(&[])?;
    seen.add(mailbox.receive()?, params)?;
    mailbox.stop()?;
    Ok(outcome)
}

fn send(work: Work, system: System, params: &Params) -> Result<Outcome> {
    let mut outbox = systems::outbox(system, params)?;
    let body = body(params.size);
    let (from, to) = ("bench@example.test", params.recipient.as_str());
    let messages: Vec<_> =
        (0..params.n).map(|id| Message::new(id.to_string(), from, to, body.as_str())).collect();
    let children = Vec::from_iter(outbox.child());
    wait_for_go()?;
    let meter = Meter::start(&children)?;
    match work {
        Work::SendAll => outbox.send_all(&messages)?,
        _ => messages.iter().try_for_each(|message| outbox.send(message))?,
    }
    let outcome = meter.stop(&[])?;
    outbox.stop()?;
    Ok(outcome)
}

fn start(system: System, params: &Params) -> Result<Outcome> {
    wait_for_go()?;
    let meter = Meter::start(&[])?;
    let (mailbox, outbox) = systems::both(system, params)?;
    let children: Vec<_> = mailbox.child().into_iter().chain(outbox.child()).collect();
    let outcome = meter.stop(&children)?;
    mailbox.stop()?;
    outbox.stop()?;
    Ok(outcome)
}

fn memory(system: System, params: &Params) -> Result<Outcome> {
    wait_for_go()?;
    let meter = Meter::start(&[])?;
    let users: Vec<_> = (0..params.n).map(|number| format!("{number}.{}", params.imap.user)).collect();
    let mailboxes = systems::mailboxes(system, params, &users)?;
    let children: Vec<_> = mailboxes.iter().filter_map(|mailbox| mailbox.child()).collect();
    let outcome = meter.stop(&children)?;
    mailboxes.into_iter().try_for_each(systems::Mailbox::stop)?;
    Ok(outcome)
}

fn wait_for_go() -> Result<()> {
    println!("ready");
    io::stdout().flush()?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    if line.trim() == "go" { Ok(()) } else { Err("the bench went away".into()) }
}

/// The body that every message of a run carries: ASCII lines.
pub fn body(size: usize) -> String {
    let line = "The quick brown fox jumps over the lazy dog; 0123456789, and so on.\n";
    line.chars().cycle().take(size).collect()
}

/// Which messages have come, each once and whole.
#[derive(Default)]
pub struct Seen {
    ids: HashSet<String>,
}

impl Seen {
    /// How many have come.
    pub fn count(&self) -> usize {
        self.ids.len()
    }

    /// Note messages.
    ///
    /// # Errors
    /// When one is cut, came before, or was never sent.
    pub fn add(&mut self, messages: Vec<Received>, params: &Params) -> Result<()> {
        for (id, body) in messages {
            let (known, size) = (id.parse::<usize>().is_ok_and(|id| id < params.n), body.len());
            if !known || size != params.size || self.ids.contains(&id) {
                return Err(format!("message {id:?} of {size} bytes is unknown, cut or a second copy").into());
            }
            self.ids.insert(id);
        }
        Ok(())
    }
}
