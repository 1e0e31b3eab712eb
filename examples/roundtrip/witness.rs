//! Another client on the same account: it plants foreign mail, and says in the end what the server holds.

use crate::Result;
use crate::ledger::Ledger;
use crate::mail;
use crate::support::other_client::{OtherClient, Seen};

const INBOX: &str = "INBOX";

pub(crate) struct Witness {
    client: OtherClient,
    tag: String,
    address: String,
    /// All mail in INBOX, none of it ours, before anything was sent.
    before: Option<Vec<Seen>>,
}

impl Witness {
    pub(crate) fn new(client: OtherClient, tag: &str, address: &str) -> Self {
        Self { client, tag: tag.into(), address: address.into(), before: None }
    }

    /// Puts foreign mail into INBOX, and remembers all that is there.
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

    /// Enters what the server holds of ours, and counts the foreign mail that is not as it was.
    pub(crate) fn read_back(&self, ledger: &mut Ledger) -> Result<usize> {
        for seen in self.client.list(&self.tag)?.unwrap_or_default() {
            ledger.archived(&seen.raw, &self.tag);
        }
        let after = self.inbox()?;
        // Where there is neither MOVE nor UIDPLUS, what is archived stays, flagged.
        let is_left = |seen: &&Seen| !self.is_planted(seen) && !seen.flags.iter().any(|it| it == r"\Deleted");
        after.iter().filter(is_left).for_each(|seen| ledger.left(&seen.raw, &self.tag));
        Ok(self.before.iter().flatten().filter(|seen| !after.contains(seen)).count())
    }

    /// Takes away what this run has made: the foreign mail, ours if any is left, the archive.
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

    /// All of INBOX, without the flag that each look changes, and with the others in order.
    fn inbox(&self) -> Result<Vec<Seen>> {
        let mut mails = self.client.list(INBOX)?.ok_or("there is no INBOX")?;
        for seen in &mut mails {
            seen.flags.retain(|flag| flag != r"\Recent");
            seen.flags.sort();
        }
        Ok(mails)
    }
}
