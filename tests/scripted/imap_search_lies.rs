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
        .says("UID SEARCH UNDELETED", "* SEARCH 1 2 3 4 5 6\r\nTAG OK done\r\n")
        .on("UID FETCH", move |heard| fetch(&heard.text))
}

/// Returns `true` after an audit.
fn is_audited(server: &Scripted) -> bool {
    server.heard("UID SEARCH UNDELETED").iter().any(|command| !command.contains("SUBJECT"))
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

#[test]
fn an_inbox_of_foreign_mail_is_audited_once_until_it_changes() {
    let server = finding("")
        .ahead("UID SEARCH UNDELETED", |heard| {
            let found = if heard.text.contains("SUBJECT") { "" } else { " 1 2 4" };
            Step::Say(format!("* SEARCH{found}\r\nTAG OK done\r\n"))
        })
        .on("NOOP", |heard| Step::say("* 10 EXISTS\r\nTAG OK done\r\n").when(heard.nth == 5))
        .start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER)).unwrap();
    let audits = || server.heard("UID SEARCH UNDELETED").iter().filter(|it| !it.contains("SUBJECT")).count();
    for _ in 0..5 {
        assert!(imap.fetch().unwrap().is_empty());
    }
    assert_eq!(audits(), 2, "{:?}", server.heard("UID"));
    assert!(!imap.status().reads_subjects);
}

/// One message is expunged and another one arrives: the count is that of the last audit.
#[test]
fn an_inbox_of_as_many_messages_as_before_is_audited_again_after_an_arrival() {
    let server = finding("")
        .ahead("UID SEARCH UNDELETED", |heard| {
            let found = if heard.text.contains("SUBJECT") { "" } else { " 1 2 4" };
            Step::Say(format!("* SEARCH{found}\r\nTAG OK done\r\n"))
        })
        .on("NOOP", |heard| Step::say("* 1 EXPUNGE\r\n* 9 EXISTS\r\nTAG OK done\r\n").when(heard.nth == 5))
        .start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER)).unwrap();
    for _ in 0..5 {
        assert!(imap.fetch().unwrap().is_empty());
    }
    let lists = server.heard("UID SEARCH UNDELETED").into_iter().filter(|it| !it.contains("SUBJECT"));
    assert_eq!(lists.count(), 2, "{:?}", server.heard(""));
}

/// SEARCH finds nothing; a message that arrives behind the list of all mail shows only in the next list.
#[rstest]
#[case::behind_the_first_list(&["1 2 4\r\n* 10 EXISTS"])]
#[case::behind_a_later_one(&["1 2 3 4", "1 2 3 4\r\n* 10 EXISTS"])]
fn a_message_that_is_announced_behind_a_list_of_all_mail_is_found(#[case] first: &'static [&'static str]) {
    let lists = AtomicUsize::new(0);
    let server = finding("")
        .ahead("UID SEARCH UNDELETED", move |heard| {
            if heard.text.contains("SUBJECT") {
                return Step::say("* SEARCH\r\nTAG OK done\r\n");
            }
            let list = first.get(lists.fetch_add(1, Ordering::SeqCst)).unwrap_or(&"1 2 3 4 5 6");
            Step::Say(format!("* SEARCH {list}\r\nTAG OK done\r\n"))
        })
        .start();
    let imap = Imap::connect(imap_config(&server).recheck(NEVER)).unwrap();
    assert_eq!(next_of(&imap, imap.consume(), OURS.len()), OURS);
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
