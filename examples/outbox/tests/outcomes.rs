//! Records the outcome of each message and of each recipient.

mod sink;

use std::thread;
use std::time::Duration;

use outbox::{Flushed, Outbox, insert};
use pymail::{Credentials, Message, Server, Smtp, SmtpConfig};
use rusqlite::Connection;
use sink::Sink;

fn message(to: &[&str]) -> Message {
    let to = to.iter().map(|name| format!("{name}@example.org")).collect::<pymail::Recipients>();
    Message::new("1", "alice@example.org", to, "hello")
}

fn connect(sink: &Sink) -> Smtp {
    let server = Server::unencrypted("127.0.0.1").port(sink.port());
    Smtp::connect(SmtpConfig::new(server, Credentials::none())).expect("a connection")
}

/// Returns the recipients in the table `failed`, as JSON.
fn failed(file: &std::path::Path) -> Vec<String> {
    let database = Connection::open(file).expect("the database");
    let mut rows = database.prepare("SELECT recipients FROM failed").expect("a query");
    rows.query_map([], |row| row.get(0)).expect("rows").map(|row| row.expect("a text")).collect()
}

#[test]
fn a_recipient_refused_for_now_is_retried_alone_and_one_refused_for_good_is_recorded() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("outbox");
    let mut outbox = Outbox::open(&file).expect("an outbox");
    let sink = Sink::start();
    let smtp = connect(&sink);
    let message = message(&["bob", "never", "later"]);
    outbox.queue(&message).expect("queued");
    assert_eq!(outbox.flush(&smtp).expect("flushed"), Flushed { sent: 0, kept: 1, failed: 1 });
    assert_eq!(outbox.flush(&smtp).expect("flushed"), Flushed::default(), "it is not due yet");
    thread::sleep(outbox.next_due().expect("a time").expect("a message") + Duration::from_millis(100));
    assert_eq!(outbox.flush(&smtp).expect("flushed"), Flushed { sent: 1, kept: 0, failed: 0 });
    assert!(outbox.is_empty().expect("a count"));
    assert_eq!(failed(&file), [r#"["never@example.org"]"#]);
    let mails = sink.mails();
    let has_id = |mail: &&String| mail.contains(message.message_id().as_str());
    assert_eq!((mails.len(), mails.iter().filter(has_id).count()), (2, 2));
    assert!(mails[1].contains("To: <later@example.org>"));
}

#[test]
fn a_message_that_no_server_takes_is_recorded_and_does_not_stop_the_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("outbox");
    let mut outbox = Outbox::open(&file).expect("an outbox");
    let sink = Sink::start();
    for to in [&["never"][..], &["bob"], &["no address"]] {
        outbox.queue(&message(to)).expect("queued");
    }
    outbox.queue(&message(&["bob"]).with_property("", "a name is missing")).expect("queued");
    let flushed = outbox.flush(&connect(&sink)).expect("flushed");
    assert_eq!(flushed, Flushed { sent: 1, kept: 0, failed: 3 });
    assert_eq!((sink.mails().len(), failed(&file).len()), (1, 3));
}

#[test]
fn a_message_is_queued_once_and_with_the_apps_own_transaction() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("outbox");
    let mut outbox = Outbox::open(&file).expect("an outbox");
    let message = message(&["bob"]);
    let mut app = Connection::open(&file).expect("the database");
    let transaction = app.transaction().expect("a transaction");
    insert(&transaction, &message).expect("inserted");
    transaction.rollback().expect("rolled back");
    assert!(outbox.is_empty().expect("a count"));
    outbox.queue(&message).expect("queued");
    outbox.queue(&message).expect("queued");
    assert_eq!(outbox.len().expect("a count"), 1);
}

#[test]
fn a_message_refused_for_now_is_kept_and_sent_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut outbox = Outbox::open(folder.path().join("outbox")).expect("an outbox");
    let sink = Sink::start();
    let smtp = connect(&sink);
    outbox.queue(&message(&["later"])).expect("queued");
    assert_eq!(outbox.flush(&smtp).expect("flushed"), Flushed { sent: 0, kept: 1, failed: 0 });
    thread::sleep(outbox.next_due().expect("a time").expect("a message") + Duration::from_millis(100));
    assert_eq!(outbox.flush(&smtp).expect("flushed"), Flushed { sent: 1, kept: 0, failed: 0 });
    assert_eq!((sink.mails().len(), outbox.len().expect("a count")), (1, 0));
}
