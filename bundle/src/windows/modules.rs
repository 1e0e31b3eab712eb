//! The part of the standard library that pymail needs on Windows, by name.
//!
//! The app's Python can't be asked, since the bundler also runs on other systems. The names are those that the Pythons
//! for Windows, 3.9 to 3.13, import for `imports::ALL`; a Python that lacks one does without. Packages
//! are whole, which makes room for what other versions import within them.

/// The newest Python, 3.X, with which the list was compared.
pub(super) const NEWEST: u32 = 13;

/// The extension modules; all others are parts of Python's DLL.
pub(super) const EXTENSIONS: [&str; 5] =
    ["_hashlib.pyd", "_socket.pyd", "_ssl.pyd", "select.pyd", "unicodedata.pyd"];

/// The modules and packages in Python; of all versions, so that each lacks some.
const MODULES: &str = "\
    __future__ _collections_abc _py_warnings _weakrefset abc base64 bisect calendar codecs collections contextlib \
    copy copyreg datetime email encodings enum functools genericpath hashlib heapq hmac imaplib importlib io \
    ipaddress json keyword locale ntpath operator os quopri random re reprlib selectors signal smtplib socket \
    sre_compile sre_constants sre_parse ssl stat string stringprep struct subprocess threading types typing urllib \
    uu warnings weakref zipimport";

/// Returns `true` for a file of a needed module, or of its package.
pub(super) fn is_needed(file: &str) -> bool {
    let name = file.split('/').next().unwrap_or_default().trim_end_matches(".pyc");
    MODULES.split(' ').any(|it| it == name)
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::super::package::Package;
    use super::*;
    use crate::{Options, bundle, imports, output};

    /// Imports the modules of its arguments, and the codec of host names.
    const IMPORT: &str = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]; \
                          print('\\xfc.example'.encode('idna'))";

    /// The modules that only other systems have, or only a script in an argument needs.
    const NOT_OF_WINDOWS: [&str; 2] = ["linecache.py", "posixpath.py"];

    #[test]
    fn a_file_belongs_to_its_module_or_package() {
        for file in ["imaplib.pyc", "email/mime/text.pyc", "encodings/idna.pyc", "abc.pyc"] {
            assert!(is_needed(file), "{file}");
        }
        for file in ["asyncio/__init__.pyc", "imaplib2.pyc", "ctypes/_endian.pyc", ""] {
            assert!(!is_needed(file), "{file}");
        }
    }

    #[test]
    fn all_that_this_systems_python_imports_is_needed_on_windows_too() {
        let told = imports::run(&imports::python()).unwrap();
        let folder = Path::new(told.lines().next().unwrap());
        let files = told.lines().skip(3).filter_map(|file| Path::new(file).strip_prefix(folder).ok());
        let files =
            files.filter(|file| file.extension().is_some_and(|it| it == "py")).filter_map(Path::to_str);
        // As in a zip.
        let files = files.map(|file| file.replace('\\', "/"));
        let (known, others): (Vec<_>, Vec<_>) = files.partition(|file| is_needed(&format!("{file}c")));
        assert!(known.iter().any(|file| file == "imaplib.py"), "{known:?}");
        assert!(others.iter().all(|file| NOT_OF_WINDOWS.contains(&&**file)), "{others:?}");
    }

    /// `EMBEDDABLE` names the package, and `WINEPREFIX` a Windows installation of Wine's.
    #[test]
    #[ignore = "for cargo xtask test --windows, which has Wine and Windows Pythons"]
    fn a_windows_python_imports_all_from_its_bundle() {
        let package = PathBuf::from(env::var_os("EMBEDDABLE").expect("the path of an embeddable package"));
        let folder = env::temp_dir().join(format!("pymail-bundle-{}-python", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let python = folder.join("python.exe");
        fs::write(&python, Package::open(&package).unwrap().need("python.exe").unwrap()).unwrap();
        let out = folder.join("bundle");
        let report = bundle(&Options { binary: python, out: out.clone(), python: Some(package) }).unwrap();
        assert!(!report.to_string().contains('\n'), "a DLL is missing: {report}");
        // A file: for a script in an argument, Python 3.13 imports more.
        let script = out.join("import.py");
        fs::write(&script, IMPORT).unwrap();
        let mut wine = Command::new("/usr/lib/wine/wine64");
        wine.arg(out.join("python.exe")).args(["-I", "-S"]).arg(script).args(imports::ALL);
        assert_eq!(output(wine.env("WINEDEBUG", "-all")).unwrap().trim_end(), "b'xn--tda.example'");
        fs::remove_dir_all(folder).unwrap();
    }
}
