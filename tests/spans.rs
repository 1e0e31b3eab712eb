//! Tests the `tracing` spans of verbs and deliveries, and that they show nothing of a message.

use rstest::rstest;

use crate::fixtures::embedded;
use crate::mail_site::{Site, message};
use crate::support::events::Events;

/// Runs a verb, and returns the text of its events and spans.
fn traced<T>(verb: impl FnOnce() -> T) -> (T, Vec<String>) {
    let events = Events::default();
    let result = tracing::subscriber::with_default(events.clone(), verb);
    (result, events.text().lines().map(str::to_owned).collect())
}

#[rstest]
fn verbs_and_deliveries_have_spans_without_text_of_messages(#[from(embedded)] site: Site) {
    let (smtp, imap) = (site.smtp(), site.imap());
    let sent = message("order-4711", "the whole body").with_property("secret-name", "secret-value");
    let (_, of_send) = traced(|| smtp.send(&sent).unwrap());
    assert!(of_send.contains(&"span smtp.send".to_owned()), "{of_send:?}");
    site.deliver(&[message("2", "x")]);
    let (batch, of_fetch) = traced(|| imap.fetch().unwrap());
    let ((), of_ack) = traced(|| batch.ack().unwrap());
    let deliveries = of_fetch.iter().filter(|it| *it == "span imap.delivery").count();
    assert_eq!((batch.len(), deliveries), (2, 2), "{of_fetch:?}");
    for line in ["span imap.fetch", "messages=2", "size=14", "count=1"] {
        assert!(of_fetch.iter().any(|it| it == line), "{line} in {of_fetch:?}");
    }
    for field in ["uid=", "uid_validity=", "message_hash=", "elapsed_ms="] {
        assert!(of_fetch.iter().any(|it| it.starts_with(field)), "{field} in {of_fetch:?}");
    }
    assert!(of_ack.contains(&"span imap.ack".to_owned()), "{of_ack:?}");
    let all = [of_send, of_fetch, of_ack].concat().join("\n");
    for text in ["4711", "whole body", "secret", "@", "__APP__"] {
        assert!(!all.contains(text), "{text} in {all}");
    }
}

#[rstest]
fn a_verb_that_fails_records_the_kind_of_its_error(#[from(embedded)] site: Site) {
    let imap = site.imap();
    let (result, lines) = traced(|| imap.search("NONSENSE"));
    assert!(result.is_err() && lines.contains(&"error=Refused".to_owned()), "{lines:?}");
}
