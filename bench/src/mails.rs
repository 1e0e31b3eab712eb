//! The messages of a run: their bodies, and the check that all of them arrived.

use serde::{Deserialize, Serialize};

use crate::job::{Params, Result};

/// The sender of every message.
pub const SENDER: &str = "bench@example.test";

/// The text that is repeated in the bodies.
pub const LINE: &str = "The quick brown fox jumps over the lazy dog; 0123456789, and so on.\n";
const SEED: u64 = 20_260_731;
const SIGMA: f64 = 1.5;
const LARGEST: f64 = 5e6;

/// The sizes of the bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sizes {
    /// Every body has this many bytes.
    Fixed(usize),
    /// Log-normal around this median, as in a real inbox; the same sizes in every run.
    LogNormal(usize),
}

impl Sizes {
    /// Returns the sizes of the messages `0..n`.
    pub fn list(self, n: usize) -> Vec<usize> {
        match self {
            Self::Fixed(size) => vec![size; n],
            Self::LogNormal(median) => {
                let mut random = fastrand::Rng::with_seed(SEED);
                (0..n).map(|_| log_normal(&mut random, median)).collect()
            }
        }
    }

    /// Returns the size that stands for all in the results.
    pub fn typical(self) -> usize {
        let (Self::Fixed(size) | Self::LogNormal(size)) = self;
        size
    }
}

/// Draws a normal deviate by the method of Box and Muller.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn log_normal(random: &mut fastrand::Rng, median: usize) -> usize {
    let normal = (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos();
    (median as f64 * (SIGMA * normal).exp()).clamp(1.0, LARGEST) as usize
}

/// The bodies of a run: ASCII lines, all prefixes of one text.
pub struct Bodies {
    text: String,
    sizes: Vec<usize>,
}

impl Bodies {
    /// Makes the bodies of the messages `0..n`.
    pub fn new(n: usize, sizes: Sizes) -> Self {
        let sizes = sizes.list(n);
        let longest = sizes.iter().max().copied().unwrap_or(0);
        let text = LINE.repeat(longest / LINE.len() + 1);
        Self { text, sizes }
    }

    /// Returns the number of bodies.
    pub fn count(&self) -> usize {
        self.sizes.len()
    }

    /// Returns the body of one message.
    pub fn of(&self, id: usize) -> &str {
        &self.text[..self.sizes[id]]
    }

    /// Iterates over the bodies with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &str)> {
        (0..self.count()).map(|id| (id, self.of(id)))
    }
}

/// The messages that have arrived, each once and unaltered.
pub struct Seen {
    bodies: Bodies,
    tag: String,
    came: Vec<bool>,
    count: usize,
}

impl Seen {
    /// Begins with no message arrived.
    pub fn new(params: &Params) -> Self {
        let bodies = Bodies::new(params.n, params.sizes);
        Self { bodies, tag: params.imap.tag.clone(), came: vec![false; params.n], count: 0 }
    }

    /// Returns the number of arrived messages.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Notes a mail that a Rust peer has fetched: parsed in full by `mail-parser`, as an app with these crates would.
    ///
    /// pymail does less here: it reads the headers that it needs, and decodes simple bodies.
    ///
    /// # Errors
    /// A mail without a known id, or as [`add`](Self::add).
    pub fn decode(&mut self, raw: &[u8]) -> Result<()> {
        let parsed = mail_parser::MessageParser::default().parse(raw).ok_or("a mail that can't be parsed")?;
        let subject = parsed.subject().ok_or("a mail without a subject")?;
        let id = subject.strip_prefix(self.tag.as_str()).ok_or("a mail without the tag")?;
        let body = parsed.body_text(0).ok_or("a mail without a body")?;
        self.add(id.trim_start(), body.as_bytes())
    }

    /// Notes a message.
    ///
    /// # Errors
    /// A message that is altered, arrived before, or was never sent.
    pub fn add(&mut self, id: &str, body: &[u8]) -> Result<()> {
        let sent = self.expected(id)?;
        if body != self.bodies.of(sent).as_bytes() {
            return Err(format!("message {id:?} was altered, or cut to {} bytes", body.len()).into());
        }
        self.note(sent)
    }

    /// Notes a message of which only the size is known.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_size(&mut self, id: &str, size: usize) -> Result<()> {
        let sent = self.expected(id)?;
        if size != self.bodies.of(sent).len() {
            return Err(format!("message {id:?} has {size} bytes").into());
        }
        self.note(sent)
    }

    fn expected(&self, id: &str) -> Result<usize> {
        let known = id.parse().ok().filter(|&id: &usize| id < self.came.len());
        known.ok_or_else(|| format!("message {id:?} was never sent").into())
    }

    fn note(&mut self, id: usize) -> Result<()> {
        if std::mem::replace(&mut self.came[id], true) {
            return Err(format!("message {id} came twice").into());
        }
        self.count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        let bodies = Bodies::new(2, Sizes::Fixed(100));
        Seen { bodies, tag: "T".into(), came: vec![false; 2], count: 0 }
    }

    #[test]
    fn a_message_is_seen_once_and_whole() {
        let (mut seen, body) = (seen(), Bodies::new(1, Sizes::Fixed(100)).of(0).to_owned());
        seen.add("1", body.as_bytes()).unwrap();
        assert!(seen.add("1", body.as_bytes()).is_err(), "a second copy");
        assert!(seen.add("2", body.as_bytes()).is_err(), "never sent");
        assert!(seen.add("0", &body.as_bytes()[1..]).is_err(), "cut");
        assert!(seen.add("0", body.to_uppercase().as_bytes()).is_err(), "altered");
        assert!(seen.add_size("0", 99).is_err(), "cut, by its size");
        assert_eq!(seen.count(), 1);
    }

    #[test]
    fn what_waits_is_what_a_peer_decodes() {
        let (mut seen, bodies) = (seen(), Bodies::new(2, Sizes::Fixed(100)));
        for (id, body) in bodies.iter() {
            seen.decode(crate::fill::mail("alice", "T", id, body).as_bytes()).unwrap();
        }
        assert_eq!(seen.count(), 2);
    }

    #[test]
    fn the_sizes_of_a_real_inbox_are_the_same_each_time_and_half_of_them_above_the_median() {
        let sizes = Sizes::LogNormal(8192).list(10_000);
        assert_eq!(sizes, Sizes::LogNormal(8192).list(10_000));
        let above = sizes.iter().filter(|&&size| size > 8192).count();
        assert!((4_800..5_200).contains(&above), "{above}");
    }
}
