//! The verdict on a record: the messages that were handed out twice, lost or left with an evicted consumer.

use std::collections::{BTreeMap, BTreeSet};

/// An action of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It begins to handle a message.
    Handed,
    /// The message is acknowledged.
    Handled,
    /// A call failed transiently.
    Trouble,
    /// It got the error that its messages are another consumer's.
    Evicted,
}

impl What {
    /// All actions.
    pub const ALL: [Self; 4] = [Self::Handed, Self::Handled, Self::Trouble, Self::Evicted];

    /// Returns `true` for an action on a message.
    pub fn is_about_a_message(self) -> bool {
        matches!(self, Self::Handed | Self::Handled | Self::Evicted)
    }
}

/// One line of the record.
#[derive(Clone, Debug)]
pub struct Event {
    /// The time, in milliseconds.
    pub at: u64,
    /// The consumer's number; no two consumers have the same.
    pub consumer: usize,
    /// Its process.
    pub pid: u32,
    /// Its action.
    pub what: What,
    /// The message.
    pub message: Option<usize>,
    /// The text of a failed call's error.
    pub text: String,
}

/// The verdict: violations, and numbers without a limit.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Messages that were handed out and are in the archive.
    pub handled: usize,
    /// Messages that were handed out more than once.
    pub twice: usize,
    /// Those of them that an earlier consumer could still hold.
    pub twice_unheld: usize,
    /// Messages that were not handed out, or are not in the archive.
    pub lost: usize,
    /// Messages that a living consumer lost to another one.
    pub evicted: usize,
    /// The history of each message with a violation.
    pub stories: Vec<String>,
}

/// Checks a record, given the times of the kills, the archived messages, and the messages that another client has
/// removed.
pub fn check(
    events: &[Event],
    killed: &BTreeMap<usize, u64>,
    messages: usize,
    archived: &BTreeSet<usize>,
    removed: &BTreeSet<usize>,
) -> Verdict {
    let mut all: BTreeMap<usize, Vec<&Event>> = (0..messages).map(|message| (message, Vec::new())).collect();
    for event in events {
        all.entry(event.message.unwrap_or(usize::MAX)).or_default().push(event);
    }
    all.remove(&usize::MAX);
    let mut verdict = Verdict::default();
    for (message, story) in &all {
        let handed: Vec<&&Event> = story.iter().filter(|event| event.what == What::Handed).collect();
        let is_removed = removed.contains(message) && !archived.contains(message);
        let is_lost = !is_removed && (handed.is_empty() || !archived.contains(message));
        let is_unheld = handed.windows(2).any(|pair| !was_lost_to(pair[0], pair[1], story, killed));
        let is_evicted = story.iter().any(|event| event.what == What::Evicted);
        verdict.handled += usize::from(!is_lost && !is_removed);
        verdict.lost += usize::from(is_lost);
        verdict.twice += usize::from(handed.len() > 1);
        verdict.twice_unheld += usize::from(is_unheld);
        verdict.evicted += usize::from(is_evicted);
        if is_lost || is_unheld || is_evicted || *message >= messages {
            let archived = if archived.contains(message) { "archived" } else { "not archived" };
            verdict.stories.push(format!("message {message}, {archived}: {}", told(story, killed)));
        }
    }
    verdict
}

/// Returns `true` if the earlier consumer of a message was killed with it before it was handed to the next one.
fn was_lost_to(first: &Event, next: &Event, story: &[&Event], killed: &BTreeMap<usize, u64>) -> bool {
    let acknowledged =
        story.iter().any(|event| event.consumer == first.consumer && event.what == What::Handled);
    let dead = killed.get(&first.consumer).is_some_and(|death| *death <= next.at);
    dead && !acknowledged && first.consumer != next.consumer
}

fn told(story: &[&Event], killed: &BTreeMap<usize, u64>) -> String {
    let one = |event: &&Event| {
        let death = killed.get(&event.consumer).map(|at| format!(", killed at {at}")).unwrap_or_default();
        let Event { at, consumer, pid, what, .. } = event;
        format!("{what:?} by consumer {consumer} (process {pid}{death}) at {at}")
    };
    if story.is_empty() {
        "never handed out".into()
    } else {
        story.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}
