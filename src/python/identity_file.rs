//! A client certificate with its key as a file: Python's `ssl` takes both from files only.
//!
//! On Linux the file is in memory and has no name; elsewhere, and without `/proc`, it is in the temporary folder, as
//! long as the handshake takes. On Unix only the user can read it; on Windows it has the rights of that folder, which is the
//! user's own. Python gets its path, and never the key.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;

use crate::config::Identity;

/// The file, which is gone when this is dropped.
pub(super) struct IdentityFile {
    path: PathBuf,
    open: File,
    has_name: bool,
}

impl IdentityFile {
    /// Writes the certificate and the key.
    ///
    /// # Errors
    /// Of the system, for a temporary folder that can't be written.
    pub(super) fn new(identity: &Identity) -> io::Result<Self> {
        let mut file = in_memory().map_or_else(Self::in_folder, Ok)?;
        file.open.write_all(identity.pem().as_bytes())?;
        Ok(file)
    }

    /// Makes an empty file in the temporary folder.
    fn in_folder() -> io::Result<Self> {
        let random = getrandom::u64().map_err(|_| io::Error::other("the system has no random numbers"))?;
        let name = format!("pymail-{}-{random:016x}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)] // on Windows, the temporary folder is the user's own
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let open = options.open(&path)?;
        Ok(Self { path, open, has_name: true })
    }

    /// Returns its path, which is valid in this process.
    pub(super) fn path(&self) -> &OsStr {
        self.path.as_os_str()
    }
}

/// Returns an empty file in memory, if this system has such files, and paths for them.
#[cfg(target_os = "linux")]
fn in_memory() -> Option<IdentityFile> {
    use std::os::fd::AsRawFd as _;

    let file = File::from(rustix::fs::memfd_create("pymail", rustix::fs::MemfdFlags::CLOEXEC).ok()?);
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    File::open(&path).is_ok().then_some(IdentityFile { path, open: file, has_name: false })
}

#[cfg(not(target_os = "linux"))]
fn in_memory() -> Option<IdentityFile> {
    None
}

impl Drop for IdentityFile {
    fn drop(&mut self) {
        if self.has_name {
            let _ = fs::remove_file(&self.path); // A cleaner of temporary files may have been quicker.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_the_temporary_folder_is_its_owners_and_goes() {
        let file = IdentityFile::in_folder().unwrap();
        let path = PathBuf::from(file.path());
        #[cfg(unix)]
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777,
            0o600
        );
        assert!(path.is_file());
        drop(file);
        assert!(!path.exists());
    }
}
