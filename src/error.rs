//! The error type of the crate: a kind, the action that failed, and the cause.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use crate::codes;

/// The result of every fallible call in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of an [`Error`]: one for each thing that a caller can do about it.
///
/// | kind | cause | what to do |
/// | --- | --- | --- |
/// | `Config` | a setting can't work | fix the configuration |
/// | `InvalidInput` | an argument of a call can't work | fix the program |
/// | `Runtime` | no usable Python in this process | fix the installation |
/// | `Connect` | no connection could be made | retry later |
/// | `Tls` | the certificate or the TLS version is not acceptable | fix the server, or trust its certificate |
/// | `Auth` | the login was refused | ask the user, or retry after [`retry_after`](Error::retry_after) |
/// | `SignInNeeded` | the app can get no more access tokens | have the user sign in, then call [`Imap::signed_in`](crate::Imap::signed_in) |
/// | `Timeout` | the call was not done by its deadline | retry; allow more time for large messages |
/// | `Disconnected` | the connection was lost, and nothing was done | retry |
/// | `Refused` | the server answered NO, BAD, 4xx or 5xx | retry if [`is_transient`](Error::is_transient), else report [`code`](Error::code) |
/// | `StaleUids` | the UIDs are of another UIDVALIDITY | search or fetch again |
/// | `LeaseLost` | another consumer may have the messages | drop them: they are not acknowledged |
/// | `Message` | one message can't be composed or read | skip this message |
/// | `TooLarge` | a message is over a limit | skip this message, or raise the limit |
/// | `OutcomeUnknown` | the connection was lost before the final reply | resend, if the receiver drops duplicates |
/// | `Closed` | the handle was closed | make a new handle |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting can't work, such as a tag with a line break; or a provider of access tokens has panicked, returned a
    /// token that can't be sent, or (feature `oauth`) is a client that the token server does not accept; or a
    /// [connector](crate::Server::connector) has panicked.
    Config,
    /// An argument of a call can't work, such as a mailbox name with a line break. Nothing was sent.
    InvalidInput,
    /// The embedded Python interpreter could not be started or used.
    Runtime,
    /// No connection could be made: unknown host, closed port, a server that closes at once, a [proxy](crate::Proxy#errors)
    /// that refuses, or no access token for now. Printed by `{:#}`, the error names each address that was tried.
    Connect,
    /// TLS failed. The text names the reason: the certificate's authority, names or dates, the TLS version, or a port
    /// that does not speak TLS.
    Tls,
    /// The server refused the login.
    ///
    /// The handle ends when the server says clearly that the credentials are wrong (IMAP `AUTHENTICATIONFAILED`,
    /// `AUTHORIZATIONFAILED` and `EXPIRED`, SMTP 535): make a new one with the right credentials. When the server gives
    /// no clear reason, the handle retries with long waits, and [`retry_after`](Error::retry_after) returns the next
    /// one.
    ///
    /// A refused access token never ends the handle: see [`Credentials::oauth2`](crate::Credentials::oauth2).
    Auth,
    /// The app's provider of access tokens has returned [`Error::grant_gone`]: the account's owner must sign in again.
    /// The handle makes no connection before [`Imap::signed_in`](crate::Imap::signed_in) or
    /// [`Smtp::signed_in`](crate::Smtp::signed_in) is called.
    SignInNeeded,
    /// The call was not done by its deadline. The connection is replaced.
    Timeout,
    /// The connection was lost. The command was not carried out, or is safe to repeat.
    Disconnected,
    /// The server refused the command: IMAP `NO` or `BAD`, SMTP 4xx or 5xx. Also a success that is none, such as a MOVE
    /// that is answered with OK and leaves the messages in the inbox.
    Refused,
    /// The UIDs are of another mailbox, or of one whose UIDVALIDITY has changed (RFC 3501, section 2.3.1.1), and the
    /// messages can't be found again. No mail was touched by these UIDs.
    StaleUids,
    /// The lease of a [`shared`](crate::ImapConfig::shared) mailbox ran out before the acknowledgement, and another
    /// consumer may have some of the messages. The text names their UIDs; the other messages are acknowledged.
    LeaseLost,
    /// A message can't be composed, or can't be read whole: a part can't be decoded, or its end is missing.
    Message,
    /// A message is over the server's limit or over a configured one.
    TooLarge,
    /// The connection was lost, or the time was up, after a message's last byte and before the server's reply, or after
    /// COPY was sent. The message may have been delivered, or copied.
    OutcomeUnknown,
    /// The handle was closed, by `close` or because the process exits.
    Closed,
}

/// A short phrase, such as `connection lost`.
impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "invalid configuration",
            Self::InvalidInput => "invalid argument",
            Self::Runtime => "no usable Python",
            Self::Connect => "connection failed",
            Self::Tls => "TLS failed",
            Self::Auth => "login refused",
            Self::SignInNeeded => "sign-in needed",
            Self::Timeout => "timed out",
            Self::Disconnected => "connection lost",
            Self::Refused => "refused by the server",
            Self::StaleUids => "stale UIDs",
            Self::LeaseLost => "lease lost",
            Self::Message => "invalid message",
            Self::TooLarge => "message too large",
            Self::OutcomeUnknown => "outcome unknown",
            Self::Closed => "handle closed",
        })
    }
}

/// The error of every fallible call in this crate.
///
/// [`kind`](Error::kind) tells the remedy, `Display` the action that failed and the server's text, and
/// [`source`](StdError::source) a cause that the text has not named. `{:#}` prints the text and all causes, and says nothing
/// twice. Errors are cheap to clone, and contain no password.
///
/// ```
/// use pymail::{Credentials, ErrorKind, Imap, ImapConfig, Server};
///
/// let nowhere = Server::tls("localhost").port(1);
/// let error = Imap::connect(ImapConfig::new(nowhere, Credentials::new("alice", "secret"))).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Connect);
/// assert!(error.is_transient());
/// assert_eq!(error.to_string(), "connecting to IMAP at localhost:1 failed");
/// // Behind the colon are the words of the system, such as `Connection refused`.
/// assert!(format!("{error:#}").starts_with("connecting to IMAP at localhost:1 failed: "));
/// ```
///
/// An `Error` converts into a [`std::io::Error`], from which it can be downcast again:
///
/// ```
/// use std::io;
/// use pymail::{Imap, ImapConfig};
///
/// fn connect(config: ImapConfig) -> io::Result<Imap> {
///     Ok(Imap::connect(config)?)
/// }
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

/// The contents of an error, shared by its clones.
#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    text: String,
    /// The command or action that failed, where the text begins with it.
    action: Option<String>,
    code: Option<String>,
    retry_after: Option<Duration>,
    persistence: Persistence,
    token_refusal: Option<TokenRefusal>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The reason for which a server has refused an access token, from the JSON of its refusal (RFC 7628, section 3.2.2).
///
/// Each is at most 400 characters long.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct TokenRefusal {
    /// `invalid_token`, `insufficient_scope` and others with OAUTHBEARER; with XOAUTH2 a number such as `401`. Empty if
    /// the server gives none.
    pub status: String,
    /// The scope that a token needs. Empty if the server names none.
    pub scope: String,
}

/// The duration of an error's cause, where it is known from more than kind and code.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Persistence {
    /// Kind and code decide.
    Unspecified,
    Transient,
    /// The server said clearly that the credentials are wrong.
    WrongCredentials,
    /// The server refused an access token, in whose place another one may be accepted at once.
    RefusedToken,
}

impl Error {
    /// Makes an error without code, wait and cause.
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        let (code, retry_after, source) = (None, None, None);
        let persistence = Persistence::Unspecified;
        Self(Arc::new(Inner {
            kind,
            text: text.into(),
            action: None,
            code,
            retry_after,
            persistence,
            token_refusal: None,
            source,
        }))
    }

    /// Makes an error of an action, such as a command, and the reason why it failed.
    pub(crate) fn during(kind: ErrorKind, action: &str, reason: &str) -> Self {
        let error = Self::new(kind, format!("{action}: {reason}"));
        error.changed(|inner| inner.action = Some(action.to_owned()))
    }

    /// Makes an error of a setting.
    pub(crate) fn config(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, text)
    }

    /// Makes an error of an argument.
    pub(crate) fn invalid_input(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, text)
    }

    /// Makes the error by which a [provider of access tokens](crate::Credentials::oauth2) says that it can't get any
    /// before the account's owner has signed in again: the token server has answered `invalid_grant` (RFC 6749, section
    /// 5.2), for example.
    ///
    /// The reason is for people, and is shown; it must not have a secret in it.
    ///
    /// ```
    /// let error = pymail::Error::grant_gone("invalid_grant: the refresh token was revoked");
    /// assert_eq!(error.kind(), pymail::ErrorKind::SignInNeeded);
    /// assert!(error.is_permanent());
    /// ```
    pub fn grant_gone(reason: impl fmt::Display) -> Self {
        Self::new(ErrorKind::SignInNeeded, bounded(&reason.to_string()))
    }

    /// Makes the error by which a [provider of access tokens](crate::Credentials::oauth2) says that it can't get one
    /// now: the token server is not reachable, or busy. `retry_after` is the wait that the token server asks for, if any;
    /// the handle asks for no token before.
    ///
    /// The reason is for people, and is shown; it must not have a secret in it.
    pub fn token_unavailable(reason: impl fmt::Display, retry_after: Option<Duration>) -> Self {
        Self::new(ErrorKind::Connect, bounded(&reason.to_string())).with_retry_after(retry_after)
    }

    /// Makes an error of one message.
    pub(crate) fn message(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Message, text)
    }

    /// Returns the error of every call in a forked child process.
    pub(crate) fn forked() -> Self {
        let text = "Python can't be used after a fork: call pymail in the parent process, or execute another program";
        Self::new(ErrorKind::Runtime, text)
    }

    /// Sets the server's code.
    pub(crate) fn with_code(self, code: Option<String>) -> Self {
        self.changed(|inner| inner.code = code)
    }

    /// Sets the wait before a retry.
    pub(crate) fn with_retry_after(self, wait: Option<Duration>) -> Self {
        self.changed(|inner| inner.retry_after = wait)
    }

    /// Makes a refusal transient, independent of its code.
    pub(crate) fn mark_transient(self, is_transient: bool) -> Self {
        if is_transient { self.changed(|inner| inner.persistence = Persistence::Transient) } else { self }
    }

    /// Marks a clear refusal of the credentials, which ends the handle.
    pub(crate) fn mark_wrong_credentials(self) -> Self {
        self.changed(|inner| inner.persistence = Persistence::WrongCredentials)
    }

    /// Marks the refusal of an access token, in whose place another one may be accepted at once.
    pub(crate) fn mark_refused_token(self) -> Self {
        self.changed(|inner| inner.persistence = Persistence::RefusedToken)
    }

    /// Sets the reason of a refused access token.
    pub(crate) fn with_token_refusal(self, refusal: Option<TokenRefusal>) -> Self {
        self.changed(|inner| inner.token_refusal = refusal)
    }

    /// Sets the cause.
    pub(crate) fn with_source(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.changed(|inner| inner.source = Some(Arc::new(source)))
    }

    /// Sets another error as the cause, and takes over its details.
    pub(crate) fn caused_by(self, cause: Self) -> Self {
        self.with_details_of(&cause).with_source(cause)
    }

    /// Replaces the kind and the text by ones that include the old text; keeps the details and the cause.
    pub(crate) fn reworded(self, kind: ErrorKind, text: String) -> Self {
        self.changed(|inner| (inner.kind, inner.text, inner.action) = (kind, text, None))
    }

    /// Removes the action that the text begins with, for an error whose text has that action to have it as the cause.
    pub(crate) fn without_action(self) -> Self {
        self.changed(|inner| {
            let action = inner.action.take().unwrap_or_default();
            if let Some(reason) = inner.text.strip_prefix(&format!("{action}: ")) {
                inner.text = reason.to_owned();
            }
        })
    }

    /// Takes over another error's code, its wait, and the duration of its cause.
    pub(crate) fn with_details_of(self, other: &Self) -> Self {
        let error = self.with_code(other.0.code.clone()).with_retry_after(other.0.retry_after);
        let error = error.with_token_refusal(other.0.token_refusal.clone());
        error.changed(|inner| inner.persistence = other.0.persistence)
    }

    /// Changes an error, and none of its clones.
    fn changed(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Returns the kind, which tells the remedy.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the server's code: an SMTP reply code such as `"550"`, an IMAP response code such as `"OVERQUOTA"`
    /// (RFC 5530), or `"BAD"` for an IMAP BAD without one.
    ///
    /// With [`LeaseLost`](ErrorKind::LeaseLost), pymail's own code is `"LEASE"`; with
    /// [`StaleUids`](ErrorKind::StaleUids), `"UIDVALIDITY"`.
    ///
    /// Codes are in upper case. An enhanced status code (RFC 3463) such as 5.2.2 is part of the text, and decides,
    /// where there is one, whether the error [is transient](Error::is_transient).
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// Returns the wait before a retry, counted from when the error was returned, if it is known.
    ///
    /// The wait is the server's, from a text such as Exchange's `Suggested Backoff Time: 5000 milliseconds` or
    /// `try again in 2 minutes`; that of the token server, by [`token_unavailable`](Error::token_unavailable); or the
    /// handle's own, which makes no connection before: a login was refused, also by a proxy, or
    /// [`max_connects_per_minute`](crate::ImapConfig::max_connects_per_minute) is reached.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns the reason for which the server has refused an access token, if it gave one.
    #[must_use]
    pub fn token_refusal(&self) -> Option<&TokenRefusal> {
        self.0.token_refusal.as_ref()
    }

    /// Returns `true` if the same call may succeed later without a change by the caller.
    ///
    /// - Lost and failed connections and timeouts are transient, and so is a refused access token.
    /// - Of [`Refused`](ErrorKind::Refused), SMTP's 4xx and the enhanced codes 4.x.x, 5.2.2 (mailbox full), 5.3.1 (system full), 5.4.3 and
    ///   5.4.5 (congestion); the IMAP codes `UNAVAILABLE`, `INUSE`, `LIMIT`, `SERVERBUG`, `OVERQUOTA`, `EXPUNGEISSUED`,
    ///   `MESSAGELIMIT`, `NOTIFICATIONOVERFLOW` and Gmail's `THROTTLED`; without a known code, texts that say the same
    ///   (`Please try again later`, `Server Busy`); and all that have a [wait](Error::retry_after).
    /// - [`ErrorKind::OutcomeUnknown`] is not: a retry can make a duplicate.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.kind() {
            ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Disconnected => true,
            ErrorKind::Refused | ErrorKind::Auth => {
                let is_marked =
                    matches!(self.0.persistence, Persistence::Transient | Persistence::RefusedToken)
                        || self.retry_after().is_some();
                // With a code that passes, such as 454, the password may be wrong all the same if this is `Auth`.
                let may_pass = |code| codes::is_transient(Some(code), "");
                is_marked || (self.kind() == ErrorKind::Refused && self.code().is_some_and(may_pass))
            }
            _ => false,
        }
    }

    /// Returns `true` if the server said clearly that the credentials are wrong.
    pub(crate) fn is_wrong_credentials(&self) -> bool {
        self.0.persistence == Persistence::WrongCredentials
    }

    /// Returns `true` if another access token may be accepted at once.
    pub(crate) fn is_refused_token(&self) -> bool {
        self.0.persistence == Persistence::RefusedToken
    }

    /// Returns `true` if the same call will fail again until the program, the account or the server is changed.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        !self.is_transient() && !matches!(self.kind(), ErrorKind::OutcomeUnknown | ErrorKind::Closed)
    }

    /// Returns `true` if the call was not done by its deadline.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.kind() == ErrorKind::Timeout
    }

    /// Returns the action that failed, if the error was made by [`during`](Self::during).
    pub(crate) fn action(&self) -> Option<&str> {
        self.0.action.as_deref()
    }

    /// Returns `true` if the connection can't be used after this error.
    pub(crate) fn ends_connection(&self) -> bool {
        use ErrorKind::{Auth, Connect, Disconnected, OutcomeUnknown, Runtime, SignInNeeded, Timeout, Tls};
        matches!(
            self.kind(),
            Auth | Connect | Disconnected | OutcomeUnknown | Runtime | SignInNeeded | Timeout | Tls
        ) || self.code() == Some("421")
    }
}

/// The most characters of a text from elsewhere that an error shows.
const MAX_TEXT: usize = 400;

/// Makes a text printable: one line, no control characters, at most [`MAX_TEXT`] characters.
pub(crate) fn bounded(text: &str) -> String {
    let printable = |c: char| match c {
        c if c.is_whitespace() => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    let mut bounded: String = text.chars().take(MAX_TEXT).map(printable).collect();
    if text.chars().nth(MAX_TEXT).is_some() {
        bounded.push_str(" (..)");
    }
    bounded
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)?;
        let mut source = self.source().filter(|_| f.alternate());
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, text, action: _, code, retry_after, persistence: _, token_refusal, source } =
            &*self.0;
        let mut debug = f.debug_struct("Error");
        debug.field("kind", kind).field("text", text);
        if let Some(code) = code {
            debug.field("code", code);
        }
        if let Some(wait) = retry_after {
            debug.field("retry_after", wait);
        }
        if let Some(refusal) = token_refusal {
            debug.field("token_refusal", refusal);
        }
        if let Some(source) = source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Serialises the kind, the text with its causes, the code, and the wait before a retry in seconds.
impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Error", 4)?;
        fields.serialize_field("kind", &self.kind())?;
        fields.serialize_field("text", &format!("{self:#}"))?;
        fields.serialize_field("code", &self.code())?;
        fields.serialize_field("retry_after", &self.retry_after().map(|wait| wait.as_secs_f64()))?;
        fields.end()
    }
}

/// Keeps the error as the cause, and maps the kind to the nearest one of `std`.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Config | ErrorKind::InvalidInput => io::ErrorKind::InvalidInput,
            ErrorKind::Auth | ErrorKind::SignInNeeded => io::ErrorKind::PermissionDenied,
            ErrorKind::Timeout => io::ErrorKind::TimedOut,
            ErrorKind::Disconnected => io::ErrorKind::ConnectionAborted,
            ErrorKind::Message => io::ErrorKind::InvalidData,
            ErrorKind::Closed => io::ErrorKind::NotConnected,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_an_io_error_it_keeps_its_text_and_can_be_taken_out_again() {
        let error = io::Error::from(Error::new(ErrorKind::Timeout, "NOOP timed out"));
        assert_eq!((error.kind(), error.to_string().as_str()), (io::ErrorKind::TimedOut, "NOOP timed out"));
        let ours: Error = error.downcast().unwrap();
        assert_eq!(ours.kind(), ErrorKind::Timeout);
    }

    #[test]
    fn a_4xx_reply_is_transient_and_a_5xx_reply_is_permanent() {
        let refused = |code: &str| Error::new(ErrorKind::Refused, "no").with_code(Some(code.into()));
        assert!(refused("450").is_transient() && !refused("450").is_permanent());
        assert!(refused("550").is_permanent() && !refused("550").is_transient());
    }

    #[test]
    fn the_alternate_form_prints_the_sources_and_the_plain_one_does_not() {
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        let lost = Error::new(ErrorKind::Disconnected, "NOOP failed").with_source(reset);
        let timeout = Error::new(ErrorKind::Timeout, "NOOP timed out").with_source(lost);
        assert_eq!(format!("{timeout}"), "NOOP timed out");
        assert_eq!(format!("{timeout:#}"), "NOOP timed out: NOOP failed: connection reset");
    }

    #[test]
    fn an_error_that_is_reworded_says_each_thing_once_and_keeps_its_details() {
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        let lost = Error::during(ErrorKind::Disconnected, "COPY", "lost").with_source(reset);
        let lost = lost.with_code(Some("421".into()));
        let unknown = lost.clone().reworded(ErrorKind::OutcomeUnknown, format!("{lost}; it may be done"));
        assert_eq!(format!("{unknown:#}"), "COPY: lost; it may be done: connection reset");
        assert_eq!((unknown.kind(), unknown.code()), (ErrorKind::OutcomeUnknown, Some("421")));
        let timeout = Error::new(ErrorKind::Timeout, "COPY timed out").caused_by(lost.without_action());
        assert_eq!(format!("{timeout:#}"), "COPY timed out: lost: connection reset");
    }

    #[test]
    fn an_error_made_of_another_keeps_all_that_decides_what_to_do() {
        let minute = Some(Duration::from_secs(60));
        let full = Error::new(ErrorKind::Refused, "full").with_code(Some("550".into())).mark_transient(true);
        let named = Error::new(ErrorKind::Refused, "message 1").caused_by(full);
        assert!(named.is_transient() && named.code() == Some("550"), "{named:?}");
        let named = named.with_retry_after(minute).mark_wrong_credentials();
        let named = Error::new(ErrorKind::Auth, "login").caused_by(named);
        assert!(named.is_wrong_credentials() && named.retry_after() == minute, "{named:?}");
    }

    #[test]
    fn a_change_of_an_error_leaves_its_clones_as_they_are() {
        let error = Error::new(ErrorKind::Refused, "no");
        let changed = error.clone().with_code(Some("450".into()));
        assert_eq!((error.code(), changed.code()), (None, Some("450")));
    }

    #[test]
    fn in_json_it_has_kind_text_code_and_wait() {
        let busy = Error::new(ErrorKind::OutcomeUnknown, "busy").with_code(Some("LIMIT".into()));
        let json = serde_json::to_string(&busy.with_retry_after(Some(Duration::from_millis(1_500)))).unwrap();
        assert_eq!(json, r#"{"kind":"OutcomeUnknown","text":"busy","code":"LIMIT","retry_after":1.5}"#);
    }

    #[test]
    fn an_unknown_outcome_is_neither_transient_nor_permanent() {
        let unknown = Error::new(ErrorKind::OutcomeUnknown, "lost");
        assert!(!unknown.is_transient() && !unknown.is_permanent());
    }
}
