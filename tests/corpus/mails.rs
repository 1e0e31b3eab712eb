//! The corpus's files as tagged mails.

use std::fs;
use std::path::{Path, PathBuf};

use pymail::DEFAULT_TAG;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");

/// A mail to deliver.
pub(super) struct Mail {
    /// The path in the corpus.
    pub(super) file: String,
    /// The file's content, tagged and with CRLF line ends.
    pub(super) octets: Vec<u8>,
}

/// Returns all mails, ordered by path; the mail's number follows the tag.
pub(super) fn tagged() -> Vec<Mail> {
    let mut paths = paths(Path::new(FOLDER));
    paths.sort();
    paths.iter().enumerate().map(|(number, path)| mail(path, number)).collect()
}

fn paths(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of the corpus");
    let entries = entries.map(|entry| entry.expect("an entry of the corpus").path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let mails = files.into_iter().filter(|path| path.extension().is_some_and(|it| it == "eml"));
    mails.chain(folders.iter().flat_map(|folder| paths(folder))).collect()
}

fn mail(path: &Path, number: usize) -> Mail {
    let raw = fs::read(path).expect("a mail of the corpus");
    let file = path.strip_prefix(FOLDER).expect("a path in the corpus").to_str().expect("a name in UTF-8");
    Mail { file: file.replace('\\', "/"), octets: with_tag(&with_crlf(&raw), number) }
}

/// Converts line ends to CRLF, as LMTP requires.
fn with_crlf(raw: &[u8]) -> Vec<u8> {
    let lines = raw.split_inclusive(|&octet| octet == b'\n').map(|line| match line {
        [rest @ .., b'\r', b'\n'] | [rest @ .., b'\n'] => [rest, b"\r\n"].concat(),
        rest => rest.to_vec(),
    });
    lines.collect::<Vec<_>>().concat()
}

/// Inserts tag and number before the Subject's value, or adds a Subject.
fn with_tag(raw: &[u8], number: usize) -> Vec<u8> {
    let subject = format!("Subject: {DEFAULT_TAG} {number} ");
    match subject_and_value(raw) {
        Some((start, value)) => [&raw[..start], subject.as_bytes(), &raw[value..]].concat(),
        None => [subject.as_bytes(), b"\r\n", raw].concat(),
    }
}

/// Returns the offsets of the first Subject and of its value.
fn subject_and_value(raw: &[u8]) -> Option<(usize, usize)> {
    let mut start = 0;
    for line in raw.split_inclusive(|&octet| octet == b'\n').take_while(|&line| line != b"\r\n") {
        let name = line.iter().position(|&octet| octet == b':').map_or(line, |colon| &line[..colon]);
        if name.trim_ascii_end().eq_ignore_ascii_case(b"subject") {
            return Some((start, start + name.len() + 1));
        }
        start += line.len();
    }
    None
}
