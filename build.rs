//! Finds libpython: sets the rpath of this package's programs, and `DEP_PYMAIL_LIB_DIR` for the build scripts of apps.
//!
//! Cargo does not pass an rpath on: an app needs a `build.rs` of its own, see the README. Windows has no rpath: the DLL lies
//! beside the app, or in a folder on PATH. A libpython that is missing, static or not found there is reported.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pyo3_build_config::InterpreterConfig;

/// Compiles the Python files, and prints the octets written; each result begins with the magic number of the bytecode.
const COMPILE: &str = "\
import importlib.util, marshal, os, sys
source, target = sys.argv[1:]
octets = 0
for name in os.listdir(source):
    if name.endswith('.py'):
        with open(os.path.join(source, name), 'rb') as file:
            code = compile(file.read(), 'py/' + name, 'exec', dont_inherit=True)
        with open(os.path.join(target, name + 'c'), 'wb') as file:
            octets += file.write(importlib.util.MAGIC_NUMBER + marshal.dumps(code))
print(octets)
";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=py");
    let python = pyo3_build_config::get();
    // The name of the folder in `lib`: the free-threaded 3.14 has one of its own.
    let free = if python.is_free_threaded() { "t" } else { "" };
    let version = format!("{}{free}", python.version());
    println!("cargo::rustc-env=PYMAIL_PYTHON_VERSION={version}");
    if let Some(lib_dir) = python.lib_dir() {
        println!("cargo::rustc-env=PYMAIL_PYTHON_LIB_DIR={lib_dir}");
    }
    set_rpath(python);
    // docs.rs links nothing, and has no Python.
    let is_documentation = env::var_os("DOCS_RS").is_some();
    // In a cross-compilation there is none to run; one of the same version on this machine makes the same bytecode.
    let program = python.executable().map_or_else(|| format!("python{version}"), str::to_owned);
    compile((!is_documentation).then_some(&program));
    if is_for("windows") {
        check_dll(python);
    } else if !is_documentation {
        check_library(python);
    }
}

/// Returns `true` if this is the system that will run the app.
fn is_for(system: &str) -> bool {
    env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == system)
}

/// Sets the rpath of this package's programs, and passes it to the build scripts of apps. Windows has none.
fn set_rpath(python: &InterpreterConfig) {
    pyo3_build_config::add_libpython_rpath_link_args();
    // On macOS: Xcode's Python is looked for by its place in the folder of frameworks, other ones by their whole paths.
    let frameworks = python.python_framework_prefix().filter(|folder| Path::new(folder).is_absolute());
    if frameworks.is_some() {
        pyo3_build_config::add_python_framework_link_args();
    }
    if let (Some(folder), false) = (frameworks.or(python.lib_dir()), is_for("windows")) {
        println!("cargo::metadata=LIB_DIR={folder}");
    }
}

/// Reports an installation without a shared libpython to link with.
fn check_library(python: &InterpreterConfig) {
    let (version, name) = (python.version(), python.lib_name().unwrap_or_default());
    let program = python.executable().unwrap_or("the Python that PyO3 found");
    let alternative = "Or set PYO3_PYTHON to another one, 3.9 to 3.15, and build again.";
    let Some(folder) = python.lib_dir() else { return };
    if !python.shared() {
        println!(
            "cargo::warning={program} has no shared libpython: an app must be linked with -rdynamic \
             (cargo::rustc-link-arg=-rdynamic in its build.rs), or Python's extension modules can't be loaded. Better \
             install one that has (Debian: python3-dev; pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared). {alternative}"
        );
    } else if is_for("linux") && !Path::new(folder).join(format!("lib{name}.so")).exists() {
        println!(
            "cargo::error={program} is Python {version}, and there is no lib{name}.so in {folder} to link with: install \
             its development files (Debian: libpython{version}-dev; Fedora: python3-devel). {alternative}"
        );
    }
}

/// Reports a DLL of an installed Python that Windows will not find.
fn check_dll(python: &InterpreterConfig) {
    let dll = format!("{}.dll", python.lib_name().unwrap_or_default());
    let (Some(program), Some(libs)) = (python.executable(), python.lib_dir()) else { return };
    let path = env::var_os("PATH").unwrap_or_default();
    if env::split_paths(&path).any(|folder| folder.join(&dll).exists()) {
        return;
    }
    println!("cargo::rerun-if-env-changed=PATH");
    let home = Path::new(libs).parent().unwrap_or(Path::new(libs));
    println!(
        "cargo::warning={program} has its {dll} in {}, which is not on PATH: add it, or copy {dll} beside the app's \
         program, or Windows will not start it.",
        home.display()
    );
}

/// Has a Python of the version that will be linked compile our files, which would cost each process a third of its start.
///
/// Without it, and after any failure, the results are empty, and the files are compiled when they are loaded; so is bytecode
/// with another magic number.
fn compile(program: Option<&String>) {
    let target = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    // At run time: Cargo does not build this script anew in a copy of the folder, where `env!` would name the old one.
    let source = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("py");
    let files = fs::read_dir(&source).expect("py/ can be read").flatten();
    let results: Vec<PathBuf> =
        files.map(|file| target.join(file.file_name().to_string_lossy().into_owned() + "c")).collect();
    let clear =
        || results.iter().for_each(|result| fs::write(result, []).expect("OUT_DIR can be written to"));
    clear();
    let Some(program) = program else { return };
    let done = Command::new(program).args(["-I", "-S", "-c", COMPILE]).args([&source, &target]).output();
    let octets: u64 = results.iter().filter_map(|result| fs::metadata(result).ok()).map(|it| it.len()).sum();
    let is_whole =
        |done: &Output| done.status.success() && done.stdout.trim_ascii() == octets.to_string().as_bytes();
    if !done.is_ok_and(|done| is_whole(&done)) {
        clear(); // An app that loads a part of a file's bytecode would not start.
        println!(
            "cargo::warning={program} could not compile pymail's Python files: each process of the app does"
        );
    }
}
