//! Secret: a port that is configured with the wrong encryption gets no credentials, and an error says what to do.

use std::time::Duration;

use pymail::{Credentials, Error, ErrorKind, Imap, ImapConfig, Server, Smtp, SmtpConfig};
use rstest::rstest;

use crate::mail_site::ALICE;
use crate::support::dovecot::{Dovecot, PASSWORD};
use crate::support::postfix::Postfix;

/// A server that says nothing uses all of it.
const TIMEOUT: Duration = Duration::from_secs(10);

fn imap_error(server: Server) -> Error {
    let config = ImapConfig::new(server, Credentials::new(ALICE, PASSWORD)).timeout(TIMEOUT);
    Imap::connect(config).expect_err("the encryption is wrong")
}

fn smtp_error(server: Server) -> Error {
    let config = SmtpConfig::new(server, Credentials::new(ALICE, PASSWORD)).timeout(TIMEOUT);
    Smtp::connect(config).and_then(|smtp| smtp.noop()).expect_err("the encryption is wrong")
}

fn assert_says(error: &Error, kind: ErrorKind, words: &str) {
    assert_eq!(error.kind(), kind, "{error:#}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn implicit_tls_at_a_port_for_starttls_is_named() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot);
    let at = |port| Server::tls("localhost").port(port).add_root_certificate_pem(dovecot.ca_pem());
    let words = "does not start with TLS on this port: use Server::starttls";
    assert_says(&imap_error(at(dovecot.imap_port())), ErrorKind::Tls, words);
    assert_says(&smtp_error(at(postfix.submission_port())), ErrorKind::Tls, words);
}

#[rstest]
fn a_port_for_implicit_tls_that_sends_no_greeting_is_named(#[values("starttls", "unencrypted")] way: &str) {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot);
    let at = |port| match way {
        "starttls" => Server::starttls("localhost").port(port).add_root_certificate_pem(dovecot.ca_pem()),
        _ => Server::unencrypted("localhost").port(port),
    };
    let words = "no greeting came: if this port is for implicit TLS, as 993 and 465 are, use Server::tls";
    assert_says(&imap_error(at(dovecot.imaps_port())), ErrorKind::Timeout, words);
    assert_says(&smtp_error(at(postfix.smtps_port())), ErrorKind::Timeout, words);
}

/// As a server does that has waited for TLS for long enough.
#[test]
fn a_server_that_ends_the_connection_without_a_greeting_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let at = || Server::starttls("127.0.0.1").port(port);
    let words = "no greeting came: if this port is for implicit TLS";
    assert_says(&imap_error(at()), ErrorKind::Connect, words);
    assert_says(&smtp_error(at()), ErrorKind::Connect, words);
}
