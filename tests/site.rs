//! A mail site as a user of the library sees it: somewhere to send, somewhere to receive.

use std::cell::RefCell;
use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;

use pymail::{Credentials, Imap, ImapConfig, Message, Server, Smtp, SmtpConfig};

use crate::support::courier::Courier;
use crate::support::cyrus::Cyrus;
use crate::support::dovecot::{self, Dovecot, DovecotOptions};
use crate::support::embedded::Embedded;
use crate::support::exim::Exim;
use crate::support::opensmtpd::OpenSmtpd;
use crate::support::other_client::{OtherClient, Seen};
use crate::support::postfix::{Postfix, PostfixOptions};

/// The account that sends and receives.
pub const ALICE: &str = "alice@example.test";

/// An address that every site refuses with 550.
pub const REFUSED: &str = "refused@example.test";

/// An address that every site refuses with 450.
pub const LATER: &str = "later@example.test";

/// The tag of every test's messages.
pub const TAG: &str = "__TEST__";

thread_local! {
    /// What [`Site::other_client`] made last, by the site's port: each is a Python, which takes long to start.
    static OTHER: RefCell<Option<(u16, Arc<OtherClient>)>> = const { RefCell::new(None) };
}

/// Running servers, the one that sends before the one that it delivers to. Gone on drop.
pub enum Site {
    /// Postfix, delivering to Dovecot.
    Real { postfix: Postfix, dovecot: Dovecot },
    /// pymap and aiosmtpd.
    Embedded(Embedded),
    /// Postfix, delivering to Cyrus.
    Cyrus { postfix: Postfix, cyrus: Cyrus },
    /// Postfix, delivering to Courier.
    Courier { postfix: Postfix, courier: Courier },
    /// OpenSMTPD, delivering to Dovecot: a relay of this machine, without TLS and login.
    OpenSmtpd { opensmtpd: OpenSmtpd, dovecot: Dovecot },
    /// Exim, delivering to Dovecot.
    Exim { exim: Exim, dovecot: Dovecot },
}

/// Where a site's servers listen.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// IMAP with STARTTLS.
    pub imap: u16,
    /// IMAP with implicit TLS.
    pub imaps: u16,
    /// SMTP, with STARTTLS where the server has that.
    pub smtp: u16,
}

impl Site {
    /// Postfix and Dovecot, with options.
    pub fn real(dovecot: &DovecotOptions, postfix: &PostfixOptions) -> Self {
        let dovecot = Dovecot::with(dovecot);
        Self::Real { postfix: Postfix::with(&dovecot, postfix), dovecot }
    }

    /// The Dovecot of a site that has one.
    pub fn dovecot(&self) -> &Dovecot {
        match self {
            Self::Real { dovecot, .. } | Self::OpenSmtpd { dovecot, .. } | Self::Exim { dovecot, .. } => {
                dovecot
            }
            Self::Embedded(_) | Self::Cyrus { .. } | Self::Courier { .. } => {
                panic!("this site has no Dovecot")
            }
        }
    }

    /// What the Postfix of a site that has one has logged so far.
    pub fn smtp_log(&self) -> String {
        let (Self::Real { postfix, .. } | Self::Cyrus { postfix, .. } | Self::Courier { postfix, .. }) = self
        else {
            panic!("this site has no Postfix")
        };
        postfix.log()
    }

    /// Everybody's password.
    pub fn password(&self) -> &'static str {
        if matches!(self, Self::Embedded(_)) { Embedded::PASSWORD } else { dovecot::PASSWORD }
    }

    /// The authority to trust.
    pub fn ca_pem(&self) -> &str {
        match self {
            Self::Embedded(server) => server.ca_pem(),
            Self::Cyrus { cyrus, .. } => cyrus.ca_pem(),
            Self::Courier { courier, .. } => courier.ca_pem(),
            Self::Real { .. } | Self::OpenSmtpd { .. } | Self::Exim { .. } => self.dovecot().ca_pem(),
        }
    }

    /// Where its servers listen.
    pub fn ports(&self) -> Ports {
        let (imap, imaps) = match self {
            Self::Embedded(server) => (server.imap_port(), server.imaps_port()),
            Self::Cyrus { cyrus, .. } => (cyrus.imap_port(), cyrus.imaps_port()),
            Self::Courier { courier, .. } => (courier.imap_port(), courier.imaps_port()),
            Self::Real { .. } | Self::OpenSmtpd { .. } | Self::Exim { .. } => {
                (self.dovecot().imap_port(), self.dovecot().imaps_port())
            }
        };
        let smtp = match self {
            Self::Real { postfix, .. } | Self::Cyrus { postfix, .. } | Self::Courier { postfix, .. } => {
                postfix.submission_port()
            }
            Self::Embedded(server) => server.smtp_port(),
            Self::OpenSmtpd { opensmtpd, .. } => opensmtpd.port(),
            Self::Exim { exim, .. } => exim.submission_port(),
        };
        Ports { imap, imaps, smtp }
    }

    /// What a mailbox is called on this site: Cyrus and Courier, as Debian has them, want all within INBOX.
    pub fn mailbox(&self, name: &str) -> String {
        let prefix = if matches!(self, Self::Cyrus { .. } | Self::Courier { .. }) { "INBOX." } else { "" };
        if name == "INBOX" { name.to_owned() } else { format!("{prefix}{name}") }
    }

    /// The codes with which IMAP and SMTP refuse a wrong password, where they give one.
    pub fn codes_of_a_refused_password(&self) -> [Option<&'static str>; 2] {
        let imap = match self {
            Self::Cyrus { .. } | Self::Courier { .. } => None,
            _ => Some("AUTHENTICATIONFAILED"),
        };
        // OpenSMTPD takes no password at all here.
        [imap, if matches!(self, Self::OpenSmtpd { .. }) { None } else { Some("535") }]
    }

    /// The IMAP server with STARTTLS.
    pub fn imap_server(&self) -> Server {
        Server::starttls(dovecot::HOST).port(self.ports().imap).add_root_certificate_pem(self.ca_pem())
    }

    /// The IMAP server with implicit TLS.
    pub fn imaps_server(&self) -> Server {
        Server::tls(dovecot::HOST).port(self.ports().imaps).add_root_certificate_pem(self.ca_pem())
    }

    /// The SMTP server with STARTTLS, where it has that.
    pub fn smtp_server(&self) -> Server {
        let server = match self {
            Self::OpenSmtpd { .. } => Server::unencrypted(dovecot::HOST),
            _ => Server::starttls(dovecot::HOST).add_root_certificate_pem(self.ca_pem()),
        };
        server.port(self.ports().smtp)
    }

    /// Alice's credentials.
    pub fn credentials(&self) -> Credentials {
        Credentials::new(ALICE, self.password())
    }

    /// Alice's credentials for sending, where the server asks for any.
    pub fn smtp_credentials(&self) -> Credentials {
        if matches!(self, Self::OpenSmtpd { .. }) { Credentials::none() } else { self.credentials() }
    }

    /// How Alice receives: over implicit TLS from real servers, over STARTTLS from the embedded one.
    pub fn imap_config(&self) -> ImapConfig {
        let server = match self {
            Self::Embedded(_) => self.imap_server(),
            _ => self.imaps_server(),
        };
        ImapConfig::new(server, self.credentials()).tag(TAG)
    }

    /// How Alice sends.
    pub fn smtp_config(&self) -> SmtpConfig {
        SmtpConfig::new(self.smtp_server(), self.smtp_credentials()).tag(TAG)
    }

    /// Alice's handle that receives.
    pub fn imap(&self) -> Imap {
        Imap::connect(self.imap_config()).expect("IMAP connects")
    }

    /// Alice's handle that sends.
    pub fn smtp(&self) -> Smtp {
        Smtp::connect(self.smtp_config()).expect("SMTP connects")
    }

    /// Another client on Alice's account, which names mailboxes as these tests do; in a thread always the same one.
    pub fn other_client(&self) -> Arc<OtherClient> {
        let (port, ca) = (self.ports().imaps, Some(self.ca_pem()));
        let connect = || {
            OtherClient::connect(dovecot::HOST, port, "tls", ALICE, self.password(), ca)
                .expect("another client logs in")
                .within(&self.mailbox(""))
        };
        OTHER.with_borrow_mut(|other| match other {
            Some((its_port, client)) if *its_port == port => Arc::clone(client),
            _ => Arc::clone(&other.insert((port, Arc::new(connect()))).1),
        })
    }

    /// Sends messages from Alice to Alice and waits until each is in her inbox.
    pub fn deliver(&self, messages: &[Message]) {
        let smtp = self.smtp();
        for receipt in smtp.send_all(messages) {
            assert!(receipt.expect("sent").all_accepted());
        }
        let other = self.other_client();
        let ids: Vec<String> = messages.iter().map(|message| message.message_id().to_string()).collect();
        crate::support::process::wait_until("the delivery", || {
            let inbox = mail(&other, "INBOX");
            ids.iter().all(|id| inbox.iter().any(|seen| contains(&seen.raw, id.as_bytes())))
        });
        if matches!(self, Self::Courier { .. }) {
            // It gives new mail UIDs, by file name, when somebody opens the mailbox for more than reading.
            other.open("INBOX").expect("opened");
        }
    }

    /// Puts a mail into Alice's inbox as it is.
    pub fn plant(&self, flags: &[&str], raw: &str) {
        self.other_client().append("INBOX", flags, raw.replace('\n', "\r\n").as_bytes()).expect("planted");
    }
}

/// A message from Alice to Alice.
pub fn message(id: &str, body: impl Into<Vec<u8>>) -> Message {
    Message::new(id, ALICE, ALICE, body)
}

/// The mail in a mailbox, without the flag that each look changes; nothing when there is no such mailbox.
pub fn mail(client: &OtherClient, mailbox: &str) -> Vec<Seen> {
    let mut mail = client.list(mailbox).expect("listed").unwrap_or_default();
    for seen in &mut mail {
        seen.flags.retain(|flag| flag != "\\Recent");
    }
    mail
}

/// Whether `needle` is in `hay`.
pub fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|window| window == needle)
}

/// Everything that an error shows.
pub fn shown(error: &dyn Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, " {cause} {cause:?}");
        source = cause.source();
    }
    text
}
