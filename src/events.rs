//! Events that wait until every lock is released: a subscriber may call the handle that an event is about.

use std::cell::RefCell;

/// An event that is not emitted yet.
pub(crate) type Event = Box<dyn FnOnce() + Send>;

thread_local! {
    /// The events of the outermost `deferred` or `collected` on this thread; `None` outside of one.
    static WAITING: RefCell<Option<Vec<Event>>> = const { RefCell::new(None) };
}

/// Emits an event; inside of [`deferred`], after that. Emit every event so that may come while a lock is held.
pub(crate) fn emit(event: impl FnOnce() + Send + 'static) {
    let event: Event = Box::new(event);
    let now = WAITING.with_borrow_mut(|waiting| match waiting {
        Some(waiting) => {
            waiting.push(event);
            None
        }
        None => Some(event),
    });
    if let Some(event) = now {
        event();
    }
}

/// Runs `work`, which may hold locks, and emits its events when it is done.
pub(crate) fn deferred<T>(work: impl FnOnce() -> T) -> T {
    let (done, events) = collected(work);
    events.into_iter().for_each(emit);
    done
}

/// Runs `work` and returns its events, for another thread to emit.
pub(crate) fn collected<T>(work: impl FnOnce() -> T) -> (T, Vec<Event>) {
    let outer = WAITING.replace(Some(Vec::new()));
    let restore = Restore(outer);
    let done = work();
    let events = WAITING.take().unwrap_or_default();
    drop(restore);
    (done, events)
}

/// Restores what waited before, also after a panic.
struct Restore(Option<Vec<Event>>);

impl Drop for Restore {
    fn drop(&mut self) {
        WAITING.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn an_event_waits_for_the_end_of_the_outermost_work() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = |what: &'static str| {
            let told = Arc::clone(&told);
            emit(move || told.lock().push(what));
        };
        tell("outside");
        deferred(|| {
            let lock = told.lock();
            deferred(|| tell("inner"));
            tell("outer");
            drop(lock);
            assert_eq!(*told.lock(), ["outside"]);
        });
        assert_eq!(*told.lock(), ["outside", "inner", "outer"]);
    }

    #[test]
    fn after_a_panic_events_are_emitted_as_before() {
        let panicked = std::panic::catch_unwind(|| deferred(|| panic!("as told")));
        assert!(panicked.is_err());
        let told = Arc::new(Mutex::new(0));
        let ours = Arc::clone(&told);
        emit(move || *ours.lock() += 1);
        assert_eq!(*told.lock(), 1);
    }
}
