//! The form of a dialect's table.

use std::time::Duration;

/// A provider's way of speaking, as plain data. `TAG` in a response stands for the tag of the command, `NAME` for its
/// name, `USER` for the user.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// The provider, as the tests name it.
    pub name: &'static str,
    /// The credentials that it takes.
    pub login: Login,
    /// `true` if the certificate is signed by its own key.
    pub is_self_signed: bool,
    /// The receiving server.
    pub imap: ImapDialect,
    /// The sending server.
    pub smtp: SmtpDialect,
}

/// The credentials that a provider takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// A password, mostly one of its own for each app.
    Password,
    /// An access token.
    Token,
}

/// The begin of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Before the greeting.
    Tls,
    /// After STARTTLS.
    StartTls,
}

/// The place of the capabilities after login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// In the response to CAPABILITY alone.
    OnRequest,
    /// In an untagged response before the OK.
    Untagged,
    /// In a response code of the OK.
    InCode,
}

/// The messages that SEARCH finds by a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Those that contain it (RFC 3501, section 6.4.4).
    Substring,
    /// Those that contain all of its words.
    Words,
    /// None.
    Nothing,
    /// All.
    Everything,
}

/// The receiving server.
#[derive(Clone, Copy, Debug)]
pub struct ImapDialect {
    /// The begin of TLS.
    pub security: Security,
    /// The first line, without `* `.
    pub greeting: &'static str,
    /// The capabilities before login.
    pub before_login: &'static str,
    /// The capabilities after login. Commands of other extensions are refused.
    pub after_login: &'static str,
    /// Where these are announced.
    pub announcement: Announcement,
    /// The OK to a login, without the tag.
    pub logged_in: &'static str,
    /// The refusal of a password, without the tag.
    pub wrong_password: &'static str,
    /// The refusal of a token, without the tag.
    pub wrong_token: &'static str,
    /// The text of an OK.
    pub completed: &'static str,
    /// The response to a command that it does not know, without the tag.
    pub unknown: &'static str,
    /// The messages that SEARCH finds by a text.
    pub search: Search,
    /// The hierarchy delimiter.
    pub delimiter: &'static str,
    /// The prefix of mailboxes that clients may create.
    pub creates_within: &'static str,
    /// `true` if clients may create keywords.
    pub has_keywords: bool,
    /// `true` if it tells UIDNEXT.
    pub tells_uidnext: bool,
    /// The refusal of SELECT before ID, without the tag.
    pub needs_id: Option<&'static str>,
    /// `true` if mailboxes are labels: what loses its last label is in this mailbox still.
    pub all_mail: Option<&'static str>,
    /// The most messages that one command processes (RFC 9738).
    pub message_limit: Option<usize>,
    /// The most connections at once, and the refusal of another login, without the tag.
    pub connections: Option<(usize, &'static str)>,
    /// The length of a session, and the goodbye at its end, without `* `.
    pub session: Option<(Duration, &'static str)>,
    /// Refusals that tests ask for, by their names: lines with `TAG`. A line `* BYE` ends the connection.
    pub refusals: &'static [(&'static str, &'static str)],
}

/// The sending server, with STARTTLS.
#[derive(Clone, Copy, Debug)]
pub struct SmtpDialect {
    /// The first line, without the code.
    pub greeting: &'static str,
    /// The extensions under TLS, with AUTH. Before TLS there is STARTTLS, and no AUTH.
    pub extensions: &'static [&'static str],
    /// The reply to a login.
    pub logged_in: &'static str,
    /// The reply to a wrong password: whole lines.
    pub wrong_password: &'static str,
    /// The reply to a wrong token: whole lines.
    pub wrong_token: &'static str,
    /// The text of the last reply to a message, behind 250.
    pub accepted: &'static str,
    /// Refusals that tests ask for, by their names: whole lines. After 421 the connection ends.
    pub refusals: &'static [(&'static str, &'static str)],
}

impl ImapDialect {
    /// Returns `true` if the capabilities after login have this one.
    pub fn has(&self, capability: &str) -> bool {
        self.after_login.split(' ').any(|it| it.eq_ignore_ascii_case(capability))
    }
}

impl SmtpDialect {
    /// Returns `true` if there is an extension of this name.
    pub fn has(&self, extension: &str) -> bool {
        self.extensions.iter().any(|it| it.split(' ').next() == Some(extension))
    }
}
