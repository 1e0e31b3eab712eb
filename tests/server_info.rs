//! Tests of `probe`, `server_info` and `append`.

use std::net::TcpListener;
use std::time::{Duration, SystemTime};

use pymail::{Credentials, ErrorKind, Imap, ImapConfig, Server, Smtp, SmtpConfig};
use rstest::rstest;
use rstest_reuse::apply;

use crate::fixtures::{every_site, postfix};
use crate::mail_site::{ALICE, Site, TAG};
use crate::support::script::{Script, Step};

fn credentials() -> Credentials {
    Credentials::new(ALICE, "not the password")
}

#[apply(every_site)]
fn a_server_tells_about_itself_without_a_login(#[case] site: Site) {
    let imap = Imap::probe(&ImapConfig::new(site.imaps_server(), credentials())).unwrap();
    let starttls = Imap::probe(&ImapConfig::new(site.imap_server(), credentials())).unwrap();
    for info in [&imap, &starttls] {
        let tls = info.tls.as_ref().unwrap();
        assert!(tls.version.starts_with("TLSv1.") && !tls.cipher.is_empty(), "{tls:?}");
        assert!(tls.names.contains(&"localhost".to_owned()), "{tls:?}");
        assert!(tls.not_before < SystemTime::now() && SystemTime::now() < tls.not_after, "{tls:?}");
        assert!(info.capabilities.iter().any(|name| name.starts_with("IMAP4REV1")), "{info:?}");
        assert!(!info.greeting.is_empty() && !info.mechanisms.is_empty(), "{info:?}");
        assert!(info.archive.is_none() && info.delimiter.is_none(), "{info:?}");
    }
    let smtp = Smtp::probe(&SmtpConfig::new(site.smtp_server(), site.credentials())).unwrap();
    assert!(!smtp.greeting.is_empty() && !smtp.capabilities.is_empty(), "{smtp:?}");
    let json = serde_json::to_string(&(&imap, &smtp)).unwrap();
    assert!(json.contains("\"capabilities\"") && !json.contains("not the password"), "{json}");

    let info = site.imap().server_info().unwrap();
    assert_eq!(info.archive, Some(site.mailbox(TAG)));
    let has_revision = info.capabilities.iter().any(|name| name.starts_with("IMAP4REV1"));
    assert!(has_revision && info.delimiter.is_some(), "{info:?}");
}

#[rstest]
fn a_chain_is_named_up_to_the_trusted_certificate(#[from(postfix)] site: Site) {
    let info = Smtp::probe(&SmtpConfig::new(site.smtp_server(), site.credentials())).unwrap();
    let tls = info.tls.unwrap();
    assert_eq!(tls.issuer, "pymail test authority");
    // Python 3.9 does not tell.
    assert!(tls.chain.is_empty() || tls.chain == ["localhost", "pymail test authority"], "{tls:?}");
    assert_eq!(info.mechanisms, ["PLAIN", "LOGIN"]);
    assert!(info.capabilities.contains(&"SIZE 60000000".to_owned()), "{:?}", info.capabilities);
}

#[test]
fn a_probe_fails_as_connecting_does() {
    let config = |server| ImapConfig::new(server, credentials());
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = Server::tls("127.0.0.1").port(silent.local_addr().unwrap().port());
    let briefly = Duration::from_millis(300);
    assert_eq!(Imap::probe(&config(silent).timeout(briefly)).unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(Imap::probe(&config(Server::tls(""))).unwrap_err().kind(), ErrorKind::Config);
    let closing = Script::imap(&[]).on("GREETING", |_| Step::SayAndClose("* BYE busy\r\n".into())).start();
    let server = Server::unencrypted("localhost").port(closing.port());
    assert_eq!(Imap::probe(&config(server)).unwrap_err().kind(), ErrorKind::Connect);
}

#[rstest]
fn a_mail_is_stored_as_it_is(#[from(postfix)] site: Site) {
    let imap = site.imap();
    let mail = format!("Subject: {TAG} 1\r\n\r\nhello {{5}}\r\n\u{e9}\r\n");
    imap.append("INBOX", mail.as_bytes()).unwrap();
    let stored = imap.fetch_uids(&imap.search("SEEN").unwrap()).unwrap();
    assert_eq!(stored[0].octets, mail.as_bytes());
    assert_eq!(imap.append("", b"x").unwrap_err().kind(), ErrorKind::InvalidInput);
    for mail in [&b""[..], b"Subject: 1\r\n\r\n\0"] {
        assert_eq!(imap.append("INBOX", mail).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let missing = imap.append("no such mailbox", mail.as_bytes()).unwrap_err();
    assert_eq!((missing.kind(), missing.code()), (ErrorKind::Refused, Some("TRYCREATE")));
}

#[test]
fn a_mail_whose_storing_was_not_confirmed_is_not_stored_again() {
    let server = Script::imap(&[]).says("APPEND", "+ go on\r\n").on("Subject:", |_| Step::Close).start();
    let config = ImapConfig::new(Server::unencrypted("localhost").port(server.port()), credentials());
    let imap = Imap::connect(config.heartbeat(Duration::from_secs(3_600))).unwrap();
    let error = imap.append("INBOX", b"Subject: 1\r\n\r\nx\r\n").unwrap_err();
    assert_eq!((error.kind(), server.heard("APPEND").len()), (ErrorKind::OutcomeUnknown, 1), "{error:?}");
}
