//! A connection with fake sessions: no server, no interpreter.

use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{self, Receiver, Sender};

use super::*;
use crate::config::{AccessToken, Credentials};
use crate::tokens::Tokens;
use crate::waiter::{Beat, Guard, KeepAlive as _};

/// Counts over the fake sessions of one connection.
#[derive(Default)]
struct Log {
    connects: AtomicUsize,
    noops: AtomicUsize,
    closes: AtomicUsize,
    /// The NOOPs after which a session is used up; 0 for never.
    noop_limit: AtomicUsize,
}

struct Fake {
    log: Arc<Log>,
    noop: Result<()>,
    /// Receives a message for each NOOP.
    noops: Option<Sender<()>>,
}

impl Session for Fake {
    fn noop(&mut self) -> Result<()> {
        self.log.noops.fetch_add(1, Ordering::SeqCst);
        let _ = self.noops.as_ref().map(|noops| noops.send(()));
        self.noop.clone()
    }

    fn is_used_up(&self) -> bool {
        let limit = self.log.noop_limit.load(Ordering::SeqCst);
        limit > 0 && self.log.noops.load(Ordering::SeqCst) >= limit * connects(&self.log)
    }

    fn close(self) -> Result<()> {
        self.log.closes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn watch(&self, deadline: Deadline) -> Guard {
        Guard::none(deadline)
    }

    fn traffic(&self) -> Traffic {
        Traffic { commands: 1, sent: 20, received: 300 }
    }
}

const NEVER: Duration = Duration::from_secs(3_600);

/// The longest wait for a beat on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn with_heartbeat(heartbeat: Duration) -> ConnectionOptions {
    let backoff = (Duration::from_millis(1), Duration::from_secs(1));
    ConnectionOptions { heartbeat, backoff, ..ConnectionOptions::default() }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn failure(kind: ErrorKind) -> Error {
    Error::new(kind, "scripted")
}

/// Returns a connection whose nth session is made by `connect(n)`, n from 1.
fn open(connect: impl Fn(usize) -> Result<()> + Send + Sync + 'static) -> (Connection<Fake>, Arc<Log>) {
    let log = Arc::new(Log::default());
    let ours = Arc::clone(&log);
    let connect = move |_| {
        connect(ours.connects.fetch_add(1, Ordering::SeqCst) + 1)?;
        Ok(Fake { log: Arc::clone(&ours), noop: Ok(()), noops: None })
    };
    (Connection::open(with_heartbeat(NEVER), SessionHooks::new(connect), soon()).unwrap(), log)
}

fn last_kind(connection: &Connection<Fake>) -> Option<ErrorKind> {
    connection.status().last_error.map(|error| error.kind())
}

fn connects(log: &Log) -> usize {
    log.connects.load(Ordering::SeqCst)
}

#[test]
fn a_call_that_finds_the_connection_lost_is_repeated_on_a_new_one() {
    let (connection, log) = open(|_| Ok(()));
    let mut asked = 0;
    let answer = connection.repeat(soon(), |_| {
        asked += 1;
        if asked == 1 { Err(failure(ErrorKind::Disconnected)) } else { Ok(asked) }
    });
    assert_eq!((answer.unwrap(), connects(&log)), (2, 2));
    assert_eq!(connection.status().state, State::Connected);
}

#[test]
fn a_call_is_repeated_once_only() {
    let (connection, log) = open(|_| Ok(()));
    let answer = connection.repeat(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
    assert_eq!((answer.unwrap_err().kind(), connects(&log)), (ErrorKind::Disconnected, 2));
    assert_eq!(connection.status().state, State::Disconnected);
}

#[test]
fn only_a_lost_connection_is_repeated() {
    let (connection, log) = open(|_| Ok(()));
    for kind in [ErrorKind::OutcomeUnknown, ErrorKind::Timeout, ErrorKind::Refused] {
        assert_eq!(connection.repeat(soon(), |_| Err::<(), _>(failure(kind))).unwrap_err().kind(), kind);
    }
    assert_eq!(
        connection.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected))).unwrap_err().kind(),
        ErrorKind::Disconnected
    );
    assert_eq!(
        connects(&log),
        3,
        "the first connection, and one after each of the two losses that another call followed"
    );
}

#[test]
fn a_refusal_keeps_the_connection() {
    let (connection, log) = open(|_| Ok(()));
    let _ = connection.repeat(soon(), |_| Err::<(), _>(failure(ErrorKind::Refused)));
    connection.repeat(soon(), |_| Ok(())).unwrap();
    assert_eq!(connects(&log), 1);
}

#[test]
fn a_panic_within_a_call_drops_the_connection() {
    let (connection, log) = open(|_| Ok(()));
    let call = || connection.once(soon(), |_| -> Result<()> { panic!("scripted") });
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err());
    connection.once(soon(), |_| Ok(())).unwrap();
    assert_eq!(connects(&log), 2);
}

#[test]
fn wrong_credentials_are_not_retried() {
    let (connection, log) =
        open(|n| if n == 1 { Ok(()) } else { Err(failure(ErrorKind::Auth).mark_wrong_credentials()) });
    let _ = connection.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
    for _ in 0..3 {
        assert_eq!(connection.repeat(soon(), |_| Ok(())).unwrap_err().kind(), ErrorKind::Auth);
    }
    assert_eq!((connects(&log), connection.status().state), (2, State::AuthFailed));
}

#[test]
fn a_login_refused_without_a_clear_reason_is_retried_later() {
    let (connection, log) = open(|n| if n == 1 { Ok(()) } else { Err(failure(ErrorKind::Auth)) });
    let _ = connection.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
    for _ in 0..40 {
        let error = connection.repeat(soon(), |_| Ok(())).unwrap_err();
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Auth, true));
        assert!(error.retry_after().is_some_and(|wait| wait > Duration::from_secs(30)), "{error:?}");
    }
    assert_eq!((connects(&log), connection.status().state), (2, State::Throttled));
    assert!(connection.0.shared.keep_alive(Beat::NONE) > Duration::from_secs(30), "in the background too");
}

#[test]
fn after_many_failed_attempts_a_call_returns_the_last_error_and_the_wait() {
    let (connection, log) = open(|n| if n == 1 { Ok(()) } else { Err(failure(ErrorKind::Connect)) });
    let _ = connection.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
    let began = Instant::now();
    let errors: Vec<Error> = (0..100).map(|_| connection.repeat(soon(), |_| Ok(())).unwrap_err()).collect();
    // Within a pause of the machine, the wait may end.
    let has_paused = began.elapsed() > Duration::from_millis(500);
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::Connect), "{errors:?}");
    assert_eq!(errors[0].retry_after(), None);
    let wait = errors[99].retry_after().unwrap();
    assert!(wait < Duration::from_secs(3) || has_paused, "{errors:?}");
    assert!(errors[99].to_string().contains("scripted"), "{errors:?}");
    assert!(connects(&log) == 8 || has_paused, "{}", connects(&log));
    assert_eq!(connection.status().state, State::Disconnected);
}

#[test]
fn close_closes_once_and_for_every_clone() {
    let (connection, log) = open(|_| Ok(()));
    let clone = connection.clone();
    connection.close().unwrap();
    clone.close().unwrap();
    assert_eq!(clone.repeat(soon(), |_| Ok(())).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!((log.closes.load(Ordering::SeqCst), connects(&log)), (1, 1));
    assert_eq!(connection.status().state, State::Closed);
}

fn beating(noop: Result<()>) -> (Connection<Fake>, Arc<Log>, Receiver<()>) {
    let log = Arc::new(Log::default());
    let (ours, (sender, noops)) = (Arc::clone(&log), mpsc::channel());
    let connect = move |_| {
        ours.connects.fetch_add(1, Ordering::SeqCst);
        Ok(Fake { log: Arc::clone(&ours), noop: noop.clone(), noops: Some(sender.clone()) })
    };
    (
        Connection::open(with_heartbeat(Duration::from_millis(5)), SessionHooks::new(connect), soon())
            .unwrap(),
        log,
        noops,
    )
}

#[test]
fn an_idle_connection_is_kept_alive() {
    let (connection, log, noops) = beating(Ok(()));
    for _ in 0..3 {
        noops.recv_timeout(PATIENCE).unwrap();
    }
    connection.close().unwrap();
    assert_eq!(connects(&log), 1);
}

#[test]
fn a_failed_heartbeat_shows_and_the_connection_is_replaced() {
    let (connection, log, noops) = beating(Err(failure(ErrorKind::Timeout)));
    noops.recv_timeout(PATIENCE).unwrap();
    // The second NOOP goes out on the connection that the heartbeat made by itself.
    noops.recv_timeout(PATIENCE).unwrap();
    assert!(connects(&log) >= 2);
    assert_eq!(last_kind(&connection), Some(ErrorKind::Timeout));
}

#[test]
fn the_heartbeat_ends_with_the_last_handle() {
    let (connection, log, noops) = beating(Ok(()));
    drop(connection);
    assert_eq!(log.closes.load(Ordering::SeqCst), 1, "with a goodbye");
    // The channel closes when the thread has dropped the shared state, which holds the connect closure.
    while let Ok(()) = noops.recv_timeout(PATIENCE) {}
    assert_eq!(noops.recv_timeout(Duration::ZERO), Err(mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn a_refused_heartbeat_shows_and_keeps_the_connection() {
    let (connection, log, noops) = beating(Err(failure(ErrorKind::Refused)));
    for _ in 0..3 {
        noops.recv_timeout(PATIENCE).unwrap();
    }
    let status = connection.status();
    assert_eq!((connects(&log), status.state), (1, State::Connected));
    assert_eq!(last_kind(&connection), Some(ErrorKind::Refused));
}

#[test]
fn a_lost_connection_is_replaced_without_waiting_for_an_interval() {
    let (connection, log) = open(|_| Ok(()));
    let _ = connection.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
    assert_eq!(connection.0.shared.keep_alive(Beat::NONE), NEVER);
    assert_eq!((connects(&log), connection.status().state), (2, State::Connected));
}

#[test]
fn a_session_that_is_used_up_is_replaced_by_the_heartbeat_with_a_goodbye_and_shows_no_failure() {
    let (connection, log, noops) = beating(Ok(()));
    log.noop_limit.store(2, Ordering::SeqCst);
    while connects(&log) < 3 {
        noops.recv_timeout(Duration::from_secs(10)).unwrap();
    }
    assert!(log.closes.load(Ordering::SeqCst) >= 2);
    assert_eq!((connection.status().state, last_kind(&connection)), (State::Connected, None));
}

#[test]
fn a_session_that_is_used_up_is_replaced_by_a_call_until_half_of_the_connections_are_made() {
    let (connection, log) = open(|_| Ok(()));
    log.noop_limit.store(1, Ordering::SeqCst);
    for _ in 0..100 {
        connection.repeat(soon(), Session::noop).unwrap();
    }
    let half = ConnectionOptions::default().max_connects_per_minute as usize / 2;
    assert_eq!((connects(&log), log.closes.load(Ordering::SeqCst)), (half, half - 1));
    // A call that sends a message does not wait for a new connection.
    connection.once(soon(), |_| Ok(())).unwrap();
    assert_eq!(connects(&log), half);
}

#[test]
fn after_wrong_credentials_the_heartbeat_rests() {
    let (connection, log, noops) = beating(Err(failure(ErrorKind::Auth).mark_wrong_credentials()));
    noops.recv_timeout(PATIENCE).unwrap();
    // The lock is free again when the refusal is recorded.
    assert_eq!(connection.repeat(soon(), |_| Ok(())).unwrap_err().kind(), ErrorKind::Auth);
    while connection.0.shared.slot.lock().last_noop.elapsed() < Duration::from_millis(10) {
        std::hint::spin_loop();
    }
    assert_eq!(
        connection.0.shared.keep_alive(Beat::NONE),
        Duration::from_millis(5),
        "not at once, again and again"
    );
    assert_eq!((connects(&log), connection.status().state), (1, State::AuthFailed));
}

#[test]
fn a_call_that_waits_for_another_one_returns_at_its_deadline() {
    let (connection, _) = open(|_| Ok(()));
    let (began, has_begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let other = connection.clone();
    let holder = std::thread::spawn(move || {
        let hold = move |_: &mut Fake| {
            began.send(()).unwrap();
            may_go_on.recv().map_err(|_| failure(ErrorKind::Runtime))
        };
        other.once(soon(), hold)
    });
    has_begun.recv().unwrap();
    let error = connection.once(Deadline::after(Duration::from_millis(20)), |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    go_on.send(()).unwrap();
    holder.join().unwrap().unwrap();
    connection.once(soon(), |_| Ok(())).unwrap();
}

#[test]
fn no_connection_is_begun_after_the_deadline() {
    let (connection, log) = open(|_| Ok(()));
    let _ = connection.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
    let error = connection.once(Deadline::after(Duration::ZERO), |_| Ok(())).unwrap_err();
    assert_eq!((error.kind(), connects(&log)), (ErrorKind::Timeout, 1));
}

#[test]
fn a_server_that_drops_every_connection_sees_only_so_many_a_minute() {
    let (connection, log) = open(|_| Ok(()));
    let lost = || connection.repeat(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected))).unwrap_err();
    let errors: Vec<Error> = (0..100).map(|_| lost()).collect();
    assert_eq!(connects(&log), 23, "and the others of 30 later");
    assert!(errors[99].retry_after().is_some_and(|wait| wait < Duration::from_secs(9)));
}

#[test]
fn a_server_that_asks_to_wait_is_left_alone_by_calls_and_heartbeat() {
    let busy = || failure(ErrorKind::Connect).with_retry_after(Some(Duration::from_secs(600)));
    let (connection, log) = open(move |n| if n == 1 { Ok(()) } else { Err(busy()) });
    let _ = connection.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
    for _ in 0..3 {
        let error = connection.repeat(soon(), |_| Ok(())).unwrap_err();
        assert!(error.is_transient() && error.retry_after().is_some(), "{error:?}");
    }
    assert!(connection.0.shared.keep_alive(Beat::NONE) > Duration::from_secs(590));
    assert_eq!((connects(&log), connection.status().state), (2, State::Throttled));
}

#[test]
fn stats_count_over_all_connections() {
    let (connection, _) = open(|_| Ok(()));
    let _ = connection.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
    connection.once(soon(), |_| Ok(())).unwrap();
    let Stats { commands, reconnects, bytes_sent, bytes_received, .. } = connection.stats();
    assert_eq!((commands, reconnects, bytes_sent, bytes_received), (2, 1, 40, 600));
}

/// Returns a connection with a hook that returns `answer`, and the number of its runs.
fn with_hook(answer: Result<()>) -> (Connection<Fake>, Arc<AtomicUsize>) {
    let (runs, log) = (Arc::<AtomicUsize>::default(), Arc::<Log>::default());
    let ours = Arc::clone(&runs);
    let connect = move |_| Ok(Fake { log: Arc::clone(&log), noop: Ok(()), noops: None });
    let hook = move |_: &mut Fake| {
        ours.fetch_add(1, Ordering::SeqCst);
        answer.clone()
    };
    (
        Connection::open(with_heartbeat(NEVER), SessionHooks::new(connect).before_call(hook), soon())
            .unwrap(),
        runs,
    )
}

#[test]
fn the_hook_runs_before_each_call_and_at_once_on_a_new_connection() {
    let (connection, runs) = with_hook(Ok(()));
    connection.repeat(soon(), |_| Ok(())).unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    let _ = connection.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    assert_eq!(connection.0.shared.keep_alive(Beat::NONE), NEVER);
    assert_eq!((runs.load(Ordering::SeqCst), connection.status().state), (3, State::Connected));
}

#[test]
fn a_refusal_of_the_hook_shows_in_the_status_and_fails_no_call() {
    let (connection, _) = with_hook(Err(failure(ErrorKind::Refused)));
    connection.repeat(soon(), |_| Ok(())).unwrap();
    assert_eq!(last_kind(&connection), Some(ErrorKind::Refused));
}

/// Returns a connection with tokens that live for long, whose nth session is made by `connect(n)`, n from 1.
fn with_tokens(
    connect: impl Fn(usize) -> Result<()> + Send + Sync + 'static,
) -> (Connection<Fake>, Arc<Log>) {
    let (log, asked) = (Arc::new(Log::default()), AtomicUsize::new(0));
    let ours = Arc::clone(&log);
    let credentials = Credentials::oauth2("alice", move |_| {
        let nth = asked.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(AccessToken::new(format!("token-{nth}")).expires_in(NEVER))
    });
    let connect = move |_: Deadline, token: Option<&AccessToken>| {
        assert!(token.is_some());
        connect(ours.connects.fetch_add(1, Ordering::SeqCst) + 1)?;
        Ok(Fake { log: Arc::clone(&ours), noop: Ok(()), noops: None })
    };
    let hooks = SessionHooks::with_tokens(Tokens::new(&credentials), connect);
    let options = ConnectionOptions { heartbeat: NEVER, ..ConnectionOptions::default() };
    (Connection::open(options, hooks, soon()).unwrap(), log)
}

/// Returns a connection whose nth token is `answer(n)`, n from 1; and the number of requests for another token.
fn with_provider(
    answer: impl Fn(usize) -> Result<AccessToken> + Send + Sync + 'static,
) -> (Connection<Fake>, Arc<AtomicUsize>) {
    let (asked, renewals) = (AtomicUsize::new(0), Arc::<AtomicUsize>::default());
    let ours = Arc::clone(&renewals);
    let credentials = Credentials::oauth2("alice", move |request| {
        ours.fetch_add(usize::from(request.renew), Ordering::SeqCst);
        answer(asked.fetch_add(1, Ordering::SeqCst) + 1)
    });
    let log = Arc::<Log>::default();
    let connect = move |_: Deadline, _: Option<&AccessToken>| {
        Ok(Fake { log: Arc::clone(&log), noop: Ok(()), noops: None })
    };
    let hooks = SessionHooks::with_tokens(Tokens::new(&credentials), connect);
    let options = ConnectionOptions { heartbeat: NEVER, ..ConnectionOptions::default() };
    (Connection::open(options, hooks, soon()).unwrap(), renewals)
}

/// The heartbeat asks without the lock, and a call or the sign-in itself may have the lock meanwhile.
#[test]
fn a_lost_grant_of_a_heartbeat_before_the_sign_in_ends_no_handle() {
    let gone = || Error::grant_gone("invalid_grant");
    for is_renewal in [false, true] {
        let (connection, _) =
            with_provider(move |n| if n == 2 { Err(gone()) } else { Ok(AccessToken::new("token")) });
        let shared = &connection.0.shared;
        if !is_renewal {
            let _ = connection.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
        }
        let connected = shared.hooks.connect(soon(), || Ok(()));
        shared.hooks.tokens.signed_in(); // Without waking the real heartbeat, which would connect.
        if is_renewal {
            shared.install_renewed(&mut shared.slot.lock(), connected, soon());
        } else {
            let error = shared.install(&mut shared.slot.lock(), connected).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::SignInNeeded);
        }
        assert_ne!(connection.status().state, State::SignInNeeded);
        connection.once(soon(), |_| Ok(())).unwrap();
    }
}

#[test]
fn a_session_that_a_call_kept_from_replacing_the_old_one_costs_no_further_token() {
    let (connection, renewals) = with_provider(|_| Ok(AccessToken::new("token").expires_in(NEVER)));
    let shared = &connection.0.shared;
    // As the heartbeat does after a call that came meanwhile.
    drop(shared.hooks.connect(soon(), || Ok(())).unwrap());
    shared.hooks.tokens.renew_now();
    connection.once(soon(), |_| Ok(())).unwrap();
    assert_eq!(renewals.load(Ordering::SeqCst), 0);
}

/// Makes a connection seem idle for long, whose token ends soon.
fn let_end_soon(connection: &Connection<Fake>) {
    let shared = &connection.0.shared;
    let mut slot = shared.slot.lock();
    slot.last_call = slot.last_call.checked_sub(PATIENCE).unwrap();
    shared.hooks.tokens.renew_now();
}

#[test]
fn the_heartbeat_replaces_an_idle_session_before_its_token_ends() {
    let (connection, log) = with_tokens(|_| Ok(()));
    let wait = connection.0.shared.keep_alive(Beat::NONE);
    assert!(wait < NEVER && wait > NEVER / 2, "by the end of the token, not by the interval: {wait:?}");
    let_end_soon(&connection);
    connection.0.shared.keep_alive(Beat::NONE);
    assert_eq!((connects(&log), log.closes.load(Ordering::SeqCst)), (2, 1), "the old one with a goodbye");
    assert_eq!((connection.status().state, last_kind(&connection)), (State::Connected, None));
    connection.0.shared.keep_alive(Beat::NONE);
    assert_eq!(connects(&log), 2);
}

#[test]
fn the_heartbeat_replaces_no_session_that_was_just_used() {
    let (connection, log) = with_tokens(|_| Ok(()));
    connection.0.shared.hooks.tokens.renew_now();
    connection.once(connection.deadline(), |_| Ok(())).unwrap();
    assert_eq!(connects(&log), 2, "the call does");
    connection.0.shared.hooks.tokens.renew_now();
    assert!(connection.0.shared.keep_alive(Beat::NONE) < Duration::from_secs(10));
    assert_eq!(connects(&log), 2);
}

#[test]
fn a_session_is_not_replaced_in_the_middle_of_a_verb() {
    let (connection, log) = with_tokens(|_| Ok(()));
    let verb = connection.deadline();
    for step in [verb, verb.share(2), verb] {
        connection.once(step, |_| Ok(())).unwrap();
        connection.0.shared.hooks.tokens.renew_now();
    }
    assert_eq!(connects(&log), 1);
    connection.once(connection.deadline(), |_| Ok(())).unwrap();
    assert_eq!(connects(&log), 2);
}

#[test]
fn replacing_sessions_leaves_half_of_the_connections_to_calls() {
    let (connection, log) = with_tokens(|_| Ok(()));
    for _ in 0..100 {
        connection.0.shared.hooks.tokens.renew_now();
        connection.once(connection.deadline(), |_| Ok(())).unwrap();
    }
    let half = ConnectionOptions::default().max_connects_per_minute as usize / 2;
    assert_eq!((connects(&log), connection.status().state), (half, State::Connected));
}

/// A session may outlive its token by far.
#[test]
fn a_session_that_can_not_be_replaced_costs_few_refused_tokens() {
    let refused = || failure(ErrorKind::Auth).mark_refused_token();
    let (connection, log) = with_tokens(move |n| if n == 1 { Ok(()) } else { Err(refused()) });
    for _ in 0..100 {
        connection.0.shared.hooks.tokens.renew_now();
        connection.once(connection.deadline(), |_| Ok(())).unwrap();
    }
    assert_eq!(
        (connects(&log), connection.status().state),
        (3, State::Connected),
        "one with each of two tokens"
    );
    // As long as that wait lasts.
    let _ = connection.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
    assert_eq!(connection.once(soon(), |_| Ok(())).unwrap_err().kind(), ErrorKind::Auth);
    assert_eq!(connects(&log), 3);
}

/// Without a token there is no call; but each one ends, and so does the handle.
#[test]
fn a_provider_that_never_answers_holds_no_call_and_no_close() {
    let (release, held) = mpsc::channel::<()>();
    let (held, asked) = (Mutex::new(held), AtomicUsize::new(0));
    let credentials = Credentials::oauth2("alice", move |_| {
        if asked.fetch_add(1, Ordering::SeqCst) > 0 {
            let _ = held.lock().recv(); // Until the end of the test.
        }
        Ok(AccessToken::new("token"))
    });
    let log = Arc::<Log>::default();
    let connect = move |_: Deadline, _: Option<&AccessToken>| {
        Ok(Fake { log: Arc::clone(&log), noop: Ok(()), noops: None })
    };
    let hooks = SessionHooks::with_tokens(Tokens::new(&credentials), connect);
    let options = ConnectionOptions { heartbeat: NEVER, ..ConnectionOptions::default() };
    let connection = Connection::open(options, hooks, soon()).unwrap();
    let _ = connection.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
    for _ in 0..2 {
        let brief = Deadline::after(Duration::from_millis(50));
        let error = connection.once(brief, |_| Ok(())).unwrap_err();
        assert_eq!((error.kind(), connection.status().state), (ErrorKind::Timeout, State::Disconnected));
    }
    connection.signed_in().unwrap();
    connection.close().unwrap();
    drop(release);
}

#[test]
fn a_new_token_in_place_of_a_refused_one_counts_as_another_connection() {
    let refused = || failure(ErrorKind::Auth).mark_refused_token();
    let (connection, log) = with_tokens(move |n| if n == 1 { Ok(()) } else { Err(refused()) });
    let _ = connection.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
    for _ in 0..100 {
        let error = connection.repeat(soon(), |_| Ok(())).unwrap_err();
        assert!(error.kind() == ErrorKind::Auth && error.is_transient(), "{error:?}");
    }
    assert_eq!((connects(&log), connection.status().state), (3, State::Throttled));
}

/// A subscriber that calls the handle that an event is about.
struct Caller(Connection<Fake>, fn(&Connection<Fake>));

impl tracing::Subscriber for Caller {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        (self.1)(&self.0);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_subscriber_may_call_the_handle_that_an_event_is_about() {
    let lose = |connection: &Connection<Fake>| {
        connection.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)))
    };
    let calls: [fn(&Connection<Fake>); 3] = [
        |connection| connection.close().unwrap(),
        |connection| assert!(connection.repeat(soon(), |_| Ok(())).is_ok()),
        |connection| assert_eq!(last_kind(connection), Some(ErrorKind::Disconnected)),
    ];
    for call in calls {
        let (connection, _) = open(|_| Ok(()));
        tracing::subscriber::with_default(Caller(connection.clone(), call), || {
            assert!(lose(&connection).is_err());
            connection.0.shared.keep_alive(Beat::NONE); // It connects again, and emits an event.
        });
    }
}

#[cfg(feature = "async")]
mod futures {
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_pending(waiting: &mut Waiting<Fake>) -> bool {
        waiting.poll(&Context::from_waker(Waker::noop())).is_pending()
    }

    #[test]
    fn a_future_counts_as_waiting_until_it_is_dropped_or_there_is_news_for_it() {
        let (connection, _) = open(|_| Ok(()));
        let arrivals = &connection.0.shared.arrivals;
        let [mut dropped, mut told, mut forgotten] =
            [(); 3].map(|()| connection.waiting(None, || false).unwrap());
        assert!(is_pending(&mut dropped) && is_pending(&mut told) && is_pending(&mut forgotten));
        drop(dropped);
        assert!(arrivals.is_awaited());
        connection.wake_waits();
        assert!(!arrivals.is_awaited(), "also by one that is not polled again");
        let later = connection.waiting(None, || false).unwrap();
        assert!(!is_pending(&mut told));
        drop((told, forgotten));
        assert!(arrivals.is_awaited());
        drop(later);
        assert!(!arrivals.is_awaited());
    }

    #[test]
    fn a_future_that_begins_to_wait_for_an_ended_connection_does_not_wait() {
        let (connection, _) = open(|_| Ok(()));
        assert!(!is_pending(&mut connection.waiting(None, || true).unwrap()));
        assert!(!is_pending(&mut connection.pausing(NEVER, || true).unwrap()));
        let mut early = connection.pausing(NEVER, || false).unwrap();
        assert!(is_pending(&mut early));
        connection.close().unwrap();
        for mut waiting in [early, connection.waiting(None, || false).unwrap()] {
            let ended = waiting.poll(&Context::from_waker(Waker::noop()));
            assert!(matches!(ended, Poll::Ready(Err(error)) if error.kind() == ErrorKind::Closed));
        }
        assert!(!connection.0.shared.arrivals.is_awaited());
    }

    #[test]
    fn a_call_whose_time_has_passed_before_its_turn_does_not_cost_the_connection() {
        let (connection, log) = open(|_| Ok(()));
        let began = Instant::now().checked_sub(connection.0.shared.options.timeout).unwrap();
        let call = || connection.once(connection.deadline(), |_| Ok(()));
        assert_eq!(crate::deadline::since(began, call).unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!((call().is_ok(), connects(&log)), (true, 1));
    }
}

#[test]
fn a_session_whose_token_ends_during_the_login_is_to_be_replaced() {
    let credentials =
        Credentials::oauth2("alice", |_| Ok(AccessToken::new("token").expires_in(Duration::from_secs(2))));
    let tokens = Tokens::new(&credentials);
    let log_in = |token: Option<&AccessToken>| {
        std::thread::sleep(token.and_then(AccessToken::time_left).unwrap());
        Ok(())
    };
    tokens.log_in(soon(), log_in).unwrap();
    assert!(tokens.is_renewal_due());
}
