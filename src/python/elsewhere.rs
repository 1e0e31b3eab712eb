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

use super::imap::ImapSession;
use crate::error::{Error, Result};

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
    #[expect(dead_code, reason = "for the dead letters, which come next")]
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
    #[expect(dead_code, reason = "for the dead letters, which come next")]
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.elsewhere.is_some()
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
}
