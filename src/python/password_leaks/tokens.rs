//! Errors of logins by access token: refused, renewed, cut, and too long ones.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::scripted::at;
use super::support::script::{Heard, Script, Step};
use super::{ErrorPath, MARKED_WORD, Shown, USER, error_path, imap_shows, shown, smtp_shows};
use crate::{AccessToken, Credentials, Imap, ImapConfig, Message, Server, Smtp, SmtpConfig, TokenRequest};

/// The first letters of a response in base64.
const RESPONSES: [&str; 2] = ["bixhPW", "dXNlcj"];

/// The offers of both mechanisms, and of the one that Microsoft has.
const IMAP: [&[&str]; 2] = [&["AUTH=OAUTHBEARER", "AUTH=XOAUTH2"], &["AUTH=XOAUTH2"]];
const SMTP: [&[&str]; 2] = [&["AUTH OAUTHBEARER XOAUTH2"], &["AUTH XOAUTH2"]];

/// Timeouts of a login without an answer: on a busy machine, a short one may end before the token is sent.
const TIMEOUTS: [Duration; 3] = [Duration::from_millis(300), Duration::from_secs(3), Duration::from_secs(60)];

/// Words in a token that goes with the command in SMTP, and in one that does not.
const LENGTHS: [usize; 2] = [4, 150];

/// Returns credentials whose tokens have so many words; renewed ones have one more.
fn credentials(words: usize) -> Credentials {
    Credentials::oauth2(USER, move |request: TokenRequest| {
        Ok(AccessToken::new(MARKED_WORD.repeat(words + usize::from(request.renew))))
    })
}

fn imap_config(server: Server, words: usize) -> ImapConfig {
    ImapConfig::new(server, credentials(words)).heartbeat(Duration::from_secs(3_600))
}

fn smtp_config(server: Server, words: usize) -> SmtpConfig {
    SmtpConfig::new(server, credentials(words)).heartbeat(Duration::from_secs(3_600))
}

pub(super) fn error_paths() -> Vec<ErrorPath> {
    let mut paths = Vec::new();
    for words in LENGTHS {
        paths.extend(IMAP.into_iter().flat_map(|offers| imap(offers, words)));
        paths.extend(SMTP.into_iter().flat_map(|offers| smtp(offers, words)));
        paths.extend(live(words));
    }
    paths.push(error_path("a token that is too long", || {
        let (inbox, relay) = (Script::imap(IMAP[0]).start(), Script::smtp(SMTP[0]).start());
        vec![
            shown(Imap::connect(imap_config(at(&inbox), 1_000))),
            shown(Smtp::connect(smtp_config(at(&relay), 1_000))),
        ]
    }));
    paths.push(error_path("a token that can't be sent", || {
        let inbox = Script::imap(IMAP[0]).start();
        let broken = Credentials::oauth2(USER, |_| Ok(AccessToken::new(format!("{MARKED_WORD}\n"))));
        let config = ImapConfig::new(at(&inbox), broken);
        vec![format!("{config:?}"), shown(Imap::connect(config))]
    }));
    paths
}

/// Makes a line of a server's with the token in it, or with what was heard.
fn said(text: &str, heard: &Heard) -> String {
    let reason = format!(r#"{{"status":"{MARKED_WORD}{MARKED_WORD}","scope":"mail"}}"#);
    let cut: String = heard.text.chars().skip(30).take(200).collect();
    text.replace("HEARD", &heard.text)
        .replace("CUT", &cut)
        .replace("TOKEN", &MARKED_WORD.repeat(4))
        .replace("REASON", &BASE64_STANDARD.encode(reason))
}

fn step(text: &str, heard: &Heard) -> Step {
    match text {
        "" => Step::Close,
        "SILENCE" => Step::Nothing,
        _ if text.contains("BYE") || text.starts_with("HEARD") => Step::SayAndClose(said(text, heard)),
        _ => Step::Say(said(text, heard)),
    }
}

/// Connects, which fails when a response with a token gets this answer, and the answer to a reason a refusal.
fn imap(offers: &'static [&'static str], words: usize) -> Vec<ErrorPath> {
    let fails = |name, text: &'static str| {
        error_path(name, move || {
            let refuses = |heard: &Heard| Step::Say(said("TAG NO TOKEN\r\n", heard));
            let connects = |timeout| {
                let mut script = Script::imap(offers).says("AUTHENTICATE", "+ \r\n");
                for response in RESPONSES {
                    script = script.on(response, move |heard| step(text, heard));
                }
                let script = script
                    .on("AQ==", refuses)
                    .on("", move |heard| if heard.text.is_empty() { refuses(heard) } else { Step::Usual });
                let server = script.start();
                let config = imap_config(at(&server), words).timeout(timeout);
                let told = vec![format!("{config:?}"), shown(Imap::connect(config))];
                let is_sent = RESPONSES.iter().any(|response| !server.heard(response).is_empty());
                is_sent.then_some(told)
            };
            let timeouts = if text == "SILENCE" { &TIMEOUTS[..] } else { &TIMEOUTS[2..] };
            timeouts.iter().find_map(|&timeout| connects(timeout)).expect("a token was sent")
        })
    };
    vec![
        fails("a refused token", "+ REASON\r\n"),
        fails("a refused token without a reason", "TAG NO AUTHENTICATE failed.\r\n"),
        fails("a refused token with a code", "TAG NO [AUTHENTICATIONFAILED] TOKEN\r\n"),
        fails("a token that is refused for now", "TAG NO [UNAVAILABLE] TOKEN\r\n"),
        fails("a misunderstood token", "TAG BAD TOKEN\r\n"),
        fails("a token that is sent back", "TAG NO HEARD\r\n"),
        fails("a token that is sent back in part", "TAG NO CUT\r\n"),
        fails("a BYE for a token", "* BYE HEARD\r\n"),
        fails("a strange answer to a token", "HEARD\r\n"),
        fails("a loss at a token", ""),
        fails("a token without an answer", "SILENCE"),
    ]
}

fn smtp(offers: &'static [&'static str], words: usize) -> Vec<ErrorPath> {
    let fails = |name, text: &'static str| {
        error_path(name, move || {
            let answers = move |heard: &Heard| {
                let has_token = heard.text.len() > 40;
                if has_token { step(text, heard) } else { Step::Usual }
            };
            let mut script = Script::smtp(offers).on("AUTH", answers).says("AUTH", "334 \r\n");
            for response in RESPONSES {
                script = script.on(response, answers);
            }
            let refuses = |heard: &Heard| Step::Say(said("535 5.7.8 TOKEN\r\n", heard));
            let script = script
                .on("AQ==", refuses)
                .on("*", refuses)
                .on("", move |heard| if heard.text.is_empty() { refuses(heard) } else { Step::Usual });
            let server = script.start();
            let config = smtp_config(at(&server), words);
            let config = if text == "SILENCE" { config.timeout(TIMEOUTS[0]) } else { config };
            vec![format!("{config:?}"), shown(Smtp::connect(config))]
        })
    };
    vec![
        fails("a refused token", "334 REASON\r\n"),
        fails("a refused token without a reason", "535 5.7.3 TOKEN\r\n"),
        fails("a token that a policy refuses", "535 5.7.139 TOKEN\r\n"),
        fails("a token that is refused for now", "454 4.7.0 TOKEN\r\n"),
        fails("a misunderstood token", "501 TOKEN\r\n"),
        fails("a token that is sent back", "535 5.7.8 HEARD\r\n"),
        fails("a token that is sent back in part", "535-CUT\r\n535 5.7.8 CUT\r\n"),
        fails("a strange answer to a token", "HEARD\r\n"),
        fails("a loss at a token", ""),
        fails("a token without an answer", "SILENCE"),
    ]
}

/// Returns the paths of handles that have logged in by a token, and of one that was refused and renewed before.
fn live(words: usize) -> Vec<ErrorPath> {
    vec![
        error_path("a refused NOOP on a handle with a renewed token", move || {
            let refused = |heard: &Heard| Step::say("TAG NO no\r\n").when(heard.connection == 1);
            let server = Script::imap(IMAP[1])
                .says("AUTHENTICATE", "+ \r\n")
                .on(RESPONSES[1], refused)
                .on("NOOP", |heard| Step::Say(said("TAG NO TOKEN\r\n", heard)))
                .start();
            let imap = Imap::connect(imap_config(at(&server), words)).unwrap();
            assert_eq!(server.connections(), 2);
            vec![shown(imap.noop()), imap_shows(&imap)]
        }),
        error_path("a BYE for a token that has ended", move || {
            let server = Script::imap(IMAP[1])
                .says("AUTHENTICATE", "+ \r\n")
                .on("NOOP", |heard| Step::SayAndClose(said("* BYE AccessTokenExpired TOKEN\r\n", heard)))
                .start();
            let imap = Imap::connect(imap_config(at(&server), words)).unwrap();
            vec![shown(imap.noop()), imap_shows(&imap)]
        }),
        error_path("a refused message on a handle with a token", move || {
            let server = Script::smtp(SMTP[1])
                .on("AUTH XOAUTH2 ", |_| Step::say("235 welcome\r\n"))
                .says("AUTH", "334 \r\n")
                .says(RESPONSES[1], "235 welcome\r\n")
                .on("MAIL", |heard| Step::Say(said("550 TOKEN\r\n", heard)))
                .start();
            let smtp = Smtp::connect(smtp_config(at(&server), words)).unwrap();
            let told: Shown = vec![shown(smtp.send(&Message::new("1", USER, [USER], "hello")))];
            [told, vec![smtp_shows(&smtp)]].concat()
        }),
    ]
}
