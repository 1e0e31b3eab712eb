//! Secret: credentials go only to a server that is verified and keeps to the protocol.

use std::time::Duration;

use pymail::{Credentials, Error, ErrorKind, Imap, ImapConfig, Server, Smtp, SmtpConfig};
use rstest::rstest;

use crate::mail_site::{ALICE, TAG};
use crate::support::certs::{Authority, Issued};
use crate::support::script::Script;
use crate::support::tls_server::{
    Heard,
    Protocol::{self, Imap as IMAP, Smtp as SMTP},
    TlsServer, TlsServerOptions,
};

const PASSWORD: &str = "s3cret";

/// The client's result, and the data that the server has received until then.
struct Meeting {
    /// The error, or the UIDVALIDITY of the inbox in IMAP, 0 in SMTP.
    outcome: Result<u32, Error>,
    heard: Heard,
}

/// Connects a client that trusts the authority to a server.
fn meet(authority: &Authority, options: &TlsServerOptions<'_>) -> Meeting {
    let server = TlsServer::start(options);
    let outcome = connect_to(&server, authority, options.way, options.protocol);
    Meeting { outcome, heard: server.heard() }
}

fn connect_to(
    server: &TlsServer,
    authority: &Authority,
    way: &str,
    protocol: Protocol,
) -> Result<u32, Error> {
    let at = if way == "tls" { Server::tls("localhost") } else { Server::starttls("localhost") };
    connect_at(at.port(server.port()).add_root_certificate_pem(authority.pem()), protocol)
}

/// Returns the UIDVALIDITY of the inbox in IMAP, 0 in SMTP.
fn connect_at(at: Server, protocol: Protocol) -> Result<u32, Error> {
    let credentials = Credentials::new(ALICE, PASSWORD);
    let (never, soon) = (Duration::from_secs(3_600), Duration::from_secs(60));
    match protocol {
        IMAP => {
            let config = ImapConfig::new(at, credentials).tag(TAG).heartbeat(never).timeout(soon);
            Imap::connect(config).and_then(|imap| Ok(imap.search("ALL")?.validity().get()))
        }
        SMTP => {
            let config = SmtpConfig::new(at, credentials).tag(TAG).heartbeat(never).timeout(soon);
            Smtp::connect(config).and_then(|smtp| smtp.noop()).map(|()| 0)
        }
    }
}

/// Checks that neither the password nor the beginning of a login was received, encrypted or not.
fn assert_no_credentials(heard: &str) {
    let commands = heard.to_uppercase();
    for word in ["LOGIN", "AUTH", "S3CRET", &ALICE.to_uppercase()] {
        assert!(!commands.contains(word), "{heard}");
    }
}

fn assert_refused(meeting: &Meeting) {
    let error = meeting.outcome.as_ref().expect_err("it is not to be trusted");
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
    assert!(error.is_permanent(), "{error:?}");
    assert_no_credentials(&meeting.heard.clear);
    assert_no_credentials(&meeting.heard.encrypted);
}

/// A certificate, and the reason why it is invalid.
fn bad_certificate(why: &str, authority: &Authority) -> Issued {
    let names = &["localhost", "127.0.0.1"];
    match why {
        "unknown authority" => Authority::new().issue(names),
        "another host" => authority.issue(&["elsewhere.test", "127.0.0.2"]),
        "expired" => authority.issue_for_years(names, 2015..2020),
        "not yet valid" => authority.issue_for_years(names, 2090..2095),
        "self-signed" => Issued::self_signed(names),
        _ => unreachable!("{why}"),
    }
}

#[rstest]
fn a_certificate_that_does_not_hold_gets_no_credentials(
    #[values("unknown authority", "another host", "expired", "not yet valid", "self-signed")] why: &str,
    #[values(IMAP, SMTP)] protocol: Protocol,
    #[values("tls", "starttls")] way: &str,
) {
    let authority = Authority::new();
    let issued = bad_certificate(why, &authority);
    let meeting = meet(&authority, &TlsServerOptions { protocol, way, issued: &issued, version: None });
    assert_refused(&meeting);
    assert!(meeting.heard.encrypted.is_empty(), "{:?}", meeting.heard);
}

#[rstest]
#[case::unknown_authority("unknown authority", "signed by an unknown authority")]
#[case::another_host("another host", "for another host")]
#[case::expired("expired", "has expired")]
#[case::not_yet_valid("not yet valid", "not valid yet")]
#[case::self_signed("self-signed", "self-signed")]
fn an_error_names_what_is_wrong_with_the_certificate(
    #[case] why: &str,
    #[case] told: &str,
    #[values(IMAP, SMTP)] protocol: Protocol,
    #[values("tls", "starttls")] way: &str,
) {
    let authority = Authority::new();
    let issued = bad_certificate(why, &authority);
    let server = TlsServer::start(&TlsServerOptions { protocol, way, issued: &issued, version: None });
    let error = connect_to(&server, &authority, way, protocol).expect_err("it is not to be trusted");
    assert!(error.to_string().contains(told), "{error}");
    assert_no_credentials(&server.heard().encrypted);
}

/// Python 3.13 refuses it by default, and older versions do not.
#[rstest]
fn an_authority_without_a_key_usage_is_trusted_on_every_python(
    #[values(IMAP, SMTP)] protocol: Protocol,
    #[values("tls", "starttls")] way: &str,
) {
    let authority = Authority::without_key_usage();
    let issued = authority.issue(&["localhost"]);
    let meeting = meet(&authority, &TlsServerOptions { protocol, way, issued: &issued, version: None });
    meeting.outcome.expect("it connects");
}

/// Python up to 3.12 refuses it by default, and newer versions do not.
#[rstest]
fn a_certificate_that_is_trusted_itself_needs_no_authority_on_any_python(
    #[values(IMAP, SMTP)] protocol: Protocol,
) {
    let issued = Authority::new().issue(&["localhost"]);
    let server = TlsServer::start(&TlsServerOptions { protocol, way: "tls", issued: &issued, version: None });
    let at = Server::tls("localhost").port(server.port()).add_root_certificate_pem(&*issued.cert_pem);
    connect_at(at, protocol).expect("it connects");
}

#[rstest]
fn an_error_says_that_no_tls_is_spoken_at_a_port(#[values(IMAP, SMTP)] protocol: Protocol) {
    let script = if protocol == IMAP { Script::imap(&[]) } else { Script::smtp(&[]) };
    let server = script.start();
    let error = connect_at(Server::tls("localhost").port(server.port()), protocol).expect_err("it is plain");
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
    assert!(error.to_string().contains("does not start with TLS on this port"), "{error}");
}

#[rstest]
fn an_error_says_that_a_server_speaks_old_tls_only(#[values(IMAP, SMTP)] protocol: Protocol) {
    let authority = Authority::new();
    let issued = authority.issue(&["localhost"]);
    let options = TlsServerOptions { protocol, way: "tls", issued: &issued, version: Some("TLSv1_1") };
    let error = meet(&authority, &options).outcome.expect_err("it is too old");
    assert!(error.to_string().contains("does not support TLS 1.2 or later"), "{error}");
}

#[rstest]
fn a_server_that_speaks_old_tls_only_gets_no_credentials(
    #[values("TLSv1", "TLSv1_1")] version: &str,
    #[values(IMAP, SMTP)] protocol: Protocol,
    #[values("tls", "starttls")] way: &str,
) {
    let authority = Authority::new();
    let issued = authority.issue(&["localhost"]);
    let options = TlsServerOptions { protocol, way, issued: &issued, version: Some(version) };
    let meeting = meet(&authority, &options);
    assert_refused(&meeting);
    assert!(!meeting.heard.is_encrypted, "{:?}", meeting.heard);
}

#[rstest]
fn no_credentials_are_sent_without_the_starttls_that_an_attacker_removed(
    #[values(IMAP, SMTP)] protocol: Protocol,
) {
    let authority = Authority::new();
    let issued = authority.issue(&["localhost"]);
    let options = TlsServerOptions { protocol, way: "stripped", issued: &issued, version: None };
    assert_refused(&meet(&authority, &options));
}

#[rstest]
fn an_answer_to_starttls_from_before_the_question_is_no_tls(#[values(IMAP, SMTP)] protocol: Protocol) {
    let authority = Authority::new();
    let issued = authority.issue(&["localhost"]);
    let options = TlsServerOptions { protocol, way: "early", issued: &issued, version: None };
    assert_refused(&meet(&authority, &options));
}

#[rstest]
fn text_injected_before_the_answer_to_starttls_is_forgotten_under_tls(
    #[values(IMAP, SMTP)] protocol: Protocol,
) {
    let authority = Authority::new();
    let issued = authority.issue(&["localhost"]);
    let options = TlsServerOptions { protocol, way: "untagged", issued: &issued, version: None };
    let meeting = meet(&authority, &options);
    assert_no_credentials(&meeting.heard.clear);
    let real = if protocol == IMAP { 7 } else { 0 };
    assert_eq!(meeting.outcome.expect("only the injected text is refused"), real);
}

#[rstest]
fn answers_injected_with_the_one_to_starttls_answer_nothing_under_tls(
    #[values(IMAP, SMTP)] protocol: Protocol,
) {
    let authority = Authority::new();
    let issued = authority.issue(&["localhost"]);
    let options = TlsServerOptions { protocol, way: "together", issued: &issued, version: None };
    let meeting = meet(&authority, &options);
    assert_no_credentials(&meeting.heard.clear);
    // The injected responses accept the login; the server's own refuses it.
    assert_eq!(meeting.outcome.expect_err("the server refuses").kind(), ErrorKind::Auth);
}

/// Checks the test of old versions: a client that accepts them gets them.
#[rstest]
fn a_client_that_takes_old_tls_gets_it(#[values("TLSv1", "TLSv1_1")] version: &str) {
    let issued = Authority::new().issue(&["localhost"]);
    let options = TlsServerOptions { protocol: IMAP, way: "tls", issued: &issued, version: Some(version) };
    let server = TlsServer::start(&options);
    assert_eq!(server.connect_insecurely(), version.replace('_', "."));
    assert!(server.heard().is_encrypted);
}

/// Checks the other tests: this server receives credentials when nothing is wrong.
#[rstest]
fn a_server_that_is_who_it_should_be_gets_the_credentials_under_tls_only(
    #[values(IMAP, SMTP)] protocol: Protocol,
    #[values("tls", "starttls")] way: &str,
    #[values(None, Some("TLSv1_2"), Some("TLSv1_3"))] version: Option<&str>,
) {
    let authority = Authority::new();
    let issued = authority.issue(&["localhost"]);
    let meeting = meet(&authority, &TlsServerOptions { protocol, way, issued: &issued, version });
    meeting.outcome.expect("it connects");
    assert_no_credentials(&meeting.heard.clear);
    let login = if protocol == IMAP { PASSWORD } else { "AUTH PLAIN " };
    assert!(meeting.heard.is_encrypted && meeting.heard.encrypted.contains(login), "{:?}", meeting.heard);
}
