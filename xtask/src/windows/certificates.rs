//! The system's certificates under Wine, which programs that are killed would keep from all others.
//!
//! The first program that opens them imports them from the files of this system. Meanwhile it holds a semaphore for which
//! the others wait, without a limit. If it is killed then, they wait for ever: Wine 8, also with bare Pythons, two of
//! which open the certificates while the first one is killed.
//!
//! Python reads them all for each TLS context: with the 149 of Debian that takes 65 ms of CPU, with three of them 1 ms. No
//! test needs more.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use super::python;
use super::wine;

/// Imports the certificates, and removes all but three; then keeps the semaphore, with so many places that a program always
/// gets one.
const KEEP: &str = r"
import ctypes, ssl, sys, winreg
ssl.create_default_context()
name = r'Software\Microsoft\SystemCertificates\Root\Certificates'
roots = winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, name, 0, winreg.KEY_ALL_ACCESS)
while winreg.QueryInfoKey(roots)[0] > 3:
    winreg.DeleteKey(roots, winreg.EnumKey(roots, 0))
kept = ctypes.windll.kernel32.CreateSemaphoreW(None, 1_000_000, 2_000_000, 'crypt32_root_semaphore')
print('kept' if kept else 'not kept', flush=True)
sys.stdin.read()
";

/// A program that keeps the semaphore, until the drop.
pub(super) struct Certificates(Child);

impl Certificates {
    /// Starts the program.
    ///
    /// # Errors
    ///
    /// It does not start, or the semaphore can't be kept.
    pub(super) fn keep() -> Result<Self, String> {
        let failed = |why: &dyn std::fmt::Display| format!("the certificates of Wine: {why}");
        let mut program = wine::wine();
        program.arg(python::folder(python::DEFAULT).join("python.exe")).args(["-c", KEEP]);
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut program = program.spawn().map_err(|error| failed(&error))?;
        let mut line = String::new();
        if let Some(output) = program.stdout.take() {
            BufReader::new(output).read_line(&mut line).map_err(|error| failed(&error))?;
        }
        if line.trim() == "kept" { Ok(Self(program)) } else { Err(failed(&line.trim())) }
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        // It ends with its standard input.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
