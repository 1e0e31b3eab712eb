//! The thread that keeps a connection alive: only the thread.

use std::sync::Weak;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// What a heartbeat keeps alive.
pub(crate) trait Pulse: Send + Sync + 'static {
    /// Does what is due and says when to come again.
    fn pulse(&self) -> Duration;
}

/// A named thread that pulses its target until either of them goes away.
pub(crate) struct Heartbeat {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Heartbeat {
    /// The thread holds its target weakly: it never keeps a connection open that nobody uses.
    pub(crate) fn start<P: Pulse>(name: &str, first: Duration, target: Weak<P>) -> Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let run = move || {
            let mut wait = first;
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(wait) {
                let Some(target) = target.upgrade() else { return };
                wait = target.pulse();
            }
        };
        let thread = thread::Builder::new().name(name.into()).spawn(run);
        let thread =
            thread.map_err(|e| Error::new(ErrorKind::Runtime, "no heartbeat thread").with_source(e))?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread and waits for it, unless it is the one that calls.
    pub(crate) fn stop(self) {
        drop(self.stop);
        if self.thread.thread().id() != thread::current().id() {
            // A panic in there has been reported by the panic hook; there is nothing to add here.
            let _ = self.thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::Receiver;

    use parking_lot::Mutex;

    use super::*;

    struct Counted(Mutex<Sender<()>>);

    impl Pulse for Counted {
        fn pulse(&self) -> Duration {
            let _ = self.0.lock().send(());
            Duration::from_millis(1)
        }
    }

    fn counted() -> (Arc<Counted>, Receiver<()>) {
        let (sender, pulses) = mpsc::channel();
        (Arc::new(Counted(Mutex::new(sender))), pulses)
    }

    #[test]
    fn it_pulses_again_and_again() {
        let (target, pulses) = counted();
        let heartbeat = Heartbeat::start("test", Duration::ZERO, Arc::downgrade(&target)).unwrap();
        for _ in 0..3 {
            pulses.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        heartbeat.stop();
    }

    #[test]
    fn it_ends_with_its_target() {
        let (target, pulses) = counted();
        let heartbeat = Heartbeat::start("test", Duration::ZERO, Arc::downgrade(&target)).unwrap();
        drop(target);
        while pulses.recv_timeout(Duration::from_secs(10)).is_ok() {}
        heartbeat.thread.join().unwrap();
    }
}
