//! Events of real mailboxes for several consumers, each on a Dovecot of its own: idle hours, a new UIDVALIDITY,
//! another client's deletions, a full mailbox, another server that is silent.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Serialize;
use tempfile::TempDir;

use crate::checker::{orders, tally};
use crate::consumer::Orders;
use crate::options::Options;
use crate::report::Tally;
use crate::server::{Running, TAG, foreign, number, plant_foreign};
use crate::shift::Shift;
use crate::support::dovecot::{Dovecot, DovecotOptions};
use crate::support::other_client::{OtherClient, Seen};
use crate::support::script::{Script, Step};

const USER: &str = "alice@example.test";

/// The limit of mails in the scenario's account.
const QUOTA: usize = 200;

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Messages are held for many leases, and the log stays short.
    Idle,
    /// UIDVALIDITY changes while messages are held.
    MadeAnew,
    /// Another client deletes waiting and held mail, while the consumers poll.
    Removed,
    /// The mailbox is full for a while.
    Full,
    /// Each consumer has handles on another server, too, which is silent.
    Silent,
}

/// The outcome of the messages, and the sizes of the log.
#[derive(Debug, Serialize)]
pub struct Report {
    pub scenario: Scenario,
    pub processes: usize,
    pub messages: usize,
    #[serde(flatten)]
    pub tally: Tally,
    /// The most entries of the log, and those at the end.
    pub log: usize,
    pub log_at_the_end: usize,
}

/// The state of a scenario while the consumers work.
struct Course {
    scenario: Scenario,
    server: Running,
    other: OtherClient,
    began: Instant,
    log: usize,
    has_struck: bool,
    /// The time until which the mailbox is full.
    full: Option<Instant>,
    removed: BTreeSet<usize>,
}

impl Scenario {
    /// All scenarios.
    pub const ALL: [Self; 5] = [Self::Idle, Self::MadeAnew, Self::Removed, Self::Full, Self::Silent];

    /// Returns the scenario of this name.
    pub fn named(name: &str) -> Result<Self, String> {
        let names = Self::ALL.map(|scenario| scenario.to_string());
        let known = names.iter().position(|known| known == name).map(|at| Self::ALL[at]);
        known.ok_or_else(|| format!("no scenario {name}: there are {}", names.join(", ")))
    }

    /// Runs the scenario, and returns its violations.
    pub fn run(self, options: &Options) -> io::Result<Report> {
        let server = Running::Dovecot(Dovecot::with(&self.dovecot()));
        let dir = TempDir::new()?;
        let mut orders =
            Orders { lease: options.short_lease, ..orders(&server, options, USER, &dir, self.work(options)) };
        (orders.batch, orders.deadline) = (2, orders.lease / 2);
        orders.polls = self == Self::Removed;
        let processes = options.processes.min(self.most_processes());
        let messages = self.messages(processes);
        if self == Self::Silent {
            orders.silent = Some(silent().start().port());
        }
        let lease = orders.lease;
        let other = server.other_client(USER);
        plant_foreign(&other);
        server.fill(USER, 0..messages);
        let before = self.foreign(&other);
        let mut shift = Shift::begin(orders, processes)?;
        let mut course = Course {
            scenario: self,
            other,
            server,
            began: Instant::now(),
            log: 0,
            has_struck: false,
            full: None,
            removed: BTreeSet::new(),
        };
        shift.work_through(|handed| course.go_on(handed, messages, lease))?;
        shift.end()?;
        let other = course.server.other_client(USER);
        let after = self.foreign(&other);
        let tally = tally(&shift, &other, (&before, &after), messages, &course.removed);
        let log_at_the_end = other.list(&log()).expect("listed").map_or(0, |log| log.len());
        let mut report =
            Report { scenario: self, processes, messages, tally, log: course.log, log_at_the_end };
        report.check(&course);
        Ok(report)
    }

    /// Returns the foreign mail; without UIDs where these change.
    fn foreign(self, other: &OtherClient) -> Vec<Seen> {
        let mut foreign = foreign(other).0;
        if self == Self::MadeAnew {
            for seen in &mut foreign {
                seen.uid = 0;
            }
        }
        foreign
    }

    fn dovecot(self) -> DovecotOptions {
        let extra = if self == Self::Full {
            format!(
                "mail_plugins = quota\nprotocol imap {{\n mail_plugins = quota imap_quota\n}}\n\
                 plugin {{\n quota = maildir:User\n quota_rule = *:messages={QUOTA}\n quota_grace = 0\n}}\n"
            )
        } else {
            String::new()
        };
        DovecotOptions { extra, ..DovecotOptions::default() }
    }

    /// Returns the time to handle a message.
    fn work(self, options: &Options) -> Duration {
        match self {
            Self::Idle => options.idle,
            // After 11 s, a heartbeat and a NOOP's limit, all handles on the other server are connecting again.
            Self::Silent => options.short_lease * 5,
            Self::MadeAnew | Self::Removed | Self::Full => Duration::from_millis(100),
        }
    }

    /// Holds as many messages as all consumers but one fetch: that one gets none.
    fn messages(self, processes: usize) -> usize {
        match self {
            Self::Idle => 2 * (processes - 1),
            Self::Silent => processes - 1,
            Self::MadeAnew | Self::Removed | Self::Full => 20 * processes,
        }
    }

    fn most_processes(self) -> usize {
        if self == Self::Silent { 2 } else { usize::MAX }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl Report {
    fn check(&mut self, course: &Course) {
        let struck = course.has_struck || matches!(self.scenario, Scenario::Idle | Scenario::Silent);
        let (log, messages) = (self.log, self.messages);
        let most = 4 * self.processes + messages;
        self.tally.wrong.extend((!struck).then(|| "nothing happened to the mailbox".to_owned()));
        self.tally
            .wrong
            .extend((log > most).then(|| format!("the log had {log} entries: {most} are enough")));
    }
}

impl Course {
    /// Does the next step; returns `true` when all is done.
    fn go_on(&mut self, handed: usize, messages: usize, lease: Duration) -> bool {
        self.log = self.log.max(self.other.list(&log()).ok().flatten().map_or(0, |log| log.len()));
        let is_due = !self.has_struck && handed >= messages / 3;
        match self.scenario {
            Scenario::MadeAnew if is_due => self.make_anew(),
            Scenario::Removed if is_due => self.remove(messages),
            Scenario::Full if is_due => {
                self.other.create_mailbox("Junk").expect("created");
                while self.other.append("Junk", &[], b"Subject: junk\r\n\r\n").is_ok() {}
                (self.full, self.has_struck) = (Some(Instant::now() + lease / 2), true);
            }
            Scenario::Full if self.full.is_some_and(|until| Instant::now() > until) => {
                self.other.remove_mailbox("Junk").expect("removed");
                self.full = None;
            }
            _ => {}
        }
        self.full.is_none()
            && self.began.elapsed() > Duration::from_millis(100)
            && foreign(&self.other).1 == 0
    }

    /// Stops the server, gives the inbox another UIDVALIDITY, and starts it again.
    fn make_anew(&mut self) {
        let Running::Dovecot(dovecot) = &self.server else { return };
        dovecot.stop();
        let maildir = dovecot.dir().join("mail").join(USER).join("mail");
        anew(&maildir).expect("another UIDVALIDITY");
        dovecot.restart();
        self.other = self.server.other_client(USER);
        self.has_struck = true;
    }

    /// Deletes every third message, whether it waits or is held.
    fn remove(&mut self, messages: usize) {
        let inbox = self.other.list("INBOX").expect("listed").unwrap_or_default();
        let third = |seen: &&_| number(seen).is_some_and(|number| number % 3 == 0 && number < messages);
        let gone: Vec<_> = inbox.iter().filter(third).collect();
        let uids: Vec<u32> = gone.iter().map(|seen| seen.uid).collect();
        for uid in &uids {
            self.other.flag("INBOX", *uid, &["\\Deleted"]).expect("flagged");
        }
        self.other.expunge("INBOX", &uids).expect("expunged");
        self.removed.extend(gone.into_iter().filter_map(number));
        self.has_struck = !uids.is_empty();
    }
}

/// Returns the log's mailbox.
fn log() -> String {
    format!("{TAG}.claims")
}

/// Gives a maildir another UIDVALIDITY, and its mails other UIDs.
fn anew(maildir: &Path) -> io::Result<()> {
    let list = maildir.join("dovecot-uidlist");
    let text = fs::read_to_string(&list)?;
    let validity = text.split_once(" V").and_then(|(_, rest)| rest.split(' ').next()?.parse::<u32>().ok());
    let validity = validity.ok_or_else(|| io::Error::other(format!("a uidlist: {text:?}")))?;
    let head = text.lines().next().unwrap_or_default();
    let head = head.replace(&format!(" V{validity}"), &format!(" V{}", validity + 1));
    // The last mails get the first UIDs, so that no mail keeps its UID.
    let names: Vec<&str> = text.lines().skip(1).filter_map(|line| Some(line.split_once(' ')?.1)).collect();
    let lines: Vec<String> =
        (1..).zip(names.iter().rev()).map(|(uid, rest): (u32, _)| format!("{uid} {rest}\n")).collect();
    fs::write(&list, format!("{head}\n{}", lines.concat()))?;
    for file in fs::read_dir(maildir)?.flatten() {
        if file.file_name().to_string_lossy().starts_with("dovecot.index") {
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// Starts a server that answers each account until it is logged in, and then never again.
fn silent() -> Script {
    let users = Mutex::new(BTreeSet::new());
    let is_back = move |login: &str| !users.lock().is_ok_and(|mut users| users.insert(login.to_owned()));
    Script::imap(&["MOVE", "UIDPLUS"])
        .on("NOOP", |_| Step::Nothing)
        .on("LOGIN", move |heard| Step::Nothing.when(is_back(&heard.text)))
}
