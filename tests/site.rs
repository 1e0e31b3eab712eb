//! A mail site as a user of the library sees it: somewhere to send, somewhere to receive.

use std::error::Error;
use std::fmt::Write as _;

use pymail::{Credentials, Imap, ImapConfig, Message, Server, Smtp, SmtpConfig};

use crate::support::dovecot::{self, Dovecot, DovecotOptions};
use crate::support::embedded::Embedded;
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

/// Running servers. Gone on drop.
#[expect(clippy::large_enum_variant, reason = "there is one a test")]
pub enum Site {
    /// Postfix, delivering to Dovecot.
    Real {
        /// The server that sends; before the other, which it delivers to.
        postfix: Postfix,
        /// The server that receives.
        dovecot: Dovecot,
    },
    /// pymap and aiosmtpd.
    Embedded(Embedded),
}

impl Site {
    /// Postfix and Dovecot, with options.
    pub fn real(dovecot: &DovecotOptions, postfix: &PostfixOptions) -> Self {
        let dovecot = Dovecot::with(dovecot);
        Self::Real { postfix: Postfix::with(&dovecot, postfix), dovecot }
    }

    /// The Dovecot of a real site.
    pub fn dovecot(&self) -> &Dovecot {
        match self {
            Self::Real { dovecot, .. } => dovecot,
            Self::Embedded(_) => panic!("the embedded site has no Dovecot"),
        }
    }

    /// Everybody's password.
    pub fn password(&self) -> &'static str {
        match self {
            Self::Real { .. } => dovecot::PASSWORD,
            Self::Embedded(_) => Embedded::PASSWORD,
        }
    }

    /// The authority to trust.
    pub fn ca_pem(&self) -> &str {
        match self {
            Self::Real { dovecot, .. } => dovecot.ca_pem(),
            Self::Embedded(server) => server.ca_pem(),
        }
    }

    /// The IMAP server with STARTTLS.
    pub fn imap_server(&self) -> Server {
        let port = match self {
            Self::Real { dovecot, .. } => dovecot.imap_port(),
            Self::Embedded(server) => server.imap_port(),
        };
        Server::starttls(dovecot::HOST).port(port).trust_pem(self.ca_pem())
    }

    /// The IMAP server with implicit TLS.
    pub fn imaps_server(&self) -> Server {
        let port = match self {
            Self::Real { dovecot, .. } => dovecot.imaps_port(),
            Self::Embedded(server) => server.imaps_port(),
        };
        Server::tls(dovecot::HOST).port(port).trust_pem(self.ca_pem())
    }

    /// The SMTP server with STARTTLS.
    pub fn smtp_server(&self) -> Server {
        let port = match self {
            Self::Real { postfix, .. } => postfix.submission_port(),
            Self::Embedded(server) => server.smtp_port(),
        };
        Server::starttls(dovecot::HOST).port(port).trust_pem(self.ca_pem())
    }

    /// Alice's credentials.
    pub fn credentials(&self) -> Credentials {
        Credentials::new(ALICE, self.password())
    }

    /// How Alice receives: over implicit TLS from the real site, over STARTTLS from the embedded one.
    pub fn imap_config(&self) -> ImapConfig {
        let server = match self {
            Self::Real { .. } => self.imaps_server(),
            Self::Embedded(_) => self.imap_server(),
        };
        ImapConfig::new(server, self.credentials()).tag(TAG)
    }

    /// How Alice sends.
    pub fn smtp_config(&self) -> SmtpConfig {
        SmtpConfig::new(self.smtp_server(), self.credentials()).tag(TAG)
    }

    /// Alice's handle that receives.
    pub fn imap(&self) -> Imap {
        Imap::connect(self.imap_config()).expect("IMAP connects")
    }

    /// Alice's handle that sends.
    pub fn smtp(&self) -> Smtp {
        Smtp::connect(self.smtp_config()).expect("SMTP connects")
    }

    /// Another client on Alice's account.
    pub fn other_client(&self) -> OtherClient {
        let (security, port) = match self {
            Self::Real { dovecot, .. } => ("tls", dovecot.imaps_port()),
            Self::Embedded(server) => ("tls", server.imaps_port()),
        };
        OtherClient::connect(dovecot::HOST, port, security, ALICE, self.password(), Some(self.ca_pem()))
            .expect("another client logs in")
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
