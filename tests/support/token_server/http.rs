//! One HTTP request a connection, with a form in its body, its query or both.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{Form, Reply};

/// A request.
pub(super) struct Request {
    pub(super) path: String,
    pub(super) form: Form,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// The lines of the header, but for `Content-Length`.
    pub headers: Vec<String>,
    pub body: String,
}

impl Response {
    /// Makes a response with a body of this type.
    pub fn new(status: u16, content_type: &str, body: impl Into<String>) -> Self {
        Self { status, headers: vec![format!("Content-Type: {content_type}")], body: body.into() }
    }

    /// Makes a response with this JSON.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    /// Adds a header field.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(format!("{name}: {value}"));
        self
    }
}

/// Serves one request. A client that hangs up is no failure here.
pub(super) fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    answer: impl FnOnce(&Request) -> Option<Reply>,
) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => talk(stream, answer),
        Some(tls) => {
            let connection = ServerConnection::new(tls).expect("a TLS server");
            talk(StreamOwned::new(connection, stream), answer)
        }
    };
}

fn talk(stream: impl Read + Write, answer: impl FnOnce(&Request) -> Option<Reply>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let request = read(&mut stream)?;
    match answer(&request)? {
        Reply::Silence => {
            let _ = stream.read(&mut [0]);
        }
        Reply::Response(response) => {
            let Response { status, headers, body } = response;
            let headers: String = headers.iter().flat_map(|line| [line, "\r\n"]).collect();
            let length = body.len();
            let head = format!("HTTP/1.1 {status} Status\r\n{headers}Content-Length: {length}\r\n");
            let stream = stream.get_mut();
            stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes()).ok()?;
            stream.flush().ok()?;
        }
    }
    Some(())
}

fn read(stream: &mut BufReader<impl Read>) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
    }
    let target = lines.first()?.split(' ').nth(1)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let length = field(&lines, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let mut form = parse_form(query);
    form.extend(parse_form(&String::from_utf8_lossy(&body)));
    form.extend(field(&lines, "authorization").and_then(basic).unwrap_or_default());
    Some(Request { path: path.to_owned(), form })
}

fn field<'a>(lines: &'a [String], wanted: &str) -> Option<&'a str> {
    let mut fields = lines.iter().filter_map(|line| line.split_once(':'));
    fields.find_map(|(name, value)| name.eq_ignore_ascii_case(wanted).then(|| value.trim()))
}

/// Returns the client's id and secret (RFC 6749, section 2.3.1).
fn basic(value: &str) -> Option<Form> {
    let pair = BASE64_STANDARD.decode(value.strip_prefix("Basic ")?).ok()?;
    let pair = String::from_utf8(pair).ok()?;
    let (id, secret) = pair.split_once(':')?;
    Some(Form::from([
        ("client_id".to_owned(), decode(id)),
        ("client_secret".to_owned(), decode(secret)),
        ("by_header".to_owned(), "true".to_owned()),
    ]))
}

fn parse_form(text: &str) -> Form {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}

/// Decodes a name or a value of a form.
fn decode(text: &str) -> String {
    let (mut octets, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).filter(|hex| *first == b'%' && hex.iter().all(u8::is_ascii_hexdigit));
        let decoded = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        octets.push(decoded.unwrap_or(if *first == b'+' { b' ' } else { *first }));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&octets).into_owned()
}
