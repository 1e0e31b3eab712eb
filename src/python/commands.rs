//! The commands of an IMAP session.
//!
//! Sets may be of any length: they are sent in portions, by [`in_portions`]. For COPY and MOVE callers do that, because
//! the next command of each portion depends on its response.
//!
//! | command | repeated after a lost connection |
//! | --- | --- |
//! | SEARCH, FETCH, STATUS, LIST | is safe |
//! | STORE, UID EXPUNGE | is safe: the same flags and the same UIDs again change nothing |
//! | COPY, MOVE | makes second copies: a move first looks for those that the lost command may have made |
//! | APPEND | makes a second mail, which does no harm: an entry of the log, or a note |

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use super::imap::{ImapSession, Uids};
use super::mails::Ahead;
use super::portions::in_portions;
use super::visits::known_uid;
use crate::error::Result;
use crate::fetched::{Attributes, Octets};
use crate::uid::{Uid, UidSet};

/// Messages with their UIDs, in the order in which they came.
pub(crate) type Entries = Vec<(Uid, Octets)>;

/// The UIDVALIDITY of a mailbox and the last UID that was read from it; 0 for none.
pub(crate) type Since = (u32, u32);

/// The messages that a COPY or MOVE has copied, as the server reports by COPYUID (RFC 4315).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    /// Exactly these; fewer than requested, if some were expunged. A set of none is possible, too.
    Uids(UidSet),
    /// The server did not report them: it has no UIDPLUS, or it has copied nothing, or its words can't be read. The
    /// caller then searches for the messages.
    Unknown,
}

impl ImapSession {
    /// Returns the messages that match a search program (RFC 3501, section 6.4.4).
    ///
    /// `criteria` are sent unchanged: callers check them. The result has messages that arrived up to now: NOOP is sent
    /// before it, mostly in the same flight, and the SEARCH repeated if the server has announced messages too late
    /// (Dovecot). A mailbox of more than 50,000 messages is searched in windows, newest first.
    ///
    /// # Errors
    ///
    /// `Refused` for a NO or BAD, and for more than 4,000,000 matches; a lost connection, also when a result is
    /// impossibly long.
    pub(crate) fn search(&mut self, criteria: &str) -> Result<UidSet> {
        let Uids(uids) = self.call("search", (criteria.to_owned(), false), "SEARCH")?;
        Ok(UidSet::new(self.validity(), uids))
    }

    /// Searches for all messages of ours, as [`search`](Self::search) does. What was announced before the result counts
    /// as seen: [`listen`](crate::connection::Session::listen) then waits for what comes after it.
    ///
    /// # Errors
    ///
    /// Those of [`search`](Self::search).
    pub(crate) fn search_new(&mut self, criteria: &str) -> Result<UidSet> {
        let Uids(uids) = self.call("search", (criteria.to_owned(), true), "SEARCH")?;
        Ok(UidSet::new(self.validity(), uids))
    }

    /// Searches for all mail, as [`search_new`](Self::search_new) does; what was announced counts as seen only after
    /// [`all_read`](Self::all_read).
    ///
    /// # Errors
    ///
    /// Those of [`search`](Self::search).
    pub(crate) fn list_all(&mut self) -> Result<UidSet> {
        let Uids(uids) = self.call("list_all", (), "SEARCH")?;
        Ok(UidSet::new(self.validity(), uids))
    }

    /// Takes what the last [`list_all`](Self::list_all) has seen for searched. Sends nothing.
    pub(crate) fn all_read(&mut self) -> Result<()> {
        self.python.run("all_read", (), "SEARCH")
    }

    /// Returns `true` if mail may have arrived that no list has seen whose mail was read. Sends nothing.
    pub(crate) fn has_unlisted(&mut self) -> Result<bool> {
        self.call("has_unlisted", (), "SEARCH")
    }

    /// Appends a message to a mailbox, which is created if it is missing.
    ///
    /// With `\Seen`. A server that refuses APPEND has stored nothing (RFC 3501, section 6.3.11), so that the second
    /// attempt makes no second mail.
    ///
    /// # Errors
    ///
    /// `Refused`, also after the mailbox was created, or when it can't be; a lost connection, after which the mail may
    /// be stored.
    pub(crate) fn append(&mut self, mailbox: &str, mail: &[u8]) -> Result<()> {
        let mail = mail.to_vec();
        self.creating(mailbox, |session, mailbox| {
            session.python.run("append", (mailbox, Cow::Borrowed(&*mail)), "APPEND")
        })
    }

    /// Appends a mail to a mailbox, which must exist, with `\Seen`.
    ///
    /// # Errors
    ///
    /// `Refused`; a lost connection, after which the mail may be stored.
    pub(crate) fn append_to_existing(&mut self, mailbox: &str, mail: &[u8]) -> Result<()> {
        self.python.run("append", (mailbox, Cow::Borrowed(mail)), "APPEND")
    }

    /// Returns the UIDNEXT of another mailbox; `None` when the server does not send it.
    ///
    /// Another value than before shows that mail was added; the same one that none was, as UIDs only ascend (RFC 3501,
    /// section 2.3.1.1). Costs a round trip, and no SELECT.
    pub(crate) fn next_uid(&mut self, mailbox: &str) -> Result<Option<u32>> {
        self.call("next_uid_of", (mailbox,), "STATUS")
    }

    /// Returns the names of the mailboxes that match a pattern; none when the server refuses to list them.
    ///
    /// The pattern is LIST's: `*` stands for any characters (RFC 3501, section 6.3.8). Names that come as literals are
    /// left out.
    pub(crate) fn mailboxes(&mut self, pattern: &str) -> Result<Vec<String>> {
        self.call("mailboxes", (pattern,), "LIST")
    }

    /// Returns how often each of these messages was delivered, by its keywords.
    ///
    /// Messages without such a keyword have 0. Those without FLAGS in their response are left out: their count is
    /// unknown.
    pub(crate) fn delivery_counts(&mut self, set: &UidSet) -> Result<Vec<(Uid, u32)>> {
        // Flags without a UID may come unasked.
        self.attributes(set, "(UID FLAGS)", |it| Ok(it.uid.zip(it.flags.map(|flags| flags.deliveries))))
    }

    /// Marks these messages as delivered for the nth time, if the server has keywords.
    ///
    /// Adds a keyword and removes none. Without keywords (no `\*` in PERMANENTFLAGS, RFC 3501, section 7.1) nothing is
    /// sent. An OK is no proof: pymap answers OK, and stores nothing.
    pub(crate) fn mark_delivery(&mut self, set: &UidSet, nth: u32) -> Result<()> {
        in_portions(self, set, |session, portion| {
            session.python.run("mark_delivery", (portion.to_string(), nth), "STORE")?;
            session.done(portion)
        })
    }

    /// Returns the sizes of these messages (RFC822.SIZE).
    ///
    /// Messages that the server sends no size for are left out. Some servers estimate sizes.
    pub(crate) fn sizes(&mut self, set: &UidSet) -> Result<Vec<(Uid, u64)>> {
        let uid = |it: &Attributes| known_uid(it, "FETCH");
        self.attributes(set, "(UID RFC822.SIZE)", |it| it.size.map(|size| Ok((uid(it)?, size))).transpose())
    }

    /// Fetches one attribute of each message; `value` returns it with the UID.
    ///
    /// Drops messages that were not requested, which come unsolicited.
    ///
    /// # Errors
    ///
    /// A refusal, after the portions before it; the error of `value`; a lost connection.
    fn attributes<T>(
        &mut self,
        set: &UidSet,
        items: &str,
        value: impl Fn(&Attributes) -> Result<Option<(Uid, T)>>,
    ) -> Result<Vec<(Uid, T)>> {
        let mut all = Vec::new();
        in_portions(self, set, |session, portion| {
            let (some, refusal) = session.fetch_attributes(&portion.to_string(), items, 0, "FETCH")?;
            refusal.map_or(Ok(()), Err)?;
            for it in &some {
                all.extend(value(it)?.filter(|(uid, _)| portion.contains(*uid)));
            }
            session.done(portion)
        })?;
        Ok(all)
    }

    /// Returns `true` if a fetch may be sent behind a MOVE: the last one needed no search for its messages.
    pub(crate) fn can_send_ahead(&self) -> bool {
        self.profile.names_moved.load(Ordering::Relaxed)
    }

    /// Returns `true` if a command has room for all messages of a set.
    pub(crate) fn fits(&self, set: &UidSet) -> bool {
        self.profile.portion(set).len() == set.len()
    }

    /// Copies these messages to another mailbox (RFC 3501, section 6.4.7); COPY does all or nothing.
    ///
    /// After a lost connection, or a timeout, all or none of them may be copied. Copies have new UIDs. Callers see to the
    /// length of the command.
    ///
    /// # Errors
    ///
    /// `StaleUids` before anything is sent; `Refused`, on most servers with `TRYCREATE` for a missing mailbox; a lost
    /// connection.
    pub(crate) fn copy(&mut self, set: &UidSet, mailbox: &str) -> Result<Copied> {
        self.check(set)?;
        let copyuid: Option<String> = self.call("copy", (set.to_string(), mailbox.to_owned()), "COPY")?;
        Ok(copyuid.map_or(Copied::Unknown, |words| copied(&words, set)))
    }

    /// Moves these messages to another mailbox (MOVE, RFC 6851).
    ///
    /// MOVE is not atomic: after a lost connection or a refusal, each message is in the inbox, in the other mailbox, or
    /// in both (section 3.3).
    ///
    /// Sends the next fetch behind it: whatever becomes of that, it does not change the result of the move.
    ///
    /// # Errors
    ///
    /// As [`copy`](Self::copy).
    pub(crate) fn move_to(&mut self, set: &UidSet, mailbox: &str, ahead: Option<&Ahead>) -> Result<Copied> {
        self.check(set)?;
        let ahead = ahead.map(|ahead| ahead.args(set.len()));
        let copyuid: Option<String> =
            self.call("move", (set.to_string(), mailbox.to_owned(), ahead), "MOVE")?;
        let moved = copyuid.map_or(Copied::Unknown, |words| copied(&words, set));
        let names_all = matches!(&moved, Copied::Uids(uids) if uids.len() == set.len());
        self.profile.names_moved.store(names_all, Ordering::Relaxed);
        Ok(moved)
    }

    /// Flags these messages `\Deleted`.
    ///
    /// Silently (`+FLAGS.SILENT`), so that no FETCH response comes for each. The messages stay until they are expunged;
    /// other clients may show them.
    pub(crate) fn flag_deleted(&mut self, set: &UidSet) -> Result<()> {
        in_portions(self, set, |session, portion| {
            session.python.run("flag_deleted", (portion.to_string(),), "STORE")?;
            session.done(portion)
        })
    }

    /// Removes those of these messages that are flagged `\Deleted` (UIDPLUS, RFC 4315).
    ///
    /// Never EXPUNGE or CLOSE, which would also remove what other clients have flagged.
    pub(crate) fn expunge(&mut self, set: &UidSet) -> Result<()> {
        in_portions(self, set, |session, portion| {
            session.python.run("expunge", (portion.to_string(),), "EXPUNGE")?;
            session.done(portion)
        })
    }
}

/// Parses COPYUID's three words: the target's UIDVALIDITY, the UIDs here, the UIDs there. Keeps only requested UIDs.
///
/// A range may be reversed (RFC 4315, section 4). One that names more UIDs than were requested makes the whole response
/// `Unknown`, before it takes memory. The third word is not needed, and not checked.
pub(super) fn copied(words: &str, requested: &UidSet) -> Copied {
    let here = words.split_whitespace().nth(1);
    let here = here.and_then(|set| UidSet::parse(requested.validity(), set, requested.len()));
    here.map_or(Copied::Unknown, |mut set| {
        set.retain(|uid| requested.contains(uid));
        Copied::Uids(set)
    })
}
