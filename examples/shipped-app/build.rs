//! Sets the rpath to libpython: beside the app, and where this machine has it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // RPATH instead of RUNPATH, which would not apply to the libraries of Python's modules.
    println!("cargo::rustc-link-arg=-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib");
    if let Ok(folder) = std::env::var("DEP_PYMAIL_LIB_DIR") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}");
    }
}
