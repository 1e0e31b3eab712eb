//! What holds for every message there can be.

use std::cell::RefCell;
use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::parse::whole;
use super::{Message, compose, is_ours};
use crate::error::Result;
use pymail_test_support::strategies::{Foreign, Parts, config, foreign, parts, tag};

fn message((id, sent_by, sent_to, body): Parts) -> Message {
    Message::new(id, sent_by, sent_to, body)
}

/// The message alone.
fn parse(mail: &[u8], tag: &str) -> Option<Result<Message>> {
    super::parse(mail, tag).map(|read| read.map(|(message, _)| message))
}

/// A Python that composes mails: `PYO3_PYTHON` if that is set, else `python3`.
struct Composer {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Composer {
    fn start() -> Self {
        let program = env::var_os("PYO3_PYTHON").unwrap_or_else(|| "python3".into());
        let mut command = Command::new(program);
        command
            .args(["-I", "-c", include_str!("../../tests/properties/compose.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = command.spawn().expect("python3 runs");
        let (input, output) = (process.stdin.take().expect("a pipe"), process.stdout.take().expect("a pipe"));
        Self { process, input, output: BufReader::new(output) }
    }

    /// The mail as Python's email package composes it; `None` where the charset lacks a character.
    fn compose(&mut self, mail: &Foreign) -> Option<Vec<u8>> {
        let told = serde_json::to_string(mail).expect("JSON");
        writeln!(self.input, "{told}").expect("Python reads its input");
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
fn what_python_composes_is_read_as_it_was() {
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

/// Where the body begins.
fn head_len(mail: &[u8]) -> usize {
    mail.windows(4).position(|four| four == b"\r\n\r\n").map_or(mail.len(), |at| at + 4)
}

#[test]
fn a_text_that_was_cut_within_its_last_character_is_not_taken_for_whole() {
    let message = Message::new("1", "alice@example.org", "bob@example.org", "naïve \u{20ac}");
    let mail = compose(&message, "TAG").unwrap();
    // What U+FFFD needs is just what is missing.
    let cut = mail.trim_ascii_end().strip_suffix(b"rA==").expect("the end of the euro sign");
    assert_eq!(parse(cut, "TAG").unwrap().unwrap_err().kind(), crate::ErrorKind::Message);
    assert_eq!(parse(&mail, "TAG").unwrap().unwrap(), message);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_composed_is_parsed_as_it_was(parts in parts(), tag in tag()) {
        let message = message(parts);
        let mail = compose(&message, &tag)?;
        let parsed = parse(&mail, &tag).expect("it is ours")?;
        prop_assert_eq!(parsed, message);
    }

    #[test]
    fn what_is_composed_is_fit_for_every_server(parts in parts(), tag in tag()) {
        let mail = String::from_utf8(compose(&message(parts), &tag)?)?;
        prop_assert!(mail.is_ascii() && !mail.contains('\0'));
        prop_assert!(mail.ends_with("\r\n"));
        for line in mail.split_terminator("\r\n") {
            // RFC 5322, section 2.1.1. And a dot at a line's start is for SMTP's own use.
            prop_assert!(line.len() <= 998 && !line.contains(['\r', '\n']) && !line.starts_with('.'), "{line:?}");
        }
    }

    #[test]
    fn under_another_tag_it_is_not_ours(parts in parts(), tag in tag(), other in tag()) {
        prop_assume!(tag != other);
        let mail = compose(&message(parts), &tag)?;
        prop_assert!(is_ours(&mail, &tag));
        prop_assert!(!is_ours(&mail, &other) && parse(&mail, &other).is_none());
    }

    #[test]
    fn a_body_that_was_cut_is_never_taken_for_whole(parts in parts(), cut in any::<prop::sample::Index>()) {
        let message = message(parts);
        let mail = compose(&message, "TAG")?;
        let head = head_len(&mail);
        let cut = &mail[..head + cut.index(mail.len() - head + 1)];
        if let Ok(parsed) = parse(cut, "TAG").expect("its head is whole") {
            prop_assert_eq!(parsed, message);
        }
    }

    #[test]
    fn any_octets_behind_our_head_are_read_or_are_an_error(octets in prop::collection::vec(any::<u8>(), 0..400)) {
        let mail = [b"Subject: TAG 1\r\n", &octets[..]].concat();
        if let Some(Ok(message)) = parse(&mail, "TAG") {
            prop_assert!(message.sent_to.iter().all(|to| !to.is_empty()));
        }
    }

    #[test]
    fn json_keeps_everything_but_the_message_id(parts in parts()) {
        let message = message(parts);
        let json = serde_json::to_string(&message)?;
        let again: Message = serde_json::from_str(&json)?;
        prop_assert_eq!(
            (again.id, again.sent_by, again.sent_to, again.body),
            (message.id, message.sent_by, message.sent_to, message.body)
        );
    }

    #[test]
    fn however_a_mail_is_read_the_same_comes_out(
        parts in parts(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), change()), 0..4),
    ) {
        let mut mail = compose(&message(parts), "TAG")?;
        for (at, change) in changes {
            let at = at.index(mail.len());
            mail.splice(at..at + usize::from(change.len() == 1), change);
        }
        if let Some(read) = super::parse(&mail, "TAG") {
            let whole = whole(&mail, "TAG").map(|(message, identity)| (parts_of(message), identity));
            let read = read.map(|(message, identity)| (parts_of(message), identity));
            prop_assert_eq!(read.map_err(|error| error.kind()), whole.map_err(|error| error.kind()));
        }
    }
}

/// A place, how many octets go there, and what comes for them.
type Change = (prop::sample::Index, u8, Vec<u8>);

/// Real and malformed mails of other projects.
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
fn no_damage_to_a_mail_makes_the_reader_panic() {
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
        // Unlike `parse`, it lets a panic through.
        if let Ok((message, _)) = whole(&mail, "TAG") {
            prop_assert!(message.sent_by.is_empty() || message.sent_by.contains('@'));
            prop_assert!(message.sent_to.iter().all(|to| to.contains('@')));
        }
        Ok(())
    };
    let strategy = (prop::sample::select(mails), changes);
    TestRunner::new(config()).run(&strategy, check).unwrap_or_else(|failure| panic!("{failure}"));
}

/// Without the Message-ID, which is made up for mails that have none.
fn parts_of(message: Message) -> Parts {
    (message.id, message.sent_by, message.sent_to, message.body)
}

/// What may be found in the place of an octet of a mail, or beside it.
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
