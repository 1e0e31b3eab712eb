//! The calls of one handle, which take turns: many that wait cost no threads.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::pool::{self, Job};
use crate::connection::Session as _;
use crate::python::ImapSession;
use crate::waiter::Timer;

/// The turns of the calls of one handle, first come, first served.
///
/// The blocking verbs of a handle wait for each other. Here a call waits in line, without a thread, so that a silent
/// server has no more threads than the handle has connections. A call whose time is over in line runs at once, to
/// return that: the call before it may wait for a final reply, which has longer than a timeout.
pub(super) struct Turns {
    /// The number of calls that run at the same time.
    most: usize,
    timeout: Duration,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    running: usize,
    /// The number of the call that came last into the line.
    last: u64,
}

/// A call in line.
struct Waiting {
    number: u64,
    job: Job,
    /// `None` for work that waits for as long as it takes.
    _timer: Option<Timer>,
}

/// The end of a call's time in line.
struct Overdue {
    turns: Arc<Turns>,
    number: u64,
}

impl Wake for Overdue {
    fn wake(self: Arc<Self>) {
        let mut line = self.turns.line.lock();
        let at = line.waiting.iter().position(|waiting| waiting.number == self.number);
        let overdue = at.and_then(|at| line.waiting.remove(at));
        drop(line);
        if let Some(Waiting { job, .. }) = overdue {
            pool::run(job);
        }
    }
}

impl Turns {
    pub(super) fn new(most: usize, timeout: Duration) -> Self {
        Self { most, timeout, line: Mutex::default() }
    }

    /// Runs a call on the pool, when it is its turn, or its time is over.
    pub(super) fn run(self: &Arc<Self>, job: Job) {
        // Without the waiter's thread, the call waits for its turn.
        self.run_in_line(job, Timer::new().ok());
    }

    /// Runs work on the pool, when it is its turn, however long that takes.
    pub(super) fn run_in_the_end(self: &Arc<Self>, job: Job) {
        self.run_in_line(job, None);
    }

    fn run_in_line(self: &Arc<Self>, job: Job, mut timer: Option<Timer>) {
        if ImapSession::is_forked() {
            return pool::run_here(job); // It returns the error of a forked child, where the threads are missing.
        }
        let mut line = self.line.lock();
        if line.running == self.most {
            line.last += 1;
            let number = line.last;
            if let Some(timer) = &mut timer {
                let overdue = Waker::from(Arc::new(Overdue { turns: Arc::clone(self), number }));
                timer.set(Instant::now() + self.timeout, &overdue);
            }
            return line.waiting.push_back(Waiting { number, job, _timer: timer });
        }
        line.running += 1;
        drop(line);
        let turns = Arc::clone(self);
        pool::run(Box::new(move || turns.run_all(job)));
    }

    /// Runs a call, and those that wait, one after the other.
    fn run_all(&self, first: Job) {
        let mut next = Some(first);
        while let Some(job) = next {
            pool::run_here(job);
            let mut line = self.line.lock();
            next = line.waiting.pop_front().map(|waiting| waiting.job);
            if next.is_none() {
                line.running -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn calls_run_in_order_and_at_most_so_many_at_a_time() {
        for most in [1, 3] {
            let turns = Arc::new(Turns::new(most, PATIENCE));
            let running = Arc::new(Mutex::new((0, 0)));
            let (done, order) = channel();
            for number in 0..100 {
                let (running, done) = (Arc::clone(&running), done.clone());
                turns.run(Box::new(move || {
                    {
                        let mut running = running.lock();
                        running.0 += 1;
                        running.1 = running.1.max(running.0);
                        done.send(number).unwrap();
                    }
                    std::thread::yield_now();
                    running.lock().0 -= 1;
                }));
            }
            let order: Vec<u32> = (0..100).map(|_| order.recv_timeout(PATIENCE).unwrap()).collect();
            assert!(running.lock().1 <= most);
            assert!(most > 1 || order.is_sorted(), "{order:?}");
        }
    }

    #[test]
    fn a_call_that_panics_does_not_keep_the_others_from_their_turns() {
        let turns = Arc::new(Turns::new(1, PATIENCE));
        let (done, is_done) = channel();
        turns.run(Box::new(|| std::panic::resume_unwind(Box::new("a bug"))));
        turns.run(Box::new(move || done.send(()).unwrap()));
        is_done.recv_timeout(PATIENCE).unwrap();
    }

    #[test]
    fn a_call_whose_time_is_over_in_line_runs_and_other_work_waits_for_its_turn() {
        let turns = Arc::new(Turns::new(1, Duration::from_millis(20)));
        let (release, may_end) = channel::<()>();
        let (done, order) = channel();
        let says = |word: &'static str| {
            let done = done.clone();
            Box::new(move || done.send(word).unwrap())
        };
        turns.run(Box::new(move || _ = may_end.recv()));
        turns.run_in_the_end(says("work"));
        turns.run(says("overdue"));
        assert_eq!(order.recv_timeout(PATIENCE), Ok("overdue"));
        drop(release);
        assert_eq!(order.recv_timeout(PATIENCE), Ok("work"));
    }
}
