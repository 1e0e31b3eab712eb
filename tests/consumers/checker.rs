//! The checker: fills a mailbox, lets processes share it, and compares their record with the server.

use std::collections::BTreeSet;
use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::consumer::Orders;
use crate::options::Options;
use crate::report::{Crashes, Report, Tally, rounded};
use crate::scenario::Scenario;
use crate::server::{Kind, Running, TAG, foreign, number, plant_foreign};
use crate::shift::Shift;
use crate::support::other_client::{OtherClient, Seen};
use crate::support::verdict::{What, check};

/// The time to handle a message when some consumers are killed: about as long as a fetch, so that many are killed
/// at work.
const WORK: Duration = Duration::from_millis(5);

/// The limit of printed violations.
const MOST_STORIES: usize = 20;

/// Prints a line for each server and each scenario, and its violations.
pub fn main(options: &Options) -> ExitCode {
    let mut code = scenarios(options);
    for &kind in &options.servers {
        let report = match report(kind, options) {
            Ok(report) => report,
            Err(error) => return crate::refused(format!("{kind}: {error}")),
        };
        println!("{}", serde_json::to_string(&report).expect("numbers and names"));
        for (shift, tally) in [
            ("without crashes", &report.tally),
            ("one by one", &report.arriving),
            ("with crashes", &report.crashes.tally),
        ] {
            for wrong in tally.wrong.iter().take(MOST_STORIES) {
                eprintln!("{kind} {shift}: {wrong}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

fn scenarios(options: &Options) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    let reports: Vec<_> = thread::scope(|threads| {
        let run = |scenario: Scenario| (scenario, threads.spawn(move || scenario.run(options)));
        let running: Vec<_> = options.scenarios.iter().copied().map(run).collect();
        running.into_iter().map(|(scenario, thread)| (scenario, thread.join().expect("no panic"))).collect()
    });
    for (scenario, report) in reports {
        let report = match report {
            Ok(report) => report,
            Err(error) => return crate::refused(format!("{scenario}: {error}")),
        };
        println!("{}", serde_json::to_string(&report).expect("numbers and names"));
        for wrong in report.tally.wrong.iter().take(MOST_STORIES) {
            eprintln!("{scenario}: {wrong}");
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn report(kind: Kind, options: &Options) -> io::Result<Report> {
    let server = Running::start(kind);
    let Options { processes, messages, kills, .. } = *options;
    let tally = waiting(&server, options, "alice@example.test", 0)?.tally;
    let arriving = arriving(&server, options, "carol@example.test", messages.div_ceil(5))?;
    let crashes = waiting(&server, options, "bob@example.test", kills)?;
    #[expect(clippy::cast_precision_loss, reason = "no mailbox here is that large")]
    let messages_per_second = rounded(tally.handled as f64 / tally.seconds.max(0.001));
    Ok(Report { server: kind, processes, messages, tally, messages_per_second, arriving, crashes })
}

/// Runs one account whose messages wait when the consumers start, and returns its outcome.
fn waiting(server: &Running, options: &Options, user: &str, kills: usize) -> io::Result<Crashes> {
    let (dir, other, messages) = (TempDir::new()?, server.other_client(user), options.messages);
    plant_foreign(&other);
    server.fill(user, 0..messages / 2);
    plant_foreign(&other);
    server.fill(user, messages / 2..messages);
    let (before, filled) = foreign(&other);
    assert_eq!(filled, messages, "the mailbox is filled");
    let work = if kills > 0 { WORK } else { Duration::ZERO };
    let mut shift = Shift::begin(orders(server, options, user, &dir, work), options.processes)?;
    shift.run(messages, kills, |_| (), || foreign(&other).1 == 0)?;
    shift.end()?;
    Ok(Crashes {
        killed: shift.killed.len(),
        tally: tally(&shift, &other, (&before, &foreign(&other).0), messages, &BTreeSet::new()),
    })
}

/// Runs one account whose messages arrive a few at a time while the consumers wait: all compete for the same ones.
fn arriving(server: &Running, options: &Options, user: &str, messages: usize) -> io::Result<Tally> {
    let (dir, other) = (TempDir::new()?, server.other_client(user));
    plant_foreign(&other);
    let before = foreign(&other).0;
    let orders = orders(server, options, user, &dir, Duration::ZERO);
    let mut shift = Shift::begin(orders, options.processes)?;
    let mut filled = 0;
    let keep_a_few_waiting = |handed: usize| {
        if filled < messages.min(handed + options.processes) {
            server.fill(user, filled..filled + 1);
            filled += 1;
        }
    };
    shift.run(messages, 0, keep_a_few_waiting, || foreign(&other).1 == 0)?;
    shift.end()?;
    Ok(tally(&shift, &other, (&before, &foreign(&other).0), messages, &BTreeSet::new()))
}

/// Returns the parameters of a consumer.
pub fn orders(server: &Running, options: &Options, user: &str, dir: &TempDir, work: Duration) -> Orders {
    Orders {
        number: 0,
        port: server.port(),
        ca_pem: server.ca_pem().to_owned(),
        user: user.to_owned(),
        record: dir.path().join("record"),
        batch: options.batch,
        deadline: options.deadline,
        lease: options.lease,
        work,
        polls: false,
        silent: None,
    }
}

/// Returns the verdict on the record and the server's mailboxes, where another client has removed some messages.
pub fn tally(
    shift: &Shift,
    other: &OtherClient,
    (before, after): (&[Seen], &[Seen]),
    messages: usize,
    removed: &BTreeSet<usize>,
) -> Tally {
    let archive = other.list(TAG).expect("listed").unwrap_or_default();
    let archived: BTreeSet<usize> = archive.iter().filter_map(number).collect();
    let left = foreign(other).1;
    let foreign_touched = before.iter().filter(|mail| !after.contains(mail)).count();
    let verdict = check(&shift.events, &shift.killed, messages, &archived, removed);
    let mut wrong = shift.faults.clone();
    wrong.extend(verdict.stories);
    wrong.extend((left > 0).then(|| format!("{left} messages are left in the inbox")));
    wrong.extend((foreign_touched > 0).then(|| format!("others' mail before: {before:?}, after: {after:?}")));
    let troubles: Vec<_> = shift.events.iter().filter(|event| event.what == What::Trouble).collect();
    for trouble in troubles.iter().take(MOST_STORIES) {
        eprintln!("note: consumer {} at {}: {}", trouble.consumer, trouble.at, trouble.text);
    }
    Tally {
        handled: verdict.handled,
        twice: verdict.twice,
        twice_unheld: verdict.twice_unheld,
        lost: verdict.lost,
        evicted: verdict.evicted,
        foreign_touched,
        troubles: troubles.len(),
        seconds: rounded(shift.seconds()),
        wrong,
    }
}
