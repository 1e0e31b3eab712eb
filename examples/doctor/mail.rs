//! The round trip of a message, from SMTP to IMAP.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pymail::{Imap, Message, Push, Smtp};

use crate::advice;
use crate::imap::{clean_up, has_message, new_id};
use crate::options::Options;
use crate::report::{Done, Report};

const MAIL: &str = "mail";

/// The steps after the send.
const RECEIVING: [&str; 2] = ["receive", "idle"];

/// Sends a message and receives it, as far as both protocols are usable.
pub(crate) fn examine(report: &mut Report, options: &Options, imap: Option<&Imap>, smtp: Option<&Smtp>) {
    match (imap, smtp) {
        (Some(imap), Some(smtp)) => round_trip(report, options, imap, smtp),
        (None, Some(smtp)) if options.imap.is_none() => {
            report.step(MAIL, "send", || send(options, smtp, &new_id("sent")));
            report.skip(MAIL, &RECEIVING, "there is no --imap; the message stays in the inbox");
        }
        (None, _) if options.imap.is_some() => {
            skip(report, "IMAP has failed, and the message could not be removed");
        }
        _ if options.smtp.is_none() => skip(report, "there is no --smtp"),
        _ => skip(report, "SMTP has failed"),
    }
    match imap {
        Some(imap) => clean_up(report, imap),
        None => report.skip(MAIL, &["cleanup"], "nothing was stored"),
    }
}

fn skip(report: &mut Report, why: &str) {
    report.skip(MAIL, &[&["send"][..], &RECEIVING].concat(), why);
}

/// Waits for the message from before it is sent, as a consumer does.
fn round_trip(report: &mut Report, options: &Options, imap: &Imap, smtp: &Smtp) {
    let id = new_id("sent");
    let is_in_vain = AtomicBool::new(false);
    thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(imap, &id, options.wait, &is_in_vain));
        if report.step(MAIL, "send", || send(options, smtp, &id)).is_none() {
            is_in_vain.store(true, Ordering::SeqCst);
            report.skip(MAIL, &RECEIVING, "nothing was sent");
            return;
        }
        let has_come = report.step(MAIL, "receive", || match receiver.join() {
            Ok(Ok(true)) => Ok(("the message is in INBOX".into(), ())),
            Ok(Err(error)) => Err(advice::later(&error)),
            _ => Err(advice::not_received(options)), // a panic shows on stderr
        });
        if has_come.is_none() {
            report.skip(MAIL, &["idle"], "nothing was received");
            return;
        }
        report.step(MAIL, "idle", || idle(imap));
    });
}

fn send(options: &Options, smtp: &Smtp, id: &str) -> Done<()> {
    let body = "A test message of pymail's doctor, which removes it.\r\n";
    let message = Message::new(id, &options.address, &options.address, body);
    match smtp.send(&message) {
        Ok(_) => Ok(("the server has accepted a message to the own address".into(), ())),
        Err(error) => Err(advice::send(&error, options)),
    }
}

/// Waits until the message is in the inbox; returns `false` after the limit, or if the wait is in vain.
fn receive(imap: &Imap, id: &str, limit: Duration, is_in_vain: &AtomicBool) -> pymail::Result<bool> {
    let end = Instant::now() + limit;
    while !is_in_vain.load(Ordering::SeqCst) {
        if has_message(imap, id)? {
            return Ok(true);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        imap.wait(left.min(Duration::from_secs(1)))?;
    }
    Ok(false)
}

fn idle(imap: &Imap) -> Done<()> {
    match imap.status().push {
        Some(Push::Idle) => Ok(("the server announces new mail at once (IDLE)".into(), ())),
        Some(Push::Distrusted) => Err(advice::idle_misses()),
        _ => Ok(("no IDLE: the server is asked for new mail every 10 s".into(), ())),
    }
}
