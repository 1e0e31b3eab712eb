//! Several messages in flight at once: by CHUNKING with PIPELINING, and on several connections.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::sync::Mutex;
use std::time::Duration;

use pymail::{Credentials, ErrorKind, Message, Receipt, Result, Server, Smtp, SmtpConfig, State};
use rstest::rstest;
use rstest_reuse::apply;

use crate::fixtures::{every_site, postfix};
use crate::mail_site::{ALICE, REFUSED, Site, TAG, message};
use crate::support::fault_proxy::{Fault, FaultProxy, Place, Plan, Protocol, Route, Security};
use crate::support::listening::connections;
use crate::support::process::wait_until;
use crate::support::relay::Relay;

const WINDOW: usize = 8;

fn messages(count: usize) -> Vec<Message> {
    (0..count).map(|n| message(&n.to_string(), format!("body {n}"))).collect()
}

/// Receives until all wanted ids are there; returns the number of deliveries of each id.
fn received(site: &Site, wanted: &[String]) -> BTreeMap<String, usize> {
    let imap = site.imap();
    let mut received = BTreeMap::new();
    wait_until("the messages", || {
        for delivery in imap.fetch_and_ack().unwrap() {
            *received.entry(delivery.into_message().unwrap().id).or_default() += 1;
        }
        wanted.iter().all(|id| received.contains_key(id))
    });
    received
}

fn once(ids: impl IntoIterator<Item = usize>) -> BTreeMap<String, usize> {
    ids.into_iter().map(|id| (id.to_string(), 1)).collect()
}

fn ids(ids: impl IntoIterator<Item = usize>) -> Vec<String> {
    ids.into_iter().map(|id| id.to_string()).collect()
}

fn through(relay: &Relay, site: &Site) -> SmtpConfig {
    SmtpConfig::new(site.smtp_server().port(relay.port()), site.smtp_credentials()).tag(TAG)
}

fn kind(outcome: &Result<Receipt>) -> Option<ErrorKind> {
    outcome.as_ref().err().map(pymail::Error::kind)
}

#[apply(every_site)]
fn messages_sent_in_one_flight_arrive_once_and_exactly(#[case] site: Site) {
    let smtp = Smtp::connect(site.smtp_config().window(WINDOW)).unwrap();
    let mut all = messages(50);
    // Bare dots, and a message that is too large for one write.
    all.push(message("50", ".\r\n..\r\n.\r\n"));
    all.push(message("51", vec![b'.'; 300_000]));
    all.push(message("52", "the last"));
    for receipt in smtp.send_all(&all) {
        assert!(receipt.unwrap().all_accepted());
    }
    let imap = site.imap();
    let mut received = BTreeMap::new();
    wait_until("the messages", || {
        for delivery in imap.fetch_and_ack().unwrap() {
            let Message { id, body, .. } = delivery.into_message().unwrap();
            assert!(received.insert(id, body).is_none(), "twice");
        }
        received.len() == all.len()
    });
    assert!(all.iter().all(|sent| received[&sent.id] == sent.body));
}

#[rstest]
fn a_flight_uses_bdat_in_place_of_data_and_rset_between_messages(#[from(postfix)] site: Site) {
    let commands_of_ten = |window| {
        let smtp = Smtp::connect(site.smtp_config().window(window)).unwrap();
        let before = smtp.stats().commands;
        assert!(smtp.send_all(&messages(10)).iter().all(Result::is_ok));
        smtp.stats().commands - before
    };
    // MAIL, RCPT, DATA and the end; MAIL, RCPT and BDAT, and RSET before all but the first.
    assert_eq!([commands_of_ten(1), commands_of_ten(WINDOW)], [40, 39]);
}

#[rstest]
fn a_refusal_within_a_flight_fails_only_its_message(#[from(postfix)] site: Site) {
    let smtp = Smtp::connect(site.smtp_config().window(WINDOW)).unwrap();
    let mut all = messages(40);
    for at in [0, 5, 6, 20, 39] {
        all[at].sent_to = vec![REFUSED.into()];
    }
    all[10].sent_to = vec![REFUSED.into(), ALICE.into()];
    let outcomes = smtp.send_all(&all);
    let refused: Vec<usize> = (0..40).filter(|&at| kind(&outcomes[at]) == Some(ErrorKind::Refused)).collect();
    assert_eq!(refused, [0, 5, 6, 20, 39], "{outcomes:?}");
    assert!(!outcomes[10].as_ref().unwrap().all_accepted());
    let sent: Vec<usize> = (0..40).filter(|&at| outcomes[at].is_ok()).collect();
    assert_eq!(sent.len(), 35, "{outcomes:?}");
    assert_eq!(received(&site, &ids(sent.clone())), once(sent));
}

#[rstest]
fn a_lost_connection_leaves_at_most_a_window_unknown_and_the_rest_is_sent_once(#[from(postfix)] site: Site) {
    let proxy = FaultProxy::start(&Route {
        protocol: Protocol::Smtp,
        security: Security::StartTls,
        to: site.ports().smtp,
        shown: &site.dovecot().issue(),
        trusted_pem: site.ca_pem(),
    });
    let server = site.smtp_server().port(proxy.port());
    let smtp = SmtpConfig::new(server, site.smtp_credentials()).tag(TAG).window(WINDOW);
    let smtp = Smtp::connect(smtp).unwrap();
    let all = messages(600);
    // The server has the message and others of its flight; the client gets no reply.
    proxy.plan(Plan::new(Place::answer_like("BDAT").nth(100), Fault::Close));
    let outcomes = smtp.send_all(&all);
    assert_eq!(proxy.hits(), 1);
    let count = |wanted| outcomes.iter().filter(|outcome| kind(outcome) == wanted).count();
    let unknown = count(Some(ErrorKind::OutcomeUnknown));
    assert!((1..=WINDOW).contains(&unknown), "{unknown}");
    assert_eq!((count(None) + unknown, smtp.stats().reconnects), (600, 1));
    let sent = ids((0..600).filter(|&at| outcomes[at].is_ok()));
    let received = received(&site, &sent);
    assert!(received.values().all(|&times| times == 1), "{received:?}");
}

#[rstest]
fn several_connections_share_the_messages(#[from(postfix)] site: Site) {
    let relay = Relay::start("127.0.0.1", site.ports().smtp);
    let smtp = Smtp::connect(through(&relay, &site).connections(4)).unwrap();
    let mut all = messages(200);
    all[77].sent_to = vec![REFUSED.into()];
    // Delays each connection until the others have begun.
    relay.stall(Duration::from_secs(8));
    let outcomes = smtp.send_all(&all);
    assert_eq!(kind(&outcomes[77]), Some(ErrorKind::Refused));
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 199);
    let sent = (0..200).filter(|&at| at != 77);
    assert_eq!(received(&site, &ids(sent.clone())), once(sent));
    // postfix/submission/smtpd[17]: 4F: client=localhost[127.0.0.1], ...
    let log = site.smtp_log();
    let servers =
        log.lines().filter(|line| line.contains("client=")).filter_map(|line| line.split(']').next());
    let servers: HashSet<&str> = servers.filter_map(|line| line.rsplit('[').next()).collect();
    assert_eq!(servers.len(), 4, "{servers:?}");
    smtp.close().unwrap();
    assert_eq!(smtp.status().state, State::Closed);
    assert_eq!(kind(&smtp.send(&all[0])), Some(ErrorKind::Closed));
}

#[rstest]
fn a_flight_on_a_closed_connection_is_sent_on_a_new_one(#[from(postfix)] site: Site) {
    let relay = Relay::start("127.0.0.1", site.ports().smtp);
    let smtp = Smtp::connect(through(&relay, &site).window(WINDOW)).unwrap();
    for round in 0..2 {
        let outcomes = smtp.send_all(&messages(3));
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(smtp.stats().reconnects, round);
        relay.cut();
    }
}

#[rstest]
fn without_a_server_every_message_of_several_connections_has_an_error(#[from(postfix)] site: Site) {
    let relay = Relay::start("127.0.0.1", site.ports().smtp);
    let smtp = Smtp::connect(through(&relay, &site).connections(2).max_connects_per_minute(1)).unwrap();
    relay.cut();
    let outcomes = smtp.send_all(&messages(250));
    assert_eq!(outcomes.len(), 250);
    assert!(outcomes.iter().all(|outcome| kind(outcome) == Some(ErrorKind::Connect)), "{outcomes:?}");
}

/// A server whose transaction stays open after a refused BDAT, and would take the next message's recipients into it.
fn lenient(listener: &TcpListener, taken: &Mutex<Vec<String>>) {
    for stream in connections(listener) {
        let (mut reader, mut writer) = (BufReader::new(stream.try_clone().unwrap()), stream);
        let (mut line, mut is_open, mut has_recipient) = (String::new(), false, false);
        writer.write_all(b"220 lenient\r\n").unwrap();
        while reader.read_line(&mut line).is_ok_and(|length| length > 0) {
            let size = line.strip_prefix("BDAT ").and_then(|rest| rest.split(' ').next());
            let answer = match (line.get(..4).unwrap_or_default(), size) {
                ("ehlo" | "EHLO", _) => "250-lenient\r\n250-PIPELINING\r\n250 CHUNKING\r\n",
                ("MAIL", _) if is_open => "503 nested\r\n",
                ("MAIL", _) => {
                    is_open = true;
                    "250 ok\r\n"
                }
                ("RCPT", _) if line.contains(REFUSED) => "550 no\r\n",
                ("RCPT", _) => {
                    has_recipient = true;
                    "250 ok\r\n"
                }
                (_, Some(size)) => {
                    let mut data = vec![0; size.parse().unwrap()];
                    reader.read_exact(&mut data).unwrap();
                    let is_for_recipient = std::mem::take(&mut has_recipient);
                    is_open &= !is_for_recipient;
                    if is_for_recipient {
                        taken.lock().unwrap().push(String::from_utf8(data).unwrap());
                        "250 taken\r\n"
                    } else {
                        "554 no recipient\r\n"
                    }
                }
                _ => {
                    (is_open, has_recipient) = (false, false);
                    "250 ok\r\n"
                }
            };
            writer.write_all(answer.as_bytes()).unwrap();
            line.clear();
        }
    }
}

#[test]
fn a_transaction_left_open_by_a_refused_message_is_reset() {
    static TAKEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::unencrypted("127.0.0.1").port(listener.local_addr().unwrap().port());
    std::thread::spawn(move || lenient(&listener, &TAKEN));
    let smtp = Smtp::connect(SmtpConfig::new(server, Credentials::none()).tag(TAG).window(WINDOW)).unwrap();
    let mut all = messages(4);
    all[0].sent_to = vec![REFUSED.into()];
    let outcomes = smtp.send_all(&all);
    let kinds: Vec<_> = outcomes.iter().map(kind).collect();
    assert_eq!(kinds, [Some(ErrorKind::Refused), None, None, None], "{outcomes:?}");
    let taken = TAKEN.lock().unwrap().clone();
    let times =
        |id: &str| taken.iter().filter(|data| data.contains(&format!("Subject: {TAG} {id}\r\n"))).count();
    assert_eq!(["0", "1", "2", "3"].map(times), [0, 1, 1, 1], "{taken:?}");
}

/// A server that refuses each BDAT before its octets have arrived, and closes the connection.
fn hasty(listener: &TcpListener, announced: &Mutex<Vec<String>>) {
    for stream in connections(listener) {
        let (mut reader, mut writer) = (BufReader::new(stream.try_clone().unwrap()), stream);
        let mut line = String::new();
        // Replies that Nagle's algorithm holds back would be lost with the connection.
        writer.set_nodelay(true).unwrap();
        writer.write_all(b"220 hasty\r\n").unwrap();
        while reader.read_line(&mut line).is_ok_and(|length| length > 0) {
            let answer = match line.get(..4).unwrap_or_default() {
                "ehlo" => "250-hasty\r\n250-PIPELINING\r\n250 CHUNKING\r\n",
                "BDAT" => "552 5.3.4 too big\r\n",
                _ => "250 ok\r\n",
            };
            writer.write_all(answer.as_bytes()).unwrap();
            if line.starts_with("BDAT") {
                announced.lock().unwrap().push(line);
                // To close a connection with octets that were not read is a reset, at which Windows drops the reply.
                if cfg!(windows) {
                    writer.shutdown(Shutdown::Write).unwrap();
                    let _ = io::copy(&mut reader, &mut io::sink());
                }
                break;
            }
            line.clear();
        }
    }
}

#[test]
fn a_refusal_before_the_data_is_reported_although_the_connection_is_closed() {
    static ANNOUNCED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::unencrypted("127.0.0.1").port(listener.local_addr().unwrap().port());
    std::thread::spawn(move || hasty(&listener, &ANNOUNCED));
    let smtp = Smtp::connect(SmtpConfig::new(server, Credentials::none()).tag(TAG).window(WINDOW)).unwrap();
    for n in 1..=3 {
        let error = smtp.send(&message("1", vec![b'a'; 30_000])).unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::TooLarge, Some("552")), "{error:?}");
        assert_eq!(ANNOUNCED.lock().unwrap().len(), n, "uploaded once");
    }
}

/// The small messages are still sent in flights.
#[rstest]
fn a_large_message_among_small_ones_is_sent_by_data(#[from(postfix)] site: Site) {
    let smtp = Smtp::connect(site.smtp_config().window(WINDOW)).unwrap();
    let mut all = messages(20);
    all[7].body = vec![b'a'; 1 << 20];
    all[19].body = vec![b'a'; 1 << 20];
    assert!(smtp.send_all(&all).iter().all(Result::is_ok));
    assert!(smtp.send(&message("20", "the last")).unwrap().all_accepted());
    let received = received(&site, &ids(0..21));
    assert_eq!(received, once(0..21));
}

/// Starts a server with CHUNKING that replies to MAIL as `mail` says, and to BDAT `250` or, for `None`, not at all: it hangs up.
/// Both get the number of the connection and of the message on it, from 1.
fn chunking(
    mail: impl Fn(usize, usize) -> &'static str + Send + 'static,
    end: impl Fn(usize, usize) -> Option<&'static str> + Send + 'static,
) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::unencrypted("127.0.0.1").port(listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for (connection, stream) in (1..).zip(connections(&listener)) {
            let (mut reader, mut writer) = (BufReader::new(stream.try_clone().unwrap()), stream);
            let (mut line, mut nth, mut is_open) = (String::new(), 0, false);
            writer.set_nodelay(true).unwrap();
            let mut answer = Some("220 chunking\r\n");
            while let Some(text) = answer {
                if writer.write_all(text.as_bytes()).is_err() {
                    break;
                }
                line.clear();
                if reader.read_line(&mut line).map_or(0, |length| length) == 0 {
                    break;
                }
                answer = Some(match line.get(..4).unwrap_or_default() {
                    "ehlo" => "250-chunking\r\n250-PIPELINING\r\n250 CHUNKING\r\n",
                    "MAIL" => {
                        nth += 1;
                        let answer = mail(connection, nth);
                        is_open = answer.starts_with('2');
                        answer
                    }
                    "BDAT" => {
                        let size = line.split(' ').nth(1).unwrap().parse().unwrap();
                        reader.read_exact(&mut vec![0; size]).unwrap();
                        match end(connection, nth) {
                            Some(answer) if is_open => answer,
                            Some(_) => "503 5.5.1 no transaction\r\n",
                            None => break,
                        }
                    }
                    _ if is_open || line.starts_with("RSET") => "250 ok\r\n",
                    _ => "503 5.5.1 no transaction\r\n",
                });
            }
        }
    });
    server
}

fn flying(server: Server) -> SmtpConfig {
    SmtpConfig::new(server, Credentials::none()).tag(TAG).window(WINDOW)
}

#[test]
fn messages_that_were_never_sent_are_not_unknown_when_sending_ends() {
    let server = chunking(|_, _| "250 ok\r\n", |_, _| None);
    let smtp = Smtp::connect(flying(server).resend_unknown(true)).unwrap();
    let outcomes = smtp.send_all(&messages(250));
    assert_eq!(kind(&outcomes[0]), Some(ErrorKind::OutcomeUnknown));
    let rest: Vec<_> = outcomes[100..].iter().map(kind).collect();
    assert_eq!(rest, [Some(ErrorKind::Disconnected); 150], "{:?}", outcomes[249]);
}

/// A server may hold back the replies to MAIL and RCPT until it has worked on the message, which it has received whole.
#[test]
fn in_a_flight_all_replies_to_a_message_may_come_as_late_as_the_final_one() {
    const TIMEOUT: Duration = Duration::from_secs(15);
    let late = |_, nth| {
        if nth == 2 {
            std::thread::sleep(TIMEOUT + Duration::from_millis(300));
        }
        "250 ok\r\n"
    };
    let smtp = Smtp::connect(flying(chunking(late, |_, _| Some("250 taken\r\n"))).timeout(TIMEOUT)).unwrap();
    for outcome in smtp.send_all(&messages(3)) {
        assert!(outcome.unwrap().all_accepted());
    }
    assert_eq!(smtp.stats().reconnects, 0);
}

#[test]
fn in_a_flight_a_server_that_takes_20_messages_a_session_gets_all_once() {
    let limit = "452 4.5.3 too many messages in this session\r\n";
    let server =
        chunking(move |_, nth| if nth > 20 { limit } else { "250 ok\r\n" }, |_, _| Some("250 taken\r\n"));
    let smtp = Smtp::connect(flying(server)).unwrap();
    let outcomes = smtp.send_all(&messages(100));
    assert!(outcomes.iter().all(Result::is_ok), "{:?}", outcomes.iter().find(|it| it.is_err()));
    assert_eq!(smtp.stats().reconnects, 4);
}

/// A server that wants no connection for a while says so once.
#[test]
fn in_a_flight_the_wait_that_the_server_asks_for_is_kept() {
    let busy = "421 4.7.0 try again in 300 seconds\r\n";
    let server =
        chunking(move |_, nth| if nth > 1 { busy } else { "250 ok\r\n" }, |_, _| Some("250 taken\r\n"));
    let smtp = Smtp::connect(flying(server)).unwrap();
    let outcomes = smtp.send_all(&messages(60));
    assert!(outcomes[0].is_ok() && outcomes[1..].iter().all(Result::is_err), "{outcomes:?}");
    assert_eq!(smtp.stats().reconnects, 0);
    assert_eq!(kind(&outcomes[1]), Some(ErrorKind::OutcomeUnknown));
    let last = outcomes[59].as_ref().unwrap_err();
    assert!(last.is_transient() && last.retry_after().is_some(), "{last:?}");
    assert_eq!(smtp.status().state, State::Throttled);
}

/// The surplus reply passes for one to RCPT, that for the one to BDAT, and the refusal for one to the next message's RSET.
#[test]
fn in_a_flight_a_refused_message_is_not_sent_by_a_surplus_reply() {
    let server = chunking(
        |connection, nth| {
            if (connection, nth) == (1, 2) { "250 ok\r\n250 surplus\r\n" } else { "250 ok\r\n" }
        },
        |connection, nth| {
            Some(if (connection, nth) == (1, 2) { "554 5.6.0 no\r\n" } else { "250 taken\r\n" })
        },
    );
    let outcomes = Smtp::connect(flying(server)).unwrap().send_all(&messages(4));
    assert!(outcomes[0].is_ok() && outcomes[1].is_err(), "{outcomes:?}");
}
