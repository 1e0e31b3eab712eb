//! The faults of the soak: connections are cut or stall, and servers die.

use std::thread;
use std::time::Duration;

use crate::random;
use crate::support::dovecot::Dovecot;
use crate::support::postfix::Postfix;
use crate::support::relay::Relay;

/// The targets of the faults.
pub struct Storm<'a> {
    /// The relays between each handle and its server.
    pub relays: &'a [Relay],
    /// The server that receives.
    pub dovecot: &'a Dovecot,
    /// The server that sends.
    pub postfix: &'a Postfix,
}

impl Storm<'_> {
    /// Strikes until it is over; returns the number of strikes.
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
            // No wait for the processes' ends, which take long on a busy machine.
            90..94 => self.dovecot.signal_all("KILL"),
            94..97 => self.dovecot.signal_all("TERM"),
            97..99 => self.postfix.kill_all(),
            _ => self.dovecot.restart(),
        }
    }
}
