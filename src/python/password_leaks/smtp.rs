//! Errors of SMTP.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::imap::tls;
use super::scripted::{answered, at, closes, resets, says};
use super::support::process::free_port;
use super::support::script::{Script, Step};
use super::support::tls_server::Protocol;
use super::{ErrorPath, MARKED, MARKED_WORD, USER, error_path, shown, smtp_config, smtp_fails, smtp_shows};
use crate::{Message, Result, Server, Smtp};

const PLAIN: &[&str] = &["AUTH PLAIN"];
const LOGIN: &[&str] = &["AUTH LOGIN"];
const CRAM: &[&str] = &["AUTH CRAM-MD5"];
const ALL: &[&str] = &["AUTH PLAIN LOGIN CRAM-MD5"];

pub(super) fn error_paths() -> Vec<ErrorPath> {
    let mut paths = vec![
        error_path("a closed port", || {
            smtp_fails(smtp_config(Server::starttls("localhost").port(free_port())))
        }),
        error_path("an unknown host", || smtp_fails(smtp_config(Server::starttls("no-such-host.invalid")))),
    ];
    paths.push(error_path("a client certificate with a key that is none", || {
        let certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let key = format!("-----BEGIN PRIVATE KEY-----\n{MARKED_WORD}\n-----END PRIVATE KEY-----\n");
        let server = Script::smtp(PLAIN).start();
        let at = Server::tls("localhost").port(server.port());
        smtp_fails(smtp_config(at.client_certificate_pem(certificate, key)))
    }));
    paths.extend(tls(Protocol::Smtp, |server| smtp_fails(smtp_config(server))));
    paths.extend(greetings());
    paths.extend(logins());
    paths.extend(messages());
    paths
}

/// Connects, which fails when a line that begins with `line` gets this answer.
fn fails(name: &'static str, offers: &'static [&'static str], line: &'static str, step: Step) -> ErrorPath {
    error_path(name, move || {
        answered(Script::smtp(offers), line, step, |server| smtp_fails(smtp_config(server)))
    })
}

fn greetings() -> Vec<ErrorPath> {
    vec![
        fails("a busy greeting", PLAIN, "GREETING", closes("421 SECRET\r\n")),
        fails("an unfriendly greeting", PLAIN, "GREETING", says("554-SECRET\r\n554 SECRET\r\n")),
        fails("an invalid greeting", PLAIN, "GREETING", closes("SECRET\r\n")),
        fails("a refused EHLO", PLAIN, "EHLO", closes("421 SECRET\r\n")),
        fails("an unknown mechanism", &["AUTH SECRET"], "EHLO", says("250-x\r\n250 AUTH SECRET\r\n")),
    ]
}

fn logins() -> Vec<ErrorPath> {
    let mut paths = vec![
        fails("a refused login", PLAIN, "AUTH", says("535 5.7.8 SECRET\r\n")),
        fails("a refused login on two lines", PLAIN, "AUTH", says("535-SECRET\r\n535 SECRET\r\n")),
        fails("a login refused for now", PLAIN, "AUTH", says("454 4.7.0 SECRET\r\n")),
        fails("a misunderstood login", PLAIN, "AUTH", says("501 5.5.4 SECRET\r\n")),
        fails("a 421 for a login", PLAIN, "AUTH", closes("421 SECRET\r\n")),
        fails("a strange answer to a login", PLAIN, "AUTH", closes("SECRET\r\n")),
        fails("a loss at the login", PLAIN, "AUTH", Step::Close),
        fails("a question more", PLAIN, "AUTH", says("334 SECRET\r\n")),
        fails("a refused AUTH LOGIN", LOGIN, "AUTH", says("535 5.7.8 SECRET\r\n")),
        fails("a loss at AUTH LOGIN", LOGIN, "AUTH", Step::Close),
        fails("every refused way to log in", ALL, "AUTH", says("535 5.7.8 SECRET\r\n")),
        fails("a loss after a refused login", ALL, "AUTH", closes("535 5.7.8 SECRET\r\n")),
        fails("a 421 after a refused login", ALL, "AUTH", closes("535 SECRET\r\n421 SECRET\r\n")),
        fails("no reply after a refused login", ALL, "AUTH", says("535 SECRET\r\nSECRET\r\n")),
        fails("a word before the login", PLAIN, "EHLO", says("250-x\r\n250 AUTH PLAIN\r\n554 SECRET\r\n")),
        fails("a strange challenge", CRAM, "AUTH", says("334 SECRET\r\n")),
        fails("a challenge that is no base64", CRAM, "AUTH", says("334 =\r\n")),
    ];
    paths.extend([PLAIN, LOGIN].map(|offers| {
        error_path("a login that is sent back", move || {
            let echo = Script::smtp(offers).on("", |heard| {
                let is_login = heard.text.len() > 20 && !heard.text.starts_with("MAIL");
                Step::Say(format!("535 5.7.8 {}\r\n", heard.text)).when(is_login)
            });
            smtp_fails(smtp_config(at(&echo.start())))
        })
    }));
    paths.extend([USER, MARKED].map(|asked| {
        error_path("a login by prompts that is refused", move || {
            let encoded = |text: &str| BASE64_STANDARD.encode(text);
            let script =
                Script::smtp(LOGIN).says("AUTH", "334 who?\r\n").says(&encoded(USER), "334 and?\r\n");
            let no = says("535 5.7.8 SECRET\r\n");
            answered(script, &encoded(asked), no, |server| smtp_fails(smtp_config(server)))
        })
    }));
    paths.push(error_path("a refused EHLO before a login", || {
        let script = Script::smtp(PLAIN).says("HELO", "250 x\r\n");
        answered(script, "EHLO", says("550 SECRET\r\n"), |server| smtp_fails(smtp_config(server)))
    }));
    paths.push(error_path("a login without an answer", || {
        let silent = Script::smtp(PLAIN).on("AUTH", |_| Step::Nothing);
        smtp_fails(smtp_config(at(&silent.start())).timeout(Duration::from_millis(300)))
    }));
    paths
}

fn send(smtp: &Smtp) -> Result<()> {
    smtp.send(&Message::new("1", USER, [USER, USER], "hello")).map(drop)
}

/// Runs a verb on a connected handle; it fails when a line that begins with `line` gets this answer.
fn verb(name: &'static str, line: &'static str, step: Step, verb: fn(&Smtp) -> Result<()>) -> ErrorPath {
    error_path(name, move || {
        answered(Script::smtp(PLAIN), line, step, |server| {
            let smtp = Smtp::connect(smtp_config(server)).unwrap();
            let told = shown(verb(&smtp));
            vec![told, smtp_shows(&smtp)]
        })
    })
}

fn messages() -> Vec<ErrorPath> {
    vec![
        verb("a refused sender", "MAIL", says("550 SECRET\r\n"), send),
        verb("refused recipients", "RCPT", says("550-SECRET\r\n550 SECRET\r\n"), send),
        verb("refused data", "DATA", says("554 SECRET\r\n"), send),
        verb("a refused message", ".", says("552 SECRET\r\n"), send),
        verb("a 421 for a message", ".", closes("421 SECRET\r\n"), send),
        verb("no answer to a message", ".", closes("SECRET\r\n"), send),
        verb("a reset within the answer to a message", ".", resets("250-SECRET\r\n"), send),
        verb("a 421 for a sender", "MAIL", closes("421 SECRET\r\n"), send),
        verb("a refused NOOP", "NOOP", closes("421 SECRET\r\n"), Smtp::noop),
        verb("a stopped handle", "QUIT", closes("221 SECRET\r\n"), |smtp| {
            smtp.close().and_then(|()| smtp.noop())
        }),
        error_path("a message that is taken with a word too many", || {
            let step = says("250 SECRET\r\n");
            let script = Script::smtp(PLAIN).on(".", move |_| step.clone());
            let refuses = script.on("RCPT", |heard| says("550 SECRET\r\n").when(heard.nth == 2));
            let smtp = Smtp::connect(smtp_config(at(&refuses.start()))).unwrap();
            let receipt = smtp.send(&Message::new("1", USER, [USER, USER], "hello")).unwrap();
            vec![format!("{receipt:?}"), serde_json::to_string(&receipt).unwrap()]
        }),
    ]
}
