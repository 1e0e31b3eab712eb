//! Handles whose access tokens are refused, end, or can't be got any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use pymail::{AccessToken, Credentials, Error, ErrorKind, Imap, ImapConfig, Server, Smtp, State};
use rstest::rstest;

use super::imap::{holding, three};
use super::oauth::{
    Asked, MARKED, REASON, assert_hidden, encoded, imap, imap_config, microsoft, smtp, token,
};
use super::smtp_config;
use crate::mail_site::{ALICE, message};
use crate::support::process::wait_until;
use crate::support::script::{Heard, Script, Step};

const HOUR: Duration = Duration::from_secs(3_600);

/// The life of a token whose session is to be replaced soon.
const SHORT: Duration = Duration::from_secs(6);

fn first_hangs_up(heard: &Heard) -> Step {
    Step::Close.when(heard.connection == 1)
}

#[rstest]
fn a_token_that_is_renewed_after_a_refusal_logs_in_within_the_same_call() {
    let server = Script::smtp(&["AUTH XOAUTH2"])
        .on("AUTH", |heard| Step::say(format!("334 {}\r\n", encoded(REASON))).when(heard.connection == 1))
        .on("", |heard| Step::say("535 5.7.8 not you\r\n").when(heard.text.is_empty()))
        .start();
    let asked = Asked::default();
    let smtp = smtp(&server, asked.credentials()).unwrap();
    assert!(smtp.send(&message("1", "a")).unwrap().all_accepted());
    assert_eq!((asked.renewals(), server.connections()), (vec![false, true], 2));
}

#[rstest]
fn after_a_lost_grant_there_is_no_connection_until_the_owner_has_signed_in() {
    let server = Script::imap(&["AUTH=XOAUTH2"])
        .says("AUTHENTICATE", "+ \r\n")
        .on("NOOP", |heard| Step::Close.when(heard.connection == 1));
    let server = server.start();
    let asked = Asked::default();
    let credentials = asked.by(|nth| match nth {
        2 => Err(Error::grant_gone("invalid_grant")),
        _ => Ok(AccessToken::new(token(nth))),
    });
    let imap = imap(&server, credentials).unwrap();
    for _ in 0..3 {
        let error = imap.noop().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SignInNeeded, "{error:?}");
        assert!(error.is_permanent() && error.to_string().contains("invalid_grant"), "{error:?}");
        assert_eq!(imap.status().state, State::SignInNeeded);
    }
    assert_eq!((server.connections(), asked.renewals().len()), (1, 2));
    imap.signed_in().unwrap();
    imap.noop().unwrap();
    assert_eq!(imap.status().state, State::Connected);
}

#[rstest]
fn all_connections_of_a_handle_go_on_after_the_sign_in() {
    let server =
        Script::smtp(&["AUTH XOAUTH2"]).on("NOOP", |heard| Step::Close.when(heard.connection <= 2)).start();
    let gone = Arc::new(AtomicBool::new(false));
    let is_gone = Arc::clone(&gone);
    let credentials = Asked::default().by(move |nth| {
        let grant =
            if is_gone.load(Ordering::SeqCst) { Err(Error::grant_gone("invalid_grant")) } else { Ok(()) };
        grant.map(|()| AccessToken::new(token(nth)))
    });
    let smtp = Smtp::connect(smtp_config(&server, credentials).connections(2)).unwrap();
    gone.store(true, Ordering::SeqCst);
    let noop = || smtp.noop().map_err(|error| error.kind());
    // The first connection that fails ends the NOOPs; each handle of a connection has a state of its own.
    assert_eq!(noop(), Err(ErrorKind::SignInNeeded));
    gone.store(false, Ordering::SeqCst);
    assert_eq!((noop(), smtp.status().state), (Err(ErrorKind::SignInNeeded), State::SignInNeeded));
    smtp.signed_in().unwrap();
    assert_eq!((noop(), smtp.status().state), (Ok(()), State::Connected));
}

#[rstest]
fn a_handle_whose_new_token_is_refused_too_tries_again_later() {
    let no =
        |heard: &Heard| Step::say("TAG NO AUTHENTICATE failed.\r\n").when((2..4).contains(&heard.connection));
    let server = microsoft(no).on("NOOP", first_hangs_up).start();
    let asked = Asked::default();
    let minute = Duration::from_secs(60);
    let imap = Imap::connect(imap_config(&server, asked.credentials()).backoff(minute, HOUR)).unwrap();
    for _ in 0..3 {
        let error = imap.noop().unwrap_err();
        assert_eq!((error.kind(), imap.status().state), (ErrorKind::Auth, State::Throttled), "{error:?}");
        let wait = error.retry_after().unwrap();
        assert!(error.is_transient() && wait <= 10 * minute, "{error:?}");
        assert_hidden(&error);
    }
    assert_eq!((server.connections(), asked.renewals()), (3, vec![false, false, true]));
    imap.signed_in().unwrap();
    imap.noop().unwrap();
    // The heartbeat may connect at the same time as the call.
    assert_eq!((imap.status().state, asked.renewals()[3]), (State::Connected, true));
}

/// An app may have one token only, from its settings.
#[rstest]
fn a_provider_that_returns_the_refused_token_again_costs_no_second_refusal() {
    let no = |heard: &Heard| Step::say("TAG NO AUTHENTICATE failed.\r\n").when(heard.connection == 2);
    let server = microsoft(no).on("NOOP", first_hangs_up).start();
    let asked = Asked::default();
    let imap = imap(&server, asked.by(|_| Ok(AccessToken::new(MARKED)))).unwrap();
    let error = imap.noop().unwrap_err();
    assert!(error.kind() == ErrorKind::Auth && error.is_transient(), "{error:?}");
    assert!(error.to_string().contains("AUTHENTICATE failed."), "{error}");
    assert_eq!((server.connections(), asked.renewals()), (2, vec![false, false, true]));
    assert_eq!(imap.status().state, State::Throttled);
    imap.signed_in().unwrap();
    imap.noop().unwrap();
    assert_eq!(imap.status().state, State::Connected);
}

#[rstest]
fn a_provider_without_a_token_for_now_is_asked_again_after_the_wait_that_it_names() {
    let server = microsoft(|_| Step::Usual).on("NOOP", first_hangs_up).start();
    let asked = Asked::default();
    let half = Duration::from_secs(1_800);
    let credentials = asked.by(move |nth| match nth {
        1 => Ok(AccessToken::new(token(nth))),
        _ => Err(Error::token_unavailable("503 Service Unavailable", Some(half))),
    });
    let imap = imap(&server, credentials).unwrap();
    for _ in 0..3 {
        let error = imap.noop().unwrap_err();
        assert_eq!((error.kind(), imap.status().state), (ErrorKind::Connect, State::Throttled), "{error:?}");
        assert!(error.is_transient() && error.retry_after().is_some_and(|wait| wait > half / 2), "{error:?}");
        assert!(error.to_string().contains("503 Service Unavailable"), "{error}");
    }
    assert_eq!((server.connections(), asked.renewals().len()), (1, 2));
}

/// Waits beyond all measure would overflow.
#[rstest]
fn a_providers_wait_is_an_hour_at_most() {
    let server = microsoft(|_| Step::Usual).on("NOOP", first_hangs_up).start();
    let credentials = Asked::default().by(move |nth| match nth {
        1 => Ok(AccessToken::new(token(nth)).expires_in(Duration::MAX)),
        _ => Err(Error::token_unavailable("never", Some(Duration::MAX))),
    });
    let error = imap(&server, credentials).unwrap().noop().unwrap_err();
    assert_eq!(error.retry_after(), Some(HOUR));
}

#[rstest]
fn no_other_error_of_a_provider_ends_the_handle() {
    let server = microsoft(|_| Step::Usual).on("NOOP", first_hangs_up).start();
    let refuses = Script::imap(&[]).says("LOGIN", "TAG NO [AUTHENTICATIONFAILED] wrong\r\n").start();
    let another = super::open(&refuses);
    let asked = Asked::default();
    let credentials = asked.by(move |nth| {
        if nth == 2 {
            let account = Credentials::new("bob", "a");
            return Err(Imap::connect(ImapConfig::new(another.clone(), account)).unwrap_err());
        }
        Ok(AccessToken::new(token(nth)))
    });
    let imap = imap(&server, credentials).unwrap();
    let error = imap.noop().unwrap_err();
    assert_eq!((error.kind(), imap.status().state), (ErrorKind::Connect, State::Disconnected), "{error:?}");
    imap.noop().unwrap();
    assert_eq!(server.connections(), 2);
}

#[rstest]
#[case::empty("")]
#[case::a_space("ya29 s3cret")]
#[case::a_line("ya29s3cret\r\n")]
#[case::nul("ya29s3cret\0")]
#[case::the_end_of_a_field("ya29s3cret\u{1}")]
#[case::beyond_ascii("ya29s3cr\u{e9}t-s3cret")]
fn a_token_that_can_not_be_sent_is_a_config_error(#[case] token: &'static str) {
    let (inbox, relay) = (microsoft(|_| Step::Usual).start(), Script::smtp(&["AUTH XOAUTH2"]).start());
    let credentials = || Asked::default().by(move |_| Ok(AccessToken::new(token)));
    let errors = [
        imap(&inbox, credentials()).map(drop).unwrap_err(),
        smtp(&relay, credentials()).map(drop).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
        assert_hidden(&error);
    }
    assert_eq!((inbox.connections(), relay.connections()), (0, 0));
}

#[rstest]
fn a_user_name_that_ends_a_field_is_a_config_error() {
    let account = Credentials::oauth2("alice\u{1}auth=Bearer x", |_| Ok(AccessToken::new("x")));
    let error = Imap::connect(ImapConfig::new(Server::tls("localhost"), account)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[rstest]
fn a_panic_of_a_provider_is_an_error_and_does_not_end_the_handle() {
    let server = microsoft(|_| Step::Usual).on("NOOP", first_hangs_up).start();
    let asked = Asked::default();
    let credentials = asked.by(|nth| {
        assert!(nth != 2, "scripted");
        Ok(AccessToken::new(token(nth)))
    });
    let imap = imap(&server, credentials).unwrap();
    let error = imap.noop().unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.to_string().contains("panicked"), "{error:?}");
    imap.noop().unwrap();
    assert_eq!(server.connections(), 2);
}

#[rstest]
fn a_provider_that_takes_all_of_the_time_is_a_timeout() {
    let server = microsoft(|_| Step::Usual).start();
    let credentials = Credentials::oauth2(ALICE, |request| {
        std::thread::sleep(request.timeout);
        Ok(AccessToken::new(MARKED))
    });
    let config = imap_config(&server, credentials).timeout(Duration::from_millis(100));
    assert_eq!(Imap::connect(config).unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(server.connections(), 0);
}

#[rstest]
fn a_provider_that_never_returns_is_a_timeout() {
    let (inbox, relay) = (microsoft(|_| Step::Usual).start(), Script::smtp(&["AUTH XOAUTH2"]).start());
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let credentials = || {
        let held = Arc::clone(&held);
        Credentials::oauth2(ALICE, move |_| {
            let _ = held.lock().unwrap().recv(); // Until the end of the test.
            Ok(AccessToken::new(MARKED))
        })
    };
    let moment = Duration::from_millis(100);
    let errors = [
        Imap::connect(imap_config(&inbox, credentials()).timeout(moment)).map(drop).unwrap_err(),
        Smtp::connect(smtp_config(&relay, credentials()).timeout(moment)).map(drop).unwrap_err(),
    ];
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::Timeout), "{errors:?}");
    assert_eq!((inbox.connections(), relay.connections()), (0, 0));
    drop(release);
}

/// Any other call would wait for itself.
#[rstest]
fn a_provider_may_ask_its_own_handle_for_the_status_only() {
    let server = microsoft(|_| Step::Usual).on("NOOP", first_hangs_up).start();
    let (own, seen) = (Arc::<OnceLock<Imap>>::default(), Arc::<Mutex<Vec<ErrorKind>>>::default());
    let (handle, kinds) = (Arc::clone(&own), Arc::clone(&seen));
    let credentials = Asked::default().by(move |nth| {
        if let Some(imap) = handle.get() {
            assert!(imap.status().state == State::Disconnected && imap.stats().commands > 0);
            let calls = [imap.noop(), imap.fetch().map(drop), imap.signed_in(), imap.close()];
            kinds.lock().unwrap().extend(calls.map(|call| call.unwrap_err().kind()));
        }
        Ok(AccessToken::new(token(nth)))
    });
    own.set(imap(&server, credentials).unwrap()).unwrap();
    let imap = own.get().unwrap();
    imap.noop().unwrap();
    assert_eq!(*seen.lock().unwrap(), [ErrorKind::InvalidInput; 4]);
    assert_eq!(server.connections(), 2);
    imap.close().unwrap();
}

/// A call that is sent on several connections at a time is made on several threads.
#[rstest]
fn a_provider_waits_for_none_of_several_connections_that_wait_for_it() {
    let server = Script::smtp(&["AUTH XOAUTH2"]).on("NOOP", first_hangs_up).start();
    let (own, seen) = (Arc::<OnceLock<Smtp>>::default(), Arc::<Mutex<Vec<ErrorKind>>>::default());
    let (handle, kinds) = (Arc::clone(&own), Arc::clone(&seen));
    let credentials = Asked::default().by(move |nth| {
        if let Some(smtp) = handle.get() {
            let messages: Vec<_> = (0..20).map(|n| message(&n.to_string(), "a")).collect();
            // The first connection of a call is another one each time.
            let sent = (0..2).flat_map(|_| smtp.send_all(&messages));
            kinds.lock().unwrap().extend(sent.filter_map(|result| Some(result.err()?.kind())));
        }
        Ok(AccessToken::new(token(nth)))
    });
    let config = smtp_config(&server, credentials).connections(2).timeout(Duration::from_secs(30));
    own.set(Smtp::connect(config).unwrap()).map_err(drop).unwrap();
    own.get().unwrap().noop().unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.len() < 40 && seen.iter().all(|kind| *kind == ErrorKind::InvalidInput), "{seen:?}");
}

/// Makes NOOPs until the provider was asked so often.
fn noop_until_asked(imap: &Imap, asked: &Asked, times: usize) {
    wait_until("another token", || {
        imap.noop().unwrap();
        asked.renewals().len() >= times
    });
}

#[rstest]
fn a_session_whose_token_ends_soon_is_replaced_between_two_calls() {
    let server = microsoft(|_| Step::Usual).start();
    let asked = Asked::default();
    let life = |nth| if nth == 1 { SHORT } else { HOUR };
    let credentials = asked.by(move |nth| Ok(AccessToken::new(token(nth)).expires_in(life(nth))));
    let imap = imap(&server, credentials).unwrap();
    noop_until_asked(&imap, &asked, 2);
    imap.noop().unwrap();
    let status = imap.status();
    assert_eq!((status.state, status.last_error.is_none()), (State::Connected, true), "{status:?}");
    assert_eq!((server.connections(), asked.renewals()), (2, vec![false, false]));
    assert_eq!((server.heard("LOGOUT").len(), imap.stats().reconnects), (1, 1));
}

#[rstest]
fn the_goodbye_of_the_old_session_leaves_time_for_the_call() {
    let server = microsoft(|_| Step::Usual).on("LOGOUT", |_| Step::Nothing).start();
    let asked = Asked::default();
    let life = |nth| if nth == 1 { SHORT } else { HOUR };
    let credentials = asked.by(move |nth| Ok(AccessToken::new(token(nth)).expires_in(life(nth))));
    let imap = Imap::connect(imap_config(&server, credentials).timeout(Duration::from_secs(30))).unwrap();
    noop_until_asked(&imap, &asked, 2);
    assert_eq!((server.heard("LOGOUT").len(), server.connections()), (1, 2));
}

#[rstest]
fn a_session_whose_token_ends_soon_is_replaced_between_two_messages() {
    let server = Script::smtp(&["AUTH XOAUTH2"]).start();
    let asked = Asked::default();
    let life = |nth| if nth == 1 { SHORT } else { HOUR };
    let credentials = asked.by(move |nth| Ok(AccessToken::new(token(nth)).expires_in(life(nth))));
    let smtp = smtp(&server, credentials).unwrap();
    let mut sent = 0;
    wait_until("another token", || {
        assert!(smtp.send(&message("1", "a")).unwrap().all_accepted());
        sent += 1;
        asked.renewals().len() > 1
    });
    assert_eq!((server.connections(), server.heard("QUIT").len()), (2, 1));
    assert_eq!((server.data().len(), server.data().last().unwrap().connection), (sent, 2));
}

/// Its margin may be shorter than ours.
#[rstest]
fn a_provider_that_returns_the_token_which_ends_soon_is_asked_for_a_new_one() {
    let server = microsoft(|_| Step::Usual).start();
    let requests = Asked::default();
    let cached = Arc::new(Mutex::new(AccessToken::new(MARKED).expires_in(SHORT)));
    let renewals = requests.clone();
    let credentials = requests.by(move |nth| {
        let mut cached = cached.lock().unwrap();
        if renewals.renewals().last() == Some(&true) {
            *cached = AccessToken::new(token(nth)).expires_in(HOUR);
        }
        Ok(cached.clone())
    });
    let imap = imap(&server, credentials).unwrap();
    noop_until_asked(&imap, &requests, 3);
    assert_eq!((server.connections(), requests.renewals()), (2, vec![false, false, true]));
}

#[rstest]
fn a_token_that_has_ended_is_not_sent() {
    let server = microsoft(|_| Step::Usual).start();
    let asked = Asked::default();
    let life = |nth| if nth == 1 { Duration::ZERO } else { HOUR };
    let credentials = asked.by(move |nth| Ok(AccessToken::new(token(nth)).expires_in(life(nth))));
    imap(&server, credentials).unwrap().noop().unwrap();
    assert_eq!((server.connections(), asked.renewals()), (1, vec![false, true]));
}

/// This clock may be wrong.
#[rstest]
fn a_token_that_is_taken_after_its_end_does_not_have_the_session_replaced_again_and_again() {
    let server = microsoft(|_| Step::Usual).start();
    let asked = Asked::default();
    let credentials = asked.by(|nth| Ok(AccessToken::new(token(nth)).expires_in(Duration::ZERO)));
    let imap = imap(&server, credentials).unwrap();
    for _ in 0..5 {
        imap.noop().unwrap();
    }
    assert_eq!((server.connections(), asked.renewals()), (1, vec![false, true]));
}

#[rstest]
fn a_session_that_can_not_be_replaced_is_used_as_long_as_the_server_lets_it() {
    let server = microsoft(|_| Step::Usual).start();
    let asked = Asked::default();
    let credentials = asked.by(move |nth| match nth {
        1 => Ok(AccessToken::new(token(nth)).expires_in(SHORT)),
        _ => Err(Error::token_unavailable("503", None)),
    });
    let imap = imap(&server, credentials).unwrap();
    noop_until_asked(&imap, &asked, 2);
    imap.noop().unwrap();
    let status = imap.status();
    assert_eq!((status.state, status.last_error.unwrap().kind()), (State::Connected, ErrorKind::Connect));
    assert_eq!((server.connections(), asked.renewals().len()), (1, 2), "not asked at each call");
}

#[rstest]
fn a_grant_that_is_gone_when_the_token_ends_is_an_error_of_the_call() {
    let server = microsoft(|_| Step::Usual).start();
    let credentials = Asked::default().by(move |nth| match nth {
        1 => Ok(AccessToken::new(token(nth)).expires_in(SHORT)),
        _ => Err(Error::grant_gone("invalid_grant")),
    });
    let imap = imap(&server, credentials).unwrap();
    let mut error = None;
    wait_until("the end of the grant", || {
        error = imap.noop().err();
        error.is_some()
    });
    assert_eq!(error.unwrap().kind(), ErrorKind::SignInNeeded);
    assert_eq!((imap.status().state, server.connections()), (State::SignInNeeded, 1));
}

#[rstest]
#[case::a_goodbye("* BYE Session invalidated - AccessTokenExpired\r\n", true)]
#[case::no_backend("TAG BAD User is authenticated but not connected.\r\n", true)]
#[case::another_goodbye("* BYE the server restarts\r\n", false)]
fn a_session_that_ends_with_its_token_is_replaced_by_one_with_a_new_token(
    #[case] said: &'static str,
    #[case] is_renewed: bool,
) {
    let ends = move |heard: &Heard| Step::SayAndClose(said.into()).when(heard.connection == 1);
    let server = microsoft(|_| Step::Usual).on("NOOP", ends).start();
    let asked = Asked::default();
    imap(&server, asked.credentials()).unwrap().noop().unwrap();
    assert_eq!((server.connections(), asked.renewals()), (2, vec![false, is_renewed]));
}

#[rstest]
fn an_end_of_the_token_in_idle_is_a_reconnect_with_a_new_token() {
    let bye = "+ idling\r\n* BYE Session invalidated - AccessTokenExpired\r\n";
    let ends = move |heard: &Heard| Step::SayAndClose(bye.into()).when(heard.connection == 1);
    let server = microsoft(|_| Step::Usual).on("IDLE", ends).start();
    let asked = Asked::default();
    let moment = Duration::from_millis(1);
    let imap = Imap::connect(imap_config(&server, asked.credentials()).backoff(moment, moment)).unwrap();
    drop(imap.fetch().unwrap());
    std::thread::scope(|threads| {
        threads.spawn(|| imap.wait(HOUR));
        wait_until("another connection", || server.connections() > 1);
        imap.close().unwrap();
    });
    assert_eq!((server.connections(), asked.renewals()), (2, vec![false, true]));
}

#[rstest]
fn a_consumer_returns_the_lost_grant_and_goes_on_after_the_sign_in() {
    let script = holding(&["AUTH=XOAUTH2"], &three()).says("AUTHENTICATE", "+ \r\n");
    let server = script.ahead("UID SEARCH", first_hangs_up).start();
    let credentials = Asked::default().by(move |nth| match nth {
        2 => Err(Error::grant_gone("invalid_grant")),
        _ => Ok(AccessToken::new(token(nth))),
    });
    let moment = Duration::from_millis(1);
    let imap = Imap::connect(imap_config(&server, credentials).heartbeat(moment)).unwrap();
    let mut consumer = imap.consume();
    for _ in 0..2 {
        assert_eq!(consumer.next().unwrap().unwrap_err().kind(), ErrorKind::SignInNeeded);
    }
    imap.signed_in().unwrap();
    assert_eq!(consumer.next().unwrap().unwrap().message().unwrap().id, "1");
}
