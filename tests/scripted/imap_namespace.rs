//! Where the archive is on servers that want a prefix before the names of one's own mailboxes (RFC 2342).

use pymail::{ErrorKind, Imap};
use rstest::rstest;

use super::{imap, imap_config};
use crate::site::TAG;
use crate::support::script::{Script, Scripted};

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
fn a_server_that_refuses_to_tell_namespaces_is_used_without(#[case] refusal: &str) {
    let server = Script::imap(&["NAMESPACE"]).says("NAMESPACE", refusal).start();
    imap(&server).noop().unwrap();
    assert_eq!(server.heard("CREATE"), [format!("CREATE \"{TAG}\"")]);
}

#[rstest]
fn a_server_without_namespaces_is_not_asked_for_them() {
    let server = Script::imap(&[]).start();
    imap(&server).noop().unwrap();
    assert_eq!((server.heard("NAMESPACE").len(), server.connections()), (0, 1));
}

#[rstest]
fn the_mailbox_that_is_watched_is_no_archive_behind_its_prefix_either() {
    let server = telling("((\"INBOX.\" \".\")) NIL NIL");
    let config = imap_config(&server).inbox("INBOX.queue").archive("queue");
    assert_eq!(Imap::connect(config).unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(server.heard("CREATE"), Vec::<String>::new());
}
