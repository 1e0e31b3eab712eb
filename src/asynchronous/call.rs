//! The future of one verb.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Instant;

use parking_lot::Mutex;

use super::pool::{self, Job};
use super::turns::Turns;
use crate::deadline;

/// A verb of [`AsyncImap`](crate::AsyncImap) or [`AsyncSmtp`](crate::AsyncSmtp), as a future of its result.
///
/// Begins at its first poll, and borrows nothing. When it is dropped, a verb that runs already runs to its end, and one
/// that waits for its turn is not run: it is done completely or not at all. The verb's
/// [`timeout`](crate::ImapConfig::timeout) begins at the first poll.
#[must_use = "nothing is done before it is polled"]
pub struct AsyncCall<T>(Phase<T>);

/// The state of a call.
enum Phase<T> {
    /// Not polled yet.
    New {
        turns: Option<Arc<Turns>>,
        verb: Box<dyn FnOnce() -> T + Send>,
    },
    Begun(Arc<Exchange<T>>),
    Ended,
}

/// The place where the verb's thread leaves the result.
struct Exchange<T>(Mutex<Outcome<T>>);

/// The result of a verb, or its absence.
enum Outcome<T> {
    /// The future waits for it.
    Awaited(Waker),
    Ready(thread::Result<T>),
    /// The future has it, or is dropped.
    Unwanted,
}

impl<T: Send + 'static> AsyncCall<T> {
    /// Returns a call that runs `verb` in its turn, or at once.
    pub(super) fn new(turns: Option<Arc<Turns>>, verb: impl FnOnce() -> T + Send + 'static) -> Self {
        Self(Phase::New { turns, verb: Box::new(verb) })
    }

    /// Returns a call without a handle.
    pub(crate) fn without_handle(verb: impl FnOnce() -> T + Send + 'static) -> Self {
        Self::new(None, verb)
    }
}

impl<T: Send + 'static> Exchange<T> {
    /// Returns the work of a verb's thread. The verb's time, and its span, are those of the first poll.
    fn job(self: Arc<Self>, verb: Box<dyn FnOnce() -> T + Send>) -> Job {
        let (began, span) = (Instant::now(), tracing::Span::current());
        Box::new(move || {
            if matches!(*self.0.lock(), Outcome::Unwanted) {
                return;
            }
            let run = || span.in_scope(|| deadline::since(began, verb));
            self.finish(catch_unwind(AssertUnwindSafe(run)));
        })
    }

    /// Hands the result over, or drops it if the future is gone.
    fn finish(&self, result: thread::Result<T>) {
        let mut outcome = self.0.lock();
        if let Outcome::Awaited(_) = &*outcome {
            let before = std::mem::replace(&mut *outcome, Outcome::Ready(result));
            drop(outcome);
            if let Outcome::Awaited(waker) = before {
                waker.wake();
            }
        }
    }

    /// Takes the result; else has the verb's end wake the future.
    fn poll(&self, waker: &Waker) -> Poll<thread::Result<T>> {
        let waker = waker.clone();
        let mut outcome = self.0.lock();
        let next = match &*outcome {
            Outcome::Awaited(_) => Outcome::Awaited(waker),
            _ => Outcome::Unwanted,
        };
        let before = std::mem::replace(&mut *outcome, next);
        drop(outcome);
        match before {
            Outcome::Ready(result) => Poll::Ready(result),
            _ => Poll::Pending,
        }
    }
}

impl<T: Send + 'static> Future for AsyncCall<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let call = self.get_mut();
        let exchange = match std::mem::replace(&mut call.0, Phase::Ended) {
            Phase::Begun(exchange) => exchange,
            Phase::New { turns, verb } => {
                let exchange = Arc::new(Exchange(Mutex::new(Outcome::Awaited(context.waker().clone()))));
                let job = Arc::clone(&exchange).job(verb);
                match turns {
                    Some(turns) => turns.run(job),
                    None => pool::run(job),
                }
                exchange
            }
            Phase::Ended => panic!("a call was polled after its end"),
        };
        match exchange.poll(context.waker()) {
            Poll::Ready(Ok(result)) => Poll::Ready(result),
            Poll::Ready(Err(panic)) => resume_unwind(panic),
            Poll::Pending => {
                call.0 = Phase::Begun(exchange);
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for AsyncCall<T> {
    fn drop(&mut self) {
        if let Phase::Begun(exchange) = &self.0 {
            let before = std::mem::replace(&mut *exchange.0.lock(), Outcome::Unwanted);
            drop(before); // After the lock.
        }
    }
}

/// Shows if the call has begun.
impl<T> fmt::Debug for AsyncCall<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.0 {
            Phase::New { .. } => "new",
            Phase::Begun(_) => "begun",
            Phase::Ended => "ended",
        };
        f.debug_tuple("AsyncCall").field(&phase).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    fn poll<T: Send + 'static>(call: Pin<&mut AsyncCall<T>>) -> Poll<T> {
        call.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_panic_of_a_verb_is_that_of_its_future() {
        let mut call = pin!(AsyncCall::without_handle(|| -> u32 { resume_unwind(Box::new("a bug")) }));
        let panic = loop {
            match catch_unwind(AssertUnwindSafe(|| poll(call.as_mut()))) {
                Ok(polled) => assert!(polled.is_pending()),
                Err(panic) => break panic,
            }
            thread::yield_now();
        };
        assert_eq!(panic.downcast_ref(), Some(&"a bug"));
    }

    #[test]
    fn a_call_that_is_dropped_before_its_turn_is_not_run() {
        let turns = Arc::new(Turns::new(1, Duration::from_secs(60)));
        let (release, may_end) = channel::<()>();
        let (done, is_done) = channel();
        let call = |number: u32| {
            let done = done.clone();
            AsyncCall::new(Some(Arc::clone(&turns)), move || done.send(number).unwrap())
        };
        turns.run(Box::new(move || _ = may_end.recv()));
        let (mut dropped, mut last) = (call(1), call(2));
        assert!(poll(Pin::new(&mut dropped)).is_pending() && poll(Pin::new(&mut last)).is_pending());
        drop((dropped, release));
        assert_eq!(is_done.recv().unwrap(), 2);
    }
}
