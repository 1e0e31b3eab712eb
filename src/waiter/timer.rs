//! Wakes futures at a time, on the waiter's thread: no runtime's timers are needed.

use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::{Due, Key, Waiter};
use crate::error::Result;

/// Wakes a future at a time, unless dropped before.
pub(crate) struct Timer {
    waiter: Arc<Waiter>,
    /// The time that is set, and the future to wake.
    set: Option<(Key, Waker)>,
}

impl Timer {
    /// Returns a timer that is not set.
    ///
    /// # Errors
    /// `Runtime` when the waiter can't be started.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { waiter: Waiter::shared()?, set: None })
    }

    /// Has the future woken at this time, and not at the one before.
    pub(crate) fn set(&mut self, at: Instant, waker: &Waker) {
        if self.set.as_ref().is_some_and(|(key, set)| key.0 == at && set.will_wake(waker)) {
            return;
        }
        let due = Due::Wake(waker.clone());
        let queue = &self.waiter.queue;
        let mut waits = queue.waits.lock();
        let removed = self.set.as_ref().and_then(|(key, _)| waits.due.remove(key));
        let key = (at, waits.next_number());
        queue.add(&mut waits, key.0, key.1, due);
        drop(waits);
        // Dropped without the lock: the drop of a waker may end a task of the app's.
        drop((removed, self.set.replace((key, waker.clone()))));
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some((key, _)) = &self.set
            && self.waiter.is_of_this_process()
        {
            let removed = self.waiter.queue.waits.lock().due.remove(key);
            drop(removed); // After the lock.
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
    use std::task::Wake;
    use std::time::Duration;

    use parking_lot::Mutex;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    struct Woken(Mutex<Sender<Instant>>);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            let _ = self.0.lock().send(Instant::now());
        }
    }

    fn waker() -> (Waker, Receiver<Instant>) {
        let (woken, receiver) = channel();
        (Arc::new(Woken(Mutex::new(woken))).into(), receiver)
    }

    #[test]
    fn a_future_is_woken_at_its_time_and_not_before() {
        let (mut timer, (waker, woken)) = (Timer::new().unwrap(), waker());
        let at = Instant::now() + Duration::from_millis(50);
        timer.set(at + PATIENCE, &waker);
        timer.set(at, &waker);
        assert!(woken.recv_timeout(PATIENCE).unwrap() >= at);
    }

    #[test]
    fn a_timer_that_is_dropped_wakes_and_holds_no_future() {
        let (mut timer, (waker, woken)) = (Timer::new().unwrap(), waker());
        timer.set(Instant::now() + 10 * PATIENCE, &waker);
        drop((timer, waker));
        assert_eq!(
            woken.recv_timeout(PATIENCE),
            Err(RecvTimeoutError::Disconnected),
            "the only waker is gone"
        );
    }
}
