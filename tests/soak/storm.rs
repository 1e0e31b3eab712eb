//! What goes wrong all the time: connections are cut or go silent, and servers die.

use std::thread;
use std::time::Duration;

use crate::random;
use crate::support::dovecot::Dovecot;
use crate::support::postfix::Postfix;
use crate::support::relay::Relay;

/// Where it strikes.
pub struct Storm<'a> {
    /// Between each handle and its server.
    pub relays: &'a [Relay],
    /// The server that receives.
    pub dovecot: &'a Dovecot,
    /// The server that sends.
    pub postfix: &'a Postfix,
}

impl Storm<'_> {
    /// Strikes until it is over; returns how often.
    pub fn rage(&self, is_over: impl Fn() -> bool) -> usize {
        let mut strikes = 0;
        while !is_over() {
            thread::park_timeout(Duration::from_millis(200 + random(1_500)));
            self.strike();
            strikes += 1;
        }
        strikes
    }

    fn strike(&self) {
        let relay = &self.relays[usize::try_from(random(self.relays.len() as u64)).unwrap_or(0)];
        match random(100) {
            0..70 => relay.cut(),
            70..90 => relay.stall(Duration::from_millis(500 + random(8_000))),
            // How long they take to go, on a busy machine, is not the storm's concern.
            90..94 => self.dovecot.strike_all("KILL"),
            94..97 => self.dovecot.strike_all("TERM"),
            97..99 => self.postfix.strike_all(),
            _ => self.dovecot.restart(),
        }
    }
}
