//! The `lettre` crate: a pool of one connection, with a NOOP before each message.

use lettre::address::Envelope;
use lettre::transport::smtp::PoolConfig;
use lettre::{SmtpTransport, Transport as _};

use crate::job::{Params, Result};
use crate::mails::{Bodies, SENDER};

use super::{Outbox, compose};

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
        let envelope = Envelope::new(Some(SENDER.parse()?), vec![self.recipient.parse()?])?;
        for (id, body) in bodies.iter() {
            let mail = compose::mail(&self.tag, &self.recipient, id, body)?;
            self.transport.send_raw(&envelope, &mail)?;
        }
        Ok(())
    }

    fn stop(self: Box<Self>) -> Result<()> {
        self.transport.shutdown();
        Ok(())
    }
}
