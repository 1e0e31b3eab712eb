//! The spellings of responses: one dialogue, written in many ways, always has the same result.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use pymail::{Batch, ErrorKind, Imap};
use rstest::rstest;

use super::imap::mail;
use super::{imap, imap_config};
use crate::mail_site::TAG;
use crate::support::script::{Script, Scripted, Step};

/// A part of a response: its text, or a literal, which no spelling changes.
enum Part {
    Text(String),
    Literal(String),
}

use Part::{Literal, Text};

/// A server's spelling of its responses.
#[derive(Clone, Copy)]
struct Manner {
    /// The responses with one mail's UID, sequence number and octets.
    mail: fn(u32, &str) -> Vec<Part>,
    text: fn(&str) -> String,
    /// The text before each line.
    before: &'static str,
}

const PLAIN: Manner = Manner { mail: fetched, text: str::to_owned, before: "" };

fn text(write: fn(&str) -> String) -> Manner {
    Manner { text: write, ..PLAIN }
}

fn mails(write: fn(u32, &str) -> Vec<Part>) -> Manner {
    Manner { mail: write, ..PLAIN }
}

fn before(lines: &'static str) -> Manner {
    Manner { before: lines, ..PLAIN }
}

fn fetched(uid: u32, mail: &str) -> Vec<Part> {
    let head =
        format!("* {uid} FETCH (UID 10{uid} FLAGS () RFC822.SIZE {0} BODY[]<0> {{{0}}}\r\n", mail.len());
    vec![Text(head), Literal(mail.into()), Text(")\r\n".into())]
}

/// Returns the spelling with this in place of the usual text.
fn around(uid: u32, mail: &str, head: &str, tail: &str) -> Vec<Part> {
    let filled = |text: &str| {
        let text = text.replace("UID", &format!("UID 10{uid}"));
        text.replace("SIZE", &format!("RFC822.SIZE {}", mail.len()))
            .replace("{}", &format!("{{{}}}", mail.len()))
    };
    vec![Text(format!("* {uid} {}\r\n", filled(head))), Literal(mail.into()), Text(filled(tail) + "\r\n")]
}

fn said(parts: Vec<Part>, manner: Manner) -> String {
    let mut said = String::new();
    for part in parts {
        match part {
            Text(text) if text.starts_with(['*', '+', 'T']) => {
                said += &(manner.before.to_owned() + &(manner.text)(&text));
            }
            Text(text) => said += &(manner.text)(&text),
            Literal(octets) => said += &octets,
        }
    }
    said
}

/// A server with three messages: the waiting ones and the copied ones.
struct Server {
    scripted: Scripted,
    inbox: Arc<Mutex<BTreeSet<u32>>>,
    archive: Arc<Mutex<Vec<u32>>>,
}

fn numbers(set: &BTreeSet<u32>, between: &str) -> String {
    set.iter().map(|uid| format!("10{uid}")).collect::<Vec<_>>().join(between)
}

/// Makes the server with these capabilities and this spelling.
fn server(capabilities: &'static str, manner: Manner) -> Server {
    let inbox = Arc::new(Mutex::new(BTreeSet::from([1, 2, 3])));
    let archive = Arc::new(Mutex::new(Vec::new()));
    let (left, copied) = (Arc::clone(&inbox), Arc::clone(&archive));
    let answer = move |command: &str| {
        let mut left = left.lock().unwrap();
        let mut words = command.split(' ').map(str::to_uppercase);
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut parts = Vec::new();
        let mut line = |text: String| parts.push(Text(text + "\r\n"));
        match (first.as_str(), second.as_str()) {
            ("GREETING", _) => return vec![Text("* OK ready\r\n".into())],
            ("CAPABILITY", _) => line(format!("* CAPABILITY IMAP4rev1 {capabilities}")),
            ("SELECT" | "EXAMINE", _) => {
                let exists = if command.contains(TAG) { copied.lock().unwrap().len() } else { left.len() };
                line(format!("* {exists} EXISTS"));
                line("* OK [UIDVALIDITY 7] life".into());
                line(r"* OK [PERMANENTFLAGS (\Seen \Deleted [Junk] \*)] flags".into());
                return {
                    parts.push(Text("TAG OK [READ-WRITE] done\r\n".into()));
                    parts
                };
            }
            ("LIST", _) => line("* LIST (\\Noselect) \"/\" \"\"".into()),
            ("CREATE", _) => return vec![Text("TAG NO [ALREADYEXISTS] there\r\n".into())],
            ("STATUS", _) => line(format!("* STATUS \"{TAG}\" (MESSAGES {})", copied.lock().unwrap().len())),
            ("UID", "SEARCH") => line(format!("* SEARCH {}", numbers(&left, " "))),
            ("UID", "FETCH") => {
                let mails = left.iter().flat_map(|&uid| (manner.mail)(uid, &mail(uid, "hello")));
                parts.extend(mails);
            }
            ("UID", "MOVE") => {
                let uids = numbers(&left, ",");
                line(format!("* OK [COPYUID 9 {uids} 1:3] moved"));
                copied.lock().unwrap().extend(std::mem::take(&mut *left));
            }
            ("UID", "COPY") => {
                let uids = numbers(&left, ",");
                copied.lock().unwrap().extend(&*left);
                return vec![Text(format!("TAG OK [COPYUID 9 {uids} 1:3] copied\r\n"))];
            }
            ("UID", "EXPUNGE") => left.clear(),
            _ => {}
        }
        parts.push(Text("TAG OK done\r\n".into()));
        parts
    };
    let scripted =
        Script::imap(&[]).on("", move |heard| Step::Say(said(answer(&heard.text), manner))).start();
    Server { scripted, inbox, archive }
}

/// Checks that messages arrive whole, and are archived once.
fn is_read(manner: Manner) {
    for capabilities in ["MOVE UIDPLUS", "UIDPLUS"] {
        let Server { scripted, inbox, archive } = server(capabilities, manner);
        let imap = imap(&scripted);
        let batch = imap.fetch().unwrap();
        let read = |it: &pymail::Delivery| (it.uid().get(), it.message().unwrap().text_lossy().into_owned());
        let all: Vec<_> = batch.iter().map(read).collect();
        assert_eq!(all, [101, 102, 103].map(|uid| (uid, "hello".to_owned())), "{capabilities}");
        batch.ack().unwrap();
        assert_eq!(
            (inbox.lock().unwrap().len(), &*archive.lock().unwrap()),
            (0, &vec![1, 2, 3]),
            "{capabilities}"
        );
        assert!(imap.fetch().unwrap().is_empty());
        assert_eq!(scripted.connections(), 1, "{capabilities}");
        imap.close().unwrap();
    }
}

#[rstest]
#[case::lower_case(text(|text| text.replace("TAG", "tag").to_lowercase().replace("tag", "TAG")))]
#[case::blanks_too_many(text(|text| text.replace(' ', "   ").replace('(', "( ").replace(')', " )")))]
#[case::tabs(text(|text| text.replace(' ', "\t")))]
#[case::blanks_at_the_ends_of_lines(text(|text| text.replace("\r\n", "  \r\n")))]
#[case::blanks_at_the_beginnings_of_lines(text(|text| format!(" {text}")))]
#[case::line_feeds_alone(text(|text| text.replace("\r\n", "\n")))]
#[case::no_text_behind_ok(text(|text| text.replace(" done", "").replace(" ready", "").replace(" life", "")))]
#[case::brackets_in_texts(text(|text| text.replace(" done", " done [in 3 ms] {9}").replace(" life", " [x] {7}")))]
#[case::octets_beyond_ascii(text(|text| text.replace(" done", " f\u{e4}rdig \0").replace(" life", " \u{fffd}")))]
#[case::no_blank_before_brackets(text(|text| text.replace("OK [", "OK[").replace("FETCH (", "FETCH(").replace("BODY[]<0> {", "BODY[]<0>{")))]
#[case::without_ok_before_copyuid(text(|text| text.replace("* OK [COPYUID", "[COPYUID")))]
#[case::blank_lines(text(|text| if text.ends_with("}\r\n") { text.into() } else { text.replace("\r\n", "\r\n\r\n") }))]
#[case::blank_lines_behind_literals(text(|text| if text.starts_with(')') { format!("\r\n\r\n{text}") } else { text.into() }))]
#[case::literals_without_waiting(text(|text| text.replace("}\r\n", "+}\r\n")))]
#[case::literals_of_octets(text(|text| text.replace('{', "~{")))]
fn responses_are_parsed_in_any_spelling(#[case] manner: Manner) {
    is_read(manner);
}

#[rstest]
#[case::flags_that_change("* 2 FETCH (FLAGS (\\Seen))\r\n* 2 FETCH (UID 102 FLAGS (\\Seen))\r\n")]
#[case::mail_that_comes_and_goes("* 4 EXISTS\r\n* 1 RECENT\r\n* 4 EXPUNGE\r\n* VANISHED 4\r\n")]
#[case::vendors_own(
    "* XWHATEVER (x \"y) {z\r\n* X-GM-9.a\r\n* 7 XNUMBERED\r\n* OK\r\n* NO [ALERT] look {3}\r\n* BAD what\r\n"
)]
#[case::unsolicited_responses(
    "* FLAGS (\\Seen)\r\n* LIST () \"/\" {5}\r\nother\r\n* STATUS \"x\" (MESSAGES 5)\r\n* ok [unseen 1]\r\n"
)]
#[case::continuations("+\r\n+ \r\n+ go ahead\r\n")]
fn unsolicited_responses_are_ignored_wherever_they_come(#[case] lines: &'static str) {
    is_read(before(lines));
}

#[rstest]
#[case::another_order(mails(|uid, mail| around(uid, mail, "FETCH (BODY[] {}", " SIZE UID FLAGS (\\Seen))")))]
#[case::some_behind_without_a_blank(mails(|uid, mail| around(uid, mail, "FETCH (BODY[] {}", "UID FLAGS (\\Seen) SIZE)")))]
#[case::what_was_not_asked_for(mails(|uid, mail| {
    let head = "FETCH (ENVELOPE (\"x\" NIL ((\"a\" \")\" \"b\\\"\" \"c\"))) MODSEQ (7) X-GM-LABELS (\"\\\\Inbox\" [x]) UID SIZE BODY[]<0> {}";
    around(uid, mail, head, " INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" EMAILID (M6d))")
}))]
#[case::parentheses_too_many(mails(|uid, mail| around(uid, mail, "FETCH (UID (FLAGS ()) (SIZE) BODY[] {}", ")")))]
#[case::other_names_of_it(mails(|uid, mail| around(uid, mail, "FETCH (UID FLAGS () SIZE BODY.PEEK[] {}", ")")))]
#[case::as_rfc822(mails(|uid, mail| around(uid, mail, "FETCH (UID FLAGS () SIZE RFC822 {}", ")")))]
#[case::blanks_within_names(mails(|uid, mail| around(uid, mail, "FETCH ( UID FLAGS ( ) SIZE BODY [ ] < 0 > { {} }", " )").into_iter().map(|part| match part {
    Text(text) => Text(text.replace("{ {", "{ ").replace("} }", " }")),
    literal @ Literal(_) => literal,
}).collect()))]
#[case::no_size(mails(|uid, mail| around(uid, mail, "FETCH (UID FLAGS () BODY[]<0> {}", ")")))]
#[case::the_same_twice(mails(|uid, mail| around(uid, mail, "FETCH (UID SIZE BODY[]<0> {}", " UID FLAGS () SIZE)")))]
fn attributes_come_in_any_order_and_shape(#[case] manner: Manner) {
    is_read(manner);
}

#[rstest]
#[case::by_uid(mails(|uid, mail| {
    let mut parts = vec![Text(format!("* {uid} FETCH (UID 10{uid} FLAGS () RFC822.SIZE {})\r\n", mail.len()))];
    parts.extend(around(uid, mail, "FETCH (UID BODY[] {}", ")"));
    parts
}))]
#[case::by_sequence_number(mails(|uid, mail| {
    let mut parts = vec![Text(format!("* {uid} FETCH (UID 10{uid})\r\n")), Text(format!("* {uid} FETCH (FLAGS ())\r\n"))];
    parts.extend(around(uid, mail, "FETCH (BODY[] {}", ")"));
    parts.push(Text(format!("* {uid} FETCH (RFC822.SIZE {})\r\n", mail.len())));
    parts
}))]
#[case::the_mail_first(mails(|uid, mail| {
    let mut parts = around(uid, mail, "FETCH (BODY[] {}", ")");
    parts.push(Text(format!("* {uid} FETCH (FLAGS () RFC822.SIZE {})\r\n* {uid} FETCH (UID 10{uid})\r\n", mail.len())));
    parts
}))]
fn attributes_of_one_mail_come_in_several_responses(#[case] manner: Manner) {
    is_read(manner);
}

/// Behind an EXPUNGE, a sequence number is another mail's.
#[rstest]
fn an_expunge_between_them_puts_no_two_mails_together() {
    let body = mail(2, "hello");
    let answer = format!(
        "* 2 FETCH (UID 102 FLAGS () RFC822.SIZE {0})\r\n* 1 EXPUNGE\r\n* 2 FETCH (BODY[] {{{0}}}\r\n{body})\r\nTAG OK done\r\n",
        body.len()
    );
    let server = Script::imap(&["UIDPLUS"])
        .says("UID SEARCH", "* SEARCH 102 103\r\nTAG OK done\r\n")
        .says("UID FETCH", answer)
        .start();
    let imap = Imap::connect(imap_config(&server).dedup_window(0)).unwrap();
    let delivered = imap.fetch().map(|batch| batch.len());
    assert!(!matches!(delivered, Ok(1..)), "{delivered:?}");
}

#[rstest]
#[case::several_lines("* SEARCH 101\r\n* SEARCH\r\n* search 102  103 \r\n")]
#[case::with_a_modseq("* SEARCH 101 102 103 (MODSEQ 7)\r\n")]
#[case::extended("* esearch (tag \"x\")  uid   all  101:102 , 103\r\n")]
#[case::extended_with_more("* ESEARCH (TAG \"x\") UID MIN 101 MAX 103 ALL 103:101 COUNT 3\r\n")]
fn a_search_result_is_parsed_in_any_spelling(#[case] lines: &str) {
    let server = Script::imap(&[]).says("UID SEARCH", format!("{lines}TAG OK done\r\n")).start();
    let found: Vec<u32> = imap(&server).search("ALL").unwrap().iter().map(pymail::Uid::get).collect();
    assert_eq!(found, [101, 102, 103]);
}

#[rstest]
#[case("* SEARCH\r\n")]
#[case("* SEARCH \r\n")]
#[case("* ESEARCH (TAG \"x\") UID\r\n")]
#[case("")]
fn a_search_that_finds_nothing_may_say_so_in_any_way(#[case] lines: &str) {
    let server = Script::imap(&[]).says("UID SEARCH", format!("{lines}TAG OK\r\n")).start();
    assert!(imap(&server).search("ALL").unwrap().is_empty());
}

#[rstest]
#[case("TAG NO [overquota] full", Some("OVERQUOTA"))]
#[case("TAG  no  [ OverQuota ]", Some("OVERQUOTA"))]
#[case("TAG NO", None)]
#[case("TAG NO see [example.test] for help", None)]
#[case("TAG bad", Some("BAD"))]
fn a_refusal_and_its_code_are_read_in_any_case(#[case] answer: &str, #[case] code: Option<&str>) {
    let server = Script::imap(&[]).says("UID SEARCH", format!("{answer}\r\n")).start();
    let error = imap(&server).search("ALL").unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Refused, code));
}

/// Text in place of a mail's end may be the rest of the mail.
#[rstest]
#[case::a_word_and_a_number("Invoice 4711")]
#[case::two_words("the end")]
#[case::in_parentheses("(see above)")]
#[case::another_uid("\r\nUID 5")]
fn of_a_mail_that_is_longer_than_announced_nothing_is_cut_off(#[case] end: &str) {
    let body = mail(1, &format!("hello {end}"));
    let announced = body.len() - end.len();
    let answer = format!("* 1 FETCH (UID 1 FLAGS () BODY[]<0> {{{announced}}}\r\n{body})\r\nTAG OK done\r\n");
    let server = Script::imap(&["UIDPLUS"])
        .says("UID SEARCH", "* SEARCH 1\r\nTAG OK done\r\n")
        .says("UID FETCH", answer)
        .start();
    let delivered = Imap::connect(imap_config(&server).dedup_window(0)).unwrap().fetch();
    let has_any = |batch: &Batch| batch.iter().any(|delivery| delivery.message().is_ok());
    assert!(!delivered.as_ref().is_ok_and(has_any), "{delivered:?}");
}

#[rstest]
#[case::in_two_responses("* CAPABILITY IMAP4rev1\r\n* CAPABILITY move uidplus\r\nTAG OK done\r\n")]
#[case::of_rev2_alone("* CAPABILITY IMAP4rev2 MOVE UIDPLUS\r\nTAG OK done\r\n")]
fn capabilities_are_parsed_in_any_spelling(#[case] answer: &str) {
    let server = Script::imap(&[])
        .says("CAPABILITY", answer)
        .says("UID SEARCH", "* SEARCH 1\r\nTAG OK done\r\n")
        .says("UID MOVE", "* OK [COPYUID 9 1 1] moved\r\nTAG OK done\r\n")
        .start();
    let imap = imap(&server);
    imap.move_to(&imap.search("ALL").unwrap(), "done").unwrap();
    assert_eq!(server.heard("UID MOVE"), ["UID MOVE 1 \"done\""]);
}
