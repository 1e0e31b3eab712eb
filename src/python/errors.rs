//! Converts Python exceptions into [`Error`]s; no Python object leaves with them.
//!
//! | exception, the first that fits | while connecting | at login | later |
//! | --- | --- | --- | --- |
//! | `Refused` of `py/`: NO, BAD, 4xx, 5xx | `Refused` | `Auth` or `Refused` | `Refused` |
//! | `BadClientCertificate` of `py/` | `Config` | | |
//! | a timeout, or raised from one | `Timeout` | `Timeout` | `Timeout` |
//! | the end of a TLS connection | `Connect` | `Disconnected` | `Disconnected` |
//! | a certificate that is not accepted | `Tls` | `Tls` | `Tls` |
//! | any other `SSLError`, or raised from one | `Tls` | `Disconnected` | `Disconnected` |
//! | `ImportError`, `MemoryError`, `SystemError`, Ctrl-C, exit | `Runtime` | `Runtime` | `Runtime` |
//! | all others: of imaplib, smtplib, sockets, `py/` itself | `Connect` | `Disconnected` | `Disconnected` |
//!
//! Classes are compared by name, base classes included: for the classes themselves, modules would have to be imported
//! that the connection does not need. All kinds but `Refused` end the connection. So an exception that was not foreseen
//! costs a connection, and never leaves one whose responses are out of step.

mod tls;

use std::error::Error as StdError;
use std::fmt;

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::sigint::hand_back_interrupt;
use crate::codes::{self, Login};
use crate::error::{Error, ErrorKind, TokenRefusal};
use crate::secrets;
use crate::throttle;

/// The phase of a connection in which an exception was raised: it decides the error's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Connecting and the TLS handshake.
    Connect,
    /// LOGIN, AUTHENTICATE or AUTH: a refusal may be about the credentials.
    Login,
    /// Any command after the login.
    Command,
}

/// The context of a call into Python, for the error that it may become.
#[derive(Clone, Copy)]
pub(super) struct CallContext<'a> {
    pub(super) phase: Phase,
    /// The words that the error begins with, such as `SEARCH`.
    pub(super) action: &'a str,
    /// Hidden in the error: a server can send back what it was sent.
    pub(super) secrets: &'a [String],
}

impl CallContext<'_> {
    /// Returns the exception's message, without secrets.
    fn text(&self, value: &Bound<'_, PyBaseException>) -> String {
        self.hide(text(value))
    }

    /// Replaces secrets by `(..)` and makes the text printable.
    pub(super) fn hide(&self, text: String) -> String {
        secrets::hide(text, self.secrets)
    }
}

/// The class of an exception: the source of an error that has the exception's message. The exception itself is dropped
/// while the thread is attached: its traceback refers to frames with the server's text.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Python raised {}", self.0)
    }
}

impl StdError for Raised {}

/// Converts an exception that a call raised.
///
/// - `Refused`, by [`refused`]: the server's NO, BAD, 4xx or 5xx.
/// - A timeout, or an exception raised from one: `Timeout`.
/// - A certificate that is not accepted, or a failed handshake: `Tls`.
/// - An error of Python itself, such as `MemoryError`: `Runtime`.
/// - Any other exception: `Connect` while connecting, else `Disconnected`.
pub(super) fn error(exception: &Bound<'_, PyBaseException>, context: CallContext<'_>) -> Error {
    let classes = class_names(exception);
    if classes.iter().any(|class| class == "Refused") {
        return refused_exception(exception, context);
    }
    if classes.iter().any(|class| class == "KeyboardInterrupt") {
        hand_back_interrupt(); // meant for the host, whose handler has not run
    }
    let text = context.text(exception);
    let mut kind = kind(exception, &classes, context.phase);
    if kind == ErrorKind::Connect && tls::is_about_client_certificate(&text) {
        kind = ErrorKind::Tls;
    }
    let class = classes.into_iter().next().unwrap_or_default();
    let error = if kind == ErrorKind::Tls {
        let cause = raised_from(exception).filter(is_tls);
        let explained = tls::explain(cause.as_ref().unwrap_or(exception), &text);
        Error::during(kind, context.action, &explained)
    } else {
        Error::during(kind, context.action, &text)
            .with_code(reply_code(&text))
            .with_retry_after(throttle::requested_wait(&text))
    };
    error.with_source(Raised(class))
}

/// Returns `true` for the exception of a connection that ended before the server had sent anything.
pub(super) fn is_no_greeting(exception: &Bound<'_, PyBaseException>) -> bool {
    class_names(exception).iter().any(|class| class == "NoGreeting")
}

/// Returns the SMTP reply code (4xx, 5xx) that a text begins with.
///
/// `py/` raises a lost connection with the reply that came before it, such as `421 closing`.
fn reply_code(text: &str) -> Option<String> {
    let (code, _) = text.split_once(' ')?;
    (code.len() == 3 && code.starts_with(['4', '5']) && code.parse::<u16>().is_ok()).then(|| code.to_owned())
}

/// The classes of the end of a TLS connection. The last one is Python 3.9's for some resets on Windows.
const ENDS_OF_TLS: [&str; 3] = ["SSLEOFError", "SSLZeroReturnError", "SSLSyscallError"];

/// Returns the kind of an exception that is no refusal, by its class and the phase.
///
/// Timeouts come first: they are `OSError`s, as lost connections are, and smtplib wraps them in its own exceptions.
fn kind(exception: &Bound<'_, PyBaseException>, classes: &[String], phase: Phase) -> ErrorKind {
    let is = |name: &str| classes.iter().any(|class| class == name);
    if is("BadClientCertificate") {
        ErrorKind::Config
    } else if is_timeout(exception) || raised_from(exception).is_some_and(|cause| is_timeout(&cause)) {
        ErrorKind::Timeout
    } else if ENDS_OF_TLS.into_iter().any(is) {
        // A connection that ends in the middle of a handshake is lost, like any other.
        if phase == Phase::Connect { ErrorKind::Connect } else { ErrorKind::Disconnected }
    } else if is("SSLCertVerificationError")
        || (phase == Phase::Connect
            && (is_tls(exception) || raised_from(exception).is_some_and(|cause| is_tls(&cause))))
    {
        ErrorKind::Tls
    } else if ["ImportError", "MemoryError", "SystemError", "KeyboardInterrupt", "SystemExit"]
        .into_iter()
        .any(is)
    {
        ErrorKind::Runtime
    } else if phase == Phase::Connect {
        ErrorKind::Connect
    } else {
        ErrorKind::Disconnected
    }
}

/// Returns `true` for an error of TLS; not for the end of its connection, nor for its need of more octets, in whose place
/// the loss of the connection came.
fn is_tls(exception: &Bound<'_, PyBaseException>) -> bool {
    let classes = class_names(exception);
    let is = |name: &str| classes.iter().any(|class| class == name);
    is("SSLError") && !ENDS_OF_TLS.into_iter().chain(["SSLWantReadError"]).any(is)
}

/// Returns `true` for the timeout of a socket, under each of its names.
fn is_timeout(exception: &Bound<'_, PyBaseException>) -> bool {
    // Up to Python 3.9 a socket's timeout is a class of its own.
    class_names(exception).iter().any(|class| class == "TimeoutError" || class == "timeout")
}

/// Converts Python's `Refused`.
fn refused_exception(exception: &Bound<'_, PyBaseException>, context: CallContext<'_>) -> Error {
    let args = exception.getattr("args").and_then(|args| args.extract());
    let (code, text): Refusal = args.unwrap_or_else(|_| (None, text(exception)));
    // Of a refused access token only: the status and the scope.
    match exception.getattr("reason") {
        Ok(reason) => refused_token((code, text), reason.extract().unwrap_or_default(), context),
        Err(_) => refused(code, text, context),
    }
}

/// Makes the error for a refused access token, which never ends the handle.
///
/// | meaning | kind | the connection |
/// | --- | --- | --- |
/// | the token is not accepted | `Auth` | is made at once with a new token; after 10 s, up to 5 minutes, if that is refused, too |
/// | not clear, or a policy | `Auth` | is retried after 1, 2, 4 minutes, up to an hour: a new token does not help |
/// | not now, or something else | `Refused` | as after a refused password |
fn refused_token(
    (code, text): Refusal,
    (status, scope): (String, String),
    context: CallContext<'_>,
) -> Error {
    let (text, code) = (context.hide(text), code.map(|code| context.hide(code)));
    let refusal = TokenRefusal { status: context.hide(status), scope: context.hide(scope) };
    let has_reason = !refusal.status.is_empty() || !refusal.scope.is_empty();
    let meaning = codes::token_login(code.as_deref(), &text, has_reason);
    let said = [("status", &refusal.status), ("scope", &refusal.scope)]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!(" ({name} {value})"));
    let shown = format!(
        "{}: the server refused the access token: {text}{}",
        context.action,
        said.collect::<String>()
    );
    let error = match meaning {
        Login::WrongCredentials => Error::new(ErrorKind::Auth, shown).mark_refused_token(),
        Login::Unclear => Error::new(ErrorKind::Auth, shown),
        Login::Later | Login::Other => {
            Error::new(ErrorKind::Refused, shown).mark_transient(meaning == Login::Later)
        }
    };
    let error = error.with_code(code).with_retry_after(throttle::requested_wait(&text));
    error.with_token_refusal(has_reason.then_some(refusal))
}

/// The code and the text of a server's refusal, as Python returns them.
pub(super) type Refusal = (Option<String>, String);

/// Makes the error for a server's refusal (NO, BAD, 4xx, 5xx), by the tables in [`codes`].
///
/// After the login, one refusal is a lost connection: Exchange's `User is authenticated but not connected`, which it
/// gives to every command until there is a new connection. The wait that a text asks for becomes
/// [`Error::retry_after`].
pub(super) fn refused(code: Option<String>, text: String, context: CallContext<'_>) -> Error {
    let text = context.hide(text);
    let code = code.map(|code| context.hide(code));
    if context.phase == Phase::Login {
        return refused_login(code, &text, context.action);
    }
    let is_not_connected = codes::is_not_connected(code.as_deref(), &text);
    let kind = if is_not_connected { ErrorKind::Disconnected } else { ErrorKind::Refused };
    let is_transient = codes::is_transient(code.as_deref(), &text);
    let wait = throttle::requested_wait(&text);
    let text = format!("{}: the server refused: {text}", context.action);
    Error::new(kind, text).with_code(code).with_retry_after(wait).mark_transient(is_transient)
}

/// Makes the error for a refused login; only wrong credentials end the handle.
///
/// | meaning | kind | the connection |
/// | --- | --- | --- |
/// | wrong credentials | `Auth` | is not made again: the same password again could lock the account |
/// | not clear | `Auth` | is retried after 1, 2, 4 minutes, up to an hour |
/// | not now | `Refused`, transient | is retried after 10 s, up to 5 minutes |
/// | something else, such as BAD | `Refused` | is retried after a minute, up to 5 minutes |
fn refused_login(code: Option<String>, text: &str, action: &str) -> Error {
    let meaning = codes::login(code.as_deref(), text);
    let refused = |kind| Error::new(kind, format!("{action}: the server refused: {text}"));
    let error = match meaning {
        Login::WrongCredentials => {
            let advice = "the login is not retried; make a new handle with the right credentials";
            let text = format!("{action}: the server refused the credentials: {text} ({advice})");
            Error::new(ErrorKind::Auth, text).mark_wrong_credentials()
        }
        Login::Unclear => refused(ErrorKind::Auth),
        Login::Later | Login::Other => refused(ErrorKind::Refused).mark_transient(meaning == Login::Later),
    };
    error.with_code(code).with_retry_after(throttle::requested_wait(text))
}

/// Makes the error for a Python module that can't be imported.
pub(super) fn import_error(py: Python<'_>, module: &str, exception: &PyErr) -> Error {
    let value = exception.value(py);
    let class = class_names(value).into_iter().next().unwrap_or_default();
    let message = format!("can't import {module}: {}", text(value));
    Error::new(ErrorKind::Runtime, message).with_source(Raised(class))
}

/// Returns the exception that was being handled when this one was raised (`__context__`).
///
/// smtplib raises `SMTPServerDisconnected` for everything, also after a timeout, which is then its context.
fn raised_from<'py>(value: &Bound<'py, PyBaseException>) -> Option<Bound<'py, PyBaseException>> {
    value.getattr("__context__").ok()?.cast_into().ok()
}

/// Returns the names of the exception's class and of its base classes, nearest first.
fn class_names(value: &Bound<'_, PyBaseException>) -> Vec<String> {
    let names = value.get_type().mro().iter().filter_map(|class| {
        let class = class.cast_into::<PyType>().ok()?;
        Some(class.name().ok()?.to_string())
    });
    names.collect()
}

/// Returns the exception's message.
fn text(value: &Bound<'_, PyBaseException>) -> String {
    let text = value.str().map(|text| text.to_string()).unwrap_or_default();
    if text.is_empty() { "no reason given".into() } else { text }
}

#[cfg(test)]
mod tests {
    use pyo3::exceptions::PyConnectionResetError;

    use super::super::runtime::attached;
    use super::*;

    #[test]
    fn an_exception_as_an_error_says_its_message_once_and_its_class() {
        let context = CallContext { phase: Phase::Command, action: "NOOP", secrets: &[] };
        let raised = || PyConnectionResetError::new_err("reset by peer");
        let lost = attached(|py| Ok(error(raised().value(py), context))).unwrap();
        assert_eq!(lost.to_string(), "NOOP: reset by peer");
        assert_eq!(format!("{lost:#}"), "NOOP: reset by peer: Python raised ConnectionResetError");
    }

    #[test]
    fn the_end_of_a_connection_within_the_handshake_is_no_error_of_tls() {
        let context = CallContext { phase: Phase::Connect, action: "connecting", secrets: &[] };
        let raised = |name: &str| {
            attached(|py| {
                let class = py.import("ssl").unwrap().getattr(name).unwrap();
                let exception = class.call1((5, "an error of the system")).unwrap();
                Ok(error(exception.cast().unwrap(), context).kind())
            })
        };
        assert_eq!(ENDS_OF_TLS.map(|name| raised(name).unwrap()), [ErrorKind::Connect; 3]);
        assert_eq!(raised("SSLError").unwrap(), ErrorKind::Tls);
    }
}
