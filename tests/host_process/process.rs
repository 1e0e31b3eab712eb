//! The process: environment, locale, output, Python's home.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::PathBuf;

use pymail::{ErrorKind, Runtime};
use rstest::rstest;

use super::{child, passes, round_trip, system};
use crate::fixtures::embedded;
use crate::mail_site::Site;
use crate::support::process::started;

/// Reports that it is the one in use, and is the usual one otherwise.
const IMAPLIB: &str = "
import os
from importlib.machinery import PathFinder
open(os.environ['CHILD_MARK'], 'x').close()
exec(PathFinder.find_spec('imaplib', [os.environ['CHILD_STDLIB']]).loader.get_code('imaplib'), globals())
";

#[rstest]
fn pythons_variables_and_what_lies_in_the_folder_change_nothing(#[from(embedded)] site: Site) {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home/.local");
    let names = (9..16).flat_map(|minor| [format!("lib/python3.{minor}"), format!("Python3{minor}")]);
    let mut folders: Vec<_> = names.map(|name| home.join(name).join("site-packages")).collect();
    folders.push(folder.path().to_owned());
    for folder in &folders {
        fs::create_dir_all(folder).unwrap();
        for module in ["imaplib", "smtplib", "ssl", "sitecustomize", "usercustomize", "startup"] {
            fs::write(folder.join(format!("{module}.py")), "raise SystemExit('hostile')\n").unwrap();
        }
    }
    let mut child = child("process::makes_a_round_trip", &site);
    child.current_dir(folder.path()).env("HOME", folder.path().join("home"));
    child.env("PYTHONPATH", folder.path()).env("PYTHONHOME", folder.path());
    child.env("PYTHONSTARTUP", folder.path().join("startup.py")).env("PYTHONINSPECT", "1");
    passes(child.env("PYTHONUSERBASE", home).env("PYTHONVERBOSE", "1"));
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn makes_a_round_trip() {
    round_trip();
}

#[rstest]
fn locale_environment_and_folder_stay_as_they_are(#[from(embedded)] site: Site) {
    passes(child("process::looks_around", &site).env("LC_ALL", "C.UTF-8"));
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn looks_around() {
    let before = surroundings();
    round_trip();
    assert_eq!(surroundings(), before);
}

fn surroundings() -> (Vec<String>, BTreeMap<String, String>, PathBuf) {
    (system::settings(), env::vars().collect(), env::current_dir().unwrap())
}

#[rstest]
fn nothing_is_written_to_stdout_or_stderr(#[from(embedded)] site: Site) {
    let mut child = child("process::makes_a_round_trip", &site);
    let output = started(|| child.arg("--nocapture").output()).unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    // The words of the test harness alone.
    let words = "\nrunning 1 test\ntest host_process::process::makes_a_round_trip ... ok\n\ntest result: ok. 1 passed; ";
    let rest = stdout.strip_prefix(words).unwrap_or_else(|| panic!("{stdout}{stderr}"));
    assert_eq!((rest.trim_end().lines().count(), stderr.as_str()), (1, ""), "{stdout}");
}

#[rstest]
fn a_host_may_name_another_home_for_python(#[from(embedded)] site: Site) {
    // As an app that ships a standard library of its own.
    let home = tempfile::tempdir().unwrap();
    let (modules, stdlib) = system::make_home(home.path());
    fs::write(modules.join("imaplib.py"), IMAPLIB).unwrap();
    let mark = home.path().join("mark");
    let mut child = child("process::names_its_home", &site);
    passes(child.env("CHILD_HOME", home.path()).env("CHILD_MARK", &mark).env("CHILD_STDLIB", stdlib));
    assert!(mark.is_file());
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn names_its_home() {
    let start = |home: &str| Runtime::new().home(home).start().map_err(|error| error.kind());
    let home = env::var("CHILD_HOME").unwrap();
    assert_eq!(start("/nonexistent"), Err(ErrorKind::Runtime));
    assert_eq!(start(&home), Ok(()));
    round_trip();
    assert_eq!((start(&home), start("/nonexistent")), (Ok(()), Err(ErrorKind::Config)));
    assert_eq!(Runtime::new().start().map_err(|error| error.kind()), Ok(()));
}
