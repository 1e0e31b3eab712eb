//! The one error type: what the caller can do about it, what was being done, and the cause.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::codes;

/// The result of every fallible call in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, told by what a caller can do about it.
///
/// ```text
/// Error
/// ├── Config          the settings or an argument: mend the program
/// ├── Runtime         no usable Python in this process
/// ├── Connect         no connection could be made: try later
/// ├── Tls             the server is not who it should be, or speaks no TLS here
/// ├── Auth            the login was refused: most likely the credentials are wrong
/// ├── Timeout         not done by the deadline
/// ├── Disconnected    the connection was lost, and what was asked for did not happen
/// ├── Refused         the server said no; `code()` is its code
/// ├── Message         one message can't be sent or read as it is
/// ├── TooLarge        a message is over a limit, the server's or ours
/// ├── OutcomeUnknown  the connection was lost between a message's end and the server's answer
/// └── Stopped         the handle was stopped
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting or an argument that can't work, such as a tag with a line break.
    Config,
    /// The embedded Python interpreter could not be started or used.
    Runtime,
    /// No connection could be made: unknown host, closed port, or a server that hangs up.
    Connect,
    /// TLS failed; the text names the reason: the certificate's authority, names or dates, the versions of TLS, or a port
    /// that speaks no TLS.
    Tls,
    /// The server refused the login.
    ///
    /// When it says clearly that the credentials are wrong (IMAP `AUTHENTICATIONFAILED`, `AUTHORIZATIONFAILED` and
    /// `EXPIRED`, SMTP 535), the handle ends: make a new one with the right ones. When it gives no clear reason, the
    /// handle tries again with long waits, and [`retry_after`](Error::retry_after) says when.
    Auth,
    /// It was not done by the deadline.
    Timeout,
    /// The connection was lost; what was asked for did not happen, or is safe to ask again.
    Disconnected,
    /// The server answered no (IMAP `NO` or `BAD`, SMTP 4xx or 5xx).
    Refused,
    /// A message that can't be composed, or can't be read whole: something in it can't be decoded, or it was cut.
    Message,
    /// A message over the server's limit or over a configured one.
    TooLarge,
    /// The connection was lost after a message's last byte and before the server's answer to it; the same for a copy of
    /// mail within the server.
    OutcomeUnknown,
    /// The handle was stopped, by `stop` or because the process is ending.
    Stopped,
}

/// Why a call failed.
///
/// [`kind`](Error::kind) says what can be done, `Display` says what was being done and what the other side
/// said, and [`source`](StdError::source) keeps the cause. Errors are cheap to clone and hold no secret.
///
/// ```
/// use pymail::{Credentials, ErrorKind, Imap, ImapConfig, Server};
///
/// let nowhere = Server::tls("localhost").port(1);
/// let error = Imap::connect(ImapConfig::new(nowhere, Credentials::new("alice", "secret"))).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Connect);
/// assert!(error.is_transient());
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    text: String,
    code: Option<String>,
    retry_after: Option<Duration>,
    lasts: Lasts,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// How long the reason of an error lasts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lasts {
    /// As long as its kind and code say.
    Usual,
    /// It passes by itself.
    Briefly,
    /// The credentials are wrong.
    ForGood,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        let (code, retry_after, source) = (None, None, None);
        Self(Arc::new(Inner { kind, text: text.into(), code, retry_after, lasts: Lasts::Usual, source }))
    }

    pub(crate) fn config(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, text)
    }

    pub(crate) fn message(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Message, text)
    }

    /// What another process that this one forked gets.
    pub(crate) fn forked() -> Self {
        let text = "Python does not survive a fork: use pymail in the parent, or start another program";
        Self::new(ErrorKind::Runtime, text)
    }

    pub(crate) fn with_code(self, code: Option<String>) -> Self {
        self.changed(|inner| inner.code = code)
    }

    /// When there is any use in trying again.
    pub(crate) fn with_retry_after(self, wait: Option<Duration>) -> Self {
        self.changed(|inner| inner.retry_after = wait)
    }

    /// Marks a refusal that passes by itself, whatever its code.
    pub(crate) fn passing(self, passes: bool) -> Self {
        if passes { self.changed(|inner| inner.lasts = Lasts::Briefly) } else { self }
    }

    /// Marks a clear refusal of the credentials.
    pub(crate) fn for_good(self) -> Self {
        self.changed(|inner| inner.lasts = Lasts::ForGood)
    }

    pub(crate) fn with_source(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.changed(|inner| inner.source = Some(Box::new(source)))
    }

    /// Changes an error that nobody shares yet.
    fn changed(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            change(inner);
        }
        self
    }

    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The server's own code: an SMTP reply code such as `"550"`, or an IMAP response code such as
    /// `"OVERQUOTA"` (RFC 5530), or `"BAD"` for an IMAP BAD without one.
    ///
    /// Codes are in upper case. An enhanced status code (RFC 3463) such as 5.2.2 is at the beginning of the server's text,
    /// and decides, where there is one, whether the error [is transient](Error::is_transient).
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// How long to wait before trying again, from when the error was made, where that is known.
    ///
    /// The server said it, by a text such as Exchange's `Suggested Backoff Time: 5000 milliseconds` or `try again in
    /// 2 minutes`; or the handle makes no connection before: the last attempt has just failed, a login was refused, or there
    /// were many connections within a minute ([`connects_a_minute`](crate::ImapConfig::connects_a_minute)). An hour at
    /// most.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the same call may succeed later without any change by the caller.
    ///
    /// True for lost and refused connections and timeouts; of refusals, for SMTP 4xx and the enhanced codes 4.x.x, 5.2.2
    /// (mailbox full) and 5.3.1 (system full), the IMAP codes `UNAVAILABLE`, `INUSE`, `LIMIT`, `SERVERBUG`, `OVERQUOTA`,
    /// `EXPUNGEISSUED` and Gmail's `THROTTLED`, for words that say the same where there is no such code (`Please try
    /// again later`, `Server Busy`), and for whatever says [when to try again](Error::retry_after). Not for
    /// [`ErrorKind::OutcomeUnknown`]: repeating that one can make a second copy.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.kind() {
            ErrorKind::Connect | ErrorKind::Timeout | ErrorKind::Disconnected => true,
            ErrorKind::Refused | ErrorKind::Auth => {
                let passes = self.0.lasts == Lasts::Briefly || self.retry_after().is_some();
                passes || self.code().is_some_and(|code| codes::is_transient(Some(code), ""))
            }
            _ => false,
        }
    }

    /// Whether the server said clearly that the credentials are wrong.
    pub(crate) fn condemns_credentials(&self) -> bool {
        self.0.lasts == Lasts::ForGood
    }

    /// Whether the same call will fail again until somebody changes something.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        !self.is_transient() && !matches!(self.kind(), ErrorKind::OutcomeUnknown | ErrorKind::Stopped)
    }

    /// Whether the server did not answer in time.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.kind() == ErrorKind::Timeout
    }

    /// Whether the connection can't be used any more after this error.
    pub(crate) fn ends_connection(&self) -> bool {
        use ErrorKind::{Auth, Connect, Disconnected, OutcomeUnknown, Runtime, Timeout, Tls};
        matches!(self.kind(), Auth | Connect | Disconnected | OutcomeUnknown | Runtime | Timeout | Tls)
            || self.code() == Some("421")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, text, code, retry_after, lasts: _, source } = &*self.0;
        let mut debug = f.debug_struct("Error");
        debug.field("kind", kind).field("text", text);
        if let Some(code) = code {
            debug.field("code", code);
        }
        if let Some(wait) = retry_after {
            debug.field("retry_after", wait);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_4xx_reply_is_transient_and_a_5xx_reply_is_permanent() {
        let refused = |code: &str| Error::new(ErrorKind::Refused, "no").with_code(Some(code.into()));
        assert!(refused("450").is_transient() && !refused("450").is_permanent());
        assert!(refused("550").is_permanent() && !refused("550").is_transient());
    }

    #[test]
    fn an_unknown_outcome_is_neither_transient_nor_permanent() {
        let unknown = Error::new(ErrorKind::OutcomeUnknown, "lost");
        assert!(!unknown.is_transient() && !unknown.is_permanent());
    }
}
