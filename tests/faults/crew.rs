//! Several worker processes, and the tasks between them.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::support::process::started;

use crate::worker::{Answer, Task};
use crate::world::World;

/// The number of workers for cases: they mostly wait.
pub const MANY: usize = 10;

/// The most runs of one case: violations that a busy machine may cause are believed after the last one.
pub const TRIES: usize = 5;

/// The number of workers for clean runs, which need an idle machine.
pub const FEW: usize = 2;

struct Worker {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    fn start(world: &World) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let mut command = Command::new(program);
        // Extra trust roots in the environment would be read for each connection, for longer than a case takes.
        command.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
        let command = command.arg("--worker").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = started(|| command.spawn())?;
        let answers = BufReader::new(child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
        let mut worker = Self { child, answers };
        worker.tell(&serde_json::to_string(world)?)?;
        Ok(worker)
    }

    fn tell(&mut self, line: &str) -> io::Result<()> {
        let stdin = self.child.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(stdin, "{line}")
    }

    fn ask(&mut self, task: &Task) -> io::Result<Answer> {
        self.tell(&serde_json::to_string(task)?)?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).map_err(|_| io::Error::other("the process ended"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs all tasks, in any order, and passes each answer on as it arrives.
pub fn work<K: Send>(world: &World, workers: usize, tasks: Vec<(K, Task)>, done: impl Fn(K, Answer) + Sync) {
    let workers = workers.min(tasks.len());
    let tasks = Mutex::new(VecDeque::from(tasks));
    let next = || tasks.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut worker = Worker::start(world);
                while let Some((key, task)) = next() {
                    let answer = worker.as_mut().map_err(|error| io::Error::other(error.to_string()));
                    let answer = answer.and_then(|worker| worker.ask(&task)).unwrap_or_else(|error| {
                        worker = Worker::start(world);
                        Answer::Broken(error.to_string())
                    });
                    done(key, answer);
                }
            });
        }
    });
}
