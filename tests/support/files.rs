//! Files of the tests that the servers read and write, too.

use std::io;
use std::path::Path;

use tempfile::TempDir;

/// Makes a temporary folder that the servers' own users may enter.
///
/// # Panics
///
/// On Windows by [`needs`](super::process::needs), if no program starts servers for it.
pub fn shared_folder() -> TempDir {
    #[cfg(unix)]
    let folder = TempDir::new();
    #[cfg(windows)]
    let folder = {
        super::remote::address();
        TempDir::new_in(r"Z:\tmp")
    };
    let folder = folder.expect("a temporary folder");
    set_mode(folder.path(), 0o755).expect("a folder for all users");
    folder
}

/// Sets who may read and write a file or folder.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    #[cfg(unix)]
    return std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(windows)]
    return super::remote::set_mode(path, mode);
}

/// Returns a path as the servers name it.
///
/// # Panics
///
/// If it isn't in UTF-8.
pub fn path_for_servers(path: &Path) -> String {
    let path = path.to_str().expect("a path in UTF-8");
    if cfg!(windows) { path.trim_start_matches("Z:").replace('\\', "/") } else { path.to_owned() }
}
