//! Local delivery by LMTP (RFC 2033).

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};

/// Delivers messages, in this order, on one connection; each is stored before the next one begins.
///
/// # Errors
///
/// The server is not there, or refuses a message.
pub(super) fn deliver(
    port: u16,
    user: &str,
    mails: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> io::Result<()> {
    let mut server = BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?);
    server.get_ref().set_nodelay(true)?;
    expect(&mut server, "220")?;
    write!(server.get_mut(), "LHLO client.example.test\r\n")?;
    expect(&mut server, "250")?;
    let envelope = format!("MAIL FROM:<>\r\nRCPT TO:<{user}>\r\nDATA\r\n");
    for mail in mails {
        // One write: RFC 2033 includes PIPELINING.
        server.get_mut().write_all(envelope.as_bytes())?;
        ["250", "250", "354"].into_iter().try_for_each(|code| expect(&mut server, code))?;
        server.get_mut().write_all(&dotted(mail.as_ref()))?;
        expect(&mut server, "250")?;
    }
    Ok(())
}

/// Reads one reply, of one or more lines.
fn expect(server: &mut impl BufRead, code: &str) -> io::Result<()> {
    loop {
        let mut line = String::new();
        server.read_line(&mut line)?;
        if !line.starts_with(code) {
            return Err(io::Error::other(format!("{code} expected, got {line:?}")));
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(());
        }
    }
}

/// Returns the message as `DATA` wants it: dots doubled at line starts, a lone dot at the end.
fn dotted(raw: &[u8]) -> Vec<u8> {
    let mut data = Vec::with_capacity(raw.len() + 5);
    for line in raw.split_inclusive(|&byte| byte == b'\n') {
        if line.starts_with(b".") {
            data.push(b'.');
        }
        data.extend_from_slice(line);
    }
    if !data.ends_with(b"\r\n") && !data.is_empty() {
        data.extend_from_slice(b"\r\n");
    }
    data.extend_from_slice(b".\r\n");
    data
}
