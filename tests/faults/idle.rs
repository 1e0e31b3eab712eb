//! Faults while a consumer waits in IDLE for a message: their places, and the app.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use pymail::Imap;

use crate::app::{App, Diary};
use crate::case::{Blow, Case, Spot};
use crate::checker::tagged;
use crate::scenario::{Scenario, Step};
use crate::support::process::wait_until;
use crate::witness::Witness;

/// The message that arrives while the consumer waits.
pub const LATE: &str = "late";
pub const LATE_BODY: &[u8] = b"hello";

/// The shortest: a connection that has gone silent is noticed by it.
pub const RENEWAL: Duration = Duration::from_secs(1);

/// The longest wait for a message: three silent connections take a renewal and a timeout each.
const MOST: Duration = Duration::from_secs(15);

/// The number of messages of a case.
const MESSAGES: u32 = 2;

/// The octets of Dovecot's `+ idling`, and of `DONE`.
const PLUS: u64 = 10;
const DONE: u64 = 6;

const ENDS: [Blow; 6] = [Blow::Close, Blow::Reset, Blow::Silence, Blow::Delay, Blow::Drip, Blow::Goodbye];
const TALK: [Blow; 4] = [Blow::Chatter, Blow::Flags, Blow::Expunge, Blow::Flood];

/// One of so many octets is a reset of the connection, or its silence, not an end.
const RESETS: usize = 7;
const SILENCES: usize = 10;

/// Returns the cases for an IDLE of a clean run: all faults between two lines, and an end at every octet.
pub fn cases(scenario: Scenario, step: &Step) -> Vec<Case> {
    let up = |at| Spot::Idle { answer: false, at };
    let down = |at| Spot::Idle { answer: true, at };
    let case = |spot, place: &str, blow| Case::new(scenario, spot, place, blow);
    let mut cases = vec![case(down(0), "idle-plus", Blow::NoPlus)];
    let between = [
        (up(0), "idle-before"),
        (down(0), "idle-plus"),
        (down(PLUS), "idle-exists"),
        (up(step.up.saturating_sub(DONE)), "idle-done"),
    ];
    for (spot, place) in between {
        cases.extend(ENDS.into_iter().chain(TALK).map(|blow| case(spot, place, blow)));
        cases.extend([Blow::Close, Blow::Silence].map(|blow| {
            let once = case(spot, place, blow);
            Case { name: once.name + "-x3", times: 3, ..once }
        }));
    }
    let every = |length: u64, each: usize| (1..length).step_by(each);
    cases.extend(every(step.up, 1).map(|at| case(up(at), &format!("idle-up-{at}"), Blow::Close)));
    for (blow, each) in [(Blow::Close, 1), (Blow::Reset, RESETS), (Blow::Silence, SILENCES)] {
        cases.extend(every(step.down, each).map(|at| case(down(at), &format!("idle-down-{at}"), blow)));
    }
    cases
}

/// Handles the messages by a consumer, while another client adds the second one once it waits.
pub fn consume(app: &App<'_>, diary: &mut Diary, imap: &Imap) {
    thread::scope(|threads| {
        let (over, is_over) = mpsc::channel::<()>();
        threads.spawn(move || {
            // A consumer that waits for ever ends, so that the case does.
            if is_over.recv_timeout(MESSAGES * 2 * MOST) == Err(RecvTimeoutError::Timeout) {
                let _ = imap.drain(Duration::ZERO);
            }
        });
        let (port, user, idles) = (app.place.inbox, app.user, app.idles);
        threads.spawn(move || {
            wait_until("IDLE", idles);
            let mut other = Witness::login(port, user).expect("nothing is in the way");
            other.append("INBOX", "", &tagged(LATE, LATE_BODY)).expect("nothing is in the way");
        });
        handle_all(diary, imap);
        drop(over);
    });
}

/// Handles messages until all have come.
fn handle_all(diary: &mut Diary, imap: &Imap) {
    let mut consumer = imap.consume();
    while diary.acknowledged.len() < MESSAGES as usize {
        match diary.call_within(MOST, "next", || consumer.next()) {
            Some(Ok(delivery)) => {
                let ids = diary.hand([&delivery]);
                if diary.retry("ack", || imap.ack([&delivery])).is_none() {
                    return;
                }
                diary.acknowledged.extend(ids);
            }
            Some(Err(error)) => diary.notes.push(format!("next: {:?}: {error}", error.kind())),
            None => return diary.late.push("next: no message comes".to_owned()),
        }
    }
}
