//! Events that wait until every lock is released: a subscriber may call the handle that an event is about.

use std::cell::RefCell;

/// An event that is not emitted yet.
pub(crate) type Event = Box<dyn FnOnce() + Send>;

thread_local! {
    /// The events of the outermost `deferred` or `collected` on this thread; `None` outside of one.
    static WAITING: RefCell<Option<Vec<Event>>> = const { RefCell::new(None) };
}

/// Emits an event; inside of [`deferred`], after that. Emit every event so that may come while a lock is held.
///
/// On a thread that is ending, with its thread-locals gone, it is emitted at once.
pub(crate) fn emit(event: impl FnOnce() + Send + 'static) {
    let mut event: Option<Event> = Some(Box::new(event));
    let _ = WAITING.try_with(|waiting| {
        if let Some(waiting) = waiting.borrow_mut().as_mut() {
            waiting.extend(event.take());
        }
    });
    if let Some(event) = event {
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
    let Ok(outer) = WAITING.try_with(|waiting| waiting.replace(Some(Vec::new()))) else {
        return (work(), Vec::new());
    };
    let restore = Restore(outer);
    let done = work();
    let events = WAITING.try_with(RefCell::take).ok().flatten().unwrap_or_default();
    drop(restore);
    (done, events)
}

/// Restores what waited before, also after a panic.
struct Restore(Option<Vec<Event>>);

impl Drop for Restore {
    fn drop(&mut self) {
        let _ = WAITING.try_with(|waiting| waiting.replace(self.0.take()));
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

    /// Emits an event, and counts it, when its thread ends.
    struct AtTheEnd(Arc<Mutex<usize>>);

    impl Drop for AtTheEnd {
        fn drop(&mut self) {
            let told = Arc::clone(&self.0);
            deferred(|| emit(move || *told.lock() += 1));
        }
    }

    #[test]
    fn an_event_of_a_thread_that_is_ending_is_emitted() {
        thread_local! {
            static LAST: RefCell<Option<AtTheEnd>> = const { RefCell::new(None) };
        }
        let told = Arc::<Mutex<usize>>::default();
        let ours = Arc::clone(&told);
        let thread = std::thread::spawn(move || {
            LAST.set(Some(AtTheEnd(ours)));
            deferred(|| ()); // Its thread-local is the younger one, and goes first.
        });
        thread.join().unwrap();
        assert_eq!(*told.lock(), 1);
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
