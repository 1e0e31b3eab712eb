//! The mailboxes that are made: the archive, and what belongs to it, under names that the server allows.

use super::imap::ImapSession;
use crate::error::{Error, ErrorKind, Result};
use crate::events;

impl ImapSession {
    /// Makes the archive under the first of these names that the server does not refuse, unless it is there.
    pub(super) fn make_archive(&mut self, names: Vec<String>) -> Result<()> {
        let mut refused = None;
        for name in names {
            match self.create(&name) {
                Ok(is_empty) => {
                    (self.archive, self.archive_is_empty) = (name, is_empty);
                    return Ok(());
                }
                Err(error) if is_no_such_name(&error) => drop(refused.get_or_insert(error)),
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or_else(|| Error::new(ErrorKind::Refused, "the archive can have no name here")))
    }

    /// Returns the name of a mailbox within the archive, or beside it where the server has none within another.
    pub(crate) fn beside_the_archive(&self, name: &str) -> String {
        let within = self.within(&self.archive, name);
        self.beside.get(&within).cloned().unwrap_or(within)
    }

    /// Returns the name of a mailbox within another one, or beside it where mailboxes have none within.
    pub(crate) fn within(&self, mailbox: &str, name: &str) -> String {
        format!("{mailbox}{}{name}", self.separator())
    }

    fn separator(&self) -> &str {
        if self.delimiter.is_empty() { "-" } else { &self.delimiter }
    }

    /// Asks again when the mailbox was missing. Not every server says that it was.
    pub(super) fn making<T>(
        &mut self,
        mailbox: &str,
        mut ask: impl FnMut(&mut Self, &str) -> Result<T>,
    ) -> Result<T> {
        match ask(self, mailbox) {
            Err(error) if error.kind() == ErrorKind::Refused && error.retry_after().is_none() => {
                let made = self.make(mailbox)?;
                ask(self, &made)
            }
            answer => answer,
        }
    }

    /// Makes a mailbox within the archive, unless it is there; beside it where the server lets none be within. Returns its
    /// name.
    ///
    /// All consumers of one mailbox come to the same one: what is there goes before what can be made, within before beside.
    fn make(&mut self, within: &str) -> Result<String> {
        let name = within.strip_prefix(&*self.archive).and_then(|rest| rest.strip_prefix(self.separator()));
        let beside = name.map(|name| format!("{}-{name}", self.archive)).filter(|beside| beside != within);
        let names: Vec<String> = std::iter::once(within.to_owned()).chain(beside).collect();
        let mut refused = None;
        for name in &names {
            match self.dialogue.tell("is_there", (name,), "STATUS") {
                Ok(()) => return Ok(self.found(within, name)),
                Err(error) if is_no_such_name(&error) => {}
                Err(error) => return Err(error),
            }
        }
        for name in &names {
            match self.create(name) {
                Ok(_) => return Ok(self.found(within, name)),
                Err(error) if is_no_such_name(&error) => drop(refused.get_or_insert(error)),
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or_else(|| Error::new(ErrorKind::Refused, "the mailbox can have no name here")))
    }

    fn found(&mut self, within: &str, name: &str) -> String {
        if within != name {
            let beside = name.to_owned();
            events::emit(move || {
                tracing::info!(beside, "a mailbox is beside the archive: the server lets none be within");
            });
            self.beside.insert(within.to_owned(), name.to_owned());
        }
        name.to_owned()
    }

    /// Makes a mailbox, unless it is there; returns whether it is known to be empty.
    pub(crate) fn create(&mut self, mailbox: &str) -> Result<bool> {
        self.call("create", (mailbox.to_owned(),), "CREATE")
    }
}

/// Whether a mailbox was refused for its name, so that another one may do.
fn is_no_such_name(error: &Error) -> bool {
    error.kind() == ErrorKind::Refused && !error.is_transient()
}
