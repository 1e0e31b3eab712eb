//! Tests that `examples/monitor` shows what its consumer does, and nothing of a message.

use std::fs;
use std::process::Command;

use rstest::rstest;
use serde_json::Value;

use crate::fixtures::postfix;
use crate::line_protocol::example;
use crate::mail_site::{ALICE, Site};
use crate::support::process::started;

/// Runs the example without a terminal, and returns its lines of text and the last line.
fn run(command: &mut Command) -> (Vec<String>, Value) {
    let output = started(|| command.args(["--for", "2", "--every", "20"]).output()).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    for secret in ["@", "\u{1b}", "a message of"] {
        assert!(!text.contains(secret), "{secret:?} in {text}");
    }
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let last = serde_json::from_str(&lines.pop().unwrap()).unwrap();
    (lines, last)
}

#[test]
fn the_monitor_accounts_for_each_message_that_it_sends() {
    let (lines, last) = run(&mut Command::new(example("monitor")));
    assert!(lines.iter().all(|line| line.starts_with("imap ") && line.contains("push latency")), "{lines:?}");
    let count = |name: &str| last["stats"][name].as_u64().unwrap();
    let sent = last["sent"].as_u64().unwrap();
    assert_eq!(sent, count("acknowledged") + count("dead_letters") + count("duplicates"), "{last}");
    assert!(sent > 0 && count("received") >= count("acknowledged"), "{last}");
    assert_eq!(last["status"]["state"], "Connected");
    assert!(last.get("p50_ms").is_some() && last.get("p99_ms").is_some(), "{last}");
}

#[rstest]
fn the_monitor_watches_a_real_account(#[from(postfix)] site: Site) {
    let ca = tempfile::NamedTempFile::new().unwrap();
    fs::write(ca.path(), site.ca_pem()).unwrap();
    let mut command = Command::new(example("monitor"));
    command.env("PYMAIL_PASSWORD", site.password()).args(["--user", ALICE, "--ca"]).arg(ca.path());
    for (option, port) in [("--imap", site.ports().imaps), ("--smtp", site.ports().smtp)] {
        command.args([option, &format!("localhost:{port}")]);
    }
    let (lines, last) = run(&mut command);
    assert!(last["sent"].as_u64() > Some(0) && last["status"]["state"] == "Connected", "{last}");
    assert!(!format!("{lines:?} {last}").contains(site.password()));
}
