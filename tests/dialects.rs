//! The limits, throttling, labels, lying searches and certificates of each provider, by its dialect.
//!
//! The promise tests run on each dialect, too (`every_site`). All dialects are from documents: see
//! `tests/support/dialect`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pymail::{
    AccessToken, Credentials, Error, ErrorKind, Imap, ImapConfig, Server, Smtp, SmtpConfig, State,
    TokenRequest,
};
use rstest::rstest;

use crate::mail_site::{ALICE, Provider, Site, TAG, mail, message};
use crate::support::dialect::{
    ALL, Dialect, DialectProxy, GMAIL, ImapDialect, MICROSOFT, NETEASE, PROTON, QQ, TOKEN, YAHOO, YANDEX,
};
use crate::support::process::wait_until;

const NEVER: Duration = Duration::from_secs(3_600);

fn on(dialect: &Dialect) -> Site {
    Site::dialect(dialect)
}

fn provider(site: &Site) -> &Provider {
    site.provider().expect("a site that speaks a dialect")
}

fn proxy(site: &Site) -> &DialectProxy {
    &provider(site).imap
}

/// Connects without heartbeats, so that no command comes but the test's.
fn quiet(site: &Site) -> Imap {
    Imap::connect(site.imap_config().heartbeat(NEVER).recheck(NEVER)).unwrap()
}

fn ids(imap: &Imap) -> Vec<String> {
    imap.fetch().unwrap().iter().map(|delivery| delivery.message().unwrap().id.clone()).collect()
}

#[test]
fn each_table_offers_the_login_that_it_takes_and_all_refusals_have_names() {
    for dialect in ALL {
        let ImapDialect { before_login, refusals, .. } = dialect.imap;
        assert!(
            before_login.contains("AUTH=") || !before_login.contains("LOGINDISABLED"),
            "{}",
            dialect.name
        );
        for (name, text) in refusals {
            assert!(!name.is_empty() && text.ends_with("\r\n"), "{}: {name}", dialect.name);
        }
        assert!(dialect.smtp.extensions.iter().any(|it| it.starts_with("AUTH ")), "{}", dialect.name);
    }
}

// Gmail

#[rstest]
fn gmail_keeps_deleted_mail_in_all_mail_and_acknowledged_mail_under_its_label() {
    let site = on(&GMAIL);
    site.plant(&[], "From: eve@example.test\nSubject: lunch\n\nforeign\n");
    site.deliver(&[message("1", "a"), message("2", "b")]);
    let imap = quiet(&site);
    imap.fetch().unwrap().ack().unwrap();
    imap.delete(&imap.search("SUBJECT lunch").unwrap()).unwrap();
    let other = site.other_client();
    assert_eq!(mail(&other, "INBOX").len(), 0);
    assert_eq!(mail(&other, TAG).len(), 2);
    assert_eq!(mail(&other, "[Gmail]/All Mail").len(), 1, "it has lost a label, and is not deleted");
    assert_eq!(ids(&imap), Vec::<String>::new());
}

#[rstest]
fn gmail_refuses_the_sixteenth_connection_for_now() {
    let site = on(&GMAIL);
    let mut handles: Vec<Imap> = (0..15).map(|_| quiet(&site)).collect();
    let error = Imap::connect(site.imap_config()).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, Some("ALERT")), "{error:?}");
    assert!(error.is_transient(), "{error:?}");
    handles.pop().unwrap().close().unwrap();
    wait_until("a free connection", || Imap::connect(site.imap_config()).is_ok());
}

#[rstest]
#[case::bandwidth("bandwidth", Some("OVERQUOTA"))]
#[case::system_error("system error", None)]
fn gmail_can_refuse_a_fetch_and_the_message_comes_later(
    #[case] refusal: &str,
    #[case] code: Option<&str>,
    #[values("UID SEARCH", "UID FETCH", "UID MOVE")] command: &str,
) {
    let site = on(&GMAIL);
    site.deliver(&[message("1", "a")]);
    let imap = quiet(&site);
    proxy(&site).refuse(command, refusal, 1_000);
    let refused = imap.fetch().and_then(|batch| batch.ack());
    if let Err(error) = &refused {
        assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, code), "{error:?}");
        assert!(error.is_transient(), "{error:?}");
    }
    assert_eq!(mail(&site.other_client(), "INBOX").len(), 1);
    assert_eq!(mail(&site.other_client(), TAG).len(), 0);
    proxy(&site).refuse_no_more();
    wait_until("the message", || imap.fetch_and_ack().is_ok_and(|batch| batch.len() == 1));
    assert_eq!(mail(&site.other_client(), TAG).len(), 1);
}

#[rstest]
fn gmail_ends_sessions_and_a_consumer_receives_in_spite_of_that() {
    let session = Some((Duration::from_secs(2), "BYE Session expired, please login again."));
    let site = on(&Dialect { imap: ImapDialect { session, ..GMAIL.imap }, ..GMAIL });
    let config = || site.imap_config().heartbeat(Duration::from_millis(100)).max_connects_per_minute(600);
    // A busy machine may take longer than a session lasts.
    let imap = std::iter::from_fn(|| Some(Imap::connect(config()))).find_map(Result::ok).unwrap();
    let smtp = site.smtp();
    for id in ["1", "2", "3"] {
        let connections = proxy(&site).connections();
        wait_until("another session", || proxy(&site).connections() > connections);
        assert!(smtp.send(&message(id, "a")).unwrap().all_accepted());
        let delivery = imap.consume().next().unwrap().unwrap();
        assert_eq!(delivery.message().unwrap().id, id);
        wait_until("the acknowledgement", || imap.ack([&delivery]).is_ok());
    }
    assert_eq!(mail(&site.other_client(), TAG).len(), 3);
}

// Microsoft 365

fn assert_wait(error: &Error) {
    let wait = error.retry_after().unwrap_or_else(|| panic!("a wait: {error:?}"));
    assert!(wait <= Duration::from_secs(40) && wait > Duration::from_secs(10), "{wait:?}");
    assert!(error.is_transient(), "{error:?}");
}

#[rstest]
fn microsofts_back_off_is_returned_and_the_message_comes_later(
    #[values("UID SEARCH", "UID FETCH")] command: &str,
) {
    let site = on(&MICROSOFT);
    site.deliver(&[message("1", "a")]);
    let imap = quiet(&site);
    proxy(&site).refuse(command, "throttled", 1);
    assert_wait(&imap.fetch().unwrap_err());
    assert_eq!(imap.fetch_and_ack().unwrap().len(), 1);
    assert_eq!(mail(&site.other_client(), TAG).len(), 1);
}

#[rstest]
fn microsoft_gets_no_connection_before_the_end_of_its_back_off() {
    let site = on(&MICROSOFT);
    let imap = quiet(&site);
    proxy(&site).refuse("NOOP", "throttled and closed", 1);
    assert_wait(&imap.noop().unwrap_err());
    let connections = proxy(&site).connections();
    for _ in 0..3 {
        assert_wait(&imap.noop().unwrap_err());
        assert_eq!(imap.status().state, State::Throttled);
    }
    assert_eq!(proxy(&site).connections(), connections);
}

/// Notes each request for a token.
fn requests() -> (Credentials, Arc<Mutex<Vec<bool>>>) {
    let renewals = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&renewals);
    let credentials = Credentials::oauth2(ALICE, move |request: TokenRequest| {
        noted.lock().unwrap().push(request.renew);
        Ok(AccessToken::new(TOKEN))
    });
    (credentials, renewals)
}

#[rstest]
#[case::not_connected("not connected")]
#[case::token_ended("token ended")]
fn microsofts_useless_sessions_are_replaced_with_another_token(
    #[case] refusal: &str,
    #[values("UID SEARCH", "UID FETCH", "UID MOVE")] command: &str,
) {
    let site = on(&MICROSOFT);
    site.deliver(&[message("1", "a"), message("2", "b")]);
    let (credentials, renewals) = requests();
    let config = ImapConfig::new(site.imaps_server(), credentials).tag(TAG);
    let imap = Imap::connect(config.heartbeat(NEVER)).unwrap();
    proxy(&site).refuse(command, refusal, 1);
    assert_eq!(imap.fetch_and_ack().unwrap().len(), 2);
    assert_eq!(mail(&site.other_client(), TAG).len(), 2);
    assert_eq!(*renewals.lock().unwrap(), [false, true]);
    assert_eq!(proxy(&site).connections(), 2);
}

#[rstest]
fn microsofts_refused_token_is_renewed_once_and_its_passwords_are_no_way_in() {
    let site = on(&MICROSOFT);
    let renewals = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&renewals);
    let credentials = move || {
        let noted = Arc::clone(&noted);
        Credentials::oauth2(ALICE, move |request: TokenRequest| {
            noted.lock().unwrap().push(request.renew);
            Ok(AccessToken::new(if request.renew { TOKEN } else { "an-old-token" }))
        })
    };
    Imap::connect(ImapConfig::new(site.imaps_server(), credentials())).unwrap().noop().unwrap();
    Smtp::connect(SmtpConfig::new(site.smtp_server(), credentials())).unwrap().noop().unwrap();
    assert_eq!(*renewals.lock().unwrap(), [false, true, false, true]);
    let password = || Credentials::new(ALICE, site.password());
    let imap = Imap::connect(ImapConfig::new(site.imaps_server(), password())).unwrap_err();
    let smtp = Smtp::connect(SmtpConfig::new(site.smtp_server(), password())).unwrap_err();
    assert_eq!((imap.kind(), smtp.kind()), (ErrorKind::Auth, ErrorKind::Auth));
    assert!(smtp.to_string().contains("5.7.139"), "{smtp}");
}

#[rstest]
#[case::connections("concurrent connections", "432", true)]
#[case::quota("quota", "554", true)]
#[case::basic_auth("basic auth", "550", false)]
fn microsofts_refusals_of_a_message_are_told_apart(
    #[case] refusal: &str,
    #[case] code: &str,
    #[case] is_transient: bool,
) {
    let site = on(&MICROSOFT);
    let smtp = Smtp::connect(site.smtp_config().heartbeat(NEVER)).unwrap();
    provider(&site).smtp.refuse(".", refusal, 1);
    let error = smtp.send(&message("1", "a")).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, Some(code)), "{error:?}");
    assert_eq!(error.is_transient(), is_transient, "{error:?}");
    assert!(smtp.send(&message("1", "a")).unwrap().all_accepted());
    wait_until("one message", || mail(&site.other_client(), "INBOX").len() == 1);
}

#[rstest]
#[case::tenant("tenant", ErrorKind::Auth)]
#[case::basic_auth("basic auth", ErrorKind::Refused)]
fn microsofts_policy_ends_no_handle_and_wants_no_other_token(#[case] refusal: &str, #[case] kind: ErrorKind) {
    let site = on(&MICROSOFT);
    let (credentials, renewals) = requests();
    provider(&site).smtp.refuse("AUTH", refusal, 1);
    let error = Smtp::connect(SmtpConfig::new(site.smtp_server(), credentials.clone())).unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    assert_eq!(*renewals.lock().unwrap(), [false], "another token would be refused, too");
    Smtp::connect(SmtpConfig::new(site.smtp_server(), credentials)).unwrap().noop().unwrap();
}

// Yahoo

#[rstest]
fn under_yahoos_message_limit_all_messages_are_received_and_archived() {
    let after_login =
        "IMAP4rev1 ID MOVE NAMESPACE UIDPLUS LITERAL+ IDLE ENABLE UIDONLY PARTIAL MESSAGELIMIT=3";
    let imap = ImapDialect { message_limit: Some(3), after_login, ..YAHOO.imap };
    let site = on(&Dialect { imap, ..YAHOO });
    let all: Vec<_> = (10..20).map(|n| message(&n.to_string(), "a")).collect();
    site.deliver(&all);
    let imap = quiet(&site);
    let batch = imap.fetch().unwrap();
    assert_eq!(batch.len(), 10);
    batch.ack().unwrap();
    assert_eq!((mail(&site.other_client(), "INBOX").len(), mail(&site.other_client(), TAG).len()), (0, 10));
}

#[rstest]
#[case::yahoo_server_bug(&YAHOO, "server bug", "SERVERBUG")]
#[case::yahoo_rate_limit(&YAHOO, "rate limit", "LIMIT")]
#[case::yandex_backend(&YANDEX, "backend error", "UNAVAILABLE")]
fn a_search_that_fails_for_now_is_a_transient_error_and_the_message_comes_later(
    #[case] dialect: &Dialect,
    #[case] refusal: &str,
    #[case] code: &str,
) {
    let site = on(dialect);
    site.deliver(&[message("1", "a")]);
    let imap = quiet(&site);
    proxy(&site).refuse("UID SEARCH", refusal, 1_000);
    let error = imap.fetch().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, Some(code)), "{error:?}");
    assert!(error.is_transient(), "{error:?}");
    proxy(&site).refuse_no_more();
    wait_until("the message", || imap.fetch_and_ack().is_ok_and(|batch| batch.len() == 1));
}

// QQ and 163

fn assert_only_ours_is_received(site: &Site) {
    site.plant(&[], "From: eve@example.test\nSubject: lunch\n\nforeign\n");
    site.deliver(&[message("1", "a")]);
    site.plant(&[], "From: eve@example.test\nSubject: Re: lunch\n\nforeign\n");
    let imap = quiet(site);
    assert_eq!(ids(&imap), ["1"]);
    imap.fetch().unwrap().ack().unwrap();
    site.deliver(&[message("2", "b")]);
    assert_eq!(imap.fetch_and_ack().unwrap().len(), 1);
    assert_eq!(mail(&site.other_client(), "INBOX").len(), 2);
}

#[rstest]
fn on_qq_whose_search_finds_everything_foreign_mail_stays() {
    let site = on(&QQ);
    assert_only_ours_is_received(&site);
}

#[rstest]
fn on_163_whose_search_finds_nothing_messages_are_received_from_the_first_fetch_on() {
    let site = on(&NETEASE);
    assert_only_ours_is_received(&site);
    let imap = quiet(&site);
    site.deliver(&[message("3", "c")]);
    assert_eq!(ids(&imap), ["3"]);
    assert!(imap.status().reads_subjects);
}

#[rstest]
fn to_163_the_client_says_its_name_before_it_selects() {
    let site = on(&NETEASE);
    quiet(&site).noop().unwrap();
    let heard = proxy(&site).heard("");
    let at = |prefix: &str| heard.iter().position(|command| command.starts_with(prefix)).unwrap();
    assert!(at("ID (\"name\" \"pymail\"") < at("SELECT"), "{heard:?}");
}

// Proton Mail Bridge

#[rstest]
fn protons_own_certificate_is_trusted_only_when_it_is_named() {
    let site = on(&PROTON);
    let ports = site.ports();
    let bare = |port| Server::starttls("127.0.0.1").port(port);
    let credentials = || site.credentials();
    let imap = Imap::connect(ImapConfig::new(bare(ports.imap), credentials())).unwrap_err();
    let smtp = Smtp::connect(SmtpConfig::new(bare(ports.smtp), credentials())).unwrap_err();
    for error in [imap, smtp] {
        assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
        assert!(error.to_string().contains("self-signed"), "{error}");
    }
    let named = |port| bare(port).add_root_certificate_pem(site.ca_pem());
    let smtp = Smtp::connect(SmtpConfig::new(named(ports.smtp), credentials()).tag(TAG)).unwrap();
    assert!(smtp.send(&message("1", "a")).unwrap().all_accepted());
    let imap = Imap::connect(ImapConfig::new(named(ports.imap), credentials()).tag(TAG)).unwrap();
    wait_until("the message", || imap.fetch_and_ack().is_ok_and(|batch| batch.len() == 1));
    assert_eq!(mail(&site.other_client(), TAG).len(), 1, "in Folders, where Proton allows mailboxes");
    assert!(proxy(&site).heard("CREATE").contains(&format!("CREATE \"Folders/{TAG}\"")));
}
