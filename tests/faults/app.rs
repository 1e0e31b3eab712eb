//! The app: what a user of pymail would write, with a diary of what it was told.

use std::fs;
use std::time::Duration;

use pymail::{
    Credentials, Delivery, Error, ErrorKind, Imap, ImapConfig, Message, Server, Smtp, SmtpConfig, State,
};

use crate::case::Case;
use crate::scenario::{Scenario, Verb};
use crate::site::TAG;
use crate::support::dovecot::{HOST, PASSWORD};
use crate::support::process::{Stopwatch, wait_until};
use crate::world::Place;

/// How long a verb may take.
pub const DEADLINE: Duration = Duration::from_millis(1_500);

/// The same where a connection ends, which is noticed long before that: no machine is busy enough to need as long.
const LONG: Duration = Duration::from_secs(9);

/// How much CPU a call may take, which is some milliseconds mostly: less than asking again and again up to a deadline
/// takes, on a busy machine too.
const MOST_CPU: Duration = Duration::from_millis(250);

/// How often a user would try again.
const ATTEMPTS: usize = 8;

/// A heartbeat that comes soon, and one that never does.
const SOON: Duration = Duration::from_millis(200);
const NEVER: Duration = Duration::from_secs(3_600);

/// For how long a consumer has a message to itself: longer than a case takes.
const LEASE: Duration = Duration::from_secs(60);

/// The message that the app can't handle, and what it says of it.
pub const UNWANTED: &str = "two";
pub const REASON: &str = "no such account";

/// Everything that the app did and was told.
#[derive(Default)]
pub struct Diary {
    /// Calls that came back too late, or took too much CPU.
    pub late: Vec<String>,
    /// How long a call may take: up to its deadline, plus a second, unless a lost connection is what it meets.
    most: Duration,
    /// What was handed out, in order: the id, and the body or why there's none.
    pub handed: Vec<(String, Result<Vec<u8>, String>)>,
    /// How many of these were acknowledged, and whether one came that was acknowledged before.
    pub acknowledged: Vec<String>,
    pub redelivered: Vec<String>,
    /// For each message how its sending ended, and whether an earlier attempt had an unknown outcome.
    pub sent: Vec<(Message, Fate)>,
    /// Where the app gave up, which it may.
    pub notes: Vec<String>,
}

/// What the app knows of a message that it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The server took it.
    Sent,
    /// It was certainly not sent.
    Unsent,
    /// Nobody knows.
    Unknown,
}

/// Somebody with a mailbox, on the way to which things go wrong.
pub struct App<'a> {
    pub scenario: Scenario,
    /// Whether what strikes is the end of a connection.
    pub ends: bool,
    pub user: &'a str,
    pub place: &'a Place,
    pub port: u16,
    /// Waits for what the heartbeat is to meet.
    pub struck: &'a dyn Fn() -> bool,
}

impl Diary {
    /// An empty one.
    pub fn of(case: &Case) -> Self {
        // What waits for a connection that has ended does so up to the deadline.
        let most = if case.ends() { LONG / 2 } else { DEADLINE + Duration::from_secs(1) };
        Self { most, ..Self::default() }
    }

    /// Makes a call, and notes when it comes back late, or keeps a CPU busy.
    fn call<T>(&mut self, what: &str, call: impl FnOnce() -> T) -> T {
        let (watch, before) = (Stopwatch::start(), cpu());
        let answer = call();
        let (took, burnt) = (watch.elapsed(), cpu().saturating_sub(before));
        if took >= self.most {
            self.late.push(format!("{what} took {:.1} s", took.as_secs_f64()));
        }
        if burnt > MOST_CPU {
            self.late.push(format!("{what} took {:.1} s of CPU", burnt.as_secs_f64()));
        }
        answer
    }

    /// Tries again as long as that may help.
    fn retry<T>(&mut self, what: &str, mut call: impl FnMut() -> Result<T, Error>) -> Option<T> {
        for attempt in 1.. {
            match self.call(what, &mut call) {
                Ok(answer) => return Some(answer),
                Err(error) if error.is_transient() && attempt < ATTEMPTS => {}
                Err(error) => {
                    self.notes.push(format!("the app gave up, {what}: {:?}: {error}", error.kind()));
                    return None;
                }
            }
        }
        None
    }

    fn hand<'b>(&mut self, deliveries: impl IntoIterator<Item = &'b Delivery>) -> Vec<String> {
        let mut ids = Vec::new();
        for delivery in deliveries {
            let (id, body) = match delivery.message() {
                Ok(message) => (message.id.clone(), Ok(message.body.clone())),
                // It stays in the inbox, and is to come later: `check_ours` sees to that.
                Err(error) if error.is_transient() => {
                    self.notes.push(format!("UID {} did not come yet: {error}", delivery.uid()));
                    continue;
                }
                Err(error) => (format!("UID {}", delivery.uid()), Err(error.to_string())),
            };
            if self.acknowledged.contains(&id) || ids.contains(&id) {
                self.redelivered.push(id.clone());
            }
            ids.push(id.clone());
            self.handed.push((id, body));
        }
        ids
    }
}

/// The CPU time of this thread, in which a call's Python runs.
fn cpu() -> Duration {
    let told = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(told.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0))
}

impl App<'_> {
    /// Through the proxy.
    fn server(&self) -> Server {
        let server = if self.scenario.implicit_tls { Server::tls(HOST) } else { Server::starttls(HOST) };
        server.port(self.port).add_root_certificate_pem(&self.place.ca_pem)
    }

    fn deadline(&self) -> Duration {
        if self.ends { LONG } else { DEADLINE }
    }

    fn heartbeat(&self) -> Duration {
        if self.scenario.verb == Verb::Heartbeat { SOON } else { NEVER }
    }

    fn credentials(&self) -> Credentials {
        Credentials::new(self.user, PASSWORD)
    }

    /// Receives everything, and stops.
    pub fn receive(&self, diary: &mut Diary) {
        let config = ImapConfig::new(self.server(), self.credentials());
        let config = config.tag(TAG).timeout(self.deadline()).heartbeat(self.heartbeat());
        let config = config.max_connects_per_minute(6_000).backoff(SOON, SOON);
        let config = self.scenario.verb.configured(config);
        let Some(imap) = diary.retry("connect", || Imap::connect(config.clone())) else { return };
        if self.scenario.verb == Verb::Heartbeat {
            self.wait(|| imap.status().state);
        }
        match self.scenario.verb {
            Verb::Drain => drain(diary, &imap),
            Verb::Reject => fetch_and_settle(diary, &imap),
            _ => fetch_and_ack(diary, &imap),
        }
        let _ = diary.call("close", || imap.close());
        diary.call("drop", || drop(imap));
    }

    /// Sends, and stops.
    pub fn send(&self, diary: &mut Diary, messages: &[Message]) {
        let config = SmtpConfig::new(self.server(), self.credentials());
        let config = config.tag(TAG).timeout(self.deadline()).heartbeat(self.heartbeat());
        let config = config.max_connects_per_minute(6_000).backoff(SOON, SOON);
        let config = config.resend_unknown(self.scenario.verb == Verb::Resend);
        diary.sent = messages.iter().map(|message| (message.clone(), Fate::Unsent)).collect();
        let Some(smtp) = diary.retry("connect", || Smtp::connect(config.clone())) else { return };
        if self.scenario.verb == Verb::Heartbeat {
            self.wait(|| smtp.status().state);
        }
        send_all(diary, &smtp);
        let _ = diary.call("close", || smtp.close());
        diary.call("drop", || drop(smtp));
    }

    /// Until the heartbeat has met the fault and got over it.
    fn wait(&self, state: impl Fn() -> State) {
        wait_until("the fault", || (self.struck)());
        wait_until("the connection", || state() == State::Connected);
    }
}

impl Verb {
    fn configured(self, config: ImapConfig) -> ImapConfig {
        match self {
            Self::Share => config.shared(LEASE),
            Self::Reject => config.dead_letters(1),
            _ => config,
        }
    }
}

/// Receives what is left in a next life, in which nothing goes wrong.
pub fn receive_the_rest(verb: Verb, user: &str, place: &Place, diary: &mut Diary) {
    let server = Server::starttls(HOST).port(place.inbox).add_root_certificate_pem(&place.ca_pem);
    let config = ImapConfig::new(server, Credentials::new(user, PASSWORD)).tag(TAG).heartbeat(NEVER);
    // Alone: nobody has to wait for what an earlier life has claimed.
    let config = if verb == Verb::Share { config } else { verb.configured(config) };
    let imap = Imap::connect(config).expect("nothing is in the way");
    fetch_and_ack(diary, &imap);
    imap.close().expect("nothing is in the way");
}

fn fetch_and_ack(diary: &mut Diary, imap: &Imap) {
    loop {
        let Some(batch) = diary.retry("fetch", || imap.fetch()) else { return };
        if batch.is_empty() {
            return;
        }
        let ids = diary.hand(&batch);
        if diary.retry("ack", || batch.ack()).is_none() {
            return;
        }
        diary.acknowledged.extend(ids);
    }
}

/// Rejects what can't be handled, and acknowledges the others.
fn fetch_and_settle(diary: &mut Diary, imap: &Imap) {
    loop {
        let Some(batch) = diary.retry("fetch", || imap.fetch()) else { return };
        if batch.is_empty() {
            return;
        }
        let ids = diary.hand(&batch);
        let (unwanted, wanted): (Vec<&Delivery>, Vec<&Delivery>) =
            batch.iter().partition(|it| it.message().is_ok_and(|message| message.id == UNWANTED));
        let rejected = diary.retry("reject", || imap.reject(unwanted.iter().copied(), REASON));
        let acknowledged = diary.retry("ack", || imap.ack(wanted.iter().copied()));
        if rejected.and(acknowledged).is_none() {
            return;
        }
        diary.acknowledged.extend(ids);
    }
}

fn drain(diary: &mut Diary, imap: &Imap) {
    loop {
        let Some(deliveries) = diary.retry("drain", || imap.drain()) else { return };
        if deliveries.is_empty() {
            return;
        }
        let ids = diary.hand(&deliveries);
        diary.acknowledged.extend(ids);
    }
}

/// Sends what is not sent, again and again; of what has an unknown outcome it tells, and leaves it.
fn send_all(diary: &mut Diary, smtp: &Smtp) {
    for attempt in 1..=ATTEMPTS {
        let unsent: Vec<usize> =
            (0..diary.sent.len()).filter(|&at| diary.sent[at].1 == Fate::Unsent).collect();
        let messages: Vec<Message> = unsent.iter().map(|&at| diary.sent[at].0.clone()).collect();
        let results = match messages.as_slice() {
            [] => return,
            [one] => vec![diary.call("send", || smtp.send(one))],
            all => diary.call("send_all", || smtp.send_all(all)),
        };
        let mut again = false;
        for (at, result) in unsent.into_iter().zip(results) {
            let fate = match &result {
                Ok(receipt) if receipt.all_accepted() => Fate::Sent,
                Err(error) if error.kind() == ErrorKind::OutcomeUnknown => Fate::Unknown,
                _ => Fate::Unsent,
            };
            diary.sent[at].1 = fate;
            if let Err(error) = result.as_ref()
                && fate == Fate::Unsent
            {
                again |= error.is_transient();
                if !error.is_transient() || attempt == ATTEMPTS {
                    diary.notes.push(format!("the app gave up, send: {:?}: {error}", error.kind()));
                }
            }
        }
        if !again {
            return;
        }
    }
}
