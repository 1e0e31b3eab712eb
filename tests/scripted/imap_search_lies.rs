//! Servers whose SEARCH SUBJECT does not find all tagged mail.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pymail::Imap;
use rstest::rstest;

use super::imap::{fetched, mail};
use super::imap_missed::next_of;
use super::imap_receiving::named;
use super::{NEVER, imap_config};
use crate::mail_site::ALICE;
use crate::support::script::{Script, Scripted, Step};

/// UIDs of tagged mails; the others are foreign.
const OURS: [u32; 2] = [3, 5];

/// The list of all mail; of the mail before the last two; of the foreign mail.
const ALL: &str = "* SEARCH 1 2 3 4 5 6\r\nTAG OK done";
const SOME: &str = "* SEARCH 1 2 3 4\r\nTAG OK done";
const FOREIGN: &str = "* SEARCH 1 2 4\r\nTAG OK done";

/// A refusal that may pass.
const BUSY: &str = "TAG NO [UNAVAILABLE] busy";

/// Makes a server with mails 1 to 6, whose SEARCH SUBJECT finds these.
fn finding(found: &'static str) -> Script {
    let foreign = |uid| format!("From: bob@example.test\r\nTo: {ALICE}\r\nSubject: lunch {uid}\r\n\r\nhi");
    let fetch = move |command: &str| {
        let mails = named(command).into_iter().map(|uid| {
            let mail = if OURS.contains(&uid) { mail(uid, "hello") } else { foreign(uid) };
            let headers = mail.split_inclusive("\r\n\r\n").next().unwrap_or_default();
            let sent = if command.contains("HEADER.FIELDS") { headers } else { &mail };
            fetched(uid, sent, command)
        });
        Step::Say(mails.collect::<String>() + "TAG OK done\r\n")
    };
    Script::imap(&["MOVE", "UIDPLUS", "IDLE"])
        .says("UID SEARCH UNDELETED SUBJECT", format!("* SEARCH {found}\r\nTAG OK done\r\n"))
        .says("UID SEARCH UNDELETED", format!("{ALL}\r\n"))
        .on("UID FETCH", move |heard| fetch(&heard.text))
}

/// Answers the lists of all mail, one after the other; the last one again and again.
fn listing(script: Script, lists: &'static [&'static str]) -> Script {
    let listed = AtomicUsize::new(0);
    script.ahead("UID SEARCH UNDELETED", move |heard| {
        if heard.text.contains("SUBJECT") {
            return Step::Usual;
        }
        let list = listed.fetch_add(1, Ordering::SeqCst).min(lists.len() - 1);
        Step::Say(format!("{}\r\n", lists[list]))
    })
}

/// Returns how many lists of all mail were asked for.
fn lists(server: &Scripted) -> usize {
    server.heard("UID SEARCH UNDELETED").iter().filter(|command| !command.contains("SUBJECT")).count()
}

/// Returns `true` after an audit.
fn is_audited(server: &Scripted) -> bool {
    lists(server) > 0
}

#[rstest]
#[case::nothing("")]
#[case::some("5")]
#[case::foreign_mail_only("1 2")]
fn a_consumer_gets_mail_that_search_does_not_find(#[case] found: &'static str) {
    let server = finding(found).start();
    let config = imap_config(&server).recheck(Duration::from_millis(50));
    let imap = Imap::connect(config).unwrap();
    let mut uids: Vec<u32> =
        imap.consume().take(OURS.len()).map(|delivery| delivery.unwrap().uid().get()).collect();
    uids.sort_unstable();
    assert_eq!(uids, OURS);
    assert!(imap.status().reads_subjects);
}

#[test]
fn fetch_finds_it_too_and_reads_each_subject_once() {
    let server = finding("").start();
    let imap = Imap::connect(imap_config(&server).recheck(Duration::from_millis(1))).unwrap();
    while imap.fetch().unwrap().is_empty() {} // until the first audit is due
    for _ in 0..3 {
        let uids: Vec<u32> = imap.fetch().unwrap().iter().map(|delivery| delivery.uid().get()).collect();
        assert_eq!(uids, OURS);
    }
    let reads = server.heard("UID FETCH").into_iter().filter(|command| command.contains("HEADER.FIELDS"));
    assert_eq!(reads.count(), 1);
}

/// An app that runs for a moment has no time for a recheck.
#[test]
fn the_first_fetch_finds_it_where_search_has_never_found_anything() {
    let server = finding("").start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER)).unwrap();
    for _ in 0..2 {
        let uids: Vec<u32> = imap.fetch().unwrap().iter().map(|delivery| delivery.uid().get()).collect();
        assert_eq!(uids, OURS);
    }
    assert!(imap.status().reads_subjects);
}

#[rstest]
#[case::another_arrives("* 10 EXISTS\r\nTAG OK done\r\n")]
#[case::another_arrives_in_the_place_of_one("* 1 EXPUNGE\r\n* 9 EXISTS\r\nTAG OK done\r\n")]
fn an_inbox_of_foreign_mail_is_audited_once_until_mail_arrives(#[case] news: &'static str) {
    let server = listing(finding(""), &[FOREIGN])
        .on("NOOP", move |heard| Step::say(news).when(heard.nth == 5))
        .start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER)).unwrap();
    for _ in 0..5 {
        assert!(imap.fetch().unwrap().is_empty());
    }
    assert_eq!(lists(&server), 2, "{:?}", server.heard("UID"));
    assert!(!imap.status().reads_subjects);
}

/// SEARCH finds nothing; the commands of an audit miss a message, or are refused once.
#[rstest]
#[case::announced_behind_the_first_list(&["* SEARCH 1 2 4\r\n* 10 EXISTS\r\nTAG OK done", ALL], "", 0)]
#[case::announced_behind_a_later_list(&[SOME, "* SEARCH 1 2 3 4\r\n* 10 EXISTS\r\nTAG OK done", ALL], "", 0)]
#[case::the_first_list_is_refused(&[BUSY, ALL], "", 0)]
#[case::a_later_list_is_refused(&[SOME, BUSY, ALL], "", 0)]
#[case::the_search_is_refused(&[ALL], "UID SEARCH UNDELETED SUBJECT", 2)]
#[case::a_later_search_is_refused(&[SOME, ALL], "UID SEARCH UNDELETED SUBJECT", 3)]
#[case::subjects_are_refused(&[ALL], "UID FETCH 1:6 (UID BODY.PEEK[HEADER", 1)]
#[case::later_subjects_are_refused(&[SOME, ALL], "UID FETCH 5:6 (UID BODY.PEEK[HEADER", 1)]
fn a_consumer_waits_for_no_recheck(
    #[case] lists: &'static [&'static str],
    #[case] refused: &'static str,
    #[case] nth: usize,
) {
    let script = finding("").ahead(refused, move |heard| {
        Step::Say(format!("{BUSY}\r\n")).when(!refused.is_empty() && heard.nth == nth)
    });
    let server = listing(script, lists).start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER)).unwrap();
    assert_eq!(next_of(&imap, imap.consume(), OURS.len()), OURS, "{:?}", server.heard("UID"));
}

/// SEARCH rightly leaves out messages that were flagged `\Deleted` since the list.
#[test]
fn a_message_that_is_deleted_meanwhile_is_not_missed() {
    let server = listing(finding(""), &[ALL, FOREIGN]).start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER)).unwrap();
    assert!(imap.fetch().unwrap().is_empty());
    assert_eq!(lists(&server), 2, "{:?}", server.heard("UID"));
    assert!(!imap.status().reads_subjects);
}

/// The server sends what comes before the mail that it refuses, and refuses that each time.
#[test]
fn a_mail_whose_headers_are_refused_hides_no_other() {
    let server = finding("")
        .ahead("UID FETCH", |heard| {
            let refuses = heard.text.contains("HEADER.FIELDS") && named(&heard.text).contains(&2);
            Step::say("TAG NO can't read it\r\n").when(refuses)
        })
        .start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER)).unwrap();
    assert_eq!(next_of(&imap, imap.consume(), OURS.len()), OURS, "{:?}", server.heard("UID"));
}

/// SEARCH finds all mail, and each audit is refused, with words that promise a change.
#[rstest]
#[case::the_list("UID SEARCH UNDELETED", "TAG NO [LIMIT] too many commands, try again in 1 second\r\n")]
#[case::subjects("UID FETCH 1:6 (UID BODY.PEEK[HEADER", "TAG NO [UNAVAILABLE] busy\r\n")]
fn a_server_that_refuses_each_audit_is_one_without_audits(
    #[case] refused: &'static str,
    #[case] refusal: &'static str,
) {
    let script = finding("").ahead(refused, move |heard| {
        Step::say(refusal).when(!heard.text.contains("SUBJECT") || refused.contains("FETCH"))
    });
    let searches = AtomicUsize::new(0);
    let server = script
        .ahead("UID SEARCH UNDELETED SUBJECT", move |_| {
            let found = if searches.fetch_add(1, Ordering::SeqCst) < 20 { "" } else { " 3 5" };
            Step::Say(format!("* SEARCH{found}\r\nTAG OK done\r\n"))
        })
        .start();
    let imap = Imap::connect(imap_config(&server).recheck(Duration::from_millis(1))).unwrap();
    let fetched: Vec<_> = (0..40).map(|_| imap.fetch().map(|batch| batch.len())).collect();
    let failed = fetched.iter().filter(|fetched| fetched.is_err()).count();
    assert_eq!((failed, fetched.last().unwrap().as_ref().unwrap()), (5, &OURS.len()), "{fetched:?}");
}

/// An inbox that was empty is searched and fetched in one flight.
#[test]
fn a_search_in_one_flight_with_a_fetch_is_audited_too() {
    const SELECTED: &str =
        "* OK [UIDVALIDITY 7] life\r\n* OK [UIDNEXT 1] next\r\nTAG OK [READ-WRITE] done\r\n";
    let server = finding("")
        .says("CAPABILITY", "* CAPABILITY IMAP4rev1 MOVE UIDPLUS IDLE ESEARCH SEARCHRES\r\nTAG OK done\r\n")
        .ahead("SELECT", |heard| {
            let exists = if heard.nth < 3 { 0 } else { 6 };
            Step::Say(format!("* {exists} EXISTS\r\n{SELECTED}"))
        })
        .ahead("UID SEARCH RETURN", |_| Step::say("* ESEARCH (TAG \"TAG\") UID\r\nTAG OK done\r\n"))
        .ahead("UID SEARCH RETURN (ALL) UNDELETED", |heard| {
            let found = if heard.text.contains("SUBJECT") { "" } else { " ALL 1:6" };
            Step::Say(format!("* ESEARCH (TAG \"TAG\") UID{found}\r\nTAG OK done\r\n"))
        })
        .ahead("UID FETCH $", |_| Step::say("TAG OK done\r\n"))
        .start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER).dedup_window(0)).unwrap();
    assert!(imap.fetch().unwrap().is_empty());
    let uids: Vec<u32> = imap.fetch().unwrap().iter().map(|delivery| delivery.uid().get()).collect();
    assert_eq!(uids, OURS, "{:?}", server.heard(""));
}

#[rstest]
#[case::exactly("3 5")]
#[case::everything("1 2 3 4 5 6")]
fn search_stays_in_use_where_it_finds_all(#[case] found: &'static str) {
    let server = finding(found).start();
    let imap = Imap::connect(imap_config(&server).recheck(Duration::from_millis(1))).unwrap();
    while !is_audited(&server) {
        assert_eq!(imap.fetch().unwrap().len(), OURS.len());
    }
    assert!(!imap.status().reads_subjects);
}

#[test]
fn a_refused_audit_fails_no_fetch() {
    let script = finding("3 5").ahead("UID SEARCH UNDELETED", |heard| {
        Step::say("TAG NO not now\r\n").when(!heard.text.contains("SUBJECT"))
    });
    let server = script.start();
    let imap = Imap::connect(imap_config(&server).recheck(Duration::from_millis(1))).unwrap();
    while !is_audited(&server) {
        assert_eq!(imap.fetch().unwrap().len(), OURS.len());
    }
}

#[test]
fn the_depth_counts_it_too_though_the_server_counts_without_it() {
    let server = finding("5")
        .says("CAPABILITY", "* CAPABILITY IMAP4rev1 ESEARCH\r\nTAG OK done\r\n")
        .ahead("UID SEARCH RETURN (COUNT)", |_| Step::say("* ESEARCH UID COUNT 1\r\nTAG OK done\r\n"))
        .start();
    let imap = Imap::connect(imap_config(&server).recheck(Duration::from_millis(1))).unwrap();
    while imap.depth().unwrap().waiting < OURS.len() {} // until the first audit is due
    assert!(imap.status().reads_subjects);
    assert_eq!(imap.depth().unwrap().waiting, OURS.len());
}

/// The server gives no counts, so that a search counts.
#[test]
fn the_depth_counts_it_at_once_and_an_inbox_of_foreign_mail_by_one_search() {
    let server = finding("").start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER)).unwrap();
    assert_eq!(imap.depth().unwrap().waiting, OURS.len());
    let server = listing(finding(""), &[FOREIGN]).start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER)).unwrap();
    (0..3).for_each(|_| assert_eq!(imap.depth().unwrap().waiting, 0));
    assert_eq!(lists(&server), 1, "{:?}", server.heard("UID"));
}
