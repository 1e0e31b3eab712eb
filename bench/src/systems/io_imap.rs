//! The `io-imap` crate, by its blocking client: one SEARCH, one FETCH and one MOVE for all waiting mail.

use std::any::Any;
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use io_imap::client::{ImapClient as _, ImapClientStd, ImapStream};
use io_imap::coroutine::{ImapCoroutine as _, ImapCoroutineState};
use io_imap::rfc2177::idle::{ImapIdle, ImapIdleOptions, ImapIdleYield};
use io_imap::rfc3501::login::ImapLoginOptions;
use io_imap::rfc3501::search::ImapMessageSearchOptions;
use io_imap::rfc3501::select::ImapMailboxSelectOptions;
use io_imap::rfc6851::r#move::ImapMessageMoveOptions;
use io_imap::types::core::{AString, Vec1};
use io_imap::types::mailbox::Mailbox as Name;
use io_imap::types::response::Data;
use io_imap::types::search::SearchKey;
use io_imap::types::sequence::SequenceSet;

use crate::job::{Account, Params, Result};
use crate::mails::Seen;
use crate::tls::{self, Stream};

use super::{Mailbox, boxed, uids};

/// The longest IDLE.
const IDLE_TIME: Duration = Duration::from_mins(5);

struct Inbox {
    client: ImapClientStd,
    subject: SearchKey<'static>,
    archive: Name<'static>,
}

/// The stream as the crate's client takes it.
struct Tls(Stream);

pub fn mailboxes(params: &Params, accounts: &[Account]) -> Result<Vec<Box<dyn Mailbox>>> {
    let config = tls::config(&params.ca_file)?;
    let connect = |account| connect(account, Tls(tls::connect(account, config.clone())?));
    accounts.iter().map(|account| connect(account).map(boxed)).collect()
}

fn connect(account: &Account, stream: Tls) -> Result<Inbox> {
    let mut client = ImapClientStd::new(stream);
    client.greeting()?;
    client.login(&account.user, &account.password, ImapLoginOptions::default())?;
    let archive = Name::try_from(account.tag.clone())?;
    // The answer is NO if it exists.
    let _ = client.create(archive.clone());
    client.select(Name::Inbox, ImapMailboxSelectOptions::default())?;
    Ok(Inbox { client, subject: SearchKey::Subject(AString::try_from(account.tag.clone())?), archive })
}

impl Inbox {
    /// Idles until the server announces messages: by hand, since the crate's own loop, its watcher, takes the connection.
    fn idle(&mut self) -> Result<()> {
        let (done, mut buffer) = (Arc::new(AtomicBool::new(false)), [0; 4096]);
        let mut idle = ImapIdle::new(done.clone(), ImapIdleOptions { timeout: Some(IDLE_TIME) });
        let ImapClientStd { stream, fragmentizer, .. } = &mut self.client;
        let mut received = None;
        loop {
            match idle.resume(fragmentizer, received.take()) {
                ImapCoroutineState::Yielded(ImapIdleYield::WantsWrite(octets)) => {
                    stream.write_all(&octets)?;
                }
                ImapCoroutineState::Yielded(ImapIdleYield::WantsRead) => {
                    let count = stream.read(&mut buffer)?;
                    received = Some(&buffer[..count]);
                }
                ImapCoroutineState::Yielded(ImapIdleYield::Event(event)) => {
                    let has_mail = event.data.iter().any(|data| matches!(data, Data::Exists(_)));
                    done.fetch_or(has_mail, Ordering::SeqCst);
                }
                ImapCoroutineState::Complete(ended) => return Ok(ended?),
            }
        }
    }
}

impl Mailbox for Inbox {
    fn receive(&mut self, seen: &mut Seen) -> Result<usize> {
        let criteria = Vec1::from(self.subject.clone());
        let found = self.client.search(criteria, ImapMessageSearchOptions { uid: true })?;
        if found.is_empty() {
            return Ok(0);
        }
        let set = SequenceSet::try_from(uids::set(found.into_iter().map(Into::into)).as_str())?;
        // Each mail is handled as it arrives: no other is held. One buffer serves all.
        let (spare, mut count) = (Cell::new(Vec::new()), 0);
        let done = |_, mut mail: Vec<u8>| {
            seen.decode(&mail).map_err(io::Error::other)?;
            count += 1;
            mail.clear();
            spare.set(mail);
            Ok(())
        };
        self.client.fetch_bodies_stream(set.clone(), true, |_| Ok(spare.take()), done)?;
        self.client.r#move(set, self.archive.clone(), ImapMessageMoveOptions { uid: true })?;
        Ok(count)
    }

    fn push(&mut self, n: usize, seen: &mut Seen, handle: &mut dyn FnMut()) -> Result<()> {
        for _ in 0..n {
            self.idle()?;
            self.receive(seen)?;
            handle();
        }
        Ok(())
    }

    fn noop(&mut self) -> Result<()> {
        Ok(self.client.noop()?)
    }

    fn stop(mut self: Box<Self>) -> Result<()> {
        // Fails when BYE and the tagged OK come apart: it reads no further than BYE. The work is done by then.
        let _ = self.client.logout();
        Ok(())
    }
}

impl Read for Tls {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Tls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl ImapStream for Tls {
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.sock.set_read_timeout(timeout)
    }
}
