//! From the counters of Windows.
#![allow(unsafe_code, reason = "calls of the system")]

use std::mem;
use std::time::Duration;

use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetProcessTimes};

/// Watches the peak of the memory. Windows does not forget a peak: a lower one afterwards goes unnoticed.
pub struct PeakMemory {
    before: PROCESS_MEMORY_COUNTERS,
}

impl PeakMemory {
    /// Notes the memory at the beginning.
    pub fn watch() -> Self {
        Self { before: counters() }
    }

    /// Returns the octets of a new peak above the memory at the beginning.
    pub fn growth(&self) -> usize {
        let peak = counters().PeakWorkingSetSize;
        if peak > self.before.PeakWorkingSetSize {
            peak.saturating_sub(self.before.WorkingSetSize)
        } else {
            0
        }
    }
}

fn counters() -> PROCESS_MEMORY_COUNTERS {
    let size = u32::try_from(size_of::<PROCESS_MEMORY_COUNTERS>()).expect("a small structure");
    // SAFETY: zeros are a valid value; the system writes no more than the size that is passed.
    let (counters, is_known) = unsafe {
        let mut counters: PROCESS_MEMORY_COUNTERS = mem::zeroed();
        let is_known = K32GetProcessMemoryInfo(GetCurrentProcess(), &raw mut counters, size);
        (counters, is_known)
    };
    assert!(is_known != 0 && counters.WorkingSetSize > 0, "the memory of this process");
    counters
}

/// Returns the CPU time of the process with all its threads.
pub fn cpu_time() -> Duration {
    // SAFETY: zeros are a valid value; the system writes four times.
    let (times, is_known) = unsafe {
        let mut times: [FILETIME; 4] = mem::zeroed();
        let [created, exited, kernel, user] = &mut times;
        let is_known = GetProcessTimes(GetCurrentProcess(), created, exited, kernel, user);
        (times, is_known)
    };
    assert!(is_known != 0, "the times of this process");
    // In 100 ns: the kernel's and the process's own.
    let hundreds = |time: &FILETIME| u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    Duration::from_nanos(100 * times[2..].iter().map(hundreds).sum::<u64>())
}
