//! Errors of IMAP.

use std::time::Duration;

use super::scripted::{answered, at, closes, says, staying, waiting};
use super::support::certs::Authority;
use super::support::process::free_port;
use super::support::script::{Script, Step};
use super::support::tls_server::{Protocol, TlsServer, TlsServerOptions};
use super::{ErrorPath, MARKED, Shown, error_path, imap_config, imap_fails, imap_shows, shown};
use crate::{Credentials, Imap, ImapConfig, Result, Server};

/// A password beyond ASCII with the end of [`MARKED`], which the search finds.
const BEYOND_ASCII: &str = "r\u{e9}ception s3cret9b1e";

type Verb = fn(&Imap) -> Result<()>;

pub(super) fn error_paths() -> Vec<ErrorPath> {
    let mut paths = unreached();
    paths.extend(tls(Protocol::Imap, |server| imap_fails(imap_config(server))));
    paths.extend(greetings());
    paths.extend(logins());
    paths.extend(mailboxes());
    paths.extend(verbs());
    paths
}

fn unreached() -> Vec<ErrorPath> {
    let closed = || Server::tls("localhost").port(free_port());
    vec![
        error_path("a closed port", move || imap_fails(imap_config(closed()))),
        error_path("an unknown host", || imap_fails(imap_config(Server::tls("no-such-host.invalid")))),
        error_path("no encryption", || imap_fails(imap_config(Server::unencrypted("mail.example.test")))),
        error_path("no TLS at that port", || {
            let server = Script::imap(&[]).says("GREETING", format!("* OK {MARKED}\r\n")).start();
            imap_fails(imap_config(Server::tls("localhost").port(server.port())))
        }),
    ]
}

/// Returns the error paths of untrusted TLS, for either protocol.
pub(super) fn tls(protocol: Protocol, fails: fn(Server) -> Shown) -> Vec<ErrorPath> {
    let meet = move |way: &'static str, version: Option<&'static str>, known: bool| {
        let authority = Authority::new();
        let other = Authority::new();
        let issued = if known { authority.issue(&["localhost"]) } else { other.issue(&["localhost"]) };
        let server = TlsServer::start(&TlsServerOptions { protocol, way, issued: &issued, version });
        let at = if way == "tls" { Server::tls("localhost") } else { Server::starttls("localhost") };
        fails(at.port(server.port()).add_root_certificate_pem(authority.pem()))
    };
    vec![
        error_path("an unknown authority", move || meet("tls", None, false)),
        error_path("an unknown authority behind STARTTLS", move || meet("starttls", None, false)),
        error_path("old TLS", move || meet("tls", Some("TLSv1"), true)),
        error_path("no STARTTLS", move || meet("stripped", None, true)),
        error_path("an early answer to STARTTLS", move || meet("early", None, true)),
        error_path("injected answers", move || meet("together", None, true)),
    ]
}

/// Connects to a server where that fails.
fn fails_at(script: Script) -> Shown {
    imap_fails(imap_config(at(&script.start())))
}

/// Connects, which fails when a line that begins with `line` gets this answer.
fn fails(name: &'static str, offers: &'static [&'static str], line: &'static str, step: Step) -> ErrorPath {
    error_path(name, move || {
        answered(Script::imap(offers), line, step, |server| imap_fails(imap_config(server)))
    })
}

fn greetings() -> Vec<ErrorPath> {
    vec![
        fails("a BYE for a greeting", &[], "GREETING", closes("* BYE SECRET\r\n")),
        fails("an invalid greeting", &[], "GREETING", closes("SECRET\r\n")),
        fails("logged in already", &[], "GREETING", says("* PREAUTH SECRET\r\n")),
        fails("no capabilities", &[], "CAPABILITY", says("TAG NO SECRET\r\n")),
        fails("an invalid capability", &[], "CAPABILITY", says("* CAPABILITY SECRET\r\nTAG OK\r\n")),
    ]
}

fn logins() -> Vec<ErrorPath> {
    const NO_LOGIN: &[&str] = &["LOGINDISABLED", "AUTH=PLAIN"];
    let mut paths = vec![
        fails("a refused login", &[], "LOGIN", says("TAG NO [AUTHENTICATIONFAILED] SECRET\r\n")),
        fails("a refused login without a code", &[], "LOGIN", says("TAG NO SECRET\r\n")),
        fails("a login refused for now", &[], "LOGIN", says("TAG NO [UNAVAILABLE] SECRET\r\n")),
        fails("a misunderstood login", &[], "LOGIN", says("TAG BAD SECRET\r\n")),
        fails("a strange answer to a login", &[], "LOGIN", closes("SECRET\r\n")),
        fails("another's answer to a login", &[], "LOGIN", closes("ZZZ9 OK SECRET\r\n")),
        fails("a BYE for a login", &[], "LOGIN", closes("* BYE SECRET\r\n")),
        fails("half an answer to a login", &[], "LOGIN", closes("TAG NO SEC")),
        fails("a loss at the login", &[], "LOGIN", Step::Close),
        fails("a refused AUTHENTICATE", NO_LOGIN, "AUTHENTICATE", says("TAG NO SECRET\r\n")),
        fails("a misunderstood AUTHENTICATE", NO_LOGIN, "AUTHENTICATE", says("TAG BAD SECRET\r\n")),
        fails("a loss at AUTHENTICATE", NO_LOGIN, "AUTHENTICATE", Step::Close),
    ];
    paths.extend(responses());
    paths.extend(prompted());
    paths.extend(literals());
    paths.push(error_path("a login that is sent back", || {
        let echo = Script::imap(&[]).on("LOGIN", |heard| Step::Say(format!("TAG NO {}\r\n", heard.text)));
        fails_at(echo)
    }));
    paths.push(error_path("a login without an answer", || {
        let silent = Script::imap(&[]).on("LOGIN", |_| Step::Nothing);
        imap_fails(imap_config(at(&silent.start())).timeout(Duration::from_millis(300)))
    }));
    paths
}

/// Returns the error paths of AUTHENTICATE PLAIN, where user and password are a line of their own in base64.
fn responses() -> Vec<ErrorPath> {
    let response = |name, step: fn(&str) -> Step| {
        error_path(name, move || {
            let script = Script::imap(&["LOGINDISABLED", "AUTH=PLAIN"]).says("AUTHENTICATE", "+ \r\n");
            let code = "AGFsaWNl"; // the user name's first letters in base64
            fails_at(script.on(code, move |heard| step(&heard.text)))
        })
    };
    vec![
        response("a loss at the response", |_| Step::Close),
        response("a response that is sent back", |code| Step::SayAndClose(format!("* BYE {code}\r\n"))),
        response("a strange answer to the response", |code| Step::SayAndClose(format!("{code}\r\n"))),
    ]
}

/// Returns the error paths of AUTHENTICATE LOGIN, where the password is a line of its own in base64.
fn prompted() -> Vec<ErrorPath> {
    let response = |name, step: fn(&str) -> Step| {
        error_path(name, move || {
            let script = Script::imap(&["LOGINDISABLED", "AUTH=LOGIN"]).says("AUTHENTICATE", "+ Wer?\r\n");
            let script = script.says("YWxpY2V", "+ Was?\r\n"); // the user name's first letters in base64
            let script = script.says("*", format!("TAG NO {MARKED}\r\n"));
            fails_at(script.on("bWFy", move |heard| step(&heard.text))) // the password's first letters in base64
        })
    };
    vec![
        response("a loss at the prompt", |_| Step::Close),
        response("a refused answer to the prompt", |_| says("TAG NO SECRET\r\n")),
        response("an answer that is sent back", |code| Step::SayAndClose(format!("* BYE {code}\r\n"))),
        response("a prompt without end", |_| Step::Say(format!("+ {MARKED}\r\n"))),
    ]
}

/// Returns the error paths of LOGIN with a literal, for a password beyond ASCII.
fn literals() -> Vec<ErrorPath> {
    let literal = |name, step: fn(&str) -> Step| {
        error_path(name, move || {
            let script = Script::imap(&["AUTH=LOGIN"]).says("LOGIN", format!("+ {MARKED}\r\n"));
            let script = script.on("r\u{e9}c", move |heard| step(&heard.text));
            let server = script.says("AUTHENTICATE", "TAG BAD no\r\n").start();
            let config = ImapConfig::new(at(&server), Credentials::new("alice", BEYOND_ASCII));
            imap_fails(config.heartbeat(Duration::from_secs(3_600)).timeout(Duration::from_secs(20)))
        })
    };
    vec![
        literal("a loss at the literal", |_| Step::Close),
        literal("a refused literal", |_| Step::say("TAG NO [AUTHENTICATIONFAILED] no\r\n")),
        literal("a literal that is sent back", |text| Step::Say(format!("TAG NO {text}\r\n"))),
    ]
}

fn mailboxes() -> Vec<ErrorPath> {
    vec![
        fails("a refused SELECT", &[], "SELECT", says("TAG NO SECRET\r\n")),
        fails("a misunderstood SELECT", &[], "SELECT", says("TAG BAD SECRET\r\n")),
        fails("a read-only inbox", &[], "SELECT", says("* OK SECRET\r\nTAG OK [READ-ONLY] SECRET\r\n")),
        fails("no UIDVALIDITY", &[], "SELECT", says("* OK SECRET\r\nTAG OK SECRET\r\n")),
        fails("a strange UIDVALIDITY", &[], "SELECT", says("* OK [UIDVALIDITY SECRET] x\r\nTAG OK x\r\n")),
        error_path("no archive", || {
            let no = format!("TAG NO {MARKED}\r\n");
            fails_at(Script::imap(&[]).says("CREATE", &*no).says("STATUS", &*no))
        }),
    ]
}

/// Runs a verb on a connected handle; it fails when a line that begins with `line` gets this answer.
fn verb(name: &'static str, line: &'static str, step: Step, verb: Verb) -> ErrorPath {
    error_path(name, move || {
        answered(staying(&["MOVE", "UIDPLUS"]), line, step, |server| {
            let imap = Imap::connect(imap_config(server)).unwrap();
            let told = shown(verb(&imap));
            vec![told, imap_shows(&imap)]
        })
    })
}

fn verbs() -> Vec<ErrorPath> {
    let search: Verb = |imap| imap.search("ALL").map(drop);
    // A message that did not arrive is an error in its place.
    let fetch: Verb = |imap| imap.fetch()?.iter().try_for_each(|delivery| delivery.message().map(drop));
    let fetch_and_ack: Verb = |imap| imap.fetch_and_ack().map(drop);
    let noop: Verb = Imap::noop;
    let stopped: Verb = |imap| imap.close().and_then(|()| imap.noop());
    let fetched = "* 1 FETCH (UID 1 RFC822.SIZE 30 BODY[]<0> {30}\r\nSubject: __APP__ 1\r\n\r\n0123456789 SECRET)\r\n\
        TAG OK done\r\n";
    let unread = "* 1 FETCH (UID 1 RFC822.SIZE 3 BODY[] SECRET)\r\nTAG OK done\r\n";
    let odd = "* 1 FETCH (BODY[] \"SECRET\")\r\nTAG OK done\r\n";
    vec![
        verb("a refused SEARCH", "UID SEARCH ALL", says("TAG NO SECRET\r\n"), search),
        verb("a misunderstood SEARCH", "UID SEARCH ALL", says("TAG BAD SECRET\r\n"), search),
        verb("a refusal with a code", "UID SEARCH ALL", says("TAG NO [X-SECRET SECRET] SECRET\r\n"), search),
        verb("a strange answer", "UID SEARCH ALL", closes("SECRET\r\n"), search),
        verb("another's answer", "UID SEARCH ALL", closes("ZZZZ99 OK SECRET\r\n"), search),
        verb("a BYE", "UID SEARCH ALL", closes("* BYE SECRET\r\n"), search),
        verb("a refused FETCH", "UID FETCH", says("TAG NO SECRET\r\n"), fetch),
        verb("a cut literal", "UID FETCH", says(fetched), fetch),
        verb("an invalid FETCH response", "UID FETCH", says(unread), fetch),
        error_path("a mail without a UID", move || {
            let script = waiting(&[]).says("UID SEARCH UID 1", "* SEARCH 1\r\nTAG OK done\r\n");
            answered(script, "UID FETCH", says(odd), |server| {
                let imap = Imap::connect(imap_config(server)).unwrap();
                vec![shown(fetch(&imap)), imap_shows(&imap)]
            })
        }),
        verb("a refused NOOP", "NOOP", says("TAG NO SECRET\r\n"), noop),
        verb("a BYE for a NOOP", "NOOP", closes("* BYE SECRET\r\n"), noop),
        verb("a stopped handle", "LOGOUT", closes("* BYE SECRET\r\nTAG OK SECRET\r\n"), stopped),
        verb("a refused MOVE", "UID MOVE", says("* OK SECRET\r\nTAG NO SECRET\r\n"), fetch_and_ack),
    ]
}
