//! Proxies on the way to the token server: those that the app names, and those of the environment only if it asks.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

use pymail::ErrorKind;
use pymail::oauth::{Client, Endpoints};
use rstest::rstest;

use crate::support::process::started;
use crate::support::token_server::{CLIENT_SECRET, TokenServer};
use crate::{ask, client};

const PASSWORD: &str = "proxy-pass-91c";

/// A proxy by CONNECT, which demands a login.
struct Proxy {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (port, asked) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<String>>>::default());
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let log = Arc::clone(&log);
                thread::spawn(move || serve(stream, &log));
            }
        });
        Self { port, asked }
    }

    fn url(&self, password: &str) -> String {
        format!("http://alice:{password}@127.0.0.1:{}", self.port)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Connects the client with the server that it names. One that hangs up is no failure here.
fn serve(mut stream: TcpStream, log: &Mutex<Vec<String>>) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines().map_while(Result::ok);
    let target = lines.next()?.split(' ').nth(1)?.to_owned();
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    log.lock().unwrap().push(target.clone());
    // alice:proxy-pass-91c
    if !head.iter().any(|line| line.ends_with("Basic YWxpY2U6cHJveHktcGFzcy05MWM=")) {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
        return stream.write_all(refusal.as_bytes()).ok();
    }
    let server = TcpStream::connect(target).ok()?;
    stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").ok()?;
    let (mut from, mut to) = (stream.try_clone().ok()?, server.try_clone().ok()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    std::io::copy(&mut &server, &mut stream).ok()?;
    stream.shutdown(Shutdown::Write).ok()
}

#[rstest]
fn requests_go_through_the_proxy_that_the_app_names() {
    let (server, proxy) = (TokenServer::start(), Proxy::start());
    ask(&client(&server).proxy(proxy.url(PASSWORD)).client_credentials()).unwrap();
    assert_eq!(proxy.asked(), [format!("localhost:{}", server.https_port())]);
}

#[rstest]
fn a_proxy_that_refuses_is_an_error_without_its_password() {
    let (server, proxy) = (TokenServer::start(), Proxy::start());
    let client = client(&server).proxy(proxy.url("wrong-pass"));
    let error = ask(&client.client_credentials()).unwrap_err();
    assert_eq!((error.kind(), server.requests()), (ErrorKind::Connect, 0));
    assert!(error.to_string().contains("proxy"), "{error}");
    assert!(!format!("{error:?}{client:?}").contains("wrong-pass"), "{error}");
}

#[rstest]
#[case::not_asked_for(None, 0)]
#[case::asked_for(Some(""), 1)]
#[case::exempt(Some("localhost"), 0)]
fn the_environment_names_a_proxy_only_if_the_app_asks(
    #[case] no_proxy: Option<&str>,
    #[case] through_it: usize,
) {
    let (server, proxy) = (TokenServer::start(), Proxy::start());
    let output = in_a_process_with(&server, &proxy.url(PASSWORD), no_proxy);
    assert!(output.status.success(), "{output:?}");
    assert_eq!((server.requests(), proxy.asked().len()), (1, through_it));
}

#[rstest]
fn a_broken_proxy_in_the_environment_is_not_passed_over() {
    let server = TokenServer::start();
    let output = in_a_process_with(&server, "http://[broken", Some(""));
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("the proxy in the environment is invalid"), "{text}");
    assert_eq!(server.requests(), 0);
}

/// Runs the test below in a process with a proxy in its environment; with `no_proxy`, it asks for that proxy.
fn in_a_process_with(server: &TokenServer, proxy: &str, no_proxy: Option<&str>) -> Output {
    let mut command = Command::new(env::current_exe().unwrap());
    for name in ["ALL_PROXY", "all_proxy", "https_proxy", "http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"]
    {
        command.env_remove(name);
    }
    command.args(["--exact", "proxies::a_process_with_a_proxy_in_its_environment", "--nocapture"]);
    command.env("HTTPS_PROXY", proxy).env("PYMAIL_TEST_TOKEN_URL", server.url("token"));
    command.env("PYMAIL_TEST_CA", server.ca_pem());
    no_proxy.map(|hosts| command.env("NO_PROXY", hosts).env("PYMAIL_TEST_ASKS", "1"));
    started(|| command.output()).unwrap()
}

/// Does nothing unless another test has started this process.
#[test]
fn a_process_with_a_proxy_in_its_environment() {
    let Ok(url) = env::var("PYMAIL_TEST_TOKEN_URL") else { return };
    let client = Client::new(Endpoints::new(url), "app").secret(CLIENT_SECRET);
    let client = client.add_root_certificate_pem(env::var("PYMAIL_TEST_CA").unwrap());
    let client = if env::var_os("PYMAIL_TEST_ASKS").is_some() { client.proxy_from_env() } else { client };
    ask(&client.client_credentials()).unwrap();
}
