//! Property tests of composing and parsing, over generated messages and mails.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::parse::{Parsed, parse_leniently};
use super::{Message, compose, is_ours};
use crate::error::Result;
use pymail_test_support::process::{python, started};
use pymail_test_support::strategies::{Foreign, Parts, config, foreign, parts, properties, tag};

fn message((id, sent_by, sent_to, body): Parts) -> Message {
    Message::new(id, sent_by, sent_to, body)
}

fn with_properties(message: Message, properties: BTreeMap<String, String>) -> Message {
    properties.into_iter().fold(message, |message, (name, value)| message.with_property(name, value))
}

/// Parses a mail, and drops the identity.
fn parse(mail: &[u8], tag: &str) -> Option<Result<Message>> {
    super::parse(mail, tag).map(|read| read.map(|parsed| parsed.message))
}

/// A Python process that composes mails: `PYO3_PYTHON` if that is set, else `python3`.
struct Composer {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Composer {
    fn start() -> Self {
        let mut command = Command::new(python());
        command
            .args(["-I", "-X", "utf8", "-c", include_str!("../../tests/properties/compose.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = started(|| command.spawn()).expect("Python runs");
        let (input, output) = (process.stdin.take().expect("a pipe"), process.stdout.take().expect("a pipe"));
        Self { process, input, output: BufReader::new(output) }
    }

    /// Composes a mail with Python's email package; returns `None` if the charset lacks a character.
    fn compose(&mut self, mail: &Foreign) -> Option<Vec<u8>> {
        let request = serde_json::to_string(mail).expect("JSON");
        writeln!(self.input, "{request}").expect("Python reads its input");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("Python answers");
        assert!(line.ends_with('\n'), "Python has ended");
        Some(BASE64_STANDARD.decode(line.trim_end()).expect("base64")).filter(|mail| !mail.is_empty())
    }
}

impl Drop for Composer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn mail_composed_by_python_is_parsed_exactly() {
    let composer = RefCell::new(Composer::start());
    let check = |mail: Foreign| {
        let octets = composer.borrow_mut().compose(&mail);
        prop_assume!(octets.is_some());
        let read = parse(&octets.unwrap_or_default(), "TAG").expect("it is ours")?;
        let body = read.text()?.replace("\r\n", "\n");
        prop_assert_eq!((&*read.id, body.trim_end()), (&*mail.id, mail.text.trim_end()));
        prop_assert_eq!((&*read.sent_by, read.sent_to.len()), ("bob@example.org", 20));
        Ok(())
    };
    let config = ProptestConfig { max_global_rejects: 100_000, ..config() };
    TestRunner::new(config).run(&foreign(), check).unwrap_or_else(|failure| panic!("{failure}"));
}

/// Returns the length of the header block.
fn header_length(mail: &[u8]) -> usize {
    mail.windows(4).position(|four| four == b"\r\n\r\n").map_or(mail.len(), |at| at + 4)
}

#[test]
fn a_text_truncated_within_its_last_character_is_an_error() {
    let message = Message::new("1", "alice@example.org", "bob@example.org", "naïve \u{20ac}");
    let mail = compose(&message, "TAG").unwrap();
    // U+FFFD would have exactly the missing octets' length.
    let cut = mail.trim_ascii_end().strip_suffix(b"rA==").expect("the end of the euro sign");
    assert_eq!(parse(cut, "TAG").unwrap().unwrap_err().kind(), crate::ErrorKind::Message);
    assert_eq!(parse(&mail, "TAG").unwrap().unwrap(), message);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_composed_message_is_parsed_unchanged(parts in parts(), tag in tag()) {
        let message = message(parts);
        let mail = compose(&message, &tag)?;
        let parsed = parse(&mail, &tag).expect("it is ours")?;
        prop_assert_eq!(parsed, message);
    }

    #[test]
    fn any_properties_are_parsed_unchanged(parts in parts(), properties in properties()) {
        let message = with_properties(message(parts), properties.clone());
        let mail = compose(&message, "TAG")?;
        let parsed = parse(&mail, "TAG").expect("it is ours")?;
        prop_assert_eq!(parsed.properties(), &properties);
        prop_assert_eq!(parsed, message);
    }

    #[test]
    fn properties_are_parsed_unchanged_however_their_fields_are_folded(
        properties in properties(),
        folds in prop::collection::vec((any::<prop::sample::Index>(), "\r\n[ \t]{1,3}"), 1..20),
    ) {
        let message = Message::new("1", "alice@example.org", "bob@example.org", "");
        let message = with_properties(message, properties);
        let mut mail = String::from_utf8(compose(&message, "TAG")?)?;
        for (at, fold) in folds {
            let begins = mail.match_indices("X-Pymail-Property: ").map(|(at, name)| at + name.len());
            let ends = |begin: usize| begin + mail[begin..].find("\r\n").unwrap_or(0);
            let places: Vec<usize> = begins.flat_map(|begin| begin..=ends(begin)).collect();
            if !places.is_empty() {
                mail.insert_str(places[at.index(places.len())], &fold);
            }
        }
        prop_assert_eq!(parse(mail.as_bytes(), "TAG").expect("it is ours")?, message);
    }

    #[test]
    fn a_composed_mail_is_valid_for_every_server(parts in parts(), tag in tag(), properties in properties()) {
        let message = with_properties(message(parts), properties);
        let mail = String::from_utf8(compose(&message, &tag)?)?;
        prop_assert!(mail.is_ascii() && !mail.contains('\0'));
        prop_assert!(mail.ends_with("\r\n"));
        for line in mail.split_terminator("\r\n") {
            // RFC 5322, section 2.1.1. A dot at a line's start would need stuffing.
            prop_assert!(line.len() <= 998 && !line.contains(['\r', '\n']) && !line.starts_with('.'), "{line:?}");
        }
    }

    #[test]
    fn a_mail_with_another_tag_is_not_ours(parts in parts(), tag in tag(), other in tag()) {
        prop_assume!(tag != other);
        let mail = compose(&message(parts), &tag)?;
        prop_assert!(is_ours(&mail, &tag));
        prop_assert!(!is_ours(&mail, &other) && parse(&mail, &other).is_none());
    }

    #[test]
    fn a_truncated_body_is_never_delivered(parts in parts(), cut in any::<prop::sample::Index>()) {
        let message = message(parts);
        let mail = compose(&message, "TAG")?;
        let head = header_length(&mail);
        let cut = &mail[..head + cut.index(mail.len() - head + 1)];
        if let Ok(parsed) = parse(cut, "TAG").expect("its headers are complete") {
            prop_assert_eq!(parsed, message);
        }
    }

    #[test]
    fn arbitrary_octets_after_our_subject_are_parsed_or_an_error(octets in prop::collection::vec(any::<u8>(), 0..400)) {
        let mail = [b"Subject: TAG 1\r\n", &octets[..]].concat();
        if let Some(Ok(message)) = parse(&mail, "TAG") {
            prop_assert!(message.sent_to.iter().all(|to| !to.is_empty()));
        }
    }

    #[test]
    fn json_keeps_every_part_of_a_message(parts in parts(), properties in properties()) {
        let message = with_properties(message(parts), properties);
        let json = serde_json::to_string(&message)?;
        prop_assert_eq!(serde_json::from_str::<Message>(&json)?, message);
    }

    #[test]
    fn the_fast_path_and_the_lenient_parser_agree(
        parts in parts(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), change()), 0..4),
    ) {
        let mut mail = compose(&message(parts), "TAG")?;
        for (at, change) in changes {
            let at = at.index(mail.len());
            mail.splice(at..at + usize::from(change.len() == 1), change);
        }
        if let Some(parsed) = super::parse(&mail, "TAG") {
            let lenient = parse_leniently(&mail, "TAG");
            let lenient = lenient.map(|it| (parts_of(it.message), it.identity, it.sent_at));
            let parsed = parsed.map(|it| (parts_of(it.message), it.identity, it.sent_at));
            prop_assert_eq!(parsed.map_err(|error| error.kind()), lenient.map_err(|error| error.kind()));
        }
    }
}

/// An edit of a mail: a position, the number of octets to remove there, and the octets to insert.
type Change = (prop::sample::Index, u8, Vec<u8>);

/// Returns the real and malformed mails of the corpus.
fn corpus(folder: &Path) -> Vec<Vec<u8>> {
    let entries = folder.read_dir().expect("a folder").map(|entry| entry.expect("an entry").path());
    let mails = entries.flat_map(|path| match path.is_dir() {
        true => corpus(&path),
        false if path.extension().is_some_and(|it| it == "eml") => vec![fs::read(path).expect("a mail")],
        false => Vec::new(),
    });
    mails.collect()
}

#[test]
fn a_damaged_mail_never_makes_the_parser_panic() {
    let mut mails = corpus(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus"));
    mails.retain(|mail| mail.len() < 20_000);
    assert!(mails.len() > 100, "{}", mails.len());
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), change()), 0..12);
    let check = |(mut mail, changes): (Vec<u8>, Vec<Change>)| {
        for (at, length, change) in changes {
            let at = at.index(mail.len());
            mail.splice(at..mail.len().min(at + usize::from(length) % 40), change);
            mail.push(b'\n');
        }
        mail.splice(0..0, *b"Subject: TAG 1\r\n");
        // Unlike `parse`, this does not catch panics.
        if let Ok(Parsed { message, .. }) = parse_leniently(&mail, "TAG") {
            prop_assert!(message.sent_by.is_empty() || message.sent_by.contains('@'));
            prop_assert!(message.sent_to.iter().all(|to| to.contains('@')));
        }
        Ok(())
    };
    let strategy = (prop::sample::select(mails), changes);
    TestRunner::new(config()).run(&strategy, check).unwrap_or_else(|failure| panic!("{failure}"));
}

/// Returns the message without its Message-ID, which is generated for a mail that has none.
fn parts_of(message: Message) -> Parts {
    (message.id, message.sent_by, message.sent_to, message.body)
}

/// Generates octets to put in place of an octet, or beside it.
fn change() -> impl Strategy<Value = Vec<u8>> {
    let octet = prop::sample::select(&b"=\r\n AQz/+-\0\xff;:"[..]).prop_map(|octet| vec![octet]);
    let words = [
        &b""[..],
        b"--",
        b"=?utf-8?B?",
        b"<",
        b"\x1b$B",
        b"Content-Type: text/html; charset=hz\r\n",
        b"\r\n",
        b"\n\n",
        b"==",
        b"\r\n\r\n",
        b"77u/",
        b"Subject: TAG 2\r\n",
        b"7Q==",
    ];
    prop_oneof![octet, prop::sample::select(words.map(<[u8]>::to_vec).to_vec())]
}
