//! Sets the rpath to libpython, as every app that links pymail must.

fn main() {
    if let Ok(folder) = std::env::var("DEP_PYMAIL_LIB_DIR") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}");
    }
}
