//! The command line.

use std::time::Duration;

use crate::account::Account;
use crate::arguments::Arguments;

pub(crate) const USAGE: &str = "\
usage: monitor [--for SECONDS] [--every MS] [--tag TAG]
               [--imap HOST[:PORT] --smtp HOST[:PORT] --user USER [--address ADDRESS] [--ca FILE]]

  --for SECONDS           sends nothing after that time, and ends once its messages are handled, 30 s later at most
                          (default: runs until Ctrl-C)
  --every MS              sends a message to the own address each MS milliseconds; 0: never
                          (default 200; with --imap, 0)
  --tag TAG               the tag of the messages (default __MONITOR__)
  --imap HOST[:PORT]      a real account's IMAP: implicit TLS (993), STARTTLS on port 143
  --smtp HOST[:PORT]      a real account's SMTP: STARTTLS (587), implicit TLS on port 465
  --user USER             who logs in to both, with the password in PYMAIL_PASSWORD
  --address ADDRESS       sender and recipient, when the user name is no address
  --ca FILE               certificates (PEM) to trust as well

Without --imap it starts a mail server of its own. All messages with the tag are consumed and acknowledged: they move
from INBOX to the mailbox of that name. So take no tag that an app uses.";

/// The parsed options.
pub(crate) struct Options {
    /// `None` for no end.
    pub(crate) time: Option<Duration>,
    /// The time between two messages; `None` to send none.
    pub(crate) every: Option<Duration>,
    pub(crate) tag: String,
    /// A real account; `None` for the embedded server's.
    pub(crate) account: Option<Account>,
}

impl Options {
    /// Parses the arguments; returns `None` for `--help`.
    pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let Some(mut given) = Arguments::parse(args, &["--for", "--every", "--tag"])? else {
            return Ok(None);
        };
        let time = given.number("--for")?.map(Duration::from_secs);
        let every = given.number("--every")?;
        let tag = given.take("--tag").unwrap_or_else(|| "__MONITOR__".into());
        let account = given.account()?;
        // To a real account, messages are sent only on demand.
        let every = every.or_else(|| account.is_none().then_some(200)).filter(|every| *every > 0);
        Ok(Some(Self { time, every: every.map(Duration::from_millis), tag, account }))
    }
}
