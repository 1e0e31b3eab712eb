//! Settings that `check` refuses.

use rstest::rstest;

use super::*;
use crate::ErrorKind;

fn config() -> ImapConfig {
    ImapConfig::new(Server::tls("mail.test"), Credentials::new("alice", "hunter2"))
}

#[rstest]
#[case::cr("a\rb")]
#[case::lf("a\nb")]
#[case::nul("a\0b")]
#[case::quote("a\"b")]
#[case::non_ascii("naïve")]
#[case::blank("a b")]
#[case::empty("")]
fn a_tag_that_could_break_a_command_is_a_config_error(#[case] tag: &str) {
    assert_eq!(config().tag(tag).check().unwrap_err().kind(), ErrorKind::Config);
}

#[rstest]
#[case::cr("a\rb")]
#[case::lf("a\nb")]
#[case::nul("a\0b")]
#[case::quote("a\"b")]
#[case::non_ascii("Entwürfe")]
#[case::empty("")]
fn a_mailbox_name_that_could_break_a_command_is_a_config_error(#[case] name: &str) {
    assert_eq!(config().archive(name).check().unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(config().inbox(name).check().unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn the_archive_is_not_the_inbox() {
    assert_eq!(config().tag("inbox").check().unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn credentials_go_unencrypted_to_the_loopback_only() {
    let with =
        |host: &str| SmtpConfig::new(Server::unencrypted(host), Credentials::new("alice", "hunter2")).check();
    assert_eq!(with("mail.test").unwrap_err().kind(), ErrorKind::Config);
    assert!(with("127.0.0.1").is_ok() && with("localhost").is_ok() && with("localhost.").is_ok());
    assert!(with("127.0.0.1.").is_err(), "a name, which may be any host's");
    assert!(SmtpConfig::new(Server::unencrypted("mail.test"), Credentials::none()).check().is_ok());
}

#[test]
fn through_a_proxy_credentials_go_unencrypted_to_the_loopback_only() {
    let with = |host: &str, proxy: &str| {
        let server = Server::unencrypted(host).proxy(Proxy::socks5(proxy, 1080));
        SmtpConfig::new(server, Credentials::new("alice", "hunter2")).check().map_err(|error| error.kind())
    };
    assert_eq!(with("localhost", "127.0.0.1"), Ok(()));
    // The loopback of the proxy's machine, and another host by a proxy of this machine.
    assert_eq!(with("localhost", "proxy.test"), Err(ErrorKind::Config));
    assert_eq!(with("mail.test", "localhost"), Err(ErrorKind::Config));
    let connector = Server::unencrypted("mail.test").connector(|_| Err(std::io::ErrorKind::Other.into()));
    assert!(SmtpConfig::new(connector, Credentials::new("alice", "hunter2")).check().is_err());
}

#[rstest]
#[case::no_host(Proxy::http("", 1))]
#[case::blank(Proxy::socks5("a proxy", 1))]
#[case::line(Proxy::http("proxy\r\nX: y", 1))]
#[case::socks5_user(Proxy::socks5("p", 1).login("", "hunter2"))]
#[case::socks5_password(Proxy::socks5("p", 1).login("alice", ""))]
#[case::socks5_long(Proxy::socks5("p", 1).login("alice", "hunter2".repeat(37)))]
#[case::http_colon(Proxy::http("p", 1).login("a:lice", "hunter2"))]
#[case::http_line(Proxy::http("p", 1).login("alice", "hunter2\r\n"))]
fn a_proxy_that_can_not_work_is_a_config_error(#[case] proxy: Proxy) {
    assert!(!format!("{proxy:?}").contains("hunter2"));
    let config = SmtpConfig::new(Server::tls("mail.test").proxy(proxy), Credentials::none());
    let error = config.check().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(!format!("{error:?} {config:?}").contains("hunter2"), "{error}");
}

#[test]
fn the_last_way_to_a_server_counts() {
    let proxy = Proxy::socks5("p", 1);
    let server = Server::tls("mail.test").connector(|_| Err(std::io::ErrorKind::Other.into()));
    assert_eq!(server.clone().proxy(proxy.clone()).get_proxy(), Some(&proxy));
    assert_eq!(server.clone().proxy(proxy).proxy(None), Server::tls("mail.test"));
    assert!(server == server.clone() && server != Server::tls("mail.test") && server.get_proxy().is_none());
    assert!(format!("{server:?}").contains("Connector(..)"));
}

#[test]
fn an_absolute_host_name_is_verified_without_its_dot() {
    assert_eq!(Server::tls("mail.test.").host_without_dot(), "mail.test");
    assert_eq!(Server::tls("mail.test").host_without_dot(), "mail.test");
    assert!(SmtpConfig::new(Server::tls("."), Credentials::none()).check().is_err());
}

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nczNjcmV0\n-----END PRIVATE KEY-----\n";
const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n";
const OLD_ENCRYPTED: &str =
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAA==\n-----END RSA PRIVATE KEY-----\n";

#[rstest]
#[case::no_certificate("", KEY, "contains no certificate")]
#[case::no_key(CERTIFICATE, CERTIFICATE, "contains no private key")]
#[case::half_a_key(CERTIFICATE, &KEY[..40], "contains no private key")]
#[case::encrypted(CERTIFICATE, ENCRYPTED, "is encrypted")]
#[case::encrypted_as_long_ago(CERTIFICATE, OLD_ENCRYPTED, "is encrypted")]
fn a_client_certificate_without_a_usable_key_is_a_config_error(
    #[case] certificates: &str,
    #[case] key: &str,
    #[case] told: &str,
) {
    let server = Server::tls("mail.test").client_certificate_pem(certificates, key);
    let error = SmtpConfig::new(server, Credentials::none()).check().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains(told), "{error}");
}

#[test]
fn a_client_certificate_is_taken_out_of_any_text_and_its_key_is_never_shown() {
    let text = format!("Bag\n{KEY}subject=b\u{fc}cher\n{CERTIFICATE}more\n{CERTIFICATE}");
    let server = Server::tls("mail.test").client_certificate_pem(&*text, &*text);
    assert_eq!(
        server.identity.as_ref().map(|identity| identity.pem().replace('\n', "")),
        Some([CERTIFICATE, CERTIFICATE, KEY].concat().replace('\n', ""))
    );
    let config = SmtpConfig::new(server, Credentials::none());
    assert!(config.check().is_ok());
    assert!(!format!("{config:?}").contains("czNjcmV0"), "{config:?}");
}

#[test]
fn a_client_certificate_needs_encryption() {
    let server = Server::unencrypted("localhost").client_certificate_pem(CERTIFICATE, KEY);
    assert_eq!(SmtpConfig::new(server, Credentials::none()).check().unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn a_name_for_ehlo_is_one_word() {
    let with =
        |name: &str| SmtpConfig::new(Server::tls("mail.test"), Credentials::none()).hello_name(name).check();
    assert!(with("app.example.org").is_ok() && with("[192.0.2.1]").is_ok());
    assert!(with("").is_err() && with("two words").is_err() && with("a\r\nQUIT").is_err());
}

#[test]
fn a_pem_text_without_a_certificate_and_an_endless_wait_are_config_errors() {
    let trusting = |pem: &str| {
        SmtpConfig::new(Server::tls("mail.test").add_root_certificate_pem(pem), Credentials::none()).check()
    };
    assert_eq!(trusting("").unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(trusting("-----BEGIN CERTIFICATE-----").unwrap_err().kind(), ErrorKind::Config);
    assert!(trusting("é\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_ok());
    assert_eq!(config().timeout(Duration::MAX).check().unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(config().heartbeat(Duration::ZERO).check().unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn no_limit_leaves_room_to_add_one() {
    let config =
        config().batch(usize::MAX).batch_bytes(usize::MAX).max_message(usize::MAX).dedup_window(usize::MAX);
    config.check().unwrap();
    assert!(config.batch.checked_add(1).is_some());
    assert_eq!(config.max_message + 1, i32::MAX as usize, "the largest octet count that every server takes");
}

#[test]
fn what_was_set_can_be_read() {
    let second = Duration::from_secs(1);
    let set = config().tag("__APP__").timeout(second).heartbeat(2 * second).shared(5 * second).batch(7);
    assert_eq!((set.get_tag(), set.get_timeout(), set.get_heartbeat()), ("__APP__", second, 2 * second));
    assert_eq!((set.get_shared(), set.get_batch()), (Some(5 * second), 7));
    assert_eq!((set.get_inbox(), set.get_archive(), set.get_dedup_window()), ("INBOX", "__APP__", 10_000));
    assert_eq!((set.get_server().get_host(), set.get_server().get_port()), ("mail.test", None));
    assert_eq!(set.get_credentials().get_user(), Some("alice"));
    let smtp = SmtpConfig::new(Server::tls("mail.test"), Credentials::none()).hello_name("a.test").window(9);
    assert_eq!((smtp.get_hello_name(), smtp.get_window(), smtp.get_connections()), (Some("a.test"), 9, 1));
    assert_eq!((smtp.get_heartbeat(), smtp.get_max_connects_per_minute()), (30 * second, 30));
}

#[test]
fn debug_never_shows_the_password() {
    assert!(!format!("{:?}", config()).contains("hunter2"));
}
