//! Futures polled by hand, and the runtimes.

use std::pin::{Pin, pin};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use futures_core::Stream;

use crate::support::usage::thread_names;

/// The longest wait for a wake-up on a busy machine. Courier looks for new mail once a minute.
const PATIENCE: Duration = Duration::from_secs(150);

/// The longest test: a future that never ends is a failure, not a hang.
const LONGEST_TEST: Duration = Duration::from_secs(600);

/// A runtime for the tests.
#[derive(Clone, Copy, Debug)]
pub enum Runtime {
    Tokio,
    Smol,
}

impl Runtime {
    pub fn block_on<T>(self, future: impl Future<Output = T>) -> T {
        let late = async {
            smol::Timer::after(LONGEST_TEST).await;
            panic!("the future has not ended within {LONGEST_TEST:?}");
        };
        let future = smol::future::or(future, late);
        match self {
            Self::Tokio => tokio::runtime::Runtime::new().unwrap().block_on(future),
            Self::Smol => smol::block_on(future),
        }
    }
}

/// Counts wake-ups.
#[derive(Default)]
pub struct Wakes {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        *self.count.lock().unwrap() += 1;
        self.changed.notify_all();
    }
}

impl Wakes {
    pub fn count(&self) -> usize {
        *self.count.lock().unwrap()
    }

    /// Waits until there were more wake-ups than before.
    pub fn wait_for_more_than(&self, before: usize) {
        assert!(self.comes_within(PATIENCE, before), "no wake-up");
    }

    /// Returns `true` as soon as there were more wake-ups than before; `false` if none comes within the time.
    fn comes_within(&self, time: Duration, before: usize) -> bool {
        let count = self.count.lock().unwrap();
        let waited = self.changed.wait_timeout_while(count, time, |count| *count <= before).unwrap();
        !waited.1.timed_out()
    }
}

/// Polls once.
pub fn poll<F: Future>(future: Pin<&mut F>, wakes: &Arc<Wakes>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Arc::clone(wakes).into()))
}

/// Polls a stream once.
pub fn poll_next<S: Stream + Unpin>(stream: &mut S, wakes: &Arc<Wakes>) -> Poll<Option<S::Item>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(&Arc::clone(wakes).into()))
}

/// A place at which a future is dropped.
#[derive(Clone, Copy, Debug)]
pub struct DropPoint {
    /// The polls before the drop, each after the wake-up of the one before.
    pub polls: usize,
    /// `true` if it is dropped only after the next wake-up, which it does not see.
    pub woken: bool,
}

impl DropPoint {
    /// Returns all places up to a number of polls.
    pub fn all(polls: usize) -> impl Iterator<Item = Self> {
        (0..=polls)
            .flat_map(|polls| [false, true].map(|woken| Self { polls, woken }))
            .filter(|it| it.polls > 0 || !it.woken)
    }

    /// Returns `true` if a verb may be done, or not, after such a drop. One that has begun may not have had its turn.
    pub fn may_have_done(self, is_done: bool) -> bool {
        match (self.polls, self.woken) {
            (0, _) => !is_done,
            (1, false) => true,
            _ => is_done,
        }
    }

    /// Drops a future there. Returns its output if it has ended before.
    pub fn drop<T>(self, future: impl Future<Output = T>) -> Option<T> {
        self.drop_by(future, |wakes, before| {
            wakes.wait_for_more_than(before);
            true
        })
    }

    /// Drops a future there, or where no wake-up comes within this time: it may wait for mail already.
    pub fn drop_within<T>(self, time: Duration, future: impl Future<Output = T>) -> Option<T> {
        self.drop_by(future, |wakes, before| wakes.comes_within(time, before))
    }

    fn drop_by<T>(
        self,
        future: impl Future<Output = T>,
        is_woken: impl Fn(&Wakes, usize) -> bool,
    ) -> Option<T> {
        let wakes = Arc::<Wakes>::default();
        let mut future = pin!(future);
        for polls in 1..=self.polls {
            let before = wakes.count();
            if let Poll::Ready(output) = poll(future.as_mut(), &wakes) {
                return Some(output);
            }
            if (polls < self.polls || self.woken) && !is_woken(&wakes, before) {
                return None;
            }
        }
        None
    }
}

/// Returns a stream's next item.
pub async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    std::future::poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

/// Returns the number of threads of this process with a name that begins so.
pub fn threads(name: &str) -> usize {
    thread_names().iter().filter(|it| it.starts_with(name)).count()
}
