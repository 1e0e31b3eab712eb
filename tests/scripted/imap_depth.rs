//! Counting the messages that wait, on servers that count or don't, or lie.

use rstest::rstest;

use super::{imap, imap_config};
use crate::support::script::{Script, Scripted, Step};

/// Makes a server with three matches in an inbox of nine messages, and no dead letters.
fn with_three(capabilities: &[&str], counts: &'static str) -> Scripted {
    Script::imap(capabilities)
        .says("STATUS", "TAG NO there is no such mailbox\r\n")
        .on("UID SEARCH RETURN (COUNT)", move |_| Step::say(counts))
        .says("UID SEARCH", "* SEARCH 2 5 7\r\nTAG OK done\r\n")
        .start()
}

#[rstest]
#[case::it_counts(&["ESEARCH"], "* ESEARCH (TAG \"TAG\") UID COUNT 3\r\nTAG OK done\r\n", 1)]
#[case::it_has_imap4rev2(&["IMAP4rev2"], "* ESEARCH (TAG \"TAG\") UID count 3\r\nTAG OK done\r\n", 1)]
#[case::it_does_not_count(&[], "TAG BAD what\r\n", 1)]
#[case::it_refuses_to_count(&["ESEARCH"], "TAG BAD what\r\n", 2)]
#[case::it_returns_no_count(&["ESEARCH"], "* ESEARCH (TAG \"TAG\") UID\r\nTAG OK done\r\n", 2)]
#[case::it_returns_matches(&["ESEARCH"], "* SEARCH 2 5 7\r\nTAG OK done\r\n", 2)]
#[case::it_counts_more_than_it_has(&["ESEARCH"], "* ESEARCH UID COUNT 4000000000\r\nTAG OK done\r\n", 2)]
#[case::it_counts_nonsense(&["ESEARCH"], "* ESEARCH UID COUNT 99999999999999\r\nTAG OK done\r\n", 2)]
#[case::it_counts_a_part(&["ESEARCH"], "* ESEARCH UID COUNT 1\r\nTAG OK [MESSAGELIMIT 5 4] done\r\n", 2)]
fn the_depth_is_what_the_server_counts_or_else_what_it_finds(
    #[case] capabilities: &[&str],
    #[case] counts: &'static str,
    #[case] searches: usize,
) {
    let server = with_three(capabilities, counts);
    let depth = imap(&server).depth().unwrap();
    assert_eq!((depth.waiting, depth.dead_letters), (3, 0));
    assert_eq!(server.heard("UID SEARCH").len(), searches);
}

#[rstest]
#[case::it_counts(&["ESEARCH"], "* ESEARCH (TAG \"TAG\") UID COUNT 2\r\nTAG OK done\r\n")]
#[case::it_finds(&[], "* SEARCH 2 4\r\nTAG OK done\r\n")]
#[case::it_counts_a_part(&["ESEARCH"], "* ESEARCH UID COUNT 1\r\nTAG OK [MESSAGELIMIT 5 4] done\r\n")]
fn dead_letters_are_counted_in_one_flight(#[case] capabilities: &[&str], #[case] counts: &'static str) {
    let server = Script::imap(capabilities)
        .says("STATUS", "* STATUS x (MESSAGES 4)\r\nTAG OK done\r\n")
        .says("EXAMINE", "* 4 EXISTS\r\n* OK [UIDVALIDITY 8] life\r\nTAG OK [READ-ONLY] done\r\n")
        .on("UID SEARCH", move |heard| match heard.text.contains("Dead letter") {
            true if heard.nth > 2 => Step::say("* SEARCH 2 4\r\nTAG OK done\r\n"),
            true => Step::say(counts),
            false => Step::Usual,
        })
        .start();
    let imap = imap(&server);
    let depth = imap.depth().unwrap();
    assert_eq!((depth.waiting, depth.dead_letters), (0, 2));
    assert_eq!(server.heard("EXAMINE").len(), server.heard("SELECT").len() - 1, "it has come back");
    assert!(imap.fetch().unwrap().is_empty());
}

/// A mailbox that another client removes between the two commands.
#[rstest]
fn a_mailbox_of_dead_letters_that_can_not_be_opened_is_an_error_and_the_inbox_is_selected_again() {
    let server = Script::imap(&["ESEARCH"])
        .says("STATUS", "* STATUS x (MESSAGES 4)\r\nTAG OK done\r\n")
        .says("EXAMINE", "TAG NO [NONEXISTENT] gone\r\n")
        .on("UID SEARCH", |heard| Step::say("TAG BAD no mailbox\r\n").when(heard.text.contains("letter")))
        .says("UID SEARCH RETURN (COUNT)", "* ESEARCH UID COUNT 0\r\nTAG OK done\r\n")
        .start();
    let imap = imap(&server);
    assert_eq!(imap.depth().unwrap_err().code(), Some("NONEXISTENT"));
    assert_eq!((server.heard("SELECT").len(), server.connections()), (2, 1));
    assert!(imap.fetch().unwrap().is_empty());
}

#[rstest]
#[case::asked_to_wait("STATUS", "TAG NO [UNAVAILABLE] the disk sleeps\r\n", Some("UNAVAILABLE"))]
#[case::listed(
    "LIST \"\" \"__TEST__/dead\"",
    "* LIST () \"/\" \"__TEST__/dead\"\r\nTAG OK done\r\n",
    Some("NOPERM")
)]
fn a_mailbox_of_dead_letters_that_exists_and_can_not_be_counted_is_an_error(
    #[case] command: &str,
    #[case] says: &'static str,
    #[case] code: Option<&str>,
) {
    let server = Script::imap(&[])
        .says("LIST \"\" \"\"", "* LIST (\\Noselect) \"/\" \"\"\r\nTAG OK done\r\n")
        .on(command, move |heard| {
            Step::say(says).when(heard.nth > usize::from(heard.text.ends_with("__TEST__\" (MESSAGES)")))
        })
        .on("STATUS", |heard| Step::say("TAG NO [NOPERM] not for you\r\n").when(heard.text.contains("dead")))
        .start();
    let error = pymail::Imap::connect(imap_config(&server)).unwrap().depth().unwrap_err();
    assert_eq!(error.code(), code, "{error}");
}
