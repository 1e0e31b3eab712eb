//! Late, long, short and wrong responses of an IMAP server, and the mail that is delivered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use pymail::{ErrorKind, Imap, Message, UidSet};
use rstest::rstest;

use super::{imap, imap_config};
use crate::mail_site::{ALICE, TAG};
use crate::support::process::wait_until;
use crate::support::script::{Script, Step};

const UIDPLUS: &[&str] = &["UIDPLUS"];

pub(crate) fn mail(id: u32, body: &str) -> String {
    format!("From: bob@example.test\r\nTo: {ALICE}\r\nSubject: {TAG} {id}\r\n\r\n{body}")
}

/// Returns the response to a FETCH of one mail, with as much of it as was requested.
pub(crate) fn fetched(uid: u32, mail: &str, command: &str) -> String {
    let most = command.split_once("<0.").and_then(|(_, rest)| rest.split('>').next()?.parse().ok());
    let octets = &mail[..mail.len().min(most.unwrap_or(usize::MAX))];
    let (size, sent) = (mail.len(), octets.len());
    format!("* {uid} FETCH (UID {uid} RFC822.SIZE {size} BODY[]<0> {{{sent}}}\r\n{octets})\r\n")
}

/// Makes a server with these mails in its inbox, the first with UID 1.
pub(crate) fn holding(capabilities: &[&str], mails: &[String]) -> Script {
    let uids: Vec<String> = (1..=mails.len()).map(|uid| uid.to_string()).collect();
    let mails = mails.to_vec();
    Script::imap(capabilities)
        .on("UID FETCH", move |heard| {
            let answers: String =
                (1..).zip(&mails).map(|(uid, mail)| fetched(uid, mail, &heard.text)).collect();
            Step::Say(format!("{answers}TAG OK done\r\n"))
        })
        .says("UID SEARCH UNDELETED SUBJECT", format!("* SEARCH {}\r\nTAG OK done\r\n", uids.join(" ")))
}

pub(crate) fn three() -> Vec<String> {
    (1..=3).map(|id| mail(id, "hello")).collect()
}

fn numbers(uids: &UidSet) -> Vec<u32> {
    uids.iter().map(pymail::Uid::get).collect()
}

/// Fetches, and returns UIDs and bodies.
fn deliveries(imap: &Imap) -> Vec<(u32, String)> {
    let read = |message: &Message| message.text().unwrap().to_owned();
    let batch = imap.fetch().unwrap();
    batch.iter().map(|delivery| (delivery.uid().get(), read(delivery.message().unwrap()))).collect()
}

#[rstest]
#[case::bad("TAG BAD not now\r\n")]
#[case::no("TAG NO not now\r\n")]
fn a_refused_noop_in_flight_with_a_search_leaves_no_answer_for_the_next_search(
    #[case] refusal: &'static str,
) {
    let server = Script::imap(&[])
        .on("NOOP", move |heard| Step::say(refusal).when(heard.nth == 1))
        .on("UID SEARCH", |heard| Step::say("* SEARCH 1 2 3\r\nTAG OK done\r\n").when(heard.nth == 1))
        .says("UID SEARCH", "* SEARCH 9\r\nTAG OK done\r\n")
        .start();
    let imap = imap(&server);
    match imap.search("ALL") {
        Ok(uids) => assert_eq!(numbers(&uids), [1, 2, 3]),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}"),
    }
    assert_eq!(numbers(&imap.search("SEEN").unwrap()), [9]);
    assert_eq!(server.heard("UID SEARCH"), ["UID SEARCH ALL", "UID SEARCH SEEN"]);
    assert_eq!(server.connections(), 1);
}

#[rstest]
#[case(50_000, &[""])]
#[case(50_001, &["50001:* ", "1:50000 "])]
#[case(100_000, &["50001:* ", "1:50000 "])]
#[case(120_000, &["100001:* ", "50001:100000 ", "1:50000 "])]
fn a_large_mailbox_is_searched_in_windows_that_leave_nothing_out(
    #[case] exists: u32,
    #[case] windows: &[&str],
) {
    let select = format!("* {exists} EXISTS\r\n* OK [UIDVALIDITY 7] life\r\nTAG OK [READ-WRITE] done\r\n");
    let server = Script::imap(&[])
        .says("SELECT", select)
        .on("UID SEARCH", |heard| Step::Say(format!("* SEARCH {0} {0}0\r\nTAG OK done\r\n", heard.nth)))
        .start();
    let found = numbers(&imap(&server).search("ALL").unwrap());
    let asked: Vec<String> = windows.iter().map(|window| format!("UID SEARCH {window}ALL")).collect();
    assert_eq!(server.heard("UID SEARCH"), asked);
    let mut all: Vec<u32> = (1..).zip(windows).flat_map(|(n, _)| [n, n * 10]).collect();
    all.sort_unstable();
    assert_eq!(found, all);
}

#[rstest]
fn a_search_answer_with_a_modseq_has_its_uids_only() {
    let server = Script::imap(&[]).says("UID SEARCH", "* SEARCH 5 7 (MODSEQ 917)\r\nTAG OK done\r\n").start();
    assert_eq!(numbers(&imap(&server).search("MODSEQ 1").unwrap()), [5, 7]);
}

#[rstest]
fn search_return_options_are_a_config_error(
    #[values("RETURN (ALL) ALL", "return (count) all", "RETURN () ALL")] criteria: &str,
) {
    let server = Script::imap(&[]).start();
    assert_eq!(imap(&server).search(criteria).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(server.heard("UID SEARCH"), Vec::<String>::new());
}

#[rstest]
fn only_what_was_asked_for_is_delivered_and_once() {
    let server = Script::imap(&[])
        .says("UID SEARCH", "* SEARCH 1 3\r\nTAG OK done\r\n")
        .on("UID FETCH", |heard| {
            let one = |id: u32| fetched(id, &mail(id, &format!("body {id}")), &heard.text);
            let unasked = "* 7 FETCH (FLAGS (\\Seen))\r\n* 3 FETCH (UID 3 FLAGS (\\Seen))\r\n* 12 EXISTS\r\n";
            Step::Say(format!("{unasked}{}{}{}{unasked}{}TAG OK done\r\n", one(2), one(3), one(1), one(3)))
        })
        .start();
    assert_eq!(deliveries(&imap(&server)), [(1, "body 1".into()), (3, "body 3".into())]);
}

#[rstest]
#[case::within_a_line("first (and the rest)", 14)]
#[case::before_the_end("the end)", 1)]
#[case::before_a_line("the end\r\nUID 5 RFC822.SIZE 7)", 22)]
fn a_literal_that_is_too_short_is_an_error_and_no_cut_body(#[case] body: &str, #[case] missing: usize) {
    let mail = mail(1, body);
    let short = fetched(1, &mail, "")
        .replace(&format!("{{{}}}", mail.len()), &format!("{{{}}}", mail.len() - missing));
    let server = Script::imap(&[])
        .says("UID SEARCH", "* SEARCH 1\r\nTAG OK done\r\n")
        .says("UID FETCH", format!("{short}TAG OK done\r\n"))
        .start();
    let batch = imap(&server).fetch().unwrap();
    let kinds: Vec<_> =
        batch.iter().map(|it| it.message().map(|_| ()).map_err(|error| error.kind())).collect();
    assert_eq!(kinds, [Err(ErrorKind::Disconnected)]);
}

#[rstest]
fn mail_expunged_between_search_and_fetch_hides_no_other() {
    let server = Script::imap(&[])
        .on("UID SEARCH", |heard| Step::say("* SEARCH 1 2 3 4 5\r\nTAG OK done\r\n").when(heard.nth == 1))
        .says("UID SEARCH", "* SEARCH 3 4 5\r\nTAG OK done\r\n")
        .on("UID FETCH 3:4 ", |heard| {
            let mails: String = [3, 4].map(|id| fetched(id, &mail(id, "hello"), &heard.text)).concat();
            Step::Say(format!("{mails}TAG OK done\r\n"))
        })
        .start();
    let imap = Imap::connect(imap_config(&server).batch(2)).unwrap();
    assert_eq!(deliveries(&imap), [(3, "hello".into()), (4, "hello".into())]);
}

#[rstest]
fn of_a_copy_only_what_the_server_names_is_deleted() {
    let server = holding(UIDPLUS, &three()).says("UID COPY", "TAG OK [COPYUID 9 1,3 11:12] done\r\n").start();
    imap(&server).fetch().unwrap().ack().unwrap();
    assert_eq!(server.heard("UID COPY"), [format!("UID COPY 1:3 \"{TAG}\"")]);
    assert_eq!(server.heard("UID STORE"), [r"UID STORE 1,3 +FLAGS.SILENT (\Deleted)"]);
    assert_eq!(server.heard("UID EXPUNGE"), ["UID EXPUNGE 1,3"]);
    assert_eq!(server.heard("EXPUNGE"), Vec::<String>::new());
}

#[rstest]
fn a_copy_without_confirmation_is_an_error_and_nothing_is_deleted() {
    let server =
        holding(UIDPLUS, &three()).says("UID SEARCH UID 1:3", "* SEARCH 1 2 3\r\nTAG OK done\r\n").start();
    let error = imap(&server).fetch().unwrap().ack().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
    for destroying in ["UID STORE", "UID EXPUNGE", "EXPUNGE", "CLOSE"] {
        assert_eq!(server.heard(destroying), Vec::<String>::new());
    }
}

#[rstest]
fn without_move_and_uidplus_a_second_acknowledgement_copies_nothing_again() {
    let flagged = Arc::new(AtomicBool::new(false));
    let flags = Arc::clone(&flagged);
    let server = holding(&[], &three())
        .on("UID STORE", move |_| {
            flags.store(true, Ordering::SeqCst);
            Step::Usual
        })
        .on("UID SEARCH UID 1:3 UNDELETED", move |_| {
            Step::say("* SEARCH 1 2 3\r\nTAG OK done\r\n").when(!flagged.load(Ordering::SeqCst))
        })
        .start();
    let batch = imap(&server).fetch().unwrap();
    batch.ack().unwrap();
    batch.ack().unwrap();
    assert_eq!((server.heard("UID COPY").len(), server.heard("EXPUNGE").len()), (1, 0));
    assert_eq!(server.heard("UID STORE"), [r"UID STORE 1:3 +FLAGS.SILENT (\Deleted)"]);
}

#[rstest]
fn a_noop_may_take_longer_than_the_heartbeat() {
    let (_open, never) = mpsc::channel::<()>();
    let never = Mutex::new(never);
    let server = Script::imap(&[])
        .on("NOOP", move |_| {
            never.lock().unwrap().recv_timeout(Duration::from_millis(300)).unwrap_err();
            Step::Usual
        })
        .start();
    let imap = Imap::connect(imap_config(&server).heartbeat(Duration::from_millis(50))).unwrap();
    imap.noop().unwrap();
}

#[rstest]
fn stopping_does_not_wait_for_a_connection_that_the_heartbeat_is_making(#[values(false, true)] drops: bool) {
    let server = Script::imap(&[])
        .on("NOOP", |_| Step::Close)
        .on("GREETING", |heard| Step::Nothing.when(heard.connection > 1))
        .start();
    let imap = Imap::connect(imap_config(&server).heartbeat(Duration::from_millis(50))).unwrap();
    wait_until("the heartbeat's connection", || server.connections() > 1);
    let began = Instant::now();
    if drops {
        drop(imap);
    } else {
        imap.close().unwrap();
    }
    // The connection has 20 s.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[rstest]
fn mail_within_mail_without_end_is_a_message_error_and_harms_no_other() {
    let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(20_000);
    let bomb = format!("From: eve@example.test\r\nSubject: {TAG} 1\r\n{nested}");
    let server = holding(UIDPLUS, &[bomb, mail(2, "hello")]).start();
    let batch = imap(&server).fetch().unwrap();
    let kinds: Vec<_> = batch.iter().map(|it| it.message().err().map(|error| error.kind())).collect();
    assert_eq!(kinds, [Some(ErrorKind::Message), None]);
}

#[rstest]
#[case::line_breaks("<a\rBcc: eve@example.test\r\r.\r@example.test>")]
#[case::non_ascii("<n\u{e9}e@example.test>")]
#[case::controls("<a\u{7}\u{1b}[2Jb@example.test>")]
fn a_message_id_that_would_break_a_header_is_replaced(#[case] id: &str) {
    let mail = format!("Message-ID: {id}\r\n{}", mail(1, "hello"));
    let server = holding(UIDPLUS, &[mail]).start();
    let delivery = imap(&server).fetch().unwrap().into_deliveries().remove(0);
    let message = delivery.into_message().unwrap();
    let id = message.message_id().as_str();
    assert!(!id.is_empty() && id.bytes().all(|octet| octet.is_ascii_graphic()), "{id:?}");
    assert!(!id.contains("Bcc") && !id.contains("[2J"), "{id:?}");
}

#[rstest]
#[case::nothing("TAG OK done\r\n")]
#[case::others("* OK [COPYUID 9 77:78 11:12] done\r\nTAG OK done\r\n")]
fn a_move_that_moved_nothing_is_an_error_whatever_the_server_calls_it(#[case] answer: &'static str) {
    let server = holding(&["MOVE", "UIDPLUS"], &three())
        .says("UID MOVE", answer)
        .says("UID SEARCH UID 1:3", "* SEARCH 1 2 3\r\nTAG OK done\r\n")
        .start();
    let error = imap(&server).fetch().unwrap().ack().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
    assert!(error.to_string().contains("3 of 3"), "{error}");
}

#[rstest]
fn a_mail_that_comes_empty_once_is_delivered_when_it_comes_whole() {
    let server = Script::imap(UIDPLUS)
        .says("UID SEARCH", "* SEARCH 1\r\nTAG OK done\r\n")
        .on("UID FETCH", |heard| {
            let empty = "* 1 FETCH (UID 1 RFC822.SIZE 100 BODY[]<0> NIL)\r\nTAG OK done\r\n";
            Step::say(empty).when(heard.nth == 1)
        })
        .on("UID FETCH", |heard| Step::Say(fetched(1, &mail(1, "hello"), &heard.text) + "TAG OK done\r\n"))
        .start();
    let imap = Imap::connect(imap_config(&server).dedup_window(0)).unwrap();
    assert_eq!(deliveries(&imap), [(1, "hello".into())]);
}

#[rstest]
#[case::refused("TAG NO not now\r\n")]
#[case::read_only("* OK [UIDVALIDITY 7] life\r\nTAG OK [READ-ONLY] done\r\n")]
fn an_inbox_that_can_not_be_selected_again_is_looked_at_on_another_connection(#[case] answer: &'static str) {
    let empty = "* 0 EXISTS\r\n* OK [UIDVALIDITY 7] life\r\n* OK [UIDNEXT 1] next\r\nTAG OK done\r\n";
    let server = holding(&["UIDPLUS", "SEARCHRES"], &three())
        .on("SELECT", move |heard| Step::say(empty).when(heard.nth == 1))
        .on("SELECT", move |heard| Step::say(answer).when(heard.connection == 1))
        .ahead("UID", |heard| Step::say("TAG BAD nothing is selected\r\n").when(heard.connection == 1))
        .says("UID SEARCH RETURN (ALL) UNDELETED", "* ESEARCH (TAG \"TAG\") UID ALL 1:3\r\nTAG OK done\r\n")
        .start();
    let imap = Imap::connect(imap_config(&server).dedup_window(0)).unwrap();
    assert_eq!(imap.fetch().unwrap().len(), 3);
    assert_eq!((server.heard("SELECT").len(), server.connections()), (3, 2));
}
