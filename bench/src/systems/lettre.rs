//! The `lettre` crate: a pool of one connection, which it keeps and asks for a sign of life before each message.

use lettre::message::header::ContentType;
use lettre::transport::smtp::PoolConfig;
use lettre::{Message, SmtpTransport, Transport as _};

use crate::job::{Params, Result};
use crate::mails::{Bodies, SENDER};

use super::Outbox;

struct Sender {
    transport: SmtpTransport,
    tag: String,
    recipient: String,
}

pub fn outbox(params: &Params) -> Result<Box<dyn Outbox>> {
    let account = &params.smtp;
    if !account.plain {
        return Err("lettre is measured on smtp-sink only".into());
    }
    let pool = PoolConfig::new().max_size(1);
    let transport =
        SmtpTransport::builder_dangerous(&account.host).port(account.port).pool_config(pool).build();
    // Connects, and leaves the connection in the pool.
    if !transport.test_connection()? {
        return Err("smtp-sink is not there".into());
    }
    Ok(Box::new(Sender { transport, tag: account.tag.clone(), recipient: params.recipient.clone() }))
}

impl Outbox for Sender {
    fn send_all(&mut self, bodies: &Bodies) -> Result<()> {
        let (from, to) = (SENDER.parse::<lettre::message::Mailbox>()?, self.recipient.parse()?);
        let draft = Message::builder().from(from).to(to).header(ContentType::TEXT_PLAIN);
        for (id, body) in bodies.iter() {
            let message = draft.clone().subject(format!("{} {id}", self.tag)).body(body.to_owned())?;
            self.transport.send(&message)?;
        }
        Ok(())
    }

    fn stop(self: Box<Self>) -> Result<()> {
        self.transport.shutdown();
        Ok(())
    }
}
