//! Tests that `examples/stdio` is a drop-in for the two Python servers of the subprocess version.

use std::env::consts::EXE_EXTENSION;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use rstest::rstest;
use serde_json::{Value, json};

use crate::fixtures::postfix;
use crate::mail_site::{ALICE, REFUSED, Site};
use crate::support::process::{needs, python, started, wait_until};

/// A process of one of the two versions.
struct Talker {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    _ca: tempfile::NamedTempFile,
}

impl Talker {
    fn start(command: &mut Command, site: &Site, port: u16) -> Self {
        let mut ca = tempfile::NamedTempFile::new().unwrap();
        ca.write_all(site.ca_pem().as_bytes()).unwrap();
        command.args(["localhost", &port.to_string(), ALICE, site.password()]);
        command.env("SSL_CERT_FILE", ca.path()).env_remove("PYMAIL_TAG");
        let mut child = started(|| command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()).unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output, _ca: ca }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        assert!(self.output.read_line(&mut line).unwrap() > 0, "the other side hung up");
        line.trim_end_matches('\n').to_owned()
    }

    /// Requests the waiting messages once and returns the lines.
    fn round(&mut self) -> Vec<Value> {
        self.say("");
        let mut lines = Vec::new();
        loop {
            match self.hear() {
                line if line.is_empty() => return lines,
                line => lines.push(serde_json::from_str(&line).unwrap()),
            }
        }
    }

    fn send(&mut self, message: &Value) -> String {
        self.say(&message.to_string());
        self.hear()
    }

    fn end(mut self) -> ExitStatus {
        self.input = None;
        self.child.wait().unwrap()
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the path of an example, which Cargo builds beside the tests.
pub fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let example = tests.ancestors().nth(2).unwrap().join("examples").join(name).with_extension(EXE_EXTENSION);
    assert!(example.exists(), "no {}: `cargo build --example {name}` makes it", example.display());
    example
}

fn ours(service: &str) -> Command {
    let mut command = Command::new(example("stdio"));
    command.arg(service);
    command
}

fn theirs(service: &str) -> Command {
    if cfg!(windows) {
        needs("Unix", "the subprocess version selects on a pipe");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/subprocess");
    let mut command = Command::new(python());
    command.arg(folder.join(format!("{service}_server.py")));
    command
}

fn talkers(site: &Site, of: fn(&str) -> Command) -> (Talker, Talker) {
    let Site::Real { dovecot, postfix } = site else { unreachable!("a real site") };
    let imap = Talker::start(&mut of("imap"), site, dovecot.imaps_port());
    let smtp = Talker::start(&mut of("smtp"), site, postfix.submission_port());
    (imap, smtp)
}

fn message(id: &str, body: &str) -> Value {
    json!({ "Id": id, "SentBy": ALICE, "SentTo": ALICE, "Body": body })
}

/// Requests until a message is there.
fn receive(imap: &mut Talker) -> Vec<Value> {
    let mut got = Vec::new();
    wait_until("a message", || {
        got = imap.round();
        !got.is_empty()
    });
    got
}

#[rstest]
#[case::pymail(ours)]
#[case::subprocess_version(theirs)]
fn both_versions_print_the_same_lines(#[from(postfix)] site: Site, #[case] version: fn(&str) -> Command) {
    let (mut imap, mut smtp) = talkers(&site, version);
    assert_eq!(imap.round(), Vec::<Value>::new());
    for (id, body) in [("1", "hello"), ("2", "Grüße\n"), ("3", "")] {
        assert_eq!(smtp.send(&message(id, body)), "");
        assert_eq!(receive(&mut imap), [json!({ "Id": id, "SentBy": ALICE, "Body": body })]);
    }
    assert!(!smtp.send(&json!({ "Id": "4", "SentBy": ALICE, "SentTo": REFUSED, "Body": "x" })).is_empty());
    assert!(!smtp.send(&json!("no message")).is_empty());
    assert_eq!(smtp.send(&message("5", "after the errors")), "");
    assert_eq!(receive(&mut imap)[0]["Id"], "5");
    imap.say("quit");
    assert!(imap.end().success());
    assert!(smtp.end().success(), "at the end of input");
}

#[rstest]
fn each_version_receives_what_the_other_sends(#[from(postfix)] site: Site) {
    let ((mut our_imap, mut our_smtp), (mut their_imap, mut their_smtp)) =
        (talkers(&site, ours), talkers(&site, theirs));
    assert_eq!(our_smtp.send(&message("from pymail", "héllo")), "");
    assert_eq!(receive(&mut their_imap), [json!({ "Id": "from pymail", "SentBy": ALICE, "Body": "héllo" })]);
    assert_eq!(their_smtp.send(&message("from Python", "héllo")), "");
    let got = receive(&mut our_imap);
    assert_eq!((&got[0]["Id"], &got[0]["SentBy"]), (&json!("from Python"), &json!(ALICE)));
}

#[rstest]
fn a_binary_body_is_printed_as_base64(#[from(postfix)] site: Site) {
    let (mut imap, mut smtp) = talkers(&site, ours);
    let bytes = json!({ "Id": "1", "SentBy": ALICE, "SentTo": [ALICE], "BodyBase64": "/wAN" });
    assert_eq!(smtp.send(&bytes), "");
    assert_eq!(receive(&mut imap), [json!({ "Id": "1", "SentBy": ALICE, "BodyBase64": "/wAN" })]);
}

#[rstest]
fn a_message_that_cannot_be_read_is_an_error_line(#[from(postfix)] site: Site) {
    let (mut imap, _smtp) = talkers(&site, ours);
    site.plant(
        &[],
        "From: bob@example.test\nSubject: __SNACKIS__ cut\nContent-Disposition: inline; size=5\n\nx\n",
    );
    let got = receive(&mut imap);
    assert!(got.len() == 1 && got[0]["Error"].is_string(), "{got:?}");
}

#[cfg(unix)]
#[rstest]
fn ctrl_c_still_ends_the_host(#[from(postfix)] site: Site) {
    use std::os::unix::process::ExitStatusExt as _;
    // A background process of a shell, as CI may be, ignores SIGINT, and its children inherit that.
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(example("stdio")).arg("imap");
    let mut imap = Talker::start(&mut command, &site, site.dovecot().imaps_port());
    imap.round();
    let interrupt = Command::new("kill").args(["-INT", &imap.child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let mut status = None;
    wait_until("the end of the process", || {
        status = imap.child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().signal(), Some(2));
}
