//! Tests that need the crate's internals: Python objects, attached threads, and the host's interpreter.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyList};

mod hosts;
mod stdlib;
pub(super) use pymail_test_support as support;

use self::support::certs::Authority;
use self::support::dovecot::{Dovecot, DovecotOptions, HOST, PASSWORD};
use self::support::jwt;
use self::support::postfix::Postfix;
use self::support::process::{started, wait_until};
use self::support::script::{Script, Step};
use super::py_session::PySession;
use super::runtime::attached;
use super::threads::is_attached;
use super::{ImapSession, SmtpSession, modules};
use crate::deadline::Deadline;
use crate::{AccessToken, Credentials, ImapConfig, Server, SmtpConfig};

const ALICE: &str = "alice@example.test";

const SLASHES: &str = "namespace inbox {\n  separator = /\n}\n";

/// Python code that returns the texts and bytes among all objects that can be reached from one.
const REACHABLE: &std::ffi::CStr = cr"
import gc

def texts(root):
    seen, found, waiting = set(), [], [root]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, (str, bytes, bytearray)):
            found.append(str(thing))
        waiting.extend(gc.get_referents(thing))
    return found
";

/// Returns the texts and bytes that a session keeps.
fn texts(session: &PySession) -> Vec<String> {
    attached(|py| {
        let module = PyModule::from_code(py, REACHABLE, c"reachable.py", c"_pymail_reachable").unwrap();
        Ok(module.call_method1("texts", (session.object(py),)).unwrap().extract().unwrap())
    })
    .unwrap()
}

/// Returns the command that runs a test in a process of its own.
pub(super) fn child(test: &str) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", test, "--test-threads=1"]);
    child
}

/// Asserts that the test exists and passes.
pub(super) fn passes(child: &mut Command) {
    let output = started(|| child.output()).unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
}

fn alice(dovecot: &Dovecot) -> ImapConfig {
    let server = Server::tls(HOST).port(dovecot.imaps_port()).add_root_certificate_pem(dovecot.ca_pem());
    ImapConfig::new(server, Credentials::new(ALICE, PASSWORD))
}

fn alices_smtp(dovecot: &Dovecot, postfix: &Postfix) -> SmtpConfig {
    let server =
        Server::starttls(HOST).port(postfix.submission_port()).add_root_certificate_pem(dovecot.ca_pem());
    SmtpConfig::new(server, Credentials::new(ALICE, PASSWORD))
}

fn soon() -> Deadline {
    Deadline::after(std::time::Duration::from_secs(60))
}

#[test]
fn no_python_object_keeps_the_password_after_login() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot);
    let (imap, smtp) = (alice(&dovecot), alices_smtp(&dovecot, &postfix));
    let (imap, smtp) = (
        ImapSession::connect(&imap, &Arc::default(), None, soon()).unwrap(),
        SmtpSession::connect(&smtp, None, soon()).unwrap(),
    );
    for texts in [texts(&imap.python), texts(&smtp.python)] {
        assert!(texts.len() > 1_000, "the whole of Python is reachable: {}", texts.len());
        // The end of the password, which no quoting changes, and the whole in base64 behind the user name.
        let kept = texts
            .iter()
            .find(|text| text.contains("horse 7d3f") || text.contains("AGFsaWNlQGV4YW1wbGUudGVzd"));
        assert_eq!(kept, None);
    }
}

#[test]
fn neither_a_python_object_nor_a_file_keeps_the_key_of_a_client_certificate() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot);
    let client = Authority::new().issue_client(ALICE);
    let (mut imap, mut smtp) = (alice(&dovecot), alices_smtp(&dovecot, &postfix));
    for server in [&mut imap.common.server, &mut smtp.common.server] {
        *server = server.clone().client_certificate_pem(&*client.cert_pem, &*client.key_pem);
    }
    let imap = ImapSession::connect(&imap, &Arc::default(), None, soon()).unwrap();
    let smtp = SmtpSession::connect(&smtp, None, soon()).unwrap();
    let line = client.key_pem.lines().nth(1).unwrap();
    for texts in [texts(&imap.python), texts(&smtp.python)] {
        assert_eq!(texts.iter().find(|text| text.contains(line)), None);
    }
    // Other tests of this process may have such a file for a moment.
    wait_until("the end of the keys' files", || !has_key_file());
}

/// Returns `true` if this process has a file with a key: in memory on Linux, elsewhere in the temporary folder.
fn has_key_file() -> bool {
    let in_memory = |file: std::fs::DirEntry| {
        std::fs::read_link(file.path()).is_ok_and(|name| name.to_string_lossy().contains("memfd:pymail"))
    };
    let begin = format!("pymail-{}-", std::process::id());
    let in_folder = |file: std::fs::DirEntry| file.file_name().to_string_lossy().starts_with(&begin);
    if cfg!(target_os = "linux") {
        std::fs::read_dir("/proc/self/fd").unwrap().flatten().any(in_memory)
    } else {
        std::fs::read_dir(std::env::temp_dir()).unwrap().flatten().any(in_folder)
    }
}

#[test]
fn no_python_object_keeps_an_access_token_after_login() {
    let token_mechanisms = "oauthbearer xoauth2".to_owned();
    let dovecot = Dovecot::with(&DovecotOptions { token_mechanisms, ..DovecotOptions::default() });
    let postfix = Postfix::start(&dovecot);
    let by_token = Credentials::oauth2(ALICE, |_| Err(crate::Error::grant_gone("not asked")));
    let (mut imap, mut smtp) = (alice(&dovecot), alices_smtp(&dovecot, &postfix));
    (imap.common.credentials, smtp.common.credentials) = (by_token.clone(), by_token);
    // One goes with the command in SMTP, the other does not.
    for padding in [0, 3_000] {
        let token = jwt::mint(&jwt::Claims { padding, ..jwt::Claims::of(ALICE) });
        let token = AccessToken::new(token);
        let imap = ImapSession::connect(&imap, &Arc::default(), Some(&token), soon()).unwrap();
        let smtp = SmtpSession::connect(&smtp, Some(&token), soon()).unwrap();
        let (_, signature) = token.reveal().rsplit_once('.').unwrap();
        for texts in [texts(&imap.python), texts(&smtp.python)] {
            // The token's end, and the response's begin in base64: `n,a=alice`, `user=alice`.
            let is_kept = |text: &&String| {
                [signature, "bixhPWFsaWNl", "dXNlcj1hbGljZ"].iter().any(|it| text.contains(it))
            };
            assert_eq!(texts.iter().find(is_kept), None);
        }
    }
}

#[test]
fn a_provider_of_access_tokens_is_asked_detached() {
    let server = Script::imap(&["AUTH=XOAUTH2"])
        .says("AUTHENTICATE", "+ \r\n")
        .on("NOOP", |heard| Step::Close.when(heard.connection == 1))
        .start();
    let (told, asked) = mpsc::channel();
    let account = Credentials::oauth2(ALICE, move |_| {
        told.send(is_attached()).unwrap();
        Ok(AccessToken::new("token"))
    });
    let config = ImapConfig::new(Server::unencrypted("localhost").port(server.port()), account);
    attached(|_| crate::Imap::connect(config)?.noop()).unwrap();
    assert_eq!(asked.try_iter().collect::<Vec<_>>(), [false, false]);
}

#[test]
fn a_connector_of_the_app_is_called_detached() {
    let server = Script::imap(&[]).on("NOOP", |heard| Step::Close.when(heard.connection == 1)).start();
    let (told, called) = mpsc::channel();
    let port = server.port();
    let server = Server::unencrypted("localhost").connector(move |_| {
        told.send(is_attached()).unwrap();
        std::net::TcpStream::connect(("127.0.0.1", port))
    });
    let config = ImapConfig::new(server, Credentials::new(ALICE, "a"));
    attached(|_| crate::Imap::connect(config)?.noop()).unwrap();
    assert_eq!(called.try_iter().collect::<Vec<_>>(), [false, false]);
}

#[test]
fn the_delimiter_of_hierarchies_is_known_with_namespaces_and_without() {
    let without = DovecotOptions { capability: Some("IMAP4rev1".into()), ..DovecotOptions::default() };
    let slashes = |options: DovecotOptions| DovecotOptions { extra: SLASHES.into(), ..options };
    for (options, delimiter) in [
        (DovecotOptions::default(), "."),
        (without.clone(), "."),
        (slashes(DovecotOptions::default()), "/"),
        (slashes(without), "/"),
    ] {
        let dovecot = Dovecot::with(&options);
        assert_eq!(
            ImapSession::connect(&alice(&dovecot), &Arc::default(), None, soon()).unwrap().delimiter(),
            delimiter
        );
    }
}

#[test]
fn callers_attached_or_not_on_many_threads_never_wait_for_one_another_for_ever() {
    passes(&mut child("python::tests::calls_from_everywhere"));
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn calls_from_everywhere() {
    const THREADS: usize = 16;
    const ROUNDS: usize = 10_000;
    const COLLECT_EVERY: usize = 100;
    let dovecot = Dovecot::start();
    let imap = crate::Imap::connect(alice(&dovecot).heartbeat(Duration::from_millis(1))).unwrap();
    let (done, all) = mpsc::channel();
    let together = Arc::new(Barrier::new(THREADS));
    for _ in 0..THREADS {
        let (imap, done, together) = (imap.clone(), done.clone(), Arc::clone(&together));
        thread::spawn(move || {
            for round in 0..ROUNDS / THREADS {
                if round % COLLECT_EVERY == 0 {
                    wait_for_heartbeat(&imap, &together);
                }
                let told = match round % 3 {
                    0 => Python::attach(|_| imap.noop()),
                    1 => Python::attach(|py| py.detach(|| imap.noop())),
                    _ => imap.noop(),
                };
                told.unwrap();
                // A collection pauses all attached threads, on a free-threaded Python too.
                if round % COLLECT_EVERY == 0 {
                    Python::attach(|py| py.import("gc").unwrap().call_method0("collect").map(drop)).unwrap();
                }
                done.send(()).unwrap();
            }
        });
    }
    for _ in 0..ROUNDS / THREADS * THREADS {
        all.recv_timeout(Duration::from_secs(120)).expect("no thread waits for ever");
    }
}

/// Waits for a heartbeat while all threads pause.
fn wait_for_heartbeat(imap: &crate::Imap, together: &Barrier) {
    if together.wait().is_leader() {
        let before = imap.stats().commands;
        while imap.stats().commands == before {
            thread::yield_now();
        }
    }
    together.wait();
}

#[test]
fn the_first_calls_may_come_from_many_threads_at_once() {
    for _ in 0..3 {
        passes(&mut child("python::tests::many_first_calls"));
    }
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn many_first_calls() {
    const PAIRS: usize = 8;
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot);
    let (imap, smtp) = (alice(&dovecot), alices_smtp(&dovecot, &postfix));
    let (imap, smtp, together) = (&imap, &smtp, &Barrier::new(2 * PAIRS));
    thread::scope(|threads| {
        for _ in 0..PAIRS {
            threads.spawn(|| {
                together.wait();
                crate::Imap::connect(imap.clone()).unwrap().noop().unwrap();
            });
            threads.spawn(|| {
                together.wait();
                crate::Smtp::connect(smtp.clone()).unwrap().noop().unwrap();
            });
        }
    });
}

/// While one thread imports a module, another may get half of it: from a zip file, Python 3.9 does not make it wait.
#[test]
fn no_module_is_imported_outside_of_the_lock_for_that() {
    passes(&mut child("python::tests::imported_modules"));
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn imported_modules() {
    let dovecot = Dovecot::start();
    let postfix = Postfix::start(&dovecot);
    modules::IMAP.ready().unwrap();
    modules::SMTP.ready().unwrap();
    let before = names_of_modules();
    let imap = crate::Imap::connect(alice(&dovecot)).unwrap();
    let smtp = crate::Smtp::connect(alices_smtp(&dovecot, &postfix)).unwrap();
    assert!(smtp.send(&crate::Message::new("1", ALICE, ALICE, "text")).unwrap().all_accepted());
    assert!(imap.server_info().unwrap().tls.is_some());
    assert!(imap.wait(Duration::from_secs(60)).unwrap());
    imap.fetch().unwrap().ack().unwrap();
    smtp.close().unwrap();
    imap.close().unwrap();
    let added: Vec<String> = names_of_modules().difference(&before).cloned().collect();
    assert_eq!(added, <[String; 0]>::default());
}

fn names_of_modules() -> BTreeSet<String> {
    let names = |py: Python<'_>| {
        let modules = py.import("sys")?.getattr("modules")?;
        modules.try_iter()?.map(|name| name?.extract()).collect::<PyResult<_>>()
    };
    attached(|py| Ok(names(py).unwrap())).unwrap()
}

#[test]
fn the_name_in_ehlo_is_the_hosts_full_name_or_the_address() {
    modules::SMTP.ready().unwrap();
    let name = |host: &str, address: &str| -> String {
        attached(|py| {
            let own_name = py.import("_pymail_smtplib_ext").unwrap().getattr("own_name").unwrap();
            Ok(own_name.call1((host, address)).unwrap().extract().unwrap())
        })
        .unwrap()
    };
    for host in ["app.example.org", "a-1.b.example.co", "xn--mller-kva.example.org"] {
        assert_eq!(name(host, "192.0.2.1"), host);
    }
    let no_names =
        ["", "localhost", "app", "localhost.localdomain", "app.local", "app.lan", "192.0.2.1", "a_b.org"];
    for host in
        no_names.into_iter().chain(["app.example.org.", "-a.org", "a..org", "b\u{fc}cher.example.org"])
    {
        assert_eq!(name(host, "192.0.2.1"), "[192.0.2.1]", "{host}");
    }
    assert_eq!(name("app", "2001:db8::1"), "[IPv6:2001:db8::1]");
    assert_eq!(name("app", "fe80::1%eth0"), "[IPv6:fe80::1]");
    assert_eq!(name("app", "::ffff:192.0.2.1"), "[192.0.2.1]");
}

#[test]
fn nothing_that_is_imported_brings_the_gil_back() {
    modules::IMAP.ready().unwrap();
    modules::SMTP.ready().unwrap();
    attached(|py| {
        let is_enabled = py.import("sys").unwrap().getattr("_is_gil_enabled");
        let is_enabled = is_enabled.map_or(true, |ask| ask.call0().unwrap().extract().unwrap());
        assert_eq!(is_enabled, !env!("PYMAIL_PYTHON_VERSION").ends_with('t'));
        Ok(())
    })
    .unwrap();
}

#[test]
fn handles_may_be_dropped_attached_detached_and_by_pythons_collector() {
    passes(&mut child("python::tests::drops_everywhere"));
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn drops_everywhere() {
    let dovecot = Dovecot::start();
    let imap = || crate::Imap::connect(alice(&dovecot)).unwrap();
    let kept = imap();
    let (first, second, third) = (imap(), imap(), imap());
    Python::attach(|_| drop(first));
    Python::attach(|py| py.detach(|| drop(second)));
    Python::attach(|py| {
        // A closure that Python owns, in a cycle that only the garbage collector frees.
        let finaliser = PyCFunction::new_closure(py, None, None, move |_, _| drop(third.clone())).unwrap();
        let cycle = PyList::new(py, [&finaliser]).unwrap();
        cycle.append(&cycle).unwrap();
        drop((finaliser, cycle));
        py.import("gc").unwrap().call_method0("collect").unwrap();
    });
    kept.noop().unwrap();
}

/// A driver of Windows may not know the cancellation of a wait, by which a deadline ends it: then its own limit does.
#[cfg(windows)]
#[test]
fn a_wait_on_windows_ends_without_a_cancellation() {
    use std::os::windows::io::IntoRawSocket as _;

    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(silent.local_addr().unwrap()).unwrap().into_raw_socket();
    modules::IMAP.ready().unwrap();
    attached(|py| {
        let sockets = py.import("_pymail_socket").unwrap();
        let (ipv4, stream) = (2, 1);
        let socket = sockets.getattr("Socket").unwrap().call1((ipv4, stream, 0, client)).unwrap();
        let now: f64 = sockets.getattr("monotonic").unwrap().call0().unwrap().extract().unwrap();
        sockets.getattr("limit_wait").unwrap().call1((&socket, now + 0.05)).unwrap();
        let octets: Vec<u8> = socket.call_method1("recv", (1,)).unwrap().extract().unwrap();
        assert_eq!(octets, <[u8; 0]>::default());
        Ok(())
    })
    .unwrap();
}

/// The proof that `cargo xtask test --all-servers` also runs these tests with a `PyO3` that has no such pool.
#[test]
fn a_drop_without_the_gil_ends_the_process_unless_pyo3_has_a_pool_of_references() {
    let mut child = child("python::tests::drop_without_the_gil");
    if std::env::var_os("WITHOUT_A_POOL").is_none() {
        return passes(&mut child);
    }
    let output = child.arg("--nocapture").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("Cannot drop pointer into Python heap"), "{output:?}");
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn drop_without_the_gil() {
    let object = attached(|py| Ok(py.None())).unwrap();
    drop(object);
}

#[cfg(unix)]
#[test]
fn a_fork_is_told_that_python_is_not_for_it() {
    passes(&mut child("python::runtime::tests::in_a_fork"));
}
