//! The contestants behind one face: a mailbox to receive from, an outbox to send with.

use std::{fs, thread};

use pymail::{Credentials, Delivery, Imap, ImapConfig, Message, Receipt, Server, Smtp, SmtpConfig};
use serde_json::Value;

use crate::job::{Account, Params, Result, System};
use crate::subprocess::{ImapProcess, SmtpProcess};

/// One received message: its id and its body.
pub type Received = (String, Vec<u8>);

/// A connected mailbox.
pub trait Mailbox: Send {
    /// Receive and archive what is there, all of it or a batch.
    fn receive(&mut self) -> Result<Vec<Received>>;
    /// The process that this mailbox keeps beside ours.
    fn child(&self) -> Option<u32> {
        None
    }
    /// Log out.
    fn stop(self: Box<Self>) -> Result<()>;
}

/// A connected sender.
pub trait Outbox: Send {
    /// Send one message.
    fn send(&mut self, message: &Message) -> Result<()>;
    /// Send many messages, as fast as this contestant can.
    fn send_all(&mut self, messages: &[Message]) -> Result<()> {
        messages.iter().try_for_each(|message| self.send(message))
    }
    /// The process that this outbox keeps beside ours.
    fn child(&self) -> Option<u32> {
        None
    }
    /// Quit.
    fn stop(self: Box<Self>) -> Result<()>;
}

/// Connect `users` mailboxes at once, the way that suits the system best.
pub fn mailboxes(system: System, params: &Params, users: &[String]) -> Result<Vec<Box<dyn Mailbox>>> {
    let accounts = users.iter().map(|user| Account { user: user.clone(), ..params.imap.clone() });
    match system {
        System::Pymail => accounts.map(|account| Ok(boxed(connect_imap(&account, params)?))).collect(),
        System::Subprocess => {
            let started = accounts.map(|account| ImapProcess::start(&account, &params.ca_bundle));
            let mut processes = started.collect::<std::io::Result<Vec<_>>>()?;
            processes.iter_mut().try_for_each(|process| process.ready().map(|_| ()))?;
            Ok(processes.into_iter().map(boxed).collect())
        }
    }
}

/// Connect an outbox.
pub fn outbox(system: System, params: &Params) -> Result<Box<dyn Outbox>> {
    match system {
        System::Pymail => Ok(Box::new(connect_smtp(&params.smtp, params)?)),
        System::Subprocess => {
            let mut process = SmtpProcess::start(&params.smtp, &params.ca_bundle)?;
            process.ready()?;
            Ok(Box::new(process))
        }
    }
}

/// Connect both ways at the same time.
pub fn both(system: System, params: &Params) -> Result<(Box<dyn Mailbox>, Box<dyn Outbox>)> {
    match system {
        System::Pymail => thread::scope(|scope| {
            let smtp = scope.spawn(|| connect_smtp(&params.smtp, params));
            let imap = connect_imap(&params.imap, params)?;
            let smtp = smtp.join().map_err(|_| "the SMTP thread panicked")??;
            Ok((Box::new(imap) as _, Box::new(smtp) as _))
        }),
        System::Subprocess => {
            let mut imap = ImapProcess::start(&params.imap, &params.ca_bundle)?;
            let mut smtp = SmtpProcess::start(&params.smtp, &params.ca_bundle)?;
            imap.ready()?;
            smtp.ready()?;
            Ok((Box::new(imap), Box::new(smtp)))
        }
    }
}

fn boxed(mailbox: impl Mailbox + 'static) -> Box<dyn Mailbox> {
    Box::new(mailbox)
}

impl Mailbox for ImapProcess {
    fn receive(&mut self) -> Result<Vec<Received>> {
        Self::receive(self)?.into_iter().map(from_json).collect()
    }

    fn child(&self) -> Option<u32> {
        Some(self.id())
    }

    fn stop(self: Box<Self>) -> Result<()> {
        Ok(Self::stop(*self)?)
    }
}

impl Outbox for SmtpProcess {
    fn send(&mut self, message: &Message) -> Result<()> {
        Ok(Self::send(self, message)?)
    }

    fn child(&self) -> Option<u32> {
        Some(self.id())
    }

    fn stop(self: Box<Self>) -> Result<()> {
        Ok(Self::stop(*self)?)
    }
}

impl Mailbox for Imap {
    fn receive(&mut self) -> Result<Vec<Received>> {
        self.drain()?.into_iter().map(from_delivery).collect()
    }

    fn stop(self: Box<Self>) -> Result<()> {
        Ok(Self::stop(&self)?)
    }
}

impl Outbox for Smtp {
    fn send(&mut self, message: &Message) -> Result<()> {
        accepted(&Self::send(self, message)?)
    }

    fn send_all(&mut self, messages: &[Message]) -> Result<()> {
        Self::send_all(self, messages).into_iter().try_for_each(|receipt| accepted(&receipt?))
    }

    fn stop(self: Box<Self>) -> Result<()> {
        Ok(Self::stop(&self)?)
    }
}

fn connect_imap(account: &Account, params: &Params) -> Result<Imap> {
    let ca_pem = fs::read_to_string(&params.ca_file)?;
    let server = Server::tls(&account.host).port(account.port).trust_pem(ca_pem);
    let credentials = Credentials::new(&account.user, &account.password);
    Ok(Imap::connect(ImapConfig::new(server, credentials).tag(&account.tag))?)
}

fn connect_smtp(account: &Account, params: &Params) -> Result<Smtp> {
    let (server, credentials) = if account.plain {
        (Server::unencrypted(&account.host), Credentials::none())
    } else {
        let server = Server::starttls(&account.host).trust_pem(fs::read_to_string(&params.ca_file)?);
        (server, Credentials::new(&account.user, &account.password))
    };
    Ok(Smtp::connect(SmtpConfig::new(server.port(account.port), credentials).tag(&account.tag))?)
}

fn from_json(mut message: Value) -> Result<Received> {
    match (message["Id"].take(), message["Body"].take()) {
        (Value::String(id), Value::String(body)) => Ok((id, body.into_bytes())),
        _ => Err(format!("received {message}").into()),
    }
}

fn accepted(receipt: &Receipt) -> Result<()> {
    if receipt.all_accepted() { Ok(()) } else { Err(format!("refused: {receipt:?}").into()) }
}

fn from_delivery(delivery: Delivery) -> Result<Received> {
    let message = delivery.into_message()?;
    Ok((message.id, message.body))
}
