//! A mail site: a server that sends and a server that receives, as a user of the library sees them.

use std::cell::RefCell;
use std::error::Error;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pymail::{AccessToken, Credentials, Imap, ImapConfig, Message, Server, Smtp, SmtpConfig};

use crate::support::certs::Issued;
use crate::support::courier::Courier;
use crate::support::cyrus::Cyrus;
use crate::support::dialect::{Dialect, DialectProxy, Login, Protocol, Search, Security, TOKEN};
use crate::support::dovecot::{self, Dovecot, DovecotOptions};
use crate::support::embedded::Embedded;
use crate::support::exim::Exim;
use crate::support::jwt::{Claims, mint};
use crate::support::opensmtpd::OpenSmtpd;
use crate::support::other_client::{OtherClient, Seen};
use crate::support::postfix::{Postfix, PostfixOptions};
pub use crate::support::{TAG, contains};

/// The account that sends and receives.
pub const ALICE: &str = "alice@example.test";

/// An address that every site refuses with 550.
pub const REFUSED: &str = "refused@example.test";

/// An address that every site refuses with 450.
pub const LATER: &str = "later@example.test";

/// The life of a token of [`Site::WithTokens`], as its handles know it: they replace their sessions after three quarters
/// of it. The servers take the token for a minute, so that no test depends on the speed of the machine.
const TOKEN_LIFE: Duration = Duration::from_secs(4);

thread_local! {
    /// The last [`Site::other_client`], by the site's port: each is a Python process, which starts slowly.
    static OTHER: RefCell<Option<(u16, Arc<OtherClient>)>> = const { RefCell::new(None) };
}

/// Running servers; the one that sends is dropped before the one that it delivers to.
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
    /// Postfix, delivering to Dovecot; Alice logs in by access tokens, which are kept here.
    WithTokens { postfix: Postfix, dovecot: Dovecot, tokens: Arc<Mutex<Vec<String>>> },
    /// Postfix and Dovecot behind proxies that make them speak as a provider does.
    Dialect(Box<Provider>),
}

/// A provider's dialect in front of Postfix and Dovecot.
pub struct Provider {
    pub dialect: Dialect,
    pub imap: DialectProxy,
    pub smtp: DialectProxy,
    /// The certificate to trust.
    root_pem: String,
    postfix: Postfix,
    dovecot: Dovecot,
}

impl Provider {
    /// Starts the servers and the proxies.
    fn start(dialect: &Dialect) -> Self {
        let extra = format!("namespace inbox {{\n  separator = {}\n}}", dialect.imap.delimiter);
        let dovecot = Dovecot::with(&DovecotOptions { extra, ..DovecotOptions::default() });
        let postfix = Postfix::start(&dovecot);
        let (shown, root_pem) = if dialect.is_self_signed {
            let shown = Issued::self_signed(&["127.0.0.1", dovecot::HOST]);
            let root_pem = shown.cert_pem.clone();
            (shown, root_pem)
        } else {
            (dovecot.issue(), dovecot.ca_pem().to_owned())
        };
        let proxy = |protocol, to| DialectProxy::start(dialect, protocol, to, &shown, dovecot.ca_pem());
        let (imap, smtp) =
            (proxy(Protocol::Imap, dovecot.imap_port()), proxy(Protocol::Smtp, postfix.smtps_port()));
        Self { dialect: *dialect, imap, smtp, root_pem, postfix, dovecot }
    }
}

/// The ports of a site's servers.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// IMAP with STARTTLS.
    pub imap: u16,
    /// IMAP with implicit TLS.
    pub imaps: u16,
    /// SMTP, with STARTTLS if the server has that.
    pub smtp: u16,
}

impl Site {
    /// Starts Postfix and Dovecot with options.
    pub fn real(dovecot: &DovecotOptions, postfix: &PostfixOptions) -> Self {
        let dovecot = Dovecot::with(dovecot);
        Self::Real { postfix: Postfix::with(&dovecot, postfix), dovecot }
    }

    /// Starts Postfix and Dovecot, to which Alice logs in by access tokens.
    pub fn with_tokens() -> Self {
        let token_mechanisms = "oauthbearer xoauth2".to_owned();
        let dovecot = Dovecot::with(&DovecotOptions { token_mechanisms, ..DovecotOptions::default() });
        Self::WithTokens { postfix: Postfix::start(&dovecot), dovecot, tokens: Arc::default() }
    }

    /// Starts a provider's dialect in front of Postfix and Dovecot.
    pub fn dialect(dialect: &Dialect) -> Self {
        Self::Dialect(Box::new(Provider::start(dialect)))
    }

    /// Returns the provider of a site that speaks a dialect.
    pub fn provider(&self) -> Option<&Provider> {
        if let Self::Dialect(provider) = self { Some(provider) } else { None }
    }

    /// Returns `true` if the receiving server has MOVE.
    pub fn has_move(&self) -> bool {
        match self {
            Self::Courier { .. } => false,
            Self::Dialect(provider) => provider.dialect.imap.has("MOVE"),
            _ => true,
        }
    }

    /// Returns `true` if a text that SEARCH looks for decides what it finds.
    pub fn searches_texts(&self) -> bool {
        let search = self.provider().map_or(Search::Substring, |it| it.dialect.imap.search);
        !matches!(search, Search::Nothing | Search::Everything)
    }

    /// Returns `true` if clients may create keywords.
    pub fn keeps_keywords(&self) -> bool {
        match self {
            Self::Embedded(_) => false,
            Self::Dialect(provider) => provider.dialect.imap.has_keywords,
            _ => true,
        }
    }

    /// Returns the Dovecot of a site that has one.
    pub fn dovecot(&self) -> &Dovecot {
        match self {
            Self::Dialect(provider) => &provider.dovecot,
            Self::Real { dovecot, .. }
            | Self::OpenSmtpd { dovecot, .. }
            | Self::Exim { dovecot, .. }
            | Self::WithTokens { dovecot, .. } => dovecot,
            Self::Embedded(_) | Self::Cyrus { .. } | Self::Courier { .. } => {
                panic!("this site has no Dovecot")
            }
        }
    }

    /// Returns the log of the Postfix of a site that has one.
    pub fn smtp_log(&self) -> String {
        self.postfix().expect("this site has no Postfix").log()
    }

    /// Returns the Postfix of a site that has one.
    pub fn postfix(&self) -> Option<&Postfix> {
        match self {
            Self::Real { postfix, .. }
            | Self::Cyrus { postfix, .. }
            | Self::Courier { postfix, .. }
            | Self::WithTokens { postfix, .. } => Some(postfix),
            Self::Dialect(provider) => Some(&provider.postfix),
            Self::Embedded(_) | Self::OpenSmtpd { .. } | Self::Exim { .. } => None,
        }
    }

    /// Returns the password of every user.
    pub fn password(&self) -> &'static str {
        if matches!(self, Self::Embedded(_)) { Embedded::PASSWORD } else { dovecot::PASSWORD }
    }

    /// Returns the authority to trust.
    pub fn ca_pem(&self) -> &str {
        match self {
            Self::Embedded(server) => server.ca_pem(),
            Self::Cyrus { cyrus, .. } => cyrus.ca_pem(),
            Self::Courier { courier, .. } => courier.ca_pem(),
            Self::Dialect(provider) => &provider.root_pem,
            Self::Real { .. } | Self::OpenSmtpd { .. } | Self::Exim { .. } | Self::WithTokens { .. } => {
                self.dovecot().ca_pem()
            }
        }
    }

    /// Returns the ports of its servers.
    pub fn ports(&self) -> Ports {
        let (imap, imaps) = match self {
            Self::Embedded(server) => (server.imap_port(), server.imaps_port()),
            Self::Cyrus { cyrus, .. } => (cyrus.imap_port(), cyrus.imaps_port()),
            Self::Courier { courier, .. } => (courier.imap_port(), courier.imaps_port()),
            Self::Dialect(provider) => (provider.imap.port(), provider.imap.port()),
            Self::Real { .. } | Self::OpenSmtpd { .. } | Self::Exim { .. } | Self::WithTokens { .. } => {
                (self.dovecot().imap_port(), self.dovecot().imaps_port())
            }
        };
        let smtp = match self {
            Self::Real { postfix, .. }
            | Self::Cyrus { postfix, .. }
            | Self::Courier { postfix, .. }
            | Self::WithTokens { postfix, .. } => postfix.submission_port(),
            Self::Embedded(server) => server.smtp_port(),
            Self::OpenSmtpd { opensmtpd, .. } => opensmtpd.port(),
            Self::Exim { exim, .. } => exim.submission_port(),
            Self::Dialect(provider) => provider.smtp.port(),
        };
        Ports { imap, imaps, smtp }
    }

    /// Returns a mailbox's name on this site: Cyrus and Courier, as Debian configures them, want all within INBOX, and
    /// Proton Mail Bridge within Folders.
    pub fn mailbox(&self, name: &str) -> String {
        let prefix = match self {
            Self::Cyrus { .. } | Self::Courier { .. } => "INBOX.",
            Self::Dialect(provider) => provider.dialect.imap.creates_within,
            _ => "",
        };
        if name == "INBOX" { name.to_owned() } else { format!("{prefix}{name}") }
    }

    /// Returns the codes with which IMAP and SMTP refuse a wrong password, if they give one.
    pub fn codes_of_a_refused_password(&self) -> [Option<&'static str>; 2] {
        let imap = match self {
            Self::Cyrus { .. } | Self::Courier { .. } => None,
            Self::Dialect(provider) if !provider.dialect.imap.wrong_password.contains('[') => None,
            _ => Some("AUTHENTICATIONFAILED"),
        };
        if let Self::Dialect(provider) = self {
            return [imap, provider.dialect.smtp.wrong_password.get(..3)];
        }
        // OpenSMTPD has no AUTH here.
        [imap, if matches!(self, Self::OpenSmtpd { .. }) { None } else { Some("535") }]
    }

    /// Returns the IMAP server with STARTTLS, or as the provider offers it.
    pub fn imap_server(&self) -> Server {
        self.offered().unwrap_or_else(|| self.starttls_server())
    }

    /// Returns the IMAP server as the provider offers it, on a site that speaks a dialect.
    fn offered(&self) -> Option<Server> {
        let server = match self.provider()?.dialect.imap.security {
            Security::Tls => Server::tls(dovecot::HOST),
            Security::StartTls => Server::starttls("127.0.0.1"),
        };
        Some(server.port(self.ports().imaps).add_root_certificate_pem(self.ca_pem()))
    }

    fn starttls_server(&self) -> Server {
        Server::starttls(dovecot::HOST).port(self.ports().imap).add_root_certificate_pem(self.ca_pem())
    }

    /// Returns the IMAP server with implicit TLS, or as the provider offers it.
    pub fn imaps_server(&self) -> Server {
        let usual =
            || Server::tls(dovecot::HOST).port(self.ports().imaps).add_root_certificate_pem(self.ca_pem());
        self.offered().unwrap_or_else(usual)
    }

    /// Returns the SMTP server, with STARTTLS if it has that.
    pub fn smtp_server(&self) -> Server {
        let server = match self {
            Self::OpenSmtpd { .. } => Server::unencrypted(dovecot::HOST),
            _ => Server::starttls(dovecot::HOST).add_root_certificate_pem(self.ca_pem()),
        };
        server.port(self.ports().smtp)
    }

    /// Returns Alice's credentials.
    pub fn credentials(&self) -> Credentials {
        if self.takes_the_token() {
            return Credentials::oauth2(ALICE, |_| Ok(AccessToken::new(TOKEN)));
        }
        let Self::WithTokens { tokens, .. } = self else { return Credentials::new(ALICE, self.password()) };
        let tokens = Arc::clone(tokens);
        Credentials::oauth2(ALICE, move |_| {
            let token = mint(&Claims { seconds: 60, ..Claims::of(ALICE) });
            tokens.lock().unwrap().push(token.clone());
            Ok(AccessToken::new(token).expires_in(TOKEN_LIFE))
        })
    }

    /// Returns `true` if Alice logs in by an access token.
    pub fn takes_tokens(&self) -> bool {
        matches!(self, Self::WithTokens { .. }) || self.takes_the_token()
    }

    /// Returns `true` if Alice logs in by the token of the dialects.
    fn takes_the_token(&self) -> bool {
        self.provider().is_some_and(|it| it.dialect.login == Login::Token)
    }

    /// Returns Alice's credentials with this secret in place of the right one.
    pub fn credentials_with(&self, secret: &'static str) -> Credentials {
        if self.takes_tokens() {
            Credentials::oauth2(ALICE, move |_| Ok(AccessToken::new(secret)))
        } else {
            Credentials::new(ALICE, secret)
        }
    }

    /// Returns the password, and the access tokens that Alice has logged in by.
    pub fn secrets(&self) -> Vec<String> {
        let password = self.password().to_owned();
        if self.takes_the_token() {
            return vec![password, TOKEN.to_owned()];
        }
        let Self::WithTokens { tokens, .. } = self else { return vec![password] };
        [vec![password], tokens.lock().unwrap().clone()].concat()
    }

    /// Returns Alice's credentials for sending, if the server asks for any.
    pub fn smtp_credentials(&self) -> Credentials {
        if matches!(self, Self::OpenSmtpd { .. }) { Credentials::none() } else { self.credentials() }
    }

    /// Returns Alice's settings for receiving: implicit TLS on real servers, STARTTLS on the embedded one.
    pub fn imap_config(&self) -> ImapConfig {
        let server = match self {
            Self::Embedded(_) => self.imap_server(),
            _ => self.imaps_server(),
        };
        ImapConfig::new(server, self.credentials()).tag(TAG)
    }

    /// Returns Alice's settings for sending.
    pub fn smtp_config(&self) -> SmtpConfig {
        SmtpConfig::new(self.smtp_server(), self.smtp_credentials()).tag(TAG)
    }

    /// Connects Alice's handle that receives.
    pub fn imap(&self) -> Imap {
        Imap::connect(self.imap_config()).expect("IMAP connects")
    }

    /// Connects Alice's handle that sends.
    pub fn smtp(&self) -> Smtp {
        Smtp::connect(self.smtp_config()).expect("SMTP connects")
    }

    /// Returns another client on Alice's account, with the tests' names of mailboxes; one for each thread.
    pub fn other_client(&self) -> Arc<OtherClient> {
        let (port, ca) = match self {
            // Past the proxy: the client tells what is on the server.
            Self::Dialect(provider) => (provider.dovecot.imaps_port(), Some(provider.dovecot.ca_pem())),
            _ => (self.ports().imaps, Some(self.ca_pem())),
        };
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

    /// Sends messages from Alice to Alice and waits until all are in her inbox.
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
            // Courier assigns UIDs to new mail, by file name, when a client opens the mailbox for writing.
            other.open("INBOX").expect("opened");
        }
    }

    /// Adds a mail to Alice's inbox, unchanged but for CRLF line ends.
    pub fn plant(&self, flags: &[&str], raw: &str) {
        self.other_client().append("INBOX", flags, raw.replace('\n', "\r\n").as_bytes()).expect("planted");
    }
}

/// Makes a message from Alice to Alice.
pub fn message(id: &str, body: impl Into<Vec<u8>>) -> Message {
    Message::new(id, ALICE, ALICE, body)
}

/// Lists the mail in a mailbox, without the flag `\Recent`; empty when there is no such mailbox.
pub fn mail(client: &OtherClient, mailbox: &str) -> Vec<Seen> {
    let mut mail = client.list(mailbox).expect("listed").unwrap_or_default();
    for seen in &mut mail {
        seen.flags.retain(|flag| flag != "\\Recent");
    }
    mail
}

/// Returns all texts of an error and its sources.
pub fn shown(error: &dyn Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, " {cause} {cause:?}");
        source = cause.source();
    }
    text
}
