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
    session: async_imap::Session<TlsStream<TcpStream>>,
    tag: String,
}

pub fn mailboxes(params: &Params, accounts: &[Account]) -> Result<Vec<Box<dyn Mailbox>>> {
    let runtime = Arc::new(Builder::new_current_thread().enable_all().build()?);
    let config = tls::config(&params.ca_file)?;
    let connect = |account: &Account| {
        let session = runtime.block_on(connect(account, config.clone()))?;
        Ok(boxed(Inbox { runtime: runtime.clone(), session, tag: account.tag.clone() }))
    };
    accounts.iter().map(connect).collect()
}

async fn connect(
    account: &Account,
    config: Arc<ClientConfig>,
) -> Result<async_imap::Session<TlsStream<TcpStream>>> {
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

impl Inbox {
    async fn drain(
        session: &mut async_imap::Session<TlsStream<TcpStream>>,
        tag: &str,
        seen: &mut Seen,
    ) -> Result<usize> {
        let found = session.uid_search(format!("SUBJECT \"{tag}\"")).await?;
        if found.is_empty() {
            return Ok(0);
        }
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
        self.runtime.block_on(Self::drain(&mut self.session, &self.tag, seen))
    }

    fn noop(&mut self) -> Result<()> {
        Ok(self.runtime.block_on(self.session.noop())?)
    }

    fn stop(mut self: Box<Self>) -> Result<()> {
        Ok(self.runtime.block_on(self.session.logout())?)
    }
}
