//! A handle whose verbs run on the pool.

use std::sync::Arc;
use std::time::Duration;

use super::call::AsyncCall;
use super::pool;
use super::turns::Turns;

/// A blocking handle, and the turns of its calls.
///
/// Its drop, which may close the connection, blocks; so it runs on the pool, too.
pub(crate) struct Handle<H: Send + 'static> {
    /// `None` once dropped.
    blocking: Option<H>,
    turns: Arc<Turns>,
}

impl<H: Send + Sync + 'static> Handle<H> {
    /// Wraps a handle that runs as many calls at the same time; others wait in line, for a timeout at most.
    pub(crate) fn new(blocking: H, calls: usize, timeout: Duration) -> Arc<Self> {
        Arc::new(Self { blocking: Some(blocking), turns: Arc::new(Turns::new(calls, timeout)) })
    }

    /// Returns the blocking handle.
    pub(crate) fn blocking(&self) -> &H {
        self.blocking.as_ref().expect("set until the drop")
    }

    /// Returns a call that runs `verb` in its turn.
    pub(crate) fn call<T: Send + 'static>(
        self: &Arc<Self>,
        verb: impl FnOnce(&H) -> T + Send + 'static,
    ) -> AsyncCall<T> {
        let handle = Arc::clone(self);
        AsyncCall::new(Some(Arc::clone(&self.turns)), move || verb(handle.blocking()))
    }

    /// Returns a call that does not wait for the others.
    pub(crate) fn call_at_once<T: Send + 'static>(
        self: &Arc<Self>,
        verb: impl FnOnce(&H) -> T + Send + 'static,
    ) -> AsyncCall<T> {
        let handle = Arc::clone(self);
        AsyncCall::new(None, move || verb(handle.blocking()))
    }

    /// Runs `verb` in its turn, however late that is; no future waits for it.
    pub(crate) fn spawn(self: &Arc<Self>, verb: impl FnOnce(&H) + Send + 'static) {
        let handle = Arc::clone(self);
        self.turns.run_in_the_end(Box::new(move || verb(handle.blocking())));
    }
}

impl<H: Send + 'static> Drop for Handle<H> {
    fn drop(&mut self) {
        let blocking = self.blocking.take();
        pool::run(Box::new(move || drop(blocking)));
    }
}
