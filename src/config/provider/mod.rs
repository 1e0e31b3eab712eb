//! Servers, ports, encryption and published limits of mail providers.

mod presets;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::{Credentials, ImapConfig, Server, SmtpConfig};

/// The most connections a minute of a preset's handles. Providers count logins, and lock accounts that have too many;
/// none publishes its figure.
const CONNECTS_PER_MINUTE: u32 = 10;

/// The recheck where SEARCH is unreliable: only a recheck notices mail that SEARCH misses.
const RECHECK: Duration = Duration::from_secs(30);

/// The servers, ports, encryption and published limits of a mail provider, as plain data.
///
/// The figures are from the providers' own documents, as of November 2026; they were not tried on the providers'
/// servers. Each preset names its sources. A figure without a public source is `None`. `docs/providers.md` says what
/// the account's owner has to allow.
///
/// ```
/// use pymail::{Credentials, Imap, Provider, Smtp};
///
/// # fn connect() -> pymail::Result<()> {
/// let account = || Credentials::new("alice@icloud.com", "abcd-efgh-ijkl-mnop"); // an app password
/// let imap = Imap::connect(Provider::icloud().imap(account()).tag("__APP__"))?;
/// let smtp = Smtp::connect(Provider::icloud().smtp(account()).tag("__APP__"))?;
/// # Ok(())
/// # }
/// assert_eq!(Provider::by_domain("icloud.com"), Some(Provider::icloud()));
/// assert_eq!(Provider::icloud().limits.messages_per_day, Some(1_000));
/// ```
///
/// The fields can be changed, such as a server where a firewall leaves another port open:
///
/// ```
/// use pymail::{Provider, Server};
///
/// let mut gmail = Provider::gmail();
/// gmail.smtp_server = Server::starttls("smtp.gmail.com").port(587);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Provider {
    /// The name, such as `gmail`, by which [`by_name`](Self::by_name) finds the provider.
    pub name: &'static str,
    /// The best-known domains of the provider's addresses, in lower case. Empty where customers have domains of their
    /// own.
    pub domains: &'static [&'static str],
    /// The IMAP server.
    pub imap_server: Server,
    /// The SMTP server for submission.
    pub smtp_server: Server,
    /// The kind of password that IMAP and SMTP accept; `None` if they accept none.
    pub password: Option<PasswordKind>,
    /// The OAuth 2.0 scopes for IMAP and SMTP, as the provider names them. Empty if it has none for them.
    pub oauth2_scopes: &'static [&'static str],
    /// `true` if the server refuses SELECT to a client that has not sent ID (RFC 2971). pymail sends it wherever it is
    /// offered.
    pub requires_id: bool,
    /// The reliability of SEARCH, by public reports.
    pub search: SearchKind,
    /// The published limits.
    pub limits: ProviderLimits,
}

/// The kind of password that a [`Provider`] accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PasswordKind {
    /// The password of the account.
    Account,
    /// A password for one app, which the account's owner makes in the account's settings. Also called app-specific
    /// password, application password or authorization code.
    App,
}

/// The reliability of a [`Provider`]'s SEARCH, by public reports. pymail notices mail that SEARCH does not find, and
/// reads Subjects: see [`recheck`](ImapConfig::recheck).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SearchKind {
    /// SEARCH finds any part of a Subject, as RFC 3501 demands: nothing else was reported.
    Substrings,
    /// SEARCH finds whole words. A tag of letters and digits is one word; other characters may end it.
    Words,
    /// SEARCH was reported to find nothing, everything, or not all mail.
    Unreliable,
}

/// The published limits of a [`Provider`]; `None` where no figure has a public source.
///
/// The figures are those of an established account with default settings; new and free accounts have lower ones, some
/// paid plans higher ones. pymail does not count against them: a server that refuses more for now is obeyed, and its
/// refusal is [transient](crate::Error::is_transient).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderLimits {
    /// The IMAP connections of an account at once. Each [`Imap`](crate::Imap) handle has one.
    pub imap_connections: Option<u32>,
    /// The SMTP connections of an account at once: see [`SmtpConfig::connections`].
    pub smtp_connections: Option<u32>,
    /// The bytes that an account may download by IMAP in a day.
    pub imap_download_per_day: Option<u64>,
    /// The bytes that an account may upload by IMAP in a day.
    pub imap_upload_per_day: Option<u64>,
    /// The messages that an account may send in a minute.
    pub messages_per_minute: Option<u32>,
    /// The messages that an account may send in an hour.
    pub messages_per_hour: Option<u32>,
    /// The messages that an account may send in a day.
    pub messages_per_day: Option<u32>,
    /// The recipients of all messages that an account may send in a day.
    pub recipients_per_day: Option<u32>,
    /// The recipients of a message that is sent by SMTP.
    pub recipients_per_message: Option<u32>,
    /// The size of a sent message in bytes. Some providers count the attachments before encoding, others the encoded
    /// message, in which a body takes 4/3 of its size. The SMTP server's own limit (RFC 1870) counts for pymail.
    pub message_bytes: Option<u64>,
}

impl Provider {
    /// Returns the configuration of an [`Imap`](crate::Imap) handle: the defaults of [`ImapConfig`] with the IMAP
    /// server, 10 connections a minute, and a [`recheck`](ImapConfig::recheck) after 30 s where SEARCH is unreliable.
    #[must_use]
    pub fn imap(&self, credentials: Credentials) -> ImapConfig {
        let config = ImapConfig::new(self.imap_server.clone(), credentials);
        let config = config.max_connects_per_minute(CONNECTS_PER_MINUTE);
        if self.search == SearchKind::Unreliable { config.recheck(RECHECK) } else { config }
    }

    /// Returns the configuration of an [`Smtp`](crate::Smtp) handle: the defaults of [`SmtpConfig`] with the SMTP
    /// server, and 10 connections a minute.
    #[must_use]
    pub fn smtp(&self, credentials: Credentials) -> SmtpConfig {
        let config = SmtpConfig::new(self.smtp_server.clone(), credentials);
        config.max_connects_per_minute(CONNECTS_PER_MINUTE)
    }

    /// Returns the provider with one of these [`domains`](Self::domains), in any case. Asks no server: a company's
    /// domain is not found, although its mail may be at a provider.
    ///
    /// ```
    /// # use pymail::Provider;
    /// let address = "alice@Gmail.com";
    /// let provider = address.rsplit_once('@').and_then(|(_, domain)| Provider::by_domain(domain));
    /// assert_eq!(provider, Some(Provider::gmail()));
    /// assert_eq!(Provider::by_domain("example.org"), None);
    /// ```
    #[must_use]
    pub fn by_domain(domain: &str) -> Option<Self> {
        let has_domain =
            |provider: &Self| provider.domains.iter().any(|known| known.eq_ignore_ascii_case(domain));
        Self::all().into_iter().find(has_domain)
    }

    /// Returns the provider with this [`name`](Self::name). Case, `-`, `_`, `.` and spaces don't count.
    ///
    /// ```
    /// # use pymail::Provider;
    /// assert_eq!(Provider::by_name("Microsoft 365"), Some(Provider::microsoft365()));
    /// ```
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        let plain = |name: &str| name.replace(['-', '_', '.', ' '], "").to_ascii_lowercase();
        Self::all().into_iter().find(|provider| plain(provider.name) == plain(name))
    }
}
