//! The `io-smtp` crate, by its blocking client: MAIL, RCPT, DATA and the message, each with a round trip of its own.

use std::net::TcpStream;

use io_smtp::client::{SmtpClient as _, SmtpClientStd};
use io_smtp::message::SmtpMessageSendOptions;
use io_smtp::rfc5321::{SmtpDomain, SmtpEhloDomain, SmtpForwardPath, SmtpLocalPart, SmtpMailbox};

use crate::job::{Params, Result};
use crate::mails::{Bodies, SENDER};

use super::{Outbox, compose};

struct Sender {
    client: SmtpClientStd,
    tag: String,
    recipient: String,
}

pub fn outbox(params: &Params) -> Result<Box<dyn Outbox>> {
    let account = &params.smtp;
    if !account.plain {
        return Err("io-smtp is measured on smtp-sink only".into());
    }
    let socket = TcpStream::connect((account.host.as_str(), account.port))?;
    socket.set_nodelay(true)?;
    let mut client = SmtpClientStd::new(socket);
    client.greeting()?;
    // The crate's parser refuses smtp-sink's reply to EHLO, which ends with an empty line, and MAIL needs no extension.
    client.helo(SmtpDomain("localhost".into()))?;
    Ok(Box::new(Sender { client, tag: account.tag.clone(), recipient: params.recipient.clone() }))
}

impl Outbox for Sender {
    fn send_all(&mut self, bodies: &Bodies) -> Result<()> {
        let sender = mailbox(SENDER)?;
        let recipient = SmtpForwardPath(mailbox(&self.recipient)?);
        for (id, body) in bodies.iter() {
            let mail = compose::mail(&self.tag, &self.recipient, id, body)?;
            let options = SmtpMessageSendOptions::default();
            self.client.send(sender.clone().into(), vec![recipient.clone()], mail, options)?;
        }
        Ok(())
    }

    fn stop(mut self: Box<Self>) -> Result<()> {
        Ok(self.client.quit()?)
    }
}

/// Parses an address, as the crate has no public parser.
fn mailbox(address: &str) -> Result<SmtpMailbox<'static>> {
    let (local, domain) = address.split_once('@').ok_or("an address without a domain")?;
    let domain = SmtpEhloDomain::SmtpDomain(SmtpDomain(domain.to_owned().into()));
    Ok(SmtpMailbox { local_part: SmtpLocalPart(local.to_owned().into()), domain })
}
