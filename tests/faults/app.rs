//! The app: a user's code, with a log of the results that it got.

use std::time::Duration;

use pymail::{
    Credentials, DeadLetter, Delivery, Error, ErrorKind, Imap, ImapConfig, Message, Server, Smtp, SmtpConfig,
    State,
};

use crate::case::Case;
use crate::idle;
use crate::scenario::{Scenario, Verb};
use crate::support::TAG;
use crate::support::dovecot::{HOST, PASSWORD};
use crate::support::process::{Stopwatch, wait_until};
use crate::support::usage::thread_cpu_time;
use crate::world::Place;

/// The timeout of a call.
pub const DEADLINE: Duration = Duration::from_millis(1_500);

/// The timeout where a connection ends, which is noticed long before: no machine is busy enough to need as long.
const LONG: Duration = Duration::from_secs(9);

/// The limit of CPU for a call, whose Python runs on its thread. It mostly takes some milliseconds: this is less than
/// repeated reads up to a timeout take, on a busy machine too.
const MOST_CPU: Duration = Duration::from_millis(250);

/// The number of attempts of a user.
const ATTEMPTS: usize = 8;

/// The beginning of a note that the app has given up.
pub const GAVE_UP: &str = "the app gave up";

/// Intervals of a heartbeat: one that beats soon, and one that never does.
const SOON: Duration = Duration::from_millis(200);
const NEVER: Duration = Duration::from_secs(3_600);

/// The lease of a consumer: longer than a case takes.
const LEASE: Duration = Duration::from_secs(60);

/// The deliveries after which a message is a dead letter, where it is moved back.
const DELIVERIES: u32 = 5;

/// The message that the app can't handle, and its reason.
pub const UNWANTED: &str = "two";
pub const REASON: &str = "no such account";

/// The log of the app's calls and their results.
#[derive(Default)]
pub struct Diary {
    /// Calls that returned too late, or took too much CPU.
    pub late: Vec<String>,
    /// The limit of a call's time: its timeout and a second more, or less where it meets a lost connection.
    most: Duration,
    /// The messages handed out, in order: the id, and the body or the reason why there is none.
    pub handed: Vec<(String, Result<Vec<u8>, String>)>,
    /// The number of acknowledged ones among these, and `true` if one of them had been acknowledged before.
    pub acknowledged: Vec<String>,
    pub redelivered: Vec<String>,
    /// For each message the outcome of its sending, and `true` if an earlier attempt's delivery was unknown.
    pub sent: Vec<(Message, Fate)>,
    /// The errors at which the app gave up, which is allowed.
    pub notes: Vec<String>,
}

/// The app's knowledge of a message that it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The server accepted it.
    Sent,
    /// It was certainly not sent.
    Unsent,
    /// Its delivery is unknown.
    Unknown,
}

/// A user with a mailbox behind a faulty connection.
pub struct App<'a> {
    pub scenario: Scenario,
    /// `true` if the fault is the end of a connection.
    pub ends: bool,
    pub user: &'a str,
    pub place: &'a Place,
    pub port: u16,
    /// Waits for the heartbeat to meet the fault.
    pub struck: &'a (dyn Fn() -> bool + Sync),
    /// Returns `true` once the server has begun IDLE, or the fault has struck before.
    pub idles: &'a (dyn Fn() -> bool + Sync),
}

impl Diary {
    /// Makes an empty log.
    pub fn of(case: &Case) -> Self {
        // A wait on a connection that has ended lasts up to the timeout.
        let most = if case.ends() { LONG / 2 } else { DEADLINE + Duration::from_secs(1) };
        Self { most, ..Self::default() }
    }

    /// Makes a call, and notes if it returns late, or keeps a CPU busy.
    fn call<T>(&mut self, what: &str, call: impl FnOnce() -> T) -> T {
        self.call_within(self.most, what, call)
    }

    /// Makes a call that may take this long.
    pub fn call_within<T>(&mut self, most: Duration, what: &str, call: impl FnOnce() -> T) -> T {
        let (watch, before) = (Stopwatch::start(), thread_cpu_time());
        let answer = call();
        let (took, burnt) = (watch.elapsed(), thread_cpu_time().saturating_sub(before));
        if took >= most {
            self.late.push(format!("{what} took {:.1} s", took.as_secs_f64()));
        }
        if burnt > MOST_CPU {
            self.late.push(format!("{what} took {:.1} s of CPU", burnt.as_secs_f64()));
        }
        answer
    }

    /// Repeats a call as long as that may help.
    pub fn retry<T>(&mut self, what: &str, mut call: impl FnMut() -> Result<T, Error>) -> Option<T> {
        for attempt in 1.. {
            match self.call(what, &mut call) {
                Ok(answer) => return Some(answer),
                Err(error) if error.is_transient() && attempt < ATTEMPTS => {}
                Err(error) => {
                    self.notes.push(format!("{GAVE_UP}, {what}: {:?}: {error}", error.kind()));
                    return None;
                }
            }
        }
        None
    }

    pub fn hand<'b>(&mut self, deliveries: impl IntoIterator<Item = &'b Delivery>) -> Vec<String> {
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

impl App<'_> {
    /// Returns the settings for a connection through the proxy.
    fn server(&self) -> Server {
        let server = if self.scenario.implicit_tls { Server::tls(HOST) } else { Server::starttls(HOST) };
        server.port(self.port).add_root_certificate_pem(&self.place.ca_pem)
    }

    fn deadline(&self) -> Duration {
        if self.ends { LONG } else { DEADLINE }
    }

    fn heartbeat(&self) -> Duration {
        if matches!(self.scenario.verb, Verb::Heartbeat | Verb::Idle) { SOON } else { NEVER }
    }

    fn credentials(&self) -> Credentials {
        Credentials::new(self.user, PASSWORD)
    }

    /// Receives everything, and closes.
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
            Verb::FetchAndAck => fetch_and_ack(diary, &imap),
            Verb::Reject => fetch_and_settle(diary, &imap),
            Verb::Idle => idle::consume(self, diary, &imap),
            Verb::Redrive => {
                redrive(diary, &imap);
                fetch_then_ack(diary, &imap);
            }
            _ => fetch_then_ack(diary, &imap),
        }
        let _ = diary.call("close", || imap.close());
        diary.call("drop", || drop(imap));
    }

    /// Sends, and closes.
    pub fn send(&self, diary: &mut Diary, messages: &[Message]) {
        let config = SmtpConfig::new(self.server(), self.credentials());
        let config = config.tag(TAG).timeout(self.deadline()).reply_timeout(self.deadline() / 2);
        let config = config.heartbeat(self.heartbeat());
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

    /// Waits until the heartbeat has met the fault and recovered.
    fn wait(&self, state: impl Fn() -> State) {
        wait_until("the fault", || (self.struck)());
        wait_until("the connection", || state() == State::Connected);
    }
}

impl Verb {
    fn configured(self, config: ImapConfig) -> ImapConfig {
        match self {
            Self::Share => config.shared(LEASE),
            Self::Loop => config.batch(1),
            Self::Reject => config.dead_letters(1),
            Self::Idle => config.idle_renewal(idle::RENEWAL).recheck(NEVER),
            // Each handle of a case counts a delivery of the other messages.
            Self::Redrive => config.dead_letters(DELIVERIES),
            _ => config,
        }
    }
}

/// Connects without faults.
fn connect(verb: Verb, user: &str, place: &Place) -> Imap {
    let server = Server::starttls(HOST).port(place.inbox).add_root_certificate_pem(&place.ca_pem);
    let config = ImapConfig::new(server, Credentials::new(user, PASSWORD)).tag(TAG).heartbeat(NEVER);
    // Not shared: it need not wait for the claims of the first run.
    let config = if verb == Verb::Share { config } else { verb.configured(config) };
    Imap::connect(config).expect("nothing is in the way")
}

/// Makes a dead letter of the message that can't be handled, without faults.
pub fn make_dead_letter(user: &str, place: &Place) {
    let imap = connect(Verb::Redrive, user, place);
    for _ in 0..DELIVERIES {
        let batch = imap.fetch().expect("nothing is in the way");
        let unwanted = batch.iter().filter(|it| it.message().is_ok_and(|message| message.id == UNWANTED));
        imap.reject(unwanted, REASON).expect("nothing is in the way");
    }
    imap.close().expect("nothing is in the way");
}

/// Receives the remaining messages in a second run, without faults.
pub fn receive_the_rest(verb: Verb, user: &str, place: &Place, diary: &mut Diary) {
    let imap = connect(verb, user, place);
    if verb == Verb::Redrive {
        redrive(diary, &imap);
    }
    fetch_then_ack(diary, &imap);
    imap.close().expect("nothing is in the way");
}

/// Lists the dead letters; `None` after an error.
fn list(diary: &mut Diary, imap: &Imap) -> Option<Vec<DeadLetter>> {
    let (mut letters, mut all) = (imap.dead_letters(), Vec::new());
    while let Some(letter) = diary.call("dead_letters", || letters.next()) {
        match letter {
            Ok(letter) => all.push(letter),
            Err(error) if error.is_transient() => return None,
            Err(error) => {
                diary.notes.push(format!("{GAVE_UP}, dead_letters: {:?}: {error}", error.kind()));
                return None;
            }
        }
    }
    Some(all)
}

/// Moves all dead letters back.
fn redrive(diary: &mut Diary, imap: &Imap) {
    let Some(letters) = (0..ATTEMPTS).find_map(|_| list(diary, imap)) else { return };
    let reason_is_right = |it: &DeadLetter| it.reason().is_some_and(|reason| reason.contains(REASON));
    if !letters.iter().all(reason_is_right) {
        diary.notes.push("a dead letter came without its reason".into());
    }
    diary.retry("redrive", || imap.redrive(&letters));
}

fn fetch_then_ack(diary: &mut Diary, imap: &Imap) {
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

/// Rejects the message that can't be handled, and acknowledges the others.
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

fn fetch_and_ack(diary: &mut Diary, imap: &Imap) {
    loop {
        let Some(deliveries) = diary.retry("fetch_and_ack", || imap.fetch_and_ack()) else { return };
        if deliveries.is_empty() {
            return;
        }
        let ids = diary.hand(&deliveries);
        diary.acknowledged.extend(ids);
    }
}

/// Sends unsent messages again and again; notes unknown deliveries, and does not repeat them.
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
                    diary.notes.push(format!("{GAVE_UP}, send: {:?}: {error}", error.kind()));
                }
            }
        }
        if !again {
            return;
        }
    }
}
