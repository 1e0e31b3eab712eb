//! Converts HTML to the text that a mail program displays.
//!
//! The tokenizer of the HTML standard reports tags and text, so that malformed pages are read as browsers read them,
//! without building a tree. Block elements and `<br>` become line ends, table cells become tabs, blanks are collapsed
//! except in `<pre>`. A page that ends within a tag was truncated, and is an error.
//!
//! | page | text |
//! | --- | --- |
//! | `if a < b then c`, `I <3 you` | the same: these begin no tag |
//! | `a&nbsp;b &lt;c&gt; &euro; &nosuch;` | `a b <c> € &nosuch;`, with a no-break space |
//! | `<p>a</p><p>b</p>` | two lines with an empty one between: the breaks of both are one, as margins collapse |
//! | `a<br><br>b` | two lines with an empty one between: each `<br>` counts |
//! | `<td>a</td> <td>b</td>` | `a`, a tab, `b` |
//! | `<style>`, `<script>`, `<title>` and what they contain | nothing |
//! | `<noscript>a</noscript>` | `a`: mail programs run no scripts |
//! | `Hello <style> p {} <p>more` | an error: the rest of the page is in an element that is not displayed |
//!
//! Links and images leave their text alone: neither addresses nor `alt` are part of what is read as the message.

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Error as PageError, Span, State, Tokenizer};

use crate::error::{Error, Result};

/// A token of the page, as the HTML standard's tokenizer reports it.
enum Event {
    Start {
        tag: Vec<u8>,
        is_closed: bool,
    },
    End(Vec<u8>),
    Text(Vec<u8>),
    Comment,
    /// The page ends within this construct.
    Truncated(&'static str),
}

/// Converts a page to text: a line for each block and `<br>`, without comments, scripts, styles and titles.
///
/// The tokenizer is told after each start tag how to read the element's content, as a browser's tree builder would tell
/// it: a `<p>` within `<script>` or `<textarea>` is no tag. An element that is closed in its own tag, `<title/>`, hides
/// nothing, although a browser would read on to `</title>`: the text after it was meant to be seen.
///
/// # Errors
/// `Message` when the page ends within a tag, a comment, or an element that is not displayed.
pub(super) fn to_text(page: &str) -> Result<String> {
    let mut tokenizer = Tokenizer::new_with_emitter(page, CallbackEmitter::new(token_callback()));
    let mut layout = Layout::default();
    let mut hidden: Option<(Vec<u8>, bool)> = None;
    let mut is_comment = false;
    while let Some(Ok(event)) = tokenizer.next() {
        is_comment = matches!(event, Event::Comment);
        match (event, &mut hidden) {
            (Event::Text(text), Some((_, has_text))) => *has_text |= !text.trim_ascii().is_empty(),
            (Event::Text(text), None) => layout.add(&String::from_utf8_lossy(&text)),
            (Event::Start { tag, is_closed }, _) => {
                layout.begin(&tag);
                let state = content_state(&tag).filter(|_| !is_closed);
                tokenizer.set_state(state.unwrap_or(State::Data));
                hidden = is_hidden(&tag).then_some((tag, false)).filter(|_| state.is_some());
            }
            (Event::End(tag), _) => {
                layout.end(&tag);
                hidden = None;
            }
            (Event::Comment, _) => {}
            (Event::Truncated(place), _) => return Err(truncated(place)),
        }
    }
    if is_comment && !page.trim_end().ends_with('>') {
        return Err(truncated("a comment")); // `<!`, or `</` before a blank, begins one too
    }
    match hidden {
        Some((tag, true)) => Err(truncated(&format!("<{}>", String::from_utf8_lossy(&tag)))),
        _ => Ok(layout.into_text()),
    }
}

fn truncated(place: &str) -> Error {
    Error::message(format!("the body's HTML ends within {place}"))
}

/// Returns the tokenizer's callback, which drops attributes and doctypes.
fn token_callback() -> impl FnMut(CallbackEvent<'_>, Span<()>) -> Option<Event> {
    let mut tag = Vec::new();
    move |event, _| match event {
        CallbackEvent::OpenStartTag { name } => {
            tag = name.to_vec();
            None
        }
        CallbackEvent::CloseStartTag { self_closing } => {
            Some(Event::Start { tag: std::mem::take(&mut tag), is_closed: self_closing })
        }
        CallbackEvent::EndTag { name } => Some(Event::End(name.to_vec())),
        CallbackEvent::String { value } => Some(Event::Text(value.to_vec())),
        CallbackEvent::Comment { .. } => Some(Event::Comment),
        CallbackEvent::Error(PageError::EofInTag) => Some(Event::Truncated("a tag")),
        CallbackEvent::Error(PageError::EofInComment) => Some(Event::Truncated("a comment")),
        _ => None,
    }
}

/// Returns the tokenizer state for the content of an element in which tags are text (HTML, section 13.2.6.2).
///
/// Not for `noscript`: mail programs run no scripts, so that its content is part of the page.
fn content_state(tag: &[u8]) -> Option<State> {
    match tag {
        b"title" | b"textarea" => Some(State::RcData),
        b"style" | b"xmp" | b"iframe" | b"noembed" | b"noframes" => Some(State::RawText),
        b"script" => Some(State::ScriptData),
        b"plaintext" => Some(State::PlainText),
        _ => None,
    }
}

/// Returns `true` for elements whose content is not displayed.
fn is_hidden(tag: &[u8]) -> bool {
    matches!(tag, b"title" | b"style" | b"script" | b"iframe" | b"noembed" | b"noframes")
}

/// Returns the number of line breaks before and after an element.
fn line_breaks(tag: &[u8]) -> usize {
    match tag {
        b"p" | b"h1" | b"h2" | b"h3" | b"h4" | b"h5" | b"h6" | b"blockquote" => 2,
        b"address" | b"article" | b"aside" | b"body" | b"caption" | b"center" | b"dd" | b"div" | b"dl"
        | b"dt" | b"fieldset" | b"figcaption" | b"figure" | b"footer" | b"form" | b"header" | b"hr"
        | b"html" | b"legend" | b"li" | b"listing" | b"main" | b"nav" | b"ol" | b"optgroup" | b"option"
        | b"plaintext" | b"pre" | b"section" | b"table" | b"tbody" | b"textarea" | b"tfoot" | b"thead"
        | b"tr" | b"ul" | b"xmp" => 1,
        _ => 0,
    }
}

/// Returns `true` for elements that keep their blanks and line ends.
fn is_preformatted(tag: &[u8]) -> bool {
    matches!(tag, b"pre" | b"listing" | b"plaintext" | b"textarea" | b"xmp")
}

/// The text so far, and the separators that are due before the next text.
///
/// They are written with the text that follows, so that a page neither begins nor ends with empty lines, and blanks
/// beside a line end are dropped.
#[derive(Default)]
struct Layout {
    text: String,
    breaks: usize,
    blank: Option<char>,
    /// The number of open elements that keep their blanks.
    preformatted: usize,
}

impl Layout {
    /// Handles a start tag. Breaks of adjacent blocks are one, the largest; a `<br>` adds to them.
    fn begin(&mut self, tag: &[u8]) {
        match tag {
            b"br" => self.breaks += 1,
            b"td" | b"th" => self.blank = Some('\t'),
            _ => self.breaks = self.breaks.max(line_breaks(tag)),
        }
        self.preformatted += usize::from(is_preformatted(tag));
    }

    /// Handles an end tag.
    fn end(&mut self, tag: &[u8]) {
        self.breaks = self.breaks.max(line_breaks(tag));
        self.preformatted = self.preformatted.saturating_sub(usize::from(is_preformatted(tag)));
    }

    /// Adds text, whose blanks are collapsed outside preformatted elements.
    fn add(&mut self, text: &str) {
        if self.preformatted > 0 {
            self.separate();
            self.text.push_str(text);
            return;
        }
        for c in text.chars() {
            if c.is_ascii_whitespace() {
                self.blank = self.blank.or(Some(' '));
            } else {
                self.separate();
                self.text.push(c);
            }
        }
    }

    /// Writes the separators that are due.
    fn separate(&mut self) {
        let blank = self.blank.take();
        let breaks = std::mem::take(&mut self.breaks);
        if self.text.is_empty() {
            return;
        }
        if breaks > 0 {
            self.text.extend(std::iter::repeat_n('\n', breaks));
        } else if let Some(blank) = blank.filter(|_| !self.text.ends_with('\n')) {
            self.text.push(blank);
        }
    }

    /// Returns the text, which ends in a line end unless it is empty.
    fn into_text(mut self) -> String {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        self.text
    }
}

/// Returns the charset that a page declares in a `<meta>` element within its first 1,024 octets, where the HTML
/// standard lets a browser look for it (section 13.2.3.2). Used where the mail itself states none.
pub(super) fn declared_charset(page: &[u8]) -> Option<String> {
    let beginning = String::from_utf8_lossy(&page[..page.len().min(1_024)]).to_ascii_lowercase();
    let (_, after) = beginning.split_once("<meta")?.1.split_once("charset")?;
    let name = after.trim_start().strip_prefix('=')?.trim_start_matches([' ', '"', '\'']);
    Some(name.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_:.".contains(*c)).collect())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::less_than("<p>if a < b then c</p><p>I <3 you (<2%)</p>", "if a < b then c\n\nI <3 you (<2%)\n")]
    #[case::entities(
        "a&nbsp;b &lt;c&gt; &amp;amp; &#8364; &#x20AC &euro; &nosuch; &",
        "a\u{a0}b <c> &amp; \u{20ac} \u{20ac} \u{20ac} &nosuch; &\n"
    )]
    #[case::head_without_an_end("<html><head><title>T</title><body><p>Hello</p>", "Hello\n")]
    #[case::two_heads(
        "<head><meta charset=\"utf-8\" /><head><body><div>Hello</div></body></html>",
        "Hello\n"
    )]
    #[case::closed_head("<HTML><HEAD /><BODY><span>Hello</span></BODY></HTML>", "Hello\n")]
    #[case::closed_title("<title/><style/><script src='x'/>Hello", "Hello\n")]
    #[case::hidden("a<style>p > b {}</style><script>if (a < b) '<p>'</script><title>x</title>b", "ab\n")]
    #[case::comments(
        "a<!-- <p>no</p> --><!--[if mso]>no<![endif]--><![if !mso]>b<![endif]><?xml x?>c",
        "abc\n"
    )]
    #[case::breaks("a<br>b<br/><br>c<div>d</div>e<ul><li>f<li>g</ul>", "a\nb\n\nc\nd\ne\nf\ng\n")]
    #[case::a_table("<table><tr><td>a</td> <td>b</td></tr><tr><td>c</table>d", "a\tb\nc\nd\n")]
    #[case::blanks("  a \r\n\t b  <b> c</b>  ", "a b c\n")]
    #[case::preformatted("x<pre>a  b\n  c</pre>y  z", "x\na  b\n  c\ny z\n")]
    #[case::attributes("<p title=\"a > b\" x='</p>'>c</p>", "c\n")]
    #[case::without_scripts("<noscript><p>shown</p></noscript>", "shown\n")]
    #[case::text_of_tags("<textarea><b>x</textarea>", "<b>x\n")]
    #[case::nothing("<html><body> </body></html>", "")]
    fn a_page_is_converted_to_the_text_that_mail_programs_display(#[case] page: &str, #[case] shown: &str) {
        assert_eq!(to_text(page).unwrap(), shown);
    }

    #[rstest]
    #[case("Hello <!-- and more")]
    #[case("Hello <! and more")]
    #[case("Hello </ and more")]
    #[case("Hello <style> p {} <p>more")]
    #[case("Hello <title>more")]
    #[case("Hello <a href=\"more")]
    fn a_truncated_page_is_an_error(#[case] page: &str) {
        assert!(to_text(page).is_err());
    }

    #[test]
    fn the_charset_is_read_from_meta_elements_only() {
        assert_eq!(
            declared_charset(b"<META http-equiv=x content='text/html; charset=koi8-r'>").as_deref(),
            Some("koi8-r")
        );
        assert_eq!(declared_charset(b"<meta charset = \"gb2312\">").as_deref(), Some("gb2312"));
        assert_eq!(declared_charset(b"<p>charset=x"), None);
    }
}
