//! The command line.

use std::env;
use std::process::Command;
use std::time::Duration;

use pymail::{AccessToken, Credentials, Error, ImapConfig, Provider, Security, Server, SmtpConfig};

/// The tag of the test messages, and the name of the archive. No app uses it.
pub(crate) const TAG: &str = "__PYMAIL_DOCTOR__";

pub(crate) const USAGE: &str = "\
usage: doctor --user USER [--preset NAME] [--imap HOST[:PORT][/SECURITY]] [--smtp HOST[:PORT][/SECURITY]]
              [--address ADDRESS] [--oauth | --oauth-command COMMAND] [--json] [--transcript]
              [--timeout SECONDS] [--wait SECONDS]

  --user USER              the user name at both servers; the password is in PYMAIL_PASSWORD
  --preset NAME            takes both servers from pymail's preset of a provider, such as gmail
  --imap, --smtp           the servers; one of them is enough. SECURITY is tls, starttls, or plain (on this machine only);
                           without it, IMAP's port 143 and all of SMTP's ports but 465 have STARTTLS, the others TLS
  --address ADDRESS        sender and recipient, when the user name is no address
  --oauth                  logs in by the access token in PYMAIL_TOKEN, in place of a password
  --oauth-command COMMAND  logs in by access tokens, each the first line that the shell command prints
  --json                   prints one JSON object for each step
  --transcript             prints the dialogue to stderr, without secrets and without text of mail
  --timeout SECONDS        the time limit of each step (default 20)
  --wait SECONDS           the longest wait for the message that was sent (default 60)

The authorities in the file that SSL_CERT_FILE names are trusted besides the system's. The exit status is 0 if no step has
failed, 1 if one has, 2 for invalid options.";

/// The address of a server.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) security: Security,
}

/// The parsed options.
pub(crate) struct Options {
    pub(crate) imap: Option<Endpoint>,
    pub(crate) smtp: Option<Endpoint>,
    pub(crate) provider: Option<Provider>,
    pub(crate) address: String,
    pub(crate) has_token: bool,
    credentials: Credentials,
    pub(crate) json: bool,
    pub(crate) transcript: bool,
    pub(crate) timeout: Duration,
    pub(crate) wait: Duration,
}

impl Options {
    /// Parses the arguments; returns `None` for `--help`.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let (mut user, mut address, mut command) = (None, None, None);
        let (mut imap, mut smtp, mut provider) = (None, None, None);
        let (mut oauth, mut json, mut transcript) = (false, false, false);
        let (mut timeout, mut wait) = (20, 60);
        while let Some(name) = args.next() {
            let mut value = || args.next().ok_or(format!("{name} needs a value"));
            match &*name {
                "--help" | "-h" => return Ok(None),
                "--user" => user = Some(value()?),
                "--preset" => provider = Some(preset(&value()?)?),
                "--address" => address = Some(value()?),
                "--imap" => imap = Some(endpoint(&value()?, 993, |port| port == 143)?),
                "--smtp" => smtp = Some(endpoint(&value()?, 587, |port| port != 465)?),
                "--oauth" => oauth = true,
                "--oauth-command" => command = Some(value()?),
                "--json" => json = true,
                "--transcript" => transcript = true,
                "--timeout" => timeout = seconds(&name, &value()?)?,
                "--wait" => wait = seconds(&name, &value()?)?,
                _ => return Err(format!("there is no option {name:?}")),
            }
        }
        let user = user.ok_or("--user is missing")?;
        if let Some(provider) = &provider {
            imap = imap.or_else(|| Some(Endpoint::of(&provider.imap_server, 993, 143)));
            smtp = smtp.or_else(|| Some(Endpoint::of(&provider.smtp_server, 465, 587)));
        }
        if imap.is_none() && smtp.is_none() {
            return Err("--imap, --smtp or --preset is missing".into());
        }
        let address = address.unwrap_or_else(|| user.clone());
        if !address.contains('@') {
            return Err(format!("{address:?} is no address: --address says which one is the user's"));
        }
        let has_token = oauth || command.is_some();
        let credentials = match command {
            Some(command) => Credentials::oauth2(user, move |_| printed_token(&command)),
            None if oauth => {
                let token = variable("PYMAIL_TOKEN", "the access token")?;
                Credentials::oauth2(user, move |_| Ok(AccessToken::new(token.clone())))
            }
            None => Credentials::new(user, variable("PYMAIL_PASSWORD", "the password")?),
        };
        let (timeout, wait) = (Duration::from_secs(timeout), Duration::from_secs(wait));
        Ok(Some(Self {
            imap,
            smtp,
            provider,
            address,
            has_token,
            credentials,
            json,
            transcript,
            timeout,
            wait,
        }))
    }

    pub(crate) fn imap_config(&self, at: &Endpoint) -> ImapConfig {
        ImapConfig::new(at.server(), self.credentials.clone()).tag(TAG).timeout(self.timeout)
    }

    pub(crate) fn smtp_config(&self, at: &Endpoint) -> SmtpConfig {
        SmtpConfig::new(at.server(), self.credentials.clone()).tag(TAG).timeout(self.timeout)
    }
}

impl Endpoint {
    /// Returns the address of a preset's server.
    fn of(server: &Server, tls: u16, starttls: u16) -> Self {
        let security = server.get_security();
        let usual = if security == Security::Tls { tls } else { starttls };
        Self { host: server.get_host().into(), port: server.get_port().unwrap_or(usual), security }
    }

    fn server(&self) -> Server {
        let server = match self.security {
            Security::Tls => Server::tls(&self.host),
            Security::StartTls => Server::starttls(&self.host),
            Security::None => Server::unencrypted(&self.host),
        };
        server.port(self.port)
    }
}

fn variable(name: &str, secret: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("{secret} belongs in {name}"))
}

fn seconds(name: &str, value: &str) -> Result<u64, String> {
    let number = value.parse().ok().filter(|number| (1..=3_600).contains(number));
    number.ok_or_else(|| format!("{name} is a number of seconds, up to 3600, not {value:?}"))
}

fn preset(name: &str) -> Result<Provider, String> {
    let names = || Provider::all().iter().map(|provider| provider.name).collect::<Vec<_>>().join(", ");
    Provider::by_name(name).ok_or_else(|| format!("there is no preset {name:?}, only: {}", names()))
}

/// Runs the command, and returns the first line that it prints.
fn printed_token(command: &str) -> pymail::Result<AccessToken> {
    let output = shell(command).output();
    let output =
        output.map_err(|error| Error::token_unavailable(format!("--oauth-command: {error}"), None))?;
    let printed =
        String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().trim().to_owned();
    if !output.status.success() || printed.is_empty() {
        let why = format!("--oauth-command printed no token, and ended with {}", output.status);
        return Err(Error::token_unavailable(why, None));
    }
    Ok(AccessToken::new(printed))
}

/// Returns the command as a shell runs it.
#[cfg(unix)]
fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]);
    shell
}

/// Returns the command as a shell runs it.
#[cfg(windows)]
fn shell(command: &str) -> Command {
    use std::os::windows::process::CommandExt as _;
    let mut shell = Command::new("cmd");
    // As it is: cmd knows no escaped quotation marks. With /S it removes the outer ones.
    shell.raw_arg(format!("/D /S /C \"{command}\""));
    shell
}

/// Parses `host`, `host:port`, `[2001:db8::1]:port` or `2001:db8::1`, with or without `/security`.
fn endpoint(text: &str, default: u16, is_starttls: impl Fn(u16) -> bool) -> Result<Endpoint, String> {
    let (at, security) = text.split_once('/').map_or((text, None), |(at, security)| (at, Some(security)));
    let split = at.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
    let (host, port) = match split {
        Some((host, port)) => (host, port.parse().map_err(|_| format!("{port:?} in {text:?} is no port"))?),
        None => (at, default),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(format!("{text:?} names no host"));
    }
    let security = match security {
        Some("tls") => Security::Tls,
        Some("starttls") => Security::StartTls,
        Some("plain") => Security::None,
        Some(other) => return Err(format!("{other:?} in {text:?} is not tls, starttls or plain")),
        None if is_starttls(port) => Security::StartTls,
        None => Security::Tls,
    };
    Ok(Endpoint { host: host.into(), port, security })
}
