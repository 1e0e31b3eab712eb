//! Each fault, with a client that sends exactly the lines of the test, on a real Dovecot.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use rstest::rstest;

use super::client::Plain;
use crate::fixtures::dovecot;
use crate::mail_site::ALICE;
use crate::support::dovecot::{Dovecot, PASSWORD};
use crate::support::fault_proxy::{Direction, Fault, FaultProxy, Place, Plan, Protocol, Route, Security};
use crate::support::process::{is_open, wait_until};

const BRIEFLY: Duration = Duration::from_millis(200);

/// Starts a proxy to Dovecot with this fault.
fn proxy(dovecot: &Dovecot, plans: impl IntoIterator<Item = Plan>) -> FaultProxy {
    let proxy = FaultProxy::start(&Route {
        protocol: Protocol::Imap,
        security: Security::StartTls,
        to: dovecot.imap_port(),
        shown: &dovecot.issue(),
        trusted_pem: dovecot.ca_pem(),
    });
    plans.into_iter().for_each(|plan| proxy.plan(plan));
    proxy
}

/// Returns a client after its first command, LOGIN.
fn logged_in(proxy: &FaultProxy) -> Plain {
    let mut client = Plain::to(proxy.port());
    client.hear("* OK").unwrap();
    client.say(&format!("a LOGIN {ALICE} {{{}+}}\r\n{PASSWORD}\r\n", PASSWORD.len()));
    client.hear("a OK").unwrap();
    client
}

/// Returns the same, with a fault that strikes once.
fn struck(dovecot: &Dovecot, place: Place, fault: Fault) -> (FaultProxy, Plain) {
    let proxy = proxy(dovecot, [Plan::new(place, fault)]);
    let client = logged_in(&proxy);
    (proxy, client)
}

/// Returns Dovecot's STATUS of a mailbox through a proxy without faults.
fn asked(dovecot: &Dovecot, command: &str) -> String {
    logged_in(&proxy(dovecot, [])).ask("z", command).unwrap()
}

/// Alice's one mail, as in the response to a FETCH.
fn planted(dovecot: &Dovecot) -> &'static str {
    dovecot.deliver(ALICE, b"Subject: 1\r\n\r\nhello\r\n");
    "BODY[] {38}\r\nReturn-Path: <>\r\nSubject: 1\r\n\r\nhello\r\n)\r\n"
}

#[rstest]
#[case::before_the_command(Place::command(2), "", false)]
#[case::before_its_end(Place::command_like("CREATE").at(13), "", false)]
#[case::before_the_answer(Place::answer_like("CREATE"), "", true)]
#[case::in_the_answer(Place::answer(2).at(4), "b OK", true)]
fn a_command_that_is_cut_off_never_happens_and_one_whose_answer_is_cut_off_does(
    dovecot: Dovecot,
    #[case] place: Place,
    #[case] heard: &str,
    #[case] happens: bool,
) {
    let (proxy, mut client) = struck(&dovecot, place, Fault::Close);
    client.say("b CREATE Made\r\n");
    assert_eq!((client.rest().unwrap().as_str(), proxy.hits()), (heard, 1));
    drop(proxy); // Dovecot has carried out its commands.
    assert_eq!(asked(&dovecot, "LIST \"\" Made").contains("* LIST"), happens);
}

#[rstest]
fn a_reset_is_seen_as_one(dovecot: Dovecot, #[values(Place::command(2), Place::answer(2))] place: Place) {
    let (proxy, mut client) = struck(&dovecot, place, Fault::Reset);
    assert_eq!(client.ask("b", "NOOP").unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(proxy.hits(), 1);
}

#[rstest]
fn silence_swallows_everything_and_keeps_the_connection(
    dovecot: Dovecot,
    #[values(Place::command(2), Place::answer(2), Place::accept())] place: Place,
) {
    let proxy = proxy(&dovecot, [Plan::new(place.clone(), Fault::Silence)]);
    let mut client = if place == Place::accept() { Plain::to(proxy.port()) } else { logged_in(&proxy) };
    client.patience(BRIEFLY);
    for _ in 0..2 {
        let kind = client.ask("b", "NOOP").unwrap_err().kind();
        assert!([ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&kind), "{kind:?}"); // the latter on Windows
    }
    wait_until("the fault", || proxy.hits() > 0);
    assert_eq!((proxy.hits(), proxy.open()), (1, 1));
    drop(proxy);
    assert_eq!(client.rest().unwrap(), "");
}

#[rstest]
fn a_delay_holds_back_and_loses_nothing(
    dovecot: Dovecot,
    #[values(Place::command(2), Place::answer(2).at(5))] place: Place,
) {
    let (proxy, mut client) = struck(&dovecot, place, Fault::Delay(BRIEFLY));
    let begin = Instant::now();
    assert!(client.ask("b", "NOOP").unwrap().starts_with("b OK"));
    assert!(begin.elapsed() >= BRIEFLY && proxy.hits() == 1);
    assert!(client.ask("c", "NOOP").unwrap().starts_with("c OK"));
    assert_eq!(proxy.hits(), 1, "once");
}

#[rstest]
fn a_drip_brings_every_byte_after_its_time(dovecot: Dovecot) {
    let every = Duration::from_millis(5);
    let (proxy, mut client) = struck(&dovecot, Place::answer(2), Fault::Drip(every));
    let begin = Instant::now();
    let answer = client.ask("b", "NOOP").unwrap();
    assert!(answer.starts_with("b OK") && proxy.hits() == 1);
    assert!(begin.elapsed() >= every * u32::try_from(answer.len() - 1).unwrap());
}

#[rstest]
#[case::cut(-3, false, ("{38}", "hell)"))]
#[case::lengthened(3, false, ("{38}", "hello\r\nxxx)"))]
#[case::cut_and_announced(-3, true, ("{35}", "hell)"))]
#[case::lengthened_and_announced(3, true, ("{41}", "hello\r\nxxx)"))]
fn a_literal_is_cut_or_lengthened(
    dovecot: Dovecot,
    #[case] by: isize,
    #[case] announced: bool,
    #[case] (length, end): (&str, &str),
) {
    let whole = planted(&dovecot);
    let (proxy, mut client) = struck(&dovecot, Place::answer(3), Fault::Literal { by, announced });
    client.ask("b", "SELECT INBOX").unwrap();
    assert_eq!(proxy.hits(), 0, "no literal yet");
    let expected = whole.replace("{38}", length).replace("hello\r\n)", end);
    for fetched in [expected.as_str(), whole] {
        let answer = client.ask("c", "FETCH 1 BODY.PEEK[]").unwrap();
        assert!(answer.contains(fetched), "{answer}");
    }
    assert_eq!(proxy.hits(), 1);
}

#[rstest]
fn unasked_lines_come_before_the_answer(dovecot: Dovecot) {
    let (proxy, mut client) =
        struck(&dovecot, Place::answer(2), Fault::Inject("* 3 FETCH (FLAGS ())\r\n".into()));
    assert!(client.ask("b", "NOOP").unwrap().starts_with("* 3 FETCH (FLAGS ())\r\nb OK"));
    assert!(client.ask("c", "NOOP").unwrap().starts_with("c OK"));
    assert_eq!(proxy.hits(), 1);
}

#[rstest]
fn a_goodbye_takes_the_answers_place(
    dovecot: Dovecot,
    #[values(Place::command(2), Place::answer(2))] place: Place,
) {
    let (proxy, mut client) = struck(&dovecot, place, Fault::bye());
    client.say("b NOOP\r\n");
    assert_eq!(client.rest().unwrap(), "* BYE going down\r\n");
    assert_eq!(proxy.hits(), 1);
}

#[rstest]
fn a_text_is_replaced_from_its_place_on(dovecot: Dovecot) {
    let (proxy, mut client) =
        struck(&dovecot, Place::answer(2), Fault::Replace("IDLE".into(), "LAZY".into()));
    assert!(client.ask("b", "NOOP").is_ok() && proxy.hits() == 0);
    let answer = client.ask("c", "CAPABILITY").unwrap();
    assert!(answer.contains(" LAZY ") && !answer.contains("IDLE") && proxy.hits() == 1, "{answer}");
}

#[rstest]
fn a_byte_of_a_direction_is_where_it_is(dovecot: Dovecot) {
    let proxy = proxy(&dovecot, [Plan::new(Place::byte(Direction::Down, 7), Fault::Close).on_connection(2)]);
    drop(logged_in(&proxy));
    assert_eq!(Plain::to(proxy.port()).rest().unwrap().len(), 7);
    let first = &proxy.exchanges()[1];
    assert_eq!(first.up, ("a LOGIN  {20+}\r\n\r\n".len() + ALICE.len() + PASSWORD.len()) as u64);
}

#[rstest]
fn a_fault_strikes_as_often_as_planned_and_counts_as_planned(dovecot: Dovecot) {
    let proxy = proxy(
        &dovecot,
        [
            Plan::new(Place::answer_like("NOOP"), Fault::Close).times(2),
            Plan::new(Place::answer_like("NOOP").nth(5), Fault::Close).over_all(),
        ],
    );
    // The fourth connection's first NOOP is the fifth of all.
    let come_back: Vec<bool> = (0..4)
        .map(|_| {
            let mut client = logged_in(&proxy);
            client.ask("b", "NOOP").is_ok() && client.ask("c", "NOOP").is_ok()
        })
        .collect();
    assert_eq!((come_back, proxy.hits()), (vec![false, false, true, false], 3));
    let mut client = logged_in(&proxy);
    assert!(client.ask("b", "NOOP").is_ok());
    assert_eq!(proxy.heard("NOOP").len(), 6);
}

#[rstest]
fn text_in_a_literal_that_resembles_commands_is_none(dovecot: Dovecot) {
    let proxy = proxy(&dovecot, []);
    let mut client = logged_in(&proxy);
    let mail = "Subject: 1\r\n\r\nb LOGOUT\r\nc {3}\r\n";
    client.say(&format!("b APPEND INBOX {{{}}}\r\n", mail.len()));
    client.hear("+").unwrap();
    client.say(&format!("{mail}\r\n"));
    client.hear("b OK").unwrap();
    client.say("c IDLE\r\n");
    client.hear("+").unwrap();
    client.say("DONE\r\n");
    client.hear("c OK").unwrap();
    client.ask("d", "SELECT INBOX").unwrap();
    let fetched = client.ask("e", "FETCH 1 BODY.PEEK[]").unwrap();
    assert!(fetched.contains(mail));
    let exchanges = proxy.exchanges();
    let said: Vec<&str> = exchanges.iter().map(|it| it.command.split(' ').next().unwrap()).collect();
    assert_eq!(said, ["", "LOGIN", "APPEND", "IDLE", "SELECT", "FETCH"]);
    assert_eq!(exchanges[5].down, fetched.len() as u64);
}

#[rstest]
fn a_command_ends_with_its_answer_when_its_literal_is_refused(dovecot: Dovecot) {
    let proxy = proxy(&dovecot, []);
    let mut client = logged_in(&proxy);
    let refused = client.ask("b", "APPEND nowhere {900}").unwrap();
    assert!(refused.starts_with("b NO [TRYCREATE]"), "{refused}");
    client.ask("c", "CREATE nowhere").unwrap();
    client.say("d APPEND nowhere {5}\r\n");
    client.hear("+").unwrap();
    client.say("hello\r\n");
    client.hear("d OK").unwrap();
    let exchanges = proxy.exchanges();
    let said: Vec<&str> = exchanges.iter().map(|it| it.command.split(' ').next().unwrap()).collect();
    assert_eq!(said, ["", "LOGIN", "APPEND", "CREATE", "APPEND"]);
}

#[rstest]
fn a_dropped_proxy_has_ended_its_connections_on_both_sides(dovecot: Dovecot) {
    let proxy = proxy(&dovecot, []);
    let port = proxy.port();
    let mut client = logged_in(&proxy);
    drop(proxy);
    assert_eq!(client.rest().unwrap(), "");
    // A program that another test starts at this time inherits the listener until it executes.
    wait_until("the end of the listener", || !is_open(port));
}
