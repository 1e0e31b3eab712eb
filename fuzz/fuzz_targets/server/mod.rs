//! A server on the loopback that answers with the fuzzer's octets, and remembers what it has heard.

use std::ffi::CStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
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

/// What a usual server says to a line; nothing to a line that is none of its business.
pub type Usual = fn(line: &[u8]) -> String;

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
pub fn serve(answers: &[u8], usual: Usual, client: impl FnOnce()) -> Vec<u8> {
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
                let _ = talk(&stream, &mut answers, usual, &mut heard);
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
    usual: Usual,
    heard: &mut Vec<u8>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(STALL))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut line = b"GREETING\r\n".to_vec();
    loop {
        let stalled = !line.ends_with(b"\n");
        let answer = match answers.next() {
            Some(answer) if !answer.is_empty() => with_tag(answer, &line),
            _ if stalled => return Ok(heard.extend(reader.buffer())),
            _ => with_tag(usual(&line).as_bytes(), &line),
        };
        stream.write_all(&answer)?;
        if !stalled {
            line.clear();
        }
        let before = line.len();
        let read = reader.read_until(b'\n', &mut line);
        heard.extend(&line[before..]);
        match read {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
}

/// The answer, with the client's tag in place of each `TAG`.
fn with_tag(answer: &[u8], line: &[u8]) -> Vec<u8> {
    let tag = line.split(|&octet| octet == b' ').next().unwrap_or_default();
    let mut said = Vec::new();
    let mut rest = answer;
    while let Some(at) = rest.windows(3).position(|window| window == b"TAG") {
        said.extend([&rest[..at], tag].concat());
        rest = &rest[at + 3..];
    }
    said.extend(rest);
    said
}
