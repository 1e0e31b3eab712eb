//! Tests that `examples/doctor` names the cause of each broken account. Its outputs are the samples of docs/doctor.md;
//! with `PYMAIL_WRITE_SAMPLES=1` they are written there.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, PoisonError};

use rstest::rstest;
use serde_json::Value;

use crate::fixtures::{courier, cyrus, dovecot, embedded, exim, postfix};
use crate::line_protocol::example;
use crate::mail_site::{ALICE, Site};
use crate::support::certs::{Authority, Issued};
use crate::support::dovecot::{Dovecot, DovecotOptions, PASSWORD};
use crate::support::files::{path_for_servers, set_mode, shared_folder};
use crate::support::jwt::{Claims, mint};
use crate::support::postfix::{Postfix, PostfixOptions};
use crate::support::process::{free_port, started};
use crate::support::script::{Script, Step};

/// A run of the doctor.
struct Doctor {
    command: Command,
    /// Texts that differ from run to run, and what the sample has in their place.
    replaced: Vec<(String, String)>,
    ca: Option<tempfile::NamedTempFile>,
}

impl Doctor {
    fn new(password: &str) -> Self {
        let mut command = Command::new(example("doctor"));
        command.args(["--user", ALICE]).env("PYMAIL_PASSWORD", password).env_remove("SSL_CERT_FILE");
        Self { command, replaced: Vec::new(), ca: None }
    }

    fn of(site: &Site) -> Self {
        let ports = site.ports();
        Self::new(site.password()).trusts(site.ca_pem()).imap("", ports.imaps).smtp("/starttls", ports.smtp)
    }

    fn trusts(mut self, pem: &str) -> Self {
        let ca = tempfile::NamedTempFile::new().unwrap();
        fs::write(ca.path(), pem).unwrap();
        self.command.env("SSL_CERT_FILE", ca.path());
        self.ca = Some(ca);
        self
    }

    fn imap(self, security: &str, port: u16) -> Self {
        let usual = if security.is_empty() { "993" } else { "143" };
        self.at("--imap", security, port, usual)
    }

    fn smtp(self, security: &str, port: u16) -> Self {
        self.at("--smtp", security, port, "587")
    }

    fn at(mut self, option: &str, security: &str, port: u16, usual: &str) -> Self {
        self.command.args([option, &format!("localhost:{port}{security}")]);
        self.replaced.push((format!(":{port}"), format!(":{usual}")));
        self
    }

    fn option(mut self, name: &str, value: &str) -> Self {
        self.command.args([name, value]);
        self
    }

    fn run(&mut self) -> Output {
        started(|| self.command.output()).unwrap()
    }

    /// Runs it, and checks that it has failed, that it says `cause` and `advice`, and that the sample in docs/doctor.md
    /// says the same.
    fn finds(mut self, sample: &str, cause: &str, advice: &str) {
        let output = self.run();
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}{errors}");
        let failed: Vec<&str> = text.lines().filter(|line| line.starts_with("FAILED")).collect();
        assert!(failed.len() == 1 && failed[0].contains(cause), "{cause:?} in {text}");
        let advices: Vec<&str> = text.lines().filter(|line| line.trim_start().starts_with("->")).collect();
        assert!(advices.len() == 1 && advices[0].contains(advice), "{advice:?} in {text}");
        let mut shown = text.lines().map(without_time).collect::<Vec<_>>().join("\n");
        for (found, usual) in &self.replaced {
            shown = shown.replace(found, usual);
        }
        check_sample(sample, &shown);
    }
}

/// Returns the line without the times at its end, of the doctor and of Dovecot, and without the resolver's words.
fn without_time(line: &str) -> String {
    let name_end = line.find(" is unknown: ").map_or(line.len(), |at| at + " is unknown".len());
    let mut line = &line[..name_end];
    for end in [" ms)", " secs)."] {
        if line.ends_with(end) {
            line = &line[..line.rfind(" (").unwrap_or(line.len())];
        }
    }
    line.to_owned()
}

/// Returns the parts of an output that do not depend on the versions of the servers: of steps that have passed, the
/// names.
fn essence(text: &str) -> Vec<&str> {
    let of = |line| if str::starts_with(line, "passed") { &line[..26.min(line.len())] } else { line };
    text.lines().map(|line| of(line).trim_end()).collect()
}

static WRITING: Mutex<()> = Mutex::new(());

/// Compares an output with the sample of this name, or writes it there.
fn check_sample(name: &str, shown: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/doctor.md");
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let document = fs::read_to_string(&path).unwrap();
    let begin = format!("<!-- sample: {name} -->\n```text\n");
    let (before, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("no sample {name}"));
    let (sample, after) = rest.split_once("```").unwrap();
    if std::env::var_os("PYMAIL_WRITE_SAMPLES").is_some() {
        fs::write(&path, format!("{before}{begin}{shown}\n```{after}")).unwrap();
    } else {
        assert_eq!(essence(shown), essence(sample), "PYMAIL_WRITE_SAMPLES=1 writes the sample {name}");
    }
}

#[rstest]
fn a_healthy_account_passes_each_step_and_is_left_clean(#[from(postfix)] site: Site) {
    let mut doctor = Doctor::of(&site);
    doctor.command.arg("--transcript");
    let output = doctor.run();
    let (text, wire) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{text}{wire}");
    assert!(text.lines().all(|line| line.starts_with("passed")), "{text}");
    for step in ["tls", "search", "idle", "receive", "cleanup"] {
        assert!(text.contains(&format!(" {step} ")), "{step} in {text}");
    }
    for line in
        ["-> ABCD", "AUTH PLAIN (", "LOGIN (", "MAIL FROM:<..> SIZE=", "OK [CAPABILITY ", "UID SEARCH"]
    {
        assert!(line == "-> ABCD" || wire.contains(line), "{line} in {wire}");
    }
    for secret in [site.password(), "horse", "AGFsaWNl", "A test message", "Subject:", "stored-"] {
        assert!(!wire.contains(secret) && !text.contains(secret), "{secret:?} in {text}{wire}");
    }
    let inbox = site.imap().search("ALL").unwrap();
    assert!(inbox.is_empty(), "{inbox:?}");
    let shown: Vec<String> = text.lines().map(without_time).collect();
    let ports = site.ports();
    let shown = shown.join("\n").replace(&format!(":{}", ports.imaps), ":993");
    check_sample("healthy", &shown.replace(&format!(":{}", ports.smtp), ":587"));
}

#[rstest]
#[case::pymap(embedded())]
#[ignore = "for --all-servers"]
#[case::on_cyrus(cyrus())]
#[ignore = "for --all-servers"]
#[case::on_courier(courier())]
#[ignore = "for --all-servers"]
#[case::by_exim(exim())]
fn other_servers_are_healthy_too(#[case] site: Site) {
    let output = Doctor::of(&site).run();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("mail idle"), "{text}");
    assert!(site.imap().search("ALL").unwrap().is_empty());
}

#[rstest]
fn each_step_is_an_object_with_json(#[from(postfix)] site: Site) {
    let mut doctor = Doctor::of(&site);
    doctor.command.arg("--json").env("PYMAIL_PASSWORD", "wrong");
    let output = doctor.run();
    assert_eq!(output.status.code(), Some(1));
    let steps: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |outcome: &str| steps.iter().filter(|step| step["outcome"] == outcome).count();
    assert!(of("passed") > 5 && of("failed") == 2 && of("skipped") > 5, "{steps:?}");
    assert!(steps.iter().all(|step| step["advice"].is_null() == (step["outcome"] != "failed")), "{steps:?}");
}

#[test]
fn invalid_options_are_said() {
    for (options, word) in [
        (&["--user", "alice"][..], "--imap, --smtp or --preset"),
        (&["--imap", "a"], "--user"),
        (&["--imap", "a:b", "--user", ALICE], "no port"),
        (&["--imap", "a/ssl", "--user", ALICE], "tls, starttls or plain"),
        (&["--imap", "a", "--user", "alice"], "no address"),
        (&["--imap", "a", "--user", ALICE], "PYMAIL_PASSWORD"),
        (&["--imap", "a", "--user", ALICE, "--oauth"], "PYMAIL_TOKEN"),
        (&["--frob"], "no option"),
        (&["--preset", "nowhere", "--user", ALICE], "no preset \"nowhere\", only: gmail"),
        (&["--preset", "gmail", "--user", ALICE], "PYMAIL_PASSWORD"),
    ] {
        let mut command = Command::new(example("doctor"));
        let command = command.args(options).env_remove("PYMAIL_PASSWORD").env_remove("PYMAIL_TOKEN");
        let output = started(|| command.output()).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && errors.contains(word), "{options:?}: {errors}");
    }
}

#[test]
fn an_unknown_host_is_named() {
    Doctor::new("x").option("--imap", "no-such-host.invalid").finds(
        "unknown-host",
        "no-such-host.invalid is unknown",
        "spelling",
    );
}

#[test]
fn a_closed_port_is_named() {
    let port = free_port();
    let refused = TcpStream::connect(("127.0.0.1", port)).unwrap_err().to_string();
    // Not localhost, which has two addresses on some machines.
    let mut doctor = Doctor::new("x").option("--imap", &format!("127.0.0.1:{port}"));
    doctor.replaced.push((format!(":{port}"), ":993".into()));
    doctor.replaced.push((refused.clone(), "Connection refused (os error 111)".into()));
    doctor.finds("closed-port", &refused, "nothing listens");
}

#[test]
fn a_silent_port_is_named() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let doctor = Doctor::new("x").imap("", port).option("--timeout", "2");
    doctor.finds("silent-port", "timed out", "the server says nothing");
}

#[rstest]
fn tls_on_a_port_for_starttls_is_named(dovecot: Dovecot) {
    let doctor = Doctor::new("x").trusts(dovecot.ca_pem()).at("--imap", "/tls", dovecot.imap_port(), "143");
    doctor.finds("wrong-security", "does not start with TLS", "/starttls");
}

#[rstest]
fn an_unknown_authority_is_named(dovecot: Dovecot) {
    let doctor = Doctor::new("x").imap("", dovecot.imaps_port());
    doctor.finds("unknown-authority", "unknown authority", "SSL_CERT_FILE");
}

/// Starts a Dovecot with another certificate.
fn certified(issued: &Issued) -> (Dovecot, tempfile::TempDir) {
    let folder = shared_folder();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    fs::write(&cert, &issued.cert_pem).unwrap();
    fs::write(&key, &issued.key_pem).unwrap();
    let extra = format!("ssl_cert = <{}\nssl_key = <{}\n", path_for_servers(&cert), path_for_servers(&key));
    (Dovecot::with(&DovecotOptions { extra, ..DovecotOptions::default() }), folder)
}

#[test]
fn a_certificate_for_another_host_is_named() {
    let authority = Authority::new();
    let (dovecot, _folder) = certified(&authority.issue(&["mail.elsewhere.test"]));
    let doctor = Doctor::new("x").trusts(authority.pem()).imap("", dovecot.imaps_port());
    doctor.finds("another-host", "for another host", "the host name that the certificate is for");
}

#[test]
fn an_expired_certificate_is_named() {
    let authority = Authority::new();
    let (dovecot, _folder) = certified(&authority.issue_for_years(&["localhost"], 2020..2021));
    let doctor = Doctor::new("x").trusts(authority.pem()).imap("", dovecot.imaps_port());
    doctor.finds("expired", "has expired", "renew");
}

#[rstest]
fn a_wrong_password_is_named(dovecot: Dovecot) {
    let doctor = Doctor::new("wrong").trusts(dovecot.ca_pem()).imap("", dovecot.imaps_port());
    doctor.finds("wrong-password", "refused the credentials", "app password");
}

#[test]
fn a_switched_off_login_is_named() {
    let server = Script::imap(&["LOGINDISABLED", "STARTTLS"]).start();
    let doctor = Doctor::new("x").imap("/plain", server.port());
    doctor.finds("login-disabled", "offers no login by password", "switch IMAP");
    assert!(server.heard("LOGIN").is_empty() && server.heard("AUTHENTICATE").is_empty());
}

#[test]
fn a_token_without_the_scope_is_named() {
    let options =
        DovecotOptions { token_mechanisms: "oauthbearer xoauth2".into(), ..DovecotOptions::default() };
    let dovecot = Dovecot::with(&options);
    let token = mint(&Claims { scope: "calendar", ..Claims::of(ALICE) });
    let mut doctor = Doctor::new("x").trusts(dovecot.ca_pem()).imap("", dovecot.imaps_port());
    doctor.command.arg("--oauth").env("PYMAIL_TOKEN", token);
    doctor.finds("refused-token", "refused the access token", "scope");
}

#[test]
fn a_printed_token_logs_in() {
    let options =
        DovecotOptions { token_mechanisms: "oauthbearer xoauth2".into(), ..DovecotOptions::default() };
    let dovecot = Dovecot::with(&options);
    let doctor = Doctor::new("x").trusts(dovecot.ca_pem()).imap("", dovecot.imaps_port());
    let token = mint(&Claims::of(ALICE));
    let output = doctor.option("--oauth-command", &format!("echo {token}")).run();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && !text.contains(&token), "{text}");
}

#[test]
fn an_archive_that_can_not_be_made_is_named() {
    let folder = shared_folder();
    let rights = folder.path().join("rights");
    // All rights but to create (k) and to delete (x) mailboxes.
    fs::write(&rights, "* owner lrwstipea\n").unwrap();
    set_mode(&rights, 0o644).unwrap();
    let extra = format!(
        "mail_plugins = $mail_plugins acl\nplugin {{\n  acl = vfile:{}:cache_secs=0\n}}\n",
        path_for_servers(&rights)
    );
    let dovecot = Dovecot::with(&DovecotOptions { extra, ..DovecotOptions::default() });
    let doctor = Doctor::new(PASSWORD).trusts(dovecot.ca_pem()).imap("", dovecot.imaps_port());
    doctor.finds("no-archive", "Permission denied", "may create no mailbox");
}

#[test]
fn a_search_that_misses_the_tag_is_named() {
    // The message that was stored; its lines come as if the names of the headers were tags.
    let subject = Arc::<Mutex<String>>::default();
    let [stored, searched, expunged, fetched] = [(); 4].map(|()| Arc::clone(&subject));
    let size = |octets: &str| format!("* 10 FETCH (UID 10 RFC822.SIZE {}", octets.len());
    let mail = move |what: &str| {
        let octets = format!("To: x\r\nSubject: {}\r\n\r\nhello\r\n", fetched.lock().unwrap());
        match what {
            "size" => format!("{})\r\nTAG OK done\r\n", size(&octets)),
            _ => format!("{} BODY[]<0> {{{}}}\r\n{octets})\r\nTAG OK done\r\n", size(&octets), octets.len()),
        }
    };
    let server = Script::imap(&["MOVE", "UIDPLUS"])
        .says("APPEND", "+ go on\r\n* 10 EXISTS\r\nTAG OK done\r\n")
        .on("__PYMAIL_DOCTOR__", move |heard| {
            heard.text.clone_into(&mut stored.lock().unwrap());
            Step::Nothing
        })
        .on("UID SEARCH *", move |_| {
            Step::say("* SEARCH 10\r\nTAG OK done\r\n").when(!searched.lock().unwrap().is_empty())
        })
        .on("UID EXPUNGE 10", move |_| {
            expunged.lock().unwrap().clear();
            Step::Usual
        })
        .on("UID FETCH 10", move |heard| {
            Step::Say(mail(if heard.text.contains("BODY") { "whole" } else { "size" }))
        })
        .on("", |heard| {
            let word = heard.text.split(' ').next().unwrap_or_default();
            Step::Nothing.when(word.is_empty() || !word.bytes().all(|octet| octet.is_ascii_uppercase()))
        })
        .start();
    let doctor = Doctor::new("x").imap("/plain", server.port());
    doctor.finds("search-misses", "SEARCH does not find the tag, although", "Subjects");
    assert!(!server.heard("UID EXPUNGE 10").is_empty());
}

#[test]
fn a_full_mailbox_is_named() {
    let extra = "mail_plugins = $mail_plugins quota\nplugin {\n  quota = count:User quota\n  quota_rule = *:storage=1B\n  \
                 quota_vsizes = yes\n}\n";
    let dovecot = Dovecot::with(&DovecotOptions { extra: extra.into(), ..DovecotOptions::default() });
    let doctor = Doctor::new(PASSWORD).trusts(dovecot.ca_pem()).imap("", dovecot.imaps_port());
    doctor.finds("full", "OVERQUOTA", "The mailbox is full");
}

/// Starts a site whose Postfix has more settings.
fn with_postfix(extra: &str) -> Site {
    let dovecot = Dovecot::start();
    let options = PostfixOptions { extra: extra.into(), ..PostfixOptions::default() };
    Site::Real { postfix: Postfix::with(&dovecot, &options), dovecot }
}

#[test]
fn a_message_that_goes_elsewhere_is_named() {
    let site = with_postfix("virtual_alias_maps = inline:{ alice@example.test=bob@example.test }");
    let doctor = Doctor::of(&site).option("--wait", "5");
    doctor.finds("not-received", "it is not in INBOX after 5 s", "spam");
}

#[test]
fn a_sender_of_another_account_is_named() {
    let site = with_postfix(
        "smtpd_sender_login_maps = inline:{ carol@example.test=carol@example.test }\n\
         smtpd_sender_restrictions = reject_sender_login_mismatch",
    );
    let doctor = Doctor::of(&site).option("--address", "carol@example.test");
    doctor.finds("sender-refused", "not owned by user", "may not send as carol@example.test");
}
