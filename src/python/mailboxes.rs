//! Creates the archive and the mailboxes that belong to it, under names that the server allows.
//!
//! | the server | names that are tried for the archive `TAG` |
//! | --- | --- |
//! | any | `TAG` with the prefix of the personal namespace (RFC 2342) |
//! | refuses it | within INBOX: `INBOX.TAG`; then with `-` for each delimiter in the name |
//! | refuses them, too | within Folders: `Folders/TAG`, as Proton Mail Bridge wants it |
//!
//! `dead` and `claims` are within the archive, or beside it, as `TAG-dead`, where the server allows no mailbox within
//! another; an existing mailbox of either name comes first.
//!
//! Only the server's permanent refusals decide. So all handles of an archive, on any machine, use the same mailboxes.

use super::imap::ImapSession;
use crate::error::{Error, ErrorKind, Result};
use crate::events;

/// The name of a mailbox, and the count of its messages, if the server tells that.
pub(crate) type Existing = (String, Option<u32>);

impl ImapSession {
    /// Creates the archive, unless it exists, under the first of these names that the server accepts.
    ///
    /// Only a permanent refusal leads to the next name: after a transient one, another consumer could choose another
    /// name.
    ///
    /// CREATE is sent for an existing archive, too: the answer, ALREADYEXISTS or a STATUS that succeeds, tells that it
    /// exists.
    ///
    /// # Errors
    ///
    /// The first refusal, if all names are refused; a transient refusal of any name; a lost connection.
    pub(super) fn make_archive(&mut self, names: Vec<String>) -> Result<()> {
        let mut refused = None;
        for name in names {
            match self.create(&name) {
                Ok(is_empty) => {
                    (self.archive, self.archive_is_empty) = (name, is_empty);
                    return Ok(());
                }
                Err(error) if is_name_refused(&error) => drop(refused.get_or_insert(error)),
                Err(error) => return Err(error),
            }
        }
        Err(refused
            .unwrap_or_else(|| Error::new(ErrorKind::Refused, "the server accepts no name for the archive")))
    }

    /// Returns the name of a mailbox within the archive, or of the one beside it that replaces it.
    ///
    /// Known only after the mailbox was needed once: until then it is the name within the archive.
    pub(crate) fn archive_child(&self, name: &str) -> String {
        let child = self.child_name(&self.archive, name);
        self.replacements.get(&child).cloned().unwrap_or(child)
    }

    /// Returns the name of a mailbox within another one; with `-` between the names where there is no hierarchy.
    pub(crate) fn child_name(&self, mailbox: &str, name: &str) -> String {
        format!("{mailbox}{}{name}", self.separator())
    }

    /// Returns the hierarchy delimiter, or `-` where there is no hierarchy.
    fn separator(&self) -> &str {
        if self.delimiter.is_empty() { "-" } else { &self.delimiter }
    }

    /// Runs `command`; if it is refused, creates the mailbox and runs it once more.
    ///
    /// The mailbox may be missing because it is used for the first time, or because another client has removed it. A
    /// refusal that asks to wait is returned at once: creating a mailbox would not help.
    ///
    /// # Errors
    ///
    /// That of the second attempt, or of creating the mailbox.
    pub(super) fn creating<T>(
        &mut self,
        mailbox: &str,
        mut command: impl FnMut(&mut Self, &str) -> Result<T>,
    ) -> Result<T> {
        match command(self, mailbox) {
            // Not every server says that the mailbox is missing.
            Err(error) if error.kind() == ErrorKind::Refused && error.retry_after().is_none() => {
                let created = self.find_or_create(mailbox)?;
                command(self, &created)
            }
            outcome => outcome,
        }
    }

    /// Creates a mailbox within the archive, unless it exists, or beside the archive if the server refuses that.
    /// Returns its name.
    ///
    /// All consumers of one mailbox must choose the same name: an existing mailbox is preferred to a new one, and
    /// within the archive to beside it.
    ///
    /// STATUS is sent for both names before any CREATE. Two consumers that come here at once may both send CREATE for
    /// the first name: one of them gets ALREADYEXISTS, which is no error.
    fn find_or_create(&mut self, child: &str) -> Result<String> {
        if let Ok((name, _)) = self.find(child)? {
            return Ok(name);
        }
        let mut refused = None;
        for name in &self.names_of(child) {
            match self.create(name) {
                Ok(_) => return Ok(self.note_name(child, name)),
                Err(error) if is_name_refused(&error) => drop(refused.get_or_insert(error)),
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or_else(no_name))
    }

    /// Returns the names to try for a mailbox within the archive, in order: the one within, then the one beside.
    fn names_of(&self, child: &str) -> Vec<String> {
        let name = child.strip_prefix(&*self.archive).and_then(|rest| rest.strip_prefix(self.separator()));
        let beside = name.map(|name| format!("{}-{name}", self.archive)).filter(|beside| beside != child);
        std::iter::once(child.to_owned()).chain(beside).collect()
    }

    /// Finds a mailbox within the archive, or the one beside it that replaces it; returns the first refusal if there is
    /// none.
    fn find(&mut self, child: &str) -> Result<Result<Existing>> {
        let mut refused = None;
        for name in &self.names_of(child) {
            match self.call("messages_in", (name,), "STATUS") {
                Ok(messages) => return Ok(Ok((self.note_name(child, name), messages))),
                Err(error) if is_name_refused(&error) => drop(refused.get_or_insert(error)),
                Err(error) => return Err(error),
            }
        }
        Ok(Err(refused.unwrap_or_else(no_name)))
    }

    /// Returns a mailbox within the archive, or the one beside it that replaces it; `None` if neither exists.
    ///
    /// # Errors
    ///
    /// The refusal of STATUS, if it is transient, or if the server lists the mailbox; a lost connection.
    pub(crate) fn existing_child(&mut self, name: &str) -> Result<Option<Existing>> {
        let child = self.archive_child(name);
        match self.find(&child)? {
            Ok(found) => Ok(Some(found)),
            // The words of a refusal do not tell if the mailbox is missing.
            Err(refusal) if self.mailboxes(&child)?.contains(&child) => Err(refusal),
            Err(_) => Ok(None),
        }
    }

    /// Remembers the name of the mailbox that replaces `child`; returns it.
    fn note_name(&mut self, child: &str, name: &str) -> String {
        if child != name {
            let beside = name.to_owned();
            events::emit(move || {
                tracing::info!(
                    beside,
                    "using a mailbox beside the archive: the server allows none within it"
                );
            });
            self.replacements.insert(child.to_owned(), name.to_owned());
        }
        name.to_owned()
    }

    /// Creates a mailbox unless it exists; returns `true` if it is known to be empty.
    ///
    /// The server's NO to a mailbox that exists is no error. `true` lets the caller leave out a read.
    pub(crate) fn create(&mut self, mailbox: &str) -> Result<bool> {
        self.call("create", (mailbox.to_owned(),), "CREATE")
    }
}

/// Makes the error for a mailbox of which no name was tried.
fn no_name() -> Error {
    Error::new(ErrorKind::Refused, "the server accepts no name for the mailbox")
}

/// Returns `true` if a mailbox may have been refused for its name, so that another name may succeed.
///
/// A transient refusal says nothing of the name: with another name, consumers would part.
fn is_name_refused(error: &Error) -> bool {
    error.kind() == ErrorKind::Refused && !error.is_transient()
}
