//! The command line.

use crate::account::Account;
use crate::arguments::Arguments;

pub(crate) const USAGE: &str = "\
usage: roundtrip [--messages N] [--size BYTES]
                 [--imap HOST[:PORT] --smtp HOST[:PORT] --user USER [--address ADDRESS] [--ca FILE]]

  --messages N            how many messages (default 100)
  --size BYTES            the size of each body (default 1024)
  --imap HOST[:PORT]      a real account's IMAP: implicit TLS (993), STARTTLS on port 143
  --smtp HOST[:PORT]      a real account's SMTP: STARTTLS (587), implicit TLS on port 465
  --user USER             who logs in to both, with the password in PYMAIL_PASSWORD
  --address ADDRESS       sender and recipient, when the user name is no address
  --ca FILE               certificates (PEM) to trust as well

Without --imap it starts a mail server of its own.";

/// The parsed options.
pub(crate) struct Options {
    pub(crate) messages: usize,
    pub(crate) size: usize,
    /// A real account; `None` for the embedded server's.
    pub(crate) account: Option<Account>,
}

impl Options {
    /// Parses the arguments; returns `None` for `--help`.
    pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let Some(mut given) = Arguments::parse(args, &["--messages", "--size"])? else { return Ok(None) };
        let messages = given.number("--messages")?.unwrap_or(100);
        if messages == 0 {
            return Err("--messages is at least 1".into());
        }
        let size = given.number("--size")?.unwrap_or(1024);
        Ok(Some(Self { messages, size, account: given.account()? }))
    }
}
