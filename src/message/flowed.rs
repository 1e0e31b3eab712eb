//! Text whose paragraphs were wrapped on the way (RFC 3676): what was typed, as mail programs show it.

/// Joins the lines of each paragraph. With `DelSp`, the blank that marks a line was not in the text.
pub(super) fn unwrapped(text: &str, del_sp: bool) -> String {
    let mut whole = String::with_capacity(text.len());
    let mut open: Option<(usize, &str)> = None; // how deep the line before is quoted, and its end
    for line in text.split_inclusive('\n') {
        let content = line.trim_end_matches(['\r', '\n']);
        let (marks, content, end) = (quotes(content), &content[quotes(content)..], &line[content.len()..]);
        let unstuffed = content.strip_prefix(' ').unwrap_or(content);
        let is_signature = unstuffed == "-- ";
        match open.take() {
            Some((depth, _)) if depth == marks && !is_signature => whole.push_str(unstuffed),
            before => {
                whole.push_str(before.map_or("", |(_, end)| end));
                whole.push_str(&line[..marks]);
                whole.push_str(if marks == 0 { unstuffed } else { content });
            }
        }
        if unstuffed.ends_with(' ') && !is_signature {
            whole.truncate(whole.len() - usize::from(del_sp));
            open = Some((marks, end));
        } else {
            whole.push_str(end);
        }
    }
    whole + open.map_or("", |(_, end)| end)
}

/// How deep a line is quoted.
fn quotes(line: &str) -> usize {
    line.len() - line.trim_start_matches('>').len()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::fixed("a\r\n\r\nb\r\n", "a\r\n\r\nb\r\n")]
    #[case::wrapped("a \r\nb \r\nc\r\nd\r\n", "a b c\r\nd\r\n")]
    #[case::stuffed(" From a\r\n >b\r\n  c\r\n", "From a\r\n>b\r\n c\r\n")]
    #[case::quoted("> a \r\n> b\r\n>> c \r\nd\r\n", "> a b\r\n>> c \r\nd\r\n")]
    #[case::signature("a \r\n-- \r\nb\r\n", "a \r\n-- \r\nb\r\n")]
    #[case::at_the_end("a \r\n", "a \r\n")]
    fn paragraphs_are_whole_again(#[case] wrapped: &str, #[case] text: &str) {
        assert_eq!(unwrapped(wrapped, false), text);
    }

    #[test]
    fn a_blank_that_was_not_in_the_text_is_left_out() {
        assert_eq!(unwrapped("\u{4f60} \r\n\u{597d}\r\n", true), "\u{4f60}\u{597d}\r\n");
    }
}
