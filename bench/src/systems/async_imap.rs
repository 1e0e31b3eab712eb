//! The `async-imap` crate on one thread of tokio: one SEARCH, one FETCH and one MOVE for all waiting mail.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::job::{Account, Params, Result};
use crate::mails::Seen;
use crate::tls;

use super::{Mailbox, boxed, uids};

struct Inbox {
    runtime: Arc<Runtime>,
    /// `None` only while it idles.
    session: Option<Session>,
    tag: String,
    batch: usize,
}

type Session = async_imap::Session<TlsStream<TcpStream>>;

pub fn mailboxes(params: &Params, accounts: &[Account]) -> Result<Vec<Box<dyn Mailbox>>> {
    let runtime = Arc::new(Builder::new_current_thread().enable_all().build()?);
    let config = tls::config(&params.ca_file)?;
    let connect = |account: &Account| {
        let session = runtime.block_on(connect(account, config.clone()))?;
        Ok(boxed(Inbox {
            runtime: runtime.clone(),
            session: Some(session),
            tag: account.tag.clone(),
            batch: params.batch,
        }))
    };
    accounts.iter().map(connect).collect()
}

async fn connect(account: &Account, config: Arc<ClientConfig>) -> Result<Session> {
    let socket = TcpStream::connect((account.host.as_str(), account.port)).await?;
    socket.set_nodelay(true)?;
    let stream = TlsConnector::from(config).connect(tls::name(account)?, socket).await?;
    let mut client = async_imap::Client::new(stream);
    client.read_response().await?.ok_or("no greeting")?;
    let mut session = client.login(&account.user, &account.password).await.map_err(|(error, _)| error)?;
    // The answer is NO if it exists.
    let _ = session.create(&account.tag).await;
    session.select("INBOX").await?;
    Ok(session)
}

/// The error after a failed IDLE, which takes the session with it.
const LOST: &str = "the session is lost";

impl Inbox {
    /// Idles until the server announces something.
    async fn idle(session: Session) -> Result<Session> {
        let mut idle = session.idle();
        idle.init().await?;
        let (announced, _stop) = idle.wait();
        announced.await?;
        Ok(idle.done().await?)
    }

    /// Receives and archives up to `batch` messages.
    async fn drain(session: &mut Session, tag: &str, batch: usize, seen: &mut Seen) -> Result<usize> {
        let found = session.uid_search(format!("SUBJECT \"{tag}\"")).await?;
        if found.is_empty() {
            return Ok(0);
        }
        let mut found = Vec::from_iter(found);
        found.sort_unstable();
        found.truncate(batch);
        let set = uids::set(found);
        let mut count = 0;
        let mut mails = session.uid_fetch(&set, "(UID BODY.PEEK[])").await?;
        // Each mail is handled as it arrives: no other is held.
        while let Some(mail) = mails.try_next().await? {
            seen.decode(mail.body().ok_or("a mail without a body")?)?;
            count += 1;
        }
        drop(mails);
        session.uid_mv(&set, tag).await?;
        Ok(count)
    }
}

impl Mailbox for Inbox {
    fn receive(&mut self, seen: &mut Seen) -> Result<usize> {
        self.runtime.block_on(Self::drain(self.session.as_mut().ok_or(LOST)?, &self.tag, self.batch, seen))
    }

    fn push(&mut self, n: usize, seen: &mut Seen, handle: &mut dyn FnMut()) -> Result<()> {
        for _ in 0..n {
            let session = self.session.take().ok_or(LOST)?;
            self.session = Some(self.runtime.block_on(Self::idle(session))?);
            self.receive(seen)?;
            handle();
        }
        Ok(())
    }

    fn noop(&mut self) -> Result<()> {
        Ok(self.runtime.block_on(self.session.as_mut().ok_or(LOST)?.noop())?)
    }

    fn stop(mut self: Box<Self>) -> Result<()> {
        Ok(self.runtime.block_on(self.session.as_mut().ok_or(LOST)?.logout())?)
    }
}
