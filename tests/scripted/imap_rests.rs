//! The rest of a large mail, whose beginning came with the previews.

use pymail::{Imap, ImapConfig};
use rstest::rstest;

use super::imap::{holding, mail};
use super::imap_config;
use crate::support::script::{Heard, Scripted, Step};

/// A server's response to a request for the rest of a mail, from this octet on.
type Rest = fn(mail: &str, from: usize) -> Step;

fn body() -> String {
    (0..30_000).map(|line| format!("{line:05}\r\n")).collect::<Vec<_>>().concat()
}

/// Returns the octet from which a FETCH requests a mail.
fn from(command: &str) -> usize {
    let from = command.split_once("BODY.PEEK[]<").and_then(|(_, rest)| rest.split('.').next()?.parse().ok());
    from.unwrap_or_default()
}

fn serve(rest: Rest) -> Scripted {
    let mails = [mail(1, "small"), mail(2, &body()), mail(3, "small")];
    let large = mails[1].clone();
    let script = holding(&["MOVE", "UIDPLUS"], &mails).ahead("UID FETCH", move |heard: &Heard| {
        match from(&heard.text) {
            0 => Step::Usual,
            from => rest(&large, from),
        }
    });
    script.start()
}

fn config(server: &Scripted) -> ImapConfig {
    imap_config(server).dedup_window(0)
}

fn response(section: &str, size: usize, octets: &str) -> Step {
    let length = octets.len();
    Step::Say(format!(
        "* 2 FETCH (UID 2 RFC822.SIZE {size} {section} {{{length}}}\r\n{octets})\r\nTAG OK done\r\n"
    ))
}

fn is_sent(mail: &str, from: usize) -> Step {
    response(&format!("BODY[]<{from}>"), mail.len(), &mail[from..])
}

fn is_the_whole_mail(mail: &str, _: usize) -> Step {
    response("BODY[]", mail.len(), mail)
}

fn is_unlabelled(mail: &str, from: usize) -> Step {
    response("BODY[]", mail.len(), &mail[from..])
}

fn is_of_another_place(mail: &str, from: usize) -> Step {
    response(&format!("BODY[]<{}>", from + 7), mail.len(), &mail[from + 7..])
}

fn is_too_short(mail: &str, from: usize) -> Step {
    response(&format!("BODY[]<{from}>"), mail.len(), &mail[from..mail.len() - 7])
}

fn has_another_size(mail: &str, from: usize) -> Step {
    response(&format!("BODY[]<{from}>"), mail.len() + 7, &mail[from..])
}

fn is_of_a_longer_mail(mail: &str, from: usize) -> Step {
    response(&format!("BODY[]<{from}>"), mail.len() + 7, &format!("{}changed", &mail[from..]))
}

fn is_the_whole_mail_cut(mail: &str, _: usize) -> Step {
    response("BODY[]", mail.len(), &mail[..mail.len() - 7])
}

fn is_unlabelled_and_comes_twice(mail: &str, from: usize) -> Step {
    let Step::Say(response) = is_unlabelled(mail, from) else { return Step::Usual };
    let fetch = response.strip_suffix("TAG OK done\r\n").unwrap_or_default();
    Step::Say(format!("{fetch}{response}"))
}

fn is_withheld(_: &str, _: usize) -> Step {
    Step::Say("TAG OK done\r\n".into())
}

fn is_refused(_: &str, _: usize) -> Step {
    Step::Say("TAG NO no parts of mails\r\n".into())
}

fn hangs_up(_: &str, _: usize) -> Step {
    Step::Close
}

fn hangs_up_within(mail: &str, from: usize) -> Step {
    let (octets, rest) = (&mail[from..mail.len() - 7], mail.len() - from);
    let size = mail.len();
    Step::SayAndClose(format!("* 2 FETCH (UID 2 RFC822.SIZE {size} BODY[]<{from}> {{{rest}}}\r\n{octets}"))
}

/// Fetches, checks that all mails came whole, and returns the number of FETCH commands, and of those for a rest.
fn fetch(imap: &Imap, server: &Scripted) -> (usize, usize) {
    let batch = imap.fetch().unwrap();
    let uids: Vec<u32> = batch.iter().map(|delivery| delivery.uid().get()).collect();
    assert_eq!(uids, [1, 2, 3]);
    let large = batch.iter().nth(1).unwrap().message().unwrap();
    assert!(large.text_lossy().replace("\r\n", "\n").trim_end() == body().replace("\r\n", "\n").trim_end());
    let commands = server.heard("UID FETCH");
    (commands.len(), commands.iter().filter(|command| from(command) > 0).count())
}

#[rstest]
#[case::is_sent(is_sent)]
#[case::is_the_whole_mail(is_the_whole_mail)]
fn only_the_rest_of_a_large_mail_is_requested(#[case] rest: Rest) {
    let server = serve(rest);
    let imap = Imap::connect(config(&server)).unwrap();
    assert_eq!(fetch(&imap, &server), (2, 1));
    assert_eq!(fetch(&imap, &server), (4, 2));
}

#[rstest]
#[case::is_unlabelled(is_unlabelled)]
#[case::is_of_another_place(is_of_another_place)]
#[case::is_too_short(is_too_short)]
#[case::has_another_size(has_another_size)]
#[case::is_of_a_longer_mail(is_of_a_longer_mail)]
#[case::is_the_whole_mail_cut(is_the_whole_mail_cut)]
#[case::is_unlabelled_and_comes_twice(is_unlabelled_and_comes_twice)]
#[case::is_withheld(is_withheld)]
#[case::is_refused(is_refused)]
#[case::hangs_up(hangs_up)]
#[case::hangs_up_within(hangs_up_within)]
fn a_mail_whose_rest_is_not_what_was_requested_is_fetched_whole_and_no_rest_is_requested_again(
    #[case] rest: Rest,
) {
    let server = serve(rest);
    let imap = Imap::connect(config(&server)).unwrap();
    let (_, rests) = fetch(&imap, &server);
    assert_eq!(rests, 1);
    assert_eq!(fetch(&imap, &server).1, 1);
}

#[test]
fn a_mail_that_is_expunged_before_its_rest_comes_is_none() {
    let mails = [mail(1, "small"), mail(2, &body()), mail(3, "small")];
    let server = holding(&["MOVE", "UIDPLUS"], &mails)
        .ahead("UID FETCH 2 ", |_| Step::say("TAG OK done\r\n"))
        .ahead("UID SEARCH UID 2", |_| Step::say("* SEARCH\r\nTAG OK done\r\n"))
        .start();
    let batch = Imap::connect(config(&server)).unwrap().fetch().unwrap();
    assert_eq!(batch.iter().map(|delivery| delivery.uid().get()).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(server.heard("UID FETCH 2 ").iter().filter(|command| from(command) > 0).count(), 1);
}
