//! Addresses and host names beyond ASCII, on real servers.

use std::process::Command;
use std::{env, fs};

use pymail::{Credentials, ErrorKind, Imap, ImapConfig, Message, Server, Smtp, SmtpConfig};
use rstest::rstest;
use tempfile::NamedTempFile;

use crate::mail_site::{ALICE, Site, TAG};
use crate::support::certs::Authority;
use crate::support::dovecot::DovecotOptions;
use crate::support::embedded::{Embedded, EmbeddedOptions};
use crate::support::postfix::PostfixOptions;
use crate::support::process::{is_root, needs, program};
use crate::support::tls_server::{Protocol, TlsServer, TlsServerOptions};

const JUERGEN: &str = "j\u{fc}rgen@example.test";

/// Returns the next message of an account of a site.
fn received(site: &Site, user: &str) -> Message {
    let config = ImapConfig::new(site.imap_server(), Credentials::new(user, site.password())).tag(TAG);
    let imap = Imap::connect(config).expect("IMAP connects");
    let delivery = imap.consume().next().expect("a message").expect("a message");
    imap.ack([&delivery]).expect("it is acknowledged");
    delivery.into_message().expect("it is readable")
}

#[rstest]
fn a_message_to_an_address_beyond_ascii_arrives_and_so_does_the_answer() {
    let users = vec![ALICE.to_owned(), JUERGEN.to_owned()];
    let options = EmbeddedOptions { users, ..EmbeddedOptions::default() };
    let site = Site::Embedded(Embedded::with(&options).expect("the embedded server starts"));
    let smtp = site.smtp();
    assert!(smtp.send(&Message::new("1", ALICE, JUERGEN, "question")).unwrap().all_accepted());
    let question = received(&site, JUERGEN);
    assert_eq!((&*question.sent_by, &question.sent_to), (ALICE, &vec![JUERGEN.to_owned()]));
    let answer = Message::new("2", &*question.sent_to[0], question.sent_by, "answer");
    assert!(smtp.send(&answer).unwrap().all_accepted());
    let answer = received(&site, ALICE);
    assert_eq!((&*answer.sent_by, &*answer.body), (JUERGEN, &b"answer"[..]));
}

/// Dovecot 2.3 has no SMTPUTF8: what Postfix has accepted does not get there.
#[rstest]
fn postfix_takes_a_message_by_a_sender_beyond_ascii() {
    let site = Site::real(&DovecotOptions::default(), &PostfixOptions::default());
    let receipt = site.smtp().send(&Message::new("1", JUERGEN, ALICE, "hello")).unwrap();
    assert!(receipt.all_accepted());
}

#[rstest]
fn mail_to_a_domain_beyond_ascii_arrives_in_its_ascii_form() {
    let extra = "virtual_mailbox_domains = example.test, xn--bcher-kva.test".to_owned();
    let site = Site::real(&DovecotOptions::default(), &PostfixOptions { extra, ..PostfixOptions::default() });
    let message = Message::new("1", ALICE, "bob@b\u{fc}cher.test", "hello");
    assert!(site.smtp().send(&message).unwrap().all_accepted());
    let received = received(&site, "bob@xn--bcher-kva.test");
    assert_eq!(received.sent_to, ["bob@xn--bcher-kva.test"]);
    assert_eq!(received.body, b"hello");
}

/// The hosts of a machine for the child process below.
const HOSTS: &str = "127.0.0.1 localhost xn--bcher-kva.example xn--strae-oqa.example\n";

#[rstest]
fn a_host_name_beyond_ascii_is_resolved_and_verified_in_its_ascii_form() {
    let hosts = NamedTempFile::new().expect("a file of hosts");
    fs::write(&hosts, HOSTS).expect("a file of hosts");
    let mut child = Command::new(program("unshare", "util-linux"));
    if !is_root() {
        child.args(["--user", "--map-root-user"]);
    }
    child.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]).arg(hosts.path());
    child.arg(env::current_exe().expect("this program"));
    child.args(["--ignored", "--exact", "promises::utf8_addresses::meets_hosts_beyond_ascii"]);
    let output = child.output().expect("unshare runs");
    if String::from_utf8_lossy(&output.stderr).starts_with("unshare: unshare failed") {
        needs("namespaces", "this container, or this user, may make none");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}

#[test]
#[ignore = "runs in a child process of the test above, with hosts of its own"]
fn meets_hosts_beyond_ascii() {
    let authority = Authority::new();
    let issued = authority.issue(&["xn--bcher-kva.example", "strasse.example"]);
    for way in ["tls", "starttls"] {
        let protocol = Protocol::Imap;
        let server = TlsServer::start(&TlsServerOptions { protocol, way, issued: &issued, version: None });
        let connect = |host: &str| {
            let at = if way == "tls" { Server::tls(host) } else { Server::starttls(host) };
            let at = at.port(server.port()).add_root_certificate_pem(authority.pem());
            Imap::connect(ImapConfig::new(at, Credentials::new(ALICE, "s3cret")).tag(TAG)).map(drop)
        };
        connect("B\u{fc}cher.example").expect("it connects");
        // For IDNA 2003 it would be strasse.example.
        let error = connect("stra\u{df}e.example").expect_err("the certificate is for another host");
        assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
        assert!(error.to_string().contains("for another host"), "{error}");
    }
    let smtp = TlsServerOptions { protocol: Protocol::Smtp, way: "tls", issued: &issued, version: None };
    let server = TlsServer::start(&smtp);
    let at = Server::tls("b\u{fc}cher.example").port(server.port()).add_root_certificate_pem(authority.pem());
    Smtp::connect(SmtpConfig::new(at, Credentials::new(ALICE, "s3cret"))).expect("it connects");
}

#[rstest]
#[case::symbol("\u{2603}.example")]
#[case::decomposed("bu\u{308}cher.example")]
#[case::two_dots("b\u{fc}cher..example")]
fn a_host_name_without_an_ascii_form_is_a_config_error(#[case] host: &str) {
    let error = Smtp::connect(SmtpConfig::new(Server::tls(host), Credentials::none())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    assert!(error.to_string().contains("is not a host name: it has"), "{error}");
}
