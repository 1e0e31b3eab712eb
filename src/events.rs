//! `tracing` events, held back until every lock is released: a subscriber may call the handle that an event is about.

use std::cell::RefCell;

/// An event to be emitted.
pub(crate) type Event = Box<dyn FnOnce() + Send>;

thread_local! {
    /// The events held back on this thread; `None` outside of `deferred`.
    static HELD: RefCell<Option<Vec<Event>>> = const { RefCell::new(None) };
}

/// Emits an event, or holds it back inside of [`deferred`]. Code that may hold a lock emits by this
/// function only.
///
/// On a thread whose thread-locals are gone already, emits at once.
pub(crate) fn emit(event: impl FnOnce() + Send + 'static) {
    let mut event: Option<Event> = Some(Box::new(event));
    let _ = HELD.try_with(|held| {
        if let Some(held) = held.borrow_mut().as_mut() {
            held.extend(event.take());
        }
    });
    if let Some(event) = event {
        event();
    }
}

/// Runs `work`, which may hold locks, and emits its events afterwards.
pub(crate) fn deferred<T>(work: impl FnOnce() -> T) -> T {
    let Ok(outer) = HELD.try_with(|held| held.replace(Some(Vec::new()))) else {
        return work();
    };
    let restore = Restore(outer);
    let done = work();
    let events = HELD.try_with(RefCell::take).ok().flatten().unwrap_or_default();
    drop(restore);
    events.into_iter().for_each(emit);
    done
}

/// Restores the outer list of events when dropped, also after a panic.
struct Restore(Option<Vec<Event>>);

impl Drop for Restore {
    fn drop(&mut self) {
        let _ = HELD.try_with(|held| held.replace(self.0.take()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn an_event_is_held_back_until_the_outermost_work_ends() {
        let emitted = Arc::new(Mutex::new(Vec::new()));
        let record = |event: &'static str| {
            let emitted = Arc::clone(&emitted);
            emit(move || emitted.lock().push(event));
        };
        record("outside");
        deferred(|| {
            let lock = emitted.lock();
            deferred(|| record("inner"));
            record("outer");
            drop(lock);
            assert_eq!(*emitted.lock(), ["outside"]);
        });
        assert_eq!(*emitted.lock(), ["outside", "inner", "outer"]);
    }

    /// Emits an event, and counts it, when its thread ends.
    struct AtTheEnd(Arc<Mutex<usize>>);

    impl Drop for AtTheEnd {
        fn drop(&mut self) {
            let emitted = Arc::clone(&self.0);
            deferred(|| emit(move || *emitted.lock() += 1));
        }
    }

    #[test]
    fn an_event_of_a_thread_that_is_ending_is_emitted() {
        thread_local! {
            static LAST: RefCell<Option<AtTheEnd>> = const { RefCell::new(None) };
        }
        let emitted = Arc::<Mutex<usize>>::default();
        let ours = Arc::clone(&emitted);
        let thread = std::thread::spawn(move || {
            LAST.set(Some(AtTheEnd(ours)));
            deferred(|| ()); // The thread-local of `HELD` is the younger one, and is dropped first.
        });
        thread.join().unwrap();
        assert_eq!(*emitted.lock(), 1);
    }

    #[test]
    fn after_a_panic_events_are_emitted_at_once_again() {
        let panicked = std::panic::catch_unwind(|| deferred(|| panic!("scripted")));
        assert!(panicked.is_err());
        let emitted = Arc::new(Mutex::new(0));
        let ours = Arc::clone(&emitted);
        emit(move || *ours.lock() += 1);
        assert_eq!(*emitted.lock(), 1);
    }
}
