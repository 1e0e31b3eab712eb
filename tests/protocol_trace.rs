//! The commands on the wire, from Dovecot's raw log: the number of round trips, and commands that must never be sent.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use pymail::{Imap, ImapConfig, Server};
use rstest::{fixture, rstest};

use crate::mail_site::{ALICE, Site, TAG, message};
use crate::support::dovecot::DovecotOptions;
use crate::support::files::set_mode;
use crate::support::postfix::PostfixOptions;
use crate::support::process::wait_until;

/// A site whose Dovecot logs the commands of Alice's clients.
#[fixture]
fn logging() -> Site {
    let options = DovecotOptions { extra: "rawlog_dir = %h/rawlog".into(), ..DovecotOptions::default() };
    let site = Site::real(&options, &PostfixOptions::default());
    site.deliver(&(0..20).map(|n| message(&n.to_string(), "hello")).collect::<Vec<_>>());
    // Dovecot logs once the folder exists; it does not create it.
    let folder = folder(&site);
    fs::create_dir(&folder).unwrap();
    set_mode(&folder, 0o777).unwrap();
    site
}

fn folder(site: &Site) -> std::path::PathBuf {
    site.dovecot().dir().join("mail").join(ALICE).join("rawlog")
}

/// Returns all commands of Alice's clients since the log began, without their tags.
fn commands(site: &Site) -> Vec<String> {
    let files = fs::read_dir(folder(site)).unwrap().map(|file| file.unwrap().path());
    let said = files.filter(|file| file.extension().is_some_and(|name| name == "in"));
    let lines = said.flat_map(|file| {
        let text = String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    // A line is: the time, the tag, the command.
    lines.filter_map(|line| line.splitn(3, ' ').nth(2).map(str::to_owned)).collect()
}

fn count(commands: &[String], beginning: &str) -> usize {
    commands.iter().filter(|command| command.starts_with(beginning)).count()
}

#[rstest]
fn a_batch_costs_one_search_one_fetch_and_one_move(#[from(logging)] site: Site) {
    let imap = site.imap();
    let batch = imap.fetch().unwrap();
    assert_eq!(batch.len(), 20);
    wait_until("the log", || count(&commands(&site), "UID FETCH") > 0);
    let before = commands(&site);
    assert_eq!((count(&before, "UID SEARCH"), count(&before, "UID FETCH")), (1, 1), "{before:?}");
    assert_eq!(count(&before, "NOOP"), 1, "in one flight with the search: {before:?}");
    batch.ack().unwrap();
    wait_until("the log", || count(&commands(&site), "UID MOVE") > 0);
    let after = commands(&site);
    assert_eq!(after.len() - before.len(), 1, "{after:?}");
}

#[rstest]
fn new_messages_are_fetched_in_the_round_trip_of_the_search_that_finds_them(#[from(logging)] site: Site) {
    let imap = site.imap();
    assert_eq!(imap.fetch_and_ack().unwrap().len(), 20);
    site.deliver(&[message("21", "new"), message("22", "new")]);
    assert_eq!(imap.fetch_and_ack().unwrap().len(), 2);
    wait_until("the log", || count(&commands(&site), "UID MOVE") > 1);
    let after = commands(&site);
    let words = after.iter().map(|command| command.split(' ').take(4).collect::<Vec<_>>().join(" "));
    let flight = [
        "SELECT \"INBOX\"",
        "UID SEARCH RETURN (SAVE",
        "UID FETCH $ (UID",
        "UID SEARCH RETURN (ALL)",
        "UID MOVE 21:22 \"__TEST__\"",
    ];
    assert!(words.collect::<Vec<_>>().windows(flight.len()).any(|words| words == flight), "{after:?}");
}

/// Selecting the inbox again would be slow, and a thread parses this many mails while they arrive.
#[rstest]
fn also_in_a_large_inbox_new_messages_are_fetched_in_the_round_trip_of_their_search(
    #[from(logging)] site: Site,
) {
    const FOREIGN: usize = 201;
    const NEW: usize = 450;
    let deliver = |subjects: Vec<String>| {
        let mails = subjects
            .iter()
            .map(|subject| format!("From: bob@example.test\r\nSubject: {subject}\r\n\r\nnew\r\n"));
        site.dovecot().deliver_all(ALICE, mails);
    };
    deliver((0..FOREIGN).map(|n| format!("hello {n}")).collect());
    let imap = site.imap();
    assert_eq!(imap.fetch_and_ack().unwrap().len(), 20);
    for part in [1, 2] {
        deliver((0..NEW).map(|n| format!("{TAG} {part}-{n}")).collect());
        // Makes the server announce the new messages.
        imap.noop().unwrap();
        let received = imap.fetch_and_ack().unwrap();
        let ids: BTreeSet<_> = received.iter().map(|it| it.message().unwrap().id.clone()).collect();
        assert_eq!((received.len(), ids.len()), (NEW, NEW));
    }
    let moved = || count(&commands(&site), "UID MOVE") > 2;
    wait_until("the log", moved);
    let all = commands(&site);
    assert_eq!((count(&all, "UID FETCH $") >= 2, count(&all, "SELECT")), (true, 1), "{all:?}");
    assert_eq!(count(&all, "UID FETCH") - count(&all, "UID FETCH $"), 1, "nothing is fetched twice: {all:?}");
}

#[rstest]
fn search_results_are_fetched_without_a_second_search(#[from(logging)] site: Site) {
    let imap = Imap::connect(site.imap_config().batch(5)).unwrap();
    let received: Vec<usize> =
        std::iter::repeat_with(|| imap.fetch_and_ack().unwrap().len()).take(5).collect();
    assert_eq!(received, [5, 5, 5, 5, 0]);
    wait_until("the log", || count(&commands(&site), "UID SEARCH RETURN (ALL) NOT") > 0);
    let all = commands(&site);
    let searches = count(&all, "UID SEARCH RETURN (ALL) UNDELETED");
    assert_eq!((searches, count(&all, "UID FETCH 1")), (1, 3), "{all:?}");
}

#[rstest]
fn neither_expunge_nor_close_is_ever_sent(#[from(logging)] site: Site) {
    let imap = site.imap();
    imap.fetch_and_ack().unwrap();
    imap.delete(&imap.search("ALL").unwrap()).unwrap();
    imap.close().unwrap();
    wait_until("LOGOUT", || count(&commands(&site), "LOGOUT") > 0);
    let all = commands(&site);
    assert_eq!((count(&all, "EXPUNGE"), count(&all, "CLOSE")), (0, 0), "{all:?}");
}

#[rstest]
#[case::tls(Site::imaps_server)]
#[case::starttls(Site::imap_server)]
fn a_new_connection_sends_id_select_and_create_but_asks_for_no_capability_that_login_told(
    #[from(logging)] site: Site,
    #[case] server: fn(&Site) -> Server,
) {
    let imap = Imap::connect(ImapConfig::new(server(&site), site.credentials()).tag(TAG)).unwrap();
    imap.noop().unwrap();
    wait_until("the log", || count(&commands(&site), "NOOP") > 0);
    // Dovecot sends its capabilities with the OK to the login, before the log begins.
    let id = concat!(r#"ID ("name" "pymail" "version" ""#, env!("CARGO_PKG_VERSION"), r#"")"#);
    assert_eq!(
        commands(&site),
        [
            id,
            "NAMESPACE",
            "SELECT \"INBOX\"",
            "CREATE \"__TEST__\"",
            "STATUS \"__TEST__\" (MESSAGES)",
            "NOOP"
        ]
    );
}

#[rstest]
fn an_idle_handle_sends_noop_and_a_dropped_handle_sends_logout(#[from(logging)] site: Site) {
    let imap = Imap::connect(site.imap_config().heartbeat(Duration::from_millis(100))).unwrap();
    wait_until("three heartbeats", || count(&commands(&site), "NOOP") >= 3);
    drop(imap);
    wait_until("LOGOUT", || count(&commands(&site), "LOGOUT") == 1);
}
