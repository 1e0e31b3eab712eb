//! The next fetch, which is sent in one flight with the acknowledgement of the batch before: by servers that answer it
//! in any order, refuse the acknowledgement, or lose the connection.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pymail::{Batch, ErrorKind, Imap};
use rstest::rstest;

use super::imap::{fetched, mail};
use super::imap_config;
use crate::support::script::{Heard, Script, Scripted, Step};

/// The longest wait for an announcement.
const PATIENCE: Duration = Duration::from_secs(60);

/// The messages of a batch.
const BATCH: usize = 2;

/// The capabilities of a server on which that is possible.
const FAST: [&str; 4] = ["MOVE", "UIDPLUS", "ESEARCH", "SEARCHRES"];

/// The foreign mails of a large inbox, which is not selected again to look for new mail.
const MANY: u32 = 300;

/// The order in which the server answers commands that arrive together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// As they came.
    AsSent,
    /// MOVE last, as Dovecot may do.
    MoveLast,
    /// All but MOVE and NOOP first.
    MoveAndNoopLast,
}

/// An inbox with messages of ours; all are small.
struct Inbox {
    order: Order,
    foreign: u32,
    present: BTreeSet<u32>,
    /// The UIDs to arrive, some with each MOVE.
    arriving: Vec<RangeInclusive<u32>>,
    /// Responses that are held back until the last command of the flight has been answered.
    held: String,
    moves: usize,
    /// The last MOVE that is not answered before the commands behind it have come.
    last_held: usize,
    /// The MOVE that is refused, from 1.
    refused: usize,
    /// The MOVE after whose response the connection ends, within those to the commands behind it.
    last_of_connection: usize,
    saved: BTreeSet<u32>,
    /// `true` if MOVE names no messages.
    is_mute: bool,
    /// `true` if one foreign mail is expunged and one of ours arrives just before the next SELECT.
    swaps: bool,
    /// The UID at whose FETCH the connection ends, and MOVE before it is undone.
    deadly: u32,
    /// `true` if no FETCH is answered.
    is_silent: bool,
}

impl Inbox {
    fn holding(present: RangeInclusive<u32>, order: Order) -> Self {
        let (present, saved, held) = (present.collect(), BTreeSet::new(), String::new());
        Self {
            order,
            foreign: 0,
            present,
            arriving: Vec::new(),
            held,
            moves: 0,
            last_held: usize::MAX,
            refused: 0,
            last_of_connection: 0,
            saved,
            is_mute: false,
            swaps: false,
            deadly: 0,
            is_silent: false,
        }
    }

    /// Starts a server. It answers no MOVE but the first before the commands behind it have come.
    fn start(self, capabilities: &[&str]) -> Scripted {
        Self::start_shared(&Arc::new(Mutex::new(self)), capabilities)
    }

    fn start_shared(inbox: &Arc<Mutex<Self>>, capabilities: &[&str]) -> Scripted {
        Self::script(inbox, capabilities).start()
    }

    fn script(inbox: &Arc<Mutex<Self>>, capabilities: &[&str]) -> Script {
        let answer = move |verb: fn(&mut Inbox, &Heard) -> String| {
            let inbox = Arc::clone(inbox);
            move |heard: &Heard| {
                let mut inbox = inbox.lock().unwrap();
                if inbox.deadly > 0 && heard.text.starts_with(&format!("UID FETCH {}:", inbox.deadly)) {
                    let undone = inbox.deadly - 2..inbox.deadly;
                    inbox.present.extend(undone);
                    inbox.held.clear();
                    return Step::Close;
                }
                if inbox.is_silent && heard.text.starts_with("UID FETCH") {
                    let held = std::mem::take(&mut inbox.held);
                    return if held.is_empty() { Step::Nothing } else { Step::Say(held) };
                }
                let answer = verb(&mut inbox, heard);
                let ends = inbox.moves > 0
                    && inbox.moves == inbox.last_of_connection
                    && heard.text.contains("FETCH");
                match answer {
                    _ if ends => {
                        inbox.last_of_connection = 0;
                        Step::SayAndClose(answer[..answer.len() - 20].to_owned())
                    }
                    answer if answer.is_empty() => Step::Nothing,
                    answer => Step::say(answer),
                }
            }
        };
        Script::imap(capabilities)
            .on("SELECT", answer(Self::select))
            .on("NOOP", answer(Self::noop))
            .on("UID SEARCH", answer(Self::search))
            .on("UID FETCH", answer(Self::fetch))
            .on("UID MOVE", answer(Self::move_out))
    }

    fn exists(&self) -> usize {
        self.present.len() + self.foreign as usize
    }

    fn select(&mut self, _: &Heard) -> String {
        if std::mem::take(&mut self.swaps) {
            self.foreign -= 1;
            self.present.insert(9);
        }
        let (exists, next) = (self.exists(), self.present.last().map_or(9, |last| last + 1).max(9));
        let held = std::mem::take(&mut self.held);
        let codes = format!("* OK [UIDVALIDITY 7] life\r\n* OK [UIDNEXT {next}] next\r\n");
        format!("{held}* {exists} EXISTS\r\n{codes}TAG OK [READ-WRITE] done\r\n")
    }

    fn noop(&mut self, heard: &Heard) -> String {
        if self.order == Order::MoveAndNoopLast && !self.held.is_empty() {
            self.held.extend([&heard.tag, " OK done\r\n"]);
            return String::new();
        }
        let held = if self.order == Order::AsSent { std::mem::take(&mut self.held) } else { String::new() };
        format!("{held}TAG OK done\r\n")
    }

    fn search(&mut self, heard: &Heard) -> String {
        let range = heard.text.split("UID ").nth(2).and_then(|it| it.split(' ').next()).and_then(range);
        let is_other = heard.text.contains("NOT UID");
        let found =
            self.present.iter().filter(|uid| range.clone().is_none_or(|it| it.contains(uid) != is_other));
        let found: BTreeSet<u32> = found.copied().collect();
        let all = found.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let result = if all.is_empty() { String::new() } else { format!(" ALL {all}") };
        if heard.text.contains("SAVE") {
            self.saved = found;
        }
        let held = if is_other { std::mem::take(&mut self.held) } else { String::new() };
        if heard.text.contains("RETURN") {
            format!("* ESEARCH (TAG \"TAG\") UID{result}\r\nTAG OK done\r\n{held}")
        } else {
            format!("* SEARCH {}\r\nTAG OK done\r\n", all.replace(',', " "))
        }
    }

    fn fetch(&mut self, heard: &Heard) -> String {
        let set = heard.text.split(' ').nth(2).unwrap_or_default();
        let uids: Vec<u32> = match range(set) {
            Some(range) => self.present.iter().filter(|uid| range.contains(uid)).copied().collect(),
            None => self.saved.iter().copied().collect(),
        };
        let mails: String = uids.iter().map(|uid| fetched(*uid, &mail(*uid, "hello"), &heard.text)).collect();
        let held = if set == "$" { String::new() } else { std::mem::take(&mut self.held) };
        match self.order {
            Order::AsSent => format!("{held}{mails}TAG OK done\r\n"),
            _ => format!("{mails}TAG OK done\r\n{held}"),
        }
    }

    fn move_out(&mut self, heard: &Heard) -> String {
        self.moves += 1;
        if self.moves == self.refused {
            self.held = format!("{} NO [OVERQUOTA] full\r\n", heard.tag);
            return String::new();
        }
        let uids = range(heard.text.split(' ').nth(2).unwrap_or_default()).unwrap();
        self.present.retain(|uid| !uids.contains(uid));
        let expunged = "* 1 EXPUNGE\r\n".repeat(uids.clone().count());
        let (first, last) = (uids.start(), uids.end());
        let mut answer =
            format!("{expunged}{} OK [COPYUID 9 {first}:{last} {first}:{last}] done\r\n", heard.tag);
        if self.is_mute {
            answer = format!("{expunged}{} OK done\r\n", heard.tag);
        }
        if self.moves <= self.arriving.len() {
            self.present.extend(self.arriving[self.moves - 1].clone());
            answer = format!("* {} EXISTS\r\n{answer}", self.exists() + uids.count());
        }
        if self.moves == 1 || self.moves > self.last_held {
            return answer;
        }
        self.held = answer;
        String::new()
    }
}

fn range(set: &str) -> Option<RangeInclusive<u32>> {
    let (first, last) = set.split_once(':').unwrap_or((set, set));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

/// Fetches and acknowledges until nothing comes; returns the UIDs.
fn drain(imap: &Imap) -> Vec<u32> {
    std::iter::from_fn(|| Some(fetch_and_ack(imap)).filter(|uids| !uids.is_empty())).flatten().collect()
}

/// Fetches and acknowledges a batch; returns the UIDs.
fn fetch_and_ack(imap: &Imap) -> Vec<u32> {
    let batch = imap.fetch().unwrap();
    let uids = uids(&batch);
    batch.ack().unwrap();
    uids
}

fn uids(batch: &Batch) -> Vec<u32> {
    batch.iter().map(|delivery| delivery.uid().get()).collect()
}

fn connect(server: &Scripted) -> Imap {
    Imap::connect(imap_config(server).batch(BATCH).dedup_window(0)).unwrap()
}

#[rstest]
fn the_next_batch_is_requested_before_the_acknowledgement_is_confirmed(
    #[values(Order::AsSent, Order::MoveLast)] order: Order,
) {
    let server = Inbox::holding(1..=8, order).start(&FAST);
    assert_eq!(drain(&connect(&server)), (1..=8).collect::<Vec<_>>());
    let fetches = server.heard("UID FETCH");
    let batches = fetches.iter().filter(|it| !it.starts_with("UID FETCH $"));
    assert_eq!(batches.count(), 4, "nothing is fetched twice: {fetches:?}");
}

/// New mail is searched for and fetched behind the acknowledgement, too.
#[rstest]
fn new_mail_comes_with_the_acknowledgement(
    #[values(Order::AsSent, Order::MoveLast, Order::MoveAndNoopLast)] order: Order,
    #[values(0, MANY)] foreign: u32,
) {
    let mut inbox = Inbox::holding(1..=2, order);
    (inbox.foreign, inbox.arriving) = (foreign, vec![9..=10, 11..=12, 13..=13, 14..=15]);
    let server = inbox.start(&FAST);
    let imap = connect(&server);
    assert_eq!(drain(&imap), [1, 2, 9, 10, 11, 12, 13, 14, 15]);
    assert!(imap.fetch().unwrap().is_empty());
    // A search that runs before mail is announced may have missed some: its result is not relied on.
    let is_early = order != Order::AsSent && foreign > 0;
    let fetches = server.heard("UID FETCH");
    let others = fetches.iter().filter(|it| !it.starts_with("UID FETCH $")).count();
    assert!(others == 1 || is_early, "{fetches:?}");
}

/// The server refuses the second acknowledgement.
#[rstest]
fn a_refused_acknowledgement_leaves_its_messages_and_the_next_ones() {
    let mut inbox = Inbox::holding(1..=8, Order::AsSent);
    (inbox.refused, inbox.last_held) = (2, 2);
    let imap = connect(&inbox.start(&FAST));
    assert_eq!(fetch_and_ack(&imap), [1, 2]);
    let batch = imap.fetch().unwrap();
    assert_eq!(uids(&batch), [3, 4]);
    assert_eq!(batch.ack().unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(drain(&imap), (3..=8).collect::<Vec<_>>());
}

/// The connection ends after the acknowledgement is confirmed, in the middle of the next messages.
#[rstest]
fn a_loss_behind_the_acknowledgement_is_one_of_the_next_fetch() {
    let mut inbox = Inbox::holding(1..=8, Order::AsSent);
    (inbox.last_of_connection, inbox.last_held) = (2, 2);
    let server = inbox.start(&FAST);
    assert_eq!(drain(&connect(&server)), (1..=8).collect::<Vec<_>>());
    assert_eq!(server.connections(), 2);
}

#[rstest]
fn other_calls_come_between(#[values(Order::AsSent, Order::MoveLast)] order: Order) {
    let mut inbox = Inbox::holding(1..=8, order);
    inbox.last_held = 3;
    let imap = connect(&inbox.start(&FAST));
    for first in [1, 3, 5] {
        assert_eq!(fetch_and_ack(&imap), [first, first + 1]);
        assert_eq!(imap.search("ALL").unwrap().len(), usize::try_from(7 - first).unwrap());
        imap.noop().unwrap();
    }
    let batch = imap.fetch().unwrap();
    imap.ack(batch.iter().take(1)).unwrap();
    assert_eq!(uids(&imap.fetch().unwrap()), [8], "a message that is not acknowledged comes again");
    imap.close().unwrap();
}

/// The search that was sent ahead has found nothing; then a message arrives.
#[rstest]
fn mail_that_comes_after_an_acknowledgement_is_found_by_the_next_fetch(#[values(0, MANY)] foreign: u32) {
    let mut inbox = Inbox::holding(1..=4, Order::AsSent);
    inbox.foreign = foreign;
    let shared = Arc::new(Mutex::new(inbox));
    let imap = connect(&Inbox::start_shared(&shared, &FAST));
    assert_eq!((fetch_and_ack(&imap), fetch_and_ack(&imap)), (vec![1, 2], vec![3, 4]));
    shared.lock().unwrap().present.insert(9);
    assert_eq!(uids(&imap.fetch().unwrap()), [9]);
}

/// A search for the messages would drop what is sent ahead, each time.
#[rstest]
fn nothing_is_sent_ahead_where_move_does_not_name_its_messages() {
    let mut inbox = Inbox::holding(1..=8, Order::AsSent);
    (inbox.is_mute, inbox.last_held) = (true, 1);
    let server = inbox.start(&FAST);
    assert_eq!(drain(&connect(&server)), (1..=8).collect::<Vec<_>>());
    let fetches = server.heard("UID FETCH");
    let batches = fetches.iter().filter(|it| !it.starts_with("UID FETCH $"));
    assert_eq!(batches.count(), 4, "nothing is fetched twice: {fetches:?}");
}

/// The search that was sent ahead has found a message, and its response is dropped.
#[rstest]
fn a_message_that_a_dropped_search_has_found_ends_the_wait() {
    let mut inbox = Inbox::holding(1..=4, Order::AsSent);
    inbox.foreign = 1;
    let shared = Arc::new(Mutex::new(inbox));
    let server = Inbox::start_shared(&shared, &[&FAST[..], &["IDLE"]].concat());
    let imap = connect(&server);
    assert_eq!(fetch_and_ack(&imap), [1, 2]);
    let batch = imap.fetch().unwrap();
    shared.lock().unwrap().swaps = true;
    batch.ack().unwrap();
    assert_eq!(server.heard("SELECT").len(), 2, "sent ahead: {:?}", server.heard(""));
    assert!(imap.wait(PATIENCE).unwrap());
    assert_eq!(uids(&imap.fetch().unwrap()), [9]);
}

/// The connection ends at a message that was requested ahead, and the server undoes the MOVE.
#[rstest]
fn a_message_that_ends_the_connection_fails_no_acknowledgement_for_ever() {
    let mut inbox = Inbox::holding(1..=8, Order::MoveLast);
    (inbox.deadly, inbox.last_held) = (5, 2);
    let server = inbox.start(&FAST);
    let imap = connect(&server);
    assert_eq!(fetch_and_ack(&imap), [1, 2]);
    let batch = imap.fetch().unwrap();
    assert_eq!(uids(&batch), [3, 4]);
    batch.ack().unwrap();
    assert_eq!(server.connections(), 2);
}

#[rstest]
fn close_waits_for_no_messages_that_were_requested_ahead() {
    let mut inbox = Inbox::holding(1..=8, Order::AsSent);
    inbox.last_held = 2;
    let shared = Arc::new(Mutex::new(inbox));
    let imap = connect(&Inbox::start_shared(&shared, &FAST));
    assert_eq!(fetch_and_ack(&imap), [1, 2]);
    let batch = imap.fetch().unwrap();
    shared.lock().unwrap().is_silent = true;
    batch.ack().unwrap();
    imap.close().unwrap();
}

/// The server refuses the acknowledgement, and the SELECT behind it: no mailbox is selected any more.
#[rstest]
#[case::refused("TAG NO [UNAVAILABLE] not now\r\n")]
#[case::another_validity("* 8 EXISTS\r\n* OK [UIDVALIDITY 8] life\r\nTAG OK [READ-WRITE] done\r\n")]
fn a_select_that_fails_behind_a_refused_acknowledgement_ends_the_connection(#[case] selected: &'static str) {
    let mut inbox = Inbox::holding(1..=4, Order::AsSent);
    inbox.refused = 2;
    let shared = Arc::new(Mutex::new(inbox));
    let select = move |heard: &Heard| match heard.nth {
        2 => Step::say(format!("HELD{selected}")),
        _ => Step::Usual,
    };
    let held = Arc::clone(&shared);
    let select = move |heard: &Heard| match select(heard) {
        Step::Say(text) => {
            let refusal = std::mem::take(&mut held.lock().unwrap().held).replace("OVERQUOTA", "UNAVAILABLE");
            Step::Say(text.replace("HELD", &refusal))
        }
        step => step,
    };
    let server = Inbox::script(&shared, &FAST).ahead("SELECT", select).start();
    let imap = connect(&server);
    assert_eq!(fetch_and_ack(&imap), [1, 2]);
    let batch = imap.fetch().unwrap();
    assert_eq!(batch.ack().unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(uids(&imap.fetch().unwrap()), [3, 4]);
    assert_eq!(server.connections(), 2, "the inbox is selected again: {:?}", server.heard(""));
}

/// With dead letters, a consumer fetches ten messages at a time: ahead, too.
#[rstest]
#[case::with_dead_letters(true, &["1:10", "11:20", "21:30", "31:40"])]
#[case::without(false, &["1:12", "13:24", "25:36", "37:40"])]
fn a_consumer_requests_ahead_as_many_messages_as_it_fetches(#[case] counts: bool, #[case] windows: &[&str]) {
    let mut inbox = Inbox::holding(1..=40, Order::AsSent);
    inbox.last_held = 1;
    let server = inbox.start(&FAST);
    let config = imap_config(&server).batch(12).dedup_window(0);
    let imap = Imap::connect(if counts { config.dead_letters(5) } else { config }).unwrap();
    let mut consumer = imap.consume();
    for first in [1, 11, 21, 31] {
        let batch: Vec<_> = consumer.by_ref().take(10).map(Result::unwrap).collect();
        assert_eq!(batch[0].uid().get(), first);
        imap.ack(&batch).unwrap();
    }
    let fetches = server.heard("UID FETCH");
    let bodies = fetches.iter().filter(|it| it.contains("BODY.PEEK[]") && !it.contains('$'));
    let requested: Vec<_> = bodies.map(|it| it.split(' ').nth(2).unwrap()).collect();
    assert_eq!(requested, windows, "{fetches:?}");
}
