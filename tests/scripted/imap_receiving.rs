//! Deliveries when the server leaves mail out of its responses, or another client expunges mail.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pymail::{Delivery, ErrorKind, Imap, ImapConfig};
use rstest::rstest;

use super::imap::{fetched, holding, mail};
use super::{imap, imap_config};
use crate::support::process::wait_until;
use crate::support::script::{Script, Scripted, Step};

/// Returns the UIDs that a command names.
pub(super) fn named(command: &str) -> Vec<u32> {
    let set = command.split(' ').nth(2).unwrap();
    let ranges = set.split(',').map(|range| range.split_once(':').unwrap_or((range, range)));
    ranges.flat_map(|(first, last)| first.parse().unwrap()..=last.parse().unwrap()).collect()
}

/// A server's response to a FETCH of several mails, and its end.
type Answer = (Vec<u32>, &'static str);

/// Makes a server with these mails, each with this body.
fn finding(
    uids: &[u32],
    body: &'static str,
    sends: impl Fn(Vec<u32>) -> Answer + Send + Sync + 'static,
) -> Script {
    let found = uids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let fetch = move |command: &str| {
        let (sent, outcome) = sends(named(command));
        let mails = sent.iter().map(|&uid| fetched(uid, &mail(uid, body), command));
        Step::Say(mails.collect::<String>() + "TAG " + outcome + "\r\n")
    };
    Script::imap(&["MOVE", "UIDPLUS"])
        .says("UID SEARCH UNDELETED", format!("* SEARCH {found}\r\nTAG OK done\r\n"))
        .on("UID FETCH", move |heard| fetch(&heard.text))
}

/// Returns a delivery's UID, or the reason of its failure.
pub(super) type Told = Result<u32, (u32, ErrorKind)>;

pub(super) fn told(delivery: &Delivery) -> Told {
    let uid = delivery.uid().get();
    delivery.message().map(|_| uid).map_err(|error| (uid, error.kind()))
}

pub(super) fn fetched_by(config: ImapConfig) -> pymail::Result<Vec<Told>> {
    Ok(Imap::connect(config)?.fetch()?.iter().map(told).collect())
}

const WITHHELD: Told = Err((BAD, ErrorKind::Refused));

const BAD: u32 = 2;

const REFUSAL: &str = "NO some mails could not be fetched";

fn all_others(mut uids: Vec<u32>) -> Answer {
    let before = uids.len();
    uids.retain(|uid| *uid != BAD);
    let outcome = if uids.len() < before { REFUSAL } else { "OK done" };
    (uids, outcome)
}

fn those_before(uids: Vec<u32>) -> Answer {
    let before = uids.iter().copied().take_while(|uid| *uid != BAD).collect();
    if uids.contains(&BAD) { (before, REFUSAL) } else { (uids, "OK done") }
}

fn none(uids: Vec<u32>) -> Answer {
    if uids.contains(&BAD) { (Vec::new(), REFUSAL) } else { (uids, "OK done") }
}

#[rstest]
#[case::the_others_come(all_others)]
#[case::it_stops_there(those_before)]
#[case::nothing_comes(none)]
fn a_mail_that_the_server_can_not_send_keeps_back_no_other(#[case] sends: fn(Vec<u32>) -> Answer) {
    let config = |server: &Scripted, batch| imap_config(server).dedup_window(0).batch(batch);
    let server = finding(&[1, 2, 3, 4, 5], "hello", sends).start();
    assert_eq!(fetched_by(config(&server, 10)).unwrap(), [Ok(1), WITHHELD, Ok(3), Ok(4), Ok(5)]);
    let server = finding(&[2, 3, 4], "hello", sends).start();
    let imap = Imap::connect(config(&server, 1)).unwrap();
    let fetched = || imap.fetch().unwrap().iter().map(told).collect::<Vec<_>>();
    assert_eq!([fetched(), fetched()], [[WITHHELD], [Ok(3)]], "it is said once, and does not wait in front");
    let server = finding(&[2], "hello", sends).start();
    assert_eq!(fetched_by(config(&server, 10)).unwrap(), [WITHHELD], "there is no other");
}

#[rstest]
fn a_server_that_sends_no_mail_at_all_is_not_asked_for_ever(#[values(5, 1_000)] batch: usize) {
    let uids: Vec<u32> = (1..=500).collect();
    let server = finding(&uids, "hello", |_| (Vec::new(), "NO not now")).start();
    let error = fetched_by(imap_config(&server).dedup_window(0).batch(batch)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
    assert!(server.heard("UID FETCH").len() < 120, "{}", server.heard("UID FETCH").len());
}

/// The oldest 100 of 1,000, which are known after more than one fetch.
#[rstest]
fn many_mails_that_the_server_can_not_send_keep_back_no_other_for_long() {
    let uids: Vec<u32> = (1..=1_000).collect();
    let server = finding(&uids, "hello", |mut uids| {
        let before = uids.len();
        uids.retain(|uid| *uid > 100);
        if uids.len() < before { (Vec::new(), REFUSAL) } else { (uids, "OK done") }
    })
    .start();
    let imap = Imap::connect(imap_config(&server).dedup_window(0).max_connects_per_minute(600)).unwrap();
    let came = |batch: pymail::Batch| batch.iter().filter(|it| it.message().is_ok()).count();
    let most = (0..10).map(|_| imap.fetch().map_or(0, came)).max();
    assert_eq!(most, Some(900));
}

#[rstest]
fn a_transient_refusal_ends_the_fetch_and_loses_nothing() {
    let server = finding(&[1, 2, 3], "hello", |uids| (uids, "OK done"))
        .ahead("UID FETCH", |heard| Step::say("TAG NO [UNAVAILABLE] later\r\n").when(heard.nth == 1))
        .start();
    let imap = Imap::connect(imap_config(&server).dedup_window(0)).unwrap();
    let mut walk = imap.deliveries();
    assert!(walk.next().unwrap().unwrap_err().is_transient());
    assert_eq!(server.heard("UID FETCH").len(), 1, "it is left in peace");
    assert_eq!(
        imap.deliveries().map(|delivery| delivery.unwrap().uid().get()).collect::<Vec<_>>(),
        [1, 2, 3]
    );
}

/// Only its words tell that it is: it has no code.
#[rstest]
fn a_refusal_that_passes_is_still_one_in_the_error_that_names_the_mail() {
    let server = finding(&[1, 2, 3], "hello", |uids| (uids, "OK done"))
        .ahead("UID FETCH", |heard| {
            Step::say("TAG NO Server busy\r\n").when(heard.text.contains("BODY.PEEK[]"))
        })
        .start();
    let imap = Imap::connect(imap_config(&server).dedup_window(0)).unwrap();
    let error = imap.fetch_uids(&imap.search("UNDELETED").unwrap()).unwrap_err();
    assert!(error.to_string().contains("mail UID 1") && error.is_transient(), "{error:?}");
}

/// Up to the last UID fetched, and behind it.
#[rstest]
fn deliveries_skips_no_mail_that_was_refused_for_a_while() {
    let passing = |sent: &[u32], command: &str| {
        let mails = sent.iter().map(|&uid| fetched(uid, &mail(uid, "hello"), command));
        Step::Say(mails.collect::<String>() + "TAG NO [UNAVAILABLE] later\r\n")
    };
    let server =
        finding(&[1, 2, 3, 4, 5], "hello", |uids| (uids, "OK done")).ahead("UID FETCH", move |heard| {
            match heard.nth {
                1 => passing(&[1, 5], &heard.text),
                2 => passing(&[2], &heard.text),
                _ => Step::Usual,
            }
        });
    let imap = Imap::connect(imap_config(&server.start()).dedup_window(0)).unwrap();
    assert_eq!(all_uids(&imap).unwrap(), [1, 2, 3, 4, 5]);
}

#[rstest]
fn a_mail_that_is_unavailable_for_ever_keeps_back_no_other_for_long() {
    let server = finding(&[1, 2, 3], "hello", |uids| {
        let no = "NO [UNAVAILABLE] UID FETCH server error, try again later";
        if uids.contains(&BAD) { (Vec::new(), no) } else { (uids, "OK done") }
    });
    let imap = Imap::connect(imap_config(&server.start()).dedup_window(0)).unwrap();
    assert!(imap.fetch().unwrap_err().is_transient());
    let batch: Vec<_> = imap.fetch().unwrap().iter().map(told).collect();
    assert_eq!(batch, [Ok(1), WITHHELD, Ok(3)]);
}

#[rstest]
fn a_message_refused_once_arrives_when_the_server_sends_it(#[values(1, 2, 10)] batch: usize) {
    let is_well = Arc::new(AtomicBool::new(false));
    let is_it = Arc::clone(&is_well);
    let server = finding(&[1, 2, 3, 4], "hello", move |uids| {
        let are_bad = uids.iter().any(|uid| *uid < 4) && !is_it.load(Ordering::SeqCst);
        if are_bad { (Vec::new(), REFUSAL) } else { (uids, "OK done") }
    })
    .start();
    let soon = Duration::from_millis(1);
    let imap = Imap::connect(imap_config(&server).dedup_window(0).batch(batch).backoff(soon, soon)).unwrap();
    let refused = |uid| Err((uid, ErrorKind::Refused));
    let walk = || imap.deliveries().map(|it| told(&it.unwrap())).collect::<Vec<_>>();
    assert_eq!(walk(), [refused(1), refused(2), refused(3), Ok(4)]);
    is_well.store(true, Ordering::SeqCst);
    wait_until("they come", || walk() == [Ok(1), Ok(2), Ok(3), Ok(4)]);
    wait_until("they come to a fetch, too", || imap.fetch().unwrap().len() == batch.min(4));
}

/// More runs of UIDs than fit in one command.
#[rstest]
fn of_scattered_mails_none_is_skipped_because_another_is_refused() {
    let uids: Vec<u32> = (1..=1_000).map(|n| 2 * n).collect();
    let server = finding(&uids, "hello", none).start();
    let imap = Imap::connect(imap_config(&server).dedup_window(0)).unwrap();
    let walked: Vec<_> = imap.deliveries().map(|it| told(&it.unwrap())).collect();
    assert_eq!(walked.iter().flatten().copied().collect::<BTreeSet<_>>().len(), 999);
    assert_eq!((walked[0], walked.len()), (WITHHELD, 1_000));
}

/// Returns the UIDs of `Imap::deliveries`, in order, or its first error.
fn all_uids(imap: &Imap) -> pymail::Result<Vec<u32>> {
    let uids: pymail::Result<Vec<u32>> =
        imap.deliveries().map(|it| it.map(|delivery| delivery.uid().get())).collect();
    let mut uids = uids?;
    uids.sort_unstable();
    Ok(uids)
}

#[rstest]
fn in_deliveries_a_withheld_mail_is_an_error_in_its_place(#[values(1, 2, 10)] batch: usize) {
    let server = finding(&[1, 2, 3, 4], "hello", all_others).start();
    let imap = Imap::connect(imap_config(&server).dedup_window(0).batch(batch)).unwrap();
    let walk = || imap.deliveries().map(|it| told(&it.unwrap())).collect::<Vec<_>>();
    assert_eq!(walk(), [Ok(1), WITHHELD, Ok(3), Ok(4)]);
    assert_eq!(walk(), [Ok(1), WITHHELD, Ok(3), Ok(4)], "on each walk");
}

#[rstest]
fn a_large_mail_that_the_server_can_not_send_keeps_back_no_other() {
    let body: &'static str = "0123456789".repeat(20_000).leak();
    let server = finding(&[1, 2, 3], body, |uids| (uids, "OK done"));
    let server = server.ahead("UID FETCH", |heard| {
        let is_whole = !heard.text.contains("<0.131072>");
        Step::say(format!("TAG {REFUSAL}\r\n")).when(is_whole && named(&heard.text).contains(&BAD))
    });
    assert_eq!(fetched_by(imap_config(&server.start()).dedup_window(0)).unwrap(), [Ok(1), WITHHELD, Ok(3)]);
}

#[rstest]
fn an_archived_mail_that_the_server_can_not_send_is_not_remembered_and_keeps_nothing_back() {
    let headers = |uid: &u32| {
        let text = format!("Message-ID: <{uid}@example.test>\r\nSubject: hello\r\n\r\n");
        format!("* {uid} FETCH (UID {uid} BODY[HEADER.FIELDS (SUBJECT)]<0> {{{}}}\r\n{text})\r\n", text.len())
    };
    let server = finding(&[7], "hello", |uids| (uids, "OK done"))
        .says("UID SEARCH 1:*", "* SEARCH 1 2 3\r\nTAG OK done\r\n")
        .ahead("UID FETCH", move |heard| {
            let is_of_headers = heard.text.contains("HEADER");
            let (sent, outcome) = if is_of_headers { all_others(named(&heard.text)) } else { (vec![], "") };
            let told: String = sent.iter().map(headers).collect();
            Step::Say(format!("{told}TAG {outcome}\r\n")).when(is_of_headers)
        })
        .start();
    assert_eq!(fetched_by(imap_config(&server)).unwrap(), [Ok(7)]);
    assert_eq!(server.heard("UID FETCH 1:3").len(), 1, "it was asked for");
}

#[rstest]
fn new_mail_is_fetched_at_once_when_all_mail_found_before_is_gone() {
    let server = finding(&[1, 2, 3, 4], "hello", |uids| match uids[..] {
        [3, 4] => (Vec::new(), "OK another client has taken them"),
        _ => (uids, "OK done"),
    })
    .ahead("UID SEARCH UNDELETED", |heard| Step::say("* SEARCH 5\r\nTAG OK done\r\n").when(heard.nth > 1))
    .says("UID MOVE", "* OK [COPYUID 9 1:2 11:12] moved\r\nTAG OK done\r\n")
    .start();
    let imap = Imap::connect(imap_config(&server).dedup_window(0).batch(2)).unwrap();
    assert_eq!(imap.fetch_and_ack().unwrap().len(), 2);
    let batch = imap.fetch().unwrap();
    assert_eq!(batch.iter().map(|delivery| delivery.uid().get()).collect::<Vec<_>>(), [5]);
}

#[rstest]
fn deliveries_returns_to_a_mail_that_had_no_room_behind_a_later_one() {
    let body: &'static str = "0123456789".repeat(12_000).leak();
    let server = finding(&[1, 2, 3, 4], body, |mut uids| {
        uids.reverse();
        (uids, "OK done")
    })
    .start();
    let imap = Imap::connect(imap_config(&server).dedup_window(0).batch_bytes(300_000)).unwrap();
    assert_eq!(all_uids(&imap).unwrap(), [1, 2, 3, 4]);
}

/// Of 60,000 mails with the UIDs 1 to 60,000, the first thousand go during the SEARCH of the first window.
#[rstest]
fn mails_that_are_expunged_between_the_windows_of_a_search_hide_no_others() {
    const ALL: u32 = 60_000;
    const GONE: u32 = 1_000;
    let server = Script::imap(&[])
        .says(
            "SELECT",
            format!("* {ALL} EXISTS\r\n* OK [UIDVALIDITY 7] life\r\nTAG OK [READ-WRITE] done\r\n"),
        )
        .on("UID SEARCH", |heard| {
            let gone = if heard.nth == 1 { 0 } else { GONE };
            let (first, last) = heard.text.split(' ').nth(2).unwrap().split_once(':').unwrap();
            let last = last.parse().unwrap_or(ALL - gone).min(ALL - gone);
            let mut said = "* SEARCH".to_owned();
            for number in first.parse::<u32>().unwrap()..=last {
                write!(said, " {}", number + gone).unwrap();
            }
            let expunged =
                if heard.nth == 1 { "* 1 EXPUNGE\r\n".repeat(GONE as usize) } else { String::new() };
            Step::Say(format!("{said}\r\n{expunged}TAG OK done\r\n"))
        })
        .start();
    let found: Vec<u32> = imap(&server).search("ALL").unwrap().iter().map(pymail::Uid::get).collect();
    assert_eq!(found, (GONE + 1..=ALL).collect::<Vec<_>>());
}

#[rstest]
fn a_mailbox_that_was_emptied_is_not_searched_for_numbers_that_it_has_no_more() {
    let select = "* 60000 EXISTS\r\n* OK [UIDVALIDITY 7] life\r\nTAG OK [READ-WRITE] done\r\n";
    let expunged = "* 1 EXPUNGE\r\n".repeat(59_999) + "* 1 FETCH (FLAGS ())\r\n* 1 EXPUNGE\r\n";
    let server = Script::imap(&[])
        .says("SELECT", select)
        .on("NOOP", move |heard| Step::Say(format!("{expunged}TAG OK done\r\n")).when(heard.nth == 1))
        .on("UID SEARCH", |heard| Step::say("TAG BAD no such mails\r\n").when(heard.text.contains(':')))
        .start();
    let imap = imap(&server);
    assert!(imap.search("ALL").unwrap().is_empty());
    assert!(imap.search("SEEN").unwrap().is_empty());
    assert_eq!(server.heard("UID SEARCH"), ["UID SEARCH ALL", "UID SEARCH SEEN"]);
}

#[rstest]
fn debug_of_a_handle_and_a_batch_is_short_and_shows_no_mail() {
    let mails = [mail(1, "a plain body"), mail(2, "a plain body")];
    let imap = imap(&holding(&[], &mails).start());
    let batch = imap.fetch().unwrap();
    assert_eq!(format!("{imap:?}"), r#"Imap { server: "localhost", inbox: "INBOX", state: Connected, .. }"#);
    assert_eq!(format!("{batch:?}"), "Batch { messages: 2, unreadable: 0, .. }");
    assert!(format!("{:?}", imap.deliveries()).ends_with("fetched: 0, .. }"));
    let text = format!("{:?}", batch.iter().collect::<Vec<_>>());
    assert!(text.contains(r#"id: "2""#) && !text.contains("a plain body"), "{text}");
}

#[rstest]
fn a_batch_is_an_iterator_by_value_and_by_reference() {
    let imap = imap(&holding(&[], &[mail(1, "a"), mail(2, "b")]).start());
    let batch = imap.fetch().unwrap();
    let mut uids = Vec::new();
    for delivery in &batch {
        uids.push(delivery.uid());
    }
    assert_eq!(uids.len(), 2);
    for (delivery, uid) in batch.into_iter().zip(uids) {
        assert_eq!(delivery.uid(), uid);
        assert!(delivery.into_message().is_ok());
    }
}
