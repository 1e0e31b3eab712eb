//! pymail's own handles through the fault proxy.

use std::time::{Duration, Instant};

use pymail::{ErrorKind, Imap, ImapConfig, Server, Smtp, SmtpConfig};
use rstest::rstest;

use crate::fixtures::postfix;
use crate::mail_site::{Site, TAG, mail, message};
use crate::support::dovecot::dovecot_without;
use crate::support::fault_proxy::{Exchange, Fault, FaultProxy, Place, Plan, Protocol, Route, Security};
use crate::support::postfix::PostfixOptions;
use crate::support::process::wait_until;

const NEVER: Duration = Duration::from_secs(3_600);
const SOON: Duration = Duration::from_millis(1);

/// Short enough to wait for a response that never comes, and long enough for a handshake on a busy machine.
const BRIEFLY: Duration = Duration::from_secs(15);

fn proxy(site: &Site, protocol: Protocol, security: Security) -> FaultProxy {
    let Site::Real { postfix, dovecot } = site else { unreachable!("the real site") };
    let to = match (protocol, security) {
        (Protocol::Imap, Security::Tls) => dovecot.imaps_port(),
        (Protocol::Imap, Security::StartTls) => dovecot.imap_port(),
        (Protocol::Smtp, Security::Tls) => postfix.smtps_port(),
        (Protocol::Smtp, Security::StartTls) => postfix.submission_port(),
    };
    let (shown, trusted_pem) = (&dovecot.issue(), dovecot.ca_pem());
    FaultProxy::start(&Route { protocol, security, to, shown, trusted_pem })
}

fn server(site: &Site, proxy: &FaultProxy, security: Security) -> Server {
    let server = match security {
        Security::Tls => Server::tls("localhost"),
        Security::StartTls => Server::starttls("localhost"),
    };
    server.port(proxy.port()).add_root_certificate_pem(site.ca_pem())
}

fn imap(site: &Site, proxy: &FaultProxy, security: Security) -> Imap {
    let config = ImapConfig::new(server(site, proxy, security), site.credentials()).tag(TAG);
    Imap::connect(config.heartbeat(NEVER)).unwrap()
}

fn smtp(site: &Site, proxy: &FaultProxy, security: Security) -> Smtp {
    let config = SmtpConfig::new(server(site, proxy, security), site.credentials()).tag(TAG);
    Smtp::connect(config.heartbeat(NEVER)).unwrap()
}

/// Returns the commands' first words, and for each `true` if it was encrypted.
fn words(exchanges: &[Exchange]) -> Vec<(String, bool)> {
    let word = |it: &Exchange| it.command.split([' ', ':']).next().unwrap_or_default().to_uppercase();
    exchanges.iter().map(|it| (word(it), it.encrypted)).collect()
}

#[rstest]
fn a_proxy_sees_what_imap_says_inside_tls(
    #[from(postfix)] site: Site,
    #[values(Security::Tls, Security::StartTls)] security: Security,
) {
    let proxy = proxy(&site, Protocol::Imap, security);
    site.deliver(&[message("1", "a")]);
    let imap = imap(&site, &proxy, security);
    assert_eq!(imap.fetch_and_ack().unwrap()[0].message().unwrap().body, b"a");
    imap.close().unwrap();
    let exchanges = proxy.exchanges();
    let words = words(&exchanges);
    let login = words.iter().position(|(word, _)| word == "LOGIN").unwrap();
    let starttls = security == Security::StartTls;
    assert_eq!(words[..login].contains(&("STARTTLS".into(), false)), starttls, "{words:?}");
    assert!(words[login..].iter().all(|(_, encrypted)| *encrypted), "{words:?}");
    let received: Vec<&str> =
        exchanges.iter().filter_map(|it| it.command.strip_prefix("UID ")?.split(' ').next()).collect();
    assert_eq!((received, words.last().unwrap().0.as_str()), (vec!["SEARCH", "FETCH", "MOVE"], "LOGOUT"));
    assert!(exchanges.iter().all(|it| it.down > 0), "{exchanges:?}");
}

#[rstest]
fn a_proxy_sees_what_smtp_says_inside_tls(
    #[from(postfix)] site: Site,
    #[values(Security::Tls, Security::StartTls)] security: Security,
) {
    let proxy = proxy(&site, Protocol::Smtp, security);
    let smtp = smtp(&site, &proxy, security);
    let messages = [message("1", "NOOP\r\n.\r\nQUIT\r\n"), message("2", "x".repeat(100_000))];
    assert!(smtp.send_all(&messages).into_iter().all(|sent| sent.unwrap().all_accepted()));
    smtp.close().unwrap();
    let exchanges = proxy.exchanges();
    let words = words(&exchanges);
    let login = words.iter().position(|(word, _)| word == "AUTH").unwrap();
    let sent = ["AUTH", "MAIL", "RCPT", "DATA", ".", "MAIL", "RCPT", "DATA", ".", "QUIT"];
    assert_eq!(words[login..], sent.map(|word| (word.to_owned(), true)));
    assert_eq!(
        words[..login].contains(&("STARTTLS".into(), false)),
        security == Security::StartTls,
        "{words:?}"
    );
    assert!(exchanges[login + 8].up > 130_000 && exchanges.iter().all(|it| it.down > 0), "{exchanges:?}");
}

#[rstest]
fn a_lost_answer_to_a_message_is_an_unknown_outcome_and_the_next_message_goes_out(
    #[from(postfix)] site: Site,
) {
    let security = Security::StartTls;
    let proxy = proxy(&site, Protocol::Smtp, security);
    let smtp = smtp(&site, &proxy, security);
    proxy.plan(Plan::new(Place::answer_like("."), Fault::Close));
    let sent = smtp.send_all(&[message("1", "a"), message("2", "b")]);
    let kinds: Vec<_> = sent.iter().map(|sent| sent.as_ref().err().map(pymail::Error::kind)).collect();
    assert_eq!((kinds, proxy.hits()), (vec![Some(ErrorKind::OutcomeUnknown), None], 1), "{sent:?}");
}

#[rstest]
fn a_delivery_that_was_marked_without_an_answer_counts_once(
    #[from(postfix)] site: Site,
    #[values(Fault::Close, Fault::Silence)] fault: Fault,
) {
    let proxy = proxy(&site, Protocol::Imap, Security::Tls);
    site.deliver(&[message("1", "a")]);
    let config = ImapConfig::new(server(&site, &proxy, Security::Tls), site.credentials()).tag(TAG);
    let config = config.heartbeat(NEVER).timeout(BRIEFLY).dead_letters(1);
    let imap = Imap::connect(config).unwrap();
    proxy.plan(Plan::new(Place::answer_like("UID STORE"), fault));
    let batch = imap.fetch().or_else(|_| imap.fetch()).unwrap();
    assert_eq!((batch.len(), proxy.hits()), (1, 1), "it is delivered, and no dead letter yet");
    assert_eq!(mail(&site.other_client(), "INBOX")[0].flags, ["$PymailDelivery1"]);
    imap.reject(&batch, "no such account").unwrap();
    assert_eq!(mail(&site.other_client(), "INBOX"), []);
    imap.close().unwrap();
}

#[rstest]
fn a_message_that_could_not_be_moved_when_it_was_rejected_is_moved_when_it_is_rejected_again(
    #[from(postfix)] site: Site,
) {
    let proxy = proxy(&site, Protocol::Imap, Security::Tls);
    site.deliver(&[message("1", "a")]);
    let config = ImapConfig::new(server(&site, &proxy, Security::Tls), site.credentials()).tag(TAG);
    let imap = Imap::connect(config.heartbeat(NEVER).timeout(BRIEFLY).dead_letters(1)).unwrap();
    let batch = imap.fetch().unwrap();
    proxy.plan(Plan::new(Place::answer_like("APPEND"), Fault::Silence));
    assert_eq!(imap.reject(&batch, "no such account").unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!((proxy.hits(), mail(&site.other_client(), "INBOX").len()), (1, 1));
    for _ in 0..2 {
        imap.reject(&batch, "no such account").unwrap();
        assert_eq!((mail(&site.other_client(), "INBOX"), imap.stats().dead_letters), (vec![], 1));
    }
}

#[rstest]
fn messages_archived_without_a_response_are_handed_out_by_the_next_drain(#[from(postfix)] site: Site) {
    let proxy = proxy(&site, Protocol::Imap, Security::Tls);
    site.deliver(&[message("1", "a"), message("2", "b")]);
    let config = ImapConfig::new(server(&site, &proxy, Security::Tls), site.credentials()).tag(TAG);
    let imap = Imap::connect(config.heartbeat(NEVER).timeout(BRIEFLY)).unwrap();
    proxy.plan(Plan::new(Place::answer_like("UID MOVE"), Fault::Silence));
    assert_eq!(imap.fetch_and_ack().unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(proxy.hits(), 1);
    assert_eq!(mail(&site.other_client(), "INBOX"), [], "it was done all the same");
    let mut ids: Vec<String> =
        imap.fetch_and_ack().unwrap().into_iter().map(|it| it.into_message().unwrap().id).collect();
    ids.sort();
    assert_eq!(ids, ["1", "2"]);
    assert!(imap.fetch_and_ack().unwrap().is_empty());
}

/// Another consumer has meanwhile removed the claims to expunged mail from the log.
#[rstest]
fn a_message_that_was_archived_without_an_answer_is_not_told_as_another_consumers(
    #[from(postfix)] site: Site,
) {
    let proxy = proxy(&site, Protocol::Imap, Security::Tls);
    site.deliver(&[message("1", "a"), message("2", "b")]);
    let lease = Duration::from_secs(16);
    let briefly = Duration::from_secs(8);
    let shared = |config: ImapConfig| Imap::connect(config.tag(TAG).timeout(briefly).shared(lease)).unwrap();
    let config = ImapConfig::new(server(&site, &proxy, Security::Tls), site.credentials());
    let imap = shared(config.backoff(NEVER, NEVER).dedup_window(0));
    let batch = imap.fetch().unwrap();
    assert_eq!(batch.len(), 2);
    proxy.plan(Plan::new(Place::answer_like("UID MOVE"), Fault::Silence));
    // No heartbeat renews the lease.
    proxy.plan(Plan::new(Place::accept(), Fault::Close).times(usize::MAX));
    assert_eq!(batch.ack().unwrap_err().kind(), ErrorKind::Timeout);
    let began = Instant::now();
    assert_eq!(mail(&site.other_client(), "INBOX"), [], "it was done all the same");
    let other = shared(site.imap_config());
    for id in ["3", "4", "5"] {
        site.deliver(&[message(id, "c")]);
        wait_until("a message", || other.fetch_and_ack().is_ok_and(|received| !received.is_empty()));
    }
    wait_until("the lease's end", || began.elapsed() > lease);
    proxy.clear();
    batch.ack().unwrap();
    assert_eq!(mail(&site.other_client(), TAG).len(), 5);
}

#[rstest]
fn an_acknowledgement_whose_answer_is_lost_counts_each_message_once(#[from(postfix)] site: Site) {
    let proxy = proxy(&site, Protocol::Imap, Security::Tls);
    site.deliver(&[message("1", "a"), message("2", "b")]);
    let imap = imap(&site, &proxy, Security::Tls);
    let batch = imap.fetch().unwrap();
    proxy.plan(Plan::new(Place::answer_like("UID MOVE"), Fault::Close));
    batch.ack().unwrap();
    assert_eq!((proxy.hits(), imap.stats().reconnects, imap.stats().depth), (1, 1, Some(0)));
    batch.ack().unwrap();
    assert!(imap.fetch().unwrap().is_empty());
    let stats = imap.stats();
    assert_eq!((stats.received, stats.acknowledged, stats.depth), (2, 2, Some(0)), "{stats:?}");
}

#[rstest]
fn a_message_that_arrives_after_a_lost_connection_is_counted_once(#[from(postfix)] site: Site) {
    let proxy = proxy(&site, Protocol::Imap, Security::Tls);
    site.deliver(&[message("1", "a"), message("2", "b")]);
    let imap = imap(&site, &proxy, Security::Tls);
    proxy.plan(Plan::new(Place::answer_like("UID FETCH"), Fault::Close));
    let batch = imap.fetch().unwrap();
    let stats = imap.stats();
    assert_eq!((proxy.hits(), batch.len()), (1, 2), "{batch:?}");
    assert_eq!((stats.received, stats.redelivered, stats.duplicates, stats.depth), (2, 0, 0, Some(2)));
}

/// Its FETCH is lost before it is claimed, and another consumer claims it meanwhile.
#[rstest]
fn a_message_that_another_consumer_has_by_now_is_no_error(#[from(postfix)] site: Site) {
    let proxy = proxy(&site, Protocol::Imap, Security::Tls);
    site.deliver(&[message("1", "a")]);
    let shared = |config: ImapConfig| {
        let config = config.tag(TAG).timeout(BRIEFLY).shared(Duration::from_secs(300)).heartbeat(NEVER);
        Imap::connect(config.backoff(SOON, SOON).max_connects_per_minute(600)).unwrap()
    };
    let imap = shared(ImapConfig::new(server(&site, &proxy, Security::Tls), site.credentials()));
    let other = shared(site.imap_config());
    proxy.plan(Plan::new(Place::answer_like("UID FETCH"), Fault::Close));
    proxy.plan(Plan::new(Place::accept(), Fault::Close).times(usize::MAX));
    imap.fetch().unwrap_err();
    assert_eq!(other.fetch().unwrap().len(), 1);
    proxy.clear();
    assert!(imap.fetch().unwrap().is_empty());
}

/// The other consumer finds the copy in the archive, and takes the message for a duplicate.
#[rstest]
fn a_message_that_was_copied_before_its_lease_was_lost_is_returned() {
    let site = Site::real(&dovecot_without(&["MOVE"]), &PostfixOptions::default());
    let proxy = proxy(&site, Protocol::Imap, Security::Tls);
    site.deliver(&[message("1", "a")]);
    let (timeout, lease) = (Duration::from_secs(8), Duration::from_secs(16));
    let shared = |config: ImapConfig| {
        let config = config.tag(TAG).timeout(timeout).shared(lease);
        Imap::connect(config.backoff(SOON, SOON).max_connects_per_minute(6_000)).unwrap()
    };
    let imap = shared(ImapConfig::new(server(&site, &proxy, Security::Tls), site.credentials()));
    let other = shared(site.imap_config());
    proxy.plan(Plan::new(Place::answer_like("UID COPY"), Fault::Close));
    proxy.plan(Plan::new(Place::accept(), Fault::Close).times(usize::MAX));
    imap.fetch_and_ack().unwrap_err();
    wait_until("the lease's end", || {
        assert!(other.fetch().unwrap().is_empty());
        other.stats().duplicates == 1
    });
    proxy.clear();
    let mut returned = None;
    wait_until("a connection", || {
        returned = imap.fetch_and_ack().ok();
        returned.is_some()
    });
    assert_eq!(returned.unwrap_or_default().len(), 1);
    other.fetch().unwrap().ack().unwrap();
    let other = site.other_client();
    assert_eq!((mail(&other, "INBOX").len(), mail(&other, TAG).len()), (0, 1));
}
