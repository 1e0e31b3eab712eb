//! pymail.

use std::time::Duration;
use std::{fs, thread};

use pymail::{Credentials, Imap, ImapConfig, Message, Server, Smtp, SmtpConfig};

use crate::job::{Account, Params, Result};
use crate::mails::{Bodies, SENDER, Seen};

use super::{Mailbox, Outbox, boxed};

pub fn mailboxes(params: &Params, accounts: &[Account]) -> Result<Vec<Box<dyn Mailbox>>> {
    accounts.iter().map(|account| Ok(boxed(connect_imap(account, params)?))).collect()
}

pub fn outbox(params: &Params) -> Result<Box<dyn Outbox>> {
    let smtp = connect_smtp(&params.smtp, params)?;
    Ok(Box::new(Sender { smtp, recipient: params.recipient.clone(), messages: Vec::new() }))
}

pub fn both(params: &Params) -> Result<(Box<dyn Mailbox>, Box<dyn Outbox>)> {
    thread::scope(|scope| {
        let sending = scope.spawn(|| outbox(params));
        let imap = connect_imap(&params.imap, params)?;
        let sending = sending.join().map_err(|_| "the SMTP thread panicked")??;
        Ok((boxed(imap), sending))
    })
}

impl Mailbox for Imap {
    fn receive(&mut self, seen: &mut Seen) -> Result<usize> {
        let deliveries = self.fetch_and_ack()?;
        for delivery in &deliveries {
            let message = delivery.message()?;
            seen.add(&message.id, &message.body)?;
        }
        Ok(deliveries.len())
    }

    fn push(&mut self, n: usize, seen: &mut Seen, handle: &mut dyn FnMut()) -> Result<()> {
        for delivery in self.consume().take(n) {
            let delivery = delivery?;
            let message = delivery.message()?;
            seen.add(&message.id, &message.body)?;
            handle();
            self.ack([&delivery])?;
        }
        Ok(())
    }

    /// The connection goes on to listen after the wait, until IDLE is renewed.
    fn listen(&mut self) -> Result<()> {
        while self.status().push.is_none() {
            self.wait(Duration::from_millis(20))?;
        }
        Ok(())
    }

    fn noop(&mut self) -> Result<()> {
        Ok(Self::noop(self)?)
    }

    fn has_heartbeat(&self) -> bool {
        true
    }

    fn commands(&self) -> Option<u64> {
        Some(self.stats().commands)
    }

    fn stop(self: Box<Self>) -> Result<()> {
        Ok(Self::close(&self)?)
    }
}

struct Sender {
    smtp: Smtp,
    recipient: String,
    messages: Vec<Message>,
}

impl Outbox for Sender {
    /// The messages of the app; they are composed when they are sent.
    fn prepare(&mut self, bodies: &Bodies) -> Result<()> {
        let message =
            |(id, body): (usize, &str)| Message::new(id.to_string(), SENDER, &*self.recipient, body);
        self.messages = bodies.iter().map(message).collect();
        Ok(())
    }

    fn send_all(&mut self, _: &Bodies) -> Result<()> {
        for receipt in self.smtp.send_all(&self.messages) {
            let receipt = receipt?;
            if !receipt.all_accepted() {
                return Err(format!("refused: {receipt:?}").into());
            }
        }
        Ok(())
    }

    fn stop(self: Box<Self>) -> Result<()> {
        Ok(self.smtp.close()?)
    }
}

fn connect_imap(account: &Account, params: &Params) -> Result<Imap> {
    let ca_pem = fs::read_to_string(&params.ca_file)?;
    let server = if account.plain { Server::unencrypted(&account.host) } else { Server::tls(&account.host) };
    let server = server.port(account.port).add_root_certificate_pem(ca_pem);
    let credentials = Credentials::new(&account.user, &account.password);
    let heartbeat = Duration::from_millis(params.heartbeat_ms);
    Ok(Imap::connect(
        ImapConfig::new(server, credentials).tag(&account.tag).heartbeat(heartbeat).batch(params.batch),
    )?)
}

fn connect_smtp(account: &Account, params: &Params) -> Result<Smtp> {
    let (server, credentials) = if account.plain {
        (Server::unencrypted(&account.host), Credentials::none())
    } else {
        let server =
            Server::starttls(&account.host).add_root_certificate_pem(fs::read_to_string(&params.ca_file)?);
        (server, Credentials::new(&account.user, &account.password))
    };
    Ok(Smtp::connect(SmtpConfig::new(server.port(account.port), credentials).tag(&account.tag))?)
}
