//! A polite guest: the host's threads, exits and forks.

use std::fs;
use std::process::{Command, ExitStatus};
use std::thread;

use pymail::{Credentials, Imap, ImapConfig, Server};
use rstest::rstest;

use crate::fixtures::embedded;
use crate::site::{ALICE, Site};

/// Runs one of the ignored tests below in a process of its own.
fn child(test: &str, site: &Site) -> ExitStatus {
    let Site::Embedded(server) = site else { unreachable!("the embedded site") };
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", test, "--test-threads=1"]);
    command.env("CHILD_PORT", server.imap_port().to_string());
    command.env("CHILD_CA", site.ca_pem()).env("CHILD_PASSWORD", site.password());
    let output = command.output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout)); // shown when the test fails
    output.status
}

fn imap() -> Imap {
    let var = |name: &str| std::env::var(name).unwrap();
    let server =
        Server::starttls("localhost").port(var("CHILD_PORT").parse().unwrap()).trust_pem(var("CHILD_CA"));
    Imap::connect(ImapConfig::new(server, Credentials::new(ALICE, var("CHILD_PASSWORD")))).unwrap()
}

#[rstest]
fn a_process_may_exit_in_the_middle_of_calls(#[from(embedded)] site: Site) {
    for _ in 0..10 {
        let status = child("host::exits_in_the_middle_of_calls", &site);
        assert_eq!(status.code(), Some(7), "{status:?}");
    }
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn exits_in_the_middle_of_calls() {
    let imap = imap();
    for _ in 0..4 {
        let imap = imap.clone();
        thread::spawn(move || while imap.noop().is_ok() {});
    }
    for _ in 0..20 {
        imap.noop().unwrap();
    }
    std::process::exit(7);
}

#[rstest]
fn a_dropped_handle_leaves_no_thread_and_no_socket(#[from(embedded)] site: Site) {
    assert!(child("host::drops_its_handles", &site).success());
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn drops_its_handles() {
    let before = (threads(), sockets());
    for _ in 0..3 {
        let imap = imap();
        let clone = imap.clone();
        drop(imap);
        assert!(threads().len() > before.0.len() && sockets() > before.1, "while a clone is there");
        drop(clone);
    }
    assert_eq!((threads(), sockets()), before);
}

fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks
        .filter_map(|task| Some(fs::read_to_string(task.path().join("comm")).ok()?.trim().to_owned()))
        .collect()
}

fn sockets() -> usize {
    let files = fs::read_dir("/proc/self/fd").unwrap().flatten();
    files
        .filter(|file| fs::read_link(file.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:")))
        .count()
}

#[rstest]
fn many_threads_share_a_handle(#[from(embedded)] site: Site) {
    let imap = site.imap();
    thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| (0..20).for_each(|_| imap.noop().unwrap()));
        }
    });
    assert!(imap.status().last_error.is_none());
}
