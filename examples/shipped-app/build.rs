//! Where the app looks for libpython: beside itself, and where this machine has it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // RPATH, not RUNPATH: it holds for the libraries of Python's modules, too.
    println!("cargo::rustc-link-arg=-Wl,--disable-new-dtags,-rpath,$ORIGIN/../lib");
    if let Ok(folder) = std::env::var("DEP_PYMAIL_LIB_DIR") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}");
    }
}
