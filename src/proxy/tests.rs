//! Dialogues with proxies, octet for octet.

use std::net::Shutdown;
use std::sync::mpsc;

use pymail_test_support::proxy::{answering, endless, listen, silent};
use rstest::rstest;

use super::*;

const LONG: Duration = Duration::from_secs(120);
const SECRET: &str = "s3cret";

fn socks5(port: u16) -> Proxy {
    Proxy::socks5("127.0.0.1", port)
}

fn http(port: u16) -> Proxy {
    Proxy::http("127.0.0.1", port)
}

/// Connects to a host and port 993 by the proxy.
fn open(proxy: &Proxy, host: &str) -> Result<TcpStream> {
    connect(proxy, (host, 993), Deadline::after(LONG), "connecting")
}

/// Runs a dialogue with a proxy that sends each answer after it has received something; returns all that it received.
fn heard<const N: usize>(
    proxy: impl Fn(u16) -> Proxy,
    answers: [&'static [u8]; N],
    host: &str,
) -> Vec<Vec<u8>> {
    let (sender, received) = mpsc::channel();
    let port = listen(move |mut client| {
        for answer in answers {
            let mut octets = [0; 4096];
            let length = client.read(&mut octets).unwrap();
            sender.send(octets[..length].to_vec()).unwrap();
            client.write_all(answer).unwrap();
        }
        let _ = client.shutdown(Shutdown::Write);
    });
    let mut socket = open(&proxy(port), host).unwrap();
    let mut rest = Vec::new();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket.read_to_end(&mut rest).unwrap();
    let mut all: Vec<_> = received.try_iter().collect();
    all.push(rest);
    all
}

/// The server's greeting, which the proxy sends with its own last octets.
const SOCKS5_READY: &[u8] = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x19220 hello\r\n";
const SOCKS5_READY_BY_NAME: &[u8] = b"\x05\x00\x00\x03\x04name\x00\x19220 hello\r\n";
const SOCKS5_READY_BY_IPV6: &[u8] =
    b"\x05\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
    \x00\x00220 hello\r\n";
const HTTP_READY: &[u8] = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n220 hello\r\n";
const HTTP_READY_AT_LAST: &[u8] = b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\nHTTP/1.0 200\n\n220 hello\r\n";

#[rstest]
#[case::name("mail.test", b"\x05\x01\x00\x03\x09mail.test\x03\xe1", SOCKS5_READY)]
#[case::absolute("mail.test.", b"\x05\x01\x00\x03\x0amail.test.\x03\xe1", SOCKS5_READY_BY_NAME)]
#[case::ipv4("192.0.2.1", b"\x05\x01\x00\x01\xc0\x00\x02\x01\x03\xe1", SOCKS5_READY_BY_IPV6)]
#[case::ipv6(
    "2001:db8::1",
    b"\x05\x01\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x03\xe1",
    SOCKS5_READY
)]
fn socks5_sends_the_host_unresolved_and_leaves_what_follows(
    #[case] host: &str,
    #[case] request: &[u8],
    #[case] ready: &'static [u8],
) {
    assert_eq!(heard(socks5, [b"\x05\x00", ready], host), [b"\x05\x01\x00", request, b"220 hello\r\n"]);
}

#[rstest]
fn socks5_sends_the_login_if_the_proxy_asks_for_it() {
    let with_login = |port| socks5(port).login("al", SECRET);
    let request: &[u8] = b"\x05\x01\x00\x03\x01m\x03\xe1";
    assert_eq!(
        heard(with_login, [b"\x05\x02", b"\x01\x00", SOCKS5_READY], "m"),
        [b"\x05\x02\x00\x02", b"\x01\x02al\x06s3cret".as_slice(), request, b"220 hello\r\n"]
    );
    assert_eq!(
        heard(with_login, [b"\x05\x00", SOCKS5_READY], "m"),
        [b"\x05\x02\x00\x02", request, b"220 hello\r\n"]
    );
}

#[rstest]
#[case::name("mail.test", "mail.test:993", HTTP_READY)]
#[case::ipv6("2001:db8:0::1", "[2001:db8::1]:993", HTTP_READY_AT_LAST)]
fn connect_names_the_host_and_leaves_what_follows(
    #[case] host: &str,
    #[case] target: &str,
    #[case] ready: &'static [u8],
) {
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    assert_eq!(heard(http, [ready], host), [format!("{request}\r\n").as_bytes(), b"220 hello\r\n"]);
    let login = "Proxy-Authorization: Basic YWw6czNjcmV0\r\n";
    assert_eq!(
        heard(|port| http(port).login("al", SECRET), [ready], host),
        [format!("{request}{login}\r\n").as_bytes(), b"220 hello\r\n"]
    );
}

/// Starts a proxy with one answer, or two, that then hangs up.
fn answering_both(first: &[u8], second: &[u8]) -> u16 {
    let answers = if second.is_empty() { vec![first] } else { vec![first, second] };
    answering(answers.into_iter().map(<[u8]>::to_vec).collect())
}

/// Checks the kind and the text of an error.
fn assert_refused(error: &Error, text: &str) {
    assert_eq!(error.kind(), ErrorKind::Connect, "{error:?}");
    assert!(error.is_transient() && error.to_string().contains(text), "{error:?}");
    assert!(error.to_string().len() < 600, "{error}");
    for secret in [SECRET, "czNjcmV0", "YWw6czNjcmV0"] {
        assert!(!format!("{error:#} {error:?}").contains(secret), "{error:?}");
    }
}

#[rstest]
#[case(1, "general failure")]
#[case(2, "not allowed by its rules")]
#[case(3, "network unreachable")]
#[case(4, "host unreachable")]
#[case(5, "connection refused by the server")]
#[case(6, "time to live expired")]
#[case(7, "command not supported")]
#[case(8, "address type not supported")]
#[case(99, "unknown code 99")]
fn the_refusals_of_socks5_are_named(#[case] code: u8, #[case] text: &str) {
    let port = answering(vec![b"\x05\x00".to_vec(), vec![5, code]]);
    assert_refused(&open(&socks5(port), "mail.test").unwrap_err(), text);
}

#[rstest]
#[case::closes(b"", b"", "the proxy closed the connection")]
#[case::closes_within(b"\x05", b"", "the proxy closed the connection")]
#[case::closes_later(b"\x05\x00", b"\x05\x00\x00\x01\x7f", "the proxy closed the connection")]
#[case::mail_server(b"220 mail.test\r\n", b"", "does not speak SOCKS5")]
#[case::socks4(b"\x00\x5b\0\0\0\0\0\0", b"", "does not speak SOCKS5")]
#[case::another_version(b"\x05\x00", b"\x04\x00", "does not speak SOCKS5")]
#[case::wants_a_password(b"\x05\x02", b"", "the proxy wants a login")]
#[case::wants_another_login(b"\x05\xff", b"", "the proxy wants a login")]
#[case::not_offered(b"\x05\x01", b"", "method of login 1, which was not offered")]
#[case::unknown_address(b"\x05\x00", b"\x05\x00\x00\x07\x00\x00", "unknown address type 7")]
fn a_socks5_proxy_that_can_not_be_used_is_a_connect_error(
    #[case] first: &[u8],
    #[case] second: &[u8],
    #[case] text: &str,
) {
    let error = open(&socks5(answering_both(first, second)), "mail.test").unwrap_err();
    assert_refused(&error, text);
    assert_eq!(error.retry_after(), None);
}

#[rstest]
#[case::forbidden("HTTP/1.1 403 Forbidden by policy\r\n\r\n", "refused: 403 Forbidden by policy")]
#[case::bad_gateway("HTTP/1.1 502 Bad Gateway\r\nX: y\r\n\r\n<html>", "refused: 502 Bad Gateway")]
#[case::redirect("HTTP/1.0 302 Found\nLocation: http://x\n\n", "refused: 302 Found")]
#[case::no_reason("HTTP/1.1 504\r\n\r\n", "refused: 504")]
#[case::wants_a_login(
    "HTTP/1.1 407 Authenticate\r\nProxy-Authenticate: Negotiate\r\nproxy-authenticate: NTLM x\r\n\r\n",
    "the proxy wants a login: Proxy::login (it takes Negotiate, NTLM)"
)]
#[case::closes("", "the proxy closed the connection")]
#[case::closes_within("HTTP/1.1 200 OK\r\nVia: x\r\n", "the proxy closed the connection")]
#[case::mail_server("220 mail.test ESMTP\r\n", "does not speak HTTP: its answer is \"220 mail.test ESMTP\"")]
#[case::not_a_number("HTTP/1.1 2x0 OK\r\n", "does not speak HTTP")]
#[case::http2("HTTP/2 200\r\n\r\n", "does not speak HTTP")]
#[case::control("HTTP/1.1 500 a\x1b[2Jb\0c\r\n\r\n", "refused: 500 a\u{fffd}[2Jb\u{fffd}c")]
fn an_http_proxy_that_can_not_be_used_is_a_connect_error(#[case] answer: &'static str, #[case] text: &str) {
    let error = open(&http(answering(vec![answer.into()])), "mail.test").unwrap_err();
    assert_refused(&error, text);
    assert_eq!(error.retry_after(), None);
}

#[rstest]
fn a_long_reason_is_cut() {
    let answer = format!("HTTP/1.1 500 {}\r\n\r\n", "x".repeat(9_000));
    assert_refused(&open(&http(answering(vec![answer.into()])), "mail.test").unwrap_err(), "xxx (..)");
}

#[rstest]
#[case::socks5(socks5, b"\x05\x02", b"\x01\x01", "the proxy refused the login")]
#[case::tinyproxy(
    http,
    b"HTTP/1.1 401 Unauthorized\r\n\r\n",
    b"",
    "the proxy refused the login: 401 Unauthorized"
)]
#[case::http(
    http,
    b"HTTP/1.1 407 no YWw6czNjcmV0 s3cret\r\n\r\n",
    b"",
    "the proxy refused the login: 407 no (..) (..)"
)]
fn a_refused_login_is_a_connect_error_with_a_wait_and_without_the_password(
    #[case] proxy: fn(u16) -> Proxy,
    #[case] first: &[u8],
    #[case] second: &[u8],
    #[case] text: &str,
) {
    let port = answering_both(first, second);
    let error = open(&proxy(port).login("al", SECRET), "mail.test").unwrap_err();
    assert_refused(&error, text);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(60)));
}

#[rstest]
fn a_proxy_without_logins_by_password_is_a_connect_error() {
    let port = answering(vec![b"\x05\xff".to_vec()]);
    let error = open(&socks5(port).login("al", SECRET), "mail.test").unwrap_err();
    assert_refused(&error, "takes no login by user name and password");
}

#[rstest]
#[case::fields(b"HTTP/1.1 200 OK\r\nX: y\r\n", "more than 16 KiB")]
#[case::line(b"x", "more than 16 KiB")]
#[case::interim(b"HTTP/1.1 100 Continue\r\n\r\n", "more than 16 KiB")]
fn an_endless_answer_of_an_http_proxy_is_a_connect_error(#[case] octets: &'static [u8], #[case] text: &str) {
    // The first status line is cut in all but the first case, or repeated as a field.
    assert_refused(&open(&http(endless(octets)), "mail.test").unwrap_err(), text);
}

#[rstest]
fn a_silent_proxy_costs_one_deadline(#[values(socks5, http)] proxy: fn(u16) -> Proxy) {
    let deadline = Deadline::after(Duration::from_secs(5));
    let error = connect(&proxy(silent()), ("mail.test", 993), deadline, "connecting").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    assert_eq!(format!("{error:#}"), "connecting timed out after 5 s: the proxy has not answered");
}

/// Each octet comes within the time, all of them never.
#[rstest]
fn a_proxy_that_drips_costs_one_deadline() {
    let port = listen(|mut client| {
        while client.write_all(b"H").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let deadline = Deadline::after(Duration::from_millis(300));
    let error = connect(&http(port), ("mail.test", 993), deadline, "connecting").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
}

#[rstest]
fn a_host_that_socks5_can_not_send_is_a_config_error() {
    let error = open(&socks5(silent()), &"a".repeat(256)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
}
