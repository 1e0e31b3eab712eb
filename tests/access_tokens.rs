//! Logins by access token on real servers: Dovecot validates the tokens, for itself and for Postfix.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pymail::{
    AccessToken, Credentials, Error, ErrorKind, Imap, ImapConfig, Push, Smtp, SmtpConfig, State, TokenRequest,
};
use rstest::rstest;

use crate::mail_site::{ALICE, Site, TAG, message};
use crate::support::dovecot::DovecotOptions;
use crate::support::jwt::{Claims, mint};
use crate::support::postfix::PostfixOptions;
use crate::support::process::wait_until;

const NEVER: Duration = Duration::from_secs(3_600);

/// The mechanisms of Dovecot, and the one of Microsoft 365.
pub(super) const BOTH: &str = "oauthbearer xoauth2";

/// Starts servers that take tokens by these mechanisms.
fn taking(mechanisms: &str) -> Site {
    let token_mechanisms = mechanisms.to_owned();
    Site::real(&DovecotOptions { token_mechanisms, ..DovecotOptions::default() }, &PostfixOptions::default())
}

pub(super) fn imap(site: &Site, credentials: Credentials) -> pymail::Result<Imap> {
    Imap::connect(ImapConfig::new(site.imaps_server(), credentials).tag(TAG).heartbeat(NEVER))
}

pub(super) fn smtp(site: &Site, credentials: Credentials) -> pymail::Result<Smtp> {
    Smtp::connect(SmtpConfig::new(site.smtp_server(), credentials).tag(TAG).heartbeat(NEVER))
}

/// The requests for these tokens, of which the last one is returned again and again.
#[derive(Clone)]
pub(super) struct Tokens {
    all: Vec<String>,
    renewals: Arc<Mutex<Vec<bool>>>,
}

impl Tokens {
    pub(super) fn new(all: &[String]) -> Self {
        Self { all: all.to_vec(), renewals: Arc::default() }
    }

    pub(super) fn credentials(&self) -> Credentials {
        let Self { all, renewals } = self.clone();
        Credentials::oauth2(ALICE, move |request: TokenRequest| {
            let mut renewals = renewals.lock().unwrap();
            let token = &all[renewals.len().min(all.len() - 1)];
            renewals.push(request.renew);
            Ok(AccessToken::new(token))
        })
    }

    pub(super) fn renewals(&self) -> Vec<bool> {
        self.renewals.lock().unwrap().clone()
    }
}

fn good() -> String {
    mint(&Claims::of(ALICE))
}

#[rstest]
fn messages_go_round_by_access_tokens(#[values(BOTH, "oauthbearer", "xoauth2")] mechanisms: &str) {
    let site = taking(mechanisms);
    // The last one is about as long as Dovecot takes.
    for padding in [0, 3_000, 4_200] {
        let tokens = Tokens::new(&[mint(&Claims { padding, ..Claims::of(ALICE) })]);
        let (imap, smtp) =
            (imap(&site, tokens.credentials()).unwrap(), smtp(&site, tokens.credentials()).unwrap());
        let id = padding.to_string();
        assert!(smtp.send(&message(&id, "hello")).unwrap().all_accepted());
        wait_until("the message", || !imap.fetch().unwrap().is_empty());
        let deliveries = imap.fetch_and_ack().unwrap();
        assert_eq!(deliveries[0].message().unwrap().id, id);
        assert_eq!(tokens.renewals(), [false, false]);
    }
}

fn expired() -> String {
    mint(&Claims { seconds: -60, ..Claims::of(ALICE) })
}

fn for_another_scope() -> String {
    mint(&Claims { scope: "calendar", ..Claims::of(ALICE) })
}

fn for_another_user() -> String {
    mint(&Claims::of("bob@example.test"))
}

fn of_another_key() -> String {
    let token = good();
    token[..token.len() - 8].to_owned() + "AAAAAAAA"
}

#[rstest]
#[case::expired(expired())]
#[case::for_another_scope(for_another_scope())]
#[case::for_another_user(for_another_user())]
#[case::of_another_key(of_another_key())]
#[case::garbage("garbage".to_owned())]
fn a_token_that_is_not_accepted_is_renewed_once(
    #[case] bad: String,
    #[values(BOTH, "xoauth2")] mechanisms: &str,
) {
    let site = taking(mechanisms);
    let tokens = [bad.clone(), good()].map(|token| Tokens::new(&[bad.clone(), token]));
    let [refused, renewed] = &tokens;
    imap(&site, renewed.credentials()).unwrap().noop().unwrap();
    smtp(&site, Tokens::new(&renewed.all).credentials()).unwrap().noop().unwrap();
    assert_eq!(renewed.renewals(), [false, true]);

    let errors = [
        imap(&site, refused.credentials()).map(drop).unwrap_err(),
        smtp(&site, Tokens::new(&refused.all).credentials()).map(drop).unwrap_err(),
    ];
    assert_eq!(refused.renewals(), [false, true]);
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
        assert!(error.is_transient() && has_reason(&error), "{error:?}");
        assert!(!error.to_string().contains(&bad), "{error}");
    }
}

pub(super) fn has_reason(error: &Error) -> bool {
    let known = ["401", "invalid_token", "insufficient_scope"];
    error.token_refusal().is_some_and(|refusal| known.contains(&&*refusal.status))
}

#[rstest]
fn a_kicked_session_is_replaced_and_its_revoked_token_renewed() {
    let site = taking(BOTH);
    // In place of a revoked token, which Dovecot would have to ask the token server about.
    let tokens = Tokens::new(&[good(), expired(), good()]);
    let imap = imap(&site, tokens.credentials()).unwrap();
    assert!(site.dovecot().kick(ALICE));
    wait_until("another session", || {
        imap.noop().unwrap();
        imap.stats().reconnects > 0
    });
    assert_eq!((imap.status().state, tokens.renewals()), (State::Connected, vec![false, false, true]));
}

/// Takes some seconds: only a session that was not used for as long is replaced by the heartbeat.
#[rstest]
fn a_consumer_that_waits_gets_its_mail_from_the_session_that_replaces_another() {
    let site = taking(BOTH);
    let asked = Arc::new(AtomicUsize::new(0));
    let requests = Arc::clone(&asked);
    let credentials = Credentials::oauth2(ALICE, move |_| {
        let life = if requests.fetch_add(1, Ordering::SeqCst) == 0 { Duration::from_secs(8) } else { NEVER };
        Ok(AccessToken::new(good()).expires_in(life))
    });
    let imap = imap(&site, credentials).unwrap();
    let mut consumer = imap.consume();
    // No scoped thread: if no other session comes, the consumer waits for ever.
    let consumer = std::thread::spawn(move || consumer.next().unwrap().unwrap());
    wait_until("another session", || imap.stats().reconnects > 0);
    site.deliver(&[message("1", "hello")]);
    assert_eq!(consumer.join().unwrap().message().unwrap().id, "1");
    let status = imap.status();
    assert_eq!(
        (status.state, status.push, asked.load(Ordering::SeqCst)),
        (State::Connected, Some(Push::Idle), 2)
    );
    assert!(status.last_error.is_none(), "{status:?}");
}

/// Both servers let a session outlive its token. Takes some seconds: the lives of three tokens.
#[rstest]
fn each_message_arrives_once_over_sessions_whose_tokens_end() {
    const SECONDS: i64 = 6;
    let site = taking(BOTH);
    let credentials = || {
        Credentials::oauth2(ALICE, |_| {
            let token = mint(&Claims { seconds: SECONDS, ..Claims::of(ALICE) });
            Ok(AccessToken::new(token).expires_in(Duration::from_secs(SECONDS.unsigned_abs())))
        })
    };
    let (imap, smtp) = (imap(&site, credentials()).unwrap(), smtp(&site, credentials()).unwrap());
    let received = Mutex::new(Vec::new());
    let mut sent = 0;
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for delivery in imap.consume() {
                let delivery = delivery.unwrap();
                received.lock().unwrap().push(delivery.message().unwrap().id.parse::<usize>().unwrap());
                imap.ack([&delivery]).unwrap();
            }
        });
        wait_until("sessions with other tokens", || {
            assert!(smtp.send(&message(&sent.to_string(), "hello")).unwrap().all_accepted());
            sent += 1;
            std::thread::park_timeout(Duration::from_millis(50)); // a message at a time, not thousands
            imap.stats().reconnects >= 3 && smtp.stats().reconnects >= 3
        });
        wait_until("the messages", || received.lock().unwrap().len() >= sent);
        let _ = imap.drain(Duration::from_secs(5));
    });
    let mut received = received.into_inner().unwrap();
    received.sort_unstable();
    assert_eq!(received, (0..sent).collect::<Vec<_>>());
    assert_eq!((imap.status().state, smtp.status().state), (State::Connected, State::Connected));
}

#[rstest]
fn passwords_are_taken_beside_tokens() {
    let site = taking(BOTH);
    site.imap().noop().unwrap();
    site.smtp().noop().unwrap();
}
