//! `cargo xtask guards`: the rules of words in CONTRIBUTING.md that a program can check.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Outcome, root};

/// Words that stand for a person or a thing with a name.
const VAGUE: [&str; 4] = ["nobody", "somebody", "whoever", "anybody"];

/// Openings of doc comments that paraphrase a noun or a verb.
const OPENINGS: [&str; 5] = ["What", "Whether", "How", "Who", "Whoever"];

/// Files and folders to check.
const CHECKED: [&str; 16] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.toml",
    "README.md",
    "SECURITY.md",
    "bench",
    "build.rs",
    "bundle",
    "docs",
    "examples",
    "fuzz",
    "py",
    "src",
    "tests",
    "xtask",
];

/// Good uses of a word: lines of a file with this text. An empty path stands for every file.
const ALLOWED: [(&str, &str); 7] = [
    // The Unix user.
    ("", "`nobody`"),
    ("", "\"nobody\""),
    ("tests/support/courier.rs", "fam-nobody-"),
    ("tests/support/cyrus.imapd.conf", "cyrus_user: nobody"),
    // The rules themselves.
    ("CONTRIBUTING.md", "How, Who or Whoever"),
    ("CONTRIBUTING.md", "No nobody, somebody, anybody or whoever"),
    ("xtask/src/words.rs", ""),
];

/// The endings of the files to check; mails and seeds of the fuzz targets have others.
const ENDINGS: [&str; 7] = ["cf", "conf", "env", "md", "py", "rs", "toml"];

/// A line that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Breach {
    line: usize,
    word: String,
}

/// Checks all files; the error lists the breaches.
pub(super) fn check() -> Outcome {
    let mut errors = Vec::new();
    for file in CHECKED.iter().flat_map(|path| files(&root().join(path))) {
        let path = file.strip_prefix(root()).unwrap_or(&file);
        let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", path.display()))?;
        let found = breaches(path, &text);
        errors.extend(found.iter().map(|it| format!("{}:{}: {}", path.display(), it.line, it.word)));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(format!(
        "see \"Words\" in CONTRIBUTING.md; good uses go into xtask/src/words.rs\n{}",
        errors.join("\n")
    ))
}

/// Returns the files to check at a path, without build outputs.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        return entries.filter(|entry| !entry.ends_with("target")).flat_map(|entry| files(&entry)).collect();
    }
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if ENDINGS.contains(&ending) { vec![path.to_owned()] } else { Vec::new() }
}

/// Returns the breaches in a file's text.
fn breaches(path: &Path, text: &str) -> Vec<Breach> {
    let mut found = Vec::new();
    let mut is_doc_before = false;
    for (line, text) in (1..).zip(text.lines()) {
        let doc = doc_comment(path, text);
        let opening = doc.filter(|_| !is_doc_before).map(first_word).filter(|word| OPENINGS.contains(word));
        is_doc_before = doc.is_some();
        let words = text.split(|c: char| !c.is_alphabetic()).filter(|word| is_vague(word));
        let is_allowed = ALLOWED
            .iter()
            .any(|&(file, part)| (file.is_empty() || path == Path::new(file)) && text.contains(part));
        if !is_allowed {
            found.extend(words.chain(opening).map(|word| Breach { line, word: word.to_owned() }));
        }
    }
    found
}

/// Returns the text of a line of a Rust doc comment, or of the line that opens a Python docstring.
fn doc_comment<'a>(path: &Path, line: &'a str) -> Option<&'a str> {
    let line = line.trim_start();
    let openings: &[&str] =
        if path.extension().is_some_and(|it| it == "py") { &["\"\"\""] } else { &["///", "//!"] };
    openings.iter().find_map(|opening| line.strip_prefix(opening))
}

fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default()
}

/// Returns `true` for a vague word in lower case or with a capital; names of constants in capitals are fine.
fn is_vague(word: &str) -> bool {
    let is_capitals = word.chars().nth(1).is_some_and(char::is_uppercase);
    !is_capitals && VAGUE.iter().any(|vague| word.eq_ignore_ascii_case(vague))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<(usize, String)> {
        breaches(Path::new(path), text).into_iter().map(|it| (it.line, it.word)).collect()
    }

    #[test]
    fn the_first_line_of_a_doc_comment_is_checked_for_its_opening() {
        let text = "/// What it does.\nfn a() {}\n\n/// Returns a number.\n/// How many is not said.\nfn b() {}\n\
                    //! Whether\n\n// What a comment in the code says is free.\n/// Whatever\n";
        assert_eq!(lines("a.rs", text), [(1, "What".to_owned()), (7, "Whether".to_owned())]);
        assert_eq!(lines("a.py", "def a():\n    \"\"\"Who calls.\"\"\"\n"), [(2, "Who".to_owned())]);
        assert_eq!(lines("a.md", "What it is\n"), []);
    }

    #[test]
    fn vague_words_are_found_in_names_and_texts_and_the_unix_user_is_allowed() {
        assert_eq!(lines("a.rs", "fn a_mail_that_nobody_had() {}\n"), [(1, "nobody".to_owned())]);
        assert_eq!(
            lines("a.md", "\nWhoever comes, anybody.\n"),
            [(2, "Whoever".to_owned()), (2, "anybody".to_owned())]
        );
        assert_eq!(lines("a.rs", "const NOBODY: u32 = 65_534; // `nobody`\n"), []);
        assert_eq!(lines("a.rs", "chown(&file, NOBODY)\n"), []);
        assert_eq!(lines("tests/support/cyrus.imapd.conf", "cyrus_user: nobody\n"), []);
    }
}
