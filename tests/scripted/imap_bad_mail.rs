//! One bad mail harms only itself, in every way of being bad.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pymail::{ErrorKind, Imap, ImapConfig};
use rstest::rstest;

use super::imap::{fetched, mail};
use super::imap_receiving::{Told, named, told};
use super::{NEVER, imap_config};
use crate::mail_site::TAG;
use crate::support::process::wait_until;
use crate::support::script::{Heard, Script, Scripted, Step};

const BAD: u32 = 3;
const BODY: &str = "hello";

/// A server's failure at the bad mail, after this beginning of a response.
type Bad = fn(said: String, command: &str) -> Step;

fn one(uid: u32, command: &str) -> String {
    fetched(uid, &mail(uid, BODY), command)
}

fn hangs_up(said: String, _: &str) -> Step {
    Step::SayAndClose(said)
}

fn hangs_up_within(said: String, command: &str) -> Step {
    Step::SayAndClose(said + &one(BAD, command)[..60])
}

fn says_goodbye(said: String, _: &str) -> Step {
    Step::SayAndClose(said + "* BYE FETCH failed: Internal error occurred.\r\n")
}

fn too_short(said: String, command: &str) -> Step {
    let (good, length) = (one(BAD, command), mail(BAD, BODY).len());
    let short = good.replace(&format!("{{{length}}}"), &format!("{{{}}}", length - 20));
    Step::Say(said + &short + "TAG OK done\r\n")
}

fn goes_on_for_ever(said: String, _: &str) -> Step {
    Step::Endless((said + "* 3 FETCH (UID 3 FLAGS () X \"").into(), b"x".into())
}

fn has_no_uid(said: String, command: &str) -> Step {
    Step::Say(said + &one(BAD, command).replace("UID 3 ", "") + "TAG OK done\r\n")
}

fn is_nil(said: String, _: &str) -> Step {
    Step::Say(said + "* 3 FETCH (UID 3 FLAGS () RFC822.SIZE 90 BODY[]<0> NIL)\r\nTAG OK done\r\n")
}

fn is_empty(said: String, _: &str) -> Step {
    Step::Say(said + "* 3 FETCH (UID 3 FLAGS () RFC822.SIZE 0 BODY[]<0> {0}\r\n)\r\nTAG OK done\r\n")
}

fn is_left_out(said: String, _: &str) -> Step {
    Step::Say(said + "TAG OK done\r\n")
}

fn is_refused(said: String, _: &str) -> Step {
    Step::Say(said + "TAG NO [SERVERBUG] it is damaged\r\n")
}

fn is_bad(said: String, _: &str) -> Step {
    Step::Say(said + "TAG BAD it is damaged\r\n")
}

fn is_silent(said: String, _: &str) -> Step {
    Step::Say(said)
}

fn ends_within(said: String, command: &str) -> Step {
    Step::Say(said + &one(BAD, command)[..80])
}

fn drips(said: String, _: &str) -> Step {
    Step::Drip((said + "* 3 FETCH (UID 3 FLAGS () RFC822.SIZE 90 BODY[]<0> {90}\r\nSubject: ").into())
}

/// Makes a server with these UIDs, whose response to a FETCH is `bad` from the bad mail on, while `is_ill`.
fn ill(uids: &[u32], bad: Bad, is_ill: impl Fn(&Heard) -> bool + Send + Sync + 'static) -> Script {
    let all = uids.to_vec();
    let found = move |heard: &Heard| {
        let uids = all.iter().filter(|uid| !heard.text.contains("SEARCH UID") || named_in(heard, **uid));
        let uids: Vec<String> = uids.map(u32::to_string).collect();
        Step::Say(format!("* SEARCH {}\r\nTAG OK done\r\n", uids.join(" ")))
    };
    Script::imap(&["MOVE", "UIDPLUS"])
        .on("UID SEARCH", found)
        .on("UID FETCH", move |heard| {
            let uids = named(&heard.text);
            let is_of_bodies = heard.text.contains("BODY.PEEK[]");
            let said = |uids: &[u32]| uids.iter().map(|&uid| one(uid, &heard.text)).collect::<String>();
            if !(uids.contains(&BAD) && is_of_bodies && is_ill(heard)) {
                return Step::Say(said(&uids) + "TAG OK done\r\n");
            }
            let before: Vec<u32> = uids.into_iter().take_while(|uid| *uid != BAD).collect();
            bad(said(&before), &heard.text)
        })
        .on("UID MOVE", |heard| {
            let set = heard.text.split(' ').nth(2).unwrap();
            let copies = (1..=named(&heard.text).len()).map(|n| (100 + n).to_string()).collect::<Vec<_>>();
            Step::Say(format!("* OK [COPYUID 9 {set} {}] moved\r\nTAG OK done\r\n", copies.join(",")))
        })
}

fn named_in(heard: &Heard, uid: u32) -> bool {
    let set = heard.text.split(' ').nth(3).unwrap();
    named(&format!("UID SEARCH {set}")).contains(&uid)
}

fn always_ill(uids: &[u32], bad: Bad) -> Scripted {
    ill(uids, bad, |_| true).start()
}

/// Returns a configuration with which no withheld message is due again within a test.
fn config(server: &Scripted) -> ImapConfig {
    imap_config(server).dedup_window(0).backoff(NEVER, NEVER)
}

fn fetch(imap: &Imap) -> Vec<Told> {
    imap.fetch().unwrap().iter().map(told).collect()
}

const LOST: Told = Err((BAD, ErrorKind::Disconnected));

#[rstest]
#[case::hangs_up(hangs_up, ErrorKind::Disconnected)]
#[case::hangs_up_within(hangs_up_within, ErrorKind::Disconnected)]
#[case::says_goodbye(says_goodbye, ErrorKind::Disconnected)]
#[case::too_short(too_short, ErrorKind::Disconnected)]
#[case::goes_on_for_ever(goes_on_for_ever, ErrorKind::Disconnected)]
#[case::has_no_uid(has_no_uid, ErrorKind::Message)]
#[case::is_nil(is_nil, ErrorKind::Message)]
#[case::is_empty(is_empty, ErrorKind::Message)]
#[case::is_left_out(is_left_out, ErrorKind::Message)]
#[case::is_refused(is_refused, ErrorKind::Refused)]
#[case::is_bad(is_bad, ErrorKind::Refused)]
fn a_bad_mail_is_an_error_in_its_place_and_the_others_come(#[case] bad: Bad, #[case] kind: ErrorKind) {
    let expected = [Ok(1), Ok(2), Err((BAD, kind)), Ok(4), Ok(5)];
    let server = always_ill(&[1, 2, 3, 4, 5], bad);
    let imap = Imap::connect(config(&server)).unwrap();
    assert_eq!(fetch(&imap), expected);
    let connections = server.connections();
    assert!(connections <= 3, "{connections}");
    assert_eq!(fetch(&imap).iter().flatten().collect::<Vec<_>>(), [&1, &2, &4, &5], "later, too");
    assert!(server.connections() <= connections + 1, "and at the price of no more connections");
    let walked: Vec<_> = imap.deliveries().map(|it| told(&it.unwrap())).collect();
    assert_eq!(walked, expected);
    let stats = imap.stats();
    assert!(stats.withheld >= 1 && stats.unreadable == 0, "{stats:?}");
}

/// Its beginning arrives, and the whole of it does not.
#[rstest]
#[case::hangs_up(|said| Step::SayAndClose(said))]
#[case::is_refused(|said| Step::Say(said + "TAG NO it is damaged\r\n"))]
#[case::is_left_out(|said| Step::Say(said + "TAG OK done\r\n"))]
fn a_large_mail_that_comes_in_part_only_keeps_back_no_other(#[case] bad: fn(String) -> Step) {
    let large = mail(BAD, &"0123456789".repeat(20_000));
    let server = ill(&[1, 2, 3, 4, 5], hangs_up, |_| false)
        .ahead("UID FETCH", move |heard| {
            let is_of_bodies = heard.text.contains("BODY.PEEK[]");
            let is_of_it = named(&heard.text).contains(&BAD);
            if !(is_of_bodies && is_of_it) {
                return Step::Usual;
            }
            let one = |uid| {
                if uid == BAD { fetched(uid, &large, &heard.text) } else { one(uid, &heard.text) }
            };
            if heard.text.contains("<0.131072>") || heard.text.contains("<0.16384>") {
                let all = named(&heard.text).into_iter().map(one).collect::<String>();
                return Step::Say(all + "TAG OK done\r\n");
            }
            bad(named(&heard.text).into_iter().take_while(|uid| *uid != BAD).map(one).collect())
        })
        .start();
    let imap = Imap::connect(config(&server)).unwrap();
    let batch = fetch(&imap);
    assert_eq!(batch.iter().flatten().collect::<Vec<_>>(), [&1, &2, &4, &5]);
    assert_eq!((batch.len(), batch[2].is_err()), (5, true));
}

#[rstest]
#[case::hangs_up(hangs_up)]
#[case::has_no_uid(has_no_uid)]
#[case::is_refused(is_refused)]
fn a_withheld_message_stays_in_the_inbox_whatever_is_acknowledged(#[case] bad: Bad) {
    let server = always_ill(&[1, 2, 3, 4], bad);
    let imap = Imap::connect(config(&server)).unwrap();
    imap.fetch().unwrap().ack().unwrap();
    assert_eq!(server.heard("UID MOVE"), [format!("UID MOVE 1:2,4 \"{TAG}\"")]);
    let server = always_ill(&[3], bad);
    let imap = Imap::connect(config(&server)).unwrap();
    assert_eq!(imap.fetch_and_ack().unwrap().len(), 1, "it is said");
    assert_eq!(
        imap.fetch_and_ack().unwrap().len(),
        0,
        "once for a while: to drain until nothing comes has an end"
    );
    assert_eq!(server.heard("UID MOVE"), Vec::<String>::new());
}

#[rstest]
#[case::hangs_up(hangs_up)]
#[case::is_nil(is_nil)]
#[case::is_refused(is_refused)]
fn with_dead_letters_a_withheld_message_is_moved_there_unread(#[case] bad: Bad) {
    let server = always_ill(&[1, 2, 3, 4], bad);
    let imap = Imap::connect(config(&server).dead_letters(3)).unwrap();
    assert_eq!(fetch(&imap).iter().flatten().collect::<Vec<_>>(), [&1, &2, &4]);
    assert_eq!(server.heard("UID MOVE").len(), 1);
    assert!(server.heard("UID MOVE")[0].starts_with("UID MOVE 3 "), "{:?}", server.heard("UID MOVE"));
    assert_eq!((imap.stats().dead_letters, imap.stats().withheld), (1, 1));
}

#[rstest]
fn a_foreign_mail_that_does_not_come_is_not_reported() {
    let foreign = "Subject: Re: lunch\r\n\r\n";
    let headers =
        format!("* 3 FETCH (UID 3 BODY[HEADER.FIELDS (SUBJECT)]<0> {{{}}}\r\n{foreign})\r\n", foreign.len());
    let server = ill(&[1, 3, 4], hangs_up_within, |_| true)
        .ahead("UID FETCH 3 (UID BODY.PEEK[HEADER", move |_| Step::Say(format!("{headers}TAG OK done\r\n")))
        .start();
    let imap = Imap::connect(config(&server).dead_letters(1)).unwrap();
    assert_eq!(fetch(&imap), [Ok(1), Ok(4)]);
    assert_eq!((server.heard("UID MOVE").len(), imap.stats().withheld), (0, 0));
}

#[rstest]
fn a_mail_whose_headers_do_not_come_either_is_not_touched() {
    let server = ill(&[1, 3, 4], hangs_up, |_| true).ahead("UID FETCH 3 (", |_| Step::Close).start();
    let imap = Imap::connect(config(&server).dead_letters(1)).unwrap();
    assert_eq!(fetch(&imap), [Ok(1), LOST, Ok(4)]);
    assert_eq!(server.heard("UID MOVE").len(), 0, "nothing shows that it is ours");
}

/// The response has no end, or stalls.
#[rstest]
#[case::is_silent(is_silent)]
#[case::ends_within(ends_within)]
fn a_response_without_end_delays_the_others_once(#[case] bad: Bad) {
    let server = always_ill(&[1, 2, 3, 4, 5], bad);
    let imap = Imap::connect(config(&server).timeout(Duration::from_secs(12))).unwrap();
    assert_eq!(fetch(&imap), [Ok(1), Ok(2)], "what came whole before it");
    assert_eq!(fetch(&imap), [Ok(1), Ok(2), Err((BAD, ErrorKind::Timeout)), Ok(4), Ok(5)]);
    let connections = server.connections();
    assert_eq!(fetch(&imap), [Ok(1), Ok(2), Ok(4), Ok(5)]);
    assert!(server.connections() <= connections + 1, "it is not asked for again so soon");
}

#[rstest]
fn a_mail_that_drips_is_skipped_by_the_next_fetch() {
    let server = always_ill(&[3, 4, 5], drips);
    let imap = Imap::connect(config(&server).timeout(Duration::from_secs(12))).unwrap();
    assert!(imap.fetch().unwrap_err().is_timeout());
    assert_eq!(fetch(&imap), [Err((BAD, ErrorKind::Timeout)), Ok(4), Ok(5)]);
}

#[rstest]
#[case::hangs_up(hangs_up)]
#[case::is_refused(is_refused)]
#[case::is_nil(is_nil)]
fn a_withheld_mail_is_delivered_when_the_server_sends_it_again(#[case] bad: Bad) {
    let is_ill = Arc::new(AtomicBool::new(true));
    let ask = Arc::clone(&is_ill);
    let server = ill(&[1, 2, 3, 4], bad, move |_| ask.load(Ordering::SeqCst)).start();
    let soon = Duration::from_millis(1);
    let imap = Imap::connect(config(&server).backoff(soon, soon)).unwrap();
    assert_eq!(fetch(&imap).len(), 4);
    is_ill.store(false, Ordering::SeqCst);
    wait_until("it comes", || fetch(&imap) == [Ok(1), Ok(2), Ok(3), Ok(4)]);
}

/// A connection that is lost by chance is no mail's fault.
#[rstest]
#[case::hangs_up(hangs_up)]
#[case::hangs_up_within(hangs_up_within)]
#[case::is_nil(is_nil)]
#[case::is_refused(is_refused)]
fn a_mail_that_failed_once_comes_in_the_same_fetch(#[case] bad: Bad) {
    let server = ill(&[1, 2, 3, 4], bad, |heard| heard.nth == 1).start();
    let imap = Imap::connect(config(&server)).unwrap();
    assert_eq!(fetch(&imap), [Ok(1), Ok(2), Ok(3), Ok(4)]);
    assert_eq!(imap.stats().withheld, 0);
}

/// The server holds back the others, too, if it responds in one piece.
#[rstest]
#[case::hangs_up(|| Step::Close)]
#[case::is_refused(|| Step::say("TAG NO it is damaged\r\n"))]
fn the_bad_mail_is_found_among_a_thousand_of_which_none_arrives_with_it(#[case] bad: fn() -> Step) {
    let others = (1_001..=1_600).chain([BAD]).chain(2_001..=2_399).collect::<Vec<_>>();
    let mut uids = others.clone();
    uids.sort_unstable();
    let server = ill(&uids, hangs_up, |_| false)
        .ahead("UID FETCH", move |heard| {
            let is_bad = named(&heard.text).contains(&BAD) && !heard.text.contains("HEADER");
            if is_bad { bad() } else { Step::Usual }
        })
        .start();
    let imap = Imap::connect(config(&server)).unwrap();
    let batch = fetch(&imap);
    assert_eq!((batch.len(), batch.iter().flatten().count()), (1_000, 999));
    assert!(server.connections() < 8 && server.heard("UID FETCH").len() < 40, "{}", server.connections());
}

#[rstest]
fn several_bad_mails_are_found_within_the_connections_of_a_minute() {
    let bad = [10, 11, 400, 800, 999];
    let found = (1..=1_000).map(|uid| uid.to_string()).collect::<Vec<_>>().join(" ");
    let server = Script::imap(&["MOVE", "UIDPLUS"])
        .says("UID SEARCH UNDELETED", format!("* SEARCH {found}\r\nTAG OK done\r\n"))
        .on("UID FETCH", move |heard| {
            let uids = named(&heard.text);
            let good = uids.iter().take_while(|uid| !bad.contains(*uid));
            let said: String = good.map(|&uid| one(uid, &heard.text)).collect();
            let is_good = heard.text.contains("HEADER") || uids.iter().all(|uid| !bad.contains(uid));
            let said = if is_good { uids.iter().map(|&uid| one(uid, &heard.text)).collect() } else { said };
            if is_good { Step::Say(said + "TAG OK done\r\n") } else { Step::SayAndClose(said) }
        })
        .start();
    let imap = Imap::connect(config(&server)).unwrap();
    let mut came = 0;
    for _ in 0..3 {
        came = came.max(fetch(&imap).iter().flatten().count());
    }
    assert_eq!(came, 995);
    assert!(server.connections() <= 25, "{}", server.connections());
}

#[rstest]
fn a_server_that_loses_every_connection_is_not_hammered_for_the_sake_of_its_mails() {
    let server = Script::imap(&[])
        .says("UID SEARCH", "* SEARCH 1 2 3 4 5 6 7 8 9\r\nTAG OK done\r\n")
        .on("UID FETCH", |_| Step::Close)
        .start();
    let imap = Imap::connect(config(&server)).unwrap();
    for _ in 0..20 {
        assert!(imap.fetch().unwrap_err().is_transient());
    }
    assert!(server.connections() <= 30, "{}", server.connections());
}

#[rstest]
fn fetch_uids_names_the_mail_that_does_not_come(#[values(hangs_up, is_refused)] bad: Bad) {
    let server = always_ill(&[1, 2, 3, 4], bad);
    let imap = Imap::connect(config(&server)).unwrap();
    let mut uids = imap.search("ALL").unwrap();
    let error = imap.fetch_uids(&uids).unwrap_err();
    assert!(error.to_string().contains("UID 3"), "{error}");
    uids.retain(|uid| uid.get() != BAD);
    assert_eq!(imap.fetch_uids(&uids).unwrap().len(), 3);
}

#[rstest]
#[case::hangs_up(|| Step::Close)]
#[case::is_refused(|| Step::say("TAG NO it is damaged\r\n"))]
#[case::is_silent(|| Step::Nothing)]
fn an_archive_that_can_not_be_read_keeps_no_mail_back(#[case] bad: fn() -> Step) {
    let server = ill(&[7], hangs_up, |_| false)
        .ahead("UID SEARCH 1:*", |_| Step::say("* SEARCH 1 2 3\r\nTAG OK done\r\n"))
        .ahead("UID FETCH 1:3", move |_| bad())
        .start();
    let config = imap_config(&server).backoff(NEVER, NEVER).timeout(Duration::from_secs(12));
    let imap = Imap::connect(config).unwrap();
    let batches = [fetch(&imap), fetch(&imap), fetch(&imap)];
    assert_eq!(batches, [[Ok(7)], [Ok(7)], [Ok(7)]]);
    assert!(server.connections() <= 3, "{}: it is not tried each time", server.connections());
}

/// Makes a server that ignores the requested length: its response exceeds the limit of a response.
#[rstest]
fn a_server_that_sends_whole_mails_when_it_is_asked_for_their_beginnings_is_asked_for_fewer() {
    let body: &'static str = "0123456789".repeat(200_000).leak();
    let uids: Vec<u32> = (1..=24).collect();
    let server = ill(&uids, hangs_up, |_| false)
        .ahead("UID FETCH", move |heard| {
            let is_of_bodies = heard.text.contains("BODY.PEEK[]");
            let all = named(&heard.text).into_iter().map(|uid| fetched(uid, &mail(uid, body), ""));
            Step::Say(all.collect::<String>() + "TAG OK done\r\n").when(is_of_bodies)
        })
        .start();
    let imap = Imap::connect(config(&server)).unwrap();
    assert_eq!(fetch(&imap), uids.iter().map(|uid| Ok(*uid)).collect::<Vec<Told>>());
    assert!(server.connections() <= 2, "{}", server.connections());
}

/// With SEARCHRES, the result of the SEARCH is fetched in the same round trip.
#[rstest]
#[case::hangs_up(|said| Step::SayAndClose(said))]
#[case::is_refused(|said| Step::Say(said + "TAG NO it is damaged\r\n"))]
fn new_mail_that_is_bad_keeps_back_no_other(#[case] bad: fn(String) -> Step, #[values(1, 3)] bad_uid: u32) {
    let empty =
        "* 0 EXISTS\r\n* OK [UIDVALIDITY 7] life\r\n* OK [UIDNEXT 1] next\r\nTAG OK [READ-WRITE] x\r\n";
    let found = |set: &str| format!("* ESEARCH (TAG \"TAG\") UID ALL {set}\r\nTAG OK done\r\n");
    let whole = found("1:5");
    let server = Script::imap(&["UIDPLUS", "SEARCHRES"])
        .says("SELECT", empty)
        .says("UID SEARCH RETURN (SAVE", whole.clone())
        .says("UID SEARCH RETURN (ALL) NOT", "* ESEARCH (TAG \"TAG\") UID\r\nTAG OK done\r\n")
        .says("UID SEARCH RETURN (ALL) UNDELETED", whole)
        .says("UID SEARCH UNDELETED", "* SEARCH 1 2 3 4 5\r\nTAG OK done\r\n")
        .on("UID FETCH", move |heard| {
            let saved = heard.text.replace('$', "1:5");
            let uids = named(&saved);
            let say = |uids: &[u32]| uids.iter().map(|&uid| one(uid, &saved)).collect::<String>();
            if !uids.contains(&bad_uid) || !saved.contains("BODY.PEEK[]") {
                return Step::Say(say(&uids) + "TAG OK done\r\n");
            }
            bad(say(&uids.into_iter().take_while(|uid| *uid != bad_uid).collect::<Vec<_>>()))
        })
        .start();
    let imap = Imap::connect(config(&server)).unwrap();
    let batch = fetch(&imap);
    let others: Vec<u32> = (1..=5).filter(|uid| *uid != bad_uid).collect();
    assert_eq!(batch.iter().flatten().copied().collect::<Vec<_>>(), others);
    assert_eq!((batch.len(), batch[bad_uid as usize - 1].is_err()), (5, true));
    assert_eq!(server.heard("UID FETCH $").len(), 1);
}

/// Dovecot refuses a SEARCH by Subject if it can't read one mail.
#[rstest]
fn a_mail_that_makes_search_fail_is_left_out_of_it_and_reported() {
    let uids: Vec<u32> = (1..=40).collect();
    let server = ill(&uids, is_refused, |_| true)
        .ahead("UID SEARCH", |heard| {
            let is_by_subject = heard.text.contains("SUBJECT") && !heard.text.ends_with("NOT UID 3");
            let is_of_it = !heard.text.contains("SEARCH UID") || named_in(heard, BAD);
            Step::say("TAG NO [SERVERBUG] Internal error occurred.\r\n").when(is_by_subject && is_of_it)
        })
        .ahead("UID FETCH 3 (UID BODY.PEEK[HEADER", |_| Step::say("TAG NO it is damaged\r\n"))
        .start();
    let imap = Imap::connect(config(&server)).unwrap();
    let batch = std::iter::repeat_with(|| imap.fetch()).find_map(Result::ok).unwrap();
    assert_eq!((batch.len(), batch.iter().filter(|it| it.message().is_ok()).count()), (40, 39));
    let searches = server.heard("UID SEARCH").len();
    assert!(searches < 25, "{searches}");
    assert_eq!(fetch(&imap).len(), 39);
    assert!(server.heard("UID SEARCH").len() <= searches + 2, "it is not looked for again");
}

/// Makes a server whose response to a FETCH of bodies is `bad` from the bad mail on, and which then has no such mail.
fn with_a_mail_that_disappears(bad: Bad) -> Scripted {
    let is_gone = Arc::new(AtomicBool::new(false));
    let goes = Arc::clone(&is_gone);
    let ill = ill(&[2, BAD, 4], bad, move |_| {
        goes.store(true, Ordering::SeqCst);
        true
    });
    let searched = move |heard: &Heard| {
        let is_there = |uid: &u32| *uid != BAD || !is_gone.load(Ordering::SeqCst);
        let uids = [2, BAD, 4].into_iter().filter(is_there);
        let uids = uids.filter(|uid| !heard.text.contains("SEARCH UID") || named_in(heard, *uid));
        let uids: Vec<String> = uids.map(|uid| uid.to_string()).collect();
        Step::Say(format!("* SEARCH {}\r\nTAG OK done\r\n", uids.join(" ")))
    };
    ill.ahead("UID SEARCH", searched).start()
}

#[rstest]
fn fetch_uids_is_an_error_for_mail_that_the_server_finds_and_does_not_send(
    #[values(is_left_out, is_nil, is_empty)] bad: Bad,
) {
    let server = always_ill(&[2, BAD], bad);
    let imap = Imap::connect(imap_config(&server)).unwrap();
    let uids = imap.search("ALL").unwrap();
    let error = imap.fetch_uids(&uids).unwrap_err();
    assert!(error.kind() == ErrorKind::Message && error.to_string().contains("UID 3"), "{error}");
    let server = with_a_mail_that_disappears(|said, _| Step::Say(said + &one(4, "") + "TAG OK done\r\n"));
    let imap = Imap::connect(imap_config(&server)).unwrap();
    let uids = imap.search("ALL").unwrap();
    assert_eq!(imap.fetch_uids(&uids).unwrap().len(), 2);
}

/// Some servers send less than requested, and than RFC822.SIZE announces.
#[rstest]
#[case::of_any_size(10_000, 30_000)]
#[case::of_large_mails(200_000, 300_000)]
fn mail_that_a_server_cuts_is_fetched_without_a_limit(#[case] most: usize, #[case] length: usize) {
    let body = "x".repeat(length);
    let long = mail(2, &body);
    let server = Script::imap(&["MOVE", "UIDPLUS"])
        .says("UID SEARCH", "* SEARCH 2\r\nTAG OK done\r\n")
        .on("UID FETCH", move |heard| {
            let asked = heard.text.split_once("<0.").map(|(_, rest)| rest.split('>').next().unwrap());
            let most = asked.map_or(usize::MAX, |asked| most.min(asked.parse().unwrap()));
            Step::Say(fetched(2, &long, &format!("<0.{most}>")) + "TAG OK done\r\n")
        })
        .start();
    let imap = Imap::connect(imap_config(&server)).unwrap();
    let batch = imap.fetch().unwrap();
    let message = batch.iter().next().unwrap().message().unwrap();
    assert!(message.body.len() >= length, "{}", message.body.len());
    let uids = imap.search("ALL").unwrap();
    assert_eq!(imap.fetch_uids(&uids).unwrap()[0].octets.len(), mail(2, &body).len());
}

#[test]
fn sizes_that_are_estimates_cost_one_more_fetch_and_no_mail() {
    let server = Script::imap(&["MOVE", "UIDPLUS"])
        .says("UID SEARCH", "* SEARCH 1 2\r\nTAG OK done\r\n")
        .on("UID FETCH", |heard| {
            let sent = named(&heard.text).into_iter().map(|uid| one(uid, &heard.text));
            let sent = sent.map(|it| it.replace("RFC822.SIZE ", "RFC822.SIZE 9"));
            Step::Say(sent.collect::<String>() + "TAG OK done\r\n")
        })
        .start();
    let imap = Imap::connect(imap_config(&server)).unwrap();
    for _ in 0..3 {
        assert!(imap.fetch().unwrap().iter().all(|it| it.message().is_ok()));
    }
    let entire = server.heard("UID FETCH").iter().filter(|line| !line.contains("<0.")).count();
    assert_eq!(entire, 1, "{:?}", server.heard("UID FETCH"));
}
