//! Hides secrets in texts from elsewhere: a server or a proxy can send back what it was sent.

use memchr::memmem;

use crate::error::bounded;

/// The fewest characters in a row that give a long secret away.
const PIECE: usize = 8;

/// The length from which a secret is hidden in pieces, too: a server, or a limit, may have cut it.
const LONG: usize = 32;

/// Replaces secrets by `(..)` and makes the text printable.
pub(crate) fn hide(text: String, secrets: &[String]) -> String {
    let hide = |text: String, secret: &String| text.replace(secret.as_str(), "(..)");
    // Secrets first: `bounded` may cut one in half, which would not be recognised if it is short.
    let hidden = bounded(&secrets.iter().filter(|secret| !secret.is_empty()).fold(text, hide));
    hide_pieces(&hidden, secrets)
}

/// Replaces each word that has a piece of a long secret.
fn hide_pieces(text: &str, secrets: &[String]) -> String {
    let long: Vec<&String> = secrets.iter().filter(|secret| secret.len() >= LONG).collect();
    let is_piece =
        |octets: &[u8]| long.iter().any(|secret| memmem::find(secret.as_bytes(), octets).is_some());
    let shows = |word: &str| word.as_bytes().windows(PIECE).any(is_piece);
    if long.is_empty() || !text.split(' ').any(shows) {
        return text.to_owned();
    }
    let hidden: Vec<&str> = text.split(' ').map(|word| if shows(word) { "(..)" } else { word }).collect();
    hidden.join(" ")
}
