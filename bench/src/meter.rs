//! Measures the processes of a system: wall clock, CPU time and memory.

use std::io;
use std::time::{Duration, Instant};
use std::{fs, mem};

use crate::job::{Outcome, Result};

/// A running measurement.
pub struct Meter {
    pids: Vec<u32>,
    started: Instant,
    cpu: Duration,
}

impl Meter {
    /// Starts to measure these processes; with none, the children that end meanwhile.
    ///
    /// # Errors
    /// A process that has ended.
    pub fn start(pids: Vec<u32>) -> Result<Self> {
        let cpu = cpu_time(&pids)?;
        Ok(Self { pids, started: Instant::now(), cpu })
    }

    /// Measures these processes from their start; the wall clock is the caller's.
    pub fn since_birth(pids: Vec<u32>) -> Self {
        Self { pids, started: Instant::now(), cpu: Duration::ZERO }
    }

    /// Stops the measurement, while the processes still live.
    ///
    /// # Errors
    /// A process that has ended.
    pub fn stop(self) -> Result<Outcome> {
        let seconds = self.started.elapsed().as_secs_f64();
        let cpu_s = cpu_time(&self.pids)?.saturating_sub(self.cpu).as_secs_f64();
        if self.pids.is_empty() {
            // The memory of ended children is unknown.
            return Ok(Outcome { seconds, cpu_s, ..Outcome::default() });
        }
        Ok(Outcome {
            seconds,
            cpu_s,
            peak_rss_mb: Some(megabytes(&self.pids, "status", "VmHWM:")?),
            rss_mb: Some(megabytes(&self.pids, "status", "VmRSS:")?),
            pss_mb: Some(megabytes(&self.pids, "smaps_rollup", "Pss:")?),
            ..Outcome::default()
        })
    }
}

fn cpu_time(pids: &[u32]) -> Result<Duration> {
    if pids.is_empty() {
        Ok(ended_children()?)
    } else {
        pids.iter().map(|&pid| Ok(process_clock(pid)?)).sum()
    }
}

/// Returns user and system time of the children that have ended.
#[allow(unsafe_code)]
fn ended_children() -> io::Result<Duration> {
    // SAFETY: a rusage is made of integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    // SAFETY: `usage` is valid for the write of one rusage.
    if unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let time = |it: libc::timeval| {
        let (seconds, micros) = (u64::try_from(it.tv_sec), u64::try_from(it.tv_usec));
        let seconds = seconds.map(Duration::from_secs).map_err(io::Error::other)?;
        Ok::<_, io::Error>(seconds + micros.map(Duration::from_micros).map_err(io::Error::other)?)
    };
    Ok(time(usage.ru_utime)? + time(usage.ru_stime)?)
}

/// Returns user and system time of a living process, all its threads included.
///
/// `getrusage` counts children only after their end, and `/proc` counts in ticks of 10 ms.
#[allow(unsafe_code)]
fn process_clock(pid: u32) -> io::Result<Duration> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    let mut clock: libc::clockid_t = 0;
    // SAFETY: `clock` is valid for the write of one clockid_t.
    let error = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    // SAFETY: a timespec is two integers, for which zero is a value.
    let mut time: libc::timespec = unsafe { mem::zeroed() };
    // SAFETY: `time` is valid for the write of one timespec.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Ok(Duration::new(seconds.map_err(io::Error::other)?, nanos.map_err(io::Error::other)?))
}

/// Sums one line of a file in `/proc/PID/`, in kB, over the processes.
fn megabytes(pids: &[u32], file: &str, label: &str) -> Result<f64> {
    let mut kilobytes = 0.0;
    for pid in pids {
        let path = format!("/proc/{pid}/{file}");
        let text = fs::read_to_string(&path)?;
        let line = text.lines().find_map(|line| line.strip_prefix(label)).ok_or(path)?;
        kilobytes += line.trim().trim_end_matches(" kB").parse::<f64>()?;
    }
    Ok(kilobytes * 1024.0 / 1e6)
}
