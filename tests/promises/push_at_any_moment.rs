//! Push: no message is missed, whenever it arrives.
//!
//! Messages are delivered at random moments to consumers that enter and leave IDLE all the time: for each message, and
//! for a NOOP of another thread at random moments.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pymail::{Credentials, Imap, ImapConfig, Push, Server};
use rstest::rstest;

use crate::fixtures::dovecot;
use crate::mail_site::TAG;
use crate::support::dovecot::{Dovecot, HOST, PASSWORD};
use crate::support::process::PATIENCE;

/// The longest time until a message is found that the server has not announced.
const RECHECK: Duration = Duration::from_secs(20);

/// A delivery is an announcement within this time, else a recheck may have found it.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The longest pauses between two deliveries to a mailbox, and between two commands of another thread: as long as a
/// consumer needs from one message to the next IDLE, and a little more.
const PAUSE: Duration = Duration::from_millis(60);
const DISTURBANCE: Duration = Duration::from_millis(120);

/// Random numbers that a seed repeats (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        limit.mul_f64(f64::from(u32::try_from(mixed >> 32).unwrap_or(0)) / f64::from(u32::MAX))
    }
}

/// The moments of one mailbox, by message.
#[derive(Default)]
struct Moments {
    stored: Mutex<HashMap<usize, Instant>>,
    handed_out: Mutex<Vec<(usize, Instant)>>,
    is_over: AtomicBool,
}

impl Moments {
    /// Delivers messages one after the other; the time of each is that of the server's answer to it.
    fn deliver(&self, dovecot: &Dovecot, user: &str, count: usize, mut random: Random) {
        let mails = (0..count).map(|number| {
            if let Some(stored) = number.checked_sub(1) {
                self.stored.lock().unwrap().insert(stored, Instant::now());
            }
            // Mostly, so that a message that was missed is not found together with the next one.
            if random.below(PAUSE) > PAUSE / 3 {
                self.wait_for(number);
            }
            thread::park_timeout(random.below(PAUSE));
            mail(number)
        });
        dovecot.deliver_all(user, mails);
        self.stored.lock().unwrap().insert(count - 1, Instant::now());
    }

    /// Waits until so many messages were handed out, or none has come for too long.
    fn wait_for(&self, count: usize) {
        let until = Instant::now() + RECHECK * 2;
        while self.handed_out.lock().unwrap().len() < count && Instant::now() < until {
            thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Handles messages until all have come, or the handle is closed.
    fn consume(&self, imap: &Imap, count: usize) {
        for delivery in imap.consume() {
            let delivery = delivery.unwrap();
            let number = delivery.message().unwrap().id.parse().unwrap();
            let mut handed_out = self.handed_out.lock().unwrap();
            handed_out.push((number, Instant::now()));
            let is_last = handed_out.len() >= count;
            drop(handed_out);
            imap.ack([&delivery]).unwrap();
            if is_last {
                break;
            }
        }
        self.is_over.store(true, Ordering::SeqCst);
    }

    /// Ends IDLE at random moments.
    fn disturb(&self, imap: &Imap, mut random: Random) {
        let mut last = (0, Instant::now());
        while !self.is_over.load(Ordering::SeqCst) {
            thread::park_timeout(random.below(DISTURBANCE));
            imap.noop().unwrap();
            let so_far = self.stored.lock().unwrap().len() + self.handed_out.lock().unwrap().len();
            if so_far > last.0 {
                last = (so_far, Instant::now());
            } else if last.1.elapsed() > RECHECK + PATIENCE {
                let _ = imap.drain(Duration::ZERO); // What is missing shows in the moments.
            }
        }
    }

    /// Returns the time from storage to handing out of each message.
    fn delays(self) -> Vec<Duration> {
        let (stored, handed_out) = (self.stored.into_inner().unwrap(), self.handed_out.into_inner().unwrap());
        let found: HashSet<usize> = handed_out.iter().map(|(number, _)| *number).collect();
        let missing: Vec<&usize> = stored.keys().filter(|number| !found.contains(number)).collect();
        assert!(missing.is_empty(), "missing: {missing:?}");
        assert_eq!(handed_out.len(), stored.len(), "each once");
        handed_out.iter().map(|(number, at)| at.saturating_duration_since(stored[number])).collect()
    }
}

fn mail(number: usize) -> String {
    format!(
        "From: bob@example.test\r\nTo: alice@example.test\r\nSubject: {TAG} {number}\r\n\
         Message-ID: <{number}@bob>\r\n\r\nhello\r\n"
    )
}

/// Delivers messages to several mailboxes; returns the sorted times from storage to handing out.
fn deliver_at_random(dovecot: &Dovecot, mailboxes: usize, each: usize, seed: u64) -> Vec<Duration> {
    let config = |user: &str| {
        let server = Server::tls(HOST).port(dovecot.imaps_port()).add_root_certificate_pem(dovecot.ca_pem());
        ImapConfig::new(server, Credentials::new(user, PASSWORD)).tag(TAG).recheck(RECHECK)
    };
    let of_mailbox = |number: usize| {
        let user = format!("user{number}@example.test");
        let imap = Imap::connect(config(&user)).unwrap();
        let moments = Moments::default();
        let random = |part: usize| Random(seed.wrapping_add((2 * number + part) as u64) << 20);
        thread::scope(|threads| {
            threads.spawn(|| moments.deliver(dovecot, &user, each, random(0)));
            threads.spawn(|| moments.disturb(&imap, random(1)));
            threads.spawn(|| moments.consume(&imap, each));
        });
        println!("{user}: {:?}", imap.status().push);
        assert_ne!(imap.status().push, Some(Push::Polling), "Dovecot has IDLE");
        moments.delays()
    };
    let mut delays: Vec<Duration> = thread::scope(|threads| {
        let all: Vec<_> = (0..mailboxes).map(|number| threads.spawn(move || of_mailbox(number))).collect();
        all.into_iter().flat_map(|mailbox| mailbox.join().unwrap()).collect()
    });
    delays.sort_unstable();
    delays
}

/// Prints the times, which a busy machine makes longer.
fn report(delays: &[Duration], seed: u64) {
    let at = |percent: usize| delays[(delays.len() - 1) * percent / 100];
    let late = delays.iter().filter(|delay| **delay > AT_ONCE).count();
    println!(
        "{} messages, seed {seed}: p50 {:?}, p99 {:?}, longest {:?}, {late} later than {AT_ONCE:?}",
        delays.len(),
        at(50),
        at(99),
        at(100)
    );
}

fn seed() -> u64 {
    std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| getrandom::u64().unwrap())
}

#[rstest]
fn messages_that_arrive_around_the_begin_and_the_end_of_idle_are_handed_out_once(dovecot: Dovecot) {
    let seed = seed();
    report(&deliver_at_random(&dovecot, 4, 75, seed), seed);
}

#[rstest]
#[ignore = "takes minutes: ten thousand messages"]
fn ten_thousand_messages_that_arrive_around_the_begin_and_the_end_of_idle_are_handed_out_once(
    dovecot: Dovecot,
) {
    let seed = seed();
    report(&deliver_at_random(&dovecot, 10, 1_000, seed), seed);
}
