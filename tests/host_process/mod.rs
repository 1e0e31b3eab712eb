//! A polite guest: pymail leaves the host process's state unchanged.
//!
//! Most tests run in a process of their own: an ignored test of this binary, started by the test above it.
#![allow(unsafe_code, reason = "signals, forks, descriptors and the locale are the process's own")]

#[cfg(unix)]
mod forks;
mod handles;
mod process;
mod signals;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::env;
use std::process::{Command, Output};

use pymail::{Credentials, ErrorKind, Imap, ImapConfig, Message, Server, Smtp, SmtpConfig};

#[cfg(unix)]
use self::unix as system;
#[cfg(windows)]
use self::windows as system;
use crate::mail_site::{ALICE, Site};
use crate::support::process::started;

/// Returns a command that runs one of the ignored tests below.
fn child(test: &str, site: &Site) -> Command {
    let ports = site.ports();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--ignored", "--exact", &format!("host_process::{test}"), "--test-threads=1"]);
    command.env("CHILD_IMAP", ports.imap.to_string()).env("CHILD_SMTP", ports.smtp.to_string());
    command.env("CHILD_CA", site.ca_pem()).env("CHILD_PASSWORD", site.password());
    command
}

fn passes(command: &mut Command) {
    let Output { status, stdout, stderr } = started(|| command.output()).unwrap();
    let text = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(status.success() && text.contains("1 passed"), "{status:?}: {text}");
}

fn imap_config() -> ImapConfig {
    ImapConfig::new(server("CHILD_IMAP"), credentials())
}

fn imap() -> Imap {
    Imap::connect(imap_config()).unwrap()
}

fn smtp() -> Smtp {
    Smtp::connect(SmtpConfig::new(server("CHILD_SMTP"), credentials())).unwrap()
}

fn server(port: &str) -> Server {
    let var = |name: &str| env::var(name).unwrap();
    Server::starttls("localhost").port(var(port).parse().unwrap()).add_root_certificate_pem(var("CHILD_CA"))
}

fn credentials() -> Credentials {
    Credentials::new(ALICE, env::var("CHILD_PASSWORD").unwrap())
}

/// Uses all of pymail: connects, sends, receives, and is refused.
fn round_trip() {
    let (imap, smtp) = (imap(), smtp());
    let sent = Message::new("1", ALICE, ALICE, "hello");
    assert!(smtp.send(&sent).unwrap().all_accepted());
    let mut received = Vec::new();
    while received.is_empty() {
        received = imap.fetch_and_ack().unwrap();
    }
    assert_eq!(received[0].message().unwrap(), &sent);
    let refused = Imap::connect(ImapConfig::new(server("CHILD_IMAP"), Credentials::new(ALICE, "wrong")));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Auth);
    imap.close().unwrap();
    smtp.close().unwrap();
}
