//! Tells the linker where pymail's libpython is, as any app does.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=DEP_PYMAIL_LIB_DIR");
    if let Ok(folder) = std::env::var("DEP_PYMAIL_LIB_DIR") {
        println!("cargo::rustc-link-arg-bins=-Wl,-rpath,{folder}");
    }
}
