//! How sharing a mailbox fails: at the log of the claims, and when a lease is lost.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::scripted::{answered, closes, is_command, played, says, waiting};
use super::support::process::wait_until;
use super::support::script::{Script, Step};
use super::{EVENTS, Path, Shown, imap_config, imap_shows, path, shown};
use crate::{Imap, ImapConfig, Server};

const OFFERS: &[&str] = &["MOVE", "UIDPLUS"];
const APPEND: &str = r#"APPEND "__APP__-claims""#;
const CREATE: &str = r#"CREATE "__APP__-claims""#;
const SELECT: &str = r#"SELECT "__APP__-claims""#;
const INBOX: &str = r#"SELECT "INBOX""#;
const READ: &str = "UID FETCH 1:*";

/// Long enough for a busy machine, short enough to be waited for.
const LEASE: Duration = Duration::from_secs(8);

pub(super) fn paths() -> Vec<Path> {
    let mut paths = logs();
    paths.extend([
        path("no mailbox for the log", unmade),
        path("no inbox after the log", || unreturned(Step::Say)),
        path("no inbox after the log, and a goodbye", || unreturned(Step::SayAndClose)),
        path("a lease that is not renewed", unrenewed),
        path("claims that are not let go", unreleased),
        path("a lost lease", lost),
    ]);
    paths
}

fn briefly(server: Server) -> ImapConfig {
    imap_config(server).timeout(LEASE / 2).shared(LEASE)
}

/// A fetch fails, on a handle that shares its mailbox.
fn fetch(server: Server) -> Shown {
    let imap = Imap::connect(imap_config(server).shared(Duration::from_secs(300))).unwrap();
    vec![shown(imap.fetch()), imap_shows(&imap)]
}

/// The log can't be used when a line of this kind is answered so.
fn log(name: &'static str, line: &'static str, step: Step) -> Path {
    path(name, move || answered(Claims::default().script(), line, step, fetch))
}

fn logs() -> Vec<Path> {
    vec![
        log("a refused claim", APPEND, says("TAG NO SECRET\r\n")),
        log("a claim that is refused when it is there", APPEND, says("+ SECRET\r\nTAG NO SECRET\r\n")),
        log("a misunderstood claim", APPEND, says("TAG BAD SECRET\r\n")),
        log("no room for a claim", APPEND, says("TAG NO [OVERQUOTA] SECRET\r\n")),
        log("a strange answer to a claim", APPEND, closes("SECRET\r\n")),
        log("a goodbye for a claim", APPEND, closes("* BYE SECRET\r\n")),
        log("a loss at a claim", APPEND, Step::Close),
        log("a log that is not opened", SELECT, says("TAG NO SECRET\r\n")),
        log("a read-only log", SELECT, says("* OK SECRET\r\nTAG OK [READ-ONLY] SECRET\r\n")),
        log("a log that can't be read", READ, says("TAG NO SECRET\r\n")),
        log(
            "a log that is none",
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

/// The inbox is selected when the handle connects, and can't be again.
fn unreturned(ends: fn(String) -> Step) -> Shown {
    let Step::Say(no) = says("TAG NO [X-SECRET] SECRET\r\n") else { unreachable!() };
    let script = Claims::default().script();
    played(script.ahead(INBOX, move |heard| ends(no.clone()).when(heard.here > 1)), INBOX, fetch)
}

/// The heartbeat renews it, and is refused.
fn unrenewed() -> Shown {
    let script = Claims::default().script();
    let script = script.ahead(APPEND, |heard| says("TAG NO SECRET\r\n").when(heard.nth > 1));
    played(script, CREATE, |server| {
        let imap = Imap::connect(briefly(server)).unwrap();
        let batch = imap.fetch().unwrap();
        assert_eq!(batch.len(), 1);
        wait_until("a refused sign of life", || imap.status().last_error.is_some());
        vec![imap_shows(&imap), format!("{batch:?}")]
    })
}

/// The goodbye lets go of what is claimed, and is refused.
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

/// The connection is lost for longer than the lease, and meanwhile another consumer takes the message.
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

/// The log, as a server keeps it.
#[derive(Clone, Default)]
struct Claims {
    /// Each entry's words behind the first one, which looks like a tag to the script.
    entries: Arc<Mutex<Vec<String>>>,
    /// Whether another consumer has taken what is claimed first, before a second entry.
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

    /// An entry begins with who writes it and the inbox's UIDVALIDITY; its UIDs are on lines of their own.
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
