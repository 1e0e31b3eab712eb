//! Receives real and malformed mails of other projects, and compares them with the result of Python's email package.

mod differences;
mod mails;
mod python;

use std::collections::BTreeSet;

use pymail::{Credentials, Delivery, ErrorKind, Imap, ImapConfig, Server};
use rstest::{fixture, rstest};

use self::differences::{DIFFERENCES, DIFFERENCES_OF_SOME, ERRORS, Entry, UNREAD_BY_PYTHON};
use self::mails::Mail;
use crate::support::dovecot::{Dovecot, HOST, PASSWORD};

const USER: &str = "alice@example.test";
const MESSAGES: usize = 166;

/// The part of a message that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Text,
    Sender,
}

/// The corpus, delivered and received.
struct Corpus {
    mails: Vec<Mail>,
    received: Vec<Delivery>,
    left_in_the_inbox: usize,
    lost_connection: Option<String>,
}

#[fixture]
#[once]
fn corpus() -> Corpus {
    let dovecot = Dovecot::start();
    let mails = mails::tagged();
    for mail in &mails {
        dovecot.deliver(USER, &mail.octets);
    }
    let server = Server::tls(HOST).port(dovecot.imaps_port()).add_root_certificate_pem(dovecot.ca_pem());
    let imap =
        Imap::connect(ImapConfig::new(server, Credentials::new(USER, PASSWORD))).expect("a connection");
    let received = drain(&imap);
    let left_in_the_inbox = imap.search("ALL").expect("a search").len();
    let lost_connection = imap.status().last_error.map(|error| error.to_string());
    Corpus { mails, received, left_in_the_inbox, lost_connection }
}

fn drain(imap: &Imap) -> Vec<Delivery> {
    let mut received = Vec::new();
    loop {
        let batch = imap.fetch_and_ack().expect("a batch");
        if batch.is_empty() {
            return received;
        }
        received.extend(batch);
    }
}

/// Returns the mail's index in the corpus: an empty mailbox assigns UIDs from 1, in the order of delivery.
fn number(delivery: &Delivery) -> usize {
    delivery.uid().get() as usize - 1
}

#[rstest]
fn every_message_of_the_corpus_is_received_once_and_leaves_the_inbox(corpus: &Corpus) {
    let Corpus { mails, received, left_in_the_inbox, lost_connection } = corpus;
    let numbers: BTreeSet<usize> = received.iter().map(number).collect();
    let missing = mails.iter().enumerate().filter(|(n, _)| !numbers.contains(n));
    assert_eq!(missing.map(|(_, mail)| &*mail.file).collect::<Vec<_>>(), Vec::<&str>::new());
    assert_eq!((mails.len(), received.len()), (MESSAGES, MESSAGES));
    assert_eq!((*left_in_the_inbox, lost_connection), (0, &None));
}

#[rstest]
fn every_message_of_the_corpus_has_the_id_after_its_tag(corpus: &Corpus) {
    for delivery in &corpus.received {
        let file = &corpus.mails[number(delivery)].file;
        let Ok(message) = delivery.message() else { continue };
        let first_word = message.id.split(' ').next();
        assert_eq!(first_word, Some(&*number(delivery).to_string()), "{file}: {}", message.id);
    }
}

#[rstest]
fn exactly_the_listed_mails_are_errors(corpus: &Corpus) {
    let errors =
        corpus.received.iter().filter_map(|delivery| Some((number(delivery), delivery.message().err()?)));
    let errors = errors.map(|(number, error)| {
        assert_eq!(error.kind(), ErrorKind::Message, "{error}");
        (corpus.mails[number].file.as_str(), Part::Text)
    });
    assert_listed(&errors.collect(), ERRORS, "an error");
}

#[rstest]
fn text_and_sender_agree_with_python_except_where_listed(corpus: &Corpus) {
    let readings = python::read(corpus.mails.iter().map(|mail| &*mail.octets));
    let (mut different, mut unread) = (BTreeSet::new(), BTreeSet::new());
    for delivery in &corpus.received {
        let (mail, reading) = (&corpus.mails[number(delivery)], &readings[number(delivery)]);
        for part in [Part::Text, Part::Sender] {
            let place = (mail.file.as_str(), part);
            let Ok(message) = delivery.message() else { continue };
            match reading.agrees(part, message) {
                Some(true) => false,
                Some(false) => different.insert(place),
                None => unread.insert(place),
            };
        }
    }
    assert_listed(&unread, UNREAD_BY_PYTHON, "not parsed by Python");
    for (file, part, _) in DIFFERENCES_OF_SOME {
        different.remove(&(*file, *part));
    }
    assert_listed(&different, DIFFERENCES, "parsed differently");
}

/// Checks that the differences found are exactly the listed ones.
fn assert_listed(found: &BTreeSet<(&str, Part)>, entries: &[Entry], what: &str) {
    let listed: BTreeSet<_> = entries.iter().map(|&(file, part, _)| (file, part)).collect();
    let unlisted: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(found).collect();
    assert!(
        unlisted.is_empty() && gone.is_empty(),
        "{what}, unlisted: {unlisted:#?}; listed, gone: {gone:#?}"
    );
    assert_eq!(entries.len(), listed.len(), "{what}: an entry is listed twice");
    assert!(entries.iter().all(|(_, _, reason)| !reason.is_empty()), "{what}: a reason is missing");
}
