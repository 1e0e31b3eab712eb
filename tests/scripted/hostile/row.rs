//! What a row of the tables says: where a server answers badly, how, and what may come of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pymail::ErrorKind;

use crate::support::script::{Heard, Script, Step};

/// One bad answer.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) name: &'static str,
    /// The beginning of the command that is answered badly.
    pub(super) at: &'static str,
    pub(super) answer: Answer,
    pub(super) may: &'static [May],
}

pub(super) const fn row(name: &'static str, at: &'static str, answer: Answer, may: &'static [May]) -> Row {
    Row { name, at, answer, may }
}

/// What may come of a bad answer, for whoever calls the verb that meets it.
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
/// The connection is given up.
pub(super) const LOST: &[May] = &[May::Fail(ErrorKind::Connect), May::Fail(ErrorKind::Disconnected)];
/// It is given up, at the latest when time is over.
pub(super) const LOST_IN_TIME: &[May] =
    &[May::Fail(ErrorKind::Connect), May::Fail(ErrorKind::Disconnected), May::Fail(ErrorKind::Timeout)];
/// The same behind the end of a message.
pub(super) const RIGHT_OR_LOST: &[May] =
    &[May::Right, May::Fail(ErrorKind::Connect), May::Fail(ErrorKind::Disconnected)];

/// A bad answer. `TAG` stands for the client's tag.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    Says(&'static str),
    Octets(&'static [u8]),
    /// The first, many times the second, the last.
    Many(&'static str, &'static str, usize, &'static str),
    Endless(&'static str, &'static str),
    Drips(&'static str),
    SaysAndCloses(&'static str),
    Closes,
    Silent,
    /// From the second command of its kind on a connection.
    Later(&'static str),
    /// Made of the command.
    Made(fn(&str) -> String),
}

/// On a busy machine, reading that much may take all the time that there is.
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

/// How many bad answers a server still gives.
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

    /// A script that answers badly at the row's place.
    pub(super) fn spoil(&self, script: Script, row: &Row) -> Script {
        let (malice, answer) = (self.clone(), row.answer);
        script.ahead(row.at, move |heard| if malice.strikes() { answer.step(heard) } else { Step::Usual })
    }
}
