//! How IMAP fails.

use std::time::Duration;

use super::scripted::{answered, at, closes, says, staying, waiting};
use super::support::certs::Authority;
use super::support::process::free_port;
use super::support::script::{Script, Step};
use super::support::tls_server::{Protocol, TlsServer, TlsServerOptions};
use super::{MARKED, Path, Shown, imap_config, imap_fails, imap_shows, path, shown};
use crate::{Credentials, Imap, ImapConfig, Result, Server};

/// It ends as the other one does, which is what is searched for.
const BEYOND_ASCII: &str = "r\u{e9}ception s3cret9b1e";

type Verb = fn(&Imap) -> Result<()>;

pub(super) fn paths() -> Vec<Path> {
    let mut paths = unreached();
    paths.extend(tls(Protocol::Imap, |server| imap_fails(imap_config(server))));
    paths.extend(greetings());
    paths.extend(logins());
    paths.extend(mailboxes());
    paths.extend(verbs());
    paths
}

fn unreached() -> Vec<Path> {
    let closed = || Server::tls("localhost").port(free_port());
    vec![
        path("a closed port", move || imap_fails(imap_config(closed()))),
        path("an unknown host", || imap_fails(imap_config(Server::tls("no-such-host.invalid")))),
        path("no encryption", || imap_fails(imap_config(Server::unencrypted("mail.example.test")))),
        path("no TLS at that port", || {
            let server = Script::imap(&[]).says("GREETING", format!("* OK {MARKED}\r\n")).start();
            imap_fails(imap_config(Server::tls("localhost").port(server.port())))
        }),
    ]
}

/// TLS that is not to be trusted; the same for both protocols.
pub(super) fn tls(protocol: Protocol, fails: fn(Server) -> Shown) -> Vec<Path> {
    let meet = move |way: &'static str, version: Option<&'static str>, known: bool| {
        let authority = Authority::new();
        let other = Authority::new();
        let issued = if known { authority.issue(&["localhost"]) } else { other.issue(&["localhost"]) };
        let server = TlsServer::start(&TlsServerOptions { protocol, way, issued: &issued, version });
        let at = if way == "tls" { Server::tls("localhost") } else { Server::starttls("localhost") };
        fails(at.port(server.port()).add_root_certificate_pem(authority.pem()))
    };
    vec![
        path("an unknown authority", move || meet("tls", None, false)),
        path("an unknown authority behind STARTTLS", move || meet("starttls", None, false)),
        path("old TLS", move || meet("tls", Some("TLSv1"), true)),
        path("no STARTTLS", move || meet("stripped", None, true)),
        path("an early answer to STARTTLS", move || meet("early", None, true)),
        path("injected answers", move || meet("together", None, true)),
    ]
}

/// Connecting fails at this server.
fn fails_at(script: Script) -> Shown {
    imap_fails(imap_config(at(&script.start())))
}

/// Connecting fails when a line of this kind is answered so.
fn fails(name: &'static str, offers: &'static [&'static str], line: &'static str, step: Step) -> Path {
    path(name, move || answered(Script::imap(offers), line, step, |server| imap_fails(imap_config(server))))
}

fn greetings() -> Vec<Path> {
    vec![
        fails("a goodbye for a greeting", &[], "GREETING", closes("* BYE SECRET\r\n")),
        fails("a greeting that is none", &[], "GREETING", closes("SECRET\r\n")),
        fails("logged in already", &[], "GREETING", says("* PREAUTH SECRET\r\n")),
        fails("no capabilities", &[], "CAPABILITY", says("TAG NO SECRET\r\n")),
        fails("a capability that is none", &[], "CAPABILITY", says("* CAPABILITY SECRET\r\nTAG OK\r\n")),
    ]
}

fn logins() -> Vec<Path> {
    const NO_LOGIN: &[&str] = &["LOGINDISABLED", "AUTH=PLAIN"];
    let mut paths = vec![
        fails("a refused login", &[], "LOGIN", says("TAG NO [AUTHENTICATIONFAILED] SECRET\r\n")),
        fails("a refused login without a code", &[], "LOGIN", says("TAG NO SECRET\r\n")),
        fails("a login that is put off", &[], "LOGIN", says("TAG NO [UNAVAILABLE] SECRET\r\n")),
        fails("a misunderstood login", &[], "LOGIN", says("TAG BAD SECRET\r\n")),
        fails("a strange answer to a login", &[], "LOGIN", closes("SECRET\r\n")),
        fails("another's answer to a login", &[], "LOGIN", closes("ZZZ9 OK SECRET\r\n")),
        fails("a goodbye for a login", &[], "LOGIN", closes("* BYE SECRET\r\n")),
        fails("half an answer to a login", &[], "LOGIN", closes("TAG NO SEC")),
        fails("a loss at the login", &[], "LOGIN", Step::Close),
        fails("a refused AUTHENTICATE", NO_LOGIN, "AUTHENTICATE", says("TAG NO SECRET\r\n")),
        fails("a misunderstood AUTHENTICATE", NO_LOGIN, "AUTHENTICATE", says("TAG BAD SECRET\r\n")),
        fails("a loss at AUTHENTICATE", NO_LOGIN, "AUTHENTICATE", Step::Close),
    ];
    paths.extend(responses());
    paths.extend(prompted());
    paths.extend(literals());
    paths.push(path("a login that is sent back", || {
        let echo = Script::imap(&[]).on("LOGIN", |heard| Step::Say(format!("TAG NO {}\r\n", heard.text)));
        fails_at(echo)
    }));
    paths.push(path("a login without an answer", || {
        let silent = Script::imap(&[]).on("LOGIN", |_| Step::Nothing);
        imap_fails(imap_config(at(&silent.start())).timeout(Duration::from_millis(300)))
    }));
    paths
}

/// The password in base64 is a line of its own, after the server has asked for it.
fn responses() -> Vec<Path> {
    let response = |name, step: fn(&str) -> Step| {
        path(name, move || {
            let script = Script::imap(&["LOGINDISABLED", "AUTH=PLAIN"]).says("AUTHENTICATE", "+ \r\n");
            let code = "AGFsaWNl"; // how the user's name begins
            fails_at(script.on(code, move |heard| step(&heard.text)))
        })
    };
    vec![
        response("a loss at the response", |_| Step::Close),
        response("a response that is sent back", |code| Step::SayAndClose(format!("* BYE {code}\r\n"))),
        response("a strange answer to the response", |code| Step::SayAndClose(format!("{code}\r\n"))),
    ]
}

/// The password alone in base64, by the other mechanism.
fn prompted() -> Vec<Path> {
    let response = |name, step: fn(&str) -> Step| {
        path(name, move || {
            let script = Script::imap(&["LOGINDISABLED", "AUTH=LOGIN"]).says("AUTHENTICATE", "+ Wer?\r\n");
            let script = script.says("YWxpY2V", "+ Was?\r\n"); // how the user's name begins
            let script = script.says("*", format!("TAG NO {MARKED}\r\n"));
            fails_at(script.on("bWFy", move |heard| step(&heard.text))) // and how the password does
        })
    };
    vec![
        response("a loss at the prompt", |_| Step::Close),
        response("a refused answer to the prompt", |_| says("TAG NO SECRET\r\n")),
        response("an answer that is sent back", |code| Step::SayAndClose(format!("* BYE {code}\r\n"))),
        response("a prompt without end", |_| Step::Say(format!("+ {MARKED}\r\n"))),
    ]
}

/// A password beyond ASCII is sent as it is, and another way is tried when one is refused.
fn literals() -> Vec<Path> {
    let literal = |name, step: fn(&str) -> Step| {
        path(name, move || {
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

fn mailboxes() -> Vec<Path> {
    vec![
        fails("a refused SELECT", &[], "SELECT", says("TAG NO SECRET\r\n")),
        fails("a misunderstood SELECT", &[], "SELECT", says("TAG BAD SECRET\r\n")),
        fails("a read-only inbox", &[], "SELECT", says("* OK SECRET\r\nTAG OK [READ-ONLY] SECRET\r\n")),
        fails("no UIDVALIDITY", &[], "SELECT", says("* OK SECRET\r\nTAG OK SECRET\r\n")),
        fails("a strange UIDVALIDITY", &[], "SELECT", says("* OK [UIDVALIDITY SECRET] x\r\nTAG OK x\r\n")),
        path("no archive", || {
            let no = format!("TAG NO {MARKED}\r\n");
            fails_at(Script::imap(&[]).says("CREATE", &*no).says("STATUS", &*no))
        }),
    ]
}

/// A verb fails, on a handle that is there before and after, when a line of this kind is answered so.
fn verb(name: &'static str, line: &'static str, step: Step, verb: Verb) -> Path {
    path(name, move || {
        answered(staying(&["MOVE", "UIDPLUS"]), line, step, |server| {
            let imap = Imap::connect(imap_config(server)).unwrap();
            let told = shown(verb(&imap));
            vec![told, imap_shows(&imap)]
        })
    })
}

fn verbs() -> Vec<Path> {
    let search: Verb = |imap| imap.search("ALL").map(drop);
    // What does not come is an error in its place.
    let fetch: Verb = |imap| imap.fetch()?.iter().try_for_each(|delivery| delivery.message().map(drop));
    let drain: Verb = |imap| imap.drain().map(drop);
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
        verb("a goodbye", "UID SEARCH ALL", closes("* BYE SECRET\r\n"), search),
        verb("a refused FETCH", "UID FETCH", says("TAG NO SECRET\r\n"), fetch),
        verb("a cut literal", "UID FETCH", says(fetched), fetch),
        verb("a mail that is none", "UID FETCH", says(unread), fetch),
        path("a mail without a UID", move || {
            let script = waiting(&[]).says("UID SEARCH UID 1", "* SEARCH 1\r\nTAG OK done\r\n");
            answered(script, "UID FETCH", says(odd), |server| {
                let imap = Imap::connect(imap_config(server)).unwrap();
                vec![shown(fetch(&imap)), imap_shows(&imap)]
            })
        }),
        verb("a refused NOOP", "NOOP", says("TAG NO SECRET\r\n"), noop),
        verb("a goodbye for a NOOP", "NOOP", closes("* BYE SECRET\r\n"), noop),
        verb("a stopped handle", "LOGOUT", closes("* BYE SECRET\r\nTAG OK SECRET\r\n"), stopped),
        verb("a refused MOVE", "UID MOVE", says("* OK SECRET\r\nTAG NO SECRET\r\n"), drain),
    ]
}
