//! The rows of the tables: the command that gets a bad response, the response, and the allowed results.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pymail::ErrorKind;

use crate::support::script::{Heard, Script, Step};

/// A bad response.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) name: &'static str,
    /// The beginning of the command that gets it.
    pub(super) at: &'static str,
    pub(super) answer: Answer,
    pub(super) may: &'static [May],
}

pub(super) const fn row(name: &'static str, at: &'static str, answer: Answer, may: &'static [May]) -> Row {
    Row { name, at, answer, may }
}

/// An allowed result of a bad response, for the caller of the verb that gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum May {
    /// It does no harm: the verb has its right result.
    Right,
    /// Some messages are missing for now; they come later.
    Fewer,
    /// A message comes as an error of this kind in its place.
    Spoilt(ErrorKind),
    /// The server says that a message is another mail than it is: it comes with the next handle.
    Hidden,
    /// The first message has a text of its own.
    Odd,
    /// The verb fails.
    Fail(ErrorKind),
}

pub(super) const RIGHT: &[May] = &[May::Right];
pub(super) const FEWER: &[May] = &[May::Fewer];
pub(super) const SLOW: &[May] = &[May::Fail(ErrorKind::Timeout)];
pub(super) const REFUSED: &[May] = &[May::Fail(ErrorKind::Refused)];
pub(super) const AUTH: &[May] = &[May::Fail(ErrorKind::Auth)];
pub(super) const TLS: &[May] = &[May::Fail(ErrorKind::Tls)];
pub(super) const UNKNOWN: &[May] = &[May::Fail(ErrorKind::OutcomeUnknown)];
pub(super) const TOO_LARGE: &[May] = &[May::Fail(ErrorKind::TooLarge)];
/// The connection is dropped.
pub(super) const LOST: &[May] = &[May::Fail(ErrorKind::Connect), May::Fail(ErrorKind::Disconnected)];
/// The connection is dropped, at the latest at the timeout.
pub(super) const LOST_IN_TIME: &[May] =
    &[May::Fail(ErrorKind::Connect), May::Fail(ErrorKind::Disconnected), May::Fail(ErrorKind::Timeout)];
/// The connection is dropped, or the verb has its right result: the response is behind a message's end.
pub(super) const RIGHT_OR_LOST: &[May] =
    &[May::Right, May::Fail(ErrorKind::Connect), May::Fail(ErrorKind::Disconnected)];

/// A bad response. `TAG` stands for the client's tag.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    Says(&'static str),
    Octets(&'static [u8]),
    /// The first text, many times the second, the last.
    Many(&'static str, &'static str, usize, &'static str),
    Endless(&'static str, &'static str),
    Drips(&'static str),
    SaysAndCloses(&'static str),
    Closes,
    Silent,
    /// From the second command of its kind on a connection.
    Later(&'static str),
    /// Computed from the command.
    Made(fn(&str) -> String),
}

/// On a busy machine, reading this much may take the whole timeout.
const LARGE: usize = 150_000;

impl Answer {
    pub(super) fn is_large(self) -> bool {
        match self {
            Self::Endless(..) => true,
            Self::Many(_, again, times, _) => again.len() * times > LARGE,
            _ => false,
        }
    }

    fn step(self, heard: &Heard) -> Step {
        match self {
            Self::Says(text) => Step::say(text),
            Self::Octets(octets) => Step::Octets(octets.into()),
            Self::Many(first, again, times, last) => Step::Say([first, &again.repeat(times), last].concat()),
            Self::Endless(first, again) => Step::Endless(first.into(), again.into()),
            Self::Drips(text) => Step::Drip(text.into()),
            Self::SaysAndCloses(text) => Step::SayAndClose(text.into()),
            Self::Later(text) => Step::say(text).when(heard.here > 1),
            Self::Closes => Step::Close,
            Self::Silent => Step::Nothing,
            Self::Made(make) => Step::Say(make(&heard.text)),
        }
    }
}

/// The number of bad responses that are left.
#[derive(Clone, Default)]
pub(super) struct Malice(Arc<AtomicUsize>);

impl Malice {
    /// From now on.
    pub(super) fn set(&self, times: usize) {
        self.0.store(times, Ordering::SeqCst);
    }

    fn strikes(&self) -> bool {
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }

    /// Makes a script that responds badly at the row's command.
    pub(super) fn spoil(&self, script: Script, row: &Row) -> Script {
        let (malice, answer) = (self.clone(), row.answer);
        script.ahead(row.at, move |heard| if malice.strikes() { answer.step(heard) } else { Step::Usual })
    }
}
