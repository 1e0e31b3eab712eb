//! Bad input returns a clear error of the kind that tells the remedy, and loses nothing.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use pymail::{Credentials, ErrorKind, Imap, ImapConfig, Message, Result, Server, Smtp, SmtpConfig};
use rstest::rstest;
use rstest_reuse::apply;

use crate::fixtures::{embedded, every_site, postfix};
use crate::mail_site::{ALICE, LATER, Ports, REFUSED, Site, mail, message};
use crate::support::certs::Authority;
use crate::support::dovecot::DovecotOptions;
use crate::support::postfix::PostfixOptions;
use crate::support::process::{free_port, wait_until};
use crate::support::relay::Relay;

/// Short enough to wait for a handshake that never comes; too short for one on a busy machine.
const BRIEFLY: Duration = Duration::from_secs(2);

fn imap_config(site: &Site, server: Server) -> ImapConfig {
    ImapConfig::new(server, site.credentials())
}

fn smtp_config(site: &Site, server: Server) -> SmtpConfig {
    SmtpConfig::new(server, site.credentials())
}

fn imap(site: &Site, server: Server) -> Result<Imap> {
    Imap::connect(imap_config(site, server))
}

fn smtp(site: &Site, server: Server) -> Result<Smtp> {
    Smtp::connect(smtp_config(site, server))
}

/// Returns the error kinds of both services for a server that they can't use.
fn both(site: &Site, server: impl Fn() -> Server) -> [ErrorKind; 2] {
    [imap(site, server()).unwrap_err().kind(), smtp(site, server()).unwrap_err().kind()]
}

#[rstest]
fn a_host_that_does_not_exist_is_a_connect_error(#[from(embedded)] site: Site) {
    assert_eq!(both(&site, || Server::tls("no-such-host.invalid")), [ErrorKind::Connect; 2]);
}

#[rstest]
fn a_closed_port_is_a_connect_error(#[from(embedded)] site: Site) {
    let port = free_port();
    assert_eq!(both(&site, || Server::tls("localhost").port(port)), [ErrorKind::Connect; 2]);
    assert_eq!(both(&site, || Server::starttls("localhost").port(port)), [ErrorKind::Connect; 2]);
}

/// Such as one by a load balancer whose server has just gone.
#[rstest]
fn a_reset_within_the_handshake_is_a_connect_error(#[from(embedded)] site: Site) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            // To close a connection with octets that were not read is a reset.
            let _ = client.read(&mut [0]);
        }
    });
    let server = || Server::tls("127.0.0.1").port(port);
    let errors = [imap(&site, server()).unwrap_err(), smtp(&site, server()).unwrap_err()];
    for error in errors {
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Connect, true), "{error}");
    }
}

/// After it, the text of a reset names servers that require a client certificate.
#[rstest]
fn a_reset_within_the_handshake_of_starttls_is_no_sign_of_a_certificate(#[from(embedded)] site: Site) {
    let server = |port| Server::starttls("127.0.0.1").port(port);
    let by_imap = reset_after("* OK [CAPABILITY IMAP4rev1 STARTTLS] hello\r\n", |line| {
        let tag = line.split(' ').next().unwrap_or_default();
        format!("* CAPABILITY IMAP4rev1 STARTTLS\r\n{tag} OK done\r\n")
    });
    let by_smtp = reset_after("220 hello\r\n", |line| match line {
        "STARTTLS" => "220 go on\r\n".into(),
        _ => "250-hello\r\n250 STARTTLS\r\n".into(),
    });
    let errors = [imap(&site, server(by_imap)).unwrap_err(), smtp(&site, server(by_smtp)).unwrap_err()];
    for error in errors {
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Connect, true), "{error}");
        assert!(!error.to_string().contains("certificate"), "{error}");
    }
}

/// Starts a server that answers each line up to STARTTLS, and resets the connection in the handshake; returns its port.
fn reset_after(greeting: &'static str, answer: fn(&str) -> String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.write_all(greeting.as_bytes());
            // One octet at a time: those of the handshake are left.
            let lines = BufReader::with_capacity(1, client.try_clone().unwrap()).lines();
            for line in lines.map_while(std::io::Result::ok) {
                let _ = client.write_all(answer(&line).as_bytes());
                if line.ends_with("STARTTLS") {
                    break;
                }
            }
            // As above.
            let _ = client.read(&mut [0]);
        }
    });
    port
}

#[rstest]
fn tls_on_a_plain_port_is_a_tls_error(#[from(postfix)] site: Site) {
    let Site::Real { dovecot, postfix } = &site else { unreachable!("a real site") };
    let tls = |port| Server::tls("localhost").port(port).add_root_certificate_pem(site.ca_pem());
    assert_eq!(imap(&site, tls(dovecot.imap_port())).unwrap_err().kind(), ErrorKind::Tls);
    assert_eq!(smtp(&site, tls(postfix.submission_port())).unwrap_err().kind(), ErrorKind::Tls);
}

#[rstest]
fn plain_on_a_tls_port_is_a_timeout(#[from(postfix)] site: Site) {
    let Site::Real { dovecot, postfix } = &site else { unreachable!("a real site") };
    let starttls = |port| Server::starttls("localhost").port(port).add_root_certificate_pem(site.ca_pem());
    // Each side waits for the other to speak first; a timeout is the only sign.
    let imap = imap_config(&site, starttls(dovecot.imaps_port())).timeout(BRIEFLY);
    assert_eq!(Imap::connect(imap).unwrap_err().kind(), ErrorKind::Timeout);
    let smtp = smtp_config(&site, starttls(postfix.smtps_port())).timeout(BRIEFLY);
    assert_eq!(Smtp::connect(smtp).unwrap_err().kind(), ErrorKind::Timeout);
}

#[apply(every_site)]
fn an_unknown_authority_is_a_tls_error(#[case] site: Site) {
    let other = Authority::new();

    let bare = |port, tls: bool| {
        let server = if tls { Server::tls("localhost") } else { Server::starttls("localhost") };
        server.port(port).add_root_certificate_pem(other.pem())
    };
    let Ports { imaps, smtp: submission, .. } = site.ports();
    assert_eq!(imap(&site, bare(imaps, true)).unwrap_err().kind(), ErrorKind::Tls);
    assert_eq!(smtp(&site, bare(submission, false)).unwrap_err().kind(), ErrorKind::Tls);
}

#[rstest]
fn a_certificate_for_another_host_is_a_tls_error(#[from(postfix)] site: Site) {
    let Site::Real { dovecot, postfix } = &site else { unreachable!("a real site") };
    let (imaps, smtps) = (
        Relay::start(Relay::ELSEWHERE, dovecot.imaps_port()),
        Relay::start(Relay::ELSEWHERE, postfix.smtps_port()),
    );
    let elsewhere = |relay: &Relay| {
        Server::tls(Relay::ELSEWHERE).port(relay.port()).add_root_certificate_pem(site.ca_pem())
    };
    assert_eq!(imap(&site, elsewhere(&imaps)).unwrap_err().kind(), ErrorKind::Tls);
    assert_eq!(smtp(&site, elsewhere(&smtps)).unwrap_err().kind(), ErrorKind::Tls);
}

#[apply(every_site)]
fn a_wrong_password_is_an_auth_error_with_the_servers_code(#[case] site: Site) {
    let wrong = || Credentials::new(ALICE, "hunter2");
    let imap = Imap::connect(ImapConfig::new(site.imaps_server(), wrong())).unwrap_err();
    let smtp = Smtp::connect(SmtpConfig::new(site.smtp_server(), wrong())).unwrap_err();
    assert_eq!([imap.kind(), smtp.kind()], [ErrorKind::Auth; 2], "{imap} {smtp}");
    assert_eq!([imap.code(), smtp.code()], site.codes_of_a_refused_password());
    // Also where the code is transient by RFC 4954, as Proton Mail Bridge's is.
    assert!(imap.is_permanent() && smtp.is_permanent(), "{smtp:?}");
}

#[apply(every_site)]
fn a_password_that_is_not_ascii_is_sent_as_utf_8_and_refused_like_any_other(#[case] site: Site) {
    let wrong = || Credentials::new(ALICE, "pässwörd \u{1F600}");
    let imap = Imap::connect(ImapConfig::new(site.imaps_server(), wrong())).unwrap_err();
    let smtp = Smtp::connect(SmtpConfig::new(site.smtp_server(), wrong())).unwrap_err();
    assert_eq!([imap.kind(), smtp.kind()], [ErrorKind::Auth; 2], "{imap} {smtp}");
}

#[rstest]
#[case::cr("a\rb")]
#[case::lf("a\nb")]
#[case::nul("a\0b")]
#[case::quote("a\"b")]
#[case::non_ascii("né")]
fn a_tag_or_mailbox_name_that_would_break_a_command_is_a_config_error(#[case] name: &str) {
    let nowhere = || ImapConfig::new(Server::tls("localhost").port(1), Credentials::new("alice", "secret"));
    let sender = SmtpConfig::new(Server::tls("localhost").port(1), Credentials::none()).tag(name);
    for config in [nowhere().tag(name), nowhere().inbox(name), nowhere().archive(name)] {
        assert_eq!(Imap::connect(config).unwrap_err().kind(), ErrorKind::Config);
    }
    assert_eq!(Smtp::connect(sender).unwrap_err().kind(), ErrorKind::Config);
}

#[rstest]
fn a_mailbox_name_or_criteria_that_would_break_a_command_is_a_config_error(#[from(embedded)] site: Site) {
    let imap = site.imap();
    let uids = imap.search("ALL").unwrap();
    for name in ["a\r\nb", "a\0b", "a\"b", "né", ""] {
        assert_eq!(imap.copy(&uids, name).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(imap.move_to(&uids, name).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    for criteria in ["", "ALL\r\nx LOGOUT", "SUBJECT {3}", "SUBJECT né", "A\0"] {
        assert_eq!(imap.search(criteria).unwrap_err().kind(), ErrorKind::InvalidInput, "{criteria:?}");
    }
    assert_eq!(imap.search("NONSENSE (").unwrap_err().kind(), ErrorKind::Refused);
    imap.noop().unwrap();
}

#[apply(every_site)]
fn a_message_that_cannot_be_composed_is_a_message_error_and_harms_no_other(#[case] site: Site) {
    let smuggled = "bob@example.test>\r\nRCPT TO:<eve@example.test";
    let outcomes = site.smtp().send_all(&[
        message("", "an empty id"),
        message("good", "hello"),
        Message::new("1", ALICE, smuggled, "a recipient with CR LF"),
        Message::new("1", smuggled, ALICE, "a sender with CR LF"),
        Message::new("1", ALICE, Vec::<String>::new(), "no recipient"),
        message("good too", "hello"),
    ]);
    let kinds: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().map_err(pymail::Error::kind).err()).collect();
    let bad = Some(ErrorKind::Message);
    assert_eq!(kinds, [bad, None, bad, bad, bad, None]);
    wait_until("the good ones", || mail(&site.other_client(), "INBOX").len() == 2);
}

#[apply(every_site)]
#[case::without_pipelining(Site::real(&DovecotOptions::default(), &PostfixOptions { pipelining: false, ..Default::default() }))]
fn a_refused_recipient_has_its_own_answer_and_the_others_get_the_message(#[case] site: Site) {
    let smtp = site.smtp();
    let receipt = smtp.send(&Message::new("1", ALICE, [REFUSED, ALICE, LATER], "hello")).unwrap();
    let codes: Vec<(&str, u16)> = receipt.refused().map(|answer| (&*answer.recipient, answer.code)).collect();
    assert_eq!(codes, [(REFUSED, 550), (LATER, 450)]);
    let errors: Vec<_> = receipt.refused().map(|answer| answer.result().unwrap_err()).collect();
    assert_eq!([errors[0].kind(), errors[1].kind()], [ErrorKind::Refused; 2]);
    assert!(errors[0].is_permanent() && errors[1].is_transient());
    wait_until("the message", || mail(&site.other_client(), "INBOX").len() == 1);
}

#[apply(every_site)]
#[case::without_pipelining(Site::real(&DovecotOptions::default(), &PostfixOptions { pipelining: false, ..Default::default() }))]
fn when_every_recipient_is_refused_the_message_is_refused_and_the_next_is_sent(#[case] site: Site) {
    let outcomes = site.smtp().send_all(&[
        message("1", "first"),
        Message::new("2", ALICE, [REFUSED, REFUSED], "all refused"),
        Message::new("3", ALICE, LATER, "later"),
        message("4", "last"),
    ]);
    let codes: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().err().and_then(pymail::Error::code)).collect();
    assert_eq!(codes, [None, Some("550"), Some("450"), None]);
    wait_until("the two", || mail(&site.other_client(), "INBOX").len() == 2);
}

#[rstest]
#[case::dovecot_and_postfix(Site::real(&DovecotOptions::default(), &PostfixOptions { message_size_limit: 100_000, ..Default::default() }))]
#[case::embedded(crate::fixtures::embedded_with_size_limit(100_000))]
fn a_body_over_the_servers_size_is_too_large_and_harms_no_other(#[case] site: Site) {
    let smtp = site.smtp();
    let outcomes = smtp.send_all(&[message("1", "a"), message("2", vec![0; 200_000]), message("3", "b")]);
    let kinds: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().map_err(pymail::Error::kind).err()).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::TooLarge), None]);
    assert_eq!(smtp.send(&message("4", vec![0; 200_000])).unwrap_err().kind(), ErrorKind::TooLarge);
    wait_until("the small ones", || mail(&site.other_client(), "INBOX").len() == 2);
}

#[apply(every_site)]
fn credentials_never_go_unencrypted_over_a_network(#[case] site: Site) {
    let open = || Server::unencrypted("mail.example.test");
    assert_eq!(both(&site, open), [ErrorKind::Config; 2]);
}

#[rstest]
fn unencrypted_works_on_the_loopback_for_who_asks_for_it(#[from(postfix)] site: Site) {
    let plain = Server::unencrypted("localhost").port(site.dovecot().imap_port());
    imap(&site, plain).unwrap().noop().unwrap();
}
