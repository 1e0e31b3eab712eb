//! Announcements that come at a bad moment, and messages that become available while a consumer waits: no wait sleeps
//! through them, and none turns in circles.

use std::time::Duration;

use pymail::Imap;
use rstest::rstest;

use super::{NEVER, imap_config};
use crate::support::script::{Script, Scripted, Step};

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
#[case::behind_the_result("* SEARCH\r\n* 10 EXISTS\r\nTAG OK done\r\n")]
#[case::behind_one_that_was_found("* 10 EXISTS\r\n* SEARCH\r\n* 11 EXISTS\r\nTAG OK done\r\n")]
fn a_message_that_is_announced_behind_a_search_result_ends_the_wait(#[case] found: &'static str) {
    let server = Script::imap(&["MOVE", "UIDPLUS", "IDLE"])
        .on("UID SEARCH", move |heard| Step::say(found).when(heard.nth == 1))
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
