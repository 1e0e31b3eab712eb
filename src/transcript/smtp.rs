//! The lines of SMTP (RFC 5321).

use super::{counted, is_name, is_number, text, with_count};

/// The code of a challenge.
const CHALLENGE: &str = "334";

/// A connection's dialogue so far.
#[derive(Default)]
pub(crate) struct SmtpLines {
    /// `true` from AUTH on, up to the reply that ends it: the lines in between are responses in base64.
    in_auth: bool,
}

impl SmtpLines {
    /// Returns the line to be shown for a line of commands.
    pub(super) fn sent(&mut self, line: &[u8]) -> String {
        let shown = text(line);
        let (verb, arguments) = shown.split_once(' ').unwrap_or((&shown, ""));
        if self.in_auth {
            return counted(line.len());
        }
        match &*verb.to_ascii_uppercase() {
            "EHLO" | "HELO" | "BDAT" => shown.into_owned(),
            "DATA" | "RSET" | "NOOP" | "QUIT" | "STARTTLS" | "." if arguments.is_empty() => {
                shown.into_owned()
            }
            "MAIL" | "RCPT" => without_address(&shown),
            "AUTH" => {
                self.in_auth = true;
                let (mechanism, response) = arguments.split_once(' ').unwrap_or((arguments, ""));
                let mechanism = if is_name(mechanism) { mechanism } else { "" };
                with_count(&format!("AUTH {mechanism}"), response.len())
            }
            _ => counted(line.len()),
        }
    }

    /// Returns the line to be shown for a line of a reply.
    pub(super) fn received(&mut self, line: &[u8]) -> String {
        let shown = text(line);
        let code = shown.get(..3).filter(|code| is_number(code));
        let is_last = !matches!(line.get(3), Some(b'-'));
        match code {
            Some(CHALLENGE) => with_count(CHALLENGE, line.len().saturating_sub(4)),
            Some(_) => {
                self.in_auth &= !is_last;
                shown.into_owned()
            }
            None => counted(line.len()),
        }
    }
}

/// Returns a MAIL or RCPT command without its address: `MAIL FROM:<..> SIZE=5`.
fn without_address(line: &str) -> String {
    match (line.split_once('<'), line.rsplit_once('>')) {
        (Some((before, _)), Some((_, after))) => format!("{before}<..>{after}"),
        _ => counted(line.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Lines;
    use super::*;

    /// Returns the shown lines of a dialogue; those that begin with `>` are sent.
    fn shown(dialogue: &[&str]) -> Vec<String> {
        let mut lines = Lines::Smtp(SmtpLines::default());
        let of = |line: &&str| match line.strip_prefix("> ") {
            Some(sent) => lines.sent(format!("{sent}\r\n").as_bytes()),
            None => lines.received(format!("{line}\r\n").as_bytes()),
        };
        dialogue.iter().flat_map(of).collect()
    }

    #[test]
    fn a_login_is_shown_without_its_responses() {
        let dialogue = [
            "220 hi",
            "> EHLO a",
            "250-b",
            "250 AUTH LOGIN",
            "> AUTH LOGIN",
            "334 VXNlcjo=",
            "> REFUQQ==",
            "334 UGE=",
            "> QUIT",
            "535 5.7.8 no",
            "> QUIT",
        ];
        let expected = [
            "220 hi",
            "EHLO a",
            "250-b",
            "250 AUTH LOGIN",
            "AUTH LOGIN",
            "334 (8 octets)",
            "(8 octets)",
            "334 (4 octets)",
            "(4 octets)",
            "535 5.7.8 no",
            "QUIT",
        ];
        assert_eq!(shown(&dialogue), expected);
        assert_eq!(shown(&["> AUTH PLAIN AHMzY3JldA=="]), ["AUTH PLAIN (12 octets)"]);
    }

    #[test]
    fn half_a_line_is_counted_since_it_may_have_half_a_secret() {
        let mut lines = Lines::Smtp(SmtpLines::default());
        assert_eq!(lines.received(b"535 5.7.8 s3cr"), ["(14 octets)"]);
        assert_eq!(lines.received(b"535 5.7.8 no\r\n"), ["535 5.7.8 no"]);
    }

    #[test]
    fn a_message_is_shown_without_addresses() {
        let mut lines = Lines::Smtp(SmtpLines::default());
        let sent = lines.sent(b"MAIL FROM:<a@b.c> SIZE=5\r\nRCPT TO:<\"x > y\"@b.c>\r\nDATA\r\n");
        assert_eq!(sent, ["MAIL FROM:<..> SIZE=5", "RCPT TO:<..>", "DATA"]);
        assert_eq!(lines.sent(b".\r\n"), ["."]);
        assert_eq!(lines.sent(b"Subject: s3cret\r\n"), ["(15 octets)"]);
        assert_eq!(lines.received(b"Subject: s3cret\r\n"), ["(15 octets)"]);
    }
}
