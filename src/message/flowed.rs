//! Joins the wrapped paragraphs of `format=flowed` text (RFC 3676).
//!
//! A line that ends in a blank continues on the next line of the same quote depth. A signature separator, `-- `, is not
//! joined. A blank at the start of a line is stuffing and is removed.
//!
//! | rule | RFC 3676 | example (`_` is a blank) |
//! | --- | --- | --- |
//! | a line that ends in a blank goes on, at the same quote depth only | 4.1, 4.5 | `a_`, `b` is `a b`; `> a_`, `b` are two lines |
//! | `DelSp=yes` removes that blank, for languages without blanks | 4.1 | `a_`, `b` is `ab` |
//! | `--_` separates a signature: it neither continues a line nor is continued | 4.3 | `a_`, `--_`, `Bob` are three lines |
//! | a first blank is stuffed before `From`, `>` and blanks | 4.4 | `_From` is `From` |

/// Joins the lines of each paragraph. With `DelSp=yes`, drops the trailing blank that marks a wrapped line.
///
/// Quote marks stay on the first line of a quoted paragraph, with the blank after them, which mail programs display,
/// too. A paragraph that a line of another depth cuts off ends with its own line end.
pub(super) fn unwrap_paragraphs(text: &str, del_sp: bool) -> String {
    let mut whole = String::with_capacity(text.len());
    let mut open: Option<(usize, &str)> = None; // the wrapped line before: its quote depth and line end
    for line in text.split_inclusive('\n') {
        let content = line.trim_end_matches(['\r', '\n']);
        let (depth, content, end) =
            (quote_depth(content), &content[quote_depth(content)..], &line[content.len()..]);
        let unstuffed = content.strip_prefix(' ').unwrap_or(content);
        let is_signature = unstuffed == "-- ";
        match open.take() {
            Some((open_depth, _)) if open_depth == depth && !is_signature => whole.push_str(unstuffed),
            before => {
                whole.push_str(before.map_or("", |(_, end)| end));
                whole.push_str(&line[..depth]);
                whole.push_str(if depth == 0 { unstuffed } else { content });
            }
        }
        if unstuffed.ends_with(' ') && !is_signature {
            whole.truncate(whole.len() - usize::from(del_sp));
            open = Some((depth, end));
        } else {
            whole.push_str(end);
        }
    }
    whole + open.map_or("", |(_, end)| end)
}

/// Returns the number of `>` at the start of a line.
fn quote_depth(line: &str) -> usize {
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
    fn wrapped_paragraphs_are_joined(#[case] wrapped: &str, #[case] text: &str) {
        assert_eq!(unwrap_paragraphs(wrapped, false), text);
    }

    #[test]
    fn with_delsp_the_trailing_blank_is_dropped() {
        assert_eq!(unwrap_paragraphs("\u{4f60} \r\n\u{597d}\r\n", true), "\u{4f60}\u{597d}\r\n");
    }
}
