//! The calls of one handle, which take turns: many that wait cost no threads.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::pool::{self, Job};
use crate::connection::Session as _;
use crate::python::ImapSession;

/// The turns of the calls of one handle, first come, first served.
///
/// The blocking verbs of a handle wait for each other. Here a call waits in line, without a thread, so that a silent
/// server has no more threads than the handle has connections.
pub(super) struct Turns {
    /// The number of calls that run at the same time.
    most: usize,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Job>,
    running: usize,
}

impl Turns {
    pub(super) fn new(most: usize) -> Self {
        Self { most, line: Mutex::default() }
    }

    /// Runs a call on the pool, when it is its turn.
    pub(super) fn run(self: &Arc<Self>, job: Job) {
        if ImapSession::is_forked() {
            return pool::run_here(job); // It returns the error of a forked child, where the threads are missing.
        }
        let mut line = self.line.lock();
        if line.running == self.most {
            return line.waiting.push_back(job);
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
            next = line.waiting.pop_front();
            if next.is_none() {
                line.running -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn calls_run_in_order_and_at_most_so_many_at_a_time() {
        for most in [1, 3] {
            let turns = Arc::new(Turns::new(most));
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
        let turns = Arc::new(Turns::new(1));
        let (done, is_done) = channel();
        turns.run(Box::new(|| std::panic::resume_unwind(Box::new("a bug"))));
        turns.run(Box::new(move || done.send(()).unwrap()));
        is_done.recv_timeout(PATIENCE).unwrap();
    }
}
