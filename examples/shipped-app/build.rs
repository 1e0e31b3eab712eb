//! Sets the rpath to libpython: in the app's folder, and where this machine has it.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        // RPATH instead of RUNPATH, which would not apply to the libraries of Python's modules.
        Ok("linux") => println!("cargo::rustc-link-arg=-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib"),
        Ok("macos") => println!("cargo::rustc-link-arg=-Wl,-rpath,@loader_path/../Frameworks"),
        // Windows looks for DLLs beside the app.
        _ => return,
    }
    if let Ok(folder) = env::var("DEP_PYMAIL_LIB_DIR") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}");
    }
}
