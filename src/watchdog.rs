//! The thread that ends what overruns its deadline, for all connections of the process: only the thread.
//!
//! A socket's own timeout begins again with each byte that comes. This one does not: it shuts the socket down,
//! through a descriptor of its own, and whoever waits for the socket wakes up.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result};

/// The one of this process; it goes with the last connection.
static SHARED: Mutex<Weak<Watchdog>> = Mutex::new(Weak::new());

struct Watchdog {
    watch: Arc<Watch>,
    thread: Option<JoinHandle<()>>,
    /// A child that was forked has no such thread.
    process: u32,
}

#[derive(Default)]
struct Watch {
    due: Mutex<Due>,
    changed: Condvar,
}

#[derive(Default)]
struct Due {
    commands: BTreeMap<Key, Arc<Command>>,
    last: u64,
    /// When the thread will look by itself.
    looks_at: Option<Instant>,
    ended: bool,
}

/// When a command is due, and which of those due then it is.
type Key = (Instant, u64);

struct Command {
    socket: Arc<TcpStream>,
    overran: AtomicBool,
}

/// A connection that commands are watched on.
pub(crate) struct Watched {
    socket: Arc<TcpStream>,
    watchdog: Arc<Watchdog>,
}

impl Watched {
    /// Keeps a descriptor of its own on the socket.
    pub(crate) fn new(socket: &TcpStream) -> Result<Self> {
        let socket = socket.try_clone().map_err(|e| failure("no descriptor for the watchdog", e))?;
        Ok(Self { socket: Arc::new(socket), watchdog: Watchdog::shared()? })
    }

    /// Shuts the connection down when the deadline comes, unless the guard is dropped before.
    pub(crate) fn until(&self, deadline: Deadline) -> Guard {
        let command = Arc::new(Command { socket: Arc::clone(&self.socket), overran: AtomicBool::new(false) });
        let key = self.watchdog.watch.add(deadline.at(), &command);
        Guard { deadline, watched: Some((Arc::clone(&self.watchdog), key, command)) }
    }
}

/// One command under watch.
pub(crate) struct Guard {
    deadline: Deadline,
    watched: Option<(Arc<Watchdog>, Key, Arc<Command>)>,
}

impl Guard {
    /// For a session without a socket.
    #[cfg(test)]
    pub(crate) fn none(deadline: Deadline) -> Self {
        Self { deadline, watched: None }
    }

    /// Whether the connection was shut down.
    pub(crate) fn overran(&self) -> bool {
        self.watched.as_ref().is_some_and(|(_, _, command)| command.overran.load(Ordering::SeqCst))
    }

    /// An answer, or that the time was over, when that is why there is none.
    pub(crate) fn judge<T>(&self, answer: Result<T>, doing: &str) -> Result<T> {
        match answer {
            Err(error) if self.overran() && error.kind() != ErrorKind::OutcomeUnknown => {
                Err(self.deadline.error(doing).with_source(error))
            }
            answer => answer,
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some((watchdog, key, _)) = &self.watched {
            watchdog.watch.due.lock().commands.remove(key);
        }
    }
}

impl Watchdog {
    fn shared() -> Result<Arc<Self>> {
        let mut shared = SHARED.lock();
        if let Some(watchdog) = shared.upgrade() {
            return Ok(watchdog);
        }
        let watch = Arc::<Watch>::default();
        let run = {
            let watch = Arc::clone(&watch);
            move || watch.run()
        };
        let thread = thread::Builder::new().name("pymail-watchdog".into()).spawn(run);
        let thread = thread.map_err(|e| failure("no watchdog thread", e))?;
        let watchdog = Arc::new(Self { watch, thread: Some(thread), process: std::process::id() });
        *shared = Arc::downgrade(&watchdog);
        Ok(watchdog)
    }
}

fn failure(text: &str, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Runtime, text).with_source(error)
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            return;
        }
        self.watch.due.lock().ended = true;
        self.watch.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It runs nothing that panics.
            let _ = thread.join();
        }
    }
}

impl Watch {
    fn add(&self, at: Instant, command: &Arc<Command>) -> Key {
        let mut due = self.due.lock();
        due.last += 1;
        let key = (at, due.last);
        due.commands.insert(key, Arc::clone(command));
        // It looks soon enough by itself, as long as deadlines come in order.
        if due.looks_at.is_none_or(|looks_at| at < looks_at) {
            self.changed.notify_all();
        }
        key
    }

    fn run(&self) {
        let mut due = self.due.lock();
        while !due.ended {
            due.end_overdue();
            due.looks_at = due.commands.first_key_value().map(|((at, _), _)| *at);
            match due.looks_at {
                Some(at) => drop(self.changed.wait_until(&mut due, at)),
                None => self.changed.wait(&mut due),
            }
        }
    }
}

impl Due {
    fn end_overdue(&mut self) {
        let now = Instant::now();
        while let Some(first) = self.commands.first_entry().filter(|first| first.key().0 <= now) {
            let command = first.remove();
            command.overran.store(true, Ordering::SeqCst);
            // A connection that is closed already is as good as shut down.
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

    /// A connection whose other end never says anything.
    fn silent() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn who_waits_for_a_silent_peer_wakes_up_at_the_deadline_and_not_before() {
        let (mut client, _peer) = silent();
        let watched = Watched::new(&client).unwrap();
        let began = Instant::now();
        let early = watched.until(Deadline::after(Duration::from_secs(3_600)));
        let guard = watched.until(Deadline::after(Duration::from_millis(50)));
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        assert!(began.elapsed() >= Duration::from_millis(50));
        assert!(guard.overran() && !early.overran());
        let told = guard.judge(Err::<(), _>(Error::new(ErrorKind::Disconnected, "lost")), "NOOP");
        assert_eq!(told.unwrap_err().kind(), ErrorKind::Timeout);
    }

    #[test]
    fn a_command_that_was_in_time_leaves_its_connection_alone() {
        let (client, _peer) = silent();
        let watched = Watched::new(&client).unwrap();
        let guard = watched.until(Deadline::after(Duration::from_millis(1_900)));
        drop(guard);
        let (mut other, _other_peer) = silent();
        let other_watched = Watched::new(&other).unwrap();
        // The other one's deadline is later: when it has come, the first one's has passed.
        let later = other_watched.until(Deadline::after(Duration::from_secs(2)));
        assert_eq!(other.read(&mut [0]).unwrap(), 0);
        assert!(later.overran());
        client.set_nonblocking(true).unwrap();
        assert_eq!((&client).read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_may_have_been_sent_stays_unknown() {
        let (mut client, _peer) = silent();
        let watched = Watched::new(&client).unwrap();
        let guard = watched.until(Deadline::after(Duration::from_millis(1)));
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        let told = guard.judge(Err::<(), _>(Error::new(ErrorKind::OutcomeUnknown, "lost")), "sending");
        assert_eq!(told.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    }
}
