//! Tells the linker of our own programs, and the build scripts of apps, where libpython is.
//!
//! An rpath is not inherited: Cargo gives it to this package's tests and examples only. An app's own
//! `build.rs` reads `DEP_PYMAIL_LIB_DIR`; the README says how.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    pyo3_build_config::add_libpython_rpath_link_args();
    let python = pyo3_build_config::get();
    println!("cargo::rustc-env=PYMAIL_PYTHON_VERSION={}", python.version());
    if let Some(lib_dir) = python.lib_dir() {
        println!("cargo::metadata=LIB_DIR={lib_dir}");
        println!("cargo::rustc-env=PYMAIL_PYTHON_LIB_DIR={lib_dir}");
    }
}
