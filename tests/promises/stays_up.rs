//! Stays up: a connection is kept alive, and a lost one is noticed and replaced.

use std::time::Duration;

use pymail::{ErrorKind, Imap, ImapConfig, Smtp, SmtpConfig, State};
use rstest::rstest;
use rstest_reuse::apply;

use crate::fixtures::{dovecot, every_site, postfix};
use crate::mail_site::{Ports, Site, TAG, message};
use crate::support::process::wait_until;
use crate::support::relay::Relay;

const SOON: Duration = Duration::from_millis(50);
const NEVER: Duration = Duration::from_secs(3_600);

/// Handles whose connections go through relays, which can cut them on any kind of server.
struct Wires {
    imap: Relay,
    smtp: Relay,
    site: Site,
}

impl Wires {
    fn to(site: Site) -> Self {
        let Ports { imap, smtp, .. } = site.ports();
        Self { imap: Relay::start("127.0.0.1", imap), smtp: Relay::start("127.0.0.1", smtp), site }
    }

    fn handles(&self, heartbeat: Duration) -> (Imap, Smtp) {
        let imap = self.site.imap_server().port(self.imap.port());
        let imap = ImapConfig::new(imap, self.site.credentials()).tag(TAG);
        let smtp = self.site.smtp_server().port(self.smtp.port());
        let smtp = SmtpConfig::new(smtp, self.site.smtp_credentials()).tag(TAG);
        let imap = Imap::connect(imap.heartbeat(heartbeat)).unwrap();
        (imap, Smtp::connect(smtp.heartbeat(heartbeat)).unwrap())
    }

    fn cut(&self) {
        self.imap.cut();
        self.smtp.cut();
    }
}

#[apply(every_site)]
fn a_verb_on_a_dead_connection_makes_a_new_one(#[case] site: Site) {
    let wires = Wires::to(site);
    let (imap, smtp) = wires.handles(NEVER);
    for id in ["1", "2", "3"] {
        wires.cut();
        assert!(smtp.send(&message(id, "a")).unwrap().all_accepted());
        wait_until("the message", || !imap.fetch().unwrap().is_empty());
        wires.cut();
        assert_eq!(imap.fetch_and_ack().unwrap()[0].message().unwrap().id, id);
    }
    wires.cut();
    imap.noop().unwrap();
    smtp.noop().unwrap();
}

#[apply(every_site)]
fn the_heartbeat_notices_a_dead_connection_and_replaces_it(#[case] site: Site) {
    let wires = Wires::to(site);
    let (imap, smtp) = wires.handles(SOON);
    assert_eq!((imap.status().state, smtp.status().state), (State::Connected, State::Connected));
    wires.cut();
    wait_until("both failures to show", || {
        imap.status().last_error.is_some() && smtp.status().last_error.is_some()
    });
    wait_until("both connections to be replaced", || {
        imap.status().state == State::Connected && smtp.status().state == State::Connected
    });
}

#[rstest]
fn while_the_server_is_away_verbs_say_so_and_when_it_is_back_they_go_on(
    dovecot: crate::support::dovecot::Dovecot,
) {
    let site = postfix(dovecot);
    let imap = Imap::connect(site.imap_config().heartbeat(NEVER)).unwrap();
    site.dovecot().stop();
    assert_eq!(imap.noop().unwrap_err().kind(), ErrorKind::Connect);
    assert_eq!(imap.status().state, State::Disconnected);
    site.dovecot().restart();
    imap.noop().unwrap();
    assert_eq!(imap.status().state, State::Connected);
}

#[rstest]
fn a_polite_goodbye_of_the_server_is_no_error_for_the_next_verb(#[from(postfix)] site: Site) {
    let imap = Imap::connect(site.imap_config().heartbeat(NEVER)).unwrap();
    site.dovecot().dismiss_all();
    imap.noop().unwrap();
}

#[apply(every_site)]
fn an_idle_connection_stays_usable_under_its_heartbeat(#[case] site: Site) {
    let imap = Imap::connect(site.imap_config().heartbeat(SOON)).unwrap();
    let smtp = Smtp::connect(site.smtp_config().heartbeat(SOON)).unwrap();
    for n in 0..20 {
        assert!(smtp.send(&message(&n.to_string(), "a")).unwrap().all_accepted());
    }
    let mut received = 0;
    wait_until("the messages, between heartbeats", || {
        received += imap.fetch_and_ack().unwrap().len();
        received == 20
    });
    let failures = [imap.status().last_error, smtp.status().last_error];
    assert!(failures.iter().all(Option::is_none), "{failures:?}");
}

/// Postfix takes 100 NOOPs in a row, Exim 10, and each logs more as an attack, which firewalls act upon.
#[apply(every_site)]
fn signs_of_life_are_never_too_many_for_a_server(#[case] site: Site) {
    let idle = Smtp::connect(site.smtp_config().heartbeat(Duration::from_millis(10))).unwrap();
    let asked = Smtp::connect(site.smtp_config().heartbeat(NEVER)).unwrap();
    for _ in 0..250 {
        asked.noop().unwrap();
    }
    wait_until("heartbeats", || idle.stats().reconnects >= 2);
    for smtp in [idle, asked] {
        let status = smtp.status();
        assert!(status.state == State::Connected && status.last_error.is_none(), "{status:?}");
        assert!(smtp.send(&message("1", "a")).unwrap().all_accepted());
        smtp.close().unwrap();
    }
    if let Some(postfix) = site.postfix() {
        assert!(!postfix.log().contains("too many"), "{}", postfix.log());
    }
}

#[apply(every_site)]
fn a_stopped_handle_says_so(#[case] site: Site) {
    let (imap, smtp) = (site.imap(), site.smtp());
    imap.close().unwrap();
    smtp.close().unwrap();
    assert_eq!(imap.clone().fetch().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(smtp.send(&message("1", "a")).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!((imap.status().state, smtp.status().state), (State::Closed, State::Closed));
    imap.close().unwrap();
}
