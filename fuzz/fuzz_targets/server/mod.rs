//! A server on the loopback that replies with the fuzzer's octets, and records the client's commands.

use std::ffi::CStr;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The separator of replies. A reply is for one line; an empty one stands for the default server's.
const NEXT: u8 = b'~';

/// A client that is silent for this long waits for more: it gets the next reply.
const STALL: Duration = Duration::from_millis(5);

/// The time in which a client must end after the last reply.
const END_TIMEOUT: Duration = Duration::from_secs(20);

static LISTENER: LazyLock<TcpListener> =
    LazyLock::new(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));

/// Coverage counters for libFuzzer, besides its own for Rust.
#[unsafe(link_section = "__libfuzzer_extra_counters")]
static mut COUNTERS: [u8; 8_192] = [0; 8_192];

/// The default server, whose replies are used where the fuzzer gives none.
pub trait Usual: Send {
    /// Returns the reply to a line and its literal; an empty one for lines without a reply.
    fn say(&mut self, line: &[u8]) -> String;

    /// Returns the replacement for `WHO` in replies: the client's random name, which the fuzzer can't guess.
    fn who(&self) -> &[u8] {
        b"WHO"
    }
}

impl<F: FnMut(&[u8]) -> String + Send> Usual for F {
    fn say(&mut self, line: &[u8]) -> String {
        self(line)
    }
}

/// Adds coverage of Python's lines to the fuzzer's counters.
pub fn follow_python() {
    let code = CStr::from_bytes_with_nul(concat!(include_str!("../lines.py"), "\0").as_bytes());
    let counters = (&raw mut COUNTERS) as usize;
    pymail::fuzz::python(c"pymail_fuzz_lines", code.expect("no NUL"), "count", &[], counters)
        .expect("Python runs");
}

/// Returns the port of the server.
pub fn port() -> u16 {
    LISTENER.local_addr().expect("an address").port()
}

/// Runs a client against these replies, and returns the octets that the client sent.
pub fn serve(answers: &[u8], mut usual: impl Usual, client: impl FnOnce()) -> Vec<u8> {
    let done = AtomicBool::new(false);
    let mut answers = answers.split(|&octet| octet == NEXT);
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let mut heard = Vec::new();
            loop {
                let (stream, _) = LISTENER.accept().expect("a connection");
                if done.load(Ordering::SeqCst) {
                    return heard;
                }
                let _ = talk(&stream, &mut answers, &mut usual, &mut heard);
                let _ = stream.shutdown(Shutdown::Write);
                let _ = stream.set_read_timeout(Some(END_TIMEOUT));
                // Octets that are still in transit count, too.
                let _ = (&stream).read_to_end(&mut heard);
            }
        });
        client();
        done.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", port())));
        server.join().expect("the server ends")
    })
}

fn talk<'a>(
    mut stream: &TcpStream,
    answers: &mut impl Iterator<Item = &'a [u8]>,
    usual: &mut impl Usual,
    heard: &mut Vec<u8>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(STALL))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut line = b"GREETING\r\n".to_vec();
    let mut whole = 0;
    loop {
        let stalled = !is_whole(&line, whole);
        let answer = match answers.next() {
            Some(answer) if !answer.is_empty() => filled(answer, &line, usual.who()),
            _ if stalled => return Ok(heard.extend(reader.buffer())),
            _ => filled(usual.say(&line).as_bytes(), &line, usual.who()),
        };
        stream.write_all(&answer)?;
        match literal_after(&line) {
            // The literal, and the rest of the line after it.
            Some(length) if !stalled && answer.starts_with(b"+") => whole = line.len() + length + 2,
            _ if !stalled => (line, whole) = (Vec::new(), 0),
            _ => {}
        }
        let before = line.len();
        let read = listen(&mut reader, &mut line, whole);
        heard.extend(&line[before..]);
        match read {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return Err(error),
            Err(_) => {}
        }
    }
}

/// Reads until the line is complete; returns `false` at the end of the connection.
fn listen(reader: &mut impl BufRead, line: &mut Vec<u8>, whole: usize) -> std::io::Result<bool> {
    loop {
        if reader.read_until(b'\n', line)? == 0 {
            return Ok(false);
        }
        if is_whole(line, whole) {
            return Ok(true);
        }
    }
}

fn is_whole(line: &[u8], whole: usize) -> bool {
    line.ends_with(b"\n") && line.len() >= whole
}

/// Returns the length of the literal that a line announces.
pub fn literal_after(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"}\r\n")?;
    let begin = line.iter().rposition(|&octet| octet == b'{')? + 1;
    std::str::from_utf8(&line[begin..]).ok()?.parse().ok().filter(|&length: &usize| length < 1 << 20)
}

/// Returns the reply, with `TAG` and `WHO` replaced.
fn filled(answer: &[u8], line: &[u8], who: &[u8]) -> Vec<u8> {
    let tag = line.split(|&octet| octet == b' ').next().unwrap_or_default();
    replaced(&replaced(answer, b"TAG", tag), b"WHO", who)
}

fn replaced(text: &[u8], name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut said = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(name.len()).position(|window| window == name) {
        said.extend([&rest[..at], value].concat());
        rest = &rest[at + name.len()..];
    }
    said.extend(rest);
    said
}
