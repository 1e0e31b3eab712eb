//! Client certificates: shown to a server that asks, and each refusal said in words.

use std::fs;
use std::time::Duration;

use pymail::{Credentials, Error, ErrorKind, Imap, ImapConfig, Server, Smtp, SmtpConfig};
use rstest::rstest;
use tempfile::TempDir;

use crate::mail_site::{ALICE, Site, TAG, message};
use crate::support::certs::{Authority, Issued};
use crate::support::dovecot::{Dovecot, DovecotOptions, HOST, PASSWORD};
use crate::support::files::{path_for_servers, shared_folder};
use crate::support::postfix::PostfixOptions;
use crate::support::tls_server::{
    Protocol::{self, Imap as IMAP, Smtp as SMTP},
    TlsServer, TlsServerOptions,
};

/// A server of one authority, which demands certificates of another.
struct Demanding {
    server: TlsServer,
    way: &'static str,
    protocol: Protocol,
    authority: Authority,
    clients: Authority,
}

impl Demanding {
    fn start(protocol: Protocol, way: &'static str, version: Option<&str>) -> Self {
        let (authority, clients) = (Authority::new(), Authority::new());
        let issued = authority.issue(&["localhost"]);
        let options = TlsServerOptions { protocol, way, issued: &issued, version };
        let server = TlsServer::demanding(&options, clients.pem());
        Self { server, way, protocol, authority, clients }
    }

    /// Connects with a certificate, or without one.
    fn meet(&self, client: Option<(&str, &str)>) -> Result<(), Error> {
        let at = if self.way == "tls" { Server::tls("localhost") } else { Server::starttls("localhost") };
        let at = at.port(self.server.port()).add_root_certificate_pem(self.authority.pem());
        let at = client.into_iter().fold(at, |at, (pem, key)| at.client_certificate_pem(pem, key));
        let credentials = Credentials::new(ALICE, "s3cret");
        let never = Duration::from_secs(3_600);
        match self.protocol {
            IMAP => {
                let config = ImapConfig::new(at, credentials).tag(TAG).heartbeat(never);
                Imap::connect(config).and_then(|imap| imap.search("ALL").map(drop))
            }
            SMTP => {
                let config = SmtpConfig::new(at, credentials).tag(TAG).heartbeat(never);
                Smtp::connect(config).and_then(|smtp| smtp.noop())
            }
        }
    }
}

fn both(issued: &Issued) -> (&str, &str) {
    (&issued.cert_pem, &issued.key_pem)
}

#[rstest]
fn a_server_that_demands_a_certificate_gets_it(
    #[values(IMAP, SMTP)] protocol: Protocol,
    #[values("tls", "starttls")] way: &'static str,
    #[values("TLSv1_2", "TLSv1_3")] version: &str,
) {
    let server = Demanding::start(protocol, way, Some(version));
    let client = server.clients.issue_client("app");
    // Twice: the second connection shows it, too.
    server.meet(Some(both(&client))).expect("it connects");
    server.meet(Some(both(&client))).expect("it connects");
}

/// In TLS 1.3, the refusal comes after the handshake.
#[rstest]
fn a_server_that_demands_a_certificate_and_gets_none_is_a_tls_error_that_says_so(
    #[values(IMAP, SMTP)] protocol: Protocol,
    #[values("tls", "starttls")] way: &'static str,
    #[values("TLSv1_2", "TLSv1_3")] version: &str,
) {
    let server = Demanding::start(protocol, way, Some(version));
    let error = server.meet(None).expect_err("it demands a certificate");
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
    assert!(error.to_string().contains("requires a client certificate"), "{error}");
    assert!(error.to_string().contains("Server::client_certificate_pem"), "{error}");
}

#[rstest]
fn a_certificate_by_an_unknown_authority_is_a_tls_error_that_says_so(
    #[values(IMAP, SMTP)] protocol: Protocol,
    #[values("tls", "starttls")] way: &'static str,
    #[values("TLSv1_2", "TLSv1_3")] version: &str,
) {
    let server = Demanding::start(protocol, way, Some(version));
    let error =
        server.meet(Some(both(&Authority::new().issue_client("app")))).expect_err("it is not trusted");
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
    assert!(error.to_string().contains("does not know the authority of the client certificate"), "{error}");
}

#[rstest]
fn a_key_of_another_certificate_is_a_config_error(
    #[values(IMAP, SMTP)] protocol: Protocol,
    #[values("tls", "starttls")] way: &'static str,
) {
    let server = Demanding::start(protocol, way, None);
    let (one, other) = (server.clients.issue_client("app"), server.clients.issue_client("app"));
    let error = server.meet(Some((&one.cert_pem, &other.key_pem))).expect_err("they don't fit");
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    assert!(error.to_string().contains("the private key is another certificate's"), "{error}");
    let garbage = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let error = server.meet(Some((&one.cert_pem, garbage))).expect_err("it is no key");
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    assert!(error.to_string().contains("the client certificate: it can't be used"), "{error}");
}

#[rstest]
fn smtp_logs_in_by_certificate_alone() {
    let server = Demanding::start(SMTP, "tls", None);
    let client = server.clients.issue_client("app");
    let at = Server::tls("localhost").port(server.server.port());
    let at = at.add_root_certificate_pem(server.authority.pem());
    let at = at.client_certificate_pem(&*client.cert_pem, &*client.key_pem);
    Smtp::connect(SmtpConfig::new(at, Credentials::external("app"))).expect("it connects");
    let heard = server.server.heard().encrypted;
    assert!(heard.contains("\r\nAUTH EXTERNAL YXBw\r\n"), "{heard}");
}

/// Writes the authority of clients to a file; returns its path.
fn file_of(clients: &Authority, folder: &TempDir) -> String {
    let file = folder.path().join("clients.pem");
    fs::write(&file, clients.pem()).expect("the authority of clients");
    path_for_servers(&file)
}

#[rstest]
fn dovecot_takes_logins_of_clients_with_a_certificate_only() {
    let (clients, folder) = (Authority::new(), shared_folder());
    let file = file_of(&clients, &folder);
    let extra = format!(
        "ssl_ca = <{file}\nssl_require_crl = no\nssl_verify_client_cert = yes\nauth_ssl_require_client_cert = yes\n"
    );
    let dovecot = Dovecot::with(&DovecotOptions { extra, ..DovecotOptions::default() });
    dovecot.deliver(ALICE, format!("Subject: {TAG} 1\r\n\r\nhello\r\n").as_bytes());
    let client = clients.issue_client(ALICE);
    let servers =
        [Server::tls(HOST).port(dovecot.imaps_port()), Server::starttls(HOST).port(dovecot.imap_port())];
    for server in servers.map(|server| server.add_root_certificate_pem(dovecot.ca_pem())) {
        let connect =
            |server| Imap::connect(ImapConfig::new(server, Credentials::new(ALICE, PASSWORD)).tag(TAG));
        // Dovecot takes the connection, and refuses the login.
        let refused = connect(server.clone()).expect_err("Dovecot demands a certificate");
        assert!(refused.to_string().contains("certificate"), "{refused:?}");
        let imap = connect(server.client_certificate_pem(&*client.cert_pem, &*client.key_pem));
        let batch = imap.expect("IMAP connects").fetch().expect("the message");
        assert_eq!(batch.len(), 1);
    }
}

#[rstest]
fn dovecot_takes_a_login_by_certificate_alone() {
    let (clients, folder) = (Authority::new(), shared_folder());
    let file = file_of(&clients, &folder);
    let extra = format!(
        "ssl_ca = <{file}\nssl_require_crl = no\nssl_verify_client_cert = yes\nauth_ssl_username_from_cert = yes\n\
         auth_mechanisms = plain external\n\
         passdb {{\n  driver = static\n  mechanisms = external\n  args = nopassword\n}}\n"
    );
    let dovecot = Dovecot::with(&DovecotOptions { extra, ..DovecotOptions::default() });
    let client = clients.issue_client(ALICE);
    let server = Server::tls(HOST).port(dovecot.imaps_port()).add_root_certificate_pem(dovecot.ca_pem());
    let without = ImapConfig::new(server.clone(), Credentials::external(ALICE));
    assert_eq!(Imap::connect(without).unwrap_err().kind(), ErrorKind::Config);
    let server = server.client_certificate_pem(&*client.cert_pem, &*client.key_pem);
    let connect =
        |user: &str| Imap::connect(ImapConfig::new(server.clone(), Credentials::external(user)).tag(TAG));
    assert_eq!(connect(ALICE).expect("it connects").search("ALL").unwrap().len(), 0);
    let refused = connect("eve@example.test").expect_err("the certificate is Alice's");
    assert_eq!(refused.kind(), ErrorKind::Auth, "{refused:?}");
}

#[rstest]
fn postfix_takes_mail_of_clients_with_a_certificate_only() {
    let (clients, folder) = (Authority::new(), shared_folder());
    let extra = format!("smtpd_tls_CAfile = {}\nsmtpd_tls_req_ccert = yes\n", file_of(&clients, &folder));
    let postfix = PostfixOptions { extra, ..PostfixOptions::default() };
    let site = Site::real(&DovecotOptions::default(), &postfix);
    let client = clients.issue_client(ALICE);
    let connect = |server| Smtp::connect(SmtpConfig::new(server, site.smtp_credentials()).tag(TAG));
    let refused = connect(site.smtp_server()).expect_err("Postfix demands a certificate");
    assert_eq!(refused.kind(), ErrorKind::Tls, "{refused:?}");
    assert!(refused.to_string().contains("requires a client certificate"), "{refused}");
    let with = site.smtp_server().client_certificate_pem(&*client.cert_pem, &*client.key_pem);
    let sender = connect(with).expect("SMTP connects");
    assert!(sender.send(&message("1", "hello")).unwrap().all_accepted());
}
