//! Exceptions become errors of ours here, and nothing of Python's leaves with them.

mod tls;

use std::error::Error as StdError;
use std::fmt;

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::runtime::hand_back_interrupt;
use crate::codes::{self, Login};
use crate::error::{Error, ErrorKind};
use crate::throttle;

/// What was being done when an exception came: the same one means different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Connect,
    Login,
    Dialogue,
}

/// What is asked of Python, and what must not be seen of it in an error.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) phase: Phase,
    pub(super) action: &'a str,
    /// A server can send back what it was sent.
    pub(super) secrets: &'a [String],
}

impl Asking<'_> {
    fn text(&self, value: &Bound<'_, PyBaseException>) -> String {
        self.hide(text(value))
    }

    /// Without secrets, and only then plain: half a secret would not be recognised.
    pub(super) fn hide(&self, text: String) -> String {
        let hide = |text: String, secret: &String| text.replace(secret.as_str(), "(..)");
        plain(&self.secrets.iter().filter(|secret| !secret.is_empty()).fold(text, hide))
    }
}

/// What is shown of a server's words, in characters.
const LONGEST: usize = 400;

/// A server's words as they can be shown: on one line, without what a terminal obeys, not for ever.
pub(super) fn plain(text: &str) -> String {
    let shown = |c: char| match c {
        c if c.is_whitespace() => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    let mut plain: String = text.chars().take(LONGEST).map(shown).collect();
    if text.chars().nth(LONGEST).is_some() {
        plain.push_str(" (..)");
    }
    plain
}

/// An exception, as owned text: its class and its message.
#[derive(Debug)]
struct Cause {
    class: String,
    text: String,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.text)
    }
}

impl StdError for Cause {}

/// The error for an exception that came out of a dialogue.
pub(super) fn error(exception: &Bound<'_, PyBaseException>, asking: Asking<'_>) -> Error {
    let classes = class_names(exception);
    if classes.iter().any(|class| class == "Refused") {
        return refusal(exception, asking);
    }
    if classes.iter().any(|class| class == "KeyboardInterrupt") {
        hand_back_interrupt(); // It was meant for the host, whose handler has yet to see it.
    }
    let kind = kind(exception, &classes, asking.phase);
    let text = asking.text(exception);
    if kind == ErrorKind::Tls {
        return tls::error(exception, &classes[0], text, asking.action);
    }
    let code = reply_code(&text);
    let class = classes.into_iter().next().unwrap_or_default();
    Error::during(kind, asking.action, &text)
        .with_code(code)
        .with_retry_after(throttle::requested_wait(&text))
        .with_source(Cause { class, text })
}

/// The SMTP reply code that a text begins with.
fn reply_code(text: &str) -> Option<String> {
    let (code, _) = text.split_once(' ')?;
    (code.len() == 3 && code.starts_with(['4', '5']) && code.parse::<u16>().is_ok()).then(|| code.to_owned())
}

fn kind(exception: &Bound<'_, PyBaseException>, classes: &[String], phase: Phase) -> ErrorKind {
    let is = |name: &str| classes.iter().any(|class| class == name);
    if timed_out(exception) || context(exception).is_some_and(|context| timed_out(&context)) {
        ErrorKind::Timeout
    } else if is("SSLEOFError") || is("SSLZeroReturnError") {
        // A connection that ends in the middle of a handshake is lost, like any other.
        if phase == Phase::Connect { ErrorKind::Connect } else { ErrorKind::Disconnected }
    } else if is("SSLCertVerificationError") || (is("SSLError") && phase == Phase::Connect) {
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

fn timed_out(exception: &Bound<'_, PyBaseException>) -> bool {
    // Up to Python 3.9 a socket's timeout is a class of its own.
    class_names(exception).iter().any(|class| class == "TimeoutError" || class == "timeout")
}

/// The server's "no", with its code.
fn refusal(exception: &Bound<'_, PyBaseException>, asking: Asking<'_>) -> Error {
    let args = exception.getattr("args").and_then(|args| args.extract());
    let (code, text): Refusal = args.unwrap_or_else(|_| (None, text(exception)));
    refused(code, text, asking)
}

/// The code and the text of a server's "no", as Python hands them over.
pub(super) type Refusal = (Option<String>, String);

/// Makes an error of a server's "no".
pub(super) fn refused(code: Option<String>, text: String, asking: Asking<'_>) -> Error {
    let text = asking.hide(text);
    let code = code.map(|code| asking.hide(code));
    if asking.phase == Phase::Login {
        return refused_login(code, &text, asking.action);
    }
    let is_not_connected = codes::is_not_connected(code.as_deref(), &text);
    let kind = if is_not_connected { ErrorKind::Disconnected } else { ErrorKind::Refused };
    let passes = codes::is_transient(code.as_deref(), &text);
    let wait = throttle::requested_wait(&text);
    let text = format!("{}: the server refused: {text}", asking.action);
    Error::new(kind, text).with_code(code).with_retry_after(wait).mark_transient(passes)
}

fn refused_login(code: Option<String>, text: &str, action: &str) -> Error {
    let meaning = codes::login(code.as_deref(), text);
    let refused = |kind| Error::new(kind, format!("{action}: the server refused: {text}"));
    let error = match meaning {
        Login::WrongCredentials => {
            let what = "they are not tried again; make a new handle with the right ones";
            let text = format!("{action}: the server refused the credentials: {text} ({what})");
            Error::new(ErrorKind::Auth, text).mark_wrong_credentials()
        }
        Login::Unclear => refused(ErrorKind::Auth),
        Login::Later | Login::Other => refused(ErrorKind::Refused).mark_transient(meaning == Login::Later),
    };
    error.with_code(code).with_retry_after(throttle::requested_wait(text))
}

/// The error for what keeps a Python module from being imported, which no server has a part in.
pub(super) fn import_error(py: Python<'_>, module: &str, exception: &PyErr) -> Error {
    let value = exception.value(py);
    let class = class_names(value).into_iter().next().unwrap_or_default();
    let text = text(value);
    let what = format!("can't import {module}: {text}");
    Error::new(ErrorKind::Runtime, what).with_source(Cause { class, text })
}

/// smtplib makes "disconnected" of everything, a timeout too; what it was stays in the context.
fn context<'py>(value: &Bound<'py, PyBaseException>) -> Option<Bound<'py, PyBaseException>> {
    value.getattr("__context__").ok()?.cast_into().ok()
}

/// The exception's class and the classes that it inherits from, nearest first.
fn class_names(value: &Bound<'_, PyBaseException>) -> Vec<String> {
    let names = value.get_type().mro().iter().filter_map(|class| {
        let class = class.cast_into::<PyType>().ok()?;
        Some(class.name().ok()?.to_string())
    });
    names.collect()
}

fn text(value: &Bound<'_, PyBaseException>) -> String {
    let text = value.str().map(|text| text.to_string()).unwrap_or_default();
    if text.is_empty() { "no reason given".into() } else { text }
}
