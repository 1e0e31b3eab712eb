//! Programs and DLLs of Windows, and the DLLs that they import.

use std::collections::BTreeSet;

use object::{Architecture, File, Object as _};

use crate::Result;

/// Parts of Windows that Python and Rust's standard library import, and some that desktop apps do.
const OF_WINDOWS: &str = "\
    advapi32 bcrypt bcryptprimitives cfgmgr32 comctl32 comdlg32 crypt32 d3d11 dbghelp dnsapi dwmapi dxgi gdi32 \
    imm32 iphlpapi kernel32 kernelbase msvcrt ncrypt ntdll ole32 oleaut32 powrprof psapi rpcrt4 secur32 setupapi \
    shell32 shlwapi user32 userenv uxtheme version winmm ws2_32";

/// A program or a DLL.
#[derive(Debug)]
pub(super) struct Image {
    processor: Architecture,
    imports: BTreeSet<String>,
}

impl Image {
    pub(super) fn parse(octets: &[u8]) -> Result<Self> {
        let file = File::parse(octets).map_err(|error| error.to_string())?;
        let mut imports = BTreeSet::new();
        for import in file.imports().map_err(|error| error.to_string())? {
            let import = import.map_err(|error| error.to_string())?;
            imports.insert(String::from_utf8_lossy(import.library()).into_owned());
        }
        Ok(Self { processor: file.architecture(), imports })
    }

    /// Returns the names of the DLLs.
    pub(super) fn imports(&self) -> impl Iterator<Item = &str> {
        self.imports.iter().map(String::as_str)
    }

    /// Returns the name of the DLL that has CPython, in lower case, such as `python311.dll`.
    pub(super) fn python(&self) -> Option<String> {
        self.imports().map(str::to_lowercase).find(|name| python_minor(name).is_some())
    }

    pub(super) fn is_for_the_processor_of(&self, other: &Self) -> bool {
        self.processor == other.processor
    }
}

/// Returns the X of `python3X.dll`, in lower case; `None` for `python3.dll`, which has the stable interface only.
pub(super) fn python_minor(dll: &str) -> Option<u32> {
    let version = dll.strip_prefix("python3")?.strip_suffix(".dll")?;
    version.trim_end_matches('t').parse().ok()
}

/// Returns `true` if each Windows has the DLL.
pub(super) fn is_of_windows(dll: &str) -> bool {
    let name = dll.to_lowercase();
    let stem = name.trim_end_matches(".dll");
    stem.starts_with("api-ms-win-")
        || stem.starts_with("ext-ms-")
        || OF_WINDOWS.split(' ').any(|it| it == stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_of_one_version_is_told_from_the_stable_interface() {
        let names = [
            "python39.dll",
            "python311.dll",
            "python313t.dll",
            "python3.dll",
            "python27.dll",
            "python311.zip",
        ];
        assert_eq!(names.map(python_minor), [Some(9), Some(11), Some(13), None, None, None]);
    }

    #[test]
    fn the_libraries_of_compilers_are_no_parts_of_windows() {
        assert!(
            ["KERNEL32.dll", "api-ms-win-crt-heap-l1-1-0.dll", "bcrypt.dll"]
                .iter()
                .all(|it| is_of_windows(it))
        );
        let others =
            ["libgcc_s_seh-1.dll", "libwinpthread-1.dll", "MSVCP140.dll", "VCRUNTIME140.dll", "crypt.dll"];
        assert!(!others.iter().any(|it| is_of_windows(it)));
    }
}
