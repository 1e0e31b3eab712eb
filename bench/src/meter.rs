//! Measures a client with its children: wall clock, CPU time and memory.

use std::io;
use std::time::{Duration, Instant};
use std::{fs, mem, process};

use crate::job::{Outcome, Result};

/// A running measurement.
pub struct Meter {
    pids: Vec<u32>,
    started: Instant,
    cpu: Duration,
}

impl Meter {
    /// Start to measure this process and those children that live now.
    ///
    /// # Errors
    /// When a child has gone.
    pub fn start(children: &[u32]) -> Result<Self> {
        let pids = [&[process::id()], children].concat();
        let cpu = cpu_time(&pids)?;
        Ok(Self { pids, started: Instant::now(), cpu })
    }

    /// Stop, while the children still live; those that came since are named in `newcomers`.
    ///
    /// # Errors
    /// When a child has gone.
    pub fn stop(mut self, newcomers: &[u32]) -> Result<Outcome> {
        let seconds = self.started.elapsed().as_secs_f64();
        self.pids.extend(newcomers);
        let cpu = cpu_time(&self.pids)?.saturating_sub(self.cpu);
        Ok(Outcome {
            seconds,
            cpu_us: cpu.as_secs_f64() * 1e6,
            peak_rss_mb: megabytes(&self.pids, "status", "VmHWM:")?,
            pss_mb: megabytes(&self.pids, "smaps_rollup", "Pss:")?,
        })
    }
}

fn cpu_time(pids: &[u32]) -> Result<Duration> {
    pids.iter().map(|&pid| process_clock(pid).map_err(Into::into)).sum()
}

/// User and system time of a living process, all its threads included.
///
/// `getrusage` knows children only once they have ended, and `/proc` counts in ticks of 10 ms.
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

/// The sum over the processes of one line of a file in `/proc/PID/`, which is in kB.
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
