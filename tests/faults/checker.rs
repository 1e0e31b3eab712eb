//! The checker: the server's mailboxes at the end, against the app's log.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pymail::Message;
use serde::{Deserialize, Serialize};

use crate::app::{Diary, Fate, GAVE_UP};
use crate::support::other_client::Seen;
use crate::support::process::wait_until;
use crate::support::{TAG, contains};
use crate::witness::Witness;

/// The numbers of a case's outcome.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Count {
    pub cases: usize,
    pub lost: usize,
    pub altered: usize,
    pub foreign_touched: usize,
    pub wrongly_duplicated: usize,
    pub late: usize,
    pub leaked: usize,
}

/// The outcome of a case.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Verdict {
    pub count: Count,
    /// Each violation, in words.
    pub violations: Vec<String>,
    /// Observations that are no violation.
    pub notes: Vec<String>,
}

impl Verdict {
    /// Returns `true` if a busy machine may be the reason: calls were late, and nothing else is wrong, or the app gave up
    /// before it had settled every message.
    pub fn may_be_of_a_busy_machine(&self) -> bool {
        let is_late_only = self.count.late == self.violations.len();
        let has_given_up = self.notes.iter().any(|note| note.starts_with(GAVE_UP));
        !self.violations.is_empty() && (is_late_only || has_given_up)
    }

    /// Prints the violations and notes of a run that is repeated, so that a rare defect is not silent.
    pub fn print_doubts(&self, name: &str) {
        self.violations
            .iter()
            .chain(&self.notes)
            .for_each(|doubt| eprintln!("{name}, to be repeated: {doubt}"));
    }

    fn add(&mut self, which: impl Fn(&mut Count) -> &mut usize, what: String) {
        *which(&mut self.count) += 1;
        self.violations.push(what);
    }

    /// Adds late calls, and the errors at which the app gave up.
    pub fn take_over(&mut self, diary: &mut Diary) {
        for late in diary.late.drain(..) {
            self.add(|count| &mut count.late, format!("late: {late}"));
        }
        self.notes.append(&mut diary.notes);
    }

    pub fn lost(&mut self, what: String) {
        self.add(|count| &mut count.lost, what);
    }

    pub fn altered(&mut self, what: String) {
        self.add(|count| &mut count.altered, what);
    }

    pub fn duplicated(&mut self, what: String) {
        self.add(|count| &mut count.wrongly_duplicated, what);
    }

    /// Adds a leak of the case: a thread, a socket.
    pub fn leaked(&mut self, what: &str) {
        self.add(|count| &mut count.leaked, format!("leaked: {what}"));
    }
}

/// A user's mail before the case: ours and foreign.
pub struct Planted {
    ours: BTreeMap<String, Vec<u8>>,
    raw: BTreeMap<String, Vec<u8>>,
    foreign: Vec<Seen>,
}

impl Planted {
    /// Adds these messages to the user's inbox, between foreign mail.
    pub fn plant(witness: &mut Witness, bodies: &[(&str, Vec<u8>)]) -> io::Result<Self> {
        let others = [("hello", ""), ("x__TEST__ 1", "\\Deleted"), ("__test__ 2", "\\Seen \\Flagged")];
        let ours_by_name = ("__TEST__ deleted by another client", "\\Deleted");
        for (n, (subject, flags)) in others.into_iter().chain([ours_by_name]).enumerate() {
            if let Some((id, body)) = bodies.get(n) {
                witness.append("INBOX", "", &tagged(id, body))?;
            }
            let raw = format!("From: eve@example.test\r\nSubject: {subject}\r\n\r\nforeign {n}\r\n");
            witness.append("INBOX", flags, raw.as_bytes())?;
        }
        let foreign = witness.list("INBOX")?.into_iter().filter(is_foreign).collect();
        let ours = bodies.iter().map(|(id, body)| ((*id).to_owned(), body.clone())).collect();
        let raw = bodies.iter().map(|(id, body)| ((*id).to_owned(), tagged(id, body))).collect();
        Ok(Self { ours, raw, foreign })
    }

    /// Adds a message that arrives later.
    pub fn expect(&mut self, id: &str, body: &[u8]) {
        self.ours.insert(id.to_owned(), body.to_vec());
        self.raw.insert(id.to_owned(), tagged(id, body));
    }

    /// Returns a message of ours as it was added.
    pub fn raw(&self, id: &str) -> &[u8] {
        &self.raw[id]
    }

    /// Checks the foreign mail.
    pub fn check_foreign(&self, witness: &mut Witness, verdict: &mut Verdict) -> io::Result<()> {
        let now: Vec<Seen> = witness.list("INBOX")?.into_iter().filter(is_foreign).collect();
        for (uid, before, after) in differences(&self.foreign, &now) {
            let what = format!("foreign mail UID {uid} was {before:?} and is {after:?}");
            verdict.add(|count| &mut count.foreign_touched, what);
        }
        if witness.list(TAG)?.iter().any(is_foreign) {
            verdict.add(|count| &mut count.foreign_touched, "foreign mail is archived".to_owned());
        }
        Ok(())
    }

    /// Checks that each message of ours was handed out unaltered, again only if it was not acknowledged, and is archived,
    /// unless it is rejected.
    pub fn check_ours(
        &self,
        witness: &mut Witness,
        diary: &Diary,
        unwanted: Option<&str>,
        verdict: &mut Verdict,
    ) -> io::Result<()> {
        let archive = witness.list(TAG)?;
        for (id, body) in &self.ours {
            let handed: Vec<_> = diary.handed.iter().filter(|(handed, _)| handed == id).collect();
            if handed.is_empty() {
                verdict.add(|count| &mut count.lost, format!("message {id} was never handed out"));
            }
            if handed.iter().any(|(_, handed)| handed.as_ref() != Ok(body)) {
                verdict.add(|count| &mut count.altered, format!("message {id} was handed out altered"));
            }
            if unwanted == Some(id.as_str()) {
                continue;
            }
            let copies = archive.iter().filter(|seen| seen.raw == self.raw[id]).count();
            if copies == 0 {
                verdict.add(|count| &mut count.lost, format!("message {id} is not in the archive as it was"));
            }
            if copies > 1 {
                verdict.duplicated(format!("message {id} is in the archive {copies} times"));
            }
        }
        for (id, body) in &diary.handed {
            if !self.ours.contains_key(id) {
                let what = format!("a message that was not sent was handed out: {id}: {body:?}");
                verdict.add(|count| &mut count.altered, what);
            }
        }
        for id in &diary.redelivered {
            let what = format!("message {id} came again after it was acknowledged");
            verdict.add(|count| &mut count.wrongly_duplicated, what);
        }
        Ok(())
    }
}

/// Checks that each sent message is there once, and each of unknown delivery at most once; unless the receiver drops
/// duplicates.
pub fn check_sent(inbox: &[Seen], diary: &Diary, may_copy: bool, verdict: &mut Verdict) {
    for (message, fate) in &diary.sent {
        let id = message.message_id().to_string();
        let copies: Vec<&Seen> = inbox.iter().filter(|seen| contains(&seen.raw, id.as_bytes())).collect();
        if *fate == Fate::Sent && copies.is_empty() {
            verdict.add(|count| &mut count.lost, format!("message {} was sent and is not there", message.id));
        }
        if *fate == Fate::Unsent && !copies.is_empty() && !may_copy {
            let what = format!("message {} was reported as not sent and is there", message.id);
            verdict.add(|count| &mut count.wrongly_duplicated, what);
        }
        if copies.len() > 1 && !may_copy {
            let what = format!("message {} is there {} times", message.id, copies.len());
            verdict.add(|count| &mut count.wrongly_duplicated, what);
        }
        if copies.iter().any(|seen| body(&seen.raw).as_ref() != Some(&message.body)) {
            verdict.add(|count| &mut count.altered, format!("message {} arrived altered", message.id));
        }
    }
    let known = |seen: &&Seen| {
        diary.sent.iter().any(|(message, _)| contains(&seen.raw, message.message_id().to_string().as_bytes()))
    };
    for seen in inbox.iter().filter(|seen| !is_foreign(seen)).filter(|seen| !known(seen)) {
        let what = format!("a mail that was not sent: UID {}", seen.uid);
        verdict.add(|count| &mut count.altered, what);
    }
}

/// Checks that the receiver hands out each message once, however many copies there are.
pub fn check_received(inbox: &[Seen], diary: &Diary, verdict: &mut Verdict) {
    for (message, _) in &diary.sent {
        let handed: Vec<_> = diary.handed.iter().filter(|(id, _)| *id == message.id).collect();
        let there = is_there(inbox, message);
        if there && handed.is_empty() {
            verdict.add(|count| &mut count.lost, format!("message {} was never handed out", message.id));
        }
        if handed.len() > 1 {
            let what = format!("message {} was handed out {} times", message.id, handed.len());
            verdict.add(|count| &mut count.wrongly_duplicated, what);
        }
        if handed.iter().any(|(_, body)| body.as_ref() != Ok(&message.body)) {
            verdict.add(|count| &mut count.altered, format!("message {} was handed out altered", message.id));
        }
    }
}

fn is_there(inbox: &[Seen], message: &Message) -> bool {
    let id = message.message_id().to_string();
    inbox.iter().any(|seen| contains(&seen.raw, id.as_bytes()))
}

/// Waits until no mail to the user is in transit.
pub fn wait_for_delivery(queue: &Path, user: &str) {
    // In the order of a mail's way, so that no mail slips by between two looks.
    wait_until("the end of the queue", || {
        ["incoming", "active", "deferred"].iter().all(|name| !mentions(&queue.join(name), user))
    });
}

fn mentions(folder: &Path, user: &str) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return mentions(&path, user);
        }
        // A mail that is gone has moved on.
        fs::read(&path).is_ok_and(|octets| contains(&octets, user.as_bytes()))
    })
}

/// Returns a message of ours.
pub fn tagged(id: &str, body: &[u8]) -> Vec<u8> {
    let code = BASE64_STANDARD.encode(body);
    let lines: Vec<&str> =
        code.as_bytes().chunks(76).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    let head = format!(
        "From: bob@example.test\r\nTo: alice@example.test\r\nSubject: {TAG} {id}\r\nMessage-ID: <{id}@bob>\r\n\
         Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    );
    format!("{head}{}\r\n", lines.join("\r\n")).into_bytes()
}

/// Returns the body of a mail of pymail: base64 behind the headers.
fn body(raw: &[u8]) -> Option<Vec<u8>> {
    let begin = raw.windows(4).position(|window| window == b"\r\n\r\n")?;
    let code: Vec<u8> = raw[begin..].iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
    BASE64_STANDARD.decode(code).ok()
}

fn is_foreign(seen: &Seen) -> bool {
    contains(&seen.raw, b"\r\n\r\nforeign ")
}

/// Returns the UIDs at which two listings differ, with flags and size of before and after.
fn differences(before: &[Seen], after: &[Seen]) -> Vec<(u32, Short, Short)> {
    let find = |mail: &[Seen], uid| mail.iter().find(|seen| seen.uid == uid).cloned();
    let mut uids: Vec<u32> = before.iter().chain(after).map(|seen| seen.uid).collect();
    uids.sort_unstable();
    uids.dedup();
    let pairs = uids.into_iter().map(|uid| (uid, find(before, uid), find(after, uid)));
    let short = |seen: Option<Seen>| seen.map(|seen| (seen.flags, seen.raw.len()));
    pairs.filter(|(_, old, new)| old != new).map(|(uid, old, new)| (uid, short(old), short(new))).collect()
}

type Short = Option<(Vec<String>, usize)>;
