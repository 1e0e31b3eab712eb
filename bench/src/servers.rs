//! The servers of a run: a Dovecot, and a Postfix that delivers to it.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::cases::Case;
use crate::fill;
use crate::job::{self, Account, Params, Result};
use crate::mails::Bodies;
use crate::python;
use crate::support::dovecot::{Dovecot, DovecotOptions, HOST, PASSWORD};
use crate::support::postfix::Postfix;
use crate::systems::Mailbox as _;
use crate::systems::floor::Session;
use crate::tls;

const TAG: &str = "__SNACKIS__";

/// Room for a thousand logged-in connections: each has a process of its own, and keeps the login process that does
/// its TLS.
const ROOM: &str =
    "service imap-login {\n  client_limit = 4096\n}\nservice imap {\n  process_limit = 2048\n}\n";

/// Running servers. Dropping them stops them.
pub struct Servers {
    postfix: OnceCell<Postfix>,
    dovecot: Dovecot,
    ca_file: PathBuf,
    ca_bundle: PathBuf,
    _folder: TempDir,
}

impl Servers {
    /// Starts Dovecot; it is ready when this returns.
    ///
    /// # Errors
    /// Dovecot does not start.
    pub fn start(python: &str) -> Result<Self> {
        let dovecot = Dovecot::with(&DovecotOptions { extra: ROOM.into(), ..DovecotOptions::default() });
        let folder = tempfile::tempdir()?;
        let (ca_file, ca_bundle) = (folder.path().join("ca.pem"), folder.path().join("bundle.pem"));
        fs::write(&ca_file, dovecot.ca_pem())?;
        fs::write(&ca_bundle, system_roots(python)? + dovecot.ca_pem())?;
        Ok(Self { postfix: OnceCell::new(), dovecot, ca_file, ca_bundle, _folder: folder })
    }

    /// Returns the parameters of a client for a new user; without the server that it sends to.
    pub fn params(&self, user: &str, case: &Case, n: usize) -> Params {
        let imap = Account {
            host: HOST.into(),
            port: self.dovecot.imaps_port(),
            user: user.into(),
            password: PASSWORD.into(),
            plain: false,
            tag: TAG.into(),
        };
        Params {
            n,
            sizes: case.sizes,
            smtp: imap.clone(),
            imap,
            recipient: user.into(),
            ca_file: self.ca_file.clone(),
            ca_bundle: self.ca_bundle.clone(),
            heartbeat_ms: case.heartbeat_ms,
            batch: case.batch,
        }
    }

    /// Returns the port of Postfix, and starts Postfix on the first call.
    pub fn submission_port(&self) -> u16 {
        self.postfix.get_or_init(|| Postfix::start(&self.dovecot)).submission_port()
    }

    /// Delivers the messages to a user's INBOX, and has the server index them, Subjects included.
    ///
    /// # Errors
    /// Some messages are not found.
    pub fn deliver(&self, params: &Params) -> Result<()> {
        let account = Account { port: self.dovecot.imaps_port(), ..params.imap.clone() };
        let connect = || Session::connect(&account, tls::connect(&account, tls::config(&self.ca_file)?)?);
        let mut session = Box::new(connect()?);
        let bodies = Bodies::new(params.n, params.sizes);
        fill::fill(&self.maildir(&account.user), &account.user, TAG, &bodies)?;
        // A SEARCH covers only mail that the session knows of.
        session.noop()?;
        let found = session.search()?.len();
        session.stop()?;
        if found == params.n {
            Ok(())
        } else {
            Err(format!("{found} of {} messages to receive", params.n).into())
        }
    }

    /// Delivers one message by LMTP; returns the time at which the server had it, in nanoseconds since 1970.
    pub fn deliver_one(&self, user: &str, id: usize, body: &str) -> u128 {
        self.dovecot.deliver(user, fill::mail(user, TAG, id, body).replace('\n', "\r\n").as_bytes());
        job::nanos()
    }

    /// Checks by Dovecot's files that a user's `n` messages are in the archive, and none in INBOX: no client's error
    /// can hide there.
    ///
    /// # Errors
    /// The messages are elsewhere.
    pub fn expect_archived(&self, user: &str, n: usize) -> Result<()> {
        let maildir = self.maildir(user);
        let counts = (fill::count(&maildir)?, fill::count(&maildir.join(format!(".{TAG}")))?);
        let found = format!("{n} received; INBOX, archive: {counts:?}");
        if counts == (0, n) { Ok(()) } else { Err(found.into()) }
    }

    /// Removes a user's mail at the end of its turn.
    ///
    /// # Errors
    /// There is no such mail.
    pub fn forget(&self, user: &str) -> Result<()> {
        Ok(fs::remove_dir_all(self.dovecot.dir().join("mail").join(user))?)
    }

    fn maildir(&self, user: &str) -> PathBuf {
        self.dovecot.dir().join("mail").join(user).join("mail")
    }
}

/// Returns the certificates that Python's ssl trusts by default, if they are in a file: reading them takes time, and
/// with a real provider every client would.
fn system_roots(python: &str) -> Result<String> {
    let script = "import ssl; print(ssl.get_default_verify_paths().openssl_cafile)";
    let path = python::evaluate(python, script)?;
    if Path::new(&path).is_file() { Ok(fs::read_to_string(path)?) } else { Ok(String::new()) }
}
