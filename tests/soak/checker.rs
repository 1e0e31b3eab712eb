//! The checker: starts everything, runs the storm, and balances the books.

use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::plan::{Account, Options, Plan, receivers};
use crate::storm::Storm;
use crate::support::books::mark;
use crate::support::dovecot::Dovecot;
use crate::support::postfix::{Postfix, PostfixOptions};
use crate::support::relay::Relay;
use crate::watch::Watch;

/// The longest time until all handles are connected.
const TO_CONNECT: Duration = Duration::from_secs(180);

/// The longest time for the senders' last outcomes: several timeouts.
const TO_END: Duration = Duration::from_secs(180);

/// The longest time until the last messages arrive.
const TO_ARRIVE: Duration = Duration::from_secs(180);

/// The time of load and storm before the handles' memory is first measured: until the memory of the latest messages is
/// full, and every part of the program was used. A fifth of a shorter run.
const WARM_UP: Duration = Duration::from_secs(300);

/// The interval of progress reports.
const MINUTE: Duration = Duration::from_secs(60);

/// Short, so that a server that is back is noticed soon.
const IMPATIENT: &str = "minimal_backoff_time = 1s\nmaximal_backoff_time = 2s\nqueue_run_delay = 1s\n\
                         transport_retry_time = 1s\nlmtp_connect_timeout = 5s\n\
                         default_destination_concurrency_failed_cohort_limit = 1000\n";

/// The limit of printed violations.
const MOST_STORIES: usize = 20;

/// The last line.
#[derive(Debug, Serialize)]
struct Report {
    minutes: f64,
    handles: usize,
    strikes: usize,
    sent: usize,
    unknown: usize,
    failed: usize,
    received: usize,
    lost: usize,
    duplicates: usize,
    copied: usize,
    reconnects: u64,
    rss_start_mb: f64,
    rss_end_mb: f64,
    threads_start: usize,
    threads_end: usize,
}

/// Runs the test, and prints the line.
pub fn main(options: &Options) -> ExitCode {
    match soak(options) {
        Ok((report, wrong)) => {
            wrong.iter().take(MOST_STORIES).for_each(|wrong| eprintln!("{wrong}"));
            println!("{}", serde_json::to_string(&report).expect("numbers"));
            if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => crate::refused(format!("soak: {error}")),
    }
}

fn soak(options: &Options) -> io::Result<(Report, Vec<String>)> {
    let dovecot = Dovecot::start();
    let postfix = PostfixOptions { extra: IMPATIENT.into(), ..PostfixOptions::default() };
    let postfix = Postfix::with(&dovecot, &postfix);
    let mut relays = Vec::new();
    let mut through = |port: u16| {
        relays.push(Relay::start("127.0.0.1", port));
        relays.last().map_or(0, Relay::port)
    };
    let account = |(number, receivers): (usize, usize)| Account {
        user: format!("user{number}@example.test"),
        smtp: through(postfix.smtps_port()),
        imaps: (0..receivers).map(|_| through(dovecot.imaps_port())).collect(),
    };
    let accounts: Vec<Account> = receivers(options.handles).into_iter().enumerate().map(account).collect();
    let watch = Watch::start(&Plan { accounts, ca_pem: dovecot.ca_pem().to_owned() })?;
    check(options, watch, &Storm { relays: &relays, dovecot: &dovecot, postfix: &postfix })
}

fn check(options: &Options, mut watch: Watch, storm: &Storm<'_>) -> io::Result<(Report, Vec<String>)> {
    let handles = storm.relays.len();
    let all_connected = |watch: &Watch| watch.connected == handles;
    watch.until("all handles", TO_CONNECT, all_connected)?;
    let (began, whole) = (Instant::now(), Duration::from_secs_f64(options.minutes * 60.0));
    let mut strikes = raging(&mut watch, storm, WARM_UP.min(whole / 5))?;
    watch.until("all handles", TO_CONNECT, all_connected)?;
    let start = watch.size()?;
    strikes += raging(&mut watch, storm, whole.saturating_sub(began.elapsed()))?;
    watch.until("all handles", TO_CONNECT, all_connected)?;
    let end = watch.size()?;
    watch.stop_sending()?;
    // Messages in transit to the server get their outcome later, and are received later still.
    if let Err(error) = watch.until("the senders", TO_END, |watch| watch.sending == 0) {
        watch.wrong.push(error.to_string());
    }
    // A missing message shows in the books.
    let _ = watch.until("the last messages", TO_ARRIVE, |watch| watch.books.missing() == 0);
    // A duplicate may still be in transit.
    watch.listen_for(Duration::from_secs(5).min(whole / 5))?;
    let reconnects = watch.reconnects;
    let status = watch.end()?;
    let shared = receivers(options.handles).into_iter().filter(|consumers| *consumers > 1).count();
    let balance = watch.books.balance(shared, &submitted(&storm.postfix.log()));
    let mut wrong = std::mem::take(&mut watch.wrong);
    wrong.extend(balance.stories);
    wrong.extend((!status.success()).then(|| format!("the worker ended with {status}")));
    let report = Report {
        minutes: options.minutes,
        handles,
        strikes,
        sent: balance.sent,
        unknown: balance.unknown,
        failed: balance.failed,
        received: balance.received,
        lost: balance.lost,
        duplicates: balance.duplicates,
        copied: balance.copied,
        reconnects,
        rss_start_mb: start.rss_mb,
        rss_end_mb: end.rss_mb,
        threads_start: start.threads,
        threads_end: end.threads,
    };
    Ok((report, wrong))
}

/// Returns the mark of each message that Postfix has taken, once for each time.
fn submitted(log: &str) -> Vec<u64> {
    let ids = log.lines().filter_map(|line| line.split_once("message-id=<")?.1.split_once('>'));
    ids.map(|(id, _)| mark(id)).collect()
}

/// Listens for this time while the storm runs, and prints progress each minute; returns the number of strikes.
fn raging(watch: &mut Watch, storm: &Storm<'_>, long: Duration) -> io::Result<usize> {
    let is_over = AtomicBool::new(false);
    let end = Instant::now() + long;
    thread::scope(|threads| {
        let strikes = threads.spawn(|| storm.rage(|| is_over.load(Ordering::SeqCst)));
        let mut listened = Ok(());
        while listened.is_ok() && Instant::now() < end {
            listened = watch.listen_for(MINUTE.min(end.saturating_duration_since(Instant::now())));
            if let Ok(size) = watch.size() {
                let (on_the_way, wires) = (watch.books.missing(), watch.connected);
                eprintln!(
                    "{size:?}, {wires} connected, {on_the_way} on the way, {} reconnects",
                    watch.reconnects
                );
            }
        }
        is_over.store(true, Ordering::SeqCst);
        let strikes = strikes.join().map_err(|_| io::Error::other("the storm broke down"))?;
        listened.map(|()| strikes)
    })
}
