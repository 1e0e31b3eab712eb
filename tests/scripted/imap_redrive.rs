//! Dead letters on a server that fails in the middle: none is lost, none is delivered twice, and the others are listed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pymail::{DeadLetter, ErrorKind, Imap};
use rstest::rstest;

use super::imap::{holding, mail as unnamed};
use super::{NEVER, imap_config};
use crate::mail_site::TAG;
use crate::support::script::{Heard, Script, Scripted, Step};

const MOVE: &[&str] = &["MOVE", "UIDPLUS"];
const BARE_MOVE: &[&str] = &["MOVE"];
const UIDPLUS: &[&str] = &["UIDPLUS"];
const NEITHER: &[&str] = &[];

const INBOX: &str = "INBOX";
const DEAD: &str = "__TEST__/dead";

#[derive(Clone, Default)]
struct Mail {
    raw: String,
    flags: BTreeSet<String>,
}

impl Mail {
    fn is_deleted(&self) -> bool {
        self.flags.contains("\\Deleted")
    }

    fn is_note(&self) -> bool {
        self.raw.contains("Subject: Dead letter")
    }
}

/// The fault of a letter that can't be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Withheld {
    No,
    Close,
    Nothing,
}

/// The mailboxes of a server.
#[derive(Default)]
struct Mailboxes {
    mails: BTreeMap<String, BTreeMap<u32, Mail>>,
    /// The mailbox of each connection.
    selected: BTreeMap<usize, String>,
    withheld: BTreeMap<u32, Withheld>,
    last_uid: u32,
}

#[derive(Clone, Default)]
struct Held(Arc<Mutex<Mailboxes>>);

impl Held {
    /// Makes a server with these letters, each after its note, delivered three times before.
    fn with(ids: impl IntoIterator<Item = u32>) -> Self {
        let held = Self::default();
        {
            let mut boxes = held.lock();
            for id in ids {
                let note = format!(
                    "From: pymail@localhost\r\nSubject: Dead letter\r\nIn-Reply-To: <{id}@example.test>\r\n\
                     Date: Sat, 28 Nov 2026 06:08:00 +0000\r\n\r\nThe message is in this mailbox, because no {id}.\r\n"
                );
                boxes.add(DEAD, Mail { raw: note, flags: BTreeSet::from(["\\Seen".to_owned()]) });
                let raw = format!("Message-ID: <{id}@example.test>\r\n{}", unnamed(id, "hello"));
                let flags = (1..=3).map(|nth| format!("$PymailDelivery{nth}")).collect();
                boxes.add(DEAD, Mail { raw, flags });
            }
        }
        held
    }

    fn lock(&self) -> MutexGuard<'_, Mailboxes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn script(&self, capabilities: &[&str]) -> Script {
        let held = self.clone();
        Script::imap(capabilities).on("", move |heard| held.lock().answer(heard))
    }

    /// Returns the number of mails, without those that are flagged `\Deleted`: notes, letters, and messages in the inbox,
    /// and the number of the latter that have their full number of attempts.
    fn counts(&self) -> (usize, usize, usize, usize) {
        let boxes = self.lock();
        let all = |name: &str| {
            boxes.mails.get(name).into_iter().flat_map(BTreeMap::values).filter(|it| !it.is_deleted())
        };
        let fresh = all(INBOX).filter(|it| it.flags.iter().all(|flag| !flag.starts_with("$PymailDelivery")));
        let notes = all(DEAD).filter(|it| it.is_note()).count();
        (notes, all(DEAD).count() - notes, all(INBOX).count(), fresh.count())
    }
}

impl Mailboxes {
    fn add(&mut self, mailbox: &str, mail: Mail) -> u32 {
        self.last_uid += 1;
        self.mails.entry(mailbox.to_owned()).or_default().insert(self.last_uid, mail);
        self.last_uid
    }

    fn answer(&mut self, heard: &Heard) -> Step {
        let words: Vec<&str> = heard.text.split(' ').collect();
        let here = self.selected.get(&heard.connection).cloned().unwrap_or_default();
        let named = |name: &str| name.trim_matches('"').to_owned();
        let said = match words[..] {
            ["SELECT" | "EXAMINE", name, ..] => {
                self.selected.insert(heard.connection, named(name));
                let (exists, validity) = (
                    self.mails.get(&named(name)).map_or(0, BTreeMap::len),
                    7 + u32::from(named(name) == DEAD),
                );
                return Step::say(format!(
                    "* {exists} EXISTS\r\n* OK [PERMANENTFLAGS (\\*)] all\r\n* OK [UIDVALIDITY {validity}] life\r\n\
                     TAG OK [READ-WRITE] done\r\n"
                ));
            }
            ["LIST", "\"\"", "\"\""] => "* LIST (\\Noselect) \"/\" \"\"\r\n".into(),
            ["LIST", _, name] if self.mails.contains_key(&named(name)) => {
                format!("* LIST () \"/\" {name}\r\n")
            }
            ["STATUS", name, ..] if !self.mails.contains_key(&named(name)) && name.contains("dead") => {
                return Step::say("TAG NO there is no such mailbox\r\n");
            }
            ["STATUS", name, ..] => {
                format!("* STATUS x (MESSAGES {})\r\n", self.mails.get(&named(name)).map_or(0, BTreeMap::len))
            }
            ["UID", "SEARCH", ..] => {
                let after = words.iter().skip(2).skip_while(|&&word| word != "UID").nth(1).copied();
                let is_tagged = |mail: &Mail| !heard.text.contains(TAG) || mail.raw.contains(TAG);
                let is_searched =
                    |mail: &Mail| is_tagged(mail) && !(heard.text.contains("UNDELETED") && mail.is_deleted());
                let found = self
                    .mails
                    .entry(here)
                    .or_default()
                    .iter()
                    .filter(|(uid, mail)| is_searched(mail) && after.is_none_or(|set| is_in(**uid, set)));
                found.fold("* SEARCH".to_owned(), |line, (uid, _)| format!("{line} {uid}")) + "\r\n"
            }
            ["UID", "FETCH", set, ..] => return self.fetched(&here, set, &heard.text),
            ["UID", command @ ("MOVE" | "COPY"), set, name] => {
                self.moved(&here, set, &named(name), command == "MOVE")
            }
            ["UID", "STORE", set, how, ..] => {
                let flags = heard.text.rsplit_once('(').map_or("", |(_, flags)| flags.trim_end_matches(')'));
                for mail in self.named(&here, set) {
                    for flag in flags.split(' ').map(str::to_owned) {
                        if how.starts_with('+') {
                            mail.flags.insert(flag)
                        } else {
                            mail.flags.remove(&flag)
                        };
                    }
                }
                String::new()
            }
            ["UID", "EXPUNGE", set] => {
                let mails = self.mails.entry(here).or_default();
                mails.retain(|uid, mail| !(is_in(*uid, set) && mail.is_deleted()));
                String::new()
            }
            _ => return Step::Usual,
        };
        Step::say(said + "TAG OK done\r\n")
    }

    fn named(&mut self, mailbox: &str, set: &str) -> impl Iterator<Item = &mut Mail> {
        let mails = self.mails.entry(mailbox.to_owned()).or_default().iter_mut();
        mails.filter(move |(uid, _)| is_in(**uid, set)).map(|(_, mail)| mail)
    }

    fn moved(&mut self, from: &str, set: &str, to: &str, is_move: bool) -> String {
        let mails: Vec<(u32, Mail)> =
            self.mails[from].clone().into_iter().filter(|(uid, _)| is_in(*uid, set)).collect();
        let (mut here, mut there) = (Vec::new(), Vec::new());
        for (uid, mail) in mails {
            there.push(self.add(to, mail).to_string());
            here.push(uid.to_string());
            if is_move {
                self.mails.get_mut(from).unwrap().remove(&uid);
            }
        }
        if here.is_empty() {
            return String::new();
        }
        format!("* OK [COPYUID 7 {} {}] done\r\n", here.join(","), there.join(","))
    }

    fn fetched(&self, mailbox: &str, set: &str, items: &str) -> Step {
        let mut said = String::new();
        let mails = self.mails.get(mailbox).into_iter().flatten().filter(|(uid, _)| is_in(**uid, set));
        for (uid, mail) in mails {
            let flags = mail.flags.iter().cloned().collect::<Vec<_>>().join(" ");
            let size = mail.raw.len();
            let octets = if items.contains("HEADER") {
                &mail.raw[..mail.raw.find("\r\n\r\n").unwrap() + 4]
            } else {
                &mail.raw
            };
            let section = if items.contains("HEADER") { "HEADER" } else { "" };
            let body = if items.contains("BODY") {
                format!(" BODY[{section}]<0> {{{}}}\r\n{octets}", octets.len())
            } else {
                String::new()
            };
            let fault = self.withheld.get(uid).filter(|_| items.contains("BODY.PEEK[]"));
            match fault {
                Some(Withheld::No) => return Step::say(said + "TAG NO [SERVERBUG] I can't read it\r\n"),
                Some(Withheld::Close) => return Step::SayAndClose(said),
                Some(Withheld::Nothing) => continue,
                None => {}
            }
            let _ = write!(said, "* {uid} FETCH (UID {uid} FLAGS ({flags}) RFC822.SIZE {size}{body})\r\n");
        }
        Step::say(said + "TAG OK done\r\n")
    }
}

fn is_in(uid: u32, set: &str) -> bool {
    set.split(',').any(|range| {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        (first.parse().unwrap()..=last.parse().unwrap_or(u32::MAX)).contains(&uid)
    })
}

fn connected(server: &Scripted) -> Imap {
    Imap::connect(imap_config(server).max_connects_per_minute(6_000).dead_letters(3)).unwrap()
}

fn letters(imap: &Imap) -> Vec<DeadLetter> {
    imap.dead_letters().map(Result::unwrap).collect()
}

fn ids(imap: &Imap) -> Vec<String> {
    imap.fetch().unwrap().iter().map(|it| it.message().unwrap().id.clone()).collect()
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

/// Makes a server that fails at a command as often as the number says, which is 0 at first.
fn struck(held: &Held, capabilities: &[&str], command: &str, blow: Blow) -> (Scripted, Arc<Mutex<usize>>) {
    let (state, left) = (held.clone(), Arc::new(Mutex::new(0)));
    let shared = Arc::clone(&left);
    let strike = move |heard: &Heard| {
        let mut left = shared.lock().unwrap();
        if *left == 0 {
            return Step::Usual;
        }
        *left -= 1;
        if matches!(blow, Blow::After | Blow::Lie) {
            state.lock().answer(heard);
        }
        if matches!(blow, Blow::Before | Blow::After) { Step::Close } else { Step::say("TAG NO not now\r\n") }
    };
    let server = held.script(capabilities).ahead(command, strike).start();
    (server, left)
}

const COMMANDS: &[(&[&str], &[&str])] = &[
    (
        MOVE,
        &[
            "STATUS \"__TEST__/dead\"",
            "SELECT \"__TEST__/dead\"",
            "SELECT \"INBOX\"",
            "UID FETCH",
            "UID STORE",
            "UID MOVE",
            "UID EXPUNGE",
        ],
    ),
    (BARE_MOVE, &["UID MOVE", "UID SEARCH UID", "UID STORE"]),
    (
        UIDPLUS,
        &[
            "SELECT \"__TEST__/dead\"",
            "EXAMINE",
            "UID FETCH",
            "UID SEARCH",
            "UID COPY",
            "UID STORE",
            "UID EXPUNGE",
        ],
    ),
    (NEITHER, &["UID SEARCH UID", "UID COPY", "UID STORE"]),
];

#[rstest]
fn a_redrive_that_is_repeated_after_any_failure_delivers_each_message_once(
    #[values(Blow::Before, Blow::After, Blow::Lie, Blow::No)] blow: Blow,
    #[values(1, 2, 3)] times: usize,
) {
    for (capabilities, commands) in COMMANDS {
        for command in *commands {
            let what = format!("{command} {capabilities:?}");
            let held = Held::with([1, 2, 3]);
            let (server, left) = struck(&held, capabilities, command, blow);
            let imap = connected(&server);
            let two = &letters(&imap)[..2];
            // A new connection selects the inbox, too, and waits longer after each failure.
            *left.lock().unwrap() = if command.ends_with("INBOX\"") { 1 } else { times };
            let is_redriven = (0..5).any(|_| imap.redrive(two).is_ok());
            assert!(is_redriven, "{what}");
            let (notes, dead, waiting, fresh) = held.counts();
            assert_eq!((dead, waiting, fresh), (1, 2, 2), "{what}");
            // A refusal to remove notes is no error.
            assert!(notes == 1 || matches!(blow, Blow::No | Blow::Lie), "{what}: {notes} notes");
            assert_eq!(ids(&imap), ["1", "2"], "{what}");
        }
    }
}

/// The first process ends in the middle, and the second one has no memory.
#[rstest]
fn a_redrive_that_another_process_has_begun_is_completed_and_makes_no_second_copy(
    #[values(Blow::Before, Blow::After)] blow: Blow,
) {
    for (capabilities, commands) in COMMANDS {
        for command in *commands {
            let what = format!("{command} {capabilities:?}");
            let held = Held::with([1, 2, 3]);
            let (server, left) = struck(&held, capabilities, command, blow);
            let first = connected(&server);
            let all = letters(&first);
            *left.lock().unwrap() = 2; // the connection's own repetition, too
            let _ = first.redrive(&all);
            drop(first);
            *left.lock().unwrap() = 0;
            let second = connected(&server);
            second.redrive(&letters(&second)).unwrap();
            let (_, dead, waiting, fresh) = held.counts();
            assert_eq!((dead, waiting, fresh), (0, 3, 3), "{what}");
            assert_eq!(ids(&second), ["1", "2", "3"], "{what}");
        }
    }
}

/// The server is gone as soon as it has copied, and comes back when the process has ended.
#[rstest]
fn copies_that_an_earlier_process_has_made_are_found_by_the_next_one(
    #[values(UIDPLUS, NEITHER)] capabilities: &[&str],
) {
    let held = Held::with([1, 2, 3]);
    let is_gone = Arc::new(AtomicBool::new(false));
    let (gone, goes, state) = (Arc::clone(&is_gone), Arc::clone(&is_gone), held.clone());
    let server = held
        .script(capabilities)
        .ahead("UID COPY", move |heard| {
            state.lock().answer(heard);
            goes.store(true, Ordering::SeqCst);
            Step::Close
        })
        .ahead("", move |_| Step::Close.when(gone.load(Ordering::SeqCst)))
        .start();
    let first = connected(&server);
    first.redrive(&letters(&first)).unwrap_err();
    drop(first);
    assert_eq!(held.counts(), (3, 3, 3, 3), "in both mailboxes");
    is_gone.store(false, Ordering::SeqCst);
    let second = connected(&server);
    second.redrive(&letters(&second)).unwrap();
    assert_eq!(held.counts(), (0, 0, 3, 3));
    assert_eq!(ids(&second), ["1", "2", "3"]);
}

/// Without UIDPLUS, the original of a dead letter stays in the inbox, flagged.
#[rstest]
fn a_flagged_original_in_the_inbox_is_no_copy_of_a_redriven_message(
    #[values(BARE_MOVE, UIDPLUS, NEITHER)] capabilities: &[&str],
) {
    let held = Held::with([1]);
    {
        let mut boxes = held.lock();
        let mut original = boxes.mails[DEAD][&2].clone();
        original.flags.insert("\\Deleted".into());
        boxes.add(INBOX, original);
    }
    let (server, left) = struck(&held, capabilities, "UID COPY", Blow::Before);
    let imap = connected(&server);
    let all = letters(&imap);
    *left.lock().unwrap() = 1;
    imap.redrive(&all).unwrap();
    assert_eq!(ids(&imap), ["1"]);
}

#[rstest]
fn a_message_that_was_acknowledged_is_delivered_again_when_it_is_redriven() {
    let held = Held::with([1, 2]);
    let server = held.script(MOVE).start();
    let (operator, consumer) = (connected(&server), connected(&server));
    for _ in 0..2 {
        operator.redrive(&letters(&operator)).unwrap();
        let batch = consumer.fetch().unwrap();
        assert_eq!(batch.len(), 2);
        batch.ack().unwrap();
        // A copy of each, as of a sender that has sent it again.
        let mut boxes = held.lock();
        let archived: Vec<Mail> = boxes.mails[TAG].values().take(2).cloned().collect();
        for mail in archived {
            boxes.add(INBOX, Mail { flags: BTreeSet::new(), ..mail.clone() });
            boxes.add(DEAD, mail);
        }
        drop(boxes);
        assert!(consumer.fetch().unwrap().is_empty(), "a duplicate that was not redriven is dropped");
        consumer.fetch().unwrap().ack().unwrap();
    }
}

#[rstest]
#[case::it_refuses(Withheld::No, ErrorKind::Refused)]
#[case::it_closes(Withheld::Close, ErrorKind::Disconnected)]
#[case::it_sends_nothing(Withheld::Nothing, ErrorKind::Message)]
fn a_letter_that_the_server_withholds_is_an_error_in_its_place_and_can_be_redriven(
    #[case] withheld: Withheld,
    #[case] kind: ErrorKind,
    #[values(&[2], &[6], &[4, 12], &[2, 4, 6])] uids: &[u32],
) {
    let held = Held::with(1..=6);
    held.lock().withheld.extend(uids.iter().map(|&uid| (uid, withheld)));
    let server = held.script(MOVE).start();
    let imap = connected(&server);
    let all = letters(&imap);
    assert_eq!(all.len(), 6);
    for letter in &all {
        let error = letter.message().err().map(|error| error.kind());
        assert_eq!(error, uids.contains(&letter.uid().get()).then_some(kind), "{letter:?}");
        assert_eq!(letter.reason(), Some(&*format!("no {}", letter.uid().get() / 2)));
    }
    imap.redrive(&all).unwrap();
    assert_eq!(held.counts(), (0, 0, 6, 6));
}

#[rstest]
fn a_letter_whose_note_can_not_be_read_has_no_reason(
    #[values(Withheld::No, Withheld::Close, Withheld::Nothing)] withheld: Withheld,
) {
    let held = Held::with([1, 2]);
    held.lock().withheld.insert(1, withheld);
    let server = held.script(MOVE).start();
    let all = letters(&connected(&server));
    assert_eq!(all.iter().map(|it| it.message().unwrap().body.len()).collect::<Vec<_>>(), [5, 5]);
    assert_eq!(all[0].reason(), None);
}

#[rstest]
fn a_server_that_is_away_in_the_middle_of_a_list_is_an_error_at_its_end() {
    let held = Held::with(1..=3);
    let server = held
        .script(MOVE)
        .ahead("UID FETCH", |heard| {
            let is_last = heard.text.starts_with("UID FETCH 6") && heard.text.contains("BODY.PEEK[]");
            Step::say("TAG NO [UNAVAILABLE] the disk sleeps\r\n").when(is_last)
        })
        .start();
    let imap = Imap::connect(imap_config(&server).batch(1)).unwrap();
    let mut all = imap.dead_letters();
    assert!(all.next().unwrap().is_ok() && all.next().unwrap().is_ok());
    assert_eq!(all.next().unwrap().unwrap_err().code(), Some("UNAVAILABLE"));
    assert!(all.next().is_none());
}

#[test]
fn a_redriven_message_ends_a_wait_also_if_another_one_is_expunged_meanwhile() {
    let held = Held::with([1]);
    let lunch = "From: eve@example.test\r\nSubject: lunch\r\n\r\nhi\r\n".to_owned();
    held.lock().add(INBOX, Mail { raw: lunch, flags: BTreeSet::new() });
    let boxes = held.clone();
    let expunge = move |_: &Heard| {
        boxes.lock().mails.get_mut(INBOX).unwrap().clear();
        Step::Usual
    };
    let server = held.script(MOVE).ahead("UID MOVE", expunge).start();
    let imap = connected(&server);
    assert!(imap.fetch().unwrap().is_empty());
    imap.redrive(&letters(&imap)).unwrap();
    assert!(imap.wait(Duration::from_secs(60)).unwrap());
    assert_eq!(imap.fetch().unwrap().len(), 1);
}

#[rstest]
fn a_rejected_message_that_can_not_be_moved_keeps_no_other_in_the_inbox() {
    let mails = [1, 2].map(|number| unnamed(number, "hello"));
    let server = holding(MOVE, &mails)
        .says("APPEND", "TAG NO [OVERQUOTA] it is full\r\n") // of a note, without which the message is moved
        .says("UID MOVE 1 ", "TAG NO [OVERQUOTA] it is full\r\n")
        .start();
    let imap = Imap::connect(imap_config(&server).dead_letters(1).dedup_window(0)).unwrap();
    let batch = imap.fetch().unwrap();
    assert_eq!(batch.len(), 2);
    for _ in 0..2 {
        let error = imap.reject(&batch, "no such account").unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, Some("OVERQUOTA")), "{error}");
    }
    let moves = [1, 2, 1].map(|uid| format!("UID MOVE {uid} \"{TAG}-dead\""));
    assert_eq!((server.heard("UID MOVE"), imap.stats().dead_letters), (moves.to_vec(), 1));
}

#[rstest]
fn a_message_over_the_limit_that_can_not_be_moved_is_tried_again_later_and_has_one_note() {
    let no = "TAG NO [NOPERM] not you\r\n";
    let server = holding(MOVE, &[unnamed(1, "hello")]).says("UID MOVE 1 ", no).start();
    let imap = Imap::connect(imap_config(&server).dead_letters(1).dedup_window(0).recheck(NEVER)).unwrap();
    let batch = imap.fetch().unwrap();
    imap.reject(&batch, "no such account").unwrap_err();
    let batch = imap.fetch().unwrap();
    let kinds: Vec<_> = batch.iter().map(|it| it.message().unwrap_err().kind()).collect();
    assert_eq!(kinds, [ErrorKind::Refused]);
    batch.ack().unwrap();
    assert!(imap.fetch().unwrap().is_empty(), "a loop would ask the server for ever");
    assert_eq!((server.heard("UID MOVE").len(), server.heard("APPEND").len()), (2, 1));
}

#[rstest]
fn dead_letters_are_listed_where_the_server_refuses_their_sizes() {
    let no = |heard: &Heard| {
        Step::say("TAG NO [SERVERBUG] it is damaged\r\n").when(heard.text.ends_with("(UID RFC822.SIZE)"))
    };
    let server = Held::with([1, 2]).script(MOVE).ahead("UID FETCH", no).start();
    assert_eq!(letters(&connected(&server)).len(), 2);
    assert!(!server.heard("UID FETCH").is_empty());
}

/// The server stops at the letter: what it has not sent behind that is not unreadable.
#[rstest]
fn a_letter_whose_headers_are_refused_hides_no_other_and_makes_no_letter_of_a_note() {
    let held = Held::with(1..=4);
    let boxes = held.clone();
    let no = move |heard: &Heard| {
        let set = heard.text.split(' ').nth(2).unwrap_or_default().to_owned();
        let is_refused = heard.text.contains("BODY.PEEK[HEADER.FIELDS (MESSAGE-ID") && is_in(4, &set);
        let said = boxes.lock().fetched(DEAD, "1:3", &heard.text);
        match said {
            Step::Say(said) if is_refused && is_in(1, &set) => {
                Step::Say(said.replace("TAG OK done", "TAG NO it is damaged"))
            }
            _ => Step::say("TAG NO it is damaged\r\n").when(is_refused),
        }
    };
    let server = held.script(MOVE).ahead("UID FETCH", no).start();
    let reasons: Vec<Option<String>> =
        letters(&connected(&server)).iter().map(|it| it.reason().map(str::to_owned)).collect();
    assert_eq!((reasons.len(), reasons.iter().flatten().count()), (4, 4), "{reasons:?}");
}
