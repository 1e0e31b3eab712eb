//! The command line.

use std::{env, fs};

use crate::account::{Account, Endpoint};

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

/// The options as given on the command line.
#[derive(Default)]
struct Given {
    messages: Option<String>,
    size: Option<String>,
    imap: Option<String>,
    smtp: Option<String>,
    user: Option<String>,
    address: Option<String>,
    ca: Option<String>,
}

impl Options {
    /// Parses the arguments; returns `None` for `--help`.
    pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let Some(given) = Given::parse(args)? else { return Ok(None) };
        let messages = number("--messages", given.messages.as_deref(), 100)?;
        if messages == 0 {
            return Err("--messages is at least 1".into());
        }
        let size = number("--size", given.size.as_deref(), 1024)?;
        Ok(Some(Self { messages, size, account: given.account()? }))
    }
}

impl Given {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut given = Self::default();
        while let Some(name) = args.next() {
            let place = match name.as_str() {
                "--help" | "-h" => return Ok(None),
                "--messages" => &mut given.messages,
                "--size" => &mut given.size,
                "--imap" => &mut given.imap,
                "--smtp" => &mut given.smtp,
                "--user" => &mut given.user,
                "--address" => &mut given.address,
                "--ca" => &mut given.ca,
                _ => return Err(format!("there is no option {name:?}")),
            };
            *place = Some(args.next().ok_or_else(|| format!("{name} needs a value"))?);
        }
        Ok(Some(given))
    }

    fn account(self) -> Result<Option<Account>, String> {
        let (imap, smtp, user) = match (self.imap, self.smtp, self.user) {
            (Some(imap), Some(smtp), Some(user)) => (imap, smtp, user),
            (None, None, None) if self.address.is_none() && self.ca.is_none() => return Ok(None),
            _ => return Err("a real account needs --imap, --smtp and --user".into()),
        };
        let address = self.address.unwrap_or_else(|| user.clone());
        if !address.contains('@') {
            return Err(format!("{address:?} is no address: --address says which one is the user's"));
        }
        let read = |file| fs::read_to_string(&file).map_err(|error| format!("--ca {file}: {error}"));
        Ok(Some(Account {
            imap: endpoint(&imap, 993, |port| port == 143)?,
            smtp: endpoint(&smtp, 587, |port| port != 465)?,
            user,
            address,
            password: env::var("PYMAIL_PASSWORD").map_err(|_| "the password belongs in PYMAIL_PASSWORD")?,
            ca: self.ca.map(read).transpose()?,
        }))
    }
}

fn number(name: &str, value: Option<&str>, default: usize) -> Result<usize, String> {
    let parse = |value: &str| value.parse().map_err(|_| format!("{name} is a number, not {value:?}"));
    value.map_or(Ok(default), parse)
}

/// Parses `host`, `host:port`, `[2001:db8::1]:port` or `2001:db8::1`.
fn endpoint(text: &str, default: u16, is_starttls: impl Fn(u16) -> bool) -> Result<Endpoint, String> {
    let split = text.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
    let (host, port) = match split {
        Some((host, port)) => (host, port.parse().map_err(|_| format!("{port:?} in {text:?} is no port"))?),
        None => (text, default),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(format!("{text:?} names no host"));
    }
    Ok(Endpoint { host: host.into(), port, starttls: is_starttls(port) })
}
