//! Another client on the same account: appends foreign mail before the run, and reads the mailboxes after it.

use std::env;
use std::path::Path;

use crate::Result;
use crate::account::{Account, Endpoint};
use crate::ledger::Ledger;
use crate::mail;
use crate::support::other_client::{OtherClient, Seen};

const INBOX: &str = "INBOX";

/// Connects another client: `imaplib` in a process of its own.
pub(crate) fn connect(account: &Account) -> Result<OtherClient> {
    let Account { user, password, .. } = account;
    let Endpoint { host, port, starttls } = &account.imap;
    let security = if *starttls { "starttls" } else { "tls" };
    // The Python of the build, else the default one.
    let python = env::var("PYO3_PYTHON");
    let python = python.unwrap_or_else(|_| if cfg!(windows) { "python" } else { "python3" }.into());
    let ca = account.ca.as_deref();
    OtherClient::connect_with(Path::new(&python), host, *port, security, user, password, ca)
}

/// The other client, and the state of INBOX before the run.
pub(crate) struct Witness {
    client: OtherClient,
    tag: String,
    address: String,
    /// All mail in INBOX before anything was sent; none of it is ours.
    before: Option<Vec<Seen>>,
}

impl Witness {
    pub(crate) fn new(client: OtherClient, tag: &str, address: &str) -> Self {
        Self { client, tag: tag.into(), address: address.into(), before: None }
    }

    /// Appends foreign mail to INBOX, and records all mail there.
    pub(crate) fn plant(&mut self) -> Result {
        self.before = Some(Vec::new());
        let mails = mail::foreign(&self.tag, &self.address);
        for (_, raw) in &mails {
            self.client.append(INBOX, &[], raw.as_bytes())?;
        }
        let planted = self.inbox()?.into_iter().filter(|seen| self.is_planted(seen));
        for (seen, (flag, _)) in planted.zip(&mails).filter(|(_, (flag, _))| !flag.is_empty()) {
            self.client.flag(INBOX, seen.uid, &[flag])?;
        }
        self.before = Some(self.inbox()?);
        Ok(())
    }

    /// Records our mail on the server, and counts foreign mail that has changed.
    pub(crate) fn read_back(&self, ledger: &mut Ledger) -> Result<usize> {
        for seen in self.client.list(&self.tag)?.unwrap_or_default() {
            ledger.archived(&seen.raw, &self.tag);
        }
        let after = self.inbox()?;
        // Without MOVE and UIDPLUS, archived mail stays in INBOX, flagged as deleted.
        let is_left = |seen: &&Seen| !self.is_planted(seen) && !seen.flags.iter().any(|it| it == r"\Deleted");
        after.iter().filter(is_left).for_each(|seen| ledger.left(&seen.raw, &self.tag));
        Ok(self.before.iter().flatten().filter(|seen| !after.contains(seen)).count())
    }

    /// Deletes the foreign mail, our remaining mail, and the archive.
    pub(crate) fn clean(&self) -> Result {
        if self.before.is_some() {
            let made = |seen: &&Seen| self.is_planted(seen) || mail::has_tag(&seen.raw, &self.tag);
            let uids: Vec<u32> = self.inbox()?.iter().filter(made).map(|seen| seen.uid).collect();
            if !uids.is_empty() {
                self.client.expunge(INBOX, &uids)?;
            }
        }
        self.client.remove_mailbox(&self.tag)
    }

    fn is_planted(&self, seen: &Seen) -> bool {
        mail::is_planted(&seen.raw, &self.tag)
    }

    /// Returns all mail in INBOX, with sorted flags and without `\Recent`, which each SELECT changes.
    fn inbox(&self) -> Result<Vec<Seen>> {
        let mut mails = self.client.list(INBOX)?.ok_or("there is no INBOX")?;
        for seen in &mut mails {
            seen.flags.retain(|flag| flag != r"\Recent");
            seen.flags.sort();
        }
        Ok(mails)
    }
}
