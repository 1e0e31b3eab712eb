//! The servers of a run: a Dovecot, and a Postfix that delivers to it.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, thread};

use tempfile::TempDir;

use crate::client::{self, Seen};
use crate::job::{Account, Params, Result};
use crate::lmtp;
use crate::subprocess::{self, ImapProcess};
use crate::support::dovecot::{Dovecot, PASSWORD};
use crate::support::postfix::Postfix;
use crate::systems::Mailbox;

const HOST: &str = "localhost";
const TAG: &str = "__SNACKIS__";
const DEADLINE: Duration = Duration::from_secs(50);
const GLANCE: Duration = Duration::from_millis(20);

/// Running servers. Dropping them stops them.
pub struct Servers {
    postfix: Postfix,
    dovecot: Dovecot,
    ca_file: PathBuf,
    ca_bundle: PathBuf,
    _folder: TempDir,
}

impl Servers {
    /// Start both, ready when this returns.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start(python: &str) -> Result<Self> {
        let dovecot = Dovecot::start();
        let postfix = Postfix::start(&dovecot);
        let folder = tempfile::tempdir()?;
        let (ca_file, ca_bundle) = (folder.path().join("ca.pem"), folder.path().join("bundle.pem"));
        fs::write(&ca_file, dovecot.ca_pem())?;
        fs::write(&ca_bundle, system_roots(python)? + dovecot.ca_pem())?;
        Ok(Self { postfix, dovecot, ca_file, ca_bundle, _folder: folder })
    }

    /// A receiving and a sending account of this user, who is new, and the user's mail address.
    pub fn params(&self, user: &str, n: usize, size: usize) -> Params {
        let imap = Account {
            host: HOST.into(),
            port: self.dovecot.imaps_port(),
            user: user.into(),
            password: PASSWORD.into(),
            plain: false,
            tag: TAG.into(),
        };
        let smtp = Account { port: self.postfix.submission_port(), ..imap.clone() };
        let (ca_file, ca_bundle) = (self.ca_file.clone(), self.ca_bundle.clone());
        Params { n, size, imap, smtp, recipient: user.into(), ca_file, ca_bundle }
    }
    /// Deliver `n` messages with bodies of `size` bytes to a user's INBOX.
    ///
    /// # Errors
    /// When Dovecot refuses one.
    pub fn deliver(&self, user: &str, n: usize, size: usize) -> Result<()> {
        let stream = TcpStream::connect(("127.0.0.1", self.dovecot.lmtp_port()))?;
        stream.set_nodelay(true)?;
        lmtp::fill(stream, user, TAG, &client::body(size), n)
    }

    /// Check that a user's `n` messages are in the archive, and none in INBOX: in Dovecot's files, so that no
    /// client can be wrong about it.
    ///
    /// # Errors
    /// When they are elsewhere.
    pub fn expect_archived(&self, user: &str, n: usize) -> Result<()> {
        let maildir = self.dovecot.dir().join("mail").join(user).join("mail");
        let counts = (mails(&maildir)?, mails(&maildir.join(format!(".{TAG}")))?);
        let found = format!("{n} received; INBOX, archive: {counts:?}");
        if counts == (0, n) { Ok(()) } else { Err(found.into()) }
    }

    /// Wait until exactly the messages `0..n` have come to a user's INBOX, and take them out.
    ///
    /// # Errors
    /// When one is cut, comes twice or does not come.
    pub fn expect(&self, user: &str, n: usize, size: usize) -> Result<()> {
        let params = self.params(user, n, size);
        let mut inbox = ImapProcess::start(&params.imap, &params.ca_bundle)?;
        let (mut seen, deadline) = (Seen::default(), Instant::now() + DEADLINE);
        while seen.count() < n {
            let before = seen.count();
            seen.add(Mailbox::receive(&mut inbox)?, &params)?;
            if Instant::now() > deadline {
                return Err(format!("only {} of {n} messages reached {user}", seen.count()).into());
            }
            if seen.count() == before {
                thread::park_timeout(GLANCE);
            }
        }
        Ok(inbox.stop()?)
    }
}

/// How many mails there are in a Maildir folder.
fn mails(folder: &Path) -> Result<usize> {
    Ok(fs::read_dir(folder.join("new"))?.count() + fs::read_dir(folder.join("cur"))?.count())
}

/// The certificates that Python's ssl trusts by itself, if they are in a file: reading them takes its time, and
/// with a real provider both contestants would.
fn system_roots(python: &str) -> Result<String> {
    let script = "import ssl; print(ssl.get_default_verify_paths().openssl_cafile)";
    let path = subprocess::evaluate(python, script)?;
    if Path::new(&path).is_file() { Ok(fs::read_to_string(path)?) } else { Ok(String::new()) }
}
