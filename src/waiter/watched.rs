//! Shuts a socket down when a command overruns its deadline.
//!
//! A socket's own timeout begins again with each byte that arrives. The waiter shuts the socket down through a
//! duplicate of its descriptor, and wakes the thread that reads.

use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::{Beat, Due, Key, Waiter, failure};
use crate::deadline::Deadline;
use crate::error::{ErrorKind, Result};
use crate::socket::{WAKE_AGAIN, wake_waiting};

/// A command under way.
pub(super) struct Command {
    socket: Arc<TcpStream>,
    /// `true` after the waiter has shut the socket down.
    timed_out: AtomicBool,
    /// The place among the times that the waiter waits for; changed under its lock only.
    key: Mutex<Key>,
}

impl Command {
    /// Shuts the socket down, and wakes the thread that waits on it. Returns the time for the next wake-up, where the
    /// system needs more than one, until the command is no longer watched.
    pub(super) fn shut_down(&self, now: Instant) -> Option<Key> {
        self.timed_out.store(true, Ordering::SeqCst);
        let _ = self.socket.shutdown(Shutdown::Both); // The connection may be closed already.
        wake_waiting(&self.socket);
        let mut key = self.key.lock();
        key.0 = now + WAKE_AGAIN?;
        Some(*key)
    }
}

/// A socket whose commands can be watched.
///
/// Each command is watched by a [`Guard`] of its own; several may be alive at once.
pub(crate) struct Watched {
    socket: Arc<TcpStream>,
    waiter: Arc<Waiter>,
    /// `true` once the poller knows the socket.
    is_polled: AtomicBool,
}

impl Watched {
    /// Duplicates the socket's descriptor.
    pub(crate) fn new(socket: &TcpStream) -> Result<Self> {
        let socket =
            socket.try_clone().map_err(|e| failure("can't duplicate the socket for the waiter", e))?;
        Ok(Self { socket: Arc::new(socket), waiter: Waiter::shared()?, is_polled: AtomicBool::new(false) })
    }

    /// Shuts the socket down at the deadline, unless the guard is dropped before.
    pub(crate) fn until(&self, deadline: Deadline) -> Guard {
        let mut waits = self.waiter.queue.waits.lock();
        let key = (deadline.at(), waits.next_number());
        let command = Arc::new(Command {
            socket: Arc::clone(&self.socket),
            timed_out: AtomicBool::new(false),
            key: Mutex::new(key),
        });
        self.waiter.queue.add(&mut waits, key.0, key.1, Due::Command(Arc::clone(&command)));
        drop(waits);
        Guard { deadline, watched: Some(WatchedCommand { waiter: Arc::clone(&self.waiter), command }) }
    }

    /// Runs the heartbeat when octets arrive, or the connection ends; once, and at once if it has happened.
    ///
    /// # Errors
    /// `Runtime` when the system can't poll another socket.
    pub(crate) fn park(&self, Beat(number): Beat) -> Result<()> {
        let is_new = !self.is_polled.load(Ordering::SeqCst);
        self.waiter.park(&self.socket, number, is_new).map_err(|e| failure("can't poll the socket", e))?;
        self.is_polled.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Stops waiting for octets: those of a command's responses wake no heartbeat.
    pub(crate) fn unpark(&self) {
        if self.is_polled.load(Ordering::SeqCst) && self.waiter.is_of_this_process() {
            // A socket that the poller lost has no events either.
            let _ = self.waiter.queue.poller.modify(&self.socket, polling::Event::none(0));
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.is_polled.load(Ordering::SeqCst) && self.waiter.is_of_this_process() {
            // A socket that the poller does not know needs no deletion.
            let _ = self.waiter.queue.poller.delete(&self.socket);
        }
    }
}

/// A command, and the waiter that shuts its socket down.
#[derive(Clone)]
pub(crate) struct WatchedCommand {
    waiter: Arc<Waiter>,
    command: Arc<Command>,
}

impl WatchedCommand {
    /// Moves the deadline of the command; without effect once it has passed, and after the command's end.
    pub(crate) fn move_to(&self, at: Instant) {
        let mut waits = self.waiter.queue.waits.lock();
        let mut key = self.command.key.lock();
        if self.has_timed_out() {
            return;
        }
        if let Some(due) = waits.due.remove(&*key) {
            key.0 = at;
            self.waiter.queue.add(&mut waits, at, key.1, due);
        }
    }

    /// Returns `true` if the waiter has shut the socket down.
    pub(crate) fn has_timed_out(&self) -> bool {
        self.command.timed_out.load(Ordering::SeqCst)
    }

    /// Ends the watch.
    fn forget(&self) {
        let mut waits = self.waiter.queue.waits.lock();
        waits.due.remove(&*self.command.key.lock());
    }
}

/// A command under watch, until it is dropped.
pub(crate) struct Guard {
    deadline: Deadline,
    watched: Option<WatchedCommand>,
}

impl Guard {
    /// Returns a guard for a session without a socket.
    #[cfg(test)]
    pub(crate) fn none(deadline: Deadline) -> Self {
        Self { deadline, watched: None }
    }

    /// Returns `true` if the waiter has shut the socket down.
    pub(crate) fn has_timed_out(&self) -> bool {
        self.watched.as_ref().is_some_and(WatchedCommand::has_timed_out)
    }

    /// Returns the command, whose deadline can be moved; `None` for a session without a socket.
    pub(crate) fn command(&self) -> Option<WatchedCommand> {
        self.watched.clone()
    }

    /// Replaces an error that is due to the deadline by `Timeout` of the command that failed, by default of `action`.
    /// `OutcomeUnknown` and a refusal of the credentials stay: the caller must know of the first, and a wrong password
    /// must not be tried again.
    pub(crate) fn map_timeout<T>(&self, result: Result<T>, action: &str) -> Result<T> {
        match result {
            Err(error) if error.is_wrong_credentials() => Err(error),
            // The socket's own timeout ends at the deadline, too.
            Err(error)
                if (self.has_timed_out() && error.kind() != ErrorKind::OutcomeUnknown)
                    || (error.is_timeout() && error.action().is_some()) =>
            {
                let timeout = self.deadline.error(error.action().unwrap_or(action));
                Err(timeout.caused_by(error.without_action()))
            }
            result => result,
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(watched) = &self.watched {
            watched.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::error::Error;

    /// Returns both ends of a connection; the second one never sends.
    fn silent() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    /// Reads until the connection is shut down: then nothing comes, or on Windows an error of the cancelled read.
    fn waits_for_the_end(socket: &mut TcpStream) {
        let read = socket.read(&mut [0]);
        assert!(matches!(read, Ok(0)) || cfg!(windows) && read.is_err(), "{read:?}");
    }

    #[test]
    fn a_read_from_a_silent_peer_ends_at_the_deadline_and_not_before() {
        let (mut client, _peer) = silent();
        let watched = Watched::new(&client).unwrap();
        let began = Instant::now();
        let early = watched.until(Deadline::after(Duration::from_secs(3_600)));
        let guard = watched.until(Deadline::after(Duration::from_millis(50)));
        waits_for_the_end(&mut client);
        assert!(began.elapsed() >= Duration::from_millis(50));
        assert!(guard.has_timed_out() && !early.has_timed_out());
        let lost = Error::during(ErrorKind::Disconnected, "NOOP", "lost");
        let error = guard.map_timeout(Err::<(), _>(lost), "waiting for the server").unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::Timeout, "NOOP timed out after 0.05 s")
        );
        assert_eq!(format!("{error:#}"), "NOOP timed out after 0.05 s: lost");
    }

    #[test]
    fn a_command_that_was_in_time_leaves_its_connection_alone() {
        let (client, _peer) = silent();
        let watched = Watched::new(&client).unwrap();
        let guard = watched.until(Deadline::after(Duration::from_millis(1_900)));
        drop(guard);
        let (mut other, _other_peer) = silent();
        let other_watched = Watched::new(&other).unwrap();
        // The other command's deadline is later: once it has passed, the first one has, too.
        let later = other_watched.until(Deadline::after(Duration::from_secs(2)));
        waits_for_the_end(&mut other);
        assert!(later.has_timed_out());
        client.set_nonblocking(true).unwrap();
        assert_eq!((&client).read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_refusal_that_came_just_before_the_deadline_keeps_the_wait_and_ends_the_handle() {
        let (mut client, _peer) = silent();
        let watched = Watched::new(&client).unwrap();
        let guard = watched.until(Deadline::after(Duration::from_millis(1)));
        waits_for_the_end(&mut client);
        let mapped = |error| guard.map_timeout(Err::<(), _>(error), "logging in").unwrap_err();
        let wrong = mapped(Error::new(ErrorKind::Auth, "535").mark_wrong_credentials());
        assert!(wrong.kind() == ErrorKind::Auth && wrong.is_wrong_credentials(), "{wrong:?}");
        let minute = Some(Duration::from_secs(60));
        let busy = mapped(Error::new(ErrorKind::Refused, "wait").with_retry_after(minute));
        assert_eq!((busy.kind(), busy.retry_after()), (ErrorKind::Timeout, minute));
    }

    #[test]
    fn an_unknown_outcome_stays_unknown() {
        let (mut client, _peer) = silent();
        let watched = Watched::new(&client).unwrap();
        let guard = watched.until(Deadline::after(Duration::from_millis(1)));
        waits_for_the_end(&mut client);
        let result =
            guard.map_timeout(Err::<(), _>(Error::new(ErrorKind::OutcomeUnknown, "lost")), "sending");
        assert_eq!(result.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    }
}
