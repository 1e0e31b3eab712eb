//! Kills the outbox 100 times, between its steps and within them: every message arrives exactly once.

mod sink;

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pymail::Message;
use sink::{Sink, Stage};

const KILLS: usize = 100;

/// The messages that are added for each process.
const MESSAGES: usize = 3;

/// The time after which a process is killed that has not come to its step, and in which the last one must end.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A point at which a process is killed.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// At a step of the outbox, when it comes for the nth time: the process kills itself.
    Step(&'static str, usize),
    /// At a stage of the nth SMTP transaction: the server kills the process.
    Stage(Stage, usize),
    /// After the nth Message-ID was printed.
    Printed(usize),
    /// At any time.
    After(Duration),
}

/// Returns points that cover all steps and stages, and random times.
fn points() -> Vec<Point> {
    let steps = ["Inserted", "Queued", "Taken", "Sent", "Recorded", "Settled"];
    let mut points = Vec::new();
    for round in 0.. {
        points.extend(steps.map(|step| Point::Step(step, 1 + round % if step < "R" { 2 } else { 1 })));
        points.extend(Stage::ALL.map(|stage| Point::Stage(stage, 1 + round % 3)));
        points.push(Point::Printed(1 + round % MESSAGES));
        points.extend(
            [1, 7].map(|prime| Point::After(Duration::from_millis(100 + (round as u64 * 37 * prime) % 200))),
        );
        if points.len() >= KILLS {
            points.truncate(KILLS);
            return points;
        }
    }
    unreachable!("the loop returns")
}

fn message(number: usize) -> Message {
    // Some that are too large for one write, so that a kill can come within the data.
    let size = if number.is_multiple_of(10) { 200_000 } else { 20 };
    let body = [format!("message {number}\r\n.\r\n").into_bytes(), vec![b'x'; size]].concat();
    Message::new(number.to_string(), "alice@example.org", "bob@example.org", body)
}

/// The app: writes messages to the outbox, and again those whose Message-ID was not printed.
struct App {
    file: String,
    port: String,
    unconfirmed: Vec<Message>,
}

impl App {
    /// Starts an outbox and writes the messages to it; the thread returns the Message-IDs that the outbox prints.
    fn start(&self, kill_at: Option<&str>) -> (Arc<Mutex<Child>>, Reader) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outbox"));
        command.args([&*self.file, "127.0.0.1", &self.port]).stdin(Stdio::piped()).stdout(Stdio::piped());
        match kill_at {
            Some(point) => command.env("OUTBOX_KILL", point),
            None => command.env_remove("OUTBOX_KILL"),
        };
        let mut child = command.spawn().expect("the outbox starts");
        let (mut input, output) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let lines: Vec<String> =
            self.unconfirmed.iter().map(|it| serde_json::to_string(it).expect("JSON")).collect();
        let writer = thread::spawn(move || {
            for line in lines {
                // The outbox may be dead already.
                if writeln!(input, "{line}").is_err() {
                    break;
                }
            }
            input
        });
        let printed = Arc::<Mutex<HashSet<String>>>::default();
        let reader = thread::spawn({
            let printed = Arc::clone(&printed);
            move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    printed.lock().expect("no panic").insert(line);
                }
            }
        });
        (Arc::new(Mutex::new(child)), Reader { writer, reader, printed })
    }

    /// Forgets the messages that the outbox has confirmed.
    fn confirm(&mut self, printed: &HashSet<String>) {
        self.unconfirmed.retain(|message| !printed.contains(message.message_id().as_str()));
    }
}

/// The threads that write to an outbox, and read from it.
struct Reader {
    writer: JoinHandle<std::process::ChildStdin>,
    reader: JoinHandle<()>,
    printed: Arc<Mutex<HashSet<String>>>,
}

impl Reader {
    fn count(&self) -> usize {
        self.printed.lock().expect("no panic").len()
    }

    /// Closes the outbox's stdin after all was written, and reads to the end of its stdout.
    fn finish(self) -> HashSet<String> {
        drop(self.writer.join().expect("no panic"));
        self.reader.join().expect("no panic");
        std::mem::take(&mut self.printed.lock().expect("no panic"))
    }
}

/// Runs an outbox until it is killed at this point; returns `true` if it was killed there, and not by the timeout.
fn run_and_kill(app: &mut App, sink: &Sink, point: Point) -> bool {
    let kill_at = match point {
        Point::Step(step, nth) => Some(format!("{step}:{nth}")),
        _ => None,
    };
    let (child, reader) = app.start(kill_at.as_deref());
    if let Point::Stage(stage, nth) = point {
        sink.kill_at(stage, nth, &child);
    }
    let start = Instant::now();
    let mut is_there = true;
    while child.lock().expect("no panic").try_wait().expect("a status").is_none() {
        let is_due = match point {
            Point::Printed(nth) => reader.count() >= nth,
            Point::After(time) => start.elapsed() >= time,
            Point::Step(..) | Point::Stage(..) => false,
        };
        is_there = start.elapsed() < TIMEOUT;
        if is_due || !is_there {
            child.lock().expect("no panic").kill().expect("a signal");
        }
        thread::sleep(Duration::from_millis(1));
    }
    sink.disarm();
    let status = child.lock().expect("no panic").wait().expect("a status");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{point:?}: {status}");
    app.confirm(&reader.finish());
    is_there
}

#[test]
fn every_message_arrives_exactly_once_though_the_outbox_is_killed_100_times() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("outbox.sqlite").display().to_string();
    let sink = Sink::start();
    let mut app = App { file, port: sink.port().to_string(), unconfirmed: Vec::new() };
    let (mut all, mut missed) = (Vec::new(), Vec::new());
    for point in points() {
        let new: Vec<Message> = (all.len()..all.len() + MESSAGES).map(message).collect();
        app.unconfirmed.extend_from_slice(&new);
        all.extend(new);
        if !run_and_kill(&mut app, &sink, point) {
            missed.push(point);
        }
    }
    assert!(missed.is_empty(), "not killed where planned: {missed:?}");
    finish(&mut app);
    check(&sink, &all, Path::new(&app.file));
}

/// Runs an outbox to its end.
fn finish(app: &mut App) {
    let (child, reader) = app.start(None);
    let printed = reader.finish();
    app.confirm(&printed);
    assert!(app.unconfirmed.is_empty(), "not queued: {:?}", app.unconfirmed);
    let status = child.lock().expect("no panic").wait().expect("a status");
    assert!(status.success(), "{status}");
}

/// Checks that each message arrived, unchanged, and once if duplicates by Message-ID are dropped.
fn check(sink: &Sink, all: &[Message], file: &Path) {
    let mails = sink.mails();
    let copies = mails.len();
    let mut received: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for mail in mails {
        let id = header(&mail, "Message-ID").trim_matches(['<', '>']).to_owned();
        received.entry(id).or_default().push(mail);
    }
    for message in all {
        let copies = received.remove(message.message_id().as_str());
        for mail in copies.unwrap_or_else(|| panic!("{message:?} is lost")) {
            assert!(header(&mail, "Subject").ends_with(&format!(" {}", message.id)), "{mail:.200}");
            assert!(body(&mail) == message.body, "the body of {message:?} has changed");
        }
    }
    assert_eq!(received.len(), 0, "more arrived than was queued: {:?}", received.keys());
    assert!(copies > all.len(), "no kill left a duplicate");
    assert!(outbox::Outbox::open(file).expect("the database").is_empty().expect("a count"));
    println!("{KILLS} kills, {} messages, {} duplicates dropped", all.len(), copies - all.len());
}

fn body(mail: &str) -> Vec<u8> {
    let (_, code) = mail.split_once("\r\n\r\n").expect("headers and a body");
    BASE64_STANDARD.decode(code.replace("\r\n", "")).expect("base64")
}

fn header<'a>(mail: &'a str, name: &str) -> &'a str {
    let lines = mail.lines().take_while(|line| !line.is_empty());
    let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    values.next().unwrap_or_else(|| panic!("no {name} in {mail:.200}"))
}
