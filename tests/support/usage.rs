//! The memory and the CPU time of this process.

#[cfg_attr(unix, path = "usage/linux.rs")]
#[cfg_attr(windows, path = "usage/windows.rs")]
mod system;

pub use self::system::{PeakMemory, cpu_time};
