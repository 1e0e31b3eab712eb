//! A bundled app, in a root with nothing but the app and libc, and in a Windows with nothing but the app.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rstest::rstest;

use crate::fixtures::postfix;
use crate::mail_site::{ALICE, Site};

/// The variable with the bundle's path, set by `cargo xtask ship`.
const BUNDLE: &str = "PYMAIL_SHIPPED_APP";

const PLACE: &str = "/srv/some where/app";

/// The variable with the path of the bundle for Windows, set by `cargo xtask test --windows`, with `WINEPREFIX`.
const WINDOWS_BUNDLE: &str = "PYMAIL_SHIPPED_WINDOWS_APP";

/// A folder with blanks, umlauts and letters of no code page of Western Europe, in the folder of a Windows installation.
const WINDOWS_PLACE: &str = "drive_c/users/Zoë Łukasz/Mein Büro/app";

/// The limit beside libpython: Debian's libpython 3.11 has 8 MB, and 20 MB is the limit of Python. Others are larger.
const MOST_BESIDE_LIBPYTHON: u64 = 12_000_000;

#[rstest]
#[ignore = "for cargo xtask test, which builds and bundles the app"]
#[case::by_a_file_that_the_app_names("ca.pem", &["/ca.pem"])]
#[ignore = "for cargo xtask test, which builds and bundles the app"]
#[case::by_the_roots_of_another_system("etc/pki/tls/certs/ca-bundle.crt", &[])]
fn a_bundled_app_runs_in_an_empty_root(
    #[from(postfix)] site: Site,
    #[case] authority: &str,
    #[case] named: &[&str],
) {
    let root = tempfile::tempdir().unwrap();
    // Another path than that of the bundling: a bundle runs anywhere.
    let app = root.path().join(PLACE.trim_start_matches('/'));
    copy_all(&bundle(), &app);
    let program = fs::read_dir(app.join("bin")).unwrap().next().unwrap().unwrap().file_name();
    let program = Path::new(PLACE).join("bin").join(program);
    for library in of_the_system(&app) {
        put(root.path(), &library, &fs::read(&library).unwrap());
    }
    // Every Linux has this link, by which the dynamic linker finds the program's folder.
    fs::create_dir_all(root.path().join("proc/self")).unwrap();
    symlink(&program, root.path().join("proc/self/exe")).unwrap();
    put(root.path(), Path::new(authority), site.ca_pem().as_bytes());
    let ports = site.ports();
    let args = ["127.0.0.1", &ports.imaps.to_string(), &ports.smtp.to_string(), ALICE, site.password()];
    let mut command = in_root(root.path());
    command.arg(&program).args(args).args(named);
    let path = env::var_os("PATH").unwrap();
    let output = command.env_clear().env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "it came back\n");
}

#[rstest]
#[ignore = "for cargo xtask test --windows, which builds and bundles the app, and makes a prefix of Wine's"]
fn a_bundled_app_runs_in_windows_without_python(#[from(postfix)] site: Site) {
    let prefix = PathBuf::from(env::var_os("WINEPREFIX").expect("a fresh prefix"));
    let app = prefix.join(WINDOWS_PLACE);
    copy_all(&env::var_os(WINDOWS_BUNDLE).map(PathBuf::from).expect("the folder of the bundle"), &app);
    let program =
        files(&app).into_iter().find(|file| file.extension().is_some_and(|it| it == "exe")).unwrap();
    put(&prefix, Path::new("/drive_c/ca.pem"), site.ca_pem().as_bytes());
    let ports = site.ports();
    let args = ["127.0.0.1", &ports.imaps.to_string(), &ports.smtp.to_string(), ALICE, site.password()];
    let mut command = Command::new("/usr/lib/wine/wine64");
    command.arg(&program).args(args).arg(r"C:\ca.pem");
    // The locale tells Wine how file names are encoded.
    let home = env::var_os("HOME").unwrap_or_default();
    command.env_clear().envs([("HOME", home), ("WINEPREFIX", prefix.into())]);
    let output = command.envs([("LC_ALL", "C.UTF-8"), ("WINEDEBUG", "-all")]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), "it came back");
}

#[test]
#[ignore = "for cargo xtask test, which builds and bundles the app"]
fn a_bundled_standard_library_is_small() {
    let (bundle, mut octets) = (bundle(), 0);
    for file in files(&bundle).into_iter().filter(|file| !file.starts_with(bundle.join("bin"))) {
        let name = file.file_name().unwrap().to_string_lossy();
        let is_counted = !["libpython", "libssl", "libcrypto"].iter().any(|it| name.starts_with(it));
        octets += if is_counted { file.metadata().unwrap().len() } else { 0 };
    }
    assert!((1..=MOST_BESIDE_LIBPYTHON).contains(&octets), "{octets}");
}

fn bundle() -> PathBuf {
    env::var_os(BUNDLE).expect("the folder of the bundle").into()
}

fn put(root: &Path, file: &Path, octets: &[u8]) {
    let to = root.join(file.strip_prefix("/").unwrap_or(file));
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::write(&to, octets).unwrap();
    fs::set_permissions(&to, Permissions::from_mode(0o755)).unwrap();
}

/// Returns a command that changes the root: `chroot` as root, else in a user namespace.
fn in_root(root: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "chroot"]);
    if is_root() {
        command = Command::new("chroot");
    }
    command.arg(root);
    command
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout.trim_ascii() == b"0"
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Returns the dynamic linker, and the libraries that the bundle's files link from the system.
fn of_the_system(app: &Path) -> BTreeSet<PathBuf> {
    let mut libraries = BTreeSet::new();
    for file in files(app) {
        let is_native = file.to_string_lossy().contains(".so") || file.parent().unwrap().ends_with("bin");
        if is_native {
            let told =
                Command::new("ldd").arg(&file).env("LD_LIBRARY_PATH", app.join("lib")).output().unwrap();
            let told = String::from_utf8(told.stdout).unwrap();
            let paths = told.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
            libraries.extend(paths.filter(|path| !path.starts_with(app) && path.is_file()));
        }
    }
    let is_libc = |path: &&PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        ["ld-linux", "libc.", "libm.", "libdl.", "libpthread.", "librt.", "libutil."]
            .iter()
            .any(|it| name.starts_with(it))
    };
    assert!(libraries.iter().all(|path| is_libc(&path)), "{libraries:?} are not all of libc");
    libraries
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
