//! A link with a fake session: no server, no interpreter.

use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{self, Receiver, Sender};

use super::*;
use crate::heartbeat::Pulse as _;
use crate::watchdog::Guard;

/// What the fake sessions of one link have been through.
#[derive(Default)]
struct Log {
    connects: AtomicUsize,
    noops: AtomicUsize,
    closes: AtomicUsize,
    /// After how many signs of life a session is used up; 0 for never.
    enough: AtomicUsize,
}

struct Fake {
    log: Arc<Log>,
    noop: Result<()>,
    pulses: Option<Sender<()>>,
}

impl Session for Fake {
    fn noop(&mut self) -> Result<()> {
        self.log.noops.fetch_add(1, Ordering::SeqCst);
        let _ = self.pulses.as_ref().map(|pulses| pulses.send(()));
        self.noop.clone()
    }

    fn is_used_up(&self) -> bool {
        let enough = self.log.enough.load(Ordering::SeqCst);
        enough > 0 && self.log.noops.load(Ordering::SeqCst) >= enough * connects(&self.log)
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

/// How long a beat may take to come on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn every(heartbeat: Duration) -> Upkeep {
    let backoff = (Duration::from_millis(1), Duration::from_secs(1));
    Upkeep { heartbeat, backoff, ..Upkeep::default() }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn failure(kind: ErrorKind) -> Error {
    Error::new(kind, "as told")
}

/// A link whose nth connection is made by `connect(n)`, n from 1.
fn link(connect: impl Fn(usize) -> Result<()> + Send + Sync + 'static) -> (Link<Fake>, Arc<Log>) {
    let log = Arc::new(Log::default());
    let ours = Arc::clone(&log);
    let connect = move |_| {
        connect(ours.connects.fetch_add(1, Ordering::SeqCst) + 1)?;
        Ok(Fake { log: Arc::clone(&ours), noop: Ok(()), pulses: None })
    };
    (Link::open(every(NEVER), Habits::new(connect)).unwrap(), log)
}

fn connects(log: &Log) -> usize {
    log.connects.load(Ordering::SeqCst)
}

#[test]
fn a_verb_that_finds_the_connection_lost_asks_once_more_on_a_new_one() {
    let (link, log) = link(|_| Ok(()));
    let mut asked = 0;
    let answer = link.repeat(soon(), |_| {
        asked += 1;
        if asked == 1 { Err(failure(ErrorKind::Disconnected)) } else { Ok(asked) }
    });
    assert_eq!((answer.unwrap(), connects(&log)), (2, 2));
    assert_eq!(link.status().state, State::Connected);
}

#[test]
fn a_verb_asks_no_third_time() {
    let (link, log) = link(|_| Ok(()));
    let answer = link.repeat(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
    assert_eq!((answer.unwrap_err().kind(), connects(&log)), (ErrorKind::Disconnected, 2));
    assert_eq!(link.status().state, State::Disconnected);
}

#[test]
fn what_is_not_safe_to_repeat_is_not_repeated() {
    let (link, log) = link(|_| Ok(()));
    for kind in [ErrorKind::OutcomeUnknown, ErrorKind::Timeout, ErrorKind::Refused] {
        assert_eq!(link.repeat(soon(), |_| Err::<(), _>(failure(kind))).unwrap_err().kind(), kind);
    }
    assert_eq!(
        link.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected))).unwrap_err().kind(),
        ErrorKind::Disconnected
    );
    assert_eq!(
        connects(&log),
        3,
        "the first connection, and one after each of the two losses that were followed by a verb"
    );
}

#[test]
fn a_refusal_keeps_the_connection() {
    let (link, log) = link(|_| Ok(()));
    let _ = link.repeat(soon(), |_| Err::<(), _>(failure(ErrorKind::Refused)));
    link.repeat(soon(), |_| Ok(())).unwrap();
    assert_eq!(connects(&log), 1);
}

#[test]
fn a_refused_password_is_not_tried_again() {
    let (link, log) = link(|n| if n == 1 { Ok(()) } else { Err(failure(ErrorKind::Auth).for_good()) });
    let _ = link.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
    for _ in 0..3 {
        assert_eq!(link.repeat(soon(), |_| Ok(())).unwrap_err().kind(), ErrorKind::Auth);
    }
    assert_eq!((connects(&log), link.status().state), (2, State::Refused));
}

#[test]
fn a_login_refused_without_a_clear_reason_is_tried_again_later_and_not_at_once() {
    let (link, log) = link(|n| if n == 1 { Ok(()) } else { Err(failure(ErrorKind::Auth)) });
    let _ = link.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
    for _ in 0..40 {
        let error = link.repeat(soon(), |_| Ok(())).unwrap_err();
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Auth, true));
        assert!(error.retry_after().is_some_and(|wait| wait > Duration::from_secs(30)), "{error:?}");
    }
    assert_eq!((connects(&log), link.status().state), (2, State::Throttled));
    assert!(link.0.line.pulse() > Duration::from_secs(30), "in the background too");
}

#[test]
fn when_many_attempts_have_failed_a_verb_returns_the_last_error_and_the_wait() {
    let (link, log) = link(|n| if n == 1 { Ok(()) } else { Err(failure(ErrorKind::Connect)) });
    let _ = link.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
    let errors: Vec<Error> = (0..100).map(|_| link.repeat(soon(), |_| Ok(())).unwrap_err()).collect();
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::Connect), "{errors:?}");
    assert_eq!(errors[0].retry_after(), None);
    assert!(errors[99].retry_after().is_some_and(|wait| wait < Duration::from_secs(3)), "{errors:?}");
    assert!(errors[99].to_string().contains("as told"), "{errors:?}");
    assert_eq!((connects(&log), link.status().state), (8, State::Disconnected));
}

#[test]
fn stop_closes_once_and_for_every_clone() {
    let (link, log) = link(|_| Ok(()));
    let clone = link.clone();
    link.stop().unwrap();
    clone.stop().unwrap();
    assert_eq!(clone.repeat(soon(), |_| Ok(())).unwrap_err().kind(), ErrorKind::Stopped);
    assert_eq!((log.closes.load(Ordering::SeqCst), connects(&log)), (1, 1));
    assert_eq!(link.status().state, State::Stopped);
}

fn beating(noop: Result<()>) -> (Link<Fake>, Arc<Log>, Receiver<()>) {
    let log = Arc::new(Log::default());
    let (ours, (sender, pulses)) = (Arc::clone(&log), mpsc::channel());
    let connect = move |_| {
        ours.connects.fetch_add(1, Ordering::SeqCst);
        Ok(Fake { log: Arc::clone(&ours), noop: noop.clone(), pulses: Some(sender.clone()) })
    };
    (Link::open(every(Duration::from_millis(5)), Habits::new(connect)).unwrap(), log, pulses)
}

#[test]
fn an_idle_connection_is_kept_alive() {
    let (link, log, pulses) = beating(Ok(()));
    for _ in 0..3 {
        pulses.recv_timeout(PATIENCE).unwrap();
    }
    link.stop().unwrap();
    assert_eq!(connects(&log), 1);
}

#[test]
fn a_failed_heartbeat_shows_and_the_connection_is_replaced() {
    let (link, log, pulses) = beating(Err(failure(ErrorKind::Timeout)));
    pulses.recv_timeout(PATIENCE).unwrap();
    // The second NOOP goes out on the connection that the heartbeat made by itself.
    pulses.recv_timeout(PATIENCE).unwrap();
    assert!(connects(&log) >= 2);
    assert_eq!(link.status().last_error_kind, Some(ErrorKind::Timeout));
}

#[test]
fn the_heartbeat_ends_with_the_last_handle() {
    let (link, log, pulses) = beating(Ok(()));
    drop(link);
    assert_eq!(log.closes.load(Ordering::SeqCst), 1, "with a goodbye");
    // The channel closes when the thread has let go of the line, which holds the connect closure.
    while let Ok(()) = pulses.recv_timeout(PATIENCE) {}
    assert_eq!(pulses.recv_timeout(Duration::ZERO), Err(mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn a_refused_heartbeat_shows_and_keeps_the_connection() {
    let (link, log, pulses) = beating(Err(failure(ErrorKind::Refused)));
    for _ in 0..3 {
        pulses.recv_timeout(PATIENCE).unwrap();
    }
    let status = link.status();
    assert_eq!((connects(&log), status.state), (1, State::Connected));
    assert_eq!(status.last_error_kind, Some(ErrorKind::Refused));
}

#[test]
fn a_lost_connection_is_replaced_without_waiting_for_an_idle_interval() {
    let (link, log) = link(|_| Ok(()));
    let _ = link.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
    assert_eq!(link.0.line.pulse(), NEVER);
    assert_eq!((connects(&log), link.status().state), (2, State::Connected));
}

#[test]
fn a_session_that_is_used_up_is_replaced_by_the_heartbeat_with_a_goodbye_and_shows_no_failure() {
    let (link, log, pulses) = beating(Ok(()));
    log.enough.store(2, Ordering::SeqCst);
    while connects(&log) < 3 {
        pulses.recv_timeout(Duration::from_secs(10)).unwrap();
    }
    assert!(log.closes.load(Ordering::SeqCst) >= 2);
    assert_eq!((link.status().state, link.status().last_error), (State::Connected, None));
}

#[test]
fn a_session_that_is_used_up_is_replaced_by_a_verb_that_repeats_until_half_of_the_connections_are_made() {
    let (link, log) = link(|_| Ok(()));
    log.enough.store(1, Ordering::SeqCst);
    for _ in 0..100 {
        link.repeat(soon(), Session::noop).unwrap();
    }
    let half = Upkeep::default().connects_a_minute as usize / 2;
    assert_eq!((connects(&log), log.closes.load(Ordering::SeqCst)), (half, half - 1));
    // What is sent is no sign of life: it waits for no new connection.
    link.once(soon(), |_| Ok(())).unwrap();
    assert_eq!(connects(&log), half);
}

#[test]
fn after_a_refused_password_the_heartbeat_rests() {
    let (link, log, pulses) = beating(Err(failure(ErrorKind::Auth).for_good()));
    pulses.recv_timeout(PATIENCE).unwrap();
    // The lock is free again when the refusal has been taken in.
    assert_eq!(link.repeat(soon(), |_| Ok(())).unwrap_err().kind(), ErrorKind::Auth);
    while link.0.line.slot.lock().last_beat.elapsed() < Duration::from_millis(10) {
        std::hint::spin_loop();
    }
    assert_eq!(link.0.line.pulse(), Duration::from_millis(5), "and not at once, again and again");
    assert_eq!((connects(&log), link.status().state), (1, State::Refused));
}

#[test]
fn who_waits_for_another_call_waits_until_the_deadline_and_no_longer() {
    let (link, _) = link(|_| Ok(()));
    let (began, has_begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let other = link.clone();
    let holder = std::thread::spawn(move || {
        let hold = move |_: &mut Fake| {
            began.send(()).unwrap();
            may_go_on.recv().map_err(|_| failure(ErrorKind::Runtime))
        };
        other.once(soon(), hold)
    });
    has_begun.recv().unwrap();
    let error = link.once(Deadline::after(Duration::from_millis(20)), |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    go_on.send(()).unwrap();
    holder.join().unwrap().unwrap();
    link.once(soon(), |_| Ok(())).unwrap();
}

#[test]
fn no_connection_is_begun_when_the_time_is_over() {
    let (link, log) = link(|_| Ok(()));
    let _ = link.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
    let error = link.once(Deadline::after(Duration::ZERO), |_| Ok(())).unwrap_err();
    assert_eq!((error.kind(), connects(&log)), (ErrorKind::Timeout, 1));
}

#[test]
fn a_server_that_drops_every_connection_sees_only_so_many_a_minute() {
    let (link, log) = link(|_| Ok(()));
    let lost = || link.repeat(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected))).unwrap_err();
    let errors: Vec<Error> = (0..100).map(|_| lost()).collect();
    assert_eq!(connects(&log), 23, "and the others of 30 later");
    assert!(errors[99].retry_after().is_some_and(|wait| wait < Duration::from_secs(9)));
}

#[test]
fn a_server_that_asks_to_wait_is_left_alone_by_verbs_and_heartbeat() {
    let busy = || failure(ErrorKind::Connect).with_retry_after(Some(Duration::from_secs(600)));
    let (link, log) = link(move |n| if n == 1 { Ok(()) } else { Err(busy()) });
    let _ = link.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
    for _ in 0..3 {
        let error = link.repeat(soon(), |_| Ok(())).unwrap_err();
        assert!(error.is_transient() && error.retry_after().is_some(), "{error:?}");
    }
    assert!(link.0.line.pulse() > Duration::from_secs(590));
    assert_eq!((connects(&log), link.status().state), (2, State::Throttled));
}

#[test]
fn stats_count_over_all_connections() {
    let (link, _) = link(|_| Ok(()));
    let _ = link.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
    link.once(soon(), |_| Ok(())).unwrap();
    let Stats { commands, reconnects, bytes_sent, bytes_received, .. } = link.stats();
    assert_eq!((commands, reconnects, bytes_sent, bytes_received), (2, 1, 40, 600));
}

/// Counts the connections on which it was done, and does as told.
fn keeping(answer: Result<()>) -> (Link<Fake>, Arc<AtomicUsize>) {
    let (kept, log) = (Arc::<AtomicUsize>::default(), Arc::<Log>::default());
    let ours = Arc::clone(&kept);
    let connect = move |_| Ok(Fake { log: Arc::clone(&log), noop: Ok(()), pulses: None });
    let keep = move |_: &mut Fake| {
        ours.fetch_add(1, Ordering::SeqCst);
        answer.clone()
    };
    (Link::open(every(NEVER), Habits::new(connect).keep(keep)).unwrap(), kept)
}

#[test]
fn what_is_due_is_done_before_each_verb_and_at_once_on_a_new_connection() {
    let (link, kept) = keeping(Ok(()));
    link.repeat(soon(), |_| Ok(())).unwrap();
    assert_eq!(kept.load(Ordering::SeqCst), 1);
    let _ = link.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
    assert_eq!(kept.load(Ordering::SeqCst), 2);
    assert_eq!(link.0.line.pulse(), NEVER);
    assert_eq!((kept.load(Ordering::SeqCst), link.status().state), (3, State::Connected));
}

#[test]
fn what_the_server_refuses_of_what_is_due_fails_no_verb_and_shows() {
    let (link, _) = keeping(Err(failure(ErrorKind::Refused)));
    link.repeat(soon(), |_| Ok(())).unwrap();
    assert_eq!(link.status().last_error_kind, Some(ErrorKind::Refused));
}

/// Calls the handle that an event is about.
struct Caller(Link<Fake>, fn(&Link<Fake>));

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
    let lose = |link: &Link<Fake>| link.once(soon(), |_| Err::<(), _>(failure(ErrorKind::Disconnected)));
    let calls: [fn(&Link<Fake>); 3] = [
        |link| link.stop().unwrap(),
        |link| assert!(link.repeat(soon(), |_| Ok(())).is_ok()),
        |link| assert_eq!(link.status().last_error_kind, Some(ErrorKind::Disconnected)),
    ];
    for call in calls {
        let (link, _) = self::link(|_| Ok(()));
        tracing::subscriber::with_default(Caller(link.clone(), call), || {
            assert!(lose(&link).is_err());
            link.0.line.pulse(); // It connects again, and tells of it.
        });
    }
}
