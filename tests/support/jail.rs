//! Servers that are unpacked, not installed, and a root folder for each of those that insist on fixed paths.
//!
//! Debian has one mail server of a kind on a machine. The others are unpacked from their packages by
//! `cargo xtask test --all-servers`, and run beside it. Root only.
#![allow(dead_code, unreachable_pub, reason = "each user of the fixtures takes the part that it needs")]

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::process::{self, ProcessGroup};

/// The user that owns mail: `nobody`.
pub const NOBODY: u32 = 65_534;

/// The folder into which a server was unpacked.
///
/// # Panics
///
/// When it wasn't.
pub fn unpacked(server: &str) -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    let folder = target.join("servers").join(server);
    assert!(folder.is_dir(), "{server} isn't here: `cargo xtask test --all-servers` unpacks it");
    folder
}

/// Where the libraries of an unpacked server are.
pub fn libraries(server: &str) -> String {
    let usr = unpacked(server).join("usr/lib");
    let entries = fs::read_dir(&usr).map(|entries| entries.flatten().map(|entry| entry.path()));
    let machine = entries.into_iter().flatten().filter(|path| path.to_string_lossy().ends_with("-linux-gnu"));
    let folders: Vec<String> =
        machine.chain([usr.clone()]).map(|path| path.to_string_lossy().into_owned()).collect();
    folders.join(":")
}

/// A temporary folder through which all users may pass.
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

/// A root folder with a server's programs, their libraries and its users, gone with all processes in it on drop.
pub struct Jail {
    dir: TempDir,
}

impl Jail {
    /// Copies these programs of a server, or of the system, with what they load.
    ///
    /// # Panics
    ///
    /// When this process isn't root's, or the server isn't unpacked.
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

    /// Where a path inside is for those outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.dir.path().join(inside.trim_start_matches('/'))
    }

    /// Makes a folder with this owner and mode, and those above it.
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

    /// A program inside, to be started with an empty environment.
    pub fn command(&self, options: &[&str], program: &str) -> Command {
        let mut command = Command::new(process::program("chroot", "coreutils"));
        command.args(options).arg(self.dir.path()).arg(program).env_clear();
        command
    }

    /// What every program expects to find.
    fn furnish(&self, users: &[(&str, u32)]) {
        let users = [("root", 0), ("nobody", NOBODY)].iter().chain(users);
        let lines = users.map(|(name, id)| {
            (format!("{name}:x:{id}:{id}::/:/usr/sbin/nologin\n"), format!("{name}:x:{id}:\n"))
        });
        let (passwd, group): (Vec<String>, Vec<String>) = lines.unzip();
        self.write("/etc/passwd", &passwd.concat(), 0, 0o644);
        self.write("/etc/group", &group.concat(), 0, 0o644);
        self.write("/etc/hosts", "127.0.0.1 localhost\n", 0, 0o644);
        // A file serves as well, and needs no right to make devices.
        self.write("/dev/null", "", 0, 0o666);
        self.folder("/tmp", 0, 0o1777);
        self.folder("/run", 0, 0o755);
    }

    fn copy(&self, from: &Path, inside: &str) {
        let to = self.path(inside);
        fs::create_dir_all(to.parent().expect("a path inside")).expect("a folder in the jail");
        if !to.exists() {
            fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        }
    }

    /// The processes that have their root in here, also those that left the group of their server.
    fn inmates(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let inside =
            |path: PathBuf| fs::read_link(path.join("root")).is_ok_and(|it| it.starts_with(&self.dir));
        let entries = entries.flatten().filter(|entry| inside(entry.path()));
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        process::comes_true(|| {
            let inmates = self.inmates();
            process::kill("KILL", inmates.clone());
            inmates.is_empty()
        });
    }
}

fn own(path: &Path, owner: u32, mode: u32) {
    chown(path, Some(owner), Some(owner)).expect("an owner");
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
}

/// The libraries that a program loads, and their paths inside.
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
