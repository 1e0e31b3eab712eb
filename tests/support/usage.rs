//! The memory, the CPU time, the sockets and the threads of this process.

#[cfg_attr(unix, path = "usage/linux.rs")]
#[cfg_attr(windows, path = "usage/windows.rs")]
mod system;

pub use self::system::{PeakMemory, cpu_time, open_sockets, thread_cpu_time, thread_names};
