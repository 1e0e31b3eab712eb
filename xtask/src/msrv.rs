//! The `rust-version`: the oldest Rust that builds pymail.
//!
//! Clippy (`incompatible_msrv`) checks our use of std. Cargo prefers dependencies by their `rust-version`, but silently
//! takes one that is too new where no other fits.

use std::collections::BTreeSet;
use std::fs;

use super::{Outcome, output_of, root};

/// Checks that no dependency of an app with pymail requires a newer Rust than pymail does.
pub(super) fn no_dependency_requires_a_newer_rust() -> Outcome {
    let metadata = output_of("cargo", &["metadata", "--locked", "--format-version", "1"])?;
    let edges = ["--edges", "normal,build", "--prefix", "none", "--target", "all"];
    let tree = output_of("cargo", &[&["tree", "--locked", "--package", "pymail"], &edges[..]].concat())?;
    let packages: BTreeSet<_> = tree.lines().filter_map(package).collect();
    let ours = packages.iter().find(|(name, _)| *name == "pymail");
    let ours = ours.and_then(|ours| rust_version(&metadata, *ours)).ok_or("pymail states no rust-version")?;
    check_readme(ours)?;
    let (stated, unstated): (Vec<_>, Vec<_>) =
        packages.into_iter().partition(|&package| rust_version(&metadata, package).is_some());
    for (name, version) in &stated {
        let wanted = rust_version(&metadata, (name, version)).unwrap_or_default();
        if numbers(wanted) > numbers(ours) {
            return Err(format!("{name} {version} requires Rust {wanted}, and rust-version is {ours}"));
        }
    }
    let unstated: Vec<_> = unstated.into_iter().map(|(name, _)| name).collect();
    eprintln!(
        "\n{} packages require Rust {ours} or less; without a rust-version: {}",
        stated.len(),
        unstated.join(", ")
    );
    Ok(())
}

/// Checks that README.md names this version.
fn check_readme(rust: &str) -> Outcome {
    let readme =
        fs::read_to_string(root().join("README.md")).map_err(|error| format!("README.md: {error}"))?;
    let wanted = format!("You need Rust {rust} or later");
    if readme.contains(&wanted) { Ok(()) } else { Err(format!("README.md lacks {wanted:?}")) }
}

/// Parses name and version from a line of `cargo tree`.
fn package(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.split_once(" v")?;
    Some((name, rest.split(' ').next()?))
}

/// Returns the `rust-version` of a package from the output of `cargo metadata`, where it is the package's last own
/// field. xtask has no dependencies, and so no JSON parser.
fn rust_version<'a>(metadata: &'a str, (name, version): (&str, &str)) -> Option<&'a str> {
    let (_, rest) = metadata.split_once(&format!(r#"{{"name":"{name}","version":"{version}","id":"#))?;
    let (_, rest) = rest.split_once(r#""rust_version":"#)?;
    rest.strip_prefix('"')?.split('"').next()
}

/// Parses a version for comparison; `1.89` is `1.89.0`.
fn numbers(version: &str) -> [u32; 3] {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(u32::MAX));
    [(); 3].map(|()| numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rust_version_is_found_by_name_and_version() {
        let metadata = r#"{"packages":[{"name":"a","version":"1.0.0","id":"a","dependencies":[{"name":"b","req":"1"}],
            "rust_version":"1.89"},{"name":"b","version":"1.0.0","id":"b","rust_version":null},
            {"name":"b","version":"2.0.0","id":"b","rust_version":"1.60.1"}]}"#;
        assert_eq!(rust_version(metadata, ("a", "1.0.0")), Some("1.89"));
        assert_eq!(rust_version(metadata, ("b", "1.0.0")), None);
        assert_eq!(rust_version(metadata, ("b", "2.0.0")), Some("1.60.1"));
    }

    #[test]
    fn a_line_of_the_tree_is_a_package() {
        assert_eq!(package("hashify v0.2.9 (proc-macro) (*)"), Some(("hashify", "0.2.9")));
        assert_eq!(package(""), None);
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(numbers("1.100") > numbers("1.89.1") && numbers("1.89.0") == numbers("1.89"));
    }
}
