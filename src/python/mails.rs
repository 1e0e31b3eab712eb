//! Fetches messages in windows, several of them in flight.
//!
//! ```text
//!  window    1:200     201:400            401:600     601:800     801:1000    1001:1200
//!  state     received  is being received  in flight   in flight   in flight   not made yet: made and sent
//!                                                                             when 201:400 is complete
//! ```
//!
//! So a server always has the next command, and Dovecot with maildir need not scan the folder for each. Commands in
//! flight can't be taken back: after a refusal, no more are sent, and the responses to the others are still read.

use std::collections::VecDeque;
use std::time::SystemTime;

use pyo3::prelude::*;

use super::imap::{ImapSession, Uids};
use super::receive::{Chunk, RESPONSE_LIMIT};
use crate::error::{Error, Result};
use crate::fetched::{Attributes, Flags, IsComplete, Octets};
use crate::uid::{Uid, UidSet};

/// The most windows in flight.
const IN_FLIGHT: usize = 4;

/// The messages whose sizes decide the next windows, before the first window is complete.
///
/// Dovecot completes no FETCH while another one is in flight: without waiting for that, it always has the next command.
const SAMPLE: usize = 64;

/// The messages of one FETCH command, and the limits of its responses.
pub(crate) struct Window {
    pub(crate) uids: UidSet,
    pub(crate) part: Part,
    /// The octets that are requested of each message, from its beginning.
    ///
    /// Of whole messages one octet more than `max_message` allows, which tells one that is too large.
    pub(crate) most: usize,
    /// The octets that the responses may have, beside [`RESPONSE_LIMIT`]; more end the connection. More than the
    /// messages of the window need, since servers ignore `<0.n>` or announce wrong sizes.
    pub(crate) room: usize,
}

/// The part of each message that a window requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The message up to [`Window::most`] octets: `BODY.PEEK[]<0.n>` (RFC 3501, section 6.4.5).
    Whole,
    /// The message from this octet on, up to [`Window::most`] octets. A server that ignores where to begin sends the whole
    /// message; anything else than that or the rest is dropped, and counts as not arrived.
    Rest(usize),
    /// The message without a limit; [`Window::most`] is not sent. For a message that came shorter than its RFC822.SIZE:
    /// some servers send fewer octets than are requested. The responses are bounded all the same, by [`Window::room`].
    Entire,
    /// The identifying headers: Message-ID, Subject and From.
    Headers,
}

/// A fetch that is sent before it is called for, behind a [`move_to`](ImapSession::move_to). The same call uses the
/// responses if it is the next one; any other drops them.
pub(crate) enum Ahead {
    /// That of [`prefetch`](ImapSession::prefetch): the criteria, the most messages, and the octets of each.
    NewMail { criteria: String, count: usize, most: usize },
    /// The first window of [`fetch`](ImapSession::fetch).
    Window(Window),
}

impl Ahead {
    /// Returns the arguments for Python, when so many messages are about to leave the mailbox.
    pub(super) fn args(&self, leaving: usize) -> (String, usize, String, usize, usize) {
        match self {
            Self::NewMail { criteria, count, most } => {
                (criteria.clone(), *count, whole_items(*most), leaving, count.saturating_mul(*most))
            }
            Self::Window(window) => (window.uids.to_string(), 0, window.items(), leaving, window.room),
        }
    }
}

/// A window that was requested in the same flight as the SEARCH that found its messages.
pub(crate) struct Prefetched {
    pub(crate) window: Window,
    /// The first chunk of its responses, and the octets of that chunk.
    first: (Vec<u8>, Chunk),
}

/// The messages of failed windows, some of which may have arrived before the failure: the caller knows those. The
/// server stopped at the first of the others.
pub(crate) struct Failure {
    pub(crate) uids: UidSet,
    /// The server's refusal, or the lost connection.
    pub(crate) error: Error,
}

/// A plan of the windows of a fetch. Made while the fetch runs: the sizes that arrived first decide the later windows.
pub(crate) trait Windows {
    /// Returns the next window to request; `None` after the last one.
    fn next(&mut self) -> Option<Window>;

    /// Records messages that arrived, of which `most` octets each were requested. Called before they are delivered, and
    /// before the next window is made.
    fn record(&mut self, _mails: &[Mail], _most: usize) {}
}

/// A single window. It is requested as it is, in parts only if the server limits its commands.
impl Windows for Option<Window> {
    fn next(&mut self) -> Option<Window> {
        self.take()
    }
}

/// A message, or its beginning, as the server sent it.
pub(crate) struct Mail {
    pub(crate) uid: Uid,
    /// RFC822.SIZE; 0 when the server sent none, or with [`Part::Headers`].
    size: u64,
    /// `true` if another client has flagged it `\Deleted`.
    pub(crate) is_deleted: bool,
    /// INTERNALDATE; `None` when the server sent none or no date, or with [`Part::Headers`].
    pub(crate) arrived_at: Option<SystemTime>,
    /// `true` if it was moved back from the dead letters: it is delivered even if it was acknowledged before.
    pub(crate) is_redriven: bool,
    /// The place of the first octet in the message; 0 unless it is a rest.
    origin: u64,
    octets: Octets,
}

impl Mail {
    /// Returns `true` for the rest of a message.
    pub(crate) fn is_rest(&self) -> bool {
        self.origin > 0
    }

    /// Returns the whole message of this size, of its beginning and this rest; `None` if they are not that.
    pub(crate) fn behind(&self, mut beginning: Vec<u8>, size: u64) -> Option<Self> {
        let is_next = self.origin == beginning.len() as u64;
        beginning.extend_from_slice(&self.octets);
        let is_whole = is_next && self.size == size && size == beginning.len() as u64;
        is_whole.then(|| Self { origin: 0, octets: beginning.into(), ..*self })
    }

    /// Returns the octets that arrived; none when the server withholds the message, since no mail is empty.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Returns the size of the whole message: RFC822.SIZE, or the octets that arrived if those are more.
    pub(crate) fn size(&self) -> u64 {
        self.size.max(self.octets().len() as u64)
    }

    /// Returns `true` if the message is complete, `asked` octets having been requested.
    ///
    /// Some servers estimate RFC822.SIZE: a message shorter than requested is complete even if RFC822.SIZE is larger.
    ///
    /// Exactly as many octets as requested may be a beginning, unless RFC822.SIZE says the same number.
    pub(crate) fn is_whole(&self, asked: usize) -> bool {
        self.octets().len() < asked || self.size == asked as u64 || self.exceeds_request(asked)
    }

    /// Returns `true` if less arrived than was requested, and less than RFC822.SIZE.
    ///
    /// Then either the server has sent too little, or its sizes are estimates: fetching it without a limit shows which.
    pub(crate) fn is_short(&self, asked: usize) -> bool {
        let arrived = self.octets().len();
        arrived < asked && (arrived as u64) < self.size
    }

    /// Returns `true` if the whole message arrived though fewer octets were requested: some servers ignore `<0.n>`.
    pub(crate) fn exceeds_request(&self, asked: usize) -> bool {
        let arrived = self.octets().len();
        arrived > asked && arrived as u64 >= self.size
    }
}

impl Window {
    /// Returns the FETCH items of this window.
    ///
    /// `BODY.PEEK[]`, which iCloud needs, too, does not set `\Seen`. FLAGS show a `\Deleted` that another client has
    /// set since the SEARCH. INTERNALDATE is in the index of a server that has one, or with the file of the mail.
    fn items(&self) -> String {
        match self.part {
            Part::Whole => whole_items(self.most),
            Part::Rest(from) => rest_items(from, self.most),
            Part::Entire => "(UID FLAGS RFC822.SIZE INTERNALDATE BODY.PEEK[])".into(),
            Part::Headers => format!("(UID {})", identifying_headers(self.most)),
        }
    }

    /// Returns the most octets that the responses may have.
    fn limit(&self) -> usize {
        RESPONSE_LIMIT.saturating_add(self.room)
    }
}

impl Part {
    /// Returns the rule by which a message is complete: FLAGS are not required, some servers leave them out, nor is INTERNALDATE.
    fn is_complete(self) -> IsComplete {
        match self {
            Part::Whole | Part::Entire => |it| it.size.is_some() && it.mail.is_some(),
            Part::Rest(_) => |it| it.size.is_some() && (it.mail.is_some() || it.rest.is_some()),
            Part::Headers => |it| it.section.is_some(),
        }
    }

    /// Makes a message; `None` if it has no UID, or no octets were sent.
    ///
    /// A message without a UID can't be told from others: it is dropped here, and counts as one that did not arrive.
    fn mail(self, it: Attributes) -> Option<Mail> {
        let (uid, flags) = (it.uid?, it.flags.unwrap_or_default());
        let Flags { is_deleted, is_redriven, .. } = flags;
        let (size, arrived_at) = (it.size.unwrap_or_default(), it.arrived_at);
        let mail = |origin, octets| Mail { uid, size, is_deleted, arrived_at, is_redriven, origin, octets };
        match self {
            Part::Whole | Part::Entire => Some(mail(0, it.mail?)),
            Part::Rest(from) => match it.rest {
                Some((origin, octets)) => (origin == from as u64).then(|| mail(origin, octets)),
                // A rest without its place would be taken for the whole message.
                None => it.mail.filter(|octets| octets.len() as u64 == size).map(|octets| mail(0, octets)),
            },
            // Some servers send the whole message instead of the headers.
            Part::Headers => {
                let octets = it.section.or(it.mail)?;
                Some(Mail {
                    uid,
                    size: 0,
                    is_deleted: false,
                    is_redriven: false,
                    arrived_at: None,
                    origin: 0,
                    octets,
                })
            }
        }
    }
}

/// Returns the FETCH items of the first `most` octets of a message.
fn whole_items(most: usize) -> String {
    rest_items(0, most)
}

/// Returns the FETCH items of `most` octets of a message, from this one on.
fn rest_items(from: usize, most: usize) -> String {
    format!("(UID FLAGS RFC822.SIZE INTERNALDATE BODY.PEEK[]<{from}.{most}>)")
}

/// Returns the FETCH item for the first `most` octets of the headers that identify a message (RFC 3501, section 6.4.5):
/// some 200 octets of most mails.
pub(super) fn identifying_headers(most: usize) -> String {
    format!("BODY.PEEK[HEADER.FIELDS (MESSAGE-ID SUBJECT FROM)]<0.{most}>")
}

impl ImapSession {
    /// Searches for up to `count` new messages and requests `most` octets of each, in one flight (SEARCHRES, RFC 5182).
    ///
    /// Returns what is to be passed to [`receive_prefetched`](Self::receive_prefetched). Returns `None` where the
    /// server does not support that.
    ///
    /// The commands in flight, the range being that of the next `count` UIDs, so that no more messages come than are
    /// wanted:
    ///
    /// ```text
    ///  SELECT of the inbox, or NOOP if it has more than 200 messages    announces new messages
    ///  UID SEARCH RETURN (SAVE ALL) UID 801:1000 ...                    saves its result as $
    ///  UID FETCH $ (...)                                                is what `receive_prefetched` receives
    ///  UID SEARCH RETURN (ALL) NOT UID 801:1000 ...                     finds the other messages
    /// ```
    ///
    /// Dovecot answers a SEARCH that it reads together with a NOOP before it looks for new messages; only SELECT makes
    /// it look first, which takes it time for each message in the mailbox.
    ///
    /// If they were sent [ahead](Ahead) and have found nothing, they are sent again, unless the caller `trusts_none`.
    ///
    /// `None` also while UIDNEXT is unknown or older messages were not searched yet, when more messages than `count`
    /// have been announced, and when NOOP has announced some too late.
    ///
    /// # Errors
    ///
    /// A lost connection. A refusal is `None`, and switches prefetching off for this connection: the server announces
    /// SEARCHRES and does not support it.
    pub(crate) fn prefetch(
        &mut self,
        criteria: &str,
        count: usize,
        most: usize,
        trusts_none: bool,
    ) -> Result<Option<Prefetched>> {
        let (uids, room) = (UidSet::empty(self.validity()), count.saturating_mul(most));
        let window = Window { uids, part: Part::Whole, most, room };
        let args = (criteria, count, window.items(), room, trusts_none);
        let context = self.python.context("SEARCH and FETCH");
        let found = self.python.with(
            context,
            "prefetch",
            |_| Ok(args),
            |found| {
                let found = found.extract::<Option<(Uids, Bound<'_, PyAny>)>>()?;
                let read = |(Uids(uids), chunk)| {
                    let mut octets = Vec::new();
                    let chunk = Chunk::read(&chunk, &mut octets)?;
                    Ok((uids, (octets, chunk)))
                };
                found.map(read).transpose()
            },
        )?;
        if let (Some(transcript), Some((_, (octets, _)))) = (self.python.transcript(), &found) {
            transcript.note_handed_over(octets.len());
        }
        Ok(found.map(|(uids, first)| {
            let window = Window { uids: UidSet::new(self.validity(), uids), ..window };
            Prefetched { window, first }
        }))
    }

    /// Returns the messages that match outside of a prefetch whose FETCH was refused; `None` if the search for them
    /// was refused, too. The response to that search is still in flight.
    pub(crate) fn remaining_matches(&mut self) -> Result<Option<UidSet>> {
        let found: Option<Uids> = self.call("remaining_matches", (), "SEARCH")?;
        Ok(found.map(|Uids(uids)| UidSet::new(self.validity(), uids)))
    }

    /// Ends prefetching on this connection: the server announces SEARCHRES and does not support it.
    pub(crate) fn stop_prefetching(&mut self) -> Result<()> {
        self.python.run("stop_prefetching", (), "SEARCH and FETCH")
    }

    /// Fetches messages in windows, up to four of them in flight; passes them to `deliver`, with the octets that were
    /// requested of each. Drops messages that were not requested.
    ///
    /// After a failure no further window is requested; messages that arrived whole before it are delivered. If the
    /// connection is lost, the failure names the window whose responses were being read.
    ///
    /// Returns `None` if all windows were fetched; not, that all messages have arrived: the server sends nothing for
    /// expunged ones, and may withhold others.
    ///
    /// A window that is refused as too large is requested again in parts, before further windows.
    ///
    /// # Errors
    ///
    /// `StaleUids` for a window of another UIDVALIDITY. A lost connection and a refusal are no errors here but a
    /// [`Failure`], since messages may have arrived before.
    pub(crate) fn fetch(
        &mut self,
        windows: &mut impl Windows,
        mut deliver: impl FnMut(Vec<Mail>, usize),
    ) -> Result<Option<Failure>> {
        let (mut asked, mut taken, mut failure) = (Vec::new(), 0, None::<Failure>);
        let mut parts = VecDeque::<Window>::new(); // of windows that were too large for the server
        let mut count = 0;
        loop {
            if failure.is_none() {
                match self.request_more(windows, &mut parts, &mut asked, taken) {
                    Err(error) if error.ends_connection() => {
                        return Ok(Some(self.lost(&asked[taken], error)));
                    }
                    requested => requested?,
                }
            }
            let Some(window) = asked.get(taken) else { return Ok(failure) };
            let (part, limit, is_complete) = (window.part, window.limit(), window.part.is_complete());
            let received = self.receive(None, limit, is_complete, "FETCH", |session, complete| {
                count += complete.len();
                let mails = complete.into_iter().filter_map(|it| part.mail(it)).collect();
                hand_over(mails, &asked, taken, |mails, most| {
                    windows.record(&mails, most);
                    deliver(mails, most);
                });
                if failure.is_none() && count >= SAMPLE {
                    session.request_more(windows, &mut parts, &mut asked, taken)?;
                }
                Ok(())
            });
            let window = &asked[taken];
            taken += 1;
            let Err(error) = received else { continue };
            if error.ends_connection() {
                return Ok(Some(self.lost(window, error)));
            }
            if self.profile.smaller_limits(&window.uids, &error).is_some() {
                parts.extend(self.smaller(window, &error)?);
            } else {
                // The responses to the other windows are still to be read.
                failure = Some(Failure::add(failure, &window.uids, error));
            }
        }
    }

    /// Requests further windows, until four are in flight or the plan has no more.
    fn request_more(
        &mut self,
        windows: &mut impl Windows,
        parts: &mut VecDeque<Window>,
        asked: &mut Vec<Window>,
        taken: usize,
    ) -> Result<()> {
        while asked.len() < taken + IN_FLIGHT
            && let Some(window) = parts.pop_front().or_else(|| windows.next())
        {
            self.check(&window.uids)?;
            let window = self.fitting(window, parts);
            let (uids, items) = (window.uids.to_string(), window.items());
            asked.push(window);
            self.request(&uids, &items, "FETCH")?;
        }
        Ok(())
    }

    /// Receives the messages of a prefetch, and passes on those of its window. Returns the other messages that match;
    /// `None` if the search for them was refused.
    ///
    /// # Errors
    ///
    /// A lost connection; `Refused` for the FETCH, after which [`remaining_matches`](Self::remaining_matches) must be
    /// called.
    pub(crate) fn receive_prefetched(
        &mut self,
        Prefetched { window, first }: Prefetched,
        mut deliver: impl FnMut(Vec<Mail>),
    ) -> Result<Option<UidSet>> {
        let (limit, is_complete) = (window.limit(), window.part.is_complete());
        let received = self.receive(Some(first), limit, is_complete, "FETCH", |_, complete| {
            let mails = complete.into_iter().filter_map(|it| window.part.mail(it));
            deliver(mails.filter(|mail| window.uids.contains(mail.uid)).collect());
            Ok(())
        });
        if received.as_ref().is_err_and(Error::ends_connection) {
            self.profile.note_lost(&window.uids);
        }
        received
    }

    /// Makes the failure for a connection that was lost at a window. It names the oldest window in flight, also if the
    /// loss was noticed on sending another one: the server writes responses in order, so it ended at that window.
    fn lost(&self, answered: &Window, error: Error) -> Failure {
        self.profile.note_lost(&answered.uids);
        Failure { uids: answered.uids.clone(), error }
    }

    /// Returns the beginning of a window that fits into one command; puts the rest in front of `parts`.
    fn fitting(&self, window: Window, parts: &mut VecDeque<Window>) -> Window {
        let uids = self.profile.portion(&window.uids);
        if uids.len() == window.uids.len() {
            return window;
        }
        parts.push_front(Window { uids: window.uids.skip(uids.len()), ..window });
        Window { uids, ..window }
    }

    /// Returns what a refused command has not fetched, and lowers the limits of later commands; `None` if it has
    /// fetched all.
    ///
    /// With MESSAGELIMIT (RFC 9738), a server processes the messages with the highest UIDs, and says how far it came.
    fn smaller(&mut self, window: &Window, error: &Error) -> Result<Option<Window>> {
        let done = self.done(&window.uids)?;
        let is_limited = done.len() < window.uids.len();
        if !is_limited {
            self.profile.shrink(&window.uids, error);
        }
        let mut uids = window.uids.clone();
        uids.retain(|uid| !is_limited || !done.contains(uid));
        Ok((!uids.is_empty()).then_some(Window { uids, ..*window }))
    }
}

impl Failure {
    /// Adds a failed window to earlier ones; the first error stays.
    fn add(before: Option<Self>, uids: &UidSet, error: Error) -> Self {
        let Some(before) = before else { return Self { uids: uids.clone(), error } };
        let both = before.uids.iter().chain(uids.iter());
        Self { uids: UidSet::new(uids.validity(), both), error: before.error }
    }
}

/// Hands over each message with its window: a server may send those of a later window first (RFC 3501, section 5.5).
///
/// Looks at the window that is being received first, so that the usual case is one pass. A message of no window was not
/// requested, and is dropped: an unsolicited FETCH response, for example, of flags that changed.
fn hand_over(
    mut mails: Vec<Mail>,
    asked: &[Window],
    taken: usize,
    mut deliver: impl FnMut(Vec<Mail>, usize),
) {
    for window in asked[taken..].iter().chain(&asked[..taken]) {
        if mails.is_empty() {
            return;
        }
        let others = mails.extract_if(.., |mail| !window.uids.contains(mail.uid)).collect();
        deliver(std::mem::replace(&mut mails, others), window.most);
    }
}
