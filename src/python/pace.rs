//! The time that a server has to take a message, which grows with the message, and to reply to its end.
//!
//! ```text
//!  MAIL, RCPT, DATA ─▶ data ──────────────────────────▶ end of the data ─▶ next message
//!  the timeout         and a second for each 8 KiB       the reply's own
//!                      that the server has taken         limit; the timeout waits
//! ```
//!
//! RFC 5321, section 4.5.3.2, gives each block of the data 3 min and the final reply 10 min. A server that takes nothing
//! is given up after a timeout, however large the message is; one that takes less than [`RATE`] on the whole is, too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyTuple};

use crate::deadline::Deadline;
use crate::waiter::WatchedCommand;

/// The octets of a message that earn a second: 64 kbit/s.
const RATE: u64 = 8 << 10;

/// The limits of one call that sends.
pub(super) struct Pace {
    timeout: Duration,
    reply_timeout: Duration,
    command: Option<WatchedCommand>,
    state: Mutex<State>,
}

struct State {
    deadline: Deadline,
    /// The time that was left before the wait for a final reply; `None` outside of such a wait.
    left: Option<Duration>,
    is_reply_overdue: bool,
}

impl Pace {
    /// Makes the limits of a call; `command` is `None` without a socket.
    pub(super) fn new(
        deadline: Deadline,
        (timeout, reply_timeout): (Duration, Duration),
        command: Option<WatchedCommand>,
    ) -> Arc<Self> {
        let state = Mutex::new(State { deadline, left: None, is_reply_overdue: false });
        Arc::new(Self { timeout, reply_timeout, command, state })
    }

    /// Returns the function for Python, which returns the seconds that are left: of octets of a message that were sent;
    /// or of `None`, before the wait for a final reply and again after it.
    pub(super) fn for_python(self: &Arc<Self>, py: Python<'_>) -> PyResult<Py<PyCFunction>> {
        let pace = Arc::clone(self);
        let function = PyCFunction::new_closure(py, None, None, move |args: &Bound<'_, PyTuple>, _| {
            let (octets,): (Option<u64>,) = args.extract()?;
            // Attached: the waiter's lock is held for moments, and never by a thread that waits to attach.
            let left = octets.map_or_else(|| pace.final_reply(), |n| pace.sent(n));
            Ok::<_, PyErr>(left.as_secs_f64())
        });
        function.map(Bound::unbind)
    }

    /// Adds the time that octets of a message have earned; never more than a timeout is left.
    fn sent(&self, octets: u64) -> Duration {
        let mut state = self.state.lock();
        let earned = Duration::from_micros(octets.saturating_mul(1_000_000) / RATE);
        let at = (state.deadline.at() + earned).min(Instant::now() + self.timeout);
        self.move_to(&mut state, at)
    }

    /// Begins the wait for a final reply, or ends it and gives back the time that was left before.
    fn final_reply(&self) -> Duration {
        let mut state = self.state.lock();
        let allowed = if let Some(left) = state.left.take() {
            let has_timed_out = self.command.as_ref().is_some_and(WatchedCommand::has_timed_out);
            // Without time left, the timeout was over before the wait, and with it the connection.
            state.is_reply_overdue = has_timed_out && !left.is_zero();
            left
        } else {
            state.left = Some(state.deadline.left());
            self.reply_timeout
        };
        self.move_to(&mut state, Instant::now() + allowed)
    }

    fn move_to(&self, state: &mut State, at: Instant) -> Duration {
        state.deadline = state.deadline.moved_to(at);
        if let Some(command) = &self.command {
            command.move_to(at);
        }
        state.deadline.left()
    }

    /// Returns the deadline of what follows.
    pub(super) fn deadline(&self) -> Deadline {
        self.state.lock().deadline
    }

    /// Returns the limit of a final reply, if the server has not kept it.
    pub(super) fn overdue(&self) -> Option<Duration> {
        self.state.lock().is_reply_overdue.then_some(self.reply_timeout)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::waiter::Watched;

    const TIMEOUT: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3_600);

    /// Returns limits of which so much is left.
    fn pace(left: Duration) -> Arc<Pace> {
        let deadline = Deadline::after(TIMEOUT);
        Pace::new(deadline.moved_to(Instant::now() + left), (TIMEOUT, HOUR), None)
    }

    #[test]
    fn octets_earn_time_up_to_a_timeout() {
        let ten = Duration::from_secs(10);
        let earned = pace(ten).sent(20 * RATE);
        assert!(earned > Duration::from_secs(20) && earned <= Duration::from_secs(30), "{earned:?}");
        assert!(pace(ten).sent(u64::MAX) <= TIMEOUT);
        // An octet a minute is not enough.
        assert!(pace(ten).sent(1) <= ten + Duration::from_millis(1));
    }

    #[test]
    fn a_final_reply_has_a_limit_of_its_own_and_costs_nothing_of_the_timeout() {
        let pace = pace(TIMEOUT);
        assert!(pace.final_reply() > TIMEOUT);
        let left = pace.final_reply();
        assert!(left <= TIMEOUT && left > Duration::from_secs(50), "{left:?}");
        assert!(pace.deadline().left() <= TIMEOUT && pace.overdue().is_none());
    }

    #[test]
    fn a_timeout_before_the_wait_for_a_final_reply_is_not_that_replys() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_peer, watched) = (listener.accept().unwrap(), Watched::new(&client).unwrap());
        let deadline = Deadline::after(Duration::from_millis(1));
        let guard = watched.until(deadline);
        let _ = client.read(&mut [0]); // waits for the end
        let pace = Pace::new(deadline, (TIMEOUT, HOUR), guard.command());
        pace.final_reply();
        pace.final_reply();
        assert!(guard.has_timed_out() && pace.overdue().is_none());
    }
}
