//! The connections for which a thread runs code of the app: a provider of access tokens or a connector. A call on their
//! handles would wait for itself.

use std::cell::RefCell;

thread_local! {
    static MARKED: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Marks the thread as running code of the app for a connection, until the drop.
pub(crate) struct Mark;

impl Mark {
    /// Marks this thread; `address` is a number that only this connection has.
    pub(crate) fn new(address: usize) -> Self {
        let _ = MARKED.try_with(|marked| marked.borrow_mut().push(address));
        Self
    }

    /// Marks this thread as another one is, which waits for it.
    pub(crate) fn inherit(marked: Vec<usize>) {
        MARKED.set(marked);
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let _ = MARKED.try_with(|marked| marked.borrow_mut().pop());
    }
}

/// Returns the marks of this thread; none of one that is ending.
pub(crate) fn marks() -> Vec<usize> {
    MARKED.try_with(|marked| marked.borrow().clone()).unwrap_or_default()
}

/// Returns `true` if this thread runs code of the app for the connection; not for a thread that is ending.
pub(crate) fn is_marked(address: usize) -> bool {
    MARKED.try_with(|marked| marked.borrow().contains(&address)).unwrap_or(false)
}
