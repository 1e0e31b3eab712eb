//! Connections on ways of the app's choice: through proxies, and by a connector.

use std::env;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use pymail::{
    ConnectRequest, Credentials, Error, ErrorKind, Imap, ImapConfig, Proxy, Server, Smtp, SmtpConfig, State,
};
use rstest::rstest;

use crate::fixtures::postfix;
use crate::mail_site::{ALICE, Site, TAG, message, shown};
use crate::support::dovecot::REMOTE_NAME;
use crate::support::process::{free_port, started, wait_until};
use crate::support::proxy::{self, ProxyOptions, answering, listen, silent};
use crate::support::script::{Heard, Script, Scripted, Step};

const NEVER: Duration = Duration::from_secs(3_600);
const USER: &str = "proxy user";
const SECRET: &str = "pr0xy: s3cret";

type MakeProxy = fn(u16) -> Proxy;

fn socks5(port: u16) -> Proxy {
    Proxy::socks5("localhost", port)
}

fn http(port: u16) -> Proxy {
    Proxy::http("localhost", port)
}

fn with_login() -> ProxyOptions {
    ProxyOptions { login: Some((USER.into(), SECRET.into())), ..ProxyOptions::default() }
}

fn imap(site: &Site, server: Server) -> pymail::Result<Imap> {
    Imap::connect(ImapConfig::new(server, site.credentials()).tag(TAG).heartbeat(NEVER))
}

fn smtp(site: &Site, server: Server) -> pymail::Result<Smtp> {
    Smtp::connect(SmtpConfig::new(server, site.credentials()).tag(TAG).heartbeat(NEVER))
}

/// Sends a message and receives it.
fn round_trip(imap: &Imap, smtp: &Smtp, id: &str) {
    assert!(smtp.send(&message(id, "hello")).unwrap().all_accepted());
    wait_until("the message", || !imap.fetch().unwrap().is_empty());
    assert_eq!(imap.fetch_and_ack().unwrap()[0].message().unwrap().id, id);
}

#[rstest]
#[case::socks5(socks5, ProxyOptions::default())]
#[case::socks5_with_login(socks5, with_login())]
#[case::http(http, ProxyOptions::default())]
#[case::http_with_login(http, with_login())]
fn messages_go_round_through_a_proxy(
    #[from(postfix)] site: Site,
    #[case] proxy: MakeProxy,
    #[case] options: ProxyOptions,
) {
    let running = proxy::Proxy::start(options);
    let proxy = proxy(running.port()).login(USER, SECRET);
    let smtp = smtp(&site, site.smtp_server().proxy(proxy.clone())).unwrap();
    for (nth, server) in [site.imaps_server(), site.imap_server()].into_iter().enumerate() {
        round_trip(&imap(&site, server.proxy(proxy.clone())).unwrap(), &smtp, &nth.to_string());
    }
    let ports = site.ports();
    let expected = [ports.smtp, ports.imaps, ports.imap].map(|port| format!("localhost:{port}"));
    assert_eq!(running.targets(), expected, "three connections, and names that were not resolved here");
}

#[rstest]
fn a_cut_connection_is_replaced_through_the_proxy(
    #[from(postfix)] site: Site,
    #[values(socks5, http)] proxy: MakeProxy,
) {
    let running = proxy::Proxy::start(ProxyOptions::default());
    let proxy = proxy(running.port());
    let smtp = smtp(&site, site.smtp_server().proxy(proxy.clone())).unwrap();
    let imap = imap(&site, site.imaps_server().proxy(proxy)).unwrap();
    for id in ["1", "2"] {
        running.cut();
        round_trip(&imap, &smtp, id);
    }
    assert_eq!((imap.stats().reconnects, smtp.stats().reconnects), (2, 2));
    assert_eq!(running.targets().len(), 6);
}

#[rstest]
fn a_name_that_only_the_proxy_knows_is_resolved_there_and_verified_here(
    #[from(postfix)] site: Site,
    #[values(socks5, http)] proxy: MakeProxy,
) {
    let hosts = vec![REMOTE_NAME.to_owned()];
    let running = proxy::Proxy::start(ProxyOptions { hosts, ..ProxyOptions::default() });
    let at = |server: Server, port| {
        server.port(port).add_root_certificate_pem(site.ca_pem()).proxy(proxy(running.port()))
    };
    let imap = imap(&site, at(Server::tls(REMOTE_NAME), site.ports().imaps)).unwrap();
    let smtp = smtp(&site, at(Server::starttls(REMOTE_NAME), site.ports().smtp)).unwrap();
    round_trip(&imap, &smtp, "1");
    assert!(running.targets().iter().all(|target| target.starts_with(REMOTE_NAME)));
}

#[rstest]
fn a_server_behind_a_proxy_is_verified_by_its_name(
    #[from(postfix)] site: Site,
    #[values(socks5, http)] proxy: MakeProxy,
) {
    let hosts = vec!["another.invalid".to_owned()];
    let running = proxy::Proxy::start(ProxyOptions { hosts, ..ProxyOptions::default() });
    let server = Server::tls("another.invalid").port(site.ports().imaps).proxy(proxy(running.port()));
    let error = imap(&site, server.add_root_certificate_pem(site.ca_pem())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
}

/// Returns a handle without login at a host that only the proxy knows.
fn smtp_at(host: &str, port: u16, proxy: Proxy) -> pymail::Result<Smtp> {
    let server = Server::unencrypted(host).port(port).proxy(proxy);
    Smtp::connect(SmtpConfig::new(server, Credentials::none()).tag(TAG).heartbeat(NEVER))
}

#[rstest]
#[case("2001:db8::25", "[2001:db8::25]")]
#[case("192.0.2.25", "192.0.2.25")]
fn addresses_go_through_proxies(
    #[case] host: &str,
    #[case] shown: &str,
    #[values(socks5, http)] proxy: MakeProxy,
) {
    let server = Script::smtp(&[]).start();
    let options = ProxyOptions { hosts: vec![host.to_owned()], ..ProxyOptions::default() };
    let running = proxy::Proxy::start(options);
    smtp_at(host, server.port(), proxy(running.port())).unwrap().noop().unwrap();
    assert_eq!(running.targets(), [format!("{shown}:{}", server.port())]);
}

/// Connects both handles to a server, which they can't reach, and returns their errors.
fn both(proxy: &Proxy, timeout: Duration) -> [Error; 2] {
    let server = || Server::tls("mail.invalid").proxy(proxy.clone());
    let account = || Credentials::new(ALICE, "a");
    let imap = Imap::connect(ImapConfig::new(server(), account()).timeout(timeout));
    let smtp = Smtp::connect(SmtpConfig::new(server(), account()).timeout(timeout));
    [imap.map(drop).unwrap_err(), smtp.map(drop).unwrap_err()]
}

fn assert_kind(errors: &[Error], kind: ErrorKind, text: &str) {
    for error in errors {
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.is_transient() && format!("{error:#}").contains(text), "{error:#}");
        let begin = "connecting to ";
        assert!(
            error.to_string().starts_with(begin) && error.to_string().contains(" proxy localhost:"),
            "{error}"
        );
        // In clear, and in base64 behind the user name.
        assert!(
            !shown(error).contains("s3cret") && !shown(error).contains("cHIweHk6IHMzY3JldA"),
            "{error:?}"
        );
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[rstest]
#[case::socks5(socks5, "host unreachable")]
#[case::http(http, "502 Bad Gateway")]
fn a_host_that_the_proxy_can_not_reach_is_a_connect_error(#[case] proxy: MakeProxy, #[case] text: &str) {
    let running = proxy::Proxy::start(ProxyOptions::default());
    assert_kind(&both(&proxy(running.port()), MINUTE), ErrorKind::Connect, text);
}

#[rstest]
#[case::socks5(socks5, "the proxy wants a login")]
#[case::http(http, "the proxy wants a login: Proxy::login (it takes Basic)")]
fn a_proxy_that_wants_a_login_is_a_connect_error(#[case] proxy: MakeProxy, #[case] text: &str) {
    let running = proxy::Proxy::start(with_login());
    assert_kind(&both(&proxy(running.port()), MINUTE), ErrorKind::Connect, text);
    let refused = both(&proxy(running.port()).login(USER, "wr0ng s3cret"), MINUTE);
    assert_kind(&refused, ErrorKind::Connect, "the proxy refused the login");
    assert!(refused.iter().all(|error| error.retry_after() == Some(MINUTE)), "{refused:?}");
    assert!(running.targets().is_empty());
}

/// Returns the words of this system for a refused connection.
fn refusal() -> &'static str {
    std::net::TcpStream::connect(("127.0.0.1", free_port())).unwrap_err().to_string().leak()
}

#[rstest]
#[case::closed_port(socks5, free_port(), refusal())]
#[case::closes(socks5, listen(drop), "proxy")]
#[case::closes_http(http, listen(drop), "proxy")]
#[case::rubbish(socks5, answering(vec![b"220 mail.test ESMTP\r\n".to_vec()]), "does not speak SOCKS5")]
#[case::rubbish_http(http, answering(vec![b"\x05\xff\r\n".to_vec()]), "does not speak HTTP")]
#[case::forbidden(http, answering(vec![b"HTTP/1.1 403 Forbidden\r\n\r\n".to_vec()]), "403 Forbidden")]
#[case::endless(http, proxy::endless(b"HTTP/1.1 200 OK\r\n"), "16 KiB")]
fn a_proxy_that_can_not_be_used_is_a_connect_error(
    #[case] proxy: MakeProxy,
    #[case] port: u16,
    #[case] text: &str,
) {
    assert_kind(&both(&proxy(port).login(USER, SECRET), MINUTE), ErrorKind::Connect, text);
}

#[rstest]
fn a_proxy_that_stalls_is_a_timeout(#[values(socks5, http)] proxy: MakeProxy) {
    let errors = both(&proxy(silent()), Duration::from_millis(200));
    assert_kind(&errors, ErrorKind::Timeout, "timed out");
}

#[rstest]
fn a_handle_goes_on_when_its_proxy_works_again() {
    let server = Script::smtp(&[]).on("NOOP", |heard| Step::Close.when(heard.connection == 1)).start();
    let (real, connections) = (proxy::Proxy::start(ProxyOptions::default()).port(), AtomicUsize::new(0));
    let port = listen(move |client| {
        // The second connection is closed.
        if connections.fetch_add(1, Ordering::SeqCst) != 1
            && let Ok(to) = TcpStream::connect((Ipv4Addr::LOCALHOST, real))
        {
            crate::support::relay::pass_both_ways(client, to);
        }
    });
    let server = Server::unencrypted("localhost").port(server.port()).proxy(socks5(port));
    let smtp = Smtp::connect(SmtpConfig::new(server, Credentials::none()).heartbeat(NEVER)).unwrap();
    assert_eq!(smtp.noop().unwrap_err().kind(), ErrorKind::Connect);
    wait_until("another connection", || smtp.noop().is_ok());
}

/// Returns the settings of a handle on a scripted server, by this connector.
fn connecting(
    connector: impl Fn(ConnectRequest) -> io::Result<TcpStream> + Send + Sync + 'static,
) -> ImapConfig {
    let server = Server::unencrypted("localhost").port(14_300).connector(connector);
    ImapConfig::new(server, Credentials::new(ALICE, "a")).tag(TAG).heartbeat(NEVER)
}

fn closing_the_first() -> Scripted {
    Script::imap(&[]).on("NOOP", |heard: &Heard| Step::Close.when(heard.connection == 1)).start()
}

#[rstest]
fn messages_go_round_by_a_connector(#[from(postfix)] site: Site) {
    let requests = Arc::<Mutex<Vec<ConnectRequest>>>::default();
    let seen = Arc::clone(&requests);
    let connector = move |request: ConnectRequest| {
        let socket = TcpStream::connect(("127.0.0.1", request.port))?;
        // As asynchronous runtimes and dialogues leave them.
        socket.set_nonblocking(true)?;
        socket.set_read_timeout(Some(Duration::from_millis(1)))?;
        seen.lock().unwrap().push(request);
        Ok(socket)
    };
    let smtp = smtp(&site, site.smtp_server().connector(connector.clone())).unwrap();
    round_trip(&imap(&site, site.imaps_server().connector(connector)).unwrap(), &smtp, "1");
    let requests = requests.lock().unwrap();
    let ports: Vec<u16> = requests.iter().map(|request| request.port).collect();
    assert_eq!(ports, [site.ports().smtp, site.ports().imaps]);
    for request in &*requests {
        assert!(request.host == "localhost" && request.timeout <= MINUTE, "{request:?}");
    }
}

#[rstest]
fn an_error_and_a_panic_of_a_connector_do_not_end_the_handle() {
    let server = closing_the_first();
    let (port, calls) = (server.port(), AtomicUsize::new(0));
    let config = connecting(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        1 => Err(io::Error::other(format!("no\r\nway {}", "x".repeat(9_000)))),
        2 => panic!("scripted"),
        _ => TcpStream::connect(("127.0.0.1", port)),
    });
    let imap = Imap::connect(config).unwrap();
    let error = imap.noop().unwrap_err();
    assert_eq!((error.kind(), imap.status().state), (ErrorKind::Connect, State::Disconnected), "{error:?}");
    let text = error.to_string();
    assert!(error.is_transient() && text.contains("by the app's connector: no  way xx"), "{text}");
    assert!(text.len() < 600, "{text}");
    let error = imap.noop().unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.to_string().contains("panicked"), "{error:?}");
    imap.noop().unwrap();
    assert_eq!(server.connections(), 2);
}

#[rstest]
fn a_connector_that_takes_all_of_the_time_is_a_timeout() {
    let server = closing_the_first();
    let port = server.port();
    let config = connecting(move |request| {
        std::thread::sleep(request.timeout);
        TcpStream::connect(("127.0.0.1", port))
    });
    let error = Imap::connect(config.timeout(Duration::from_millis(100))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    assert!(server.heard("LOGIN").is_empty());
}

/// Any other call would wait for itself.
#[rstest]
fn a_connector_may_ask_its_own_handle_for_the_status_only() {
    let server = closing_the_first();
    let port = server.port();
    let (own, seen) = (Arc::<OnceLock<Imap>>::default(), Arc::<Mutex<Vec<ErrorKind>>>::default());
    let (handle, kinds) = (Arc::clone(&own), Arc::clone(&seen));
    let config = connecting(move |_| {
        if let Some(imap) = handle.get() {
            assert!(imap.status().state == State::Disconnected && imap.stats().commands > 0);
            let calls = [imap.noop(), imap.fetch().map(drop), imap.signed_in(), imap.close()];
            kinds.lock().unwrap().extend(calls.map(|call| call.unwrap_err().kind()));
        }
        TcpStream::connect(("127.0.0.1", port))
    });
    own.set(Imap::connect(config).unwrap()).unwrap();
    let imap = own.get().unwrap();
    imap.noop().unwrap();
    assert_eq!(*seen.lock().unwrap(), [ErrorKind::InvalidInput; 4]);
    imap.close().unwrap();
}

/// Runs an ignored test of this file with a proxy in the environment.
fn child(name: &str, proxy: &str, port: u16) {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--ignored", "--exact", &format!("proxies::{name}"), "--test-threads=1"]);
    command.env_remove("all_proxy").env_remove("https_proxy").env_remove("no_proxy").env_remove("NO_PROXY");
    // After that: to Windows, both spellings are the same variable.
    command.env("ALL_PROXY", proxy).env("HTTPS_PROXY", proxy).env("CHILD_PORT", port.to_string());
    let Output { status, stdout, stderr } = started(|| command.output()).unwrap();
    let text = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(status.success() && text.contains("1 passed"), "{status:?}: {text}");
}

#[rstest]
fn the_environment_is_read_only_when_the_app_asks() {
    let (server, running) = (Script::smtp(&[]).start(), proxy::Proxy::start(with_login()));
    let url = format!("socks5h://proxy%20user:pr0xy%3A%20s3cret@127.0.0.1:{}", running.port());
    child("connects_directly", &url, server.port());
    assert!(running.targets().is_empty());
    child("connects_by_the_environment", &url, server.port());
    assert_eq!(running.targets(), [format!("localhost:{}", server.port())]);
}

fn child_server() -> Server {
    Server::unencrypted("localhost").port(env::var("CHILD_PORT").unwrap().parse().unwrap())
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn connects_directly() {
    Smtp::connect(SmtpConfig::new(child_server(), Credentials::none())).unwrap().noop().unwrap();
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn connects_by_the_environment() {
    let server = child_server().proxy(Proxy::from_env("localhost").unwrap());
    Smtp::connect(SmtpConfig::new(server, Credentials::none())).unwrap().noop().unwrap();
}
