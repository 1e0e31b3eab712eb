//! Errors of dead letters, and the notes that are written for them.

use super::scripted::{answered, at, closes, says, staying, stays, waiting, with_mail};
use super::support::script::{Script, Step};
use super::{ErrorPath, MARKED, Shown, TAG, error_path, imap_config, imap_shows, shown};
use crate::{Imap, Result, Server};

const OFFERS: &[&str] = &["MOVE", "UIDPLUS"];
const APPEND: &str = r#"APPEND "__APP__-dead""#;
const CREATE: &str = r#"CREATE "__APP__-dead""#;
const FLAGS: &str = "UID FETCH 1 (UID FLAGS)";
const MOVE: &str = "UID MOVE";

pub(super) fn error_paths() -> Vec<ErrorPath> {
    let mut paths =
        vec![error_path("a dead letter", rejected), error_path("an unreadable dead letter", unparsed)];
    paths.extend(rejections());
    paths.extend(counts());
    paths
}

fn connected(server: Server) -> Imap {
    Imap::connect(imap_config(server).dead_letters(1)).unwrap()
}

/// Returns the texts of `meet`, and everything that the client has sent after the login.
fn written(script: Script, meet: impl FnOnce(&Imap) -> Shown) -> Shown {
    let refuses = script.ahead("UID COPY", |_| says("TAG NO [X-SECRET] SECRET\r\n"));
    let moves = refuses.ahead(MOVE, |_| says("* OK [COPYUID 7 1 1] SECRET\r\nTAG OK SECRET\r\n"));
    let takes = moves.ahead("APPEND", |_| says("+ SECRET\r\nTAG OK [APPENDUID 7 1] SECRET\r\n"));
    let server = takes.start();
    let imap = connected(at(&server));
    let mut told = meet(&imap);
    assert_eq!((server.heard(APPEND).len(), server.heard(MOVE).len()), (1, 1));
    let login = server.heard("LOGIN");
    told.extend(server.heard("").into_iter().filter(|line| !line.is_empty() && !login.contains(line)));
    told.push(imap_shows(&imap));
    told
}

/// Rejects a message with an error as the reason, as an app would.
fn rejected() -> Shown {
    written(waiting(OFFERS), |imap| {
        let batch = imap.fetch().unwrap();
        let reason = shown(imap.copy(&imap.search("UNDELETED").unwrap(), "elsewhere"));
        imap.reject(&batch, &reason).unwrap();
        vec![reason, format!("{:?}", batch.into_deliveries())]
    })
}

fn unreadable() -> Script {
    let size = format!("Content-Disposition: inline; size=1; x=\"{MARKED}\"");
    with_mail(OFFERS, &format!("Subject: {TAG} 1\r\n{size}\r\n\r\nhello {MARKED}"))
}

fn unparsed() -> Shown {
    written(unreadable(), |imap| {
        let batch = imap.fetch().unwrap();
        batch.iter().map(|delivery| shown(delivery.message())).collect()
    })
}

/// Rejects a message, which fails when a line that begins with `line` gets this answer.
fn rejection(name: &'static str, line: &'static str, step: Step) -> ErrorPath {
    failure(
        name,
        line,
        step,
        || staying(OFFERS),
        |imap| {
            let batch = imap.fetch().unwrap();
            assert_eq!(batch.len(), 1);
            imap.reject(&batch, "no such account")
        },
    )
}

fn failure(
    name: &'static str,
    line: &'static str,
    step: Step,
    script: fn() -> Script,
    verb: fn(&Imap) -> Result<()>,
) -> ErrorPath {
    error_path(name, move || {
        answered(script(), line, step, |server| {
            let imap = connected(server);
            vec![shown(verb(&imap)), imap_shows(&imap)]
        })
    })
}

/// Rejects a message whose note is refused: the message becomes a dead letter all the same.
fn without_a_note(name: &'static str, step: Step) -> ErrorPath {
    error_path(name, move || {
        let script = || {
            waiting(OFFERS)
                .ahead(MOVE, |_| Step::say("* OK [COPYUID 7 1 1] moved\r\nTAG OK moved\r\n"))
                .says("CREATE", "TAG NO [ALREADYEXISTS] it is there\r\n")
        };
        answered(script(), APPEND, step, |server| {
            let imap = connected(server);
            imap.reject(&imap.fetch().unwrap(), "no such account").unwrap();
            vec![imap_shows(&imap)]
        })
    })
}

fn rejections() -> Vec<ErrorPath> {
    vec![
        without_a_note("a refused note", says("TAG NO SECRET\r\n")),
        without_a_note("a note that is refused when it is there", says("+ SECRET\r\nTAG NO SECRET\r\n")),
        without_a_note("a misunderstood note", says("TAG BAD SECRET\r\n")),
        without_a_note("no room for a note", says("TAG NO [OVERQUOTA] SECRET\r\n")),
        rejection("a note refused for now", APPEND, says("TAG NO [UNAVAILABLE] SECRET\r\n")),
        rejection("a strange answer to a dead letter", APPEND, closes("SECRET\r\n")),
        rejection("a BYE for a dead letter", APPEND, closes("* BYE SECRET\r\n")),
        rejection("a loss at a dead letter", APPEND, Step::Close),
        rejection("a dead letter that is not let in", MOVE, says("TAG NO SECRET\r\n")),
        rejection("a dead letter that is in no mailbox", MOVE, says("TAG NO [TRYCREATE] SECRET\r\n")),
        rejection("a BYE for a dead letter's message", MOVE, closes("* BYE SECRET\r\n")),
        error_path("no mailbox for dead letters", || {
            let no = format!("TAG NO {MARKED}\r\n");
            let script = waiting(OFFERS).ahead(APPEND, |_| says("TAG NO [TRYCREATE] SECRET\r\n"));
            let script = script.says(r#"STATUS "__APP__-dead""#, &*no);
            let script = script.ahead(MOVE, |_| says("TAG NO [TRYCREATE] SECRET\r\n"));
            answered(script, CREATE, Step::Say(no), |server| {
                let imap = connected(server);
                vec![shown(imap.reject(&imap.fetch().unwrap(), "no such account")), imap_shows(&imap)]
            })
        }),
    ]
}

/// Returns the error paths of delivery counts, and of messages that were delivered too often or can't be parsed.
fn counts() -> Vec<ErrorPath> {
    let fetch: fn(&Imap) -> Result<()> =
        |imap| imap.fetch()?.iter().try_for_each(|delivery| delivery.message().map(drop));
    // Without keywords on the server, the handle counts deliveries itself.
    let uncounted = |name, line, script: fn() -> Script| {
        error_path(name, move || {
            answered(script(), line, says("TAG NO SECRET\r\n"), |server| {
                let imap = connected(server);
                assert_eq!(imap.fetch().unwrap().len(), 1);
                vec![imap_shows(&imap)]
            })
        })
    };
    let spent = || {
        waiting(OFFERS)
            .ahead(FLAGS, |_| Step::say("* 1 FETCH (UID 1 FLAGS ($PymailDelivery1))\r\nTAG OK done\r\n"))
    };
    let marked = || {
        waiting(OFFERS).ahead("SELECT", |_| {
            Step::say("* OK [UIDVALIDITY 7] x\r\n* OK [PERMANENTFLAGS (\\*)] x\r\nTAG OK [READ-WRITE] x\r\n")
        })
    };
    let no = || says("TAG NO SECRET\r\n");
    vec![
        uncounted("counts that can't be read", FLAGS, || waiting(OFFERS)),
        failure(
            "strange counts",
            FLAGS,
            closes("* 1 FETCH (FLAGS (SECRET))\r\nSECRET\r\n"),
            || waiting(OFFERS),
            fetch,
        ),
        uncounted("counts that can't be written", "UID STORE", marked),
        failure("a BYE for a count", "UID STORE", closes("* BYE SECRET\r\n"), marked, fetch),
        failure("one delivery too many that stays", MOVE, no(), spent, fetch),
        failure("an unreadable message without a note", APPEND, no(), unreadable, fetch),
        failure("an unreadable message that is not let in", MOVE, no(), || stays(unreadable()), fetch),
    ]
}
