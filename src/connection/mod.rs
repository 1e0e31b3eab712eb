//! A supervised connection to one server: its lock, timeout, reconnection and heartbeat, for any protocol.
//!
//! A call takes the slot's lock, connects if there is no session, and runs its commands under the waiter. After an
//! error that ends the connection, the session is dropped; the next call, or the heartbeat, makes another one.
//!
//! # Locks
//!
//! | lock | guards | held |
//! | --- | --- | --- |
//! | `slot` | the session | for the whole of a call or a NOOP, and while a call connects; not while the heartbeat does |
//! | `status`, `traffic` | what `status()` and `stats()` return | for a copy: reading them never waits for a call |
//! | `heartbeat` | the heartbeat's registration | for taking it out |
//!
//! The app's connector is called within connecting: under the lock of the slot in a call, since other calls have no
//! connection before it, and under none in a heartbeat. Its provider of access tokens is asked on another thread, for
//! which a call waits likewise. Either gets an error at once when it uses its own handle.
//!
//! Each thread detaches from the interpreter before it waits for a lock: the holder needs the interpreter to end its
//! call. Events wait until the locks are released, since a subscriber may call the handle.
//!
//! # Repeating
//!
//! | work | a session found lost before | lost meanwhile, `Disconnected` | any other error |
//! | --- | --- | --- | --- |
//! | [`repeat`](Connection::repeat): reads, and commands that do nothing when repeated | is replaced | runs once more | is returned |
//! | [`once`](Connection::once): commands that could do something twice | is replaced | is returned | is returned |
//!
//! A `Timeout` is never repeated: the call has no time left.

mod arrivals;
mod keep_alive;
mod latency;
#[cfg(feature = "metrics")]
mod metrics;
mod push;
mod reconnect_limiter;
mod session;
mod status;
#[cfg(test)]
mod tests;
mod traffic;
#[cfg(feature = "async")]
mod waiting;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use self::arrivals::Arrivals;
pub(crate) use self::arrivals::Woken;
pub use self::latency::Latency;
use self::reconnect_limiter::ReconnectLimiter;
pub(crate) use self::session::{Session, SessionHooks};
pub use self::status::{Push, State, Stats, Status};
pub(crate) use self::traffic::Traffic;
use self::traffic::TrafficCounter;
#[cfg(feature = "async")]
pub(crate) use self::waiting::Waiting;
use crate::config::ConnectionOptions;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::events;
use crate::waiter::Heartbeat;

/// The longest that LOGOUT or QUIT may take, where a call may take longer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// One connection to a server, made anew when it is lost.
///
/// Clones share it; the last one closes it. Calls take turns.
pub(crate) struct Connection<S: Session>(Arc<CloseOnDrop<S>>);

/// Closes the connection when the last [`Connection`] is dropped.
///
/// The heartbeat holds [`Shared`] alone, and weakly, so that it does not keep the connection open.
struct CloseOnDrop<S: Session> {
    shared: Arc<Shared<S>>,
    heartbeat: Mutex<Option<Heartbeat>>,
}

/// The state that calls and the heartbeat share.
struct Shared<S: Session> {
    hooks: SessionHooks<S>,
    options: ConnectionOptions,
    /// `true` after `close` was called; read without the slot's lock, so that no call begins while `close` waits for
    /// it.
    closing: AtomicBool,
    /// `true` while the heartbeat connects, without the slot's lock. `close` does not wait for such a beat, which finds
    /// the handle closed afterwards and drops its session.
    connecting: AtomicBool,
    slot: Mutex<SessionSlot<S>>,
    arrivals: Arrivals,
    status: Mutex<Status>,
    traffic: Arc<Mutex<TrafficCounter>>,
}

/// The current session, if there is one, and the state that decides when to replace it.
struct SessionSlot<S> {
    session: Option<S>,
    /// The error that every further call returns: set by `close`, and when the server refuses the credentials for good.
    /// The same password again could lock the account.
    ended: Option<Error>,
    /// The end of the last call, from which an idle interval is counted.
    last_call: Instant,
    /// The end of the last NOOP. On a shared mailbox, whose NOOPs renew the lease, this alone counts.
    last_noop: Instant,
    /// The last time that the server has sent anything.
    last_heard: Instant,
    /// The begin of IDLE.
    listening_since: Instant,
    /// `true` if IDLE was not renewed since a call.
    needs_second_look: bool,
    /// The deadline of the last call, by which the steps of one verb are told from those of the next.
    last_deadline: Option<Deadline>,
    limiter: ReconnectLimiter,
}

impl<S: Session> Clone for Connection<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Session> Connection<S> {
    /// Connects and starts the heartbeat.
    ///
    /// # Errors
    /// Those of the connect hook, unchanged: the first attempt is not repeated, but for a refused access token, and no
    /// heartbeat goes on after it.
    /// `Runtime` when the heartbeat's thread can't be started.
    pub(crate) fn open(
        options: ConnectionOptions,
        hooks: SessionHooks<S>,
        deadline: Deadline,
    ) -> Result<Self> {
        let mut limiter = ReconnectLimiter::new(options);
        limiter.admit(Instant::now())?;
        let connect = || hooks.connect(deadline, || limiter.admit(Instant::now()));
        let session = S::detached(|| events::deferred(connect))?;
        let now = Instant::now();
        let traffic = Arc::new(Mutex::new(TrafficCounter::new(session.traffic())));
        #[cfg(feature = "metrics")]
        metrics::begin(&traffic, &hooks.server);
        let slot = SessionSlot {
            session: Some(session),
            ended: None,
            last_call: now,
            last_noop: now,
            last_heard: now,
            listening_since: now,
            needs_second_look: false,
            last_deadline: None,
            limiter,
        };
        let shared = Arc::new(Shared {
            hooks,
            options,
            closing: AtomicBool::new(false),
            connecting: AtomicBool::new(false),
            slot: Mutex::new(slot),
            arrivals: Arrivals::new(),
            status: Mutex::new(Status::connected()),
            traffic,
        });
        let heartbeat =
            Heartbeat::start(options.heartbeat, shared.hooks.server.hashed(), Arc::downgrade(&shared))?;
        Ok(Self(Arc::new(CloseOnDrop { shared, heartbeat: Mutex::new(Some(heartbeat)) })))
    }

    /// Returns the deadline of a call that begins now.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::of_call(self.0.shared.options.timeout)
    }

    /// Runs `work` on the session; when the connection turns out lost, runs it once more on a new one.
    ///
    /// Both runs share the deadline. A session that is used up is replaced first.
    ///
    /// # Errors
    /// As `work` and the connect hook; `Timeout` when another call holds the connection until the deadline.
    pub(crate) fn repeat<T: Send>(
        &self,
        deadline: Deadline,
        mut work: impl FnMut(&mut S) -> Result<T> + Send,
    ) -> Result<T> {
        self.locked(deadline, |shared, slot| {
            shared.close_used_up(slot);
            match shared.run(slot, deadline, &mut work) {
                Err(error) if error.kind() == ErrorKind::Disconnected => {
                    shared.run(slot, deadline, &mut work)
                }
                result => result,
            }
        })
    }

    /// Runs `work` on the session, on a new one if the old one is known to be lost. A loss meanwhile is returned.
    ///
    /// A server that has closed an idle connection is noticed only by the first command on it: such a loss is returned,
    /// too. Sending and fetching know what was done before the loss, and go on by a further call.
    ///
    /// # Errors
    /// As [`repeat`](Self::repeat).
    pub(crate) fn once<T: Send>(
        &self,
        deadline: Deadline,
        work: impl FnOnce(&mut S) -> Result<T> + Send,
    ) -> Result<T> {
        self.locked(deadline, |shared, slot| shared.run(slot, deadline, work))
    }

    /// Runs `call` under the slot's lock, for which it waits until the deadline, detached from the interpreter and with
    /// its events held back.
    ///
    /// # Errors
    /// As `call`; `Runtime` in a forked child, where another thread's lock is never released; `Timeout` for the lock.
    fn locked<T: Send>(
        &self,
        deadline: Deadline,
        call: impl FnOnce(&Shared<S>, &mut SessionSlot<S>) -> Result<T> + Send,
    ) -> Result<T> {
        if S::is_forked() {
            return Err(Error::forked());
        }
        self.check_not_connecting()?;
        let locked = || {
            let slot = self.0.shared.slot.try_lock_until(deadline.at());
            let action = "waiting for another call on the connection";
            let mut slot = slot.ok_or_else(|| deadline.error(action))?;
            deadline.check(action)?; // A command without time would cost the connection.
            self.0.shared.renew_between_verbs(&mut slot, deadline);
            let was_listening = self.0.shared.stop_listening(&mut slot, deadline);
            let result = call(&self.0.shared, &mut slot);
            slot.last_call = Instant::now();
            drop(slot);
            // After IDLE the next beat may be minutes away: at its renewal.
            if was_listening || self.0.shared.arrivals.is_awaited() {
                self.wake_heartbeat();
            }
            result
        };
        S::detached(|| events::deferred(locked))
    }

    /// Lets a handle connect again whose account's owner has signed in again; without effect on others, but that a wait
    /// after a refused login ends.
    ///
    /// # Errors
    /// `Runtime` in a forked child.
    pub(crate) fn signed_in(&self) -> Result<()> {
        if S::is_forked() {
            return Err(Error::forked());
        }
        self.check_not_connecting()?;
        let shared = &self.0.shared;
        // Before the wait for the lock: a provider that is asked now does not know of it.
        shared.hooks.tokens.signed_in();
        S::detached(|| {
            let mut slot = shared.slot.lock();
            slot.limiter.forgive_refused_login();
            if slot.ended.take_if(|error| error.kind() == ErrorKind::SignInNeeded).is_some() {
                shared.status.lock().state = State::Disconnected;
            }
        });
        shared.arrivals.end(); // Those who pause go on.
        self.wake_heartbeat();
        Ok(())
    }

    /// Closes the connection and stops the heartbeat, for every clone.
    ///
    /// Waits for the call that is under way; calls that wait for their turn return `Closed`. LOGOUT or QUIT then takes
    /// at most [`CLOSE_TIMEOUT`], or the timeout if that is shorter.
    ///
    /// # Errors
    /// As LOGOUT or QUIT, after which the connection is closed all the same; none for a second `close`. `InvalidInput`
    /// within a provider of access tokens or a connector.
    pub(crate) fn close(&self) -> Result<()> {
        self.check_not_connecting()?;
        self.0.close()
    }

    /// Checks that this thread does not run a provider of access tokens, or a connector, for this connection: a call would
    /// wait for itself.
    ///
    /// # Errors
    /// `InvalidInput`.
    pub(crate) fn check_not_connecting(&self) -> Result<()> {
        if self.0.shared.hooks.run_app_code() {
            let text = "a provider of access tokens, or a connector, can't use the handle that it works for, but for \
                        status() and stats()";
            return Err(Error::invalid_input(text));
        }
        Ok(())
    }

    /// Returns a copy of the status. Never waits for a call.
    pub(crate) fn status(&self) -> Status {
        self.0.shared.status.lock().clone()
    }

    /// Returns the counts so far. Never waits for a call.
    pub(crate) fn stats(&self) -> Stats {
        self.0.shared.traffic.lock().stats()
    }

    /// Adds to the counts that a session does not keep itself.
    pub(crate) fn count(&self, count: impl FnOnce(&mut Stats)) {
        self.0.shared.tally(|traffic| count(traffic.counts()));
    }

    /// Counts the time from an announcement to its delivery.
    pub(crate) fn count_latency(&self, latency: Duration) {
        self.count(|counts| counts.push_latency.add(latency));
        #[cfg(feature = "metrics")]
        metrics::add_latency(&self.0.shared.traffic, latency);
    }

    /// Records a failure that no call returns, as the status's last error.
    pub(crate) fn note(&self, error: &Error) {
        self.0.shared.note(error);
    }
}

impl<S: Session> CloseOnDrop<S> {
    /// Closes the connection; see [`Connection::close`].
    fn close(&self) -> Result<()> {
        if S::is_forked() {
            return Err(Error::forked());
        }
        self.shared.closing.store(true, Ordering::SeqCst);
        S::detached(|| events::deferred(|| self.end()))
    }

    /// Takes the session and the heartbeat out, and ends both.
    fn end(&self) -> Result<()> {
        let session = {
            let mut slot = self.shared.slot.lock();
            slot.ended = Some(closed());
            self.shared.status.lock().state = State::Closed;
            slot.session.take()
        };
        #[cfg(feature = "metrics")]
        metrics::end(&self.shared.traffic);
        self.shared.arrivals.end();
        // Taken out before the wait: an event of the running beat may close the handle, too.
        let heartbeat = self.heartbeat.lock().take();
        if let Some(heartbeat) = heartbeat
            && !self.shared.connecting.load(Ordering::SeqCst)
        {
            heartbeat.stop();
        }
        session.map_or(Ok(()), |session| self.shared.close_session(session))
    }
}

/// Returns the error of calls on a closed handle.
fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the handle is closed")
}

impl<S: Session> Drop for CloseOnDrop<S> {
    fn drop(&mut self) {
        let _ = self.close(); // A drop has no caller to return the error to.
    }
}

/// Does not take the slot's lock, which a call may hold.
impl<S: Session> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("state", &self.status().state).finish_non_exhaustive()
    }
}

impl<S: Session> Shared<S> {
    /// Runs `work` on the current session, or a new one, with the deadline enforced by the waiter. One that listens goes
    /// on with it.
    ///
    /// An error that [ends the connection](Error::ends_connection) drops the session. So does a deadline that passes
    /// just after the work has succeeded: the socket is shut down.
    fn run<T>(
        &self,
        slot: &mut SessionSlot<S>,
        deadline: Deadline,
        work: impl FnOnce(&mut S) -> Result<T>,
    ) -> Result<T> {
        // Out of the slot: a panic drops it, since commands may be in flight then.
        let mut session = self.take_session(slot, deadline)?;
        let guard = session.watch(deadline);
        let ready = if session.is_listening() { Ok(()) } else { self.before_call(&mut session) };
        let result = guard.map_timeout(ready.and_then(|()| work(&mut session)), "waiting for the server");
        self.heard(slot, session.traffic());
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Refused) {
            self.tally(|traffic| traffic.counts().refused += 1);
        }
        match &result {
            Err(error) if error.ends_connection() => self.lose(slot, error),
            // The work succeeded just before the waiter shut the socket down.
            _ if guard.has_timed_out() => self.lose(slot, &deadline.error("the last command")),
            result => {
                if let Err(error) = result
                    && error.code() != Some("INUSE")
                {
                    // Exchange closes the connection behind such a refusal: the wait holds for the next one, too. Not
                    // that for other consumers of the mailbox.
                    slot.limiter.honor_retry_after(error, Instant::now());
                }
                slot.session = Some(session);
            }
        }
        result
    }

    /// Changes the counts; all changes are made here.
    fn tally<T>(&self, change: impl FnOnce(&mut TrafficCounter) -> T) -> T {
        let done = change(&mut self.traffic.lock());
        #[cfg(feature = "metrics")]
        metrics::publish(&self.traffic);
        done
    }

    /// Records the traffic, and the time if octets were received.
    fn heard(&self, slot: &mut SessionSlot<S>, traffic: Traffic) {
        if self.tally(|counter| counter.update(traffic)) {
            slot.last_heard = Instant::now();
            self.status.lock().last_heard = Some(SystemTime::now());
        }
    }

    /// Runs the hook that precedes each call. A refusal is recorded in the status and does not fail the call.
    fn before_call(&self, session: &mut S) -> Result<()> {
        match (self.hooks.before_call)(session) {
            Err(error) if !error.ends_connection() => {
                self.note(&error);
                Ok(())
            }
            result => result,
        }
    }

    /// Takes the session out of the slot, after connecting if there is none.
    ///
    /// # Errors
    /// That of connecting; the last one again when the limiter admits no attempt now; `Closed` after `close`; the
    /// refusal of the credentials after that; `Timeout` when no time is left to connect.
    fn take_session(&self, slot: &mut SessionSlot<S>, deadline: Deadline) -> Result<S> {
        if let Some(ended) = &slot.ended {
            return Err(ended.clone());
        }
        if self.closing.load(Ordering::SeqCst) {
            return Err(closed());
        }
        if slot.session.is_none() {
            deadline.check("connecting")?;
            slot.limiter.admit(Instant::now())?;
            let limiter = &mut slot.limiter;
            let connected = self.hooks.connect(deadline, || limiter.admit(Instant::now()));
            self.install(slot, connected)?;
        }
        slot.session.take().ok_or_else(|| Error::new(ErrorKind::Disconnected, "not connected"))
    }

    /// Closes a session that is used up, if a new one can be made now. Returns `true` if it did. A session whose server
    /// has seen too many NOOPs is better than none, so the limiter decides first.
    fn close_used_up(&self, slot: &mut SessionSlot<S>) -> bool {
        let due = slot.session.as_ref().is_some_and(S::is_used_up) && slot.limiter.has_room(Instant::now());
        if due && let Some(session) = slot.session.take() {
            let _ = self.close_session(session); // The session is gone either way.
        }
        due
    }

    /// Replaces a session whose access token ends soon, unless a verb is under way.
    fn renew_between_verbs(&self, slot: &mut SessionSlot<S>, deadline: Deadline) {
        let last = slot.last_deadline.replace(deadline);
        let is_under_way = last.is_some_and(|last| last.is_of_same_call(deadline));
        if is_under_way || slot.session.is_none() || !self.hooks.tokens.is_renewal_due() {
            return;
        }
        if self.admit_renewal(slot) {
            // A token server that does not answer leaves time for the call itself, and so does the old session.
            let limiter = &mut slot.limiter;
            let renewed = self.hooks.connect(deadline.share(3), || limiter.admit(Instant::now()));
            self.install_renewed(slot, renewed, deadline.share(3));
        }
    }

    /// Returns `true` if a session may be replaced now; else puts that off. A session is better than none, so half of a
    /// minute's connections are kept for calls.
    fn admit_renewal(&self, slot: &mut SessionSlot<S>) -> bool {
        let now = Instant::now();
        let is_admitted = slot.limiter.has_room(now) && slot.limiter.admit(now).is_ok();
        if !is_admitted {
            self.hooks.tokens.postpone_renewal(Duration::ZERO);
        }
        is_admitted
    }

    /// Puts a new session in the place of one whose access token ends soon. After a failure the old one stays, as long as
    /// the server lets it; but not when the account's owner must sign in again.
    fn install_renewed(&self, slot: &mut SessionSlot<S>, renewed: Result<S>, deadline: Deadline) {
        if slot.ended.is_some() {
            return; // Dropping the new session closes it.
        }
        match renewed {
            Ok(session) => {
                self.tally(|traffic| traffic.connected(session.traffic()));
                let old = slot.session.replace(session);
                slot.limiter.connected();
                self.status.lock().state = State::Connected;
                // Its claims and leases go on in the new session.
                let _ = old.map(|old| Self::leave(old, deadline));
                events::emit(|| tracing::info!("connected again, before the access token ends"));
            }
            Err(error) if self.is_sign_in_needed(&error) => self.lose(slot, &error),
            Err(error) => {
                let now = Instant::now();
                let error = slot.limiter.failed(error, now);
                self.hooks.tokens.postpone_renewal(slot.limiter.wait(now));
                self.note(&error);
                events::emit(move || {
                    tracing::warn!(error = %format!("{error:#}"), "no new session before the access token ends");
                });
            }
        }
    }

    /// Stores the outcome of an attempt to connect in the slot.
    ///
    /// # Errors
    /// That of the attempt, with the wait until the next one.
    fn install(&self, slot: &mut SessionSlot<S>, connected: Result<S>) -> Result<()> {
        if slot.ended.is_some() || slot.session.is_some() {
            return Ok(()); // Another thread was quicker; dropping the new session closes it.
        }
        match connected {
            Ok(session) => {
                self.tally(|traffic| traffic.connected(session.traffic()));
                slot.session = Some(session);
                slot.limiter.connected();
                self.status.lock().state = State::Connected;
                events::emit(|| tracing::info!("connected again"));
                Ok(())
            }
            Err(error) => {
                let error = slot.limiter.failed(error, Instant::now());
                self.lose(slot, &error);
                Err(error)
            }
        }
    }

    /// Drops the session: after an error its protocol state is unknown, so it is never used again. Sets the state that
    /// [`State`] draws.
    fn lose(&self, slot: &mut SessionSlot<S>, error: &Error) {
        let reason = error.clone();
        events::emit(move || tracing::warn!(error = %format!("{reason:#}"), "connection lost"));
        self.hooks.tokens.note_loss(error);
        slot.session = None;
        slot.limiter.honor_retry_after(error, Instant::now());
        let is_sign_in_needed = self.is_sign_in_needed(error);
        let is_end = is_sign_in_needed || error.is_wrong_credentials();
        if is_end && slot.ended.is_none() {
            slot.ended = Some(error.clone());
        }
        self.note(error);
        self.status.lock().state = match is_end {
            true if is_sign_in_needed => State::SignInNeeded,
            true => State::AuthFailed,
            false if slot.limiter.is_throttled() => State::Throttled,
            false => State::Disconnected,
        };
        if is_end {
            self.arrivals.end(); // Those who wait get the error.
        }
    }

    /// Returns `true` if the handle rests after this error. The heartbeat may have got it before a sign-in, and waited
    /// for the lock since.
    fn is_sign_in_needed(&self, error: &Error) -> bool {
        error.kind() == ErrorKind::SignInNeeded && self.hooks.tokens.is_grant_gone()
    }

    /// Sends LOGOUT or QUIT and closes the session, after the hook that leaves it: a shared mailbox's claims are
    /// released, within the same timeout.
    fn close_session(&self, session: S) -> Result<()> {
        let deadline = Deadline::after(CLOSE_TIMEOUT.min(self.options.timeout));
        Self::leave_after(session, deadline, &self.hooks.before_close)
    }

    /// Sends LOGOUT or QUIT, and closes a session that another one has replaced.
    fn leave(session: S, deadline: Deadline) -> Result<()> {
        Self::leave_after(session, Deadline::after(CLOSE_TIMEOUT.min(deadline.left())), |_| ())
    }

    fn leave_after(mut session: S, deadline: Deadline, before_close: impl Fn(&mut S)) -> Result<()> {
        let guard = session.watch(deadline);
        session.unpark();
        let _ = session.stop_listening(false); // A failure comes again at LOGOUT.
        before_close(&mut session);
        guard.map_timeout(session.close(), "closing the connection")
    }

    /// Records the last error.
    fn note(&self, error: &Error) {
        self.status.lock().last_error = Some(error.clone());
    }
}
