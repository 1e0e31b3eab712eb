//! Failed acknowledgements: a repetition makes no second copy, and completed steps are remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use pymail::{ErrorKind, Imap, ImapConfig};
use rstest::rstest;

use super::imap::mail as unnamed;
use super::imap_config;
use crate::mail_site::TAG;
use crate::support::script::{Heard, Script, Scripted, Step};

const MOVE: &[&str] = &["MOVE", "UIDPLUS"];
const BARE_MOVE: &[&str] = &["MOVE"];
const UIDPLUS: &[&str] = &["UIDPLUS"];
const NEITHER: &[&str] = &[];

fn mail(id: u32) -> String {
    format!("Message-ID: <{id}@example.test>\r\n{}", unnamed(id, "hello"))
}

/// The mailboxes of a server.
#[derive(Default)]
struct Mailboxes {
    inbox: BTreeMap<u32, String>,
    archive: Vec<String>,
    deleted: BTreeSet<u32>,
    /// The number of times that the inbox has got another UIDVALIDITY.
    renumbered: u32,
    /// For each connection, `true` if the archive is selected.
    is_away: BTreeSet<usize>,
    is_missing: bool,
    /// `true` if it sends the beginning of a mail as BODY[] in response to a FETCH of its headers.
    sends_whole: bool,
}

/// Shared between a server and its test.
#[derive(Clone, Default)]
struct Held(Arc<Mutex<Mailboxes>>);

impl Held {
    fn with(uids: impl IntoIterator<Item = u32>) -> Self {
        let held = Self::default();
        held.0.lock().unwrap().inbox = uids.into_iter().map(|uid| (uid, mail(uid))).collect();
        held
    }

    /// Returns the number of waiting mails, and of copies of each in the archive.
    fn counts(&self) -> (usize, Vec<usize>) {
        let mailboxes = self.0.lock().unwrap();
        let mut copies: BTreeMap<&str, usize> = BTreeMap::new();
        for mail in &mailboxes.archive {
            *copies.entry(mail).or_default() += 1;
        }
        let waiting = mailboxes.inbox.keys().filter(|uid| !mailboxes.deleted.contains(uid)).count();
        (waiting, copies.into_values().collect())
    }

    /// Gives the inbox another UIDVALIDITY, and its mails other UIDs.
    fn renumber(&self) {
        let mut mailboxes = self.0.lock().unwrap();
        mailboxes.renumbered += 1;
        mailboxes.inbox =
            std::mem::take(&mut mailboxes.inbox).into_iter().map(|(uid, mail)| (uid + 10, mail)).collect();
        mailboxes.deleted = mailboxes.deleted.iter().map(|uid| uid + 10).collect();
    }

    fn script(&self, capabilities: &[&str]) -> Script {
        let held = self.clone();
        Script::imap(capabilities)
            .on("", move |heard| held.0.lock().unwrap().answer(heard).map_or(Step::Usual, Step::Say))
    }

    /// Carries out a command; returns its response.
    fn obey(&self, heard: &Heard) -> String {
        self.0.lock().unwrap().answer(heard).unwrap_or_default()
    }
}

impl Mailboxes {
    fn answer(&mut self, heard: &Heard) -> Option<String> {
        let words: Vec<&str> = heard.text.split(' ').collect();
        let is_away = self.is_away.contains(&heard.connection);
        let untagged = match words[..] {
            ["SELECT" | "EXAMINE", name, ..] => {
                let to_archive = name.contains(TAG);
                if to_archive && self.is_missing {
                    return Some("TAG NO there is no such mailbox\r\n".into());
                }
                if to_archive {
                    self.is_away.insert(heard.connection)
                } else {
                    self.is_away.remove(&heard.connection)
                };
                let (exists, validity) = if to_archive {
                    (self.archive.len(), 7)
                } else {
                    (self.inbox.len(), 7 + self.renumbered)
                };
                return Some(format!(
                    "* {exists} EXISTS\r\n* OK [UIDVALIDITY {validity}] life\r\nTAG OK [READ-WRITE] done\r\n"
                ));
            }
            ["CREATE", ..] => {
                self.is_missing = false;
                String::new()
            }
            ["STATUS", ..] if self.is_missing => return Some("TAG NO there is none\r\n".into()),
            ["STATUS", ..] => format!("* STATUS x (MESSAGES {})\r\n", self.archive.len()),
            ["UID", "SEARCH", ..] if is_away => {
                (1..=self.archive.len()).fold("* SEARCH".to_owned(), |line, uid| format!("{line} {uid}"))
                    + "\r\n"
            }
            ["UID", "SEARCH", ..] => {
                let named = words.iter().skip(2).skip_while(|&&word| word != "UID").nth(1);
                let uids: Vec<u32> = match named {
                    Some(set) => self.named(set),
                    None => self.inbox.keys().copied().collect(),
                };
                let flagged = heard.text.contains("UNDELETED");
                let uids = uids.iter().filter(|uid| !(flagged && self.deleted.contains(uid)));
                uids.fold("* SEARCH".to_owned(), |line, uid| format!("{line} {uid}")) + "\r\n"
            }
            ["UID", "FETCH", set, ..] => self.fetched(set, is_away, &heard.text),
            ["UID", "MOVE", set, ..] => {
                let uids = self.named(set);
                self.archive.extend(uids.iter().filter_map(|uid| self.inbox.remove(uid)));
                copyuid(&uids)
            }
            ["UID", "COPY", set, ..] => {
                let uids = self.named(set);
                self.archive.extend(uids.iter().map(|uid| self.inbox[uid].clone()));
                copyuid(&uids)
            }
            ["UID", "STORE", set, ..] => {
                self.deleted.extend(self.named(set));
                String::new()
            }
            ["UID", "EXPUNGE", set] => {
                self.named(set).iter().for_each(|uid| drop(self.inbox.remove(uid)));
                String::new()
            }
            _ => return None,
        };
        Some(untagged + "TAG OK done\r\n")
    }

    /// Returns those of these UIDs that are in the inbox.
    fn named(&self, set: &str) -> Vec<u32> {
        let ranges: Vec<(u32, u32)> = set
            .split(',')
            .map(|range| range.split_once(':').unwrap_or((range, range)))
            .map(|(first, last)| (first.parse().unwrap(), last.parse().unwrap()))
            .collect();
        let is_named = |uid: &u32| ranges.iter().any(|(first, last)| (first..=last).contains(&uid));
        self.inbox.keys().copied().filter(is_named).collect()
    }

    fn fetched(&self, set: &str, is_away: bool, command: &str) -> String {
        let section = if command.contains("HEADER") && !self.sends_whole { "HEADER" } else { "" };
        let mails: Vec<(u32, &String)> = if is_away {
            (1..).zip(&self.archive).collect()
        } else {
            self.named(set).into_iter().map(|uid| (uid, &self.inbox[&uid])).collect()
        };
        let one = |(uid, mail): (u32, &String)| {
            let octets = if section.is_empty() { mail } else { &mail[..mail.find("\r\n\r\n").unwrap() + 4] };
            let (size, length) = (mail.len(), octets.len());
            format!(
                "* {uid} FETCH (UID {uid} FLAGS () RFC822.SIZE {size} BODY[{section}]<0> {{{length}}}\r\n{octets})\r\n"
            )
        };
        mails.into_iter().map(one).collect()
    }
}

fn copyuid(uids: &[u32]) -> String {
    let named: Vec<String> = uids.iter().map(u32::to_string).collect();
    if uids.is_empty() {
        String::new()
    } else {
        format!("* OK [COPYUID 9 {} 1:{}] done\r\n", named.join(","), uids.len())
    }
}

fn config(server: &Scripted) -> ImapConfig {
    imap_config(server).max_connects_per_minute(6_000)
}

fn connected(server: &Scripted) -> Imap {
    Imap::connect(config(server)).unwrap()
}

/// A server's failure at a command, the first few times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    /// It hangs up without carrying out the command.
    Before,
    /// It carries out the command, and hangs up.
    After,
    /// It carries out the command, and refuses it.
    Lie,
    /// It refuses the command.
    No,
}

impl Blow {
    fn strike(self, held: &Held, heard: &Heard) -> Step {
        match self {
            Self::Before => Step::Close,
            Self::No => Step::say("TAG NO not now\r\n"),
            Self::After => {
                held.obey(heard);
                Step::Close
            }
            Self::Lie => {
                held.obey(heard);
                Step::say("TAG NO not now\r\n")
            }
        }
    }
}

/// Makes a server that fails at a command, this many times.
fn struck(held: &Held, capabilities: &[&str], command: &str, blow: Blow, times: usize) -> Scripted {
    let state = held.clone();
    let strike =
        move |heard: &Heard| if heard.nth <= times { blow.strike(&state, heard) } else { Step::Usual };
    held.script(capabilities).ahead(command, strike).start()
}

const COMMANDS: &[(&[&str], &[&str])] = &[
    (MOVE, &["UID MOVE"]),
    (BARE_MOVE, &["UID MOVE", "UID SEARCH UID"]),
    (UIDPLUS, &["UID COPY", "UID STORE", "UID EXPUNGE"]),
    (NEITHER, &["UID SEARCH UID", "UID COPY", "UID STORE"]),
];

#[rstest]
fn a_retry_after_any_failure_archives_each_message_once(
    #[values(Blow::Before, Blow::After, Blow::Lie, Blow::No)] blow: Blow,
    #[values(1, 2, 3)] times: usize,
) {
    for (capabilities, commands) in COMMANDS {
        for command in *commands {
            let held = Held::with([1, 2, 3]);
            let server = struck(&held, capabilities, command, blow, times);
            let imap = connected(&server);
            let batch = imap.fetch().unwrap();
            let acknowledged = (0..4).any(|_| batch.ack().is_ok());
            assert!(acknowledged, "{command} {capabilities:?}");
            assert_eq!(held.counts(), (0, vec![1, 1, 1]), "{command} {capabilities:?}");
            assert!(imap.fetch().unwrap().is_empty());
        }
    }
}

/// The first process ends, and the second one has no memory but the archive.
#[rstest]
fn a_copy_by_another_process_is_not_made_again(
    #[values(Blow::Before, Blow::After, Blow::Lie, Blow::No)] blow: Blow,
) {
    for (capabilities, commands) in COMMANDS {
        for command in *commands {
            let held = Held::with([1, 2, 3]);
            let server = struck(&held, capabilities, command, blow, 2);
            let first = connected(&server);
            let _ = first.fetch().unwrap().ack();
            drop(first);
            let second = connected(&server);
            while held.counts().0 > 0 {
                second.fetch().unwrap().ack().or_else(|_| second.fetch()?.ack()).unwrap();
            }
            assert_eq!(held.counts(), (0, vec![1, 1, 1]), "{command} {capabilities:?}");
        }
    }
}

#[rstest]
#[case::by_code("TAG NO [EXPUNGEISSUED] some of them are gone\r\n")]
#[case::in_small_letters("TAG no [expungeissued]\r\n")]
#[case::in_words("TAG NO Some of the requested messages no longer exist.\r\n")]
#[case::as_an_error("TAG BAD invalid message set\r\n")]
fn a_mail_that_another_client_removes_does_not_keep_the_others_in_the_inbox(#[case] refusal: &'static str) {
    for (capabilities, commands) in COMMANDS {
        for command in commands.iter().filter(|command| !command.contains("SEARCH")) {
            let held = Held::with([1, 2, 3]);
            let state = held.clone();
            // The server repeats it for each command on a mail that is gone.
            let server = held.script(capabilities).ahead(command, move |heard| {
                let mut mailboxes = state.0.lock().unwrap();
                mailboxes.inbox.remove(&2);
                let set = heard.text.split(' ').nth(2).unwrap();
                Step::say(refusal).when(set.contains('2') || set.contains(':'))
            });
            let imap = connected(&server.start());
            imap.fetch().unwrap().ack().unwrap_or_else(|error| panic!("{command} {capabilities:?}: {error}"));
            let (waiting, copies) = held.counts();
            assert!(waiting == 0 && copies.iter().all(|&times| times == 1), "{command} {copies:?}");
            assert!(copies.len() >= 2, "{command} {copies:?}");
        }
    }
}

#[rstest]
#[case::by_code("TAG NO [TRYCREATE] make it\r\n")]
#[case::in_small_letters("TAG no [trycreate]\r\n")]
#[case::otherwise("TAG NO [NONEXISTENT] unknown\r\n")]
#[case::in_words("TAG NO Mailbox doesn't exist: __TEST__\r\n")]
fn a_removed_archive_is_created_again_for_every_form_of_refusal(#[case] refusal: &'static str) {
    for (capabilities, commands) in COMMANDS {
        let command =
            commands.iter().find(|command| command.contains("MOVE") || command.contains("COPY")).unwrap();
        let held = Held::with([1, 2, 3]);
        let state = held.clone();
        let server = held
            .script(capabilities)
            .ahead(command, move |_| Step::say(refusal).when(state.0.lock().unwrap().is_missing));
        let server = server.start();
        let imap = connected(&server);
        let batch = imap.fetch().unwrap();
        held.0.lock().unwrap().is_missing = true;
        batch.ack().unwrap();
        assert_eq!(held.counts(), (0, vec![1, 1, 1]), "{command} {capabilities:?}");
        assert_eq!(server.heard("CREATE").len(), 2);
    }
}

/// More UIDs than fit on one command line, so that there are two commands.
#[rstest]
fn messages_archived_by_an_acknowledgement_that_fails_half_way_are_remembered() {
    let held = Held::with((1..=700).map(|n| 2 * n));
    let server = held
        .script(MOVE)
        .ahead("UID MOVE", |heard| Step::say("TAG NO [OVERQUOTA] full\r\n").when(heard.nth > 1));
    let server = server.start();
    let imap = connected(&server);
    let batch = imap.fetch().unwrap();
    assert_eq!(batch.ack().unwrap_err().code(), Some("OVERQUOTA"));
    let (waiting, archived) = held.counts();
    assert!(waiting > 0 && archived.len() > 100, "{waiting} {}", archived.len());
    // Another copy of the first, and of the last, which is not archived.
    held.0.lock().unwrap().inbox.extend([(2_001, mail(2)), (2_003, mail(1_400))]);
    let ids: Vec<String> = imap.deliveries().map(|it| it.unwrap().into_message().unwrap().id).collect();
    assert!(!ids.contains(&"2".to_owned()), "it was archived");
    assert_eq!(ids.len(), waiting, "the others wait");
}

#[rstest]
fn a_good_acknowledgement_takes_one_command() {
    let held = Held::with([1, 2, 3]);
    let server = held.script(MOVE).start();
    let batch = connected(&server).fetch().unwrap();
    let before = server.heard("").len();
    batch.ack().unwrap();
    assert_eq!(server.heard("")[before..].len(), 1);
}

#[rstest]
#[case::copy(UIDPLUS, "UID COPY")]
#[case::copy_with_move(MOVE, "UID COPY")]
fn a_copy_whose_response_is_lost_has_an_unknown_outcome(
    #[case] capabilities: &[&str],
    #[case] command: &str,
    #[values(Blow::Before, Blow::After)] blow: Blow,
) {
    let held = Held::with([1, 2, 3]);
    let server = struck(&held, capabilities, command, blow, 1);
    let imap = connected(&server);
    let uids = imap.search("ALL").unwrap();
    assert_eq!(imap.copy(&uids, TAG).unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    imap.noop().unwrap();
}

/// A server that takes one message at a time refuses the second one, for good or not, or hangs up after that.
#[rstest]
#[case::refused("TAG NO [CANNOT] no\r\n", false)]
#[case::refused_for_now("TAG NO [INUSE] later\r\n", false)]
#[case::lost_at_the_search_for_expunged_ones("TAG NO no\r\n", true)]
fn a_copy_that_fails_after_some_messages_has_an_unknown_outcome(
    #[case] answer: &'static str,
    #[case] hangs_up: bool,
) {
    let held = Held::with([1, 2, 3]);
    let second = move |heard: &Heard| Step::say(answer).when(heard.nth == 2);
    let script = held.script(&["UIDPLUS", "MESSAGELIMIT=1"]).ahead("UID COPY", second);
    let server = script.ahead("UID SEARCH UID", move |_| Step::Close.when(hangs_up)).start();
    let imap = connected(&server);
    let uids = imap.search("ALL").unwrap();
    let error = imap.copy(&uids, TAG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    assert!(!error.is_transient(), "a retry would make second copies");
    assert_eq!(held.counts().1, [1]);
}

#[rstest]
fn an_error_with_its_causes_names_the_command_once() {
    let held = Held::with([1]);
    let imap = connected(&struck(&held, UIDPLUS, "UID COPY", Blow::Before, 1));
    let uids = imap.search("ALL").unwrap();
    let text = format!("{:#}", imap.copy(&uids, TAG).unwrap_err());
    assert_eq!((text.matches("COPY").count(), text.matches("carried out").count()), (1, 1), "{text}");
}

#[rstest]
#[case(UIDPLUS, "UID COPY", ErrorKind::OutcomeUnknown)]
#[case(UIDPLUS, "UID STORE", ErrorKind::OutcomeUnknown)]
#[case(UIDPLUS, "UID EXPUNGE", ErrorKind::OutcomeUnknown)]
#[case(NEITHER, "UID STORE", ErrorKind::OutcomeUnknown)]
#[case(MOVE, "UID MOVE", ErrorKind::Disconnected)]
fn a_move_whose_response_is_lost_is_unknown_without_move_and_can_be_retried(
    #[case] capabilities: &[&str],
    #[case] command: &str,
    #[case] kind: ErrorKind,
    #[values(Blow::Before, Blow::After)] blow: Blow,
) {
    let held = Held::with([1, 2, 3]);
    let server = struck(&held, capabilities, command, blow, 1);
    let imap = connected(&server);
    let uids = imap.search("ALL").unwrap();
    assert_eq!(imap.move_to(&uids, TAG).unwrap_err().kind(), kind);
    imap.move_to(&uids, TAG).unwrap();
    assert_eq!(held.counts(), (0, vec![1, 1, 1]));
}

#[rstest]
#[case::by_move(MOVE, "UID MOVE")]
#[case::copied(UIDPLUS, "UID COPY")]
#[case::copied_and_deleted(NEITHER, "UID STORE")]
#[case::copied_and_expunged(UIDPLUS, "UID EXPUNGE")]
fn messages_that_were_moved_without_a_response_before_uidvalidity_changed_are_acknowledged(
    #[case] capabilities: &[&str],
    #[case] command: &str,
) {
    let held = Held::with([1, 2, 3]);
    let imap = connected(&renumbered_at(&held, capabilities, command, |_| ()));
    let batch = imap.fetch().unwrap();
    batch.ack().unwrap();
    assert_eq!(held.counts(), (0, vec![1, 1, 1]));
    batch.ack().unwrap();
    assert!(imap.fetch().unwrap().is_empty());
}

#[rstest]
fn a_message_that_is_not_in_the_archive_after_uidvalidity_changed_is_not_acknowledged(
    #[values(false, true)] is_removed: bool,
) {
    let held = Held::with([1, 2, 3]);
    let server = renumbered_at(&held, MOVE, "UID MOVE", move |mailboxes| {
        mailboxes.archive.truncate(2);
        if is_removed {
            (mailboxes.is_missing, mailboxes.archive) = (true, Vec::new());
        }
    });
    let batch = connected(&server).fetch().unwrap();
    for _ in 0..2 {
        let error = batch.ack().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StaleUids, "{error:?}");
        let missing = if is_removed { "3 of 3 messages" } else { "1 of 3 messages" };
        assert!(error.to_string().contains(missing), "{error}");
    }
}

/// Makes a server that carries out the first command of a kind, hangs up, and gives the inbox another UIDVALIDITY. Then
/// `change` happens to its mailboxes.
fn renumbered_at(
    held: &Held,
    capabilities: &[&str],
    command: &str,
    change: impl Fn(&mut Mailboxes) + Send + Sync + 'static,
) -> Scripted {
    let state = held.clone();
    let strike = move |heard: &Heard| {
        if heard.nth > 1 {
            return Step::Usual;
        }
        let step = Blow::After.strike(&state, heard);
        state.renumber();
        change(&mut state.0.lock().unwrap());
        step
    };
    held.script(capabilities).ahead(command, strike).start()
}

/// The app gets the messages of a failed `fetch_and_ack` by `fetch` and `ack`.
#[rstest]
fn messages_acknowledged_after_a_failed_fetch_and_ack_are_not_returned_by_the_next(
    #[values(false, true)] some: bool,
) {
    let held = Held::with([1, 2, 3]);
    let refusal = |heard: &Heard| Step::say("TAG NO [OVERQUOTA] full\r\n").when(heard.nth == 1);
    let imap = connected(&held.script(MOVE).ahead("UID MOVE", refusal).start());
    assert_eq!(imap.fetch_and_ack().unwrap_err().kind(), ErrorKind::Refused);
    let batch = imap.fetch().unwrap();
    assert_eq!(batch.len(), 3);
    imap.ack(batch.iter().take(if some { 2 } else { 3 })).unwrap();
    let received = imap.fetch_and_ack().unwrap();
    assert_eq!(received.len(), usize::from(some), "the one that was not acknowledged");
    assert_eq!(held.counts(), (0, vec![1, 1, 1]));
}

#[rstest]
fn a_fetch_and_ack_that_archives_half_of_its_messages_returns_all_of_them_later() {
    let held = Held::with((1..=700).map(|n| 2 * n));
    let server = held
        .script(MOVE)
        .ahead("UID MOVE", |heard| Step::say("TAG NO [OVERQUOTA] full\r\n").when(heard.nth == 2));
    let imap = connected(&server.start());
    assert_eq!(imap.fetch_and_ack().unwrap_err().code(), Some("OVERQUOTA"));
    assert_eq!(imap.fetch_and_ack().unwrap().len(), 700);
    assert!(imap.fetch_and_ack().unwrap().is_empty());
    assert_eq!(held.counts(), (0, vec![1; 700]));
}

/// After ten failed searches for copies the mail is moved all the same.
#[rstest]
fn an_archive_that_can_not_be_read_keeps_no_mail_in_the_inbox() {
    let held = Held::with([1, 2, 3]);
    let server = held
        .script(UIDPLUS)
        .ahead("UID COPY", |heard| Step::Close.when(heard.nth == 1))
        .ahead("EXAMINE", |_| Step::Close);
    let imap = Imap::connect(config(&server.start()).dedup_window(0)).unwrap();
    let batch = imap.fetch().unwrap();
    assert!((0..20).any(|_| batch.ack().is_ok()));
    assert_eq!(held.counts().0, 0);
}

#[rstest]
fn copies_are_known_where_a_server_sends_mails_in_place_of_their_headers(
    #[values(Blow::After, Blow::Lie)] blow: Blow,
    #[values(UIDPLUS, NEITHER)] capabilities: &[&str],
) {
    let held = Held::with([1, 2, 3]);
    held.0.lock().unwrap().sends_whole = true;
    let server = struck(&held, capabilities, "UID COPY", blow, 1);
    let imap = connected(&server);
    let batch = imap.fetch().unwrap();
    assert!((0..2).any(|_| batch.ack().is_ok()));
    assert_eq!(held.counts(), (0, vec![1, 1, 1]));
}

#[rstest]
fn a_server_that_announces_move_and_does_not_know_it_archives_by_copy(
    #[values("BAD unknown command", "NO [CANNOT] not here")] answer: &str,
    #[values(MOVE, BARE_MOVE)] capabilities: &[&str],
) {
    let held = Held::with([1, 2, 3]);
    let answer = format!("TAG {answer}\r\n");
    let server = held.script(capabilities).ahead("UID MOVE", move |_| Step::Say(answer.clone())).start();
    let imap = connected(&server);
    let batch = imap.fetch().unwrap();
    batch.ack().unwrap();
    assert_eq!(held.counts(), (0, vec![1, 1, 1]));
    assert!(imap.fetch().unwrap().is_empty());
}

/// With UIDPLUS, a server need not send COPYUID (RFC 4315).
#[rstest]
#[case::no_code("TAG OK done\r\n")]
#[case::no_text("TAG OK\r\n")]
fn copies_that_a_server_does_not_name_are_found_and_made_once(#[case] answer: &'static str) {
    let held = Held::with([1, 2, 3]);
    let state = held.clone();
    let server = held.script(UIDPLUS).ahead("UID COPY", move |heard| {
        state.obey(heard);
        Step::say(answer)
    });
    let imap = connected(&server.start());
    imap.fetch().unwrap().ack().unwrap();
    assert_eq!(held.counts(), (0, vec![1, 1, 1]));
}

/// More failures than searches for copies.
#[rstest]
#[case::at_the_search("UID SEARCH UID")]
#[case::at_the_mails("UID FETCH 1:3 (UID RFC822.SIZE BODY.PEEK[HEADER]")]
#[case::at_the_archive("EXAMINE")]
fn a_search_for_copies_that_the_server_defers_makes_no_second_copy(#[case] command: &str) {
    let held = Held::with([1, 2, 3]);
    let state = held.clone();
    let script = held.script(UIDPLUS).ahead("UID COPY", move |heard| {
        if heard.nth == 1 { Blow::After.strike(&state, heard) } else { Step::Usual }
    });
    let script =
        script.ahead(command, |heard| Step::say("TAG NO [UNAVAILABLE] later\r\n").when(heard.nth <= 15));
    let imap = Imap::connect(config(&script.start()).dedup_window(0)).unwrap();
    let batch = imap.fetch().unwrap();
    let failures = (0..20).take_while(|_| batch.ack().is_err()).count();
    assert!((11..20).contains(&failures), "{failures}");
    assert_eq!(held.counts(), (0, vec![1, 1, 1]));
}

/// The search for Message-IDs would find the copies, too; the server refuses it for good.
#[test]
fn a_refused_search_for_copies_does_not_hide_that_their_fetch_was_deferred() {
    let held = Held::with([1, 2, 3]);
    let state = held.clone();
    let script = held
        .script(UIDPLUS)
        .ahead(
            "UID COPY",
            move |heard| {
                if heard.nth == 1 { Blow::After.strike(&state, heard) } else { Step::Usual }
            },
        )
        .ahead("UID FETCH 1,2,3 (UID RFC822.SIZE BODY.PEEK[HEADER]", |heard| {
            Step::say("TAG NO [INUSE] later\r\n").when(heard.nth <= 15)
        })
        .ahead("UID SEARCH OR OR HEADER", |_| Step::say("TAG NO [CANNOT] no\r\n"));
    let imap = Imap::connect(config(&script.start()).dedup_window(0)).unwrap();
    let batch = imap.fetch().unwrap();
    let failures = (0..20).take_while(|_| batch.ack().is_err()).count();
    assert!((11..20).contains(&failures), "{failures}");
    assert_eq!(held.counts(), (0, vec![1, 1, 1]));
}
