//! Sockets below `std`: handed over to Python, and freed of a thread that waits on them.

use std::net::TcpStream;
#[cfg(unix)]
use std::os::fd::{IntoRawFd as _, RawFd};
#[cfg(windows)]
use std::os::windows::io::{AsRawSocket as _, IntoRawSocket as _, RawSocket};
use std::time::Duration;

/// The number by which Python adopts a socket.
#[cfg(unix)]
pub(crate) type Descriptor = RawFd;
#[cfg(windows)]
pub(crate) type Descriptor = RawSocket;

/// Gives the socket away; the new owner closes it.
pub(crate) fn into_descriptor(socket: TcpStream) -> Descriptor {
    #[cfg(unix)]
    return socket.into_raw_fd();
    #[cfg(windows)]
    return socket.into_raw_socket();
}

/// The time after which a thread that still waits on a socket that was shut down is woken again; `None` where the
/// shutdown has woken it for good.
///
/// On Windows it wakes no thread, and a cancellation those only that wait at that moment, and not one that is about to.
pub(crate) const WAKE_AGAIN: Option<Duration> =
    if cfg!(windows) { Some(Duration::from_millis(20)) } else { None };

/// Wakes the threads of this process that wait on a socket that was shut down, by any of its handles.
#[cfg(unix)]
pub(crate) fn wake_waiting(_: &TcpStream) {}

#[cfg(windows)]
#[allow(unsafe_code)]
pub(crate) fn wake_waiting(socket: &TcpStream) {
    let handle =
        std::ptr::with_exposed_provenance_mut(usize::try_from(socket.as_raw_socket()).unwrap_or_default());
    // SAFETY: the handle is that of an open socket; null stands for all that is under way.
    unsafe { windows_sys::Win32::System::IO::CancelIoEx(handle, std::ptr::null()) };
}
