//! From the counters of Windows.
#![allow(unsafe_code, reason = "calls of the system")]

use std::ptr;
use std::slice;
use std::time::Duration;

use windows_sys::Win32::Foundation::{CloseHandle, FILETIME, LocalFree};
use windows_sys::Win32::Networking::WinSock::{SO_TYPE, SOCKET, SOL_SOCKET, getsockopt};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetCurrentProcessId, GetCurrentThread, GetProcessTimes, GetThreadDescription,
    GetThreadTimes, OpenThread, THREAD_QUERY_LIMITED_INFORMATION,
};
use windows_sys::core::BOOL;

/// The number of handles that are looked at: a process of the tests has some hundreds.
const MOST_HANDLES: usize = 4_000;

/// Watches the peak of the memory.
pub struct PeakMemory {
    before: usize,
}

impl PeakMemory {
    /// Notes the memory at the beginning.
    pub fn watch() -> Self {
        Self { before: counters().WorkingSetSize }
    }

    /// Returns the octets of the peak above the memory at the beginning, or more: Windows does not forget a former peak.
    pub fn growth(&self) -> usize {
        counters().PeakWorkingSetSize.saturating_sub(self.before)
    }
}

fn counters() -> PROCESS_MEMORY_COUNTERS {
    let size = u32::try_from(size_of::<PROCESS_MEMORY_COUNTERS>()).expect("a small structure");
    let mut counters = PROCESS_MEMORY_COUNTERS::default();
    // SAFETY: the system writes no more than the size that is passed.
    let is_known = unsafe { K32GetProcessMemoryInfo(GetCurrentProcess(), &raw mut counters, size) };
    assert!(is_known != 0 && counters.WorkingSetSize > 0, "the memory of this process");
    counters
}

/// Returns the CPU time of the process with all its threads.
pub fn cpu_time() -> Duration {
    // SAFETY: the handle stands for this process, which is open.
    busy(|[created, exited, kernel, user]| unsafe {
        GetProcessTimes(GetCurrentProcess(), created, exited, kernel, user)
    })
}

/// Returns the CPU time of this thread.
pub fn thread_cpu_time() -> Duration {
    // SAFETY: the handle stands for this thread, which is open.
    busy(|[created, exited, kernel, user]| unsafe {
        GetThreadTimes(GetCurrentThread(), created, exited, kernel, user)
    })
}

/// Returns the kernel's and the program's own time, which the system writes behind two others.
fn busy(write: impl FnOnce([&mut FILETIME; 4]) -> BOOL) -> Duration {
    let mut times = [FILETIME::default(); 4];
    assert!(write(times.each_mut()) != 0, "the times of this process");
    let hundreds = |time: &FILETIME| u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    Duration::from_nanos(100 * times[2..].iter().map(hundreds).sum::<u64>())
}

/// Returns the number of open sockets, among the first [`MOST_HANDLES`] handles.
pub fn open_sockets() -> usize {
    (1..=MOST_HANDLES).map(|number| 4 * number).filter(|&handle| is_socket(handle)).count()
}

fn is_socket(handle: SOCKET) -> bool {
    let (mut kind, mut size) = ([0; size_of::<i32>()], 4);
    // SAFETY: the system writes no more than the size that is passed, and refuses what is no socket.
    unsafe { getsockopt(handle, SOL_SOCKET, SO_TYPE, kind.as_mut_ptr(), &raw mut size) == 0 }
}

/// Returns the names of all threads that have one.
pub fn thread_names() -> Vec<String> {
    let size = u32::try_from(size_of::<THREADENTRY32>()).expect("a small structure");
    let mut entry = THREADENTRY32 { dwSize: size, ..THREADENTRY32::default() };
    let mut names = Vec::new();
    // SAFETY: the system writes the entry, whose size it knows; the list of all processes' threads is closed.
    unsafe {
        let this = GetCurrentProcessId();
        let all = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
        let mut is_there = Thread32First(all, &raw mut entry);
        while is_there != 0 {
            if entry.th32OwnerProcessID == this {
                names.extend(thread_name(entry.th32ThreadID));
            }
            is_there = Thread32Next(all, &raw mut entry);
        }
        CloseHandle(all);
    }
    names
}

/// Returns the name of a thread; `None` if it has none, or has ended.
fn thread_name(id: u32) -> Option<String> {
    let mut name: *mut u16 = ptr::null_mut();
    // SAFETY: the system allocates the name, with a zero at its end, which is read before it is freed.
    unsafe {
        let thread = OpenThread(THREAD_QUERY_LIMITED_INFORMATION, 0, id);
        if thread.is_null() {
            return None;
        }
        let outcome = GetThreadDescription(thread, &raw mut name);
        CloseHandle(thread);
        if outcome < 0 || name.is_null() {
            return None;
        }
        let mut length = 0;
        while *name.add(length) != 0 {
            length += 1;
        }
        let text = String::from_utf16_lossy(slice::from_raw_parts(name, length));
        LocalFree(name.cast());
        Some(text).filter(|text| !text.is_empty())
    }
}
