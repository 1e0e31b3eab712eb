//! Helpers for error paths on scripted servers.

use super::support::script::{Script, Scripted, Step};
use super::{MARKED, Shown, TAG};
use crate::Server;

pub(super) fn says(text: &str) -> Step {
    Step::Say(text.replace("SECRET", MARKED))
}

pub(super) fn closes(text: &str) -> Step {
    Step::SayAndClose(text.replace("SECRET", MARKED))
}

pub(super) fn resets(text: &str) -> Step {
    Step::SayAndReset(text.replace("SECRET", MARKED))
}

pub(super) fn at(server: &Scripted) -> Server {
    Server::unencrypted("localhost").port(server.port())
}

/// Returns the texts of `meet` with a server that answers lines that begin with `line` by `step`.
pub(super) fn answered(script: Script, line: &str, step: Step, meet: impl FnOnce(Server) -> Shown) -> Shown {
    played(script.ahead(line, move |_| step.clone()), line, meet)
}

/// Returns the texts of `meet` with a server; asserts that the server has received such a line.
pub(super) fn played(script: Script, line: &str, meet: impl FnOnce(Server) -> Shown) -> Shown {
    let server = script.start();
    let told = meet(at(&server));
    assert!(!server.heard(line).is_empty(), "the server was never told {line}");
    told
}

/// Returns an IMAP server with one of our messages in the inbox.
pub(super) fn waiting(offers: &[&str]) -> Script {
    with_mail(offers, &format!("Message-ID: <1@example.test>\r\nSubject: {TAG} 1\r\n\r\nhello"))
}

/// Returns the same server, where the message stays in the inbox.
pub(super) fn staying(offers: &[&str]) -> Script {
    stays(waiting(offers))
}

/// Makes SEARCH find the message in the inbox after any command.
pub(super) fn stays(script: Script) -> Script {
    script.says("UID SEARCH UID 1", "* SEARCH 1\r\nTAG OK done\r\n")
}

/// Returns an IMAP server with this message in the inbox, which accepts every APPEND.
pub(super) fn with_mail(offers: &[&str], mail: &str) -> Script {
    let fetched = |what: &str, octets: &str| {
        format!("* 1 FETCH (UID 1 {what} {{{}}}\r\n{octets})\r\nTAG OK done\r\n", octets.len())
    };
    let whole = fetched(&format!("RFC822.SIZE {} BODY[]<0>", mail.len()), mail);
    let headers = fetched("BODY[HEADER.FIELDS (MESSAGE-ID SUBJECT FROM)]<0>", mail);
    let print = fetched(&format!("RFC822.SIZE {} BODY[HEADER]<0>", mail.len()), mail);
    Script::imap(offers)
        .says("UID FETCH 1 (UID RFC822.SIZE BODY.PEEK[HEADER]", print)
        .says("UID SEARCH UNDELETED", "* SEARCH 1\r\nTAG OK done\r\n")
        .says("UID FETCH 1 (UID FLAGS RFC822.SIZE INTERNALDATE BODY.PEEK[]", whole)
        .says("UID FETCH 1 (UID BODY.PEEK[HEADER.FIELDS", headers)
        .says("UID FETCH 1 (UID FLAGS)", "* 1 FETCH (UID 1 FLAGS ())\r\nTAG OK done\r\n")
        .says("APPEND", "+ go on\r\nTAG OK done\r\n")
        .on("", |heard| Step::Nothing.when(!is_command(&heard.text)))
}

/// Returns `true` if a line is a command, and not a line of an appended message.
pub(super) fn is_command(line: &str) -> bool {
    let word = line.split(' ').next().unwrap_or_default();
    !word.is_empty() && word.bytes().all(|octet| octet.is_ascii_uppercase())
}
