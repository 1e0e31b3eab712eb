//! One shift: processes that consume, some of which are killed and replaced, until no message is left.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::A_MOMENT;
use crate::consumer::Orders;
use crate::record::{Reader, now};
use crate::support::verdict::{Event, What};

/// The longest time without progress, beyond a lease, before the checker gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The latest time of a kill after the progress that it waits for.
const MOST_DELAY: u32 = 100;

/// The running processes.
pub struct Shift {
    orders: Orders,
    reader: Reader,
    living: BTreeMap<usize, Child>,
    next: usize,
    /// The consumers' actions.
    pub events: Vec<Event>,
    /// The killed consumers, with their times.
    pub killed: BTreeMap<usize, u64>,
    /// Violations by consumers, such as an early end.
    pub faults: Vec<String>,
}

impl Shift {
    /// Starts this many processes.
    pub fn begin(orders: Orders, processes: usize) -> io::Result<Self> {
        let reader = Reader::create(&orders.record)?;
        let (living, events, killed, faults) = (BTreeMap::new(), Vec::new(), BTreeMap::new(), Vec::new());
        let mut shift = Self { orders, reader, living, next: 0, events, killed, faults };
        (0..processes).try_for_each(|_| shift.employ())?;
        Ok(shift)
    }

    fn employ(&mut self) -> io::Result<()> {
        self.next += 1;
        let orders = Orders { number: self.next, ..self.orders.clone() };
        let mut command = Command::new(env::current_exe()?);
        command.args(["consumer", &serde_json::to_string(&orders)?]).stdin(Stdio::piped());
        self.living.insert(self.next, command.spawn()?);
        Ok(())
    }

    /// Watches until all messages were handed out and `is_done`, or there is no more progress; kills and replaces a
    /// process at each of several random moments. `meanwhile` receives the number of messages handed out.
    pub fn run(
        &mut self,
        messages: usize,
        kills: usize,
        mut meanwhile: impl FnMut(usize),
        is_done: impl Fn() -> bool,
    ) -> io::Result<()> {
        let mut due: Vec<usize> = (1..=kills).map(|nth| nth * messages / (kills + 1)).rev().collect();
        let mut handed = BTreeSet::new();
        let mut last_news = Instant::now();
        loop {
            let news = self.reader.news()?;
            if !news.is_empty() {
                last_news = Instant::now();
            }
            handed.extend(news.iter().filter(|event| event.what == What::Handed).map(|event| event.message));
            self.events.extend(news);
            self.notice_ended()?;
            meanwhile(handed.len());
            if due.last().is_some_and(|due| handed.len() >= *due) {
                due.pop();
                thread::park_timeout(Duration::from_millis(u64::from(random(MOST_DELAY))));
                self.kill_one()?;
            }
            let over = last_news.elapsed() > self.orders.lease.max(self.orders.work * 2) + PATIENCE;
            if over || (handed.len() >= messages && is_done()) {
                return Ok(());
            }
            thread::park_timeout(A_MOMENT);
        }
    }

    /// Watches until `go_on`, which receives the number of messages handed out, returns that all is done, or there is
    /// no more progress.
    pub fn work_through(&mut self, mut go_on: impl FnMut(usize) -> bool) -> io::Result<()> {
        let is_done = Cell::new(false);
        self.run(0, 0, |handed| is_done.set(go_on(handed)), || is_done.get())
    }

    fn kill_one(&mut self) -> io::Result<()> {
        let victims: Vec<usize> = self.living.keys().copied().collect();
        let Some(&victim) = victims.get(random(u32::try_from(victims.len()).unwrap_or(1)) as usize) else {
            return Ok(());
        };
        if let Some(mut child) = self.living.remove(&victim) {
            self.killed.insert(victim, now());
            child.kill()?;
            child.wait()?;
        }
        self.employ()
    }

    /// Checks that no consumer has ended early.
    fn notice_ended(&mut self) -> io::Result<()> {
        let mut ended = Vec::new();
        for (&number, child) in &mut self.living {
            ended.extend(child.try_wait()?.map(|status| (number, status)));
        }
        for (number, status) in ended {
            self.living.remove(&number);
            self.faults.push(format!("consumer {number} ended by itself: {status}"));
        }
        Ok(())
    }

    /// Stops all consumers, and waits for their ends.
    pub fn end(&mut self) -> io::Result<()> {
        for child in self.living.values_mut() {
            drop(child.stdin.take());
        }
        let deadline = Instant::now() + self.orders.lease + PATIENCE;
        for (number, mut child) in std::mem::take(&mut self.living) {
            let ended = ended_by(&mut child, deadline)?;
            if !ended.is_some_and(|status| status.success()) {
                let how = ended.map_or("not at all".into(), |status| status.to_string());
                self.faults.push(format!("consumer {number} was told to end, and ended so: {how}"));
            }
        }
        self.events.extend(self.reader.news()?);
        Ok(())
    }

    /// Returns the time from the first message handed out to the last action.
    pub fn seconds(&self) -> f64 {
        let times = || self.events.iter().filter(|event| event.message.is_some()).map(|event| event.at);
        let (first, last) = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
        Duration::from_millis(last - first).as_secs_f64()
    }
}

/// Kills the consumers that are left when the checker gives up.
impl Drop for Shift {
    fn drop(&mut self) {
        for child in self.living.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn ended_by(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        let ended = child.try_wait()?;
        if ended.is_some() {
            return Ok(ended);
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::park_timeout(A_MOMENT);
    }
}

fn random(below: u32) -> u32 {
    getrandom::u32().unwrap_or(0) % below.max(1)
}
