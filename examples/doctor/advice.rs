//! The causes of failures, in words, with remedies.

use pymail::{Error, ErrorKind, PasswordKind, Security};

use crate::options::{Endpoint, Options, TAG};
use crate::report::{Done, Trouble};

pub(crate) fn unknown_host(host: &str, why: &str) -> Trouble {
    Trouble::new(
        format!("the host name {host} is unknown: {why}"),
        "Check the spelling of --imap and --smtp, and this machine's DNS.",
    )
}

pub(crate) fn no_connection(said: String, has_timed_out: bool) -> Trouble {
    let advice = if has_timed_out {
        "Nothing answers: a firewall is likely between here and the server, or the port is wrong. Networks often block 25, \
         and some 465 and 587."
    } else {
        "The host is there, and nothing listens on that port: check the port (IMAP 993 or 143, SMTP 465 or 587), or start \
         the server."
    };
    Trouble::new(said, advice)
}

/// Explains an error of TLS or of the greeting.
pub(crate) fn connecting(error: &Error, at: &Endpoint) -> Trouble {
    let text = format!("{error}");
    let has = |words: &str| text.contains(words);
    let advice = match error.kind() {
        ErrorKind::Tls if has("does not start with TLS") => format!(
            "The security does not fit the port: try {}:{}/starttls, or the port for TLS (IMAP 993, SMTP 465).",
            at.host, at.port
        ),
        ErrorKind::Tls if has("no STARTTLS") => {
            "The server offers no STARTTLS on this port: use the port for TLS (IMAP 993, SMTP 465).".into()
        }
        ErrorKind::Tls if has("expired") => {
            "The server's operator must renew the certificate. Check the date of this machine, too.".into()
        }
        ErrorKind::Tls if has("not valid yet") => "Check the date of this machine.".into(),
        ErrorKind::Tls if has("another host") => format!(
            "Use the host name that the certificate is for: the provider's help names it. If {} is right, another server \
             answers in its place.",
            at.host
        ),
        ErrorKind::Tls if has("unknown authority") || has("self-signed") => {
            "If the server is the company's own, or a bridge on this machine: SSL_CERT_FILE names a file with the \
             certificate of its authority. Otherwise another server answers in its place; do not trust it."
                .into()
        }
        ErrorKind::Tls => "The server's operator must update its TLS.".into(),
        ErrorKind::Timeout if at.security == Security::Tls => format!(
            "The port accepts connections, and the server says nothing: it is not the port for TLS, or the server hangs. \
             Try {}:{}/starttls, or another port.",
            at.host, at.port
        ),
        ErrorKind::Timeout => {
            "The port accepts connections, and the server says nothing: it is for TLS, or the server hangs. Try /tls \
             behind the port."
                .into()
        }
        _ => "The server does not greet as a mail server does: check the port; or it refuses this machine for now.".into(),
    };
    Trouble::new(for_users(&text), advice)
}

/// Returns the error of TLS without OpenSSL's own text, and without the advice for programmers.
fn for_users(text: &str) -> &str {
    let ends =
        [" [", ": Server::", ": use Server::", ", use Server::"].iter().filter_map(|end| text.find(end));
    &text[..ends.min().unwrap_or(text.len())]
}

/// Checks that a login is possible by what the server offers.
pub(crate) fn mechanisms(offered: &[String], by_password: &[&str], options: &Options) -> Done<()> {
    let by_token = ["OAUTHBEARER", "XOAUTH2"];
    let usable = if options.has_token { &by_token } else { by_password };
    let shown = if offered.is_empty() { "none".to_owned() } else { offered.join(" ") };
    if offered.iter().any(|name| usable.contains(&&**name)) {
        return Ok((shown, ()));
    }
    let takes_tokens = offered.iter().any(|name| by_token.contains(&&**name));
    let (by, advice) = match (options.has_token, takes_tokens) {
        (true, _) => {
            ("access token", "The server takes no access tokens: log in by a password, without --oauth.")
        }
        (false, true) => ("password", "The server takes access tokens only: log in with --oauth."),
        (false, false) => (
            "password",
            "Logins are switched off here: switch IMAP or SMTP on in the account's settings, or ask the administrator.",
        ),
    };
    Err(Trouble::new(format!("the server offers no login by {by} (it offers: {shown})"), advice))
}

/// Explains a refused login.
pub(crate) fn login(error: &Error, options: &Options) -> Trouble {
    let text = format!("{error}");
    let lower = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|words| lower.contains(words));
    let advice = match error.kind() {
        ErrorKind::Auth | ErrorKind::Refused if options.has_token => token(error, options),
        ErrorKind::SignInNeeded => "Sign in again, so that access tokens can be made.".into(),
        ErrorKind::Auth if options.provider.as_ref().is_some_and(|it| it.password.is_none()) => {
            "The provider accepts no passwords: log in with --oauth (docs/providers.md).".into()
        }
        ErrorKind::Auth if options.provider.as_ref().is_some_and(|it| it.password == Some(PasswordKind::App)) => {
            "The provider accepts no password of the account: make an app password (docs/providers.md), and check the user \
             name."
                .into()
        }
        ErrorKind::Auth if has(&["application-specific", "app password", "app-specific"]) => {
            "Make an app password in the account's security settings, and use it in place of the password.".into()
        }
        ErrorKind::Auth if has(&["disabled", "not enabled", "turned off", "not allowed"]) => {
            "Switch IMAP or SMTP on in the account's settings, or ask the administrator.".into()
        }
        ErrorKind::Auth => {
            "Check the user name (often the whole address) and the password. With two-factor login, most providers want \
             an app password; Microsoft 365 and Google Workspace want --oauth."
                .into()
        }
        ErrorKind::Connect => "No access token could be made: see the command's own output.".into(),
        _ if error.is_transient() => "The server can't log anyone in now: try again later.".into(),
        _ => "See the server's words above; the transcript (--transcript) shows the dialogue.".into(),
    };
    Trouble::new(text, advice)
}

fn token(error: &Error, options: &Options) -> String {
    let scopes = options.provider.as_ref().map(|it| it.oauth2_scopes.join(" ")).unwrap_or_default();
    let scopes = if scopes.is_empty() { "the provider's scopes of IMAP and SMTP".into() } else { scopes };
    let refusal = error.token_refusal();
    let scope = refusal.map(|refusal| refusal.scope.clone()).unwrap_or_default();
    let is_scope = refusal.is_some_and(|refusal| refusal.status.contains("scope"));
    match (is_scope, &*scope) {
        (true, "") => format!("The token has not the scope for mail: ask for {scopes}."),
        (_, scope) if !scope.is_empty() => format!(
            "The token is not accepted: it may be expired, for another user, or without the scope {scope}, which the server \
             wants."
        ),
        _ => format!("The token is not accepted: it may be expired, for another user, or without {scopes}."),
    }
}

/// Explains a refused SELECT or CREATE.
pub(crate) fn mailbox(error: &Error, is_inbox: bool) -> Trouble {
    let advice = if is_inbox {
        "The inbox can't be opened: see the server's words; the account may be locked or new.".to_owned()
    } else if is_full(error) {
        FULL.to_owned()
    } else {
        format!(
            "The account may create no mailbox, which pymail needs as the archive: allow it, or make the mailbox {TAG} by \
             another program (for an app: the one named like its tag)."
        )
    };
    Trouble::new(format!("{error}"), advice)
}

const FULL: &str = "The mailbox is full: delete mail, empty the trash, or get more room.";

fn is_full(error: &Error) -> bool {
    let text = error.to_string().to_lowercase();
    error.code() == Some("OVERQUOTA")
        || ["quota", "full", "4.2.2", "5.2.2"].iter().any(|it| text.contains(it))
}

/// Explains a refused APPEND.
pub(crate) fn append(error: &Error) -> Trouble {
    let advice = match error.kind() {
        ErrorKind::Refused if is_full(error) => FULL,
        ErrorKind::Refused => {
            "The account may not store mail in INBOX: ask the administrator for the right (i)."
        }
        _ => return later(error),
    };
    Trouble::new(format!("{error}"), advice)
}

/// Explains an error of a step without advice of its own.
pub(crate) fn later(error: &Error) -> Trouble {
    let advice = match error.kind() {
        ErrorKind::Timeout => "The server is too slow, or hangs: try again, with a longer --timeout.",
        _ if error.is_transient() => "Try again later; if it stays, see the dialogue (--transcript).",
        _ => "See the server's words, and the dialogue (--transcript).",
    };
    Trouble::new(format!("{error:#}"), advice)
}

pub(crate) fn search_misses() -> Trouble {
    Trouble::new(
        "SEARCH does not find the tag, although a message with it is in INBOX",
        "pymail reads the Subjects of new mail in its place, which costs more where much other mail comes in. An inbox of its \
         own for the app avoids that.",
    )
}

pub(crate) fn not_there() -> Trouble {
    Trouble::new(
        "the message that was just stored in INBOX is not the last one there, and SEARCH does not find its tag",
        "A rule of the account has moved the message, or the server shows it late: look for it, and run the doctor again.",
    )
}

pub(crate) fn idle_misses() -> Trouble {
    Trouble::new(
        "the server has IDLE, and did not announce the message",
        "pymail asks for new mail every 10 s in its place, which delays messages by as much.",
    )
}

/// Explains a refused message.
pub(crate) fn send(error: &Error, options: &Options) -> Trouble {
    let text = format!("{error}");
    let lower = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|words| lower.contains(words));
    let advice = match error.kind() {
        ErrorKind::Refused if is_full(error) => FULL.to_owned(),
        ErrorKind::Refused if has(&["sender", "not owned", "send as", "sendas", "from address"]) => format!(
            "The user may not send as {}: use an address of the account (--address), or allow it in the account's settings.",
            options.address
        ),
        ErrorKind::Refused if has(&["relay"]) => {
            "The server forwards no mail for this user: it is not the provider's server for submission (port 465 or 587), or \
             the login does not count there."
                .to_owned()
        }
        ErrorKind::Refused if error.is_transient() => "The server takes no mail for now: try again later.".to_owned(),
        ErrorKind::Refused => "See the server's words: the user may be blocked, or over its limit of messages.".to_owned(),
        _ => return later(error),
    };
    Trouble::new(text, advice)
}

pub(crate) fn not_received(options: &Options) -> Trouble {
    Trouble::new(
        format!(
            "the server has accepted the message to {}, and it is not in INBOX after {} s",
            options.address,
            options.wait.as_secs()
        ),
        "Look for it in the spam mailbox and by the account's filters and forwarding. It may also be late, or the address not \
         that of this inbox (--address).",
    )
}
