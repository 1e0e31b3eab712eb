//! A condition variable that futures can wait for, too.

use std::time::Instant;

use parking_lot::{Condvar, MutexGuard, WaitTimeoutResult};

/// Signals to waiting threads, and with the feature `async` to waiting futures, that a state has changed.
///
/// The state has a lock of its own. A change is made under the lock and signalled after it, and a future registers
/// while it holds the lock under which it has looked: so no change is missed.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    threads: Condvar,
    #[cfg(feature = "async")]
    futures: std::sync::Arc<parking_lot::Mutex<futures::Wakers>>,
}

impl Signal {
    /// Wakes all that wait. Futures are woken once no lock is held, as an event is emitted: a waker runs code of the
    /// app's runtime.
    pub(crate) fn notify_all(&self) {
        self.threads.notify_all();
        #[cfg(feature = "async")]
        self.wake_futures();
    }

    /// Blocks this thread until the next signal.
    pub(crate) fn wait<T>(&self, state: &mut MutexGuard<'_, T>) {
        self.threads.wait(state);
    }

    /// Blocks this thread until the next signal, at most until a time.
    pub(crate) fn wait_until<T>(&self, state: &mut MutexGuard<'_, T>, at: Instant) -> WaitTimeoutResult {
        self.threads.wait_until(state, at)
    }
}

#[cfg(feature = "async")]
pub(crate) use self::futures::{Registration, wake};

#[cfg(feature = "async")]
mod futures {
    use std::collections::BTreeMap;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::task::Waker;

    use parking_lot::Mutex;

    use super::Signal;
    use crate::events;

    /// The futures that wait, by the number of their registration.
    #[derive(Debug, Default)]
    pub(super) struct Wakers {
        waiting: BTreeMap<u64, Waker>,
        last: u64,
    }

    /// The place of one future among those that wait, until dropped.
    #[derive(Debug)]
    pub(crate) struct Registration {
        wakers: Arc<Mutex<Wakers>>,
        number: u64,
    }

    impl Signal {
        /// Returns a place for a future, which does not wait yet.
        pub(crate) fn registration(&self) -> Registration {
            let mut wakers = self.futures.lock();
            wakers.last += 1;
            Registration { wakers: Arc::clone(&self.futures), number: wakers.last }
        }

        pub(super) fn wake_futures(&self) {
            let waiting = std::mem::take(&mut self.futures.lock().waiting);
            for waker in waiting.into_values() {
                let woken = WakeOnDrop(Some(waker));
                events::emit(move || drop(woken));
            }
        }
    }

    /// A future to wake, also if its event is lost with a call that panics.
    struct WakeOnDrop(Option<Waker>);

    impl Drop for WakeOnDrop {
        fn drop(&mut self) {
            self.0.take().into_iter().for_each(wake);
        }
    }

    impl Registration {
        /// Has the next signal wake this future. Returns its former waker, to be dropped once no lock is held: the
        /// drop may end a task of the app's.
        #[must_use]
        pub(crate) fn set(&self, waker: Waker) -> Option<Waker> {
            self.wakers.lock().waiting.insert(self.number, waker)
        }
    }

    impl Drop for Registration {
        fn drop(&mut self) {
            let removed = self.wakers.lock().waiting.remove(&self.number);
            drop(removed); // After the lock.
        }
    }

    /// Wakes a future. A runtime that panics there ends no thread of ours.
    pub(crate) fn wake(waker: Waker) {
        let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }

    #[cfg(test)]
    mod tests {
        use std::sync::atomic::{AtomicUsize, Ordering};
        use std::task::Wake;

        use super::*;

        #[derive(Default)]
        struct Woken(AtomicUsize);

        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }

        #[test]
        fn a_signal_wakes_each_future_once_and_none_that_is_gone() {
            let signal = Signal::default();
            let woken = [(); 3].map(|()| Arc::new(Woken::default()));
            let places = [(); 3].map(|()| signal.registration());
            for (place, woken) in places.iter().zip(&woken) {
                assert!(place.set(Arc::clone(woken).into()).is_none());
            }
            let [first, _second, third] = places;
            let _ = third.set(Arc::clone(&woken[2]).into()).unwrap();
            drop(first);
            signal.notify_all();
            signal.notify_all();
            assert_eq!(woken.each_ref().map(|it| it.0.load(Ordering::SeqCst)), [0, 1, 1]);
            assert_eq!(woken.each_ref().map(Arc::strong_count), [1, 1, 1]);
        }

        #[test]
        fn futures_are_woken_after_the_locks_are_released() {
            let (signal, woken) = (Signal::default(), Arc::new(Woken::default()));
            let place = signal.registration();
            let _ = place.set(Arc::clone(&woken).into());
            events::deferred(|| {
                signal.notify_all();
                assert_eq!(woken.0.load(Ordering::SeqCst), 0);
            });
            assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        }
    }
}
