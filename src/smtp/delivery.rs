//! Sends pending messages: in windows, on one connection or several, and again after a lost connection.
//!
//! [`send_all`] makes a [`Pending`] of each message. A window is a slice of these: it is composed, sent, and every
//! message in it has an outcome afterwards, in its place. So the results are in order, whichever connection sent them,
//! and only the windows in flight are in memory as mails.

use std::sync::mpsc::sync_channel;
use std::thread;

use parking_lot::Mutex;

use super::Receipt;
use super::pool::{Call, Pool, at_once};
use crate::config::SmtpConfig;
use crate::connection::{Connection, Session as _};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;
use crate::python::{Pending, SmtpSession, not_sent};

/// The messages of a window, which is composed and sent at a time: bounds memory, and the time that a window holds the
/// connection.
const WINDOW_MESSAGES: usize = 100;
/// The octets of a window's bodies.
const WINDOW_BYTES: usize = 8 << 20;

/// The number of messages in a row that each cost two connections, after which sending ends: the messages are not the
/// cause.
const MAX_SKIPPED: usize = 3;

/// Sends messages and returns one result for each, in order. Several connections share the windows.
pub(super) fn send_all(pool: &Pool, config: &SmtpConfig, messages: &[Message]) -> Vec<Result<Receipt>> {
    let mut pending: Vec<Pending<'_>> = messages.iter().map(Pending::new).collect();
    let deadline = Deadline::of_call(config.common.options.timeout);
    let ended_by = match pool.all() {
        [connection] => send_in_order(connection, config, &mut pending, deadline),
        // Other threads attach to the interpreter: this one must not be attached while it waits for them.
        _ => SmtpSession::detached(|| send_in_parallel(pool, config, &mut pending, deadline)),
    };
    let receipt = |it: Pending<'_>| match it.outcome {
        Some(outcome) => outcome.map(|sent| Receipt::new(it.message, sent)),
        None => Err(ended_by.clone().unwrap_or_else(not_sent)),
    };
    pending.into_iter().map(receipt).collect()
}

/// Sends window after window on one connection, the first one within the deadline; returns the error after which sending
/// the rest has no use.
///
/// A thread composes each window while the one before is on the wire.
fn send_in_order(
    connection: &Connection<SmtpSession>,
    config: &SmtpConfig,
    pending: &mut [Pending<'_>],
    deadline: Deadline,
) -> Option<Error> {
    let mut first = Some(deadline);
    let mut next_deadline = || first.take().unwrap_or_else(|| connection.deadline());
    if window_len(pending, WINDOW_MESSAGES) < pending.len() {
        let ended_by = thread::scope(|scope| {
            let (ready, composed) = sync_channel(0);
            let all = windows(pending, WINDOW_MESSAGES).map(|window| composed_window(window, config));
            let compose = move || all.map_while(|window| ready.send(window).ok()).for_each(drop);
            // If the thread can't be started, nothing is composed here.
            let _ = thread::Builder::new().name("pymail-composer".into()).spawn_scoped(scope, compose);
            composed.into_iter().find_map(|window| send_window(connection, config, window, next_deadline()))
        });
        if ended_by.is_some() {
            return ended_by;
        }
    }
    let first = pending.iter().position(|it| it.outcome.is_none()).unwrap_or(pending.len());
    let rest = windows(&mut pending[first..], WINDOW_MESSAGES);
    rest.map(|window| composed_window(window, config))
        .find_map(|window| send_window(connection, config, window, next_deadline()))
}

/// Sends windows on several connections: each goes out on one that is free, within the deadline of the call for the first
/// window of each thread. A connection that fails gets no more of them; the others go on.
fn send_in_parallel(
    pool: &Pool,
    config: &SmtpConfig,
    pending: &mut [Pending<'_>],
    deadline: Deadline,
) -> Option<Error> {
    let connections = pool.all().len();
    let most = pending.len().div_ceil(connections).clamp(1, WINDOW_MESSAGES);
    let threads = connections.min(pending.len());
    let upcoming = Mutex::new(windows(pending, most).peekable());
    let (call, ended_by) = (Call::default(), Mutex::new(None));
    let work = || {
        let (mut first, timeout) = (Some(deadline), config.common.options.timeout);
        loop {
            let taken = match pool.take(&call, first.unwrap_or_else(|| Deadline::after(timeout))) {
                Ok(Some(taken)) => taken,
                Ok(None) => return,
                Err(error) => {
                    ended_by.lock().get_or_insert(error);
                    return;
                }
            };
            let (window, is_last) = {
                let mut upcoming = upcoming.lock();
                (upcoming.next(), upcoming.peek().is_none())
            };
            if is_last {
                pool.complete(&call);
            }
            let Some(window) = window else { return };
            let window = composed_window(window, config);
            let deadline = first.take().unwrap_or_else(|| Deadline::after(timeout));
            if let Some(error) = send_window(taken.connection(), config, window, deadline) {
                ended_by.lock().get_or_insert(error);
                taken.fail(&call);
            }
        }
    };
    at_once(threads, work);
    ended_by.into_inner()
}

/// Composes the messages of a window.
fn composed_window<'p, 'm>(window: &'p mut [Pending<'m>], config: &SmtpConfig) -> &'p mut [Pending<'m>] {
    for message in window.iter_mut() {
        message.compose(&config.common.tag);
    }
    window
}

/// Sends a composed window, after which each message of it has an outcome; returns the error after which sending more
/// has no use.
///
/// Messages that a lost connection left unsent go out on a new one; ones that may have arrived only with
/// `resend_unknown`. A message that is the first to be sent in two lost connections in a row may be their cause: it
/// keeps its error, and the next one gets its turn. After [`MAX_SKIPPED`] of these without any other outcome, or
/// without a connection, sending ends.
fn send_window(
    connection: &Connection<SmtpSession>,
    config: &SmtpConfig,
    window: &mut [Pending<'_>],
    mut deadline: Deadline,
) -> Option<Error> {
    let mut fruitless = 0;
    let mut ended_by = None;
    loop {
        let before = due(window).count();
        if before == 0 {
            break;
        }
        if let Err(error) = attempt(connection, &mut deadline, window) {
            due_mut(window).for_each(|it| it.outcome = Some(Err(error.clone())));
            ended_by = Some(error);
            break;
        }
        due_mut(window).for_each(|it| it.decide_resend(config.resend_unknown));
        fruitless = if due(window).count() < before { 0 } else { fruitless + 1 };
        if fruitless == 2 * MAX_SKIPPED {
            ended_by = due(window).next().and_then(Pending::error).map(not_tried_after);
            break;
        }
        if fruitless > 0 && fruitless % 2 == 0 {
            due_mut(window).take(1).for_each(|it| it.is_due = false);
        }
    }
    window.iter_mut().for_each(Pending::finish);
    ended_by
}

/// Returns the error of messages that are not sent at all, after this error of others.
fn not_tried_after(error: &Error) -> Error {
    match error.kind() {
        // Theirs is known: they were not sent.
        ErrorKind::OutcomeUnknown => not_sent().caused_by(error.clone()),
        _ => error.clone(),
    }
}

/// Sends the due messages once; moves the deadline by the time that they have earned and the final replies have taken.
///
/// # Errors
/// `Timeout` when an attempt before has used up the time; the error of connecting, before anything was sent.
fn attempt(
    connection: &Connection<SmtpSession>,
    deadline: &mut Deadline,
    window: &mut [Pending<'_>],
) -> Result<()> {
    if due(window).any(|it| it.outcome.is_some()) {
        deadline.check("sending")?; // else connecting, which does not begin any more, would be named
    }
    let mut is_connected = false;
    let answer = connection.once(*deadline, |session| {
        is_connected = true;
        session.send(window);
        *deadline = session.deadline();
        // An error that ends the connection makes the connection replace it.
        let lost = due(window).filter_map(Pending::error).find(|error| error.ends_connection());
        lost.map_or(Ok(()), |error| Err(error.clone()))
    });
    if is_connected { Ok(()) } else { answer }
}

fn due<'p, 'm>(window: &'p [Pending<'m>]) -> impl Iterator<Item = &'p Pending<'m>> {
    window.iter().filter(|it| it.is_due)
}

fn due_mut<'p, 'm>(window: &'p mut [Pending<'m>]) -> impl Iterator<Item = &'p mut Pending<'m>> {
    window.iter_mut().filter(|it| it.is_due)
}

/// Splits messages into windows of at most `most` messages and [`WINDOW_BYTES`].
fn windows<'p, 'm>(
    mut pending: &'p mut [Pending<'m>],
    most: usize,
) -> impl Iterator<Item = &'p mut [Pending<'m>]> {
    std::iter::from_fn(move || {
        let length = window_len(pending, most);
        let (window, rest) = std::mem::take(&mut pending).split_at_mut(length);
        pending = rest;
        (length > 0).then_some(window)
    })
}

/// Returns the number of messages in the first window; a message of any size fits into a window of its own.
fn window_len(pending: &[Pending<'_>], most: usize) -> usize {
    let mut bytes = 0;
    let fits = pending.iter().take(most).take_while(|it| {
        bytes += it.message.body.len();
        bytes <= WINDOW_BYTES
    });
    fits.count().max(1).min(pending.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(messages: &[Message], most: usize) -> Vec<usize> {
        let mut pending: Vec<_> = messages.iter().map(Pending::new).collect();
        windows(&mut pending, most).map(|window| window.len()).collect()
    }

    fn message(bytes: usize) -> Message {
        Message::new("1", "a@example.org", "b@example.org", vec![0; bytes])
    }

    #[test]
    fn windows_hold_every_message_once_and_are_bounded() {
        let large = WINDOW_BYTES / 2 + 1;
        let messages: Vec<Message> = [1, large, large, 2 * WINDOW_BYTES, 1].map(message).into();
        assert_eq!(sizes(&messages, WINDOW_MESSAGES), [2, 1, 1, 1]);
        let many = vec![message(1); 250];
        assert_eq!((sizes(&many, 100), sizes(&many, 150)), (vec![100, 100, 50], vec![150, 100]));
        assert_eq!(sizes(&[], WINDOW_MESSAGES), [0; 0]);
    }
}
