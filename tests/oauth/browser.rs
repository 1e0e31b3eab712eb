//! Signing in by a browser on this machine.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use pymail::ErrorKind;
use pymail::oauth::{BrowserSignIn, Client, Endpoints};
use rstest::rstest;

use crate::support::token_server::{CLIENT_SECRET, TokenServer};
use crate::{LONG, USER, ask, assert_hidden};

/// Returns a client of this server, whose page is reached without TLS by these tests.
fn client(server: &TokenServer) -> Client {
    let page = format!("http://localhost:{}/authorize?prompt=consent", server.http_port());
    let endpoints = Endpoints::new(server.url("token")).authorization(page);
    Client::new(endpoints, "app")
        .secret(CLIENT_SECRET)
        .add_root_certificate_pem(server.ca_pem())
        .scopes(["mail"])
}

/// Gets an address on the loopback, as a browser does, and returns the whole response.
fn get(url: &str) -> String {
    get_with(url, b"Host: localhost\r\n")
}

/// The same, with these header lines.
fn get_with(url: &str, headers: &[u8]) -> String {
    let rest = url.strip_prefix("http://localhost:").unwrap();
    let (port, target) = rest.split_at(rest.find(['/', '?']).unwrap());
    let slash = if target.starts_with('/') { "" } else { "/" };
    let mut stream = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
    write!(stream, "GET {slash}{target} HTTP/1.1\r\n").unwrap();
    stream.write_all(&[headers, b"\r\n"].concat()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

/// Has the provider's page send the browser back; returns the address that it is sent to.
fn redirect(sign_in: &BrowserSignIn) -> String {
    let page = get(sign_in.url());
    page.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap().to_owned()
}

#[rstest]
fn the_user_signs_in_by_a_browser() {
    let server = TokenServer::start();
    let client = client(&server);
    let sign_in = client.sign_in_by_browser(USER).unwrap();
    assert_eq!(sign_in.wait(Duration::from_millis(1)).unwrap_err().kind(), ErrorKind::Timeout);
    let token = thread::scope(|scope| {
        let waiting = scope.spawn(|| sign_in.wait(LONG));
        assert!(get(&redirect(&sign_in)).ends_with("you can close this page."));
        waiting.join().unwrap().unwrap()
    });
    let page = &server.received("/authorize")[0].form;
    assert_eq!((page["prompt"].as_str(), page["scope"].as_str()), ("consent", "mail"));
    assert_eq!((page["code_challenge_method"].as_str(), page["login_hint"].as_str()), ("S256", USER));
    ask(&client.refresh_token(token, |_| Ok(()))).unwrap();
}

/// A browser sends the cookies of `localhost`, of any port.
#[rstest]
#[case::long("Cookie: a=", 100_000)]
#[case::not_utf8("Cookie: name=Jos\u{e9}", 0)]
fn the_cookies_of_other_programs_do_not_matter(#[case] cookie: &str, #[case] more: usize) {
    let server = TokenServer::start();
    let sign_in = client(&server).sign_in_by_browser(USER).unwrap();
    let in_latin1 = cookie.chars().map(|char| char as u8);
    let cookie: Vec<u8> = in_latin1.chain(std::iter::repeat_n(b'x', more)).chain(*b"\r\n").collect();
    assert!(get_with(&redirect(&sign_in), &cookie).ends_with("you can close this page."));
    sign_in.wait(LONG).unwrap();
}

#[rstest]
fn requests_of_other_pages_do_not_end_a_sign_in() {
    let server = TokenServer::start();
    let sign_in = client(&server).sign_in_by_browser(USER).unwrap();
    let right = redirect(&sign_in);
    let (port, _) = right.strip_prefix("http://localhost:").unwrap().split_once('?').unwrap();
    let idle = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
    for query in ["favicon.ico", "?code=stolen&state=guessed", "?error=access_denied", "?code=stolen"] {
        let response = get(&format!("http://localhost:{port}/{query}"));
        assert!(response.starts_with("HTTP/1.1 404 "), "{response}");
    }
    assert_eq!(sign_in.wait(Duration::from_millis(1)).unwrap_err().kind(), ErrorKind::Timeout);
    get(&right);
    sign_in.wait(LONG).unwrap();
    drop(idle);
}

#[rstest]
#[case("access_denied", ErrorKind::SignInNeeded)]
#[case("invalid_scope", ErrorKind::Config)]
#[case("server_error", ErrorKind::Connect)]
fn the_refusal_of_the_page_is_told(#[case] error: &str, #[case] kind: ErrorKind) {
    let server = TokenServer::start();
    let sign_in = client(&server).sign_in_by_browser(USER).unwrap();
    let right = redirect(&sign_in);
    let (base, query) = right.split_once('?').unwrap();
    let state = query.split('&').find(|pair| pair.starts_with("state=")).unwrap();
    get(&format!("{base}/?error={error}&error_description=not%0D%0Aallowed&{state}"));
    let told = sign_in.wait(LONG).unwrap_err();
    assert_eq!(told.kind(), kind);
    assert_eq!(told.to_string(), format!("the provider's page: {error}: not  allowed"));
}

#[rstest]
fn a_code_that_is_not_accepted_is_an_error_without_it() {
    let server = TokenServer::start();
    let sign_in = client(&server).sign_in_by_browser(USER).unwrap();
    let right = redirect(&sign_in);
    get(&right.replace("code=code-", "code=wrong-code-"));
    let error = sign_in.wait(LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SignInNeeded);
    assert_hidden(&format!("{error:?}{sign_in:?}"));
    assert!(!format!("{error:?}").contains("wrong-code-"), "{error:?}");
}

#[rstest]
fn a_sign_in_is_cancelled_and_its_port_closed() {
    let server = TokenServer::start();
    let sign_in = client(&server).sign_in_by_browser(USER).unwrap();
    let port =
        redirect(&sign_in).strip_prefix("http://localhost:").unwrap().split_once('?').unwrap().0.to_owned();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| sign_in.wait(LONG));
        sign_in.cancel();
        assert_eq!(waiting.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    });
    drop(sign_in);
    let port = port.parse().unwrap();
    crate::support::process::wait_until("a closed port", || TcpStream::connect(("127.0.0.1", port)).is_err());
}
