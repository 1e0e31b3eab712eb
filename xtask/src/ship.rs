//! `cargo xtask bundle` and `ship`: apps with their own Python, bundled and run in an empty root.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Outcome, as_here, cargo, root, run, step, target_folder};

/// The systems that headings of docs/shipping.md name.
const SYSTEMS: [&str; 3] = ["Linux", "Windows", "macOS"];

/// The example of an extension module, a workspace of its own.
pub(super) const EXTENSION: &str = "examples/extension-module/Cargo.toml";

/// Runs `pymail-bundle`, which apps use, too.
pub(super) fn bundle(args: &[String]) -> Outcome {
    let fixed = ["run", "--quiet", "--locked", "--package", "pymail-bundle", "--"];
    cargo(&fixed.into_iter().chain(args.iter().map(String::as_str)).collect::<Vec<_>>())
}

/// Builds and bundles the example, which is outside of the workspace, and runs it.
pub(super) fn example() -> Outcome {
    run(&mut as_here(&[
        "build",
        "--release",
        "--locked",
        "--manifest-path",
        "examples/shipped-app/Cargo.toml",
    ]))?;
    let out = target_folder().join("bundle");
    clear(&out)?;
    let app = target_folder().join("release/shipped-app");
    bundle(
        &["--binary", &app.display().to_string(), "--out", &out.display().to_string()].map(str::to_owned),
    )?;
    runs_in_an_empty_root(&out)
}

/// Follows docs/shipping.md for Linux, and runs the result.
pub(super) fn guide() -> Outcome {
    let folder = env::temp_dir().join(format!("pymail-guide-{}", std::process::id()));
    // The same crates as in the example are built once.
    follow_guide("Linux", &folder, step("sh", &[]).env("CARGO_BUILD_BUILD_DIR", target_folder()))?;
    runs_in_an_empty_root(&folder.join("postbox/unpacked"))?;
    clear(&folder)
}

/// Runs the steps of docs/shipping.md for a system, word for word, in an empty folder.
pub(super) fn follow_guide(system: &str, folder: &Path, shell: &mut Command) -> Outcome {
    let text = root().join("docs/shipping.md");
    let text = fs::read_to_string(&text).map_err(|error| format!("{}: {error}", text.display()))?;
    clear(folder)?;
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    run(shell.args(["-eux", "-c", &steps(&text, system)]).current_dir(folder).env("PYMAIL", root()))
}

/// Builds a Python extension module with pymail, and runs it in interpreters that end before the process.
pub(super) fn extension() -> Outcome {
    run(&mut as_here(&["build", "--locked", "--manifest-path", EXTENSION]))?;
    let module = target_folder().join("debug/libpymail_extension.so");
    let test = ["test", "--locked", "--test", "all", "--", "--include-ignored", "extension::"];
    run(step("cargo", &test).env("PYMAIL_EXTENSION", module))
}

/// Returns the shell blocks of a guide, without those of sections whose heading names another system.
fn steps(text: &str, system: &str) -> String {
    let others = SYSTEMS.into_iter().filter(|other| *other != system);
    let is_of_another = |heading: &str| others.clone().any(|other| heading.contains(other));
    let sections = text.split("\n## ").filter(|section| !is_of_another(section.lines().next().unwrap_or("")));
    let blocks = sections.flat_map(|section| section.split("```sh\n").skip(1));
    blocks.filter_map(|block| block.split("```").next()).collect()
}

fn runs_in_an_empty_root(bundle: &Path) -> Outcome {
    // A bundle for Windows is made and run by `cargo xtask test --windows`.
    let skip = ["--skip", "in_windows_without_python"];
    let test =
        [&["test", "--locked", "--test", "all", "--", "--include-ignored", "shipped::"][..], &skip].concat();
    run(step("cargo", &test).env("PYMAIL_SHIPPED_APP", bundle))
}

/// Removes a folder, if it exists.
pub(super) fn clear(folder: &Path) -> Outcome {
    match folder.exists().then(|| fs::remove_dir_all(folder)) {
        Some(Err(error)) => Err(format!("{}: {error}", folder.display())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guides_steps_are_its_blocks_for_a_shell_and_a_system() {
        let text = "# Guide\n\n```sh\na\nb\n```\n\n```toml\nc\n```\n\n## On Linux\n\nFor Windows, see below.\n\n\
                    ```sh\nd\n```\n\n## On Windows\n\n```sh\ne\n```\n\n## At last\n\n```sh\nf\n```\n";
        assert_eq!(steps(text, "Linux"), "a\nb\nd\nf\n");
        assert_eq!(steps(text, "Windows"), "a\nb\ne\nf\n");
    }
}
