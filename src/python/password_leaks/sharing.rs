//! Errors of shared mailboxes: of the log of claims, and of lost leases.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::scripted::{answered, closes, is_command, played, says, waiting};
use super::support::process::wait_until;
use super::support::script::{Script, Step};
use super::{EVENTS, ErrorPath, Shown, error_path, imap_config, imap_shows, shown};
use crate::{Imap, ImapConfig, Server};

const OFFERS: &[&str] = &["MOVE", "UIDPLUS"];
const APPEND: &str = r#"APPEND "__APP__-claims""#;
const CREATE: &str = r#"CREATE "__APP__-claims""#;
const SELECT: &str = r#"SELECT "__APP__-claims""#;
const INBOX: &str = r#"SELECT "INBOX""#;
const READ: &str = "UID FETCH 1:*";

/// A lease long enough for a busy machine, and short enough to wait for.
const LEASE: Duration = Duration::from_secs(8);

pub(super) fn error_paths() -> Vec<ErrorPath> {
    let mut paths = logs();
    paths.extend([
        error_path("no mailbox for the log", unmade),
        error_path("no inbox after the log", || unreturned(Step::Say)),
        error_path("no inbox after the log, and a BYE", || unreturned(Step::SayAndClose)),
        error_path("a lease that is not renewed", unrenewed),
        error_path("claims that are not released", unreleased),
        error_path("a lost lease", lost),
    ]);
    paths
}

fn briefly(server: Server) -> ImapConfig {
    imap_config(server).timeout(LEASE / 2).shared(LEASE)
}

/// Fetches on a handle that shares its mailbox; the fetch fails.
fn fetch(server: Server) -> Shown {
    let imap = Imap::connect(imap_config(server).shared(Duration::from_secs(300))).unwrap();
    vec![shown(imap.fetch()), imap_shows(&imap)]
}

/// Uses the log, which fails when a line that begins with `line` gets this answer.
fn log(name: &'static str, line: &'static str, step: Step) -> ErrorPath {
    error_path(name, move || answered(Claims::default().script(), line, step, fetch))
}

fn logs() -> Vec<ErrorPath> {
    vec![
        log("a refused claim", APPEND, says("TAG NO SECRET\r\n")),
        log("a claim that is refused when it is there", APPEND, says("+ SECRET\r\nTAG NO SECRET\r\n")),
        log("a misunderstood claim", APPEND, says("TAG BAD SECRET\r\n")),
        log("no room for a claim", APPEND, says("TAG NO [OVERQUOTA] SECRET\r\n")),
        log("a strange answer to a claim", APPEND, closes("SECRET\r\n")),
        log("a BYE for a claim", APPEND, closes("* BYE SECRET\r\n")),
        log("a loss at a claim", APPEND, Step::Close),
        log("a log that is not opened", SELECT, says("TAG NO SECRET\r\n")),
        log("a read-only log", SELECT, says("* OK SECRET\r\nTAG OK [READ-ONLY] SECRET\r\n")),
        log("a log that can't be read", READ, says("TAG NO SECRET\r\n")),
        log(
            "an invalid log",
            READ,
            says("* 1 FETCH (BODY[TEXT] SECRET)\r\n* 1 FETCH (UID SECRET {1}\r\nx)\r\nTAG OK x\r\n"),
        ),
        log(
            "headers that can't be read now",
            "UID FETCH 1 (UID BODY.PEEK[HEADER",
            says("TAG NO [INUSE] SECRET\r\n"),
        ),
    ]
}

fn unmade() -> Shown {
    let script = Claims::default().script().ahead(APPEND, |_| says("TAG NO [TRYCREATE] SECRET\r\n"));
    let script = script.ahead(r#"STATUS "__APP__-claims""#, |_| says("TAG NO SECRET\r\n"));
    answered(script, CREATE, says("TAG NO SECRET\r\n"), fetch)
}

/// Refuses the second SELECT of the inbox, after a visit to the log.
fn unreturned(ends: fn(String) -> Step) -> Shown {
    let Step::Say(no) = says("TAG NO [X-SECRET] SECRET\r\n") else { unreachable!() };
    let script = Claims::default().script();
    played(script.ahead(INBOX, move |heard| ends(no.clone()).when(heard.here > 1)), INBOX, fetch)
}

/// Refuses the renewal of the lease by the heartbeat.
fn unrenewed() -> Shown {
    let script = Claims::default().script();
    let script = script.ahead(APPEND, |heard| says("TAG NO SECRET\r\n").when(heard.nth > 1));
    played(script, CREATE, |server| {
        let imap = Imap::connect(briefly(server)).unwrap();
        let batch = imap.fetch().unwrap();
        assert_eq!(batch.len(), 1);
        wait_until("a refused sign of life", || imap.status().last_error.is_some());
        vec![imap_shows(&imap), format!("{:?}", batch.into_deliveries())]
    })
}

/// Refuses the release of the claims when the handle is closed.
fn unreleased() -> Shown {
    let script = Claims::default().script();
    let script = script.ahead(APPEND, |heard| says("TAG NO SECRET\r\n").when(heard.nth > 1));
    played(script, CREATE, |server| {
        let imap = Imap::connect(imap_config(server).shared(Duration::from_secs(300))).unwrap();
        assert_eq!(imap.fetch().unwrap().len(), 1);
        let before = EVENTS.text().len();
        imap.close().unwrap();
        assert!(EVENTS.text()[before..].contains("are held until the lease is over"));
        vec![imap_shows(&imap), shown(imap.noop())]
    })
}

/// Loses the connection for longer than the lease, while another consumer takes the message.
fn lost() -> Shown {
    let script = Claims { is_taken: true, ..Claims::default() }.script();
    let script = script.ahead(APPEND, |heard| closes("* BYE SECRET\r\n").when(heard.nth == 2));
    played(script, APPEND, |server| {
        let late = Duration::from_secs(600);
        let imap = Imap::connect(briefly(server).backoff(late, late)).unwrap();
        let batch = imap.fetch().unwrap();
        assert_eq!(batch.len(), 1);
        let over = Instant::now() + LEASE;
        wait_until("the lease's end", || Instant::now() > over);
        let error = batch.ack().unwrap_err();
        assert_eq!(error.code(), Some("LEASE"));
        vec![shown::<()>(Err(error)), imap_shows(&imap)]
    })
}

/// The log of claims on the scripted server.
#[derive(Clone, Default)]
struct Claims {
    /// The words of each entry without the first, which the script takes for a tag.
    entries: Arc<Mutex<Vec<String>>>,
    /// `true` if another consumer takes the first claim before the second entry.
    is_taken: bool,
}

impl Claims {
    fn script(self) -> Script {
        let all = self.clone();
        let keeps = waiting(OFFERS).ahead("", move |heard| {
            if !is_command(&heard.text) {
                self.hear(&heard.text);
            }
            Step::Usual
        });
        keeps.ahead(READ, move |_| Step::say(all.told()))
    }

    /// Records an entry: a line with the writer and the inbox's UIDVALIDITY, then lines of UIDs.
    fn hear(&self, line: &str) {
        let mut entries = self.entries.lock().unwrap();
        if line.contains(" 7 ") {
            entries.push(line.to_owned());
        } else if let Some(last) =
            entries.last_mut().filter(|_| line.starts_with(|c: char| c.is_ascii_digit()))
        {
            last.extend([" ", line]);
        }
    }

    fn told(&self) -> String {
        let mut entries = self.entries.lock().unwrap().clone();
        let first = entries.first().filter(|_| self.is_taken && entries.len() > 1);
        if let Some(taken) = first.map(|first| format!("f 7 take {} 1 1", &first[..32])) {
            entries.insert(1, taken);
        }
        let told = entries.iter().enumerate().map(|(at, entry)| {
            let text = format!("pymail-claims-1 {entry}");
            format!("* {0} FETCH (UID {0} BODY[TEXT]<0> {{{1}}}\r\n{text})\r\n", at + 1, text.len())
        });
        told.chain(["TAG OK done\r\n".to_owned()]).collect()
    }
}
