//! Announcements that come at a bad moment, and messages that become available while a consumer waits: no wait sleeps
//! through them, and none turns in circles.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use pymail::{Consumer, Delivery, ErrorKind, Imap};
use rstest::rstest;

use super::imap::{fetched, holding, mail};
use super::{NEVER, imap_config};
use crate::support::process::wait_until;
use crate::support::script::{Heard, Script, Scripted, Step};

/// The longest wait for an announcement.
const PATIENCE: Duration = Duration::from_secs(60);

/// An inbox with nothing in it yet, so that new mail is searched and fetched in one flight.
const EMPTY: &str =
    "* 0 EXISTS\r\n* OK [UIDVALIDITY 7] life\r\n* OK [UIDNEXT 1] next\r\nTAG OK [READ-WRITE] done\r\n";

/// Returns a handle on which messages are found by announcements alone, after a fetch. It reads no archive.
fn waiting(server: &Scripted) -> Imap {
    let imap = Imap::connect(imap_config(server).recheck(NEVER).dedup_window(0)).unwrap();
    drop(imap.fetch().unwrap());
    imap
}

/// The server announces a message behind the result of the search, which has missed it.
#[rstest]
#[case::behind_the_result("* SEARCH 1\r\n* 10 EXISTS\r\nTAG OK done\r\n")]
#[case::behind_one_that_was_found("* 10 EXISTS\r\n* SEARCH 1\r\n* 11 EXISTS\r\nTAG OK done\r\n")]
fn a_message_that_is_announced_behind_a_search_result_ends_the_wait(#[case] found: &'static str) {
    // A search that has never found anything would be audited.
    let server = holding(&["MOVE", "UIDPLUS", "IDLE"], &[mail(1, "hello")])
        .ahead("UID SEARCH", move |heard| Step::say(found).when(heard.nth == 1))
        .start();
    let imap = waiting(&server);
    assert!(imap.wait(PATIENCE).unwrap());
}

#[rstest]
#[case::before_the_result("* 10 EXISTS\r\n* SEARCH\r\nTAG OK done\r\n")]
#[case::without_a_result("* 10 EXISTS\r\nTAG OK done\r\n")]
fn a_message_that_was_searched_for_ends_no_wait(#[case] found: &'static str) {
    let server = Script::imap(&["MOVE", "UIDPLUS", "IDLE"])
        .on("UID SEARCH", move |heard| Step::say(found).when(heard.nth == 1))
        .start();
    let imap = waiting(&server);
    assert!(!imap.wait(Duration::from_millis(400)).unwrap());
}

/// Only the search for messages of ours finds what has come; other searches ask for other mail.
#[rstest]
fn a_message_that_is_announced_at_another_search_ends_the_wait() {
    let server = Script::imap(&["MOVE", "UIDPLUS", "IDLE"])
        .says("UID SEARCH FROM bob", "* 10 EXISTS\r\n* SEARCH\r\nTAG OK done\r\n")
        .start();
    let imap = waiting(&server);
    assert!(imap.search("FROM bob").unwrap().is_empty());
    assert!(imap.wait(PATIENCE).unwrap());
}

/// The last search of the flight leaves out the UIDs that new messages have.
#[rstest]
#[case::before_the_result("* 1 EXISTS\r\n* ESEARCH (TAG \"TAG\") UID\r\nTAG OK done\r\n")]
#[case::behind_the_result("* ESEARCH (TAG \"TAG\") UID\r\n* 1 EXISTS\r\nTAG OK done\r\n")]
fn a_message_that_is_announced_at_the_end_of_a_flight_ends_the_wait(#[case] others: &'static str) {
    let server = Script::imap(&["MOVE", "UIDPLUS", "IDLE", "SEARCHRES"])
        .says("SELECT", EMPTY)
        .says("UID SEARCH RETURN (SAVE", "* ESEARCH (TAG \"TAG\") UID\r\nTAG OK done\r\n")
        .says("UID FETCH $", "TAG OK done\r\n")
        .on("UID SEARCH RETURN (ALL) NOT", move |heard| match heard.nth {
            1 => Step::say(others),
            _ => Step::say("* ESEARCH (TAG \"TAG\") UID\r\nTAG OK done\r\n"),
        })
        .start();
    let imap = waiting(&server);
    assert_eq!(server.heard("UID SEARCH RETURN (ALL) NOT").len(), 1);
    assert!(imap.wait(PATIENCE).unwrap());
}

/// Has one thread wait for a message by a consumer, calls `meanwhile` once it waits, and returns the UID of the message.
fn next_of_a_waiting_consumer(server: &Scripted, imap: &Imap, meanwhile: impl FnOnce()) -> u32 {
    let idles = server.heard("IDLE").len();
    let (sender, received) = mpsc::channel();
    thread::scope(|threads| {
        threads.spawn(|| {
            let next = imap.consume().next().map(|delivery| delivery.unwrap().uid().get());
            sender.send(next).unwrap();
        });
        wait_until("the consumer to wait", || server.heard("IDLE").len() > idles);
        meanwhile();
        let next = received.recv_timeout(PATIENCE);
        let _ = imap.drain(Duration::ZERO);
        next.expect("a message").expect("no end")
    })
}

#[rstest]
#[case::returned(|imap: &Imap, delivery: &Delivery| imap.nack([delivery], Duration::from_millis(50)))]
#[case::rejected(|imap: &Imap, delivery: &Delivery| imap.reject([delivery], "not now"))]
fn a_message_that_another_thread_returns_wakes_a_waiting_consumer(
    #[case] give_back: fn(&Imap, &Delivery) -> pymail::Result<()>,
) {
    let server = holding(&["MOVE", "UIDPLUS", "IDLE"], &[mail(1, "hello")]).start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER).dead_letters(9)).unwrap();
    let mut consumer = imap.consume();
    let first = consumer.next().unwrap().unwrap();
    assert_eq!(next_of_a_waiting_consumer(&server, &imap, || give_back(&imap, &first).unwrap()), 1);
}

#[rstest]
fn the_drop_of_a_consumer_wakes_another_one_that_waits() {
    let server = holding(&["MOVE", "UIDPLUS", "IDLE"], &[mail(1, "hello")]).start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER)).unwrap();
    let mut consumer = imap.consume();
    consumer.next().unwrap().unwrap();
    assert_eq!(next_of_a_waiting_consumer(&server, &imap, || drop(consumer)), 1);
}

#[rstest]
fn a_rejected_message_comes_again_to_its_consumer() {
    let server = holding(&["MOVE", "UIDPLUS", "IDLE"], &[mail(1, "hello")]).start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER).dead_letters(3).max_in_flight(1)).unwrap();
    let mut consumer = imap.consume();
    for count in 1..=2 {
        let delivery = consumer.next().unwrap().unwrap();
        assert_eq!((delivery.uid().get(), delivery.delivery_count()), (1, count));
        imap.reject([&delivery], "not now").unwrap();
    }
}

/// Makes a server to which a copy of the first message comes after the first search, and then a third message.
fn with_a_copy(mails: u32) -> Script {
    let message = |uid: u32| {
        let id = if uid == 2 { 1 } else { uid };
        format!("Message-ID: <{id}@bob>\r\n{}", mail(id, "hello"))
    };
    let mails: Vec<String> = (1..=mails).map(message).collect();
    let uids: Vec<String> = (1..=mails.len()).map(|uid| uid.to_string()).collect();
    let all = format!("* SEARCH {}\r\nTAG OK done\r\n", uids.join(" "));
    sending(mails).on("UID SEARCH UNDELETED SUBJECT", move |heard| match heard.nth {
        1 => Step::say("* SEARCH 1\r\nTAG OK done\r\n"),
        _ => Step::Say(all.clone()),
    })
}

/// Makes a server that sends those of these mails that are asked for, the first with UID 1.
fn sending(mails: Vec<String>) -> Script {
    Script::imap(&["MOVE", "UIDPLUS", "IDLE"]).on("UID FETCH", move |heard| {
        let wanted = heard.text.split(' ').nth(2).unwrap_or_default();
        let has = |uid: u32| wanted.split(',').any(|it| covers(it, uid));
        let fetched = (1..).zip(&mails).filter(|(uid, _)| has(*uid));
        let fetched: String =
            fetched.map(|(uid, mail)| super::imap::fetched(uid, mail, &heard.text)).collect();
        Step::Say(fetched + "TAG OK done\r\n")
    })
}

/// Messages are announced within a fetch, while another consumer waits.
#[rstest]
#[case::by_a_consumer(1, |_: &Imap, consumer: &mut Consumer| usize::from(consumer.next().is_some()), 3)]
#[case::by_the_app(2, |imap: &Imap, _: &mut Consumer| imap.fetch().unwrap().len(), 2)]
fn a_message_that_another_thread_has_found_wakes_a_waiting_consumer(
    #[case] batch: usize,
    #[case] fetch: fn(&Imap, &mut Consumer) -> usize,
    #[case] left: u32,
) {
    let mails = (1..=3).map(|uid| mail(uid, "hello")).collect();
    let server = sending(mails)
        .on("UID SEARCH UNDELETED SUBJECT", |heard| match heard.nth {
            1 | 2 => Step::say("* SEARCH 1\r\nTAG OK done\r\n"),
            _ => Step::say("* 20 EXISTS\r\n* SEARCH 1 2 3\r\nTAG OK done\r\n"),
        })
        .start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER).batch(batch)).unwrap();
    let mut consumer = imap.consume();
    assert_eq!(consumer.next().unwrap().unwrap().uid().get(), 1);
    let fetch = || assert_eq!(fetch(&imap, &mut consumer), batch);
    assert_eq!(next_of_a_waiting_consumer(&server, &imap, fetch), left);
}

/// Returns `true` if a UID, or a range of them, is or has this one.
fn covers(range: &str, uid: u32) -> bool {
    let (first, last) = range.split_once(':').unwrap_or((range, range));
    let number = |text: &str| text.parse::<u32>().unwrap_or(0);
    (number(first)..=number(last)).contains(&uid)
}

#[rstest]
fn a_copy_of_a_message_in_flight_holds_back_no_other() {
    let server = with_a_copy(3).start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER).max_in_flight(2)).unwrap();
    let mut consumer = imap.consume();
    assert_eq!(consumer.next().unwrap().unwrap().uid().get(), 1);
    assert_eq!(next_of(&imap, consumer, 1), [3]);
}

/// Returns the next messages of a consumer, without waiting for ever.
pub fn next_of(imap: &Imap, consumer: Consumer, count: usize) -> Vec<u32> {
    let (sender, received) = mpsc::channel();
    thread::scope(|threads| {
        threads.spawn(move || {
            let next = consumer.take(count).map(|delivery| delivery.unwrap().uid().get());
            next.for_each(|uid| sender.send(uid).unwrap());
        });
        let uids = (0..count).map_while(|_| received.recv_timeout(PATIENCE).ok()).collect();
        let _ = imap.drain(Duration::ZERO);
        uids
    })
}

/// The first message is due again, and can't be handed out while its copy is in flight.
#[rstest]
fn a_returned_message_whose_copy_is_in_flight_is_not_fetched_again_and_again() {
    let server = with_a_copy(2).start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER)).unwrap();
    let mut consumer = imap.consume();
    let (mut delivery, mut delay) = (consumer.next().unwrap().unwrap(), Duration::from_millis(100));
    // On a slow machine, the first is due before the next is asked for.
    while delivery.uid().get() == 1 {
        delay *= 2;
        assert!(delay < PATIENCE, "the second never comes");
        imap.nack([&delivery], delay).unwrap();
        delivery = consumer.next().unwrap().unwrap();
    }
    let searches = || server.heard("UID SEARCH").len();
    let before = searches();
    thread::scope(|threads| {
        threads.spawn(move || assert!(consumer.next().is_none()));
        thread::park_timeout(3 * delay);
        let _ = imap.drain(Duration::ZERO);
    });
    assert!(searches() - before < 10, "{before}, then {} searches", searches());
}

#[test]
fn consumers_of_one_handle_have_no_more_messages_in_flight_than_the_limit() {
    let mails: Vec<String> = (1..=4).map(|uid| mail(uid, "hello")).collect();
    let server = holding(&["MOVE", "UIDPLUS", "IDLE"], &mails).start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER).max_in_flight(1)).unwrap();
    let (in_flight, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for mut consumer in mails.iter().map(|_| imap.consume()) {
            let (imap, in_flight, most) = (&imap, &in_flight, &most);
            scope.spawn(move || {
                let delivery = consumer.next().unwrap().unwrap();
                most.fetch_max(in_flight.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Time for the fetches of the others.
                (0..20).for_each(|_| imap.noop().unwrap());
                in_flight.fetch_sub(1, Ordering::SeqCst);
                imap.ack([&delivery]).unwrap();
            });
        }
    });
    assert_eq!(most.into_inner(), 1);
}

/// A message arrives while another mailbox is selected, and another one is expunged: their number is the same.
#[rstest]
#[case::one_has_come(10, true)]
#[case::none_has_come(9, false)]
fn a_message_that_comes_during_a_visit_ends_the_wait(#[case] next: u32, #[case] ends: bool) {
    let selected = |next: u32| {
        let codes = format!("* OK [UIDVALIDITY 7] life\r\n* OK [UIDNEXT {next}] next\r\n");
        format!("* 8 EXISTS\r\n{codes}TAG OK [READ-WRITE] done\r\n")
    };
    let server = Script::imap(&["MOVE", "UIDPLUS", "IDLE", "ESEARCH"])
        .says("STATUS \"__TEST__-dead", "* STATUS \"__TEST__-dead\" (MESSAGES 2)\r\nTAG OK done\r\n")
        .on("SELECT", move |heard| Step::say(selected(if heard.nth == 1 { 9 } else { next })))
        .says("UID SEARCH RETURN (COUNT)", "* ESEARCH (TAG \"TAG\") UID COUNT 1\r\nTAG OK done\r\n")
        .start();
    let imap = waiting(&server);
    imap.depth().unwrap();
    assert_eq!(server.heard("EXAMINE").len(), 1, "{:?}", server.heard(""));
    let timeout = if ends { PATIENCE } else { Duration::from_millis(400) };
    assert_eq!(imap.wait(timeout).unwrap(), ends);
}

/// The log of claims when it is read for the first time, and later: another consumer has claimed the message, too.
fn log_of_claims(reads: usize) -> String {
    let entries = ["f 7 claim 9", "f 7 claim 1"];
    let entry = |(uid, text): (usize, &&str)| {
        let text = format!("pymail-claims-1 {text}");
        format!("* {uid} FETCH (UID {uid} BODY[]<0> {{{}}}\r\n{text})\r\n", text.len())
    };
    let told = (1..).zip(&entries[..reads.min(2)]);
    told.map(entry).collect::<String>() + "TAG OK done\r\n"
}

/// Each of several consumers is woken; the first one to claim the message gets it, and the others claim nothing.
#[rstest]
fn a_consumer_does_not_claim_a_message_that_another_one_was_quicker_to_claim() {
    let (searches, reads) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
    let found = Arc::clone(&searches);
    let server = Script::imap(&["MOVE", "UIDPLUS", "IDLE"])
        .says(
            "SELECT \"__TEST__-claims",
            "* 2 EXISTS\r\n* OK [UIDVALIDITY 5] log\r\n* OK [UIDNEXT 2] next\r\nTAG OK [READ-WRITE] done\r\n",
        )
        .on("UID FETCH 1:* (UID BODY.PEEK[]<0", move |_| {
            Step::say(log_of_claims(reads.fetch_add(1, Ordering::SeqCst) + 1))
        })
        .says("STATUS", "* STATUS \"__TEST__-claims\" (UIDNEXT 3)\r\nTAG OK done\r\n")
        .on("UID SEARCH UNDELETED SUBJECT", move |_| match found.fetch_add(1, Ordering::SeqCst) {
            0 => Step::Say("* SEARCH 9\r\nTAG OK done\r\n".into()),
            _ => Step::Say("* SEARCH 1 9\r\nTAG OK done\r\n".into()),
        })
        .on("IDLE", |heard| Step::say("+ idling\r\n* 10 EXISTS\r\n").when(heard.nth == 1))
        .start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER).shared(Duration::from_secs(600))).unwrap();
    thread::scope(|threads| {
        threads.spawn(|| assert!(imap.consume().next().is_none()));
        wait_until("the second wait", || server.heard("IDLE").len() > 1);
        let _ = imap.drain(Duration::ZERO);
    });
    assert_eq!(server.heard("APPEND"), Vec::<String>::new(), "{:?}", server.heard(""));
}

/// A consumer has fetched three messages, and the app has got one.
#[rstest]
fn drain_waits_for_the_messages_that_the_app_has_got_and_lets_go_of_the_others() {
    let mails: Vec<String> = (1..=3).map(|uid| mail(uid, "hello")).collect();
    let server = holding(&["MOVE", "UIDPLUS", "IDLE"], &mails).start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER)).unwrap();
    let mut consumer = imap.consume();
    let first = consumer.next().unwrap().unwrap();
    assert_eq!(imap.drain(Duration::ZERO), 1, "only the first one is in flight");
    assert!(consumer.next().is_none());
    imap.ack([&first]).unwrap();
    assert_eq!(imap.drain(PATIENCE), 0);
    assert_eq!(imap.consume().next().unwrap().unwrap().uid().get(), 1, "the script's inbox never changes");
}

/// No announcement: the message is returned by this process.
#[rstest]
fn the_latency_of_push_is_that_of_announcements() {
    let server = holding(&["MOVE", "UIDPLUS", "IDLE"], &[mail(1, "hello")]).start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER)).unwrap();
    let mut consumer = imap.consume();
    let first = consumer.next().unwrap().unwrap();
    let uid = next_of_a_waiting_consumer(&server, &imap, || imap.nack([&first], Duration::ZERO).unwrap());
    assert_eq!((uid, imap.stats().push_latency.count), (1, 0));
}

/// Each fetch counts a delivery of all its messages, also of those that the app does not get.
#[rstest]
fn with_dead_letters_a_consumer_fetches_few_messages_at_a_time() {
    let mails: Vec<String> = (1..=30).map(|uid| mail(uid, "hello")).collect();
    let server = holding(&["MOVE", "UIDPLUS", "IDLE"], &mails).start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER).dead_letters(5)).unwrap();
    let mut consumer = imap.consume();
    let deliveries: Vec<Delivery> = consumer.by_ref().take(11).map(Result::unwrap).collect();
    assert_eq!(deliveries.iter().map(|it| it.uid().get()).collect::<Vec<_>>(), (1..=11).collect::<Vec<_>>());
    let fetches = server.heard("UID FETCH");
    let previews =
        fetches.iter().filter(|it| it.contains("BODY.PEEK[]")).map(|it| it.split(' ').nth(2).unwrap());
    assert_eq!(previews.collect::<Vec<_>>(), ["1:10", "11:20"]);
}

/// Returns an inbox with one message, which has the number of the connection as its UID, under a UIDVALIDITY of its own.
fn another_life_each_time() -> Script {
    let found = |heard: &Heard| Step::say(format!("* SEARCH {}\r\nTAG OK done\r\n", heard.connection));
    let fetch = |heard: &Heard| {
        let uid = u32::try_from(heard.connection).unwrap();
        Step::say(fetched(uid, &mail(uid, "hello"), &heard.text) + "TAG OK done\r\n")
    };
    let select = |heard: &Heard| {
        let validity = 6 + heard.connection;
        Step::say(format!("* 1 EXISTS\r\n* OK [UIDVALIDITY {validity}] life\r\nTAG OK [READ-WRITE] done\r\n"))
    };
    let script = Script::imap(&["MOVE", "UIDPLUS", "IDLE"]).on("SELECT", select);
    script.on("UID SEARCH", found).on("UID FETCH", fetch)
}

/// The message is gone when the app acknowledges it under an earlier UIDVALIDITY.
#[rstest]
fn a_message_whose_acknowledgement_is_stale_leaves_room_for_the_next_one() {
    let server = another_life_each_time().on("UID MOVE", |heard| Step::Close.when(heard.nth == 1)).start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER).max_in_flight(1).dedup_window(0)).unwrap();
    let mut consumer = imap.consume();
    let first = consumer.next().unwrap().unwrap();
    assert_eq!(imap.ack([&first]).unwrap_err().kind(), ErrorKind::StaleUids);
    assert_eq!(consumer.next().unwrap().unwrap().uid().get(), 2);
}

#[rstest]
fn a_message_whose_acknowledgement_is_stale_keeps_no_other_in_the_inbox() {
    let lost = |heard: &Heard| Step::Close.when(heard.connection == 1);
    let server = another_life_each_time().ahead("UID SEARCH FROM", lost).start();
    let imap = Imap::connect(imap_config(&server).dedup_window(0)).unwrap();
    let first = imap.fetch().unwrap();
    imap.search("FROM bob").unwrap();
    let second = imap.fetch().unwrap();
    let uids: Vec<u32> = first.iter().chain(&second).map(|it| it.uid().get()).collect();
    assert_eq!(uids, [1, 2]);
    let error = imap.ack(first.iter().chain(&second)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StaleUids, "{error:?}");
    let moved: Vec<String> = server.heard("UID MOVE");
    assert!(moved.len() == 1 && moved[0].starts_with("UID MOVE 2 "), "{moved:?}");
}
