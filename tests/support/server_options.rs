//! The options of Dovecot and Postfix, and what holds for each of them.

use serde::{Deserialize, Serialize};

/// Every user's password: with characters that IMAP quotes, and easy to find in a text.
pub const PASSWORD: &str = r#"cor"rect \horse 7d3f"#;

/// The host name to connect to: the certificate is made for this name and for `127.0.0.1`.
pub const HOST: &str = "localhost";

/// Another name in the certificate, which this machine can't resolve: a proxy may know it.
pub const REMOTE_NAME: &str = "mail.remote.invalid";

/// The options of a Dovecot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DovecotOptions {
    /// The whole capability line after login, to hide `MOVE` or `UIDPLUS`; by default Dovecot's own.
    ///
    /// Dovecot still obeys the hidden commands.
    pub capability: Option<String>,
    /// The mailbox format: `maildir` (the default), `sdbox` or `mdbox`.
    pub mailbox_format: String,
    /// The mechanisms by which access tokens are taken, such as `oauthbearer xoauth2`; none by default.
    ///
    /// The tokens are those of [`jwt::mint`](super::jwt::mint), for any user, which Dovecot validates by itself.
    pub token_mechanisms: String,
    /// The address at which Dovecot asks about each token in place of that, by a POST (RFC 7662).
    pub introspection_url: Option<String>,
    /// More lines for the configuration.
    pub extra: String,
}

impl Default for DovecotOptions {
    fn default() -> Self {
        Self {
            capability: None,
            mailbox_format: "maildir".to_owned(),
            token_mechanisms: String::new(),
            introspection_url: None,
            extra: String::new(),
        }
    }
}

/// Returns options of a Dovecot that hides these capabilities.
pub fn dovecot_without(hidden: &[&str]) -> DovecotOptions {
    let all =
        "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+ UIDPLUS MOVE ESEARCH SEARCHRES CONDSTORE";
    let shown: Vec<&str> = all.split(' ').filter(|name| !hidden.contains(name)).collect();
    DovecotOptions { capability: Some(shown.join(" ")), ..DovecotOptions::default() }
}

/// The options of a Postfix.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PostfixOptions {
    /// The largest message in octets; 60 MB by default.
    pub message_size_limit: u64,
    /// `true` to announce `PIPELINING`, the default.
    pub pipelining: bool,
    /// More lines for `main.cf`.
    pub extra: String,
}

impl Default for PostfixOptions {
    fn default() -> Self {
        Self { message_size_limit: 60_000_000, pipelining: true, extra: String::new() }
    }
}
