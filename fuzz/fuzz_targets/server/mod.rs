//! A server on the loopback that answers with the fuzzer's octets, and remembers what it has heard.

use std::ffi::CStr;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What stands between two answers. An answer is for one line, and an empty one is what a usual server says.
const NEXT: u8 = b'~';

/// A client that says nothing for this long waits for more than it got: it gets the next answer.
const STALL: Duration = Duration::from_millis(5);

/// No client goes on for so long after its server has said everything.
const PATIENCE: Duration = Duration::from_secs(20);

static LISTENER: LazyLock<TcpListener> =
    LazyLock::new(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));

/// Where libFuzzer looks for what is new, besides the edges in Rust.
#[unsafe(link_section = "__libfuzzer_extra_counters")]
static mut COUNTERS: [u8; 8_192] = [0; 8_192];

/// A usual server, which says what the octets don't.
pub trait Usual: Send {
    /// What it says to a line and the literal behind it; nothing to what is none of its business.
    fn say(&mut self, line: &[u8]) -> String;

    /// What stands for each `WHO` in an answer: what the client calls itself, which no octets can know.
    fn who(&self) -> &[u8] {
        b"WHO"
    }
}

impl<F: FnMut(&[u8]) -> String + Send> Usual for F {
    fn say(&mut self, line: &[u8]) -> String {
        self(line)
    }
}

/// Lets the fuzzer see where its octets lead to within Python.
pub fn follow_python() {
    let code = CStr::from_bytes_with_nul(concat!(include_str!("../lines.py"), "\0").as_bytes());
    let counters = (&raw mut COUNTERS) as usize;
    pymail::fuzz::python(c"pymail_fuzz_lines", code.expect("no NUL"), "count", &[], counters)
        .expect("Python runs");
}

/// The port of the server.
pub fn port() -> u16 {
    LISTENER.local_addr().expect("an address").port()
}

/// Runs a client against these answers, and returns what the client said.
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
                let _ = stream.set_read_timeout(Some(PATIENCE));
                // Up to the end: what is on its way counts.
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
            // The literal, and the end of the line that goes on behind it.
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

/// Reads on until the line is whole; false at the end.
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

/// How long the literal is that a line announces.
pub fn literal_after(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"}\r\n")?;
    let begin = line.iter().rposition(|&octet| octet == b'{')? + 1;
    std::str::from_utf8(&line[begin..]).ok()?.parse().ok().filter(|&length: &usize| length < 1 << 20)
}

/// The answer, with the client's tag in place of each `TAG`.
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
