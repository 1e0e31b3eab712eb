//! Unpacked servers, and a root folder for each server that insists on fixed paths.
//!
//! Debian installs one mail server of a kind on a machine. `cargo xtask test --all-servers` unpacks the others from their
//! packages, and they run beside it. Root only.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::process::{self, ProcessGroup};
use super::target_dir;

/// The user that owns mail: `nobody`.
pub const NOBODY: u32 = 65_534;

/// Returns the folder into which a server was unpacked.
///
/// # Panics
///
/// If it wasn't.
pub fn unpacked(server: &str) -> PathBuf {
    let folder = target_dir().join("servers").join(server);
    assert!(folder.is_dir(), "{server} isn't here: `cargo xtask test --all-servers` unpacks it");
    folder
}

/// Returns the library folders of an unpacked server, separated by colons.
pub fn libraries(server: &str) -> String {
    let usr = unpacked(server).join("usr/lib");
    let entries = fs::read_dir(&usr).map(|entries| entries.flatten().map(|entry| entry.path()));
    let machine = entries.into_iter().flatten().filter(|path| path.to_string_lossy().ends_with("-linux-gnu"));
    let folders: Vec<String> =
        machine.chain([usr.clone()]).map(|path| path.to_string_lossy().into_owned()).collect();
    folders.join(":")
}

/// Makes a temporary folder that all users may enter.
pub fn folder(server: &str) -> TempDir {
    let dir = tempfile::Builder::new().prefix(&format!("{server}-")).tempdir().expect("a temporary folder");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("a folder for all users");
    dir
}

/// Starts a server, whose output goes to a file `log`, as a process group of its own.
pub fn launch(command: &mut Command, log: &Path) -> ProcessGroup {
    let output = fs::File::options().create(true).append(true).open(log).expect("a file for the output");
    let errors = output.try_clone().expect("a second handle on the output");
    let command = command.stdin(Stdio::null()).stdout(output).stderr(errors);
    ProcessGroup::spawn(command).unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// A root folder with a server's programs, their libraries and users. A drop ends all processes in it and removes it.
pub struct Jail {
    dir: TempDir,
}

impl Jail {
    /// Copies these programs, of the server or else of the system, and the libraries that they load.
    ///
    /// # Panics
    ///
    /// If this process isn't root's, or the server isn't unpacked.
    pub fn new(server: &str, programs: &[&str], users: &[(&str, u32)]) -> Self {
        assert!(process::is_root(), "{server} starts only as root");
        let (from, libraries) = (unpacked(server), libraries(server));
        let jail = Self { dir: folder(server) };
        for program in programs {
            let ours = from.join(program.trim_start_matches('/'));
            let source = if ours.exists() { ours } else { PathBuf::from(program) };
            jail.copy(&source, program);
            for (library, inside) in loaded(&source, &libraries, &from) {
                jail.copy(&library, &inside);
            }
        }
        jail.furnish(users);
        jail
    }

    /// Returns the path outside of a path inside.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.dir.path().join(inside.trim_start_matches('/'))
    }

    /// Makes a folder with this owner and mode, and its parents.
    pub fn folder(&self, inside: &str, owner: u32, mode: u32) {
        let path = self.path(inside);
        fs::create_dir_all(&path).expect("a folder in the jail");
        own(&path, owner, mode);
    }

    /// Writes a file with this owner and mode.
    pub fn write(&self, inside: &str, text: &str, owner: u32, mode: u32) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().expect("a path inside")).expect("a folder in the jail");
        fs::write(&path, text).expect("a file in the jail");
        own(&path, owner, mode);
    }

    /// Returns a command for a program inside, with an empty environment.
    pub fn command(&self, options: &[&str], program: &str) -> Command {
        let mut command = Command::new(process::program("chroot", "coreutils"));
        command.args(options).arg(self.dir.path()).arg(program).env_clear();
        command
    }

    /// Adds the files that every program expects.
    fn furnish(&self, users: &[(&str, u32)]) {
        let users = [("root", 0), ("nobody", NOBODY)].iter().chain(users);
        let lines = users.map(|(name, id)| {
            (format!("{name}:x:{id}:{id}::/:/usr/sbin/nologin\n"), format!("{name}:x:{id}:\n"))
        });
        let (passwd, group): (Vec<String>, Vec<String>) = lines.unzip();
        self.write("/etc/passwd", &passwd.concat(), 0, 0o644);
        self.write("/etc/group", &group.concat(), 0, 0o644);
        self.write("/etc/hosts", "127.0.0.1 localhost\n", 0, 0o644);
        // A plain file is enough, and needs no right to make devices.
        self.write("/dev/null", "", 0, 0o666);
        self.folder("/tmp", 0, 0o1777);
        self.folder("/run", 0, 0o755);
    }

    /// Copies a file, or makes a hard link to it.
    ///
    /// This process never opens it for writing: programs that other tests start at that time would have it open, too, and
    /// then it can't be run ("Text file busy").
    fn copy(&self, from: &Path, inside: &str) {
        let to = self.path(inside);
        fs::create_dir_all(to.parent().expect("a path inside")).expect("a folder in the jail");
        let linked = fs::canonicalize(from).and_then(|from| fs::hard_link(from, &to));
        if linked.is_err() && !to.exists() {
            let copied = Command::new("cp").arg(from).arg(&to).status();
            assert!(copied.is_ok_and(|status| status.success()), "{} can't be copied", from.display());
        }
    }

    /// Returns the processes whose root is this folder, also those outside of their server's process group.
    fn processes(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let inside =
            |path: PathBuf| fs::read_link(path.join("root")).is_ok_and(|it| it.starts_with(&self.dir));
        let entries = entries.flatten().filter(|entry| inside(entry.path()));
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        process::becomes_true(|| {
            let processes = self.processes();
            process::kill("KILL", processes.clone());
            processes.is_empty()
        });
    }
}

fn own(path: &Path, owner: u32, mode: u32) {
    chown(path, Some(owner), Some(owner)).expect("an owner");
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
}

/// Returns the libraries that a program loads, with their paths inside.
fn loaded(program: &Path, libraries: &str, unpacked: &Path) -> Vec<(PathBuf, String)> {
    let listed = process::output(Command::new("ldd").arg(program).env("LD_LIBRARY_PATH", libraries));
    assert!(!listed.contains("not found"), "{}: {listed}", program.display());
    let paths = listed.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    let inside = |path: &str| match Path::new(path).strip_prefix(unpacked) {
        Ok(rest) => format!("/{}", rest.display()),
        Err(_) => path.to_owned(),
    };
    paths.map(|path| (PathBuf::from(path), inside(path))).collect()
}
