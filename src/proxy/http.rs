//! The method CONNECT of HTTP/1.1 (RFC 9110, section 9.3.6), with the login Basic (RFC 7617).

use base64_simd::STANDARD;

use super::Dialogue;
use crate::config::{ProxyLogin, authority};
use crate::error::Result;
use crate::secrets;

/// The most octets of a response's header block.
const MAX_HEAD: usize = 16 << 10;

/// Has the proxy connect to the host.
///
/// # Errors
/// `Timeout`, `Connect`.
pub(super) fn open(dialogue: &Dialogue<'_>, login: Option<&ProxyLogin>, host: &str, port: u16) -> Result<()> {
    let target = authority(host, port);
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    let mut secrets = Vec::new();
    if let Some(ProxyLogin { user, password }) = login {
        let encoded = STANDARD.encode_to_string(format!("{user}:{}", password.reveal()));
        request.extend(["Proxy-Authorization: Basic ", &encoded, "\r\n"]);
        secrets = vec![encoded.trim_end_matches('=').to_owned(), password.reveal().to_owned()];
    }
    dialogue.send(format!("{request}\r\n").as_bytes())?;

    let head = receive_head(dialogue, &secrets)?;
    let hidden = |text: &str| secrets::hide(text.to_owned(), &secrets);
    match (head.status, login) {
        (200..=299, _) => Ok(()),
        // Tinyproxy refuses a wrong login by 401.
        (401 | 407, None) => {
            Err(dialogue.refused(&format!("the proxy wants a login: Proxy::login{}", head.by())))
        }
        (401 | 407, Some(_)) => {
            let text = format!("the proxy refused the login{}: {}", hidden(&head.by()), hidden(&head.line));
            Err(dialogue.refused_login(&text))
        }
        _ => Err(dialogue.refused(&format!("the proxy refused: {}", hidden(&head.line)))),
    }
}

/// The header block of a response.
struct Head {
    status: u16,
    /// The status and its reason.
    line: String,
    /// The values of `Proxy-Authenticate`.
    logins: Vec<String>,
}

impl Head {
    /// Returns the logins that the proxy takes, for the end of a text.
    fn by(&self) -> String {
        // The first word is the scheme, such as `Negotiate`.
        let schemes: Vec<&str> =
            self.logins.iter().filter_map(|value| value.split_whitespace().next()).collect();
        if schemes.is_empty() { String::new() } else { format!(" (it takes {})", schemes.join(", ")) }
    }
}

/// Receives a final response, up to the end of its header block.
fn receive_head(dialogue: &Dialogue<'_>, secrets: &[String]) -> Result<Head> {
    let mut left = MAX_HEAD;
    loop {
        let first = receive_line(dialogue, &mut left)?;
        let Some((status, line)) = parse_status(&first) else {
            let shown = secrets::hide(first, secrets);
            return Err(dialogue.refused(&format!("the proxy does not speak HTTP: its answer is {shown:?}")));
        };
        let mut logins = Vec::new();
        loop {
            let field = receive_line(dialogue, &mut left)?;
            if field.is_empty() {
                break;
            }
            if let Some((name, value)) = field.split_once(':')
                && name.eq_ignore_ascii_case("Proxy-Authenticate")
            {
                logins.push(value.to_owned());
            }
        }
        // Interim responses precede the final one (RFC 9110, section 15.2).
        if !(100..=199).contains(&status) {
            return Ok(Head { status, line, logins });
        }
    }
}

/// Receives a line, an octet at a time: those after the header block are the server's.
fn receive_line(dialogue: &Dialogue<'_>, left: &mut usize) -> Result<String> {
    let mut line = Vec::new();
    loop {
        if *left == 0 {
            let text = format!("the proxy's answer has more than {} KiB of header fields", MAX_HEAD >> 10);
            return Err(dialogue.refused(&text));
        }
        *left -= 1;
        match dialogue.receive()? {
            [b'\n'] => break,
            [octet] => line.push(octet),
        }
    }
    let text = line.strip_suffix(b"\r").unwrap_or(&line);
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// Returns the status code, and the text from it on.
fn parse_status(line: &str) -> Option<(u16, String)> {
    let (version, status) = line.split_once(' ')?;
    let (code, _reason) = status.split_at_checked(3)?;
    let is_status = version.starts_with("HTTP/1.") && code.bytes().all(|digit| digit.is_ascii_digit());
    let code = code.parse().ok().filter(|_| is_status)?;
    Some((code, status.trim_end().to_owned()))
}
