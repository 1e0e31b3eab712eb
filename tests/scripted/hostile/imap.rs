//! How a bad answer of an IMAP server is met: by the verb that it comes to, and in the whole life of a handle.

use std::collections::BTreeSet;

use pymail::{Batch, Imap, ImapConfig, Result, State, UidSet};

use super::judge::{Findings, brief, deadline};
use super::row::{Malice, May, Row};
use crate::scripted::imap::{holding, three};
use crate::scripted::imap_config;
use crate::site::TAG;
use crate::support::script::{Script, Scripted, Step};

/// The first look of [`Imap::fetch_uids`].
pub(super) const SIZES: &str = "UID FETCH 1:3 (UID RFC822.SIZE)";

/// What would destroy mail, or make more of it.
const CHANGING: &[&str] = &[
    "UID STORE",
    "UID EXPUNGE",
    "UID COPY",
    "UID MOVE",
    "STORE",
    "EXPUNGE",
    "COPY",
    "MOVE",
    "CLOSE",
    "DELETE",
    "RENAME",
    "APPEND",
];

/// Where an acknowledgement is answered badly.
const ACKNOWLEDGES: &[&str] = &["UID MOVE", "UID COPY", "UID STORE", "UID EXPUNGE", "UID SEARCH UID"];

/// What is asked together where the server has SEARCHRES, and all of its mail is new.
const IN_FLIGHT: &[&str] = &["UID SEARCH RETURN (SAVE", "UID SEARCH RETURN (ALL)", "UID FETCH $"];

/// The answer to a SELECT of an inbox with nothing in it yet.
const EMPTY: &str =
    "* 0 EXISTS\r\n* OK [UIDVALIDITY 7] life\r\n* OK [UIDNEXT 1] next\r\nTAG OK [READ-WRITE] done\r\n";

const NOTHING_ARCHIVED: &str = "* STATUS __TEST__ (MESSAGES 0)\r\nTAG OK done\r\n";

pub(super) fn meet(row: &Row, findings: &Findings) {
    meets_it(row, findings);
    lives_with_it(row, findings);
}

/// The server that is spoilt has three mails, and all that it takes to come to the row's place.
pub(super) fn server(row: &Row, malice: &Malice) -> Scripted {
    let capabilities: &[&str] = match row.at {
        "UID MOVE" => &["MOVE", "UIDPLUS"],
        "NAMESPACE" => &["UIDPLUS", "NAMESPACE"],
        "UID SEARCH UID" => &[],
        at if IN_FLIGHT.contains(&at) => &["UIDPLUS", "SEARCHRES"],
        _ => &["UIDPLUS"],
    };
    let sizes: String = (1..).zip(three()).map(|(uid, mail)| size(uid, mail.len())).collect();
    let sizes = format!("{sizes}TAG OK done\r\n");
    let script = holding(capabilities, &three())
        .ahead(SIZES, move |_| Step::say(&sizes))
        .says("UID COPY", "TAG OK [COPYUID 9 1:3 11:13] done\r\n")
        .says("UID MOVE", "* OK [COPYUID 9 1:3 11:13] moved\r\n* 1 EXPUNGE\r\nTAG OK done\r\n")
        .says("UID SEARCH UID 1:3", "* SEARCH 1 2 3\r\nTAG OK done\r\n")
        .says("UID SEARCH RETURN (SAVE", "* ESEARCH (TAG \"TAG\") UID ALL 1:3\r\nTAG OK done\r\n")
        .says("UID SEARCH RETURN (ALL) NOT", "* ESEARCH (TAG \"TAG\") UID\r\nTAG OK done\r\n")
        .says("UID SEARCH RETURN (ALL) UNDELETED", "* ESEARCH (TAG \"TAG\") UID ALL 1:3\r\nTAG OK done\r\n");
    // Only where the archive is empty, too, nobody looks into it first.
    let empty =
        |script: Script| script.ahead("SELECT", |_| Step::say(EMPTY)).says("STATUS", NOTHING_ARCHIVED);
    let script = if IN_FLIGHT.contains(&row.at) { empty(script) } else { script };
    malice.spoil(script, row).start()
}

fn size(uid: u32, size: usize) -> String {
    format!("* {uid} FETCH (UID {uid} RFC822.SIZE {size})\r\n")
}

/// Small, so that what is over it shows.
pub(super) fn config(server: &Scripted) -> ImapConfig {
    let small = imap_config(server).batch(8).batch_bytes(1 << 20).max_message(256 << 10);
    small.timeout(deadline()).max_connects_per_minute(1_000)
}

/// A server that goes on answering badly until the verb has ended, and is another one then.
fn meets_it(row: &Row, findings: &Findings) {
    let malice = Malice::default();
    let server = server(row, &malice);
    malice.set(usize::MAX);
    let handle = findings.timed("connecting", || Imap::connect(config(&server)));
    let outcome = handle.as_ref().map_err(Clone::clone).and_then(|imap| verb(row, imap, findings));
    malice.set(0);
    match &outcome {
        Ok(outcome) => outcome.iter().for_each(|&outcome| findings.allows("the verb", row, outcome)),
        Err(error) => findings.allowed("the verb", row, error),
    }
    // Behind an answer that can't be trusted, nothing more is done to the mail.
    // A server that does not know MOVE, which it announces, is used without it.
    let copies = row.at == "UID MOVE" && outcome.is_ok() && !server.heard("UID COPY").is_empty();
    let expunges = copies || row.at == "UID EXPUNGE" || (row.at == "UID STORE" && outcome.is_ok());
    let acks = ACKNOWLEDGES.contains(&row.at);
    let stores = copies || matches!(row.at, "UID STORE" | "UID EXPUNGE");
    changed_nothing_else((acks, stores, expunges), &server, findings);
    goes_on(row, handle.ok(), &server, findings);
}

/// The next command on a fresh connection works: the handle's own, or another's where the old one still stands.
fn goes_on(row: &Row, handle: Option<Imap>, server: &Scripted, findings: &Findings) {
    // A refused password ends a handle, and so does `close`; a server that asks to wait is left alone.
    let fresh = handle.as_ref().is_some_and(|imap| imap.status().state == State::Disconnected);
    let another = || findings.timed("connecting again", || Imap::connect(config(server)));
    let fetch = |imap: Imap| findings.timed("the next command", || imap.fetch());
    let come = |batch: &Batch| right(row, batch, findings).contains(&May::Right);
    let first = handle.filter(|imap| fresh || imap.status().state == State::Connected).map(fetch);
    if let Some(Ok(batch)) = &first
        && come(batch)
    {
        return;
    }
    let hidden = row.may.contains(&May::Hidden);
    findings.check(!fresh || hidden, || format!("the next command on a fresh connection: {first:?}"));
    match another().and_then(fetch) {
        Ok(batch) => findings.check(come(&batch), || "another handle's fetch is not right".into()),
        Err(error) => findings.add(format!("another handle's command: {}", brief(&error))),
    }
}

/// The verb that comes to the row's place, and what it makes of it.
fn verb(row: &Row, imap: &Imap, findings: &Findings) -> Result<Vec<May>> {
    let timed =
        |what: &str, verb: &dyn Fn() -> Result<()>| findings.timed(what, verb).map(|()| vec![May::Right]);
    match row.at {
        at if ACKNOWLEDGES.contains(&at) => {
            let batch = findings.timed("fetch", || imap.fetch())?;
            timed("ack", &|| batch.ack())
        }
        "NOOP" => timed("noop", &|| imap.noop()),
        "LOGOUT" => timed("close", &|| imap.close()),
        SIZES => {
            let uids = findings.timed("search", || imap.search("UNDELETED SUBJECT x"))?;
            raw(&uids, imap, findings)
        }
        _ => findings.timed("fetch", || imap.fetch()).map(|batch| right(row, &batch, findings)),
    }
}

fn raw(uids: &UidSet, imap: &Imap, findings: &Findings) -> Result<Vec<May>> {
    let mails = findings.timed("fetch_uids", || imap.fetch_uids(uids))?;
    let mails: Vec<String> = mails.into_iter().map(|mail| String::from_utf8(mail.octets).unwrap()).collect();
    Ok(vec![if mails == three() { May::Right } else { May::Fewer }])
}

/// What a batch is: the three messages, fewer of them, or with errors among them.
fn right(row: &Row, batch: &Batch, findings: &Findings) -> Vec<May> {
    let mut seen = BTreeSet::new();
    let mut spoilt = Vec::new();
    for delivery in batch {
        let uid = delivery.uid().get();
        let message = delivery.message().map(|message| (message.id.clone(), message.body.clone()));
        match &message {
            Ok(it) => {
                findings.check((1..=3).contains(&uid), || format!("UID {uid} was never asked for"));
                let odd = uid == 1 && row.may.contains(&May::Odd);
                let same = *it == (uid.to_string(), b"hello".to_vec());
                findings.check(odd || same, || format!("UID {uid} is {it:?}"));
            }
            Err(error) => {
                findings.clear("a delivery", error);
                spoilt.push(May::Spoilt(error.kind()));
            }
        }
        findings.check(seen.insert(uid), || format!("UID {uid} came twice"));
    }
    if spoilt.is_empty() { vec![if seen.len() == 3 { May::Right } else { May::Fewer }] } else { spoilt }
}

/// A server that answers badly once, somewhere in a handle's life, which comes to a good end all the same.
fn lives_with_it(row: &Row, findings: &Findings) {
    let malice = Malice::default();
    let server = server(row, &malice);
    malice.set(1);
    let life = |what: &str| findings.timed(what, || Imap::connect(config(&server)));
    let Ok(imap) = life("a life: connecting").or_else(|_| life("a life: connecting again")) else {
        return findings.add("a life: it never connects");
    };
    // It may be the one that meets the bad answer; the others are to come to a good end all the same.
    let _ = findings.timed("a life: noop", || imap.noop());
    let fetch = || findings.timed("a life: fetch", || imap.fetch()).ok();
    let whole = |batch: &Batch| batch.iter().filter(|delivery| delivery.message().is_ok()).count() == 3;
    let hidden =
        || if row.may.contains(&May::Hidden) { life("another life").ok()?.fetch().ok() } else { None };
    let Some(batch) = (0..3).filter_map(|_| fetch()).find(whole).or_else(hidden) else {
        return findings.add("a life: the messages never come");
    };
    let ack = || findings.timed("a life: ack", || batch.ack());
    findings.check(ack().or_else(|_| ack()).is_ok(), || "a life: never acknowledged".into());
    let stopped = findings.timed("a life: close", || imap.close());
    findings.check(stopped.is_ok() || row.at == "LOGOUT", || "a life: close fails".into());
    changed_nothing_else((true, true, true), &server, findings);
}

/// Only what was acknowledged is copied or moved, to the archive; only what was copied for certain is deleted.
fn changed_nothing_else(
    (copies, stores, expunges): (bool, bool, bool),
    server: &Scripted,
    findings: &Findings,
) {
    let archive = format!("\"{TAG}\"");
    for command in CHANGING.iter().flat_map(|command| server.heard(command)) {
        let words: Vec<&str> = command.split(' ').collect();
        let fine = match words[..] {
            ["UID", "COPY" | "MOVE", "1:3", to] => copies && to == archive,
            ["UID", "STORE", "1:3", "+FLAGS.SILENT", r"(\Deleted)"] => stores,
            ["UID", "EXPUNGE", "1:3"] => expunges,
            _ => false,
        };
        findings.check(fine, || format!("it said {command}"));
    }
}
