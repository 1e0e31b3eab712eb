//! Tests on scripted servers: responses that a real server gives seldom or never.

pub(crate) mod imap;
mod imap_ahead;
mod imap_archiving;
mod imap_bad_mail;
mod imap_dates;
mod imap_depth;
mod imap_ends;
mod imap_idle;
mod imap_limits;
mod imap_login;
mod imap_missed;
mod imap_namespace;
mod imap_receiving;
mod imap_redrive;
mod imap_rests;
mod imap_search_lies;
mod imap_spellings;
mod oauth;
mod oauth_handles;
mod smtp;
mod smtp_login;
mod smtp_replies;
mod smtp_time;
mod smtp_utf8;
mod throttled;

use std::time::Duration;

use pymail::{Credentials, Imap, ImapConfig, Server, Smtp, SmtpConfig};

use crate::mail_site::{ALICE, TAG, shown};
use crate::support::script::Scripted;

/// Longer than any test: no heartbeat comes between the lines of a script.
const NEVER: Duration = Duration::from_secs(3_600);

const MINUTE: Duration = Duration::from_secs(60);

/// Long enough for every response, short enough to fail for one that never comes.
const BRIEFLY: Duration = Duration::from_secs(40);

/// Easy to find, and with characters that IMAP quotes.
pub(crate) const MARKED: &str = r#"mar"ked \ s3cret"#;

fn open(server: &Scripted) -> Server {
    Server::unencrypted("localhost").port(server.port())
}

pub(crate) fn imap_config(server: &Scripted) -> ImapConfig {
    ImapConfig::new(open(server), Credentials::new(ALICE, MARKED)).tag(TAG).heartbeat(NEVER).timeout(BRIEFLY)
}

pub(crate) fn imap(server: &Scripted) -> Imap {
    Imap::connect(imap_config(server)).unwrap()
}

pub(crate) fn smtp_config(server: &Scripted, credentials: Credentials) -> SmtpConfig {
    let config = SmtpConfig::new(open(server), credentials).tag(TAG).heartbeat(NEVER);
    config.timeout(BRIEFLY).reply_timeout(BRIEFLY)
}

pub(crate) fn smtp(server: &Scripted) -> Smtp {
    Smtp::connect(smtp_config(server, Credentials::none())).unwrap()
}

/// Checks that no part of [`MARKED`] is shown, in any encoding in which it was sent.
pub(crate) fn assert_hidden(error: &pymail::Error) {
    let text = shown(error);
    for secret in ["s3cret", "czNjcmV0", "MzY3JldA", "zM2NyZX"] {
        assert!(!text.contains(secret), "{text}");
    }
}
