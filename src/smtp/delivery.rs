//! From messages to outcomes: windows, what is sent again after a loss, and what is not.

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;
use std::thread;

use parking_lot::Mutex;

use super::Receipt;
use crate::config::SmtpConfig;
use crate::connection::{Connection, Session as _};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Message, compose};
use crate::python::{Outgoing, Sent, SmtpSession};

/// `send_all` composes and sends this much at a time, to hold neither all of it nor the connection for long.
const WINDOW_MESSAGES: usize = 100;
const WINDOW_BYTES: usize = 8 << 20;

/// After this many messages in a row that each cost two connections, it is not the messages.
const HOPELESS: usize = 3;

/// A window of messages, each with what goes over the wire.
type Composed<'a> = (&'a [Message], Vec<Result<Outgoing>>);

/// One result a message, in the same order. With several connections, each sends some of them.
pub(super) fn send_all(
    connections: &[&Connection<SmtpSession>],
    config: &SmtpConfig,
    messages: &[Message],
) -> Vec<Result<Receipt>> {
    let most = messages.len().div_ceil(connections.len()).clamp(1, WINDOW_MESSAGES);
    match connections {
        [connection] => send_in_order(connection, config, messages),
        // Whoever waits for threads that attach must not be attached.
        connections => SmtpSession::detached(|| send_in_parallel(connections, config, messages, most)),
    }
}

/// A window is composed while the one before is on the wire.
fn send_in_order(
    connection: &Connection<SmtpSession>,
    config: &SmtpConfig,
    messages: &[Message],
) -> Vec<Result<Receipt>> {
    let mut results = Vec::with_capacity(messages.len());
    if windows(messages, WINDOW_MESSAGES).nth(1).is_some() {
        thread::scope(|scope| {
            let (ready, composed) = sync_channel(0);
            let all = windows(messages, WINDOW_MESSAGES).map(|window| compose_window(window, config));
            let compose = move || all.map_while(|window| ready.send(window).ok()).for_each(drop);
            // Without a thread, nothing is composed in there.
            let _ = thread::Builder::new().name("pymail-composer".into()).spawn_scoped(scope, compose);
            send_windows(connection, config, messages.len(), composed, &mut results);
        });
    }
    let rest = messages.get(results.len()..).unwrap_or_default();
    let rest = windows(rest, WINDOW_MESSAGES).map(|window| compose_window(window, config));
    send_windows(connection, config, messages.len(), rest, &mut results);
    results
}

/// Each connection takes the next window as soon as it has sent one, until there is no use in going on with it.
fn send_in_parallel(
    connections: &[&Connection<SmtpSession>],
    config: &SmtpConfig,
    messages: &[Message],
    most: usize,
) -> Vec<Result<Receipt>> {
    let upcoming = Mutex::new(windows(messages, most).enumerate());
    let (sent, hopeless) = (Mutex::new(BTreeMap::new()), Mutex::new(None));
    let work = |connection: &Connection<SmtpSession>| {
        loop {
            let Some((place, window)) = upcoming.lock().next() else { return };
            let (mut results, (window, composed)) = (Vec::new(), compose_window(window, config));
            let reason = send_window(connection, config, window, &composed, &mut results);
            sent.lock().insert(place, results);
            if let Some(reason) = reason {
                hopeless.lock().get_or_insert(reason);
                return; // The other connections may still do.
            }
        }
    };
    if let Some((first, others)) = connections.split_first() {
        thread::scope(|scope| {
            for connection in others {
                // Without a thread, the others do its part.
                let _ = thread::Builder::new()
                    .name("pymail-sender".into())
                    .spawn_scoped(scope, || work(connection));
            }
            work(first);
        });
    }
    let (mut sent, hopeless) = (sent.into_inner(), hopeless.into_inner().unwrap_or_else(not_sent));
    let unsent = |window: &[Message]| window.iter().map(|_| Err(hopeless.clone())).collect();
    let all = windows(messages, most).enumerate();
    all.flat_map(|(place, window)| sent.remove(&place).unwrap_or_else(|| unsent(window))).collect()
}

fn compose_window<'a>(window: &'a [Message], config: &SmtpConfig) -> Composed<'a> {
    (window, window.iter().map(|message| outgoing(message, config)).collect())
}

/// Adds a result for each message, and as many as there are messages in all when there is no use in going on: the
/// rest would only knock at the same closed door, window after window.
fn send_windows<'a>(
    connection: &Connection<SmtpSession>,
    config: &SmtpConfig,
    count: usize,
    windows: impl IntoIterator<Item = Composed<'a>>,
    results: &mut Vec<Result<Receipt>>,
) {
    for (window, composed) in windows {
        if let Some(hopeless) = send_window(connection, config, window, &composed, results) {
            results.resize_with(count, || Err(hopeless.clone()));
            return;
        }
    }
}

/// Adds a result for each message; returns why there is no use in going on, if there is none.
fn send_window(
    connection: &Connection<SmtpSession>,
    config: &SmtpConfig,
    messages: &[Message],
    composed: &[Result<Outgoing>],
    results: &mut Vec<Result<Receipt>>,
) -> Option<Error> {
    let ready = composed.iter().flatten().collect();
    let mut delivery = Delivery::new(connection, config.resend_unknown, ready);
    let hopeless = delivery.run();
    let mut outcomes = delivery.outcomes.into_iter();
    let outcome = |(message, composed): (&Message, &Result<Outgoing>)| {
        composed.as_ref().map_err(Error::clone)?;
        outcomes.next().unwrap_or_else(|| Err(not_sent())).map(|sent| Receipt::new(message, sent))
    };
    results.extend(messages.iter().zip(composed).map(outcome));
    hopeless
}

fn outgoing(message: &Message, config: &SmtpConfig) -> Result<Outgoing> {
    let data = compose(message, &config.common.tag)?;
    Ok(Outgoing { sender: message.sent_by.clone(), recipients: message.sent_to.clone(), data })
}

/// One window on its way.
struct Delivery<'a> {
    connection: &'a Connection<SmtpSession>,
    deadline: Deadline,
    resend_unknown: bool,
    messages: Vec<&'a Outgoing>,
    outcomes: Vec<Result<Sent>>,
    /// The messages that may have arrived already, in an attempt whose answer never came.
    unknown: Vec<Option<Error>>,
}

impl<'a> Delivery<'a> {
    fn new(
        connection: &'a Connection<SmtpSession>,
        resend_unknown: bool,
        messages: Vec<&'a Outgoing>,
    ) -> Self {
        let outcomes = messages.iter().map(|_| Err(not_sent())).collect();
        let unknown = vec![None; messages.len()];
        Self { connection, deadline: connection.deadline(), resend_unknown, messages, outcomes, unknown }
    }

    /// What a lost connection left unsent goes out on a new one; what may have arrived only when configured.
    ///
    /// A message that is first in line for two losses in a row may be their cause: it keeps its error, and the
    /// next one gets its turn, [`HOPELESS`] times without a message settled in between. Then, or when there is no
    /// connection to be had, the error says why there is no use in going on.
    fn run(&mut self) -> Option<Error> {
        let mut unsent: Vec<usize> = (0..self.messages.len()).collect();
        let mut fruitless = 0;
        let mut hopeless = None;
        while !unsent.is_empty() && hopeless.is_none() {
            let before = unsent.len();
            if let Err(error) = self.attempt(&unsent) {
                for &at in &unsent {
                    self.outcomes[at] = Err(error.clone());
                }
                hopeless = Some(error);
                break;
            }
            unsent.retain(|&at| self.is_to_be_sent(at));
            fruitless = if unsent.len() < before { 0 } else { fruitless + 1 };
            if fruitless == 2 * HOPELESS {
                hopeless = unsent.first().and_then(|&at| self.outcomes[at].as_ref().err().cloned());
            } else if fruitless > 0 && fruitless % 2 == 0 {
                unsent.remove(0);
            }
        }
        self.own_up();
        hopeless
    }

    /// Sends what is unsent, once; an error is one of connecting, before anything was sent.
    fn attempt(&mut self, unsent: &[usize]) -> Result<()> {
        let mut asked = false;
        let answer = self.connection.once(self.deadline, |session| {
            asked = true;
            let these: Vec<&Outgoing> = unsent.iter().map(|&at| self.messages[at]).collect();
            for (&at, outcome) in unsent.iter().zip(session.send(&these)) {
                self.outcomes[at] = outcome;
            }
            unsent.iter().find_map(|&at| loss(&self.outcomes[at])).map_or(Ok(()), Err)
        });
        if asked { Ok(()) } else { answer }
    }

    fn is_to_be_sent(&mut self, at: usize) -> bool {
        let Err(error) = &self.outcomes[at] else { return false };
        if error.kind() == ErrorKind::OutcomeUnknown && self.resend_unknown {
            self.unknown[at].get_or_insert_with(|| error.clone());
            return true;
        }
        error.kind() == ErrorKind::Disconnected
    }

    /// Whatever became of its second copy, a message that may have arrived before may have arrived.
    fn own_up(&mut self) {
        for (outcome, unknown) in self.outcomes.iter_mut().zip(&mut self.unknown) {
            if let (Err(_), Some(unknown)) = (&outcome, unknown.take()) {
                *outcome = Err(unknown);
            }
        }
    }
}

pub(super) fn not_sent() -> Error {
    Error::new(ErrorKind::Disconnected, "not sent")
}

/// Why the connection is gone, if this outcome says that it is.
fn loss(outcome: &Result<Sent>) -> Option<Error> {
    outcome.as_ref().err().filter(|error| error.ends_connection()).cloned()
}

/// Cuts where a window is full, by number or by bytes.
fn windows(mut messages: &[Message], most: usize) -> impl Iterator<Item = &[Message]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = messages.iter().take(most).take_while(|message| {
            bytes += message.body.len();
            bytes <= WINDOW_BYTES
        });
        let (window, rest) = messages.split_at(fits.count().max(1).min(messages.len()));
        messages = rest;
        (!window.is_empty()).then_some(window)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Message {
        Message::new("1", "a@example.org", "b@example.org", vec![0; bytes])
    }

    #[test]
    fn windows_hold_every_message_once_and_are_bounded() {
        let large = WINDOW_BYTES / 2 + 1;
        let messages: Vec<Message> = [1, large, large, 2 * WINDOW_BYTES, 1].map(message).into();
        let sizes: Vec<usize> = windows(&messages, WINDOW_MESSAGES).map(<[Message]>::len).collect();
        assert_eq!(sizes, [2, 1, 1, 1]);
        let sizes = |most| windows(&vec![message(1); 250], most).map(<[Message]>::len).collect::<Vec<_>>();
        assert_eq!((sizes(100), sizes(150)), (vec![100, 100, 50], vec![150, 100]));
        assert_eq!(windows(&[], WINDOW_MESSAGES).count(), 0);
    }
}
