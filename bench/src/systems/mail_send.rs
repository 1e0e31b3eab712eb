//! The `mail-send` crate on one thread of tokio: its `cmds` writes MAIL, RCPT and DATA at once.

use mail_send::smtp::AssertReply as _;
use mail_send::{SmtpClient, SmtpClientBuilder};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use crate::job::{Params, Result};
use crate::mails::{Bodies, SENDER};

use super::{Outbox, compose};

struct Sender {
    runtime: Runtime,
    client: SmtpClient<TcpStream>,
    tag: String,
    recipient: String,
}

pub fn outbox(params: &Params) -> Result<Box<dyn Outbox>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let account = &params.smtp;
    if !account.plain {
        return Err("mail-send is measured on smtp-sink only".into());
    }
    let builder = SmtpClientBuilder::new(account.host.clone(), account.port)?;
    let client = runtime.block_on(builder.implicit_tls(false).connect_plain())?;
    // The crate does not set TCP_NODELAY, and would wait 40 ms for each message's last line.
    client.stream.set_nodelay(true)?;
    Ok(Box::new(Sender { runtime, client, tag: account.tag.clone(), recipient: params.recipient.clone() }))
}

impl Sender {
    async fn send(client: &mut SmtpClient<TcpStream>, recipient: &str, mail: &[u8]) -> Result<()> {
        let envelope =
            [&format!("MAIL FROM:<{SENDER}>\r\n"), &format!("RCPT TO:<{recipient}>\r\n"), "DATA\r\n"];
        let replies = client.cmds(envelope).await?;
        for (reply, code) in replies.into_iter().zip([250, 250, 354]) {
            reply.assert_code(code)?;
        }
        client.write_message(mail).await?;
        Ok(client.read().await?.assert_positive_completion()?)
    }
}

impl Outbox for Sender {
    fn send_all(&mut self, bodies: &Bodies) -> Result<()> {
        for (id, body) in bodies.iter() {
            let mail = compose::mail(&self.tag, &self.recipient, id, body)?;
            self.runtime.block_on(Self::send(&mut self.client, &self.recipient, &mail))?;
        }
        Ok(())
    }

    fn stop(self: Box<Self>) -> Result<()> {
        Ok(self.runtime.block_on(self.client.quit())?)
    }
}
