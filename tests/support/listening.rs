//! Connections to the servers that run in the process of the tests.

use std::net::{TcpListener, TcpStream};

/// Returns the connections that clients make, as they come.
///
/// On Windows, programs inherit an accepted socket: while one of those that tests start runs, a connection would stay
/// open although its server has closed it. A program that starts just now may still have it.
pub fn connections(listener: &TcpListener) -> impl Iterator<Item = TcpStream> {
    listener.incoming().flatten().inspect(|stream| {
        #[cfg(windows)]
        keep_from_programs(stream);
        #[cfg(unix)]
        let _ = stream; // closed on exec by the standard library
    })
}

#[cfg(windows)]
#[allow(unsafe_code, reason = "the standard library has no such option")]
fn keep_from_programs(stream: &TcpStream) {
    use std::os::windows::io::AsRawSocket as _;
    use windows_sys::Win32::Foundation::{HANDLE_FLAG_INHERIT, SetHandleInformation};

    let handle = stream.as_raw_socket() as windows_sys::Win32::Foundation::HANDLE;
    // SAFETY: the stream, and with it the handle, is open.
    let kept = unsafe { SetHandleInformation(handle, HANDLE_FLAG_INHERIT, 0) };
    assert!(kept != 0, "a socket that programs inherit");
}
