//! The measured process: does the work of one case with one system and prints the outcome.
//!
//! Prints "ready" once it is connected, waits for "go" (the bench delivers mail meanwhile), works, and prints an
//! [`Outcome`] as JSON.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use crate::job::{self, Account, Outcome, Params, Result, System, Work};
use crate::mails::{Bodies, Seen};
use crate::meter::Meter;
use crate::rest;
use crate::systems::{self, Mailbox};

/// Longer than any case takes unless messages are lost.
const DEADLINE: Duration = Duration::from_mins(10);

/// Does the work and prints its outcome.
///
/// # Errors
/// Any failure, a wrong count included.
pub fn run(work: Work, system: System, params: &Params) -> Result<()> {
    let outcome = match work {
        Work::Drain => drain(system, params),
        Work::Send => send(system, params),
        Work::Start => start(system, params),
        Work::Noop => noop(system, params),
        Work::Mailboxes => mailboxes(system, params),
        Work::Push => push(system, params),
        Work::Idle | Work::IdleScripted => idle(system, params),
    }?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

fn drain(system: System, params: &Params) -> Result<Outcome> {
    let mut mailbox = systems::mailbox(system, params)?;
    let mut seen = Seen::new(params);
    wait_for_go()?;
    // The server announces new mail after a command, and searches only announced mail.
    mailbox.noop()?;
    let (meter, deadline) = (Meter::start(mailbox.processes())?, Instant::now() + DEADLINE);
    let mut count = 0;
    while count < params.n {
        if Instant::now() > deadline {
            return Err(format!("only {count} of {} messages came", params.n).into());
        }
        count += mailbox.receive(&mut seen)?;
    }
    let outcome = meter.stop()?;
    account_for(system, &mut *mailbox, count, seen)?;
    mailbox.stop()?;
    Ok(outcome)
}

/// Checks that all messages arrived, each once; for the floor, only the count.
fn account_for(system: System, mailbox: &mut dyn Mailbox, mut count: usize, mut seen: Seen) -> Result<()> {
    mailbox.account_for(&mut seen)?;
    let noted = if system == System::Floor { count } else { seen.count() };
    count += mailbox.receive(&mut seen)?;
    if count == noted { Ok(()) } else { Err(format!("{count} messages came, {noted} of them ours").into()) }
}

fn send(system: System, params: &Params) -> Result<Outcome> {
    let bodies = Bodies::new(params.n, params.sizes);
    let mut outbox = systems::outbox(system, params)?;
    outbox.prepare(&bodies)?;
    wait_for_go()?;
    let meter = Meter::start(outbox.processes())?;
    outbox.send_all(&bodies)?;
    let outcome = meter.stop()?;
    outbox.stop()?;
    Ok(outcome)
}

/// Work from the start of the process: the bench takes the wall clock, which began before this process did.
fn start(system: System, params: &Params) -> Result<Outcome> {
    let (mailbox, outbox) = systems::both(system, params)?;
    println!("ready");
    io::stdout().flush()?;
    let mut processes = [mailbox.processes(), outbox.processes()].concat();
    processes.sort_unstable();
    processes.dedup(); // this process is in both lists
    let outcome = Meter::since_birth(processes).stop()?;
    expect_go()?;
    mailbox.stop()?;
    outbox.stop()?;
    Ok(outcome)
}

fn noop(system: System, params: &Params) -> Result<Outcome> {
    let mut mailbox = systems::mailbox(system, params)?;
    mailbox.noop()?;
    wait_for_go()?;
    let meter = Meter::start(mailbox.processes())?;
    (0..params.n).try_for_each(|_| mailbox.noop())?;
    let outcome = meter.stop()?;
    mailbox.stop()?;
    Ok(outcome)
}

fn mailboxes(system: System, params: &Params) -> Result<Outcome> {
    let user = |number| format!("{number}.{}", params.imap.user);
    let account = |number| Account { user: user(number), ..params.imap.clone() };
    let accounts: Vec<_> = (0..params.n).map(account).collect();
    wait_for_go()?;
    let started = Instant::now();
    let mut mailboxes = systems::mailboxes(system, params, &accounts)?;
    let seconds = started.elapsed().as_secs_f64();
    let processes = rest::processes(&mailboxes);
    let connected = Meter::since_birth(processes.clone()).stop()?;
    let rest_cores = Some(rest::cores(&mut mailboxes, processes, params)?);
    let late_s = rest::lateness(&mailboxes, params);
    let stopping = Instant::now();
    mailboxes.into_iter().try_for_each(Mailbox::stop)?;
    let stop_s = Some(stopping.elapsed().as_secs_f64());
    Ok(Outcome { seconds, rest_cores, late_s, stop_s, ..connected })
}

/// Prints the time of each message, in nanoseconds since 1970.
fn push(system: System, params: &Params) -> Result<Outcome> {
    let mut mailbox = systems::mailbox(system, params)?;
    wait_for_go()?;
    let meter = Meter::start(mailbox.processes())?;
    let mut seen = Seen::new(params);
    mailbox.push(params.n, &mut seen, &mut || println!("{}", job::nanos()))?;
    let outcome = meter.stop()?;
    mailbox.stop()?;
    Ok(outcome)
}

fn idle(system: System, params: &Params) -> Result<Outcome> {
    let user = |number| format!("{number}.{}", params.imap.user);
    let account = |number| Account { user: user(number), ..params.imap.clone() };
    let accounts: Vec<_> = (0..params.n).map(account).collect();
    wait_for_go()?;
    let mut mailboxes = systems::mailboxes(system, params, &accounts)?;
    mailboxes.iter_mut().try_for_each(|mailbox| mailbox.listen())?;
    let processes = rest::processes(&mailboxes);
    let connected = Meter::since_birth(processes.clone()).stop()?;
    let rest_cores = Some(rest::cores(&mut mailboxes, processes, params)?);
    mailboxes.into_iter().try_for_each(Mailbox::stop)?;
    Ok(Outcome { rest_cores, ..connected })
}

fn wait_for_go() -> Result<()> {
    println!("ready");
    io::stdout().flush()?;
    expect_go()
}

fn expect_go() -> Result<()> {
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    if line.trim() == "go" { Ok(()) } else { Err("the bench went away".into()) }
}
