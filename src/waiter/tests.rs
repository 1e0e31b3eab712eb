use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::ThreadId;

use super::heartbeat::{MAX_IDLE, MAX_WORKERS};
use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// A target that reports each beat, and ends its first one when allowed to.
struct Target {
    begun: Mutex<Sender<ThreadId>>,
    may_end: Mutex<Option<Receiver<()>>>,
}

impl KeepAlive for Target {
    fn keep_alive(&self, _: Beat) -> Duration {
        let _ = self.begun.lock().send(thread::current().id());
        if let Some(may_end) = self.may_end.lock().take() {
            let _ = may_end.recv();
        }
        Duration::from_millis(1)
    }
}

fn target(may_end: Option<Receiver<()>>) -> (Arc<Target>, Receiver<ThreadId>) {
    let (begun, beats) = mpsc::channel();
    (Arc::new(Target { begun: Mutex::new(begun), may_end: Mutex::new(may_end) }), beats)
}

fn start(target: &Arc<Target>) -> Heartbeat {
    start_at(0, target)
}

fn start_at(server: u64, target: &Arc<Target>) -> Heartbeat {
    Heartbeat::start(Duration::ZERO, server, Arc::downgrade(target)).unwrap()
}

#[test]
fn while_one_beat_hangs_and_another_is_far_away_a_third_is_on_time() {
    let (release, may_end) = mpsc::channel();
    let (hangs, hanging) = target(Some(may_end));
    let far = target(None).0;
    let _far = Heartbeat::start(Duration::from_secs(3_600), 0, Arc::downgrade(&far)).unwrap();
    let (third, beats) = target(None);
    let _third = Heartbeat::start(Duration::from_millis(300), 0, Arc::downgrade(&third)).unwrap();
    let _hangs = start(&hangs);
    hanging.recv_timeout(PATIENCE).unwrap();
    beats.recv_timeout(PATIENCE).unwrap();
    release.send(()).unwrap();
}

#[test]
fn a_heartbeat_beats_again_and_again_until_it_is_stopped() {
    let (target, beats) = target(None);
    let heartbeat = start(&target);
    for _ in 0..3 {
        beats.recv_timeout(PATIENCE).unwrap();
    }
    heartbeat.stop();
    while beats.try_recv().is_ok() {}
    assert_eq!(beats.recv_timeout(Duration::from_millis(50)), Err(mpsc::RecvTimeoutError::Timeout));
}

#[test]
fn a_heartbeat_ends_with_its_target() {
    let (target, beats) = target(None);
    let _heartbeat = start(&target);
    drop(target);
    while beats.recv_timeout(PATIENCE).is_ok() {}
}

#[test]
fn a_beat_that_hangs_delays_no_other() {
    let ((release, may_end), (release_it, hangs)) = (mpsc::channel(), mpsc::channel());
    let ((slow, slow_beats), (slower, slower_beats)) = (target(Some(may_end)), target(Some(hangs)));
    let (quick, quick_beats) = target(None);
    let heartbeats = [start(&slow), start(&slower), start(&quick)];
    slow_beats.recv_timeout(PATIENCE).unwrap();
    slower_beats.recv_timeout(PATIENCE).unwrap();
    for _ in 0..3 {
        quick_beats.recv_timeout(PATIENCE).unwrap();
    }
    drop((release, release_it));
    heartbeats.into_iter().for_each(Heartbeat::stop);
}

#[test]
fn stop_waits_for_a_running_beat() {
    let (release, may_end) = mpsc::channel();
    let (target, beats) = target(Some(may_end));
    let heartbeat = start(&target);
    beats.recv_timeout(PATIENCE).unwrap();
    let stopped = thread::spawn(move || heartbeat.stop());
    assert!(!stopped.is_finished());
    release.send(()).unwrap();
    stopped.join().unwrap();
    assert_eq!(Arc::strong_count(&target), 1);
}

#[test]
fn a_thousand_heartbeats_leave_no_more_threads_than_are_busy() {
    let all: Vec<_> = (0..1_000).map(|_| target(None)).collect();
    let heartbeats: Vec<Heartbeat> = all.iter().map(|(target, _)| start(target)).collect();
    for (_, beats) in &all {
        beats.recv_timeout(PATIENCE).unwrap();
    }
    let queue = heartbeats[0].queue();
    let (other, _beats) = target(None);
    let last = start(&other); // Keeps the threads alive.
    heartbeats.into_iter().for_each(Heartbeat::stop);
    let deadline = Instant::now() + PATIENCE;
    let is_calm = |waits: &Waits| waits.beats.workers.len() <= waits.beats.running.len() + MAX_IDLE;
    while !is_calm(&queue.waits.lock()) {
        assert!(Instant::now() < deadline, "too many threads");
        thread::park_timeout(Duration::from_millis(5));
    }
    last.stop();
}

/// Starts heartbeats whose beats hang, like a NOOP that is not answered.
fn silent(server: u64, count: usize) -> (Vec<Sender<()>>, Vec<Arc<Target>>, Vec<Heartbeat>) {
    let (mut releases, mut targets, mut heartbeats) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let (release, may_end) = mpsc::channel();
        let (target, _) = target(Some(may_end));
        heartbeats.push(start_at(server, &target));
        targets.push(target);
        releases.push(release);
    }
    (releases, targets, heartbeats)
}

#[test]
fn silent_servers_delay_no_heartbeat_of_another() {
    let silent: Vec<_> = (1..=3).map(|server| silent(server, 2 * MAX_WORKERS)).collect();
    let queue = silent[0].2[0].queue();
    let full = |waits: &Waits| (1..=3).all(|server| waits.beats.is_busy(server));
    let deadline = Instant::now() + PATIENCE;
    while !full(&queue.waits.lock()) {
        assert!(Instant::now() < deadline, "workers that are free");
        thread::park_timeout(Duration::from_millis(5));
    }
    let (target, beats) = target(None);
    let heartbeat = start_at(4, &target);
    for _ in 0..3 {
        beats.recv_timeout(PATIENCE).unwrap();
    }
    heartbeat.stop();
    drop(silent);
}
