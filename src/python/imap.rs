//! An IMAP session: typed calls into `py/imap.py`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pyo3::conversion::FromPyObjectOwned;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::modules;
use super::profile::ServerProfile;
use super::protocol::Protocol;
use super::py_session::{PySession, Service};
use crate::config::ImapConfig;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::uid::{Uid, UidSet, UidValidity};

/// RFC 8314: 993 with implicit TLS, 143 otherwise.
const SERVICE: Service =
    Service { module: &modules::IMAP, name: "IMAP", tls: 993, starttls: 143, plain: 143 };

/// A logged-in IMAP connection with its inbox selected.
///
/// Its commands are in `commands` and `mails`.
pub(crate) struct ImapSession {
    pub(super) python: PySession,
    /// The inbox's UIDVALIDITY at the login.
    validity: UidValidity,
    /// The archive's name on this server.
    pub(super) archive: String,
    /// The hierarchy delimiter; empty for none.
    pub(super) delimiter: String,
    /// `true` if the archive had no messages when this connection was made.
    pub(super) archive_is_empty: bool,
    /// Names of mailboxes that could not be made within the archive, and of those beside it that replace them.
    pub(super) replacements: HashMap<String, String>,
    has_move: bool,
    has_uidplus: bool,
    pub(super) profile: Arc<ServerProfile>,
}

/// UIDs from Python, packed in four octets each: a list of Python integers takes ten times the memory.
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
    /// # Errors
    ///
    /// `Connect` or `Tls` before the login, `Auth` for refused credentials, `Refused` for a refused SELECT or CREATE,
    /// `Timeout` at the deadline.
    pub(crate) fn connect(
        config: &ImapConfig,
        profile: &Arc<ServerProfile>,
        deadline: Deadline,
    ) -> Result<Self> {
        PySession::open(&SERVICE, &config.common, None, deadline, |python| {
            Self::begin(python, config, Arc::clone(profile))
        })
    }

    /// Logs in, selects the inbox, and creates the archive.
    fn begin(python: PySession, config: &ImapConfig, profile: Arc<ServerProfile>) -> Result<Self> {
        let method = profile.login_method.lock().clone();
        python.run("prefer_method", (method,), "logging in")?;
        let capabilities = python.login(&SERVICE, &config.common)?;
        *profile.login_method.lock() = python.call("used_method", (), "logging in")?;
        let has = |name: &str| capabilities.iter().any(|capability| capability == name);
        let limits = capabilities.iter().filter_map(|name| name.strip_prefix("MESSAGELIMIT=")?.parse().ok());
        limits.for_each(|limit| profile.limit_messages(limit));
        let version = env!("CARGO_PKG_VERSION");
        let names = (config.inbox.clone(), config.archive_name().to_owned(), has("NAMESPACE"), version);
        let (number, archives, delimiter): (u32, Vec<String>, String) =
            python.call("prepare", names, "opening the mailboxes")?;
        let mut session = Self {
            validity: UidValidity::new(number, config.mailbox()),
            archive: String::new(),
            delimiter,
            archive_is_empty: false,
            replacements: HashMap::new(),
            has_move: has("MOVE"),
            has_uidplus: has("UIDPLUS"),
            profile,
            python,
        };
        session.make_archive(archives)?;
        Ok(session)
    }

    /// Returns the inbox's UIDVALIDITY.
    pub(crate) fn validity(&self) -> UidValidity {
        self.validity
    }

    /// Returns the archive's name on this server, with the prefix of the personal namespace (RFC 2342).
    pub(crate) fn archive(&self) -> &str {
        &self.archive
    }

    /// Returns `true` if the archive had no messages when this connection was made.
    pub(crate) fn archive_is_empty(&self) -> bool {
        self.archive_is_empty
    }

    /// Returns the hierarchy delimiter; empty if mailboxes have no hierarchy.
    #[cfg(test)]
    pub(crate) fn delimiter(&self) -> &str {
        &self.delimiter
    }

    /// Returns `true` if the server announces MOVE (RFC 6851) and has not refused it as unknown.
    pub(crate) fn has_move(&self) -> bool {
        self.has_move && !self.profile.lacks_move.load(Ordering::Relaxed)
    }

    /// Marks MOVE as unsupported for all of the handle's connections, if that explains its refusal. Returns `true` if
    /// that is new.
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
    pub(crate) fn has_uidplus(&self) -> bool {
        self.has_uidplus
    }

    /// Checks that the UIDs have the inbox's UIDVALIDITY: else they name other messages.
    ///
    /// # Errors
    ///
    /// `StaleUids`.
    pub(crate) fn check(&self, set: &UidSet) -> Result<()> {
        if set.validity() == self.validity {
            return Ok(());
        }
        let text = "these UIDs are stale: they belong to another mailbox, or its UIDVALIDITY has changed";
        Err(Error::new(ErrorKind::StaleUids, text).with_code(Some("UIDVALIDITY".into())))
    }

    /// Calls a method of the Python session.
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
}
