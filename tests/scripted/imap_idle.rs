//! IDLE on servers that announce late, half, too much or nothing, and on those that do not know it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pymail::{Imap, ImapConfig, Push};
use rstest::rstest;

use super::imap::{fetched, holding, mail};
use super::{NEVER, imap_config};
use crate::support::process::wait_until;
use crate::support::script::{Heard, Script, Scripted, Step};

const IDLE: &[&str] = &["MOVE", "UIDPLUS", "IDLE"];

/// The longest wait for an announcement.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than the scripts' announcements need.
const SHORT: Duration = Duration::from_millis(400);

/// Returns a configuration by which messages are found by announcements alone.
fn config(server: &Scripted) -> ImapConfig {
    imap_config(server).recheck(NEVER)
}

/// Returns a handle that has seen what is in the inbox.
fn waiting(config: ImapConfig) -> Imap {
    let imap = Imap::connect(config).unwrap();
    drop(imap.fetch().unwrap());
    imap
}

/// Makes a server with an empty inbox, whose first IDLE gets this answer, and later ones the usual one.
fn idling(first: Step) -> Script {
    Script::imap(IDLE).on("IDLE", move |heard| first.clone().when(heard.nth == 1))
}

#[rstest]
#[case::before_the_plus("* 10 EXISTS\r\n+ idling\r\n")]
#[case::with_the_plus("+ idling\r\n* 10 EXISTS\r\n")]
#[case::in_lower_case("+\r\n* 10 exists\r\n")]
#[case::behind_an_expunge("+ idling\r\n* 9 EXPUNGE\r\n* 9 EXISTS\r\n")]
#[case::behind_a_literal("+ idling\r\n* 1 FETCH (X {3}\r\n\r\n) FLAGS ())\r\n* 10 EXISTS\r\n")]
#[case::behind_a_text_that_looks_like_a_literal("+ idling\r\n* OK still {3}\r\n* 10 EXISTS\r\n")]
fn an_announcement_ends_the_wait(#[case] announced: &'static str, #[values(false, true)] drips: bool) {
    let step = if drips { Step::Drip(announced.into()) } else { Step::say(announced) };
    let server = idling(step).start();
    let imap = waiting(config(&server));
    assert!(imap.wait(PATIENCE).unwrap());
    assert_eq!(imap.status().push, Some(Push::Idle));
}

#[rstest]
#[case::nothing("+ idling\r\n")]
#[case::the_same_count("+ idling\r\n* 9 EXISTS\r\n")]
#[case::flags("+ idling\r\n* 1 FETCH (FLAGS (\\Seen))\r\n")]
#[case::an_expunge("+ idling\r\n* 1 EXPUNGE\r\n")]
#[case::half_a_line("+ idling\r\n* 10 EXI")]
#[case::a_sign_of_life("+ idling\r\n* OK Still here\r\n")]
fn other_responses_do_not_end_the_wait(#[case] announced: &'static str) {
    let server = idling(Step::say(announced)).start();
    let imap = waiting(config(&server));
    wait_until("IDLE", || {
        assert!(!imap.wait(SHORT).unwrap());
        !server.heard("IDLE").is_empty()
    });
    assert!(!imap.wait(SHORT).unwrap());
    imap.noop().unwrap();
    assert_eq!((server.heard("DONE").len(), server.connections()), (server.heard("IDLE").len(), 1));
}

#[rstest]
#[case::no_idle(&["MOVE", "UIDPLUS"], Step::Usual)]
#[case::no(IDLE, Step::say("TAG NO not here\r\n"))]
#[case::bad(IDLE, Step::say("TAG BAD what?\r\n"))]
#[case::ok_without_a_plus(IDLE, Step::say("TAG OK done\r\n"))]
fn a_server_without_idle_is_asked_at_each_heartbeat(#[case] capabilities: &[&str], #[case] answer: Step) {
    let has_arrived = Arc::new(AtomicBool::new(false));
    let announces = Arc::clone(&has_arrived);
    let announced =
        move |_: &Heard| Step::say("* 10 EXISTS\r\nTAG OK done\r\n").when(announces.load(Ordering::SeqCst));
    let script = Script::imap(capabilities).on("IDLE", move |_| answer.clone()).on("NOOP", announced);
    let server = script.start();
    let imap = waiting(config(&server).heartbeat(Duration::from_millis(20)));
    wait_until("polling", || {
        assert!(!imap.wait(SHORT).unwrap());
        imap.status().push == Some(Push::Polling)
    });
    has_arrived.store(true, Ordering::SeqCst);
    assert!(imap.wait(PATIENCE).unwrap());
    assert_eq!((imap.status().push, server.connections()), (Some(Push::Polling), 1));
}

#[test]
fn a_server_that_never_answers_idle_is_asked_at_each_heartbeat_from_the_second_time_on() {
    let announced = |heard: &Heard| Step::say("* 10 EXISTS\r\nTAG OK done\r\n").when(heard.here > 2);
    let script = Script::imap(IDLE).on("IDLE", |_| Step::Nothing).on("NOOP", announced);
    let server = script.says("SELECT", "* 0 EXISTS\r\n* OK [UIDVALIDITY 7] life\r\nTAG OK done\r\n").start();
    let timeout = Duration::from_secs(8);
    let imap = waiting(config(&server).heartbeat(Duration::from_millis(50)).timeout(timeout));
    while imap.status().push != Some(Push::Polling) {
        imap.wait(SHORT).unwrap();
        imap.fetch().ok();
    }
    assert_eq!(server.heard("IDLE").len(), 2);
}

#[rstest]
#[case::is_silent(Step::Nothing)]
#[case::hangs_up(Step::Close)]
fn a_call_goes_out_on_a_new_connection_when_the_server_does_not_end_idle(#[case] done: Step) {
    let server = Script::imap(IDLE).on("DONE", move |heard| done.clone().when(heard.nth == 2)).start();
    let imap = waiting(config(&server).timeout(Duration::from_secs(20)));
    // A connection that was heard of just before counts as alive.
    assert!(!imap.wait(Duration::from_secs(15)).unwrap());
    imap.noop().unwrap();
    assert_eq!(
        (server.connections(), server.heard("NOOP").len()),
        (2, 6),
        "also before each search of the fetch"
    );
}

#[rstest]
#[case::bye(Step::SayAndClose("+ idling\r\n* BYE go away\r\n".into()))]
#[case::hangs_up(Step::SayAndClose("+ idling\r\n".into()))]
#[case::torn(Step::SayAndClose("+ idling\r\n* 10 EX".into()))]
#[case::garbage(Step::say("+ idling\r\n\u{1}\u{2}\r\n"))]
#[case::endless(Step::Endless(b"+ idling\r\n".to_vec(), b"x".to_vec()))]
fn a_wait_goes_on_on_a_new_connection_and_finds_what_came_meanwhile(#[case] first: Step) {
    let server = idling(first).start();
    let imap = waiting(config(&server).backoff(Duration::from_millis(1), SHORT));
    // SELECT on the new connection tells of mail that no search has seen.
    assert!(imap.wait(PATIENCE).unwrap());
    assert_eq!(server.connections(), 2);
}

/// The longest interval without a command is that of heartbeats again, not that of IDLE's renewal.
#[test]
fn the_heartbeat_goes_on_after_a_wait() {
    let server = Script::imap(IDLE).on("IDLE", |_| Step::say("+ idling\r\n")).start();
    let imap = waiting(config(&server).heartbeat(Duration::from_millis(50)));
    // IDLE is renewed once, soon after its begin, and then for minutes not.
    assert!(!imap.wait(Duration::from_secs(3)).unwrap());
    imap.noop().unwrap();
    let before = server.heard("NOOP").len();
    wait_until("heartbeats", || server.heard("NOOP").len() > before + 2);
}

#[test]
fn a_server_that_ends_idle_by_itself_is_heard_again_after_a_heartbeat() {
    let idle = |heard: &Heard| match heard.nth {
        1 => Step::say("+ idling\r\nTAG OK enough\r\n"),
        _ => Step::say("+ idling\r\n* 10 EXISTS\r\n"),
    };
    let server = Script::imap(IDLE).on("IDLE", idle).start();
    let imap = waiting(config(&server).heartbeat(Duration::from_millis(20)));
    assert!(imap.wait(PATIENCE).unwrap());
    assert_eq!((server.connections(), server.heard("DONE").len()), (1, 0));
}

#[test]
fn a_message_that_arrived_between_noop_and_idle_is_found_by_a_second_look() {
    // The first NOOPs are those of the fetch and of its audit, the next one that before IDLE.
    let announced = |heard: &Heard| Step::say("* 10 EXISTS\r\nTAG OK done\r\n").when(heard.nth == 5);
    let server = Script::imap(IDLE).on("NOOP", announced).start();
    let imap = waiting(config(&server));
    assert!(imap.wait(PATIENCE).unwrap());
    assert_eq!((server.connections(), server.heard("IDLE").len()), (1, 2));
}

#[test]
fn idle_is_renewed() {
    let server = Script::imap(IDLE).start();
    let imap = waiting(config(&server).idle_renewal(Duration::from_secs(1)));
    std::thread::scope(|scope| {
        scope.spawn(|| imap.wait(PATIENCE));
        wait_until("IDLE to be renewed", || server.heard("IDLE").len() >= 3);
        imap.close().unwrap();
    });
    assert_eq!((server.connections(), server.heard("LOGOUT").len()), (1, 1));
    assert_eq!(server.heard("DONE").len(), server.heard("IDLE").len(), "also before LOGOUT");
}

#[test]
fn mail_that_is_not_announced_is_found_by_a_recheck_and_told_the_second_time() {
    // Each time that the client idles after a search, a message arrives.
    let (arrived, told) = (Arc::new(AtomicUsize::new(1)), Arc::new(AtomicUsize::new(1)));
    let (inbox, searched) = (Arc::clone(&arrived), Arc::clone(&told));
    let idle = move |_: &Heard| {
        inbox.store(searched.load(Ordering::SeqCst) + 1, Ordering::SeqCst);
        Step::Usual
    };
    let found = move |_: &Heard| {
        told.store(arrived.load(Ordering::SeqCst), Ordering::SeqCst);
        let uids: Vec<String> = (1..=told.load(Ordering::SeqCst)).map(|uid| uid.to_string()).collect();
        Step::Say(format!("* SEARCH {}\r\nTAG OK done\r\n", uids.join(" ")))
    };
    let fetch = |heard: &Heard| {
        let uid = heard.text.split(' ').nth(2).and_then(|uid| uid.parse().ok()).unwrap_or(1);
        Step::Say(fetched(uid, &mail(uid, "hello"), &heard.text) + "TAG OK done\r\n")
    };
    let script = Script::imap(IDLE).on("UID SEARCH UNDELETED SUBJECT", found).on("UID FETCH", fetch);
    let server = script.on("IDLE", idle).start();
    let imap = Imap::connect(config(&server).recheck(Duration::from_millis(500))).unwrap();
    let mut consumer = imap.consume();
    let mut pushed = Vec::new();
    for uid in 1..=3 {
        assert_eq!(consumer.next().unwrap().unwrap().uid().get(), uid);
        pushed.push(imap.status().push);
    }
    assert_eq!(pushed[1..], [Some(Push::Idle), Some(Push::Distrusted)]);
}

#[test]
fn a_consumer_survives_a_server_that_hangs_up_each_time_it_idles() {
    let server = holding(IDLE, &[mail(1, "hello")])
        .on("IDLE", |heard| Step::SayAndClose("+ idling\r\n".into()).when(heard.nth < 4))
        .start();
    let imap = Imap::connect(config(&server).backoff(Duration::from_millis(1), SHORT)).unwrap();
    let mut consumer = imap.consume();
    let first = consumer.next().unwrap().unwrap();
    imap.nack([&first], Duration::from_millis(200)).unwrap();
    assert_eq!(consumer.next().unwrap().unwrap().uid(), first.uid());
    assert!(imap.drain(Duration::ZERO) == 1 && consumer.next().is_none());
}
