//! The depth: how many messages wait, and how many are dead letters.

use std::time::Duration;

use pymail::{Imap, ImapConfig};
use rstest::rstest;
use rstest_reuse::apply;

use crate::fixtures::every_site;
use crate::mail_site::{Site, mail, message};
use crate::support::dialect::Search;
use crate::support::dovecot::dovecot_without;
use crate::support::postfix::PostfixOptions;

/// So long that a test which needs it fails by its own time limit.
const NEVER: Duration = Duration::from_secs(3_600);

/// The longest wait for an announcement on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn config(site: &Site) -> ImapConfig {
    site.imap_config().dead_letters(1)
}

fn depth(imap: &Imap) -> (usize, usize) {
    let depth = imap.depth().unwrap();
    (depth.waiting, depth.dead_letters)
}

#[apply(every_site)]
fn the_depth_counts_tagged_mail_in_the_inbox_and_dead_letters_without_their_notes(#[case] site: Site) {
    let imap = Imap::connect(config(&site)).unwrap();
    assert_eq!(depth(&imap), (0, 0), "there is no mailbox of dead letters");
    site.plant(&[], "From: eve@example.test\nSubject: lunch\n\nforeign\n");
    site.plant(&[], "From: eve@example.test\nSubject: Re: __TEST__ 1\n\nforeign\n");
    site.plant(&["\\Deleted"], "From: bob@example.test\nSubject: __TEST__ deleted\n\nhello\n");
    site.deliver(&[message("1", "a"), message("2", "b"), message("3", "c")]);
    // Without SEARCH, the Subjects are read; a SEARCH that finds everything finds any foreign mail.
    let waiting = match site.provider().map(|it| it.dialect.imap.search) {
        Some(Search::Nothing) => 3,
        Some(Search::Everything) => 5,
        _ => 4,
    };
    assert_eq!(depth(&imap), (waiting, 0), "foreign mail that has the tag counts until it is fetched");
    let batch = imap.fetch().unwrap();
    assert_eq!(depth(&imap), (3, 0), "messages that are not acknowledged wait");
    imap.reject(batch.iter().filter(|it| it.message().unwrap().id == "2"), "no such account").unwrap();
    assert_eq!(depth(&imap), (2, 1));
    imap.ack(batch.iter().filter(|it| it.message().unwrap().id == "1")).unwrap();
    assert_eq!(depth(&imap), (1, 1));
    assert_eq!(mail(&site.other_client(), "INBOX").len(), 4, "and nothing else has left the inbox");
    site.deliver(&[message("4", "d")]);
    assert_eq!(depth(&imap), (2, 1));
    let ids: Vec<_> = imap.fetch().unwrap().iter().map(|it| it.message().unwrap().id.clone()).collect();
    assert_eq!(ids, ["3", "4"], "the counting has hidden no message from the next fetch");
}

#[rstest]
#[case::the_server_counts(&[])]
#[case::the_server_does_not_count(&["ESEARCH", "SEARCHRES"])]
fn a_message_that_was_counted_still_ends_a_wait(#[case] hidden: &[&str]) {
    let site = Site::real(&dovecot_without(hidden), &PostfixOptions::default());
    let imap = Imap::connect(config(&site).recheck(NEVER).heartbeat(NEVER)).unwrap();
    assert!(imap.fetch().unwrap().is_empty());
    site.deliver(&[message("1", "a")]);
    assert_eq!(depth(&imap), (1, 0));
    assert!(imap.wait(PATIENCE).unwrap());
    assert_eq!(imap.fetch().unwrap().len(), 1);
}
