//! Tells the linker of our own programs, and the build scripts of apps, where libpython is; and says in words what
//! the linker would say in its own.
//!
//! An rpath is not inherited: Cargo gives it to this package's tests and examples only. An app's own
//! `build.rs` reads `DEP_PYMAIL_LIB_DIR`; the README says how.

use std::env;
use std::path::Path;

use pyo3_build_config::InterpreterConfig;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    pyo3_build_config::add_libpython_rpath_link_args();
    let python = pyo3_build_config::get();
    // As its folder in `lib` is called: the free-threaded 3.14 is another Python than 3.14.
    let free = if python.is_free_threaded() { "t" } else { "" };
    println!("cargo::rustc-env=PYMAIL_PYTHON_VERSION={}{free}", python.version());
    if let Some(lib_dir) = python.lib_dir() {
        println!("cargo::metadata=LIB_DIR={lib_dir}");
        println!("cargo::rustc-env=PYMAIL_PYTHON_LIB_DIR={lib_dir}");
    }
    // docs.rs links nothing.
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") && env::var_os("DOCS_RS").is_none() {
        check(python);
    }
}

/// An app links libpython, which not every installation has.
fn check(python: &InterpreterConfig) {
    let (version, name) = (python.version(), python.lib_name().unwrap_or_default());
    let program = python.executable().unwrap_or("the Python that PyO3 found");
    let another = "Or set PYO3_PYTHON to another one, 3.9 to 3.15, and build again.";
    let Some(folder) = python.lib_dir() else { return };
    if !python.shared() {
        println!(
            "cargo::warning={program} has no shared libpython: an app must be linked with -rdynamic \
             (cargo::rustc-link-arg=-rdynamic in its build.rs), or Python's extension modules can't be loaded. Better \
             install one that has (Debian: python3-dev; pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared). {another}"
        );
    } else if !Path::new(folder).join(format!("lib{name}.so")).exists() {
        println!(
            "cargo::error={program} is Python {version}, and there is no lib{name}.so in {folder} to link with: install \
             its development files (Debian: libpython{version}-dev; Fedora: python3-devel). {another}"
        );
    }
}
