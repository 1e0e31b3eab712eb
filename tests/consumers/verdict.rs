//! What the promise says of a record: who may have had which message, and who not.

use std::collections::{BTreeMap, BTreeSet};

/// What a consumer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It begins to handle a message.
    Handed,
    /// The message is acknowledged.
    Handled,
    /// A call failed in a way that may pass.
    Trouble,
    /// It was told that its messages are another consumer's.
    Evicted,
}

impl What {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Handed, Self::Handled, Self::Trouble, Self::Evicted];

    /// Whether it names a message.
    pub fn is_about_a_message(self) -> bool {
        matches!(self, Self::Handed | Self::Handled | Self::Evicted)
    }
}

/// One line of the record.
#[derive(Clone, Debug)]
pub struct Event {
    /// When, in milliseconds.
    pub at: u64,
    /// Which consumer: none has the number of another.
    pub consumer: usize,
    /// Its process.
    pub pid: u32,
    /// What it did.
    pub what: What,
    /// With which message.
    pub message: Option<usize>,
    /// What the call said that failed.
    pub text: String,
}

/// What is wrong, and what may be.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Messages that were handed to somebody and are in the archive.
    pub handled: usize,
    /// Messages that were handed more than once.
    pub twice: usize,
    /// Those of them that not everybody had lost who had them before.
    pub twice_unheld: usize,
    /// Messages that nobody was handed, or that are not in the archive.
    pub lost: usize,
    /// Messages that a living consumer lost to another one.
    pub evicted: usize,
    /// What happened to each message that has a wrong story.
    pub stories: Vec<String>,
}

/// Judges a record, given when which consumer was killed, what has come to the archive, and what another client has
/// removed.
pub fn judge(
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

/// Whether who had a message was killed with it before it was handed to the next one.
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
        "handed to nobody".into()
    } else {
        story.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}
