//! The `imap` crate, 3.0.0-alpha: one SEARCH, one FETCH and one MOVE for all waiting mail.

use crate::job::{Account, Params, Result};
use crate::mails::Seen;
use crate::tls::{self, Stream};

use super::{Mailbox, boxed, uids};

struct Inbox {
    session: imap::Session<Stream>,
    tag: String,
}

pub fn mailboxes(params: &Params, accounts: &[Account]) -> Result<Vec<Box<dyn Mailbox>>> {
    let config = tls::config(&params.ca_file)?;
    accounts
        .iter()
        .map(|account| connect(account, tls::connect(account, config.clone())?).map(boxed))
        .collect()
}

fn connect(account: &Account, stream: Stream) -> Result<Inbox> {
    let mut client = imap::Client::new(stream);
    client.read_greeting()?;
    let mut session = client.login(&account.user, &account.password).map_err(|(error, _)| error)?;
    // The answer is NO if it exists.
    let _ = session.create(&account.tag);
    session.select("INBOX")?;
    Ok(Inbox { session, tag: account.tag.clone() })
}

impl Mailbox for Inbox {
    fn receive(&mut self, seen: &mut Seen) -> Result<usize> {
        let found = self.session.uid_search(format!("SUBJECT \"{}\"", self.tag))?;
        if found.is_empty() {
            return Ok(0);
        }
        let set = uids::set(found);
        let mails = self.session.uid_fetch(&set, "(UID BODY.PEEK[])")?;
        for mail in mails.iter() {
            seen.decode(mail.body().ok_or("a mail without a body")?)?;
        }
        let count = mails.len();
        self.session.uid_mv(&set, &self.tag)?;
        Ok(count)
    }

    fn noop(&mut self) -> Result<()> {
        Ok(self.session.noop()?)
    }

    fn stop(mut self: Box<Self>) -> Result<()> {
        Ok(self.session.logout()?)
    }
}
