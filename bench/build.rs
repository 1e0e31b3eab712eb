//! Passes the path of libpython to the linker, as any app does, and the compiler's version to the report.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=DEP_PYMAIL_LIB_DIR");
    if let Ok(folder) = env::var("DEP_PYMAIL_LIB_DIR") {
        println!("cargo::rustc-link-arg-bins=-Wl,-rpath,{folder}");
    }
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version =
        Command::new(compiler).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    println!("cargo::rustc-env=PYMAIL_BENCH_RUSTC={}", String::from_utf8_lossy(&version).trim());
}
