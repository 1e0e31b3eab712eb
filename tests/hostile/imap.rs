//! Bad responses of an IMAP server to one verb, and within the whole life of a handle.

use std::collections::BTreeSet;

use pymail::{Batch, Imap, ImapConfig, Result, State, UidSet};

use super::checker::{Findings, brief, deadline};
use super::row::{Malice, May, Row};
use crate::mail_site::TAG;
use crate::scripted::imap::{holding, three};
use crate::scripted::imap_config;
use crate::support::script::{Script, Scripted, Step};

/// The first FETCH of [`Imap::fetch_uids`].
pub(super) const SIZES: &str = "UID FETCH 1:3 (UID RFC822.SIZE)";

/// Commands that would destroy or duplicate mail.
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

/// The commands of an acknowledgement that get bad responses.
const ACKNOWLEDGES: &[&str] = &["UID MOVE", "UID COPY", "UID STORE", "UID EXPUNGE", "UID SEARCH UID"];

/// The commands of one round trip where the server has SEARCHRES, and all of its mail is new.
const IN_FLIGHT: &[&str] = &["UID SEARCH RETURN (SAVE", "UID SEARCH RETURN (ALL)", "UID FETCH $"];

/// The response to a SELECT of an inbox with nothing in it yet.
const EMPTY: &str =
    "* 0 EXISTS\r\n* OK [UIDVALIDITY 7] life\r\n* OK [UIDNEXT 1] next\r\nTAG OK [READ-WRITE] done\r\n";

const NOTHING_ARCHIVED: &str = "* STATUS __TEST__ (MESSAGES 0)\r\nTAG OK done\r\n";

pub(super) fn meet(row: &Row, findings: &Findings) {
    meets_it(row, findings);
    lives_with_it(row, findings);
}

/// Makes a server with three mails and all capabilities that lead to the row's command.
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
    // The archive is read first unless it is empty.
    let empty =
        |script: Script| script.ahead("SELECT", |_| Step::say(EMPTY)).says("STATUS", NOTHING_ARCHIVED);
    let script = if IN_FLIGHT.contains(&row.at) { empty(script) } else { script };
    malice.spoil(script, row).start()
}

fn size(uid: u32, size: usize) -> String {
    format!("* {uid} FETCH (UID {uid} RFC822.SIZE {size})\r\n")
}

/// Small, so that a larger use shows.
pub(super) fn config(server: &Scripted) -> ImapConfig {
    let small = imap_config(server).batch(8).batch_bytes(1 << 20).max_message(256 << 10);
    small.timeout(deadline()).max_connects_per_minute(1_000)
}

/// Makes a server that responds badly until the verb has ended, and well after that.
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
    // After a response that can't be trusted, no further command changes mail.
    // A server that announces MOVE and does not know it is used without MOVE.
    let copies = row.at == "UID MOVE" && outcome.is_ok() && !server.heard("UID COPY").is_empty();
    let expunges = copies || row.at == "UID EXPUNGE" || (row.at == "UID STORE" && outcome.is_ok());
    let acks = ACKNOWLEDGES.contains(&row.at);
    let stores = copies || matches!(row.at, "UID STORE" | "UID EXPUNGE");
    changed_nothing_else((acks, stores, expunges), &server, findings);
    goes_on(row, handle.ok(), &server, findings);
}

/// Checks that the next command on a fresh connection works: of the same handle, or of another one if it has ended.
fn goes_on(row: &Row, handle: Option<Imap>, server: &Scripted, findings: &Findings) {
    // A refused password ends a handle, and so does `close`; a server that asks for a pause gets it.
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

/// Calls the verb that sends the row's command, and compares its result.
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

/// Classifies a batch: the three messages, fewer of them, or with errors among them.
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

/// Makes a server that responds badly once, somewhere in a handle's life, which must end well all the same.
fn lives_with_it(row: &Row, findings: &Findings) {
    let malice = Malice::default();
    let server = server(row, &malice);
    malice.set(1);
    let life = |what: &str| findings.timed(what, || Imap::connect(config(&server)));
    let Ok(imap) = life("a life: connecting").or_else(|_| life("a life: connecting again")) else {
        return findings.add("a life: it never connects");
    };
    // It may be the verb that gets the bad response; the others must end well all the same.
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

/// Checks that only acknowledged mail is copied or moved, to the archive, and only mail with a certain copy deleted.
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
