//! An IMAP session: typed calls into `py/imap.py`.
//!
//! # The steps of a connection
//!
//! | step | commands | round trips |
//! | --- | --- | --- |
//! | connect, in Rust | TCP | 1 |
//! | greeting, TLS | STARTTLS where configured | TLS's |
//! | capabilities before the login | CAPABILITY, once more after STARTTLS | 1 or 2 |
//! | login | LOGIN, or AUTHENTICATE by PLAIN, LOGIN, OAUTHBEARER or XOAUTH2; the method that worked before comes first | 1 or 2 |
//! | capabilities after it | CAPABILITY, unless the OK has them | 0 or 1 |
//! | inbox | ID, NAMESPACE or LIST, and SELECT in one flight | 1 |
//! | archive | CREATE and STATUS in one flight, for each name until one is accepted | 1 |
//!
//! Each of them may fail and be repeated on another connection: none changes mail, and CREATE of an existing mailbox
//! does nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::conversion::FromPyObjectOwned;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::errors::{self, Refusal};
use super::idle::Idle;
use super::modules;
use super::profile::ServerProfile;
use super::protocol::Protocol;
use super::py_session::{LogIn, PySession, Service};
use crate::config::{AccessToken, ImapConfig};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::uid::{Uid, UidSet, UidValidity};

/// The ports of IMAP, RFC 8314: 993 with implicit TLS, 143 otherwise.
///
/// Dovecot closes the connection at a response of 8,192 octets.
pub(super) const SERVICE: Service = Service {
    module: &modules::IMAP,
    name: "IMAP",
    tls: 993,
    starttls: 143,
    plain: 143,
    longest_response: 8_191,
};

/// A logged-in IMAP connection with its inbox selected.
///
/// Its commands are in `commands`, `mails`, `receive`, `visits`, `copies`, `elsewhere` and `mailboxes`. All fields but
/// `replacements` and the profile are those of the moment of the login; the session ends when UIDVALIDITY changes.
pub(crate) struct ImapSession {
    pub(super) python: PySession,
    /// The inbox's UIDVALIDITY at the login. Compared whenever the inbox is selected again; another one ends the
    /// connection.
    validity: UidValidity,
    /// The UIDVALIDITY of the mailbox that is selected in place of the inbox, if any.
    pub(super) elsewhere: Option<UidValidity>,
    /// The archive's name on this server.
    ///
    /// Tagged mail moves there. With the prefix of the personal namespace: `INBOX.TAG` on Cyrus and Courier.
    pub(super) archive: String,
    /// The capabilities after the login.
    pub(super) capabilities: Vec<String>,
    /// The hierarchy delimiter; empty for none.
    pub(super) delimiter: String,
    /// `true` if the archive had no messages when this connection was made.
    pub(super) archive_is_empty: bool,
    /// Names of mailboxes that could not be made within the archive, and of those beside it that replace them.
    ///
    /// Chosen anew by each connection, by the same rule, so that all consumers choose the same.
    pub(super) replacements: HashMap<String, String>,
    /// The capability; `has_move()` also knows if the server has refused MOVE.
    has_move: bool,
    /// `true` with UIDPLUS (RFC 4315): UID EXPUNGE and COPYUID.
    has_uidplus: bool,
    pub(super) idle: Idle,
    /// The facts about the server that outlive this session.
    pub(super) profile: Arc<ServerProfile>,
}

/// UIDs from Python, packed in four octets each: a list of Python integers takes ten times the memory.
///
/// In the order of the server, duplicates included. 0, which is no UID, is left out.
pub(super) struct Uids(pub(super) Vec<Uid>);

impl<'a, 'py> FromPyObject<'a, 'py> for Uids {
    type Error = PyErr;

    fn extract(found: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let found = found.cast::<PyBytes>()?;
        let uid = |octets: &[u8]| Uid::new(u32::from_le_bytes(octets.try_into().ok()?));
        Ok(Self(found.as_bytes().chunks_exact(4).filter_map(uid).collect()))
    }
}

impl ImapSession {
    /// Connects, logs in, selects the inbox, and creates the archive if it is missing.
    ///
    /// The waiter shuts the socket down at the deadline, in any step. Nothing is left of a connection that fails: the
    /// socket is closed before the error is returned.
    ///
    /// # Errors
    ///
    /// `Connect` or `Tls` before the login, `Auth` for refused credentials, `Refused` for a refused SELECT or CREATE, or for now NAMESPACE or LIST,
    /// `Timeout` at the deadline.
    pub(crate) fn connect(
        config: &ImapConfig,
        profile: &Arc<ServerProfile>,
        token: Option<&AccessToken>,
        deadline: Deadline,
    ) -> Result<Self> {
        PySession::open(&SERVICE, &config.common, token, None, deadline, |python, log_in| {
            Self::begin(python, log_in, config, Arc::clone(profile))
        })
    }

    /// Logs in, selects the inbox, and creates the archive. The login method that works is remembered by the profile:
    /// later connections try it first, and do not have the others refused again.
    fn begin(
        python: PySession,
        log_in: LogIn<'_>,
        config: &ImapConfig,
        profile: Arc<ServerProfile>,
    ) -> Result<Self> {
        let method = profile.login_method.lock().clone();
        python.run("prefer_method", (method,), "logging in")?;
        let capabilities = python.login(&SERVICE, &config.common, log_in)?;
        *profile.login_method.lock() = python.call("used_method", (), "logging in")?;
        let has = |name: &str| capabilities.iter().any(|capability| capability == name);
        let limits = capabilities.iter().filter_map(|name| name.strip_prefix("MESSAGELIMIT=")?.parse().ok());
        limits.for_each(|limit| profile.limit_messages(limit));
        let version = env!("CARGO_PKG_VERSION");
        let names = (config.inbox.clone(), config.archive_name().to_owned(), has("NAMESPACE"), version);
        let action = "opening the mailboxes";
        let (number, archives, delimiter, refusal): (u32, Vec<String>, String, Option<Refusal>) =
            python.call("prepare", names, action)?;
        // A server that refuses NAMESPACE and LIST for good can be used all the same. After another refusal, this
        // connection would use other mailboxes than the rest.
        let refused = refusal.map(|(code, text)| errors::refused(code, text, python.context(action)));
        refused.filter(Error::is_transient).map_or(Ok(()), Err)?;
        let mut session = Self {
            validity: UidValidity::new(number, config.mailbox()),
            elsewhere: None,
            archive: String::new(),
            delimiter,
            archive_is_empty: false,
            replacements: HashMap::new(),
            has_move: has("MOVE"),
            has_uidplus: has("UIDPLUS"),
            idle: if has("IDLE") { Idle::Ended } else { Idle::Missing },
            profile,
            python,
            capabilities,
        };
        session.make_archive(archives)?;
        Ok(session)
    }

    /// Returns the UIDVALIDITY of the inbox, or of the mailbox that is selected in its place.
    pub(crate) fn validity(&self) -> UidValidity {
        self.elsewhere.unwrap_or(self.validity)
    }

    /// Returns the archive's name on this server, with the prefix of the personal namespace (RFC 2342).
    pub(crate) fn archive(&self) -> &str {
        &self.archive
    }

    /// Returns `true` if the archive had no messages when this connection was made.
    ///
    /// `false` also if it is not known. Read once, when the archive is created or found: another consumer may archive
    /// later.
    pub(crate) fn archive_is_empty(&self) -> bool {
        self.archive_is_empty
    }

    /// Returns the hierarchy delimiter; empty if mailboxes have no hierarchy.
    #[cfg(test)]
    pub(crate) fn delimiter(&self) -> &str {
        &self.delimiter
    }

    /// Returns `true` if the server announces MOVE (RFC 6851) and has not refused it as unknown.
    ///
    /// Asked before each move, since another connection of the handle may have found out meanwhile.
    pub(crate) fn has_move(&self) -> bool {
        self.has_move && !self.profile.lacks_move.load(Ordering::Relaxed)
    }

    /// Marks MOVE as unsupported for all of the handle's connections, if that explains its refusal. Returns `true` if
    /// that is new.
    ///
    /// BAD and `[CANNOT]` are the answers of servers that announce MOVE and do not know it, or not for this mailbox.
    /// BAD is also the answer to a command line that is too long, which is tried first: then this returns `false`.
    pub(crate) fn note_move_refused(&self, set: &UidSet, error: &Error) -> bool {
        let is_unknown = matches!(error.code(), Some("BAD" | "CANNOT"));
        let is_new = is_unknown && self.has_move() && self.profile.smaller_limits(set, error).is_none();
        if is_new {
            self.profile.lacks_move.store(true, Ordering::Relaxed);
            let error = error.clone();
            events::emit(move || tracing::info!(%error, "MOVE is not supported: using COPY and STORE"));
        }
        is_new
    }

    /// Returns `true` if the server has UIDPLUS (RFC 4315).
    ///
    /// Without it nothing is expunged: a plain EXPUNGE would remove other clients' mail, too.
    pub(crate) fn has_uidplus(&self) -> bool {
        self.has_uidplus
    }

    /// Checks that the UIDs have the UIDVALIDITY of the inbox, or of the mailbox in its place: else they name other messages.
    ///
    /// Each command that names UIDs checks them. Within the connection the number can't change unnoticed.
    ///
    /// # Errors
    ///
    /// `StaleUids`.
    pub(crate) fn check(&self, set: &UidSet) -> Result<()> {
        if set.validity() == self.validity() {
            return Ok(());
        }
        let text = "these UIDs are stale: they belong to another mailbox, or its UIDVALIDITY has changed";
        Err(Error::new(ErrorKind::StaleUids, text).with_code(Some("UIDVALIDITY".into())))
    }

    /// Calls a method of the Python session.
    ///
    /// `action` begins the text of an error: the command, in the words of the RFC. Takes `&mut self`, since responses
    /// and commands in flight are state: calls must not interleave.
    ///
    /// # Errors
    ///
    /// See [`errors::error`](super::errors::error) for exceptions; `Runtime` and `Closed` of
    /// [`attached`](super::runtime::attached).
    pub(super) fn call<T>(
        &mut self,
        method: &str,
        args: impl for<'py> IntoPyObject<'py, Target = PyTuple>,
        action: &str,
    ) -> Result<T>
    where
        T: for<'py> FromPyObjectOwned<'py, Error: Into<pyo3::PyErr>>,
    {
        self.python.call(method, args, action)
    }
}

impl Protocol for ImapSession {
    const LOGOUT: &'static str = "LOGOUT";

    fn python(&self) -> &PySession {
        &self.python
    }

    fn can_wait_for_mail(&self) -> bool {
        self.has_idle()
    }

    fn is_waiting_for_mail(&self) -> bool {
        self.idle == Idle::Begun
    }

    fn wait_for_mail(&mut self, may_ask: bool) -> Result<bool> {
        self.begin_idle(may_ask)
    }

    fn hear_of_mail(&mut self) -> Result<bool> {
        self.hear_idle()
    }

    fn stop_waiting(&mut self, waits: bool) -> Result<()> {
        self.end_idle(waits)
    }
}
