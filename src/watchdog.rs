//! One thread for the process that shuts a socket down when a command overruns its deadline.
//!
//! A socket's own timeout begins again with each byte that arrives. The watchdog shuts the socket down through a
//! duplicate of its descriptor, which wakes the thread that reads.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};

/// The watchdog of this process, dropped with the last connection.
static SHARED: Mutex<Weak<Watchdog>> = Mutex::new(Weak::new());

/// Owns the thread, and ends it when dropped.
struct Watchdog {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
    /// The process that has the thread: a forked child has none.
    process: u32,
}

/// The commands under way, and the signal that the first deadline has changed.
#[derive(Default)]
struct Queue {
    due: Mutex<Due>,
    changed: Condvar,
}

/// The commands under way by their deadlines.
#[derive(Default)]
struct Due {
    commands: BTreeMap<Key, Arc<Command>>,
    last: u64,
    /// The moment at which the thread wakes up by itself.
    wakes_at: Option<Instant>,
    ended: bool,
}

/// A command's deadline, and a number that tells it from others of the same deadline.
type Key = (Instant, u64);

/// A command under way.
struct Command {
    socket: Arc<TcpStream>,
    /// `true` after the watchdog has shut the socket down.
    timed_out: AtomicBool,
}

/// A socket whose commands can be watched.
///
/// Each command is watched by a [`Guard`] of its own; several may be alive at once.
pub(crate) struct Watched {
    socket: Arc<TcpStream>,
    watchdog: Arc<Watchdog>,
}

impl Watched {
    /// Duplicates the socket's descriptor.
    pub(crate) fn new(socket: &TcpStream) -> Result<Self> {
        let socket =
            socket.try_clone().map_err(|e| failure("can't duplicate the socket for the watchdog", e))?;
        Ok(Self { socket: Arc::new(socket), watchdog: Watchdog::shared()? })
    }

    /// Shuts the socket down at the deadline, unless the guard is dropped before.
    pub(crate) fn until(&self, deadline: Deadline) -> Guard {
        let command =
            Arc::new(Command { socket: Arc::clone(&self.socket), timed_out: AtomicBool::new(false) });
        let key = self.watchdog.queue.add(deadline.at(), &command);
        Guard { deadline, watched: Some((Arc::clone(&self.watchdog), key, command)) }
    }
}

/// A command under watch, until it is dropped.
pub(crate) struct Guard {
    deadline: Deadline,
    watched: Option<(Arc<Watchdog>, Key, Arc<Command>)>,
}

impl Guard {
    /// Returns a guard for a session without a socket.
    #[cfg(test)]
    pub(crate) fn none(deadline: Deadline) -> Self {
        Self { deadline, watched: None }
    }

    /// Returns `true` if the watchdog has shut the socket down.
    pub(crate) fn has_timed_out(&self) -> bool {
        self.watched.as_ref().is_some_and(|(_, _, command)| command.timed_out.load(Ordering::SeqCst))
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
        if let Some((watchdog, key, _)) = &self.watched {
            watchdog.queue.due.lock().commands.remove(key);
        }
    }
}

impl Watchdog {
    /// Returns the watchdog of this process, after starting it if there is none.
    fn shared() -> Result<Arc<Self>> {
        let mut shared = SHARED.lock();
        if let Some(watchdog) = shared.upgrade() {
            return Ok(watchdog);
        }
        let queue = Arc::<Queue>::default();
        let run = {
            let queue = Arc::clone(&queue);
            move || queue.run()
        };
        let thread = thread::Builder::new().name("pymail-watchdog".into()).spawn(run);
        let thread = thread.map_err(|e| failure("can't start the watchdog thread", e))?;
        let watchdog = Arc::new(Self { queue, thread: Some(thread), process: std::process::id() });
        *shared = Arc::downgrade(&watchdog);
        Ok(watchdog)
    }
}

/// Makes an error of the system's.
fn failure(text: &str, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Runtime, text).with_source(error)
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            return;
        }
        self.queue.due.lock().ended = true;
        self.queue.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // The thread runs nothing that panics.
            let _ = thread.join();
        }
    }
}

impl Queue {
    /// Adds a command, and wakes the thread if the first deadline has changed.
    fn add(&self, at: Instant, command: &Arc<Command>) -> Key {
        let mut due = self.due.lock();
        due.last += 1;
        let key = (at, due.last);
        due.commands.insert(key, Arc::clone(command));
        // A later deadline than the first needs no signal.
        if due.wakes_at.is_none_or(|wakes_at| at < wakes_at) {
            self.changed.notify_all();
        }
        key
    }

    /// Ends overdue commands until the last connection is gone.
    fn run(&self) {
        let mut due = self.due.lock();
        while !due.ended {
            due.end_overdue();
            due.wakes_at = due.commands.first_key_value().map(|((at, _), _)| *at);
            match due.wakes_at {
                Some(at) => drop(self.changed.wait_until(&mut due, at)),
                None => self.changed.wait(&mut due),
            }
        }
    }
}

impl Due {
    /// Shuts down the sockets of the commands that are overdue.
    fn end_overdue(&mut self) {
        let now = Instant::now();
        while let Some(first) = self.commands.first_entry().filter(|first| first.key().0 <= now) {
            let command = first.remove();
            command.timed_out.store(true, Ordering::SeqCst);
            // The connection may be closed already.
            let _ = command.socket.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;

    /// Returns both ends of a connection; the second one never sends.
    fn silent() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn a_read_from_a_silent_peer_ends_at_the_deadline_and_not_before() {
        let (mut client, _peer) = silent();
        let watched = Watched::new(&client).unwrap();
        let began = Instant::now();
        let early = watched.until(Deadline::after(Duration::from_secs(3_600)));
        let guard = watched.until(Deadline::after(Duration::from_millis(50)));
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
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
        assert_eq!(other.read(&mut [0]).unwrap(), 0);
        assert!(later.has_timed_out());
        client.set_nonblocking(true).unwrap();
        assert_eq!((&client).read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_refusal_that_came_just_before_the_deadline_keeps_the_wait_and_ends_the_handle() {
        let (mut client, _peer) = silent();
        let watched = Watched::new(&client).unwrap();
        let guard = watched.until(Deadline::after(Duration::from_millis(1)));
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
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
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        let result =
            guard.map_timeout(Err::<(), _>(Error::new(ErrorKind::OutcomeUnknown, "lost")), "sending");
        assert_eq!(result.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    }
}
