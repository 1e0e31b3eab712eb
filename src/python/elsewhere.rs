//! Runs commands in another mailbox in place of the inbox: the mailbox of dead letters.
//!
//! ```text
//!  SELECT other ─▶ SEARCH, FETCH, STORE, COPY, MOVE, UID EXPUNGE, and visits of the inbox ─▶ SELECT inbox
//! ```
//!
//! Unlike in a [visit](super::visits), all commands of an [`ImapSession`] can be sent: UIDs are bound to the other
//! mailbox, and a visit of a third one comes back to it. So a message is moved back by the same steps as it is archived.
//!
//! If the connection is lost meanwhile, nothing has to be undone: the next connection selects the inbox.

use std::collections::HashSet;

use super::copies::may_pass;
use super::imap::ImapSession;
use super::portions::in_portions;
use crate::error::{Error, Result};
use crate::uid::{Uid, UidSet};

/// The mails whose headers are fetched with one command, and the octets of headers of each: 16 MiB at most.
const HEADERS_WINDOW: usize = 1_000;
const HEADER_OCTETS: usize = 16 << 10;

/// The most FETCH commands in a row that may be refused for good without a mail: then no more sets are halved.
const MAX_REFUSED: usize = 100;

/// The keywords that are removed with one command.
const KEYWORDS: usize = 50;

impl ImapSession {
    /// Selects another mailbox in place of the inbox, runs `work`, and selects the inbox again, unless the connection is
    /// lost.
    ///
    /// Selects with EXAMINE if `is_readonly`. Afterwards all messages of the inbox count as not searched yet.
    ///
    /// # Errors
    ///
    /// A refused SELECT, also `READ-ONLY` and without a UIDVALIDITY, with the inbox selected again; the error of `work`;
    /// a lost connection, also if the inbox can't be selected again or has another UIDVALIDITY.
    pub(crate) fn within<T>(
        &mut self,
        mailbox: &str,
        is_readonly: bool,
        work: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let action = "opening another mailbox";
        let number: u32 = self.call("replace_inbox", (mailbox, is_readonly), action)?;
        self.elsewhere = Some(self.validity().of_other_mailbox(number, mailbox));
        let result = work(self);
        self.elsewhere = None;
        if result.as_ref().is_err_and(Error::ends_connection) {
            return result;
        }
        self.python.run("restore_inbox", (), action)?;
        result
    }

    /// Returns `true` while another mailbox is selected in place of the inbox.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.elsewhere.is_some()
    }

    /// Runs searches that only count messages: those that arrived stay announced, and the next fetch looks for them.
    ///
    /// # Errors
    ///
    /// Those of `search`.
    pub(crate) fn counting<T>(&mut self, search: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.python.run("count_only", (true,), "SEARCH")?;
        let result = search(self);
        if result.as_ref().is_err_and(Error::ends_connection) {
            return result;
        }
        self.python.run("count_only", (false,), "SEARCH")?;
        result
    }

    /// Returns how many messages match a search program; `None` where the server gives no count of all (ESEARCH, RFC
    /// 4731).
    ///
    /// `criteria` are sent unchanged: callers check them.
    ///
    /// # Errors
    ///
    /// `Refused` for a NO or BAD; a lost connection.
    pub(crate) fn count_matches(&mut self, criteria: &str) -> Result<Option<usize>> {
        self.call("count_matches", (criteria,), "SEARCH")
    }

    /// Returns how many messages of another mailbox match, in one round trip if the server counts.
    ///
    /// # Errors
    ///
    /// `Refused` for a mailbox that can't be selected or searched; a lost connection.
    pub(crate) fn count_in(&mut self, mailbox: &str, criteria: &str) -> Result<usize> {
        let action = "counting messages";
        if let Some(count) = self.call("count_in", (mailbox, criteria), action)? {
            return Ok(count);
        }
        let search = |session: &mut Self, _| session.search_here(criteria, action);
        self.visit(mailbox, true, action, search).map(|found| found.len())
    }

    /// Fetches the headers by which dead letters and notes are told apart; passes them to `read`, up to 16 KiB of each.
    ///
    /// Leaves out mail whose headers the server refuses for good; it is found by halves, since a refused command may have
    /// fetched some, or none.
    ///
    /// # Errors
    ///
    /// `StaleUids`; a transient refusal; one of many in a row, if nothing has arrived; a lost connection.
    pub(crate) fn dead_mail_headers(&mut self, set: &UidSet, mut read: impl FnMut(Uid, &[u8])) -> Result<()> {
        let items = format!(
            "(UID BODY.PEEK[HEADER.FIELDS (MESSAGE-ID SUBJECT FROM IN-REPLY-TO)]<0.{HEADER_OCTETS}>)"
        );
        let mut parts = set.chunks_of(HEADERS_WINDOW);
        parts.reverse();
        let (mut refused_in_a_row, mut has_arrived) = (0, false);
        while let Some(part) = parts.pop() {
            in_portions(self, &part, |session, portion| {
                let room = portion.len() * HEADER_OCTETS;
                let (some, refusal) = session.fetch_attributes(
                    &portion.to_string(),
                    &items,
                    room,
                    "reading the dead letters",
                )?;
                let mut left = portion.clone();
                let mut arrived = HashSet::new();
                for it in some {
                    if let (Some(uid), Some(headers)) = (it.uid, it.section.or(it.mail)) {
                        arrived.insert(uid);
                        read(uid, &headers);
                    }
                }
                left.retain(|uid| !arrived.contains(&uid));
                has_arrived |= !arrived.is_empty();
                refused_in_a_row =
                    if refusal.is_none() || !arrived.is_empty() { 0 } else { refused_in_a_row + 1 };
                let is_for_good = |error: &Error| {
                    !may_pass(error) && session.profile.smaller_limits(portion, error).is_none()
                };
                match refusal {
                    Some(error) if !is_for_good(&error) => Err(error),
                    Some(error) if refused_in_a_row == MAX_REFUSED && !has_arrived => Err(error),
                    Some(_) => {
                        if left.len() > 1 && refused_in_a_row < MAX_REFUSED {
                            parts.extend(left.halves());
                        }
                        Ok(portion.clone())
                    }
                    None => session.done(portion),
                }
            })?;
        }
        Ok(())
    }

    /// Removes the keywords of the first `highest` deliveries from these messages, if the server has keywords.
    pub(crate) fn unmark_deliveries(&mut self, set: &UidSet, highest: u32) -> Result<()> {
        let keywords: Vec<String> = (1..=highest).map(|nth| format!("$PymailDelivery{nth}")).collect();
        for some in keywords.chunks(KEYWORDS) {
            self.change_keywords(set, "-", &some.join(" "))?;
        }
        Ok(())
    }

    /// Marks these messages as redriven, if the server has keywords: receivers deliver them even if they have
    /// acknowledged the same message before.
    pub(crate) fn mark_redriven(&mut self, set: &UidSet) -> Result<()> {
        self.change_keywords(set, "+", "$PymailRedriven")
    }

    fn change_keywords(&mut self, set: &UidSet, sign: &str, keywords: &str) -> Result<()> {
        in_portions(self, set, |session, portion| {
            session.python.run("change_keywords", (portion.to_string(), sign, keywords), "STORE")?;
            session.done(portion)
        })
    }
}
