//! Threads for calls that block: started as they are needed, ended when there is nothing to do.
//!
//! The crate `blocking` does the same, with ten crates beneath it, and with a limit that its environment sets.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::connection::Session as _;
use crate::python::ImapSession;

/// The most threads; further calls wait for one of them. As many as tokio has for blocking calls.
const MAX_THREADS: usize = 512;

/// The time that a thread waits for another call before it ends.
const IDLE_TIME: Duration = Duration::from_secs(1);

/// A call that may block.
pub(super) type Job = Box<dyn FnOnce() + Send>;

static POOL: Pool =
    Pool { jobs: Mutex::new(Jobs { waiting: VecDeque::new(), threads: 0, idle: 0 }), ready: Condvar::new() };

/// The threads of this process.
struct Pool {
    jobs: Mutex<Jobs>,
    ready: Condvar,
}

/// The calls that wait for a thread, and the numbers of threads.
struct Jobs {
    waiting: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

/// Runs a call on a thread of the pool. Where there is none, and none can be started, runs it here.
pub(super) fn run(job: Job) {
    if ImapSession::is_forked() {
        return run_here(job); // It returns the error of a forked child, where the threads are missing.
    }
    let mut jobs = POOL.jobs.lock();
    jobs.waiting.push_back(job);
    if jobs.idle >= jobs.waiting.len() {
        POOL.ready.notify_one();
    } else if jobs.threads < MAX_THREADS {
        jobs.threads += 1;
        if thread::Builder::new().name("pymail-call".into()).spawn(work).is_err() {
            jobs.threads -= 1;
            let job = if jobs.threads == 0 { jobs.waiting.pop_back() } else { None };
            drop(jobs);
            job.into_iter().for_each(run_here);
        }
    }
}

/// Runs a call, and contains its panic, which the panic hook has reported.
pub(super) fn run_here(job: Job) {
    let _ = catch_unwind(AssertUnwindSafe(job));
}

/// Runs calls until there were none for a while.
fn work() {
    let mut jobs = POOL.jobs.lock();
    loop {
        if let Some(job) = jobs.waiting.pop_front() {
            MutexGuard::unlocked(&mut jobs, || run_here(job));
            continue;
        }
        jobs.idle += 1;
        let has_timed_out = POOL.ready.wait_for(&mut jobs, IDLE_TIME).timed_out();
        jobs.idle -= 1;
        if has_timed_out && jobs.waiting.is_empty() {
            break;
        }
    }
    jobs.threads -= 1;
}
