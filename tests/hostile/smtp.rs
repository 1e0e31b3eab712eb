//! Checks a bad reply of an SMTP server: in the method that receives it, and over the life of a handle.

use pymail::{Credentials, ErrorKind, Message, Result, Smtp, SmtpConfig, State};

use super::checker::{Findings, brief, deadline};
use super::row::{Malice, May, Row};
use crate::mail_site::{ALICE, message};
use crate::scripted::{MARKED, smtp_config};
use crate::support::script::{Script, Scripted};

/// A recipient that the server refuses.
const UNKNOWN: &str = "unknown@example.test";

pub(super) fn meet(row: &Row, findings: &Findings) {
    meets_it(row, &[], findings);
    lives_with_it(row, &[], findings);
}

pub(super) fn meet_pipelined(row: &Row, findings: &Findings) {
    meets_it(row, &["PIPELINING"], findings);
    lives_with_it(row, &["PIPELINING"], findings);
}

fn server(row: &Row, extensions: &[&str], malice: &Malice) -> Scripted {
    let extensions = [extensions, &["AUTH PLAIN", "SIZE 10000000"]].concat();
    let script = Script::smtp(&extensions).says(&format!("RCPT TO:<{UNKNOWN}"), "550 5.1.1 unknown\r\n");
    malice.spoil(script, row).start()
}

fn config(row: &Row, server: &Scripted) -> SmtpConfig {
    let credentials = if row.at == "AUTH" { Credentials::new(ALICE, MARKED) } else { Credentials::none() };
    let config = smtp_config(server, credentials).timeout(deadline()).reply_timeout(deadline() / 4);
    config.max_connects_per_minute(1_000)
}

/// Checks a server that replies badly until the method has returned, and well afterwards.
fn meets_it(row: &Row, extensions: &[&str], findings: &Findings) {
    let malice = Malice::default();
    let server = server(row, extensions, &malice);
    malice.set(usize::MAX);
    let handle = findings.timed("connecting", || Smtp::connect(config(row, &server)));
    let outcomes = match &handle {
        Ok(smtp) => verb(row, smtp, findings),
        Err(error) => vec![Err(error.clone())],
    };
    malice.set(0);
    for outcome in &outcomes {
        match outcome {
            Ok(()) => findings.allows("the verb", row, May::Right),
            Err(error) => findings.allowed("the verb", row, error),
        }
    }
    goes_on(row, handle.ok(), &server, findings);
}

/// Checks that the next command on a new connection works: the handle's own, or another handle's if the old one is still up.
fn goes_on(row: &Row, handle: Option<Smtp>, server: &Scripted, findings: &Findings) {
    let fresh = handle.as_ref().is_some_and(|smtp| smtp.status().state == State::Disconnected);
    let send = |smtp: Smtp| findings.timed("the next command", || smtp.send(&message("next", "hello")));
    let first = handle.filter(|smtp| fresh || smtp.status().state == State::Connected).map(send);
    if !matches!(first, Some(Ok(_))) {
        findings.check(!fresh, || format!("the next command on a fresh connection: {first:?}"));
        let another = findings.timed("connecting again", || Smtp::connect(config(row, server)));
        if let Err(error) = another.and_then(send) {
            findings.add(format!("another handle's command: {}", brief(&error)));
        }
    }
    arrived_whole(server, "next", 2, findings);
}

/// Calls the method that receives the row's reply.
fn verb(row: &Row, smtp: &Smtp, findings: &Findings) -> Vec<Result<()>> {
    match row.at {
        "NOOP" => vec![findings.timed("noop", || smtp.noop())],
        "QUIT" => vec![findings.timed("close", || smtp.close())],
        "RSET" => send(smtp, &[Message::new("0", ALICE, UNKNOWN, "hello"), message("1", "hello")], findings)
            .split_off(1),
        _ => send(smtp, &three(), findings),
    }
}

fn three() -> Vec<Message> {
    ["1", "2", "3"].map(|id| message(id, "hello")).into()
}

fn send(smtp: &Smtp, messages: &[Message], findings: &Findings) -> Vec<Result<()>> {
    let receipts = findings.timed("send_all", || Ok(smtp.send_all(messages))).unwrap_or_default();
    let outcomes = receipts.into_iter().map(|receipt| receipt.map(drop));
    let outcomes: Vec<Result<()>> = outcomes.collect();
    outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().err())
        .for_each(|error| findings.clear("send_all", error));
    outcomes
}

/// Checks a server that replies badly once in a handle's life: each message arrives, and no other.
fn lives_with_it(row: &Row, extensions: &[&str], findings: &Findings) {
    let malice = Malice::default();
    let server = server(row, extensions, &malice);
    malice.set(1);
    let connect = |what: &str| findings.timed(what, || Smtp::connect(config(row, &server)));
    let Ok(smtp) = connect("a life: connecting").or_else(|_| connect("a life: connecting again")) else {
        return findings.add("a life: it never connects");
    };
    // NOOP may receive the bad reply; the messages must arrive in either case.
    let _ = findings.timed("a life: noop", || smtp.noop());
    for message in three() {
        let again = |error: pymail::Error| match error.kind() {
            ErrorKind::OutcomeUnknown => Ok(()),
            _ => send(&smtp, std::slice::from_ref(&message), findings).remove(0),
        };
        let outcome = send(&smtp, std::slice::from_ref(&message), findings).remove(0).or_else(again);
        findings.check(outcome.is_ok() || row.may == super::row::TOO_LARGE, || {
            format!("a life: message {} is never sent: {outcome:?}", message.id)
        });
        if outcome.is_ok() {
            arrived_whole(&server, &message.id, 2, findings);
        }
    }
    let stopped = findings.timed("a life: close", || smtp.close());
    findings.check(stopped.is_ok() || row.at == "QUIT", || "a life: close fails".into());
}

/// Checks that a message arrived unchanged, and nothing else.
fn arrived_whole(server: &Scripted, id: &str, most: usize, findings: &Findings) {
    let data = server.data();
    let subject = |id: &str| format!("Subject: {} {id}\r\n", crate::mail_site::TAG);
    let times = data.iter().filter(|data| data.text.contains(&subject(id))).count();
    findings.check((1..=most).contains(&times), || format!("message {id} arrived {times} times"));
    for data in data.iter().filter(|data| !data.text.is_empty()) {
        let known = ["0", "1", "2", "3", "next"].iter().any(|id| data.text.contains(&subject(id)));
        findings.check(known && data.text.ends_with("aGVsbG8=\r\n"), || format!("arrived: {:?}", data.text));
    }
}
