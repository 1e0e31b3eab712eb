//! The process with the handles: it reports outcomes, one line a message, and the state of the handles.

use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use pymail::{Credentials, Delivery, ErrorKind, Imap, ImapConfig, Message, Server, Smtp, SmtpConfig, State};

use crate::plan::{Account, Plan};
use crate::random;
use crate::support::books::mark;
use crate::support::dovecot::{HOST, PASSWORD};

const TAG: &str = "__SOAK__";

/// More than two timeouts: when a server comes back, a busy machine takes long to connect all handles again.
const LEASE: Duration = Duration::from_secs(150);

/// Short, so that a connection that has stalled is noticed soon, also while it idles.
const RENEWAL: Duration = Duration::from_secs(5);

/// The number of messages in transit at which a sender waits.
const MOST_UNDER_WAY: i64 = 50;

/// The state that all threads share.
#[derive(Default)]
struct Shared {
    sends: AtomicBool,
    receives: AtomicBool,
    imaps: Mutex<Vec<Imap>>,
    smtps: Mutex<Vec<Smtp>>,
}

/// Uses the handles of a plan until it is stopped.
pub fn main(plan: &str) -> ExitCode {
    let plan: Plan = match serde_json::from_str(plan) {
        Ok(plan) => plan,
        Err(error) => return crate::refused(error),
    };
    let shared = Shared { sends: true.into(), receives: true.into(), ..Shared::default() };
    let under_way: Vec<AtomicI64> = plan.accounts.iter().map(|_| AtomicI64::new(0)).collect();
    thread::scope(|threads| {
        for (number, account) in plan.accounts.iter().enumerate() {
            let (shared, plan, count) = (&shared, &plan, &under_way[number]);
            threads.spawn(move || {
                send(shared, plan, account, number, count);
                say(&format!("ended {number} 0"));
            });
            for &port in &account.imaps {
                threads.spawn(move || receive(shared, plan, account, port, number, count));
            }
        }
        threads.spawn(|| obey(&shared));
        while shared.receives.load(Ordering::SeqCst) {
            rest(1_000..1_001);
            shared.say_how_it_goes();
        }
    });
    ExitCode::SUCCESS
}

/// Reads standard input: a line stops the senders, its end stops all.
fn obey(shared: &Shared) {
    let mut line = String::new();
    let _ = std::io::stdin().lock().read_line(&mut line);
    shared.sends.store(false, Ordering::SeqCst);
    while std::io::stdin().lock().read_line(&mut line).is_ok_and(|length| length > 0) {}
    shared.receives.store(false, Ordering::SeqCst);
    for imap in locked(&shared.imaps).iter() {
        let _ = imap.drain(Duration::ZERO);
    }
}

impl Shared {
    /// Reports the number of connected handles and of replaced connections.
    fn say_how_it_goes(&self) {
        let (imaps, smtps) = (locked(&self.imaps).clone(), locked(&self.smtps).clone());
        let states = imaps.iter().map(|it| (it.status(), it.stats()));
        let all: Vec<_> = states.chain(smtps.iter().map(|it| (it.status(), it.stats()))).collect();
        let connected = all.iter().filter(|(status, _)| status.state == State::Connected).count();
        let reconnects: u64 = all.iter().map(|(_, stats)| stats.reconnects).sum();
        say(&format!("state {connected} {reconnects}"));
    }

    /// Repeats a call until a result, or a permanent failure, which is reported, or until the end.
    fn retried<T>(&self, what: &str, ask: impl Fn() -> pymail::Result<T>) -> pymail::Result<T> {
        loop {
            match ask() {
                Err(error) if is_passing(&error) && self.receives.load(Ordering::SeqCst) => rest(500..2_000),
                Err(error) => {
                    if !is_passing(&error) {
                        say(&format!("wrong {what}: {:?}: {error}", error.kind()).replace('\n', " "));
                    }
                    return Err(error);
                }
                Ok(answer) => return Ok(answer),
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prints a report; a failure means that the checker has ended.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

fn rest(milliseconds: std::ops::Range<u64>) {
    thread::park_timeout(Duration::from_millis(
        milliseconds.start + random(milliseconds.end - milliseconds.start),
    ));
}

/// Returns `true` for errors that a dying server causes at any point: they are transient.
fn is_passing(error: &pymail::Error) -> bool {
    error.is_transient() || error.kind() == ErrorKind::OutcomeUnknown
}

fn send(shared: &Shared, plan: &Plan, account: &Account, number: usize, under_way: &AtomicI64) {
    let server = Server::tls(HOST).port(account.smtp).add_root_certificate_pem(&plan.ca_pem);
    let config = SmtpConfig::new(server, Credentials::new(&account.user, PASSWORD)).tag(TAG);
    let config = config.heartbeat(Duration::from_secs(3));
    let config =
        config.backoff(Duration::from_millis(200), Duration::from_secs(2)).max_connects_per_minute(600);
    // Two copies may be with two consumers at the same time.
    let config = config.resend_unknown(account.imaps.len() == 1);
    let Ok(smtp) = shared.retried("connecting to SMTP", || Smtp::connect(config.clone())) else { return };
    locked(&shared.smtps).push(smtp.clone());
    let mut next = 0_u64;
    while shared.sends.load(Ordering::SeqCst) {
        rest(300..2_000);
        if under_way.load(Ordering::SeqCst) > MOST_UNDER_WAY {
            continue;
        }
        let messages: Vec<Message> =
            (0..=random(6)).map(|n| message(&account.user, number, next + n)).collect();
        next += messages.len() as u64;
        for (message, result) in messages.iter().zip(smtp.send_all(&messages)) {
            let word = match result {
                Ok(receipt) if receipt.all_accepted() => "sent",
                Err(error) if error.kind() == ErrorKind::OutcomeUnknown => "unknown",
                Err(error) if is_passing(&error) => "failed",
                other => {
                    say(&format!("wrong sending: {other:?}").replace('\n', " "));
                    "failed"
                }
            };
            under_way.fetch_add(i64::from(word != "failed"), Ordering::SeqCst);
            say(&format!("{word} {number} {}", mark(message.message_id().as_str())));
        }
    }
}

fn receive(shared: &Shared, plan: &Plan, account: &Account, port: u16, number: usize, under_way: &AtomicI64) {
    let server = Server::tls(HOST).port(port).add_root_certificate_pem(&plan.ca_pem);
    let config = ImapConfig::new(server, Credentials::new(&account.user, PASSWORD)).tag(TAG);
    let config = config.heartbeat(Duration::from_secs(3));
    let config =
        config.backoff(Duration::from_millis(200), Duration::from_secs(2)).max_connects_per_minute(600);
    // Short, so that it is full soon, and does not look like growth.
    let config = config.dedup_window(1_000).batch(20);
    let config = if account.imaps.len() > 1 { config.shared(LEASE) } else { config };
    let config = config.idle_renewal(RENEWAL);
    let Ok(imap) = shared.retried("connecting to IMAP", || Imap::connect(config.clone())) else { return };
    locked(&shared.imaps).push(imap.clone());
    // Half of the accounts are told of their messages, the others poll.
    if number.is_multiple_of(2) {
        return consume(shared, &imap, number, under_way);
    }
    while shared.receives.load(Ordering::SeqCst) {
        let Ok(batch) = shared.retried("fetching", || imap.fetch()) else { return };
        if batch.is_empty() {
            rest(300..900);
            continue;
        }
        take(number, &batch, under_way);
        let _ = shared.retried("acknowledging", || batch.ack()); // The error has been reported.
    }
}

/// Handles messages as they arrive, until the handle's consumers are ended.
fn consume(shared: &Shared, imap: &Imap, number: usize, under_way: &AtomicI64) {
    let messages = imap.consume();
    if !shared.receives.load(Ordering::SeqCst) {
        return; // The consumers were ended before this one.
    }
    for delivery in messages {
        match delivery {
            Ok(delivery) => {
                take(number, [&delivery], under_way);
                let _ = shared.retried("acknowledging", || imap.ack([&delivery])); // The error has been reported.
            }
            Err(error) if is_passing(&error) => {}
            Err(error) => say(&format!("wrong waiting: {:?}: {error}", error.kind()).replace('\n', " ")),
        }
    }
}

fn take<'a>(number: usize, deliveries: impl IntoIterator<Item = &'a Delivery>, under_way: &AtomicI64) {
    for delivery in deliveries {
        under_way.fetch_sub(i64::from(delivery.message().is_ok()), Ordering::SeqCst);
        match delivery.message() {
            Ok(message) if message.body == body(&message.id, message.body.len()) => {
                say(&format!("received {number} {} {}", mark(message.message_id().as_str()), delivery.uid()));
            }
            Ok(message) => say(&format!("wrong body of {}", message.id)),
            // Several lost connections at one message put an error in its place; it comes later.
            Err(error) if is_passing(&error) => {}
            Err(error) => say(&format!("wrong message: {error}")),
        }
    }
}

fn message(user: &str, number: usize, next: u64) -> Message {
    let length = if random(50) == 0 { 200_000 } else { random(3_000) };
    let id = format!("{number}-{next}");
    let body = body(&id, usize::try_from(length).unwrap_or(0));
    Message::new(id, user, user, body)
}

fn body(id: &str, length: usize) -> Vec<u8> {
    id.bytes().cycle().take(length).collect()
}
