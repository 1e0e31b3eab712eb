//! The lines of IMAP (RFC 3501, RFC 9051).

use super::{counted, is_name, is_number, text, with_count};

/// Commands whose quoted arguments are names of mailboxes.
const OF_MAILBOXES: [&str; 10] =
    ["SELECT", "EXAMINE", "CREATE", "DELETE", "STATUS", "LIST", "APPEND", "COPY", "MOVE", "RENAME"];

/// Commands without text of mail in their arguments.
const PLAIN: [&str; 13] = [
    "CAPABILITY",
    "NOOP",
    "LOGOUT",
    "STARTTLS",
    "NAMESPACE",
    "IDLE",
    "CLOSE",
    "UNSELECT",
    "EXPUNGE",
    "ID",
    "ENABLE",
    "FETCH",
    "STORE",
];

/// The words of a search program behind which a text of the app comes.
const BEFORE_TEXT: [&str; 7] = ["BODY", "FROM", "HEADER", "KEYWORD", "SUBJECT", "TEXT", "TO"];

/// The words of a search program that are no text of the app.
const OF_SEARCH: [&str; 22] = [
    "ALL",
    "BEFORE",
    "BODY",
    "CHARSET",
    "COUNT",
    "DELETED",
    "FROM",
    "HEADER",
    "KEYWORD",
    "NOT",
    "OR",
    "RETURN",
    "SAVE",
    "SEEN",
    "SINCE",
    "SUBJECT",
    "TEXT",
    "TO",
    "UID",
    "UNDELETED",
    "UNSEEN",
    "US-ASCII",
];

/// Untagged responses whose names are shown.
const UNTAGGED: [&str; 17] = [
    "CAPABILITY",
    "FLAGS",
    "LIST",
    "LSUB",
    "STATUS",
    "SEARCH",
    "ESEARCH",
    "NAMESPACE",
    "ID",
    "VANISHED",
    "ENABLED",
    "QUOTA",
    "QUOTAROOT",
    "SORT",
    "THREAD",
    "FETCH",
    "LANGUAGE",
];

/// A connection's dialogue so far.
#[derive(Default)]
pub(crate) struct ImapLines {
    /// The letters that all tags of this connection begin with, which are chosen at random.
    prefix: Option<String>,
    /// The number of the next tag.
    next: u64,
}

impl ImapLines {
    /// Returns the line to be shown for a command, for DONE, or for data, which has no tag.
    pub(super) fn sent(&mut self, octets: &[u8]) -> String {
        let line = text(octets);
        let command = octets.ends_with(b"\r\n").then(|| line.trim_end().split_once(' ')).flatten();
        match command {
            Some((tag, command)) if self.is_next_tag(tag) => format!("{tag} {}", shown_command(command)),
            _ if octets == b"DONE\r\n" => "DONE".into(),
            _ => counted(octets.len()),
        }
    }

    /// Returns `true`, and counts, if a word is the tag of the next command: data that looks like a command is none.
    fn is_next_tag(&mut self, word: &str) -> bool {
        let letters = word.trim_end_matches(|c: char| c.is_ascii_digit());
        let is_tag =
            matches!(letters.len(), 1..=4) && letters.bytes().all(|octet| octet.is_ascii_uppercase());
        let is_known = self.prefix.as_deref().is_none_or(|prefix| prefix == letters);
        let is_next = is_tag && is_known && word[letters.len()..] == self.next.to_string();
        if is_next {
            self.prefix.get_or_insert_with(|| letters.to_owned());
            self.next += 1;
        }
        is_next
    }

    /// Returns the line to be shown for a line that was received; of a response with literals, for the first one.
    pub(super) fn received(&self, line: &[u8]) -> String {
        let shown = text(line);
        if let Some(challenge) = line.strip_prefix(b"+") {
            return with_count("+", challenge.trim_ascii().len());
        }
        let Some((first, rest)) = shown.split_once(' ') else { return counted(line.len()) };
        let word = rest.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        let is_status = ["OK", "NO", "BAD", "BYE", "PREAUTH"].contains(&&*word);
        match first {
            "*" if is_status => shown.into_owned(),
            "*" => shown_untagged(rest, &word),
            tag if is_status && self.is_old_tag(tag) => shown.into_owned(),
            _ => counted(line.len()),
        }
    }

    fn is_old_tag(&self, word: &str) -> bool {
        let number = self.prefix.as_deref().and_then(|prefix| word.strip_prefix(prefix));
        number.is_some_and(is_number)
    }
}

/// Returns an untagged response that is no status: its name and its number, and all of a list of capabilities.
fn shown_untagged(rest: &str, word: &str) -> String {
    if is_number(word) {
        let name = rest.split(' ').nth(1).unwrap_or_default().to_ascii_uppercase();
        let shown = format!("* {word} {name}");
        return match &*name {
            "EXISTS" | "RECENT" | "EXPUNGE" => shown,
            "FETCH" => with_count(&shown, rest.len().saturating_sub(word.len() + name.len() + 2)),
            _ => counted(rest.len()),
        };
    }
    match word {
        "CAPABILITY" if rest.split(' ').all(is_name) => format!("* {rest}"),
        _ if UNTAGGED.contains(&word) => {
            with_count(&format!("* {word}"), rest.len().saturating_sub(word.len() + 1))
        }
        _ => format!("* {}", counted(rest.len())),
    }
}

/// Returns a command without those of its arguments that may have a secret or text of mail in them.
fn shown_command(command: &str) -> String {
    let (first, arguments) = command.split_once(' ').unwrap_or((command, ""));
    let (name, arguments) = match arguments.split_once(' ') {
        Some((second, rest)) if first.eq_ignore_ascii_case("UID") => (second, rest),
        _ => (first, arguments),
    };
    let upper = name.to_ascii_uppercase();
    let said = command.strip_suffix(arguments).unwrap_or_default().trim_end();
    match &*upper {
        "AUTHENTICATE" => {
            let (mechanism, response) = arguments.split_once(' ').unwrap_or((arguments, ""));
            let mechanism = if is_name(mechanism) { mechanism } else { "" };
            with_count(&format!("{said} {mechanism}"), response.len())
        }
        "SEARCH" => format!("{said} {}", shown_search(arguments)),
        _ if OF_MAILBOXES.contains(&&*upper) => command.to_owned(),
        _ if PLAIN.contains(&&*upper) => command.to_owned(),
        // LOGIN, and whatever is not known.
        _ if is_name(name) => with_count(said, arguments.len()),
        _ => counted(command.len()),
    }
}

/// Returns a search program without its texts.
fn shown_search(program: &str) -> String {
    // The texts, and quotation marks within them, are between the others.
    let unquoted = program.replace("\\\\", "").replace("\\\"", "");
    let parts = unquoted.split('"').enumerate();
    let shown =
        parts.map(|(nth, part)| if nth % 2 == 1 { "\"..\"".into() } else { known_words(part, nth > 0) });
    shown.collect::<String>()
}

/// Returns the words of a part without quotation marks, without texts. A number behind a text may be one, too.
fn known_words(part: &str, is_behind_text: bool) -> String {
    const HIDDEN: &str = "..";
    let is_set = |word: &str| word.bytes().all(|octet| octet.is_ascii_digit() || b":,*$".contains(&octet));
    let mut last = if is_behind_text { HIDDEN.to_owned() } else { String::new() };
    let shown = part.split(' ').map(|word| {
        let bare = word.trim_matches(['(', ')']).to_ascii_uppercase();
        if bare.is_empty() {
            return word;
        }
        let is_text = BEFORE_TEXT.contains(&&*last) || (last == HIDDEN && is_set(&bare));
        let is_shown = !is_text && (is_set(&bare) || OF_SEARCH.contains(&&*bare));
        last = if is_shown { bare } else { HIDDEN.into() };
        if is_shown { word } else { HIDDEN }
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::login(r#"LOGIN "alice" "s3cret""#, "LOGIN (16 octets)")]
    #[case::login_by_literal(r#"LOGIN "alice" {7}"#, "LOGIN (11 octets)")]
    #[case::plain("AUTHENTICATE PLAIN AGFsaWNlAHMzY3JldA==", "AUTHENTICATE PLAIN (20 octets)")]
    #[case::challenge("AUTHENTICATE XOAUTH2", "AUTHENTICATE XOAUTH2")]
    #[case::search(
        r#"UID SEARCH RETURN (COUNT) 1:9 UNDELETED SUBJECT "a \"s3cret\" tag" FROM bob"#,
        r#"UID SEARCH RETURN (COUNT) 1:9 UNDELETED SUBJECT ".." FROM .."#
    )]
    #[case::numbers(
        "SEARCH UID 5:9 SUBJECT 4711 (TEXT 1) HEADER to 2",
        "SEARCH UID 5:9 SUBJECT .. (TEXT .. HEADER .. .."
    )]
    #[case::number_behind_a_text(r#"SEARCH 7 HEADER "x" 4711"#, r#"SEARCH 7 HEADER ".." .."#)]
    #[case::mailbox(r#"CREATE "__APP__""#, r#"CREATE "__APP__""#)]
    #[case::append(r#"APPEND "INBOX" (\Seen) {310}"#, r#"APPEND "INBOX" (\Seen) {310}"#)]
    #[case::fetch("UID FETCH 1:5 (UID FLAGS BODY.PEEK[]<0.9>)", "UID FETCH 1:5 (UID FLAGS BODY.PEEK[]<0.9>)")]
    #[case::unknown("XSECRET s3cret", "XSECRET (6 octets)")]
    #[case::noop("NOOP", "NOOP")]
    fn a_command_is_shown_without_texts(#[case] sent: &str, #[case] shown: &str) {
        let mut lines = ImapLines::default();
        assert_eq!(lines.sent(format!("ABCD0 {sent}\r\n").as_bytes()), format!("ABCD0 {shown}"));
    }

    #[test]
    fn data_is_counted_even_if_it_looks_like_a_command() {
        let mut lines = ImapLines::default();
        assert_eq!(lines.sent(b"ABCD0 CAPABILITY\r\n"), "ABCD0 CAPABILITY");
        for data in ["ABCD0 NOOP\r\n", "ABCD7 NOOP\r\n", "EFGH1 NOOP\r\n", "ABCD1 SELECT \"x\"", "NOOP\r\n"] {
            assert_eq!(lines.sent(data.as_bytes()), counted(data.len()), "{data:?}");
        }
        assert_eq!(lines.sent(b"DONE\r\n"), "DONE");
        assert_eq!(lines.sent(b"ABCD1 IDLE\r\n"), "ABCD1 IDLE");
    }

    #[rstest]
    #[case::greeting("* OK [ALERT] ready", "* OK [ALERT] ready")]
    #[case::tagged("ABCD0 NO [OVERQUOTA] full", "ABCD0 NO [OVERQUOTA] full")]
    #[case::of_another_tag("EFGH0 NO s3cret", "(15 octets)")]
    #[case::capability("* CAPABILITY IMAP4rev1 AUTH=PLAIN", "* CAPABILITY IMAP4rev1 AUTH=PLAIN")]
    #[case::odd_capability("* CAPABILITY <s3cret>", "* CAPABILITY (8 octets)")]
    #[case::exists("* 5 EXISTS", "* 5 EXISTS")]
    #[case::fetch("* 5 FETCH (UID 5 BODY[] {300}", "* 5 FETCH (19 octets)")]
    #[case::envelope("* 5 FETCH (ENVELOPE (NIL \"s3cret\"))", "* 5 FETCH (25 octets)")]
    #[case::list("* LIST () \"/\" \"s3cret\"", "* LIST (15 octets)")]
    #[case::unknown("* S3CRET s3cret", "* (13 octets)")]
    #[case::challenge("+ czNjcmV0", "+ (8 octets)")]
    #[case::end_of_response("s3cret)", "(7 octets)")]
    fn a_response_is_shown_without_texts(#[case] received: &str, #[case] shown: &str) {
        let mut lines = ImapLines::default();
        lines.sent(b"ABCD0 NOOP\r\n");
        assert_eq!(lines.received(received.as_bytes()), shown);
    }
}
