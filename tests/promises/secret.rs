//! Secret: TLS is verified, and no secret is shown anywhere.

use std::fmt;

use pymail::{Credentials, Imap, ImapConfig, Proxy, Server, Smtp, SmtpConfig};
use rstest::rstest;
use rstest_reuse::apply;

use crate::fixtures::every_site;
use crate::mail_site::{ALICE, Site, message, shown};
use crate::support::events::Events;
use crate::support::process::free_port;
use crate::support::proxy::{self, ProxyOptions};

/// Easy to find, and with characters that IMAP quotes.
const MARKED: &str = r#"mar"ked \ s3cret"#;

/// As an access token, which has no spaces.
const MARKED_TOKEN: &str = "mar.ked-s3cret";

fn assert_hidden(what: impl fmt::Display) {
    let text = what.to_string();
    // The last ones are of the token, at each place in base64.
    let encoded = ["bWFyImtlZCBcIHMzY3JldA", "AG1hciJr", "czNjcmV0", "MzY3JldA", "zM2NyZX"];
    for secret in [MARKED, "s3cret"].into_iter().chain(encoded) {
        assert!(!text.contains(secret), "{text}");
    }
}

/// Returns configurations with the marked password that fail in every way of connecting.
fn failing(site: &Site) -> Vec<Server> {
    vec![
        site.imaps_server(),
        site.imap_server(),
        site.smtp_server(),
        Server::tls("localhost").port(free_port()),
        Server::tls("no-such-host.invalid"),
        Server::unencrypted("mail.example.test"),
        Server::tls(""),
    ]
}

#[apply(every_site)]
fn a_password_is_in_no_error_no_debug_and_no_trace(#[case] site: Site) {
    let marked = if site.takes_tokens() { MARKED_TOKEN } else { MARKED };
    let events = Events::default();
    tracing::subscriber::with_default(events.clone(), || {
        for server in failing(&site) {
            let credentials = || site.credentials_with(marked);
            let brief = std::time::Duration::from_secs(2);
            let imap = ImapConfig::new(server.clone(), credentials()).timeout(brief);
            let smtp = SmtpConfig::new(server, credentials()).timeout(brief);
            assert_hidden(format!("{imap:?} {smtp:?}"));
            assert_hidden(shown(&Imap::connect(imap).unwrap_err()));
            assert_hidden(shown(&Smtp::connect(smtp).unwrap_err()));
        }
    });
    assert_hidden(events.text());
}

#[apply(every_site)]
fn a_handle_shows_no_password(#[case] site: Site) {
    let (imap, smtp) = (site.imap(), site.smtp());
    let receipt = smtp.send(&message("1", "a")).unwrap();
    let deliveries = imap.fetch().unwrap().into_deliveries();
    let all = format!("{imap:?} {smtp:?} {receipt:?} {:?} {deliveries:?}", imap.status());
    // No text that a random Message-ID, which is in hex, can contain.
    let words = ["horse", "cor\"rect", "battery staple"].map(str::to_owned);
    for word in site.secrets().iter().chain(&words) {
        assert!(!all.contains(word), "{all}");
    }
}

#[rstest]
fn the_password_of_a_proxy_is_in_no_error_no_debug_and_no_trace() {
    let running = proxy::Proxy::start(ProxyOptions {
        login: Some((ALICE.into(), "another".into())),
        ..ProxyOptions::default()
    });
    let events = Events::default();
    tracing::subscriber::with_default(events.clone(), || {
        for proxy in [Proxy::socks5("127.0.0.1", running.port()), Proxy::http("127.0.0.1", running.port())] {
            let server = || Server::tls("mail.example.test").proxy(proxy.clone().login(ALICE, MARKED));
            let imap = ImapConfig::new(server(), Credentials::new(ALICE, "a"));
            let smtp = SmtpConfig::new(server(), Credentials::none());
            assert_hidden(format!("{imap:?} {smtp:?}"));
            assert_hidden(shown(&Imap::connect(imap).unwrap_err()));
            assert_hidden(shown(&Smtp::connect(smtp).unwrap_err()));
        }
    });
    assert_hidden(events.text());
}
