//! The mailboxes of the archive, the log and the dead letters: on servers that want a prefix before personal mailboxes
//! (RFC 2342), and on those that allow no mailbox within another.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pymail::{ErrorKind, Imap};
use rstest::rstest;

use super::{imap, imap_config};
use crate::mail_site::TAG;
use crate::support::script::{Heard, Script, Scripted, Step};

fn telling(namespaces: &str) -> Scripted {
    Script::imap(&["NAMESPACE"])
        .says("NAMESPACE", format!("* NAMESPACE {namespaces}\r\nTAG OK done\r\n"))
        .start()
}

#[rstest]
#[case::none("((\"\" \"/\")) NIL NIL", TAG, TAG)]
#[case::inbox("((\"INBOX.\" \".\")) NIL ((\"shared.\" \".\"))", TAG, "INBOX.__TEST__")]
#[case::with_an_extension("((\"Mail/\" \"/\" \"X\" (\"A\" \"B\"))) NIL NIL", TAG, "Mail/__TEST__")]
#[case::without_a_delimiter("((\"#mh-\" NIL)) NIL NIL", TAG, "#mh-__TEST__")]
#[case::of_others_only("NIL ((\"user.\" \".\")) NIL", TAG, TAG)]
#[case::nothing("NIL NIL NIL", TAG, TAG)]
#[case::has_it_already("((\"INBOX.\" \".\")) NIL NIL", "Inbox.done", "Inbox.done")]
#[case::in_anothers("((\"INBOX.\" \".\")) ((\"user.\" \".\")) NIL", "user.bob.done", "user.bob.done")]
#[case::not_to_be_read("((INBOX. .)) (", TAG, TAG)]
fn the_archive_is_in_the_personal_namespace(
    #[case] told: &str,
    #[case] configured: &str,
    #[case] made: &str,
) {
    let server = telling(told);
    drop(Imap::connect(imap_config(&server).archive(configured)).unwrap());
    assert_eq!(server.heard("CREATE"), [format!("CREATE \"{made}\"")]);
}

#[rstest]
#[case::no("TAG NO not for you\r\n")]
#[case::bad("TAG BAD what?\r\n")]
fn a_server_that_refuses_namespace_is_used_without_a_prefix(#[case] refusal: &str) {
    let server = Script::imap(&["NAMESPACE"]).says("NAMESPACE", refusal).start();
    imap(&server).noop().unwrap();
    assert_eq!(server.heard("CREATE"), [format!("CREATE \"{TAG}\"")]);
}

/// Without the prefix and the delimiter, it would be another archive than that of the other connections.
#[rstest]
fn a_namespace_that_is_refused_for_now_makes_no_other_archive(
    #[values("NAMESPACE", "LIST")] command: &str,
    #[values("[LIMIT] Rate limit hit.", "[UNAVAILABLE] later")] text: &str,
) {
    let has = if command == "LIST" { &[][..] } else { &["NAMESPACE"] };
    let server = Script::imap(has).says(command, format!("TAG NO {text}\r\n")).start();
    let error = Imap::connect(imap_config(&server)).unwrap_err();
    assert!(error.kind() == ErrorKind::Refused && error.is_transient(), "{error:?}");
    assert_eq!(server.heard("CREATE"), Vec::<String>::new());
}

#[rstest]
fn a_server_without_namespaces_is_not_asked_for_them() {
    let server = Script::imap(&[]).start();
    imap(&server).noop().unwrap();
    assert_eq!((server.heard("NAMESPACE").len(), server.connections()), (0, 1));
}

#[rstest]
fn the_inbox_is_no_archive_with_a_prefix_either() {
    let server = telling("((\"INBOX.\" \".\")) NIL NIL");
    let config = imap_config(&server).inbox("INBOX.queue").archive("queue");
    assert_eq!(Imap::connect(config).unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(server.heard("CREATE"), Vec::<String>::new());
}

/// The mailboxes of a server, and the names that it refuses to create.
fn keeping(made: &[&str], delimiter: &str, refuses: fn(&str) -> Option<&'static str>) -> Scripted {
    let made: BTreeSet<String> = made.iter().map(|name| (*name).to_owned()).collect();
    let made = Arc::new(Mutex::new(made));
    let has = {
        let made = Arc::clone(&made);
        move |heard: &Heard| locked(&made).contains(&quoted(&heard.text))
    };
    let create = move |heard: &Heard| {
        let name = quoted(&heard.text);
        match refuses(&name) {
            Some(no) => Step::Say(format!("TAG NO {no}\r\n")),
            None if locked(&made).insert(name) => Step::Usual,
            None => Step::say("TAG NO it is there\r\n"),
        }
    };
    let (status, append, mv, examine, select) = (has.clone(), has.clone(), has.clone(), has.clone(), has);
    let none = || Step::say("TAG NO there is no such mailbox\r\n");
    let mail = format!("Subject: {TAG} 1\r\nMessage-ID: <1@example.test>\r\n\r\nhello\r\n");
    let size = mail.len();
    Script::imap(&["MOVE", "UIDPLUS"])
        .says("LIST", format!("* LIST (\\Noselect) {delimiter} \"\"\r\nTAG OK done\r\n"))
        .on("CREATE", create)
        .on("STATUS", move |heard| {
            if status(heard) { Step::say("* STATUS x (MESSAGES 1)\r\nTAG OK done\r\n") } else { none() }
        })
        .on("APPEND", move |heard| if append(heard) { Step::say("+ go on\r\nTAG OK done\r\n") } else { none() })
        .on("UID MOVE", move |heard| if mv(heard) { Step::say("* OK [COPYUID 9 1 1] x\r\nTAG OK x\r\n") } else { none() })
        .on("SELECT", move |heard| if heard.text.contains("INBOX\"") || select(heard) { Step::Usual } else { none() })
        .on("EXAMINE", move |heard| if examine(heard) { Step::Usual } else { none() })
        .says("UID SEARCH", "* SEARCH 1\r\nTAG OK done\r\n")
        .says("UID FETCH 1:* (UID BODY.PEEK[]", "TAG OK an empty log\r\n")
        .says(
            "UID FETCH 1 (UID RFC822.SIZE BODY.PEEK[HEADER]",
            format!("* 1 FETCH (UID 1 RFC822.SIZE {size} BODY[HEADER]<0> {{{size}}}\r\n{mail})\r\nTAG OK done\r\n"),
        )
        .says("UID FETCH 1 (UID FLAGS)", "* 1 FETCH (UID 1 FLAGS ())\r\nTAG OK done\r\n")
        .says(
            "UID FETCH 1 (UID FLAGS RFC822.SIZE",
            format!("* 1 FETCH (UID 1 FLAGS () RFC822.SIZE {size} BODY[]<0> {{{size}}}\r\n{mail})\r\nTAG OK done\r\n"),
        )
        .on("", |heard| Step::Nothing.when(!is_command(&heard.text)))
        .start()
}

fn locked(made: &Mutex<BTreeSet<String>>) -> MutexGuard<'_, BTreeSet<String>> {
    made.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns `true` for a line that is not part of an appended mail.
fn is_command(line: &str) -> bool {
    let word = line.split(' ').next().unwrap_or_default();
    !word.is_empty() && word.bytes().all(|octet| octet.is_ascii_uppercase())
}

/// Returns the mailbox's name in a command.
fn quoted(command: &str) -> String {
    command.split('"').nth(1).unwrap_or_default().to_owned()
}

/// Makes a server with mbox, where a mailbox contains either mails or other mailboxes.
fn no_inferiors(name: &str) -> Option<&'static str> {
    name.contains('/').then_some("[CANNOT] Mailbox doesn't allow inferior mailboxes")
}

fn rejecting(server: &Scripted) -> pymail::Result<()> {
    let imap = Imap::connect(imap_config(server).dead_letters(1).dedup_window(0)).unwrap();
    let batch = imap.fetch()?;
    assert_eq!(batch.len(), 1);
    imap.reject(&batch, "it can't be handled")
}

#[rstest]
#[case::with_a_code("\"/\"", no_inferiors)]
#[case::without_a_code("\"/\"", |name: &str| name.contains('/').then_some("invalid mailbox name"))]
#[case::by_another_delimiter("\".\"", |name: &str| name.contains('.').then_some("[NOPERM] not for you"))]
#[case::without_a_delimiter("NIL", |name: &str| name.contains(['/', '.']).then_some("[CANNOT] no"))]
fn dead_letters_are_beside_the_archive_where_none_is_within_and_found_again(
    #[case] delimiter: &str,
    #[case] refuses: fn(&str) -> Option<&'static str>,
) {
    let server = keeping(&[TAG], delimiter, refuses);
    rejecting(&server).unwrap();
    let beside = format!("UID MOVE 1 \"{TAG}-dead\"");
    assert_eq!(server.heard("UID MOVE"), [&*beside]);
    rejecting(&server).unwrap();
    assert_eq!(server.heard("UID MOVE"), [&*beside, &*beside]);
    let made = server.heard("CREATE").iter().filter(|line| line.contains("-dead")).count();
    assert_eq!(made, 1, "{:?}", server.heard("CREATE"));
}

#[rstest]
#[case::within("__TEST__/dead", "__TEST__/dead")]
#[case::beside("__TEST__-dead", "__TEST__-dead")]
#[case::new(TAG, "__TEST__/dead")]
fn an_existing_mailbox_is_preferred_to_a_new_one(#[case] there: &str, #[case] used: &str) {
    let server = keeping(&[TAG, there], "\"/\"", |_| None);
    rejecting(&server).unwrap();
    assert_eq!(server.heard("UID MOVE"), [format!("UID MOVE 1 \"{used}\"")]);
}

/// Another consumer would create the mailbox within, and each would have a log of its own.
#[rstest]
#[case("[UNAVAILABLE] the disk sleeps")]
#[case("[OVERQUOTA] no room")]
#[case("try again later")]
fn a_transient_refusal_is_no_reason_for_a_mailbox_beside_the_archive(#[case] no: &'static str) {
    let refuses: fn(&str) -> Option<&'static str> = match no {
        "[UNAVAILABLE] the disk sleeps" => {
            |name| name.contains('/').then_some("[UNAVAILABLE] the disk sleeps")
        }
        "[OVERQUOTA] no room" => |name| name.contains('/').then_some("[OVERQUOTA] no room"),
        _ => |name| name.contains('/').then_some("try again later"),
    };
    let server = keeping(&[TAG], "\"/\"", refuses);
    let error = rejecting(&server).unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(
        server.heard("CREATE").iter().all(|line| !line.contains("-dead")),
        "{:?}",
        server.heard("CREATE")
    );
}

#[rstest]
fn consumers_share_a_log_beside_the_archive() {
    let server = keeping(&[TAG], "\"/\"", no_inferiors);
    let lease = Duration::from_secs(300);
    for _ in 0..2 {
        let imap = Imap::connect(imap_config(&server).shared(lease).dedup_window(0)).unwrap();
        // The log stays empty in spite of claims.
        assert_eq!(imap.fetch().unwrap_err().code(), Some("INUSE"));
    }
    let logs: BTreeSet<String> = server.heard("SELECT").iter().map(|line| quoted(line)).collect();
    assert!(logs.contains("__TEST__-claims"), "{logs:?}");
    assert_eq!(server.heard("CREATE \"__TEST__-claims\"").len(), 1);
}

#[rstest]
#[case::of_inbox("\".\"", TAG, |name: &str| (!name.starts_with("INBOX.")).then_some("Invalid mailbox name"), "INBOX.__TEST__")]
#[case::on_one_level("\"/\"", "Archive/done", no_inferiors, "Archive-done")]
#[case::of_folders("\"/\"", TAG, |name: &str| (!name.starts_with("Folders/")).then_some("operation not allowed"), "Folders/__TEST__")]
#[case::of_folders_on_one_level("\"/\"", "a/b", |name: &str| (!name.starts_with("Folders/")).then_some("no"), "Folders/a-b")]
#[case::of_inbox_on_one_level("\"/\"", "Archive/done", |name: &str| (!name.starts_with("INBOX/")).then_some("no"), "INBOX/Archive/done")]
fn the_archive_gets_a_name_that_the_server_accepts(
    #[case] delimiter: &str,
    #[case] configured: &str,
    #[case] refuses: fn(&str) -> Option<&'static str>,
    #[case] made: &str,
) {
    let server = keeping(&[], delimiter, refuses);
    for _ in 0..2 {
        let imap = Imap::connect(imap_config(&server).archive(configured).dedup_window(0)).unwrap();
        imap.fetch().unwrap().ack().unwrap();
    }
    let line = format!("UID MOVE 1 \"{made}\"");
    assert_eq!(server.heard("UID MOVE"), [&*line, &*line]);
}

#[rstest]
fn without_an_accepted_name_for_the_archive_the_first_refusal_is_the_error() {
    let server = keeping(&[], "\"/\"", |name| Some(if name == TAG { "[NOPERM] not you" } else { "no" }));
    let error = Imap::connect(imap_config(&server)).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, Some("NOPERM")), "{error:?}");
}
