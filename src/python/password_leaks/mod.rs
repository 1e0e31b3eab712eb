//! Promise 9 on every error path: no password and no access token is in an error, `Debug`, event, panic or Python object.

mod dead_letters;
#[cfg(unix)]
mod fork;
mod imap;
mod scripted;
mod sharing;
mod smtp;
mod tokens;

use std::ffi::CStr;
use std::fmt::{Debug, Write as _};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pyo3::prelude::*;

use super::runtime::attached;
use super::tests::support;
use crate::{Credentials, Imap, ImapConfig, Server, Smtp, SmtpConfig};

/// The password: easy to find, with characters that IMAP quotes and that Python escapes.
const MARKED: &str = r#"mar"k'd \ s3cret9b1e"#;

/// The word that access tokens consist of: any piece that tells something has it.
const MARKED_WORD: &str = "s3cret9b1e";

/// The tag of our messages. In a script's answer, `TAG` stands for the IMAP command's tag.
const TAG: &str = "__APP__";

const USER: &str = "alice@example.test";

/// A timeout that no path reaches.
const PATIENCE: Duration = Duration::from_secs(60);

/// The texts that handles, results and errors show.
type Shown = Vec<String>;

/// An error path: it fails, returns the texts that it shows, and drops its handles.
struct ErrorPath {
    name: &'static str,
    run: Box<dyn FnOnce() -> Shown>,
}

fn error_path(name: &'static str, run: impl FnOnce() -> Shown + 'static) -> ErrorPath {
    ErrorPath { name, run: Box::new(run) }
}

fn credentials() -> Credentials {
    Credentials::new(USER, MARKED)
}

fn imap_config(server: Server) -> ImapConfig {
    ImapConfig::new(server, credentials()).tag(TAG).heartbeat(Duration::from_secs(3_600)).timeout(PATIENCE)
}

fn smtp_config(server: Server) -> SmtpConfig {
    SmtpConfig::new(server, credentials()).tag(TAG).heartbeat(Duration::from_secs(3_600)).timeout(PATIENCE)
}

/// Returns all texts of an error and its sources; an empty text, which fails the test, for a success.
fn shown<T: Debug>(outcome: Result<T, crate::Error>) -> String {
    let Err(error) = outcome else { return String::new() };
    let mut text = format!("{error} {error:?} {:?}", error.code());
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        let _ = write!(text, " {cause} {cause:?}");
        source = cause.source();
    }
    text
}

/// Returns the texts of a live handle, and the Python objects that hold the secret while it lives.
fn imap_shows(imap: &Imap) -> String {
    with_holders(&format!("{imap:?} {:?} {:?}", imap.status(), imap.stats()))
}

fn smtp_shows(smtp: &Smtp) -> String {
    with_holders(&format!("{smtp:?} {:?} {:?}", smtp.status(), smtp.stats()))
}

fn with_holders(shown: &str) -> String {
    let kept = all_holders();
    let kept = if kept.is_empty() { String::new() } else { format!("{kept:?}, which keeps {MARKED}") };
    format!("{shown} {kept}")
}

fn imap_fails(config: ImapConfig) -> Shown {
    vec![format!("{config:?}"), shown(Imap::connect(config))]
}

fn smtp_fails(config: SmtpConfig) -> Shown {
    vec![format!("{config:?}"), shown(Smtp::connect(config))]
}

/// Returns a secret in clear, and in base64 at any of the three offsets within a longer text.
fn needles(secret: &str) -> Vec<String> {
    let encoded = |before: usize| {
        let text = [&b"xx"[..before], secret.as_bytes()].concat();
        // Without the digits at both ends, which also depend on the neighbouring octets.
        BASE64_STANDARD.encode(&text)[[0, 2, 3][before]..text.len() * 8 / 6].to_owned()
    };
    // The last word only: quoting does not change it.
    let plain = secret.rsplit_once(' ').map_or(secret, |(_, last)| last).to_owned();
    std::iter::once(plain).chain((0..3).map(encoded)).collect()
}

/// Returns the forms of the password and of the access tokens.
fn all_needles() -> Vec<String> {
    [MARKED, MARKED_WORD].into_iter().flat_map(needles).collect()
}

fn reveals(text: &str) -> bool {
    static NEEDLES: LazyLock<Vec<String>> = LazyLock::new(all_needles);
    NEEDLES.iter().any(|needle| text.contains(needle))
}

/// Held during a search: it keeps objects alive for a moment that another search would find.
static SEARCHING: Mutex<()> = Mutex::new(());

/// Returns the Python objects that hold the password or an access token.
fn all_holders() -> Vec<String> {
    holders_of(all_needles())
}

/// Returns the Python objects that hold the secret.
fn holders(secret: &str) -> Vec<String> {
    holders_of(needles(secret))
}

/// Returns the Python objects that hold one of these texts, without a garbage collection before.
fn holders_of(needles: Vec<String>) -> Vec<String> {
    let code = concat!(include_str!("holders.py"), "\0").as_bytes();
    let code = CStr::from_bytes_with_nul(code).expect("no NUL in it");
    // Backwards, so that the search does not find its own arguments.
    let _searching = SEARCHING.lock().unwrap_or_else(PoisonError::into_inner);
    let backwards: Vec<String> = needles.iter().map(|needle| needle.chars().rev().collect()).collect();
    drop(needles);
    attached(|py| {
        let module = PyModule::from_code(py, code, c"holders.py", c"_pymail_holders").unwrap();
        Ok(module.call_method1("holders", (backwards,)).unwrap().extract().unwrap())
    })
    .unwrap()
}

/// The texts of all panics since the hook was set.
static PANICS: Mutex<String> = Mutex::new(String::new());

fn panics() -> MutexGuard<'static, String> {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn record_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        *panics() += &panic.to_string();
        before(panic);
    }));
}

/// All events since the subscriber was set.
static EVENTS: LazyLock<support::events::Events> = LazyLock::new(Default::default);

/// Runs the paths; returns where they show the secret, or leave it in Python.
fn leaks(paths: impl IntoIterator<Item = ErrorPath>) -> Vec<String> {
    tracing::subscriber::set_global_default(EVENTS.clone()).expect("no other test sets a subscriber");
    record_panics();
    let mut found = Vec::new();
    let mut told = 0;
    for ErrorPath { name, run } in paths {
        for text in run() {
            if text.is_empty() {
                found.push(format!("{name} is no error path"));
            } else if reveals(&text) {
                found.push(format!("{name} shows it: {text}"));
            }
        }
        let events = EVENTS.text();
        if reveals(&events[told..]) {
            found.push(format!("{name} traces it: {}", &events[told..]));
        }
        told = events.len();
        found.extend(all_holders().into_iter().map(|holder| format!("{name} leaves it in {holder}")));
    }
    if reveals(&panics()) {
        found.push(format!("a panic shows it: {}", panics()));
    }
    found
}

#[test]
fn no_error_path_shows_a_secret_or_leaves_it_in_python() {
    let paths = [
        imap::error_paths(),
        dead_letters::error_paths(),
        sharing::error_paths(),
        smtp::error_paths(),
        tokens::error_paths(),
    ]
    .into_iter()
    .flatten();
    assert_eq!(leaks(paths), Vec::<String>::new());
    // The transcripts of all dialogues are among the events.
    for line in ["LOGIN (", "AUTHENTICATE XOAUTH2", "AUTH PLAIN (", "AUTH XOAUTH2 ("] {
        assert!(EVENTS.text().contains(line), "no {line}");
    }
}

/// Checks the search itself: a secret that is there is found.
#[test]
fn a_secret_in_a_python_object_is_found() {
    let secret = "another one 77f0c";
    let kept = attached(|py| {
        let texts = [BASE64_STANDARD.encode(format!("\0{USER}\0{secret}"))];
        Ok(pyo3::types::PyTuple::new(py, [texts]).unwrap().unbind())
    });
    let kept = kept.unwrap();
    assert_eq!(holders(secret).len(), 1, "{:?}", holders(secret));
    attached(|_| {
        drop(kept);
        Ok(())
    })
    .unwrap();
    assert_eq!(holders(secret), Vec::<String>::new());
    assert!(
        reveals(&format!("x{MARKED}")) && reveals(&BASE64_STANDARD.encode(format!("\0{USER}\0{MARKED}")))
    );
}
