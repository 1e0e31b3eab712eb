//! The arguments of the examples that take a real account.

use std::collections::HashMap;
use std::str::FromStr;
use std::{env, fs};

use crate::account::{Account, Endpoint};

/// The options of the account.
const ACCOUNT: [&str; 5] = ["--imap", "--smtp", "--user", "--address", "--ca"];

/// The arguments that are given, by the names of their options.
pub(crate) struct Arguments(HashMap<String, String>);

impl Arguments {
    /// Parses options with a value each: those of the account, and the example's own. Returns `None` for `--help`.
    pub(crate) fn parse(
        mut args: impl Iterator<Item = String>,
        own: &[&str],
    ) -> Result<Option<Self>, String> {
        let mut given = HashMap::new();
        while let Some(name) = args.next() {
            if name == "--help" || name == "-h" {
                return Ok(None);
            }
            if !ACCOUNT.contains(&&*name) && !own.contains(&&*name) {
                return Err(format!("there is no option {name:?}"));
            }
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            given.insert(name, value);
        }
        Ok(Some(Self(given)))
    }

    /// Takes the value of an option out.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Takes a number out.
    pub(crate) fn number<N: FromStr>(&mut self, name: &str) -> Result<Option<N>, String> {
        let parse = |value: String| value.parse().map_err(|_| format!("{name} is a number, not {value:?}"));
        self.take(name).map(parse).transpose()
    }

    /// Returns the real account; `None` without one.
    pub(crate) fn account(mut self) -> Result<Option<Account>, String> {
        let [imap, smtp, user, address, ca] = ACCOUNT.map(|name| self.take(name));
        let (imap, smtp, user) = match (imap, smtp, user) {
            (Some(imap), Some(smtp), Some(user)) => (imap, smtp, user),
            (None, None, None) if address.is_none() && ca.is_none() => return Ok(None),
            _ => return Err("a real account needs --imap, --smtp and --user".into()),
        };
        let address = address.unwrap_or_else(|| user.clone());
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
            ca: ca.map(read).transpose()?,
        }))
    }
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
