//! Servers that take only short lines, or commands about few messages: commands are sent in smaller portions.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use pymail::{Imap, Uid};
use rstest::rstest;

use super::imap_config;
use crate::mail_site::TAG;
use crate::support::script::{Heard, Script, Scripted, Step};

const MESSAGES: u32 = 400;

/// UIDs without ranges, whose sets are long.
fn uids() -> BTreeSet<u32> {
    (1..=MESSAGES).map(|n| 1_000_000 + 2 * n).collect()
}

/// The state of the server.
#[derive(Default)]
struct Mailboxes {
    inbox: BTreeSet<u32>,
    archive: Vec<u32>,
    deleted: BTreeSet<u32>,
}

/// A server's limit, and its response to larger commands.
#[derive(Clone, Copy)]
enum Limit {
    /// A line with more octets gets this response.
    Line(usize, &'static str),
    /// The connection ends at a line with more octets.
    LineOrLeave(usize),
    /// Carries out the command for the newest ones only, and says so (RFC 9738); COPY does nothing.
    Messages(usize),
    /// The same, announced as a capability.
    Announced(usize),
    /// The same with COPY as well.
    MessagesOfCopyToo(usize),
    /// Refuses commands about more messages with this response.
    Refuses(usize, &'static str),
}

struct Server {
    scripted: Scripted,
    mailboxes: Arc<Mutex<Mailboxes>>,
}

fn serve(limit: Limit, offers: &[&str]) -> Server {
    let mailboxes = Arc::new(Mutex::new(Mailboxes { inbox: uids(), ..Mailboxes::default() }));
    let shared = Arc::clone(&mailboxes);
    let script = Script::imap(offers).on("SELECT", |_| {
        Step::Say(format!("* {MESSAGES} EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK [READ-WRITE] x\r\n"))
    });
    let script = script.on("STATUS", |_| Step::say("* STATUS x (MESSAGES 0)\r\nTAG OK done\r\n"));
    let script = script.on("UID ", move |heard| {
        answer(&mut shared.lock().unwrap_or_else(PoisonError::into_inner), limit, heard)
    });
    Server { scripted: script.start(), mailboxes }
}

fn answer(mailboxes: &mut Mailboxes, limit: Limit, heard: &Heard) -> Step {
    let words: Vec<&str> = heard.text.split(' ').collect();
    let named = heard.text.split(' ').find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let mut chosen: Vec<u32> = match named.filter(|set| set.contains(|c: char| c.is_ascii_digit())) {
        Some(set) => mailboxes.inbox.iter().copied().filter(|uid| has(set, *uid)).collect(),
        None => mailboxes.inbox.iter().copied().collect(),
    };
    let is_copy = words[1] == "COPY";
    let mut end = "TAG OK done\r\n".to_owned();
    match limit {
        Limit::Line(most, no) if heard.text.len() > most => return Step::say(no),
        Limit::LineOrLeave(most) if heard.text.len() > most => return Step::Close,
        Limit::Refuses(most, no) if chosen.len() > most && words[1] != "SEARCH" => return Step::say(no),
        Limit::Messages(most) | Limit::Announced(most) if chosen.len() > most && is_copy => {
            return Step::Say(format!("TAG NO [MESSAGELIMIT {most}] too many\r\n"));
        }
        Limit::Messages(most) | Limit::Announced(most) | Limit::MessagesOfCopyToo(most)
            if chosen.len() > most =>
        {
            chosen.drain(..chosen.len() - most);
            end = format!("TAG OK [MESSAGELIMIT {most} {}] not all\r\n", chosen[0]);
        }
        _ => {}
    }
    Step::Say(done(mailboxes, words[1], &heard.text, &chosen) + &end)
}

fn has(set: &str, uid: u32) -> bool {
    set.split(',').any(|range| {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        let (first, last) = (first.parse().unwrap_or(0), last.parse().unwrap_or(u32::MAX));
        (first..=last).contains(&uid)
    })
}

/// Carries out a command about these messages, and returns its untagged responses.
fn done(mailboxes: &mut Mailboxes, command: &str, line: &str, chosen: &[u32]) -> String {
    let listed = |uids: &[u32], between| uids.iter().map(u32::to_string).collect::<Vec<_>>().join(between);
    match command {
        "SEARCH" => format!("* SEARCH {}\r\n", listed(chosen, " ")),
        "FETCH" if line.contains("BODY") => chosen.iter().map(|uid| fetched(*uid, line)).collect(),
        "FETCH" => {
            let told =
                |uid: &u32| format!("* 1 FETCH (UID {uid} FLAGS () RFC822.SIZE {})\r\n", mail(*uid).len());
            chosen.iter().map(told).collect()
        }
        "MOVE" | "COPY" if !chosen.is_empty() => {
            let first = mailboxes.archive.len() + 1;
            mailboxes.archive.extend(chosen);
            if command == "MOVE" {
                mailboxes.inbox.retain(|uid| !chosen.contains(uid));
            }
            let last = mailboxes.archive.len();
            format!("* OK [COPYUID 9 {} {first}:{last}] done\r\n", listed(chosen, ","))
        }
        "STORE" => {
            mailboxes.deleted.extend(chosen);
            String::new()
        }
        "EXPUNGE" => {
            mailboxes.inbox.retain(|uid| !chosen.contains(uid));
            String::new()
        }
        _ => String::new(),
    }
}

fn mail(uid: u32) -> String {
    format!("Subject: {TAG} {uid}\r\nMessage-ID: <{uid}@example.test>\r\n\r\nhello\r\n")
}

fn fetched(uid: u32, line: &str) -> String {
    let (section, mail) = if line.contains("HEADER.FIELDS") {
        ("HEADER.FIELDS (MESSAGE-ID SUBJECT FROM)", mail(uid))
    } else {
        ("", mail(uid))
    };
    let size = mail.len();
    format!("* 1 FETCH (UID {uid} FLAGS () RFC822.SIZE {size} BODY[{section}]<0> {{{size}}}\r\n{mail})\r\n")
}

impl Server {
    fn connect(&self) -> Imap {
        Imap::connect(imap_config(&self.scripted).batch(MESSAGES as usize * 2).dedup_window(0)).unwrap()
    }

    fn archived(&self) -> Vec<u32> {
        let mut archive = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner).archive.clone();
        archive.sort_unstable();
        archive
    }

    fn waiting(&self) -> usize {
        self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner).inbox.len()
    }
}

const TOO_LONG: &str = "TAG BAD Error in IMAP command: Too long argument\r\n";
const MOVES: &[&str] = &["MOVE", "UIDPLUS"];
const COPIES: &[&str] = &["UIDPLUS"];

/// Exchange responds with `Command Error. 10`; RFC 7162 tells servers to take 8,192 octets, RFC 2683 clients to send 1,000.
#[rstest]
#[case::dovecot(Limit::Line(4_000, TOO_LONG))]
#[case::exchange(Limit::Line(1_000, "TAG BAD Command Error. 10\r\n"))]
#[case::too_big(Limit::Line(1_000, "TAG NO [TOOBIG] no\r\n"))]
#[case::limit(Limit::Line(1_000, "TAG NO [LIMIT] line too long\r\n"))]
#[case::tiny(Limit::Line(200, "TAG BAD line too long\r\n"))]
#[case::hangs_up(Limit::LineOrLeave(1_000))]
#[case::few(Limit::Refuses(100, "TAG NO [LIMIT] too many messages in one command\r\n"))]
#[case::messagelimit(Limit::Messages(100))]
#[case::messagelimit_of_copy_too(Limit::MessagesOfCopyToo(100))]
#[case::messagelimit_announced(Limit::Announced(100))]
#[case::messagelimit_refuses(Limit::Refuses(100, "TAG NO [MESSAGELIMIT 100] too many\r\n"))]
fn everything_is_delivered_and_archived_once_in_portions(
    #[case] limit: Limit,
    #[values(MOVES, COPIES)] offers: &[&str],
) {
    let announces: &[&str] = if matches!(limit, Limit::Announced(_)) { &["MESSAGELIMIT=100"] } else { &[] };
    let server = serve(limit, &[offers, announces].concat());
    let imap = server.connect();
    let batch = imap.fetch().unwrap();
    assert!(batch.iter().all(|delivery| delivery.message().is_ok()));
    let delivered: BTreeSet<u32> = batch.iter().map(|delivery| delivery.uid().get()).collect();
    assert_eq!((batch.len(), delivered), (MESSAGES as usize, uids()));
    batch.ack().unwrap();
    assert_eq!((server.archived(), server.waiting()), (Vec::from_iter(uids()), 0));
}

#[rstest]
#[case::line(Limit::Line(1_000, "TAG BAD Command Error. 10\r\n"))]
#[case::messages(Limit::Refuses(100, "TAG NO [LIMIT] too many messages in one command\r\n"))]
fn a_servers_limit_is_exceeded_once_for_each_handle(#[case] limit: Limit) {
    let server = serve(limit, MOVES);
    let imap = server.connect();
    let all = imap.search("ALL").unwrap();
    imap.copy(&all, "elsewhere").unwrap();
    let is_refused = |line: &&String| match limit {
        Limit::Line(most, _) => line.len() > most,
        _ => line.matches(',').count() + 1 > 100,
    };
    let refused = || server.scripted.heard("UID COPY").iter().filter(is_refused).count();
    let before = refused();
    assert!((1..=4).contains(&before), "{before}");
    imap.copy(&all, "elsewhere").unwrap();
    assert_eq!(refused(), before);
    assert_eq!(server.archived().len(), 2 * MESSAGES as usize);
}

#[rstest]
fn plain_verbs_know_limits_too() {
    let server = serve(Limit::Messages(100), MOVES);
    let imap = server.connect();
    let all = imap.search("ALL").unwrap();
    assert_eq!(all.len(), MESSAGES as usize);
    assert_eq!(imap.fetch_uids(&all).unwrap().len(), MESSAGES as usize);
    let mut half = all.clone();
    half.retain(|uid: Uid| uid.get().is_multiple_of(4));
    imap.move_to(&half, "elsewhere").unwrap();
    assert_eq!((server.archived().len(), server.waiting()), (MESSAGES as usize / 2, MESSAGES as usize / 2));
    let mut other = all;
    other.retain(|uid| !half.contains(uid));
    imap.delete(&other).unwrap();
    assert_eq!(server.waiting(), 0);
}

#[rstest]
#[case::short_and_bad("TAG BAD what?\r\n")]
#[case::no("TAG NO not these\r\n")]
#[case::rate("TAG NO [LIMIT] UID COPY Rate limit hit.\r\n")]
fn a_command_refused_for_another_reason_than_its_length_is_not_repeated(#[case] no: &str) {
    let server = Script::imap(&["MOVE"])
        .says("UID SEARCH", "* SEARCH 1 2 3 4 5 6 7 8 9\r\nTAG OK done\r\n")
        .says("UID COPY", no)
        .start();
    let imap = Imap::connect(imap_config(&server)).unwrap();
    imap.copy(&imap.search("ALL").unwrap(), "elsewhere").unwrap_err();
    assert_eq!(server.heard("UID COPY").len(), 1);
}
