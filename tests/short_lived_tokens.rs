//! Thousands of connections by access tokens that live for two seconds, on Dovecot and Postfix.
//!
//! The handles are in a process of their own, an ignored test of this binary, so that memory, threads and descriptors are
//! theirs.

use std::env;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pymail::{AccessToken, Credentials, Error, ErrorKind, Imap, ImapConfig, Server, Smtp, SmtpConfig, State};

use crate::mail_site::{ALICE, Site};
use crate::support::jwt::{Claims, mint};
use crate::support::process::{of_this_process, started, wait_until};

/// The variable with the number of connections: 10,000 when run by hand.
const CONNECTS: &str = "PYMAIL_CONNECTS_BY_TOKEN";
const BY_DEFAULT: usize = 300;

/// The life of a token, in seconds; Dovecot takes it up to a second longer, until the clock's second has passed.
const LIFE: i64 = 2;

/// The user whose sessions are ended now and then.
const BOB: &str = "bob@example.test";

/// Of so many tokens, one is kept by the app until after its end.
const KEPT: usize = 8;

const NEVER: Duration = Duration::from_secs(3_600);
const MOMENT: Duration = Duration::from_millis(1);

/// The most memory by which the second half of the connections may grow the process, in MB.
const GROWTH_MB: f64 = 16.0;

#[test]
#[ignore = "for --all-servers, and by hand with 10,000 connections"]
fn thousands_of_connects_with_tokens_of_two_seconds() {
    let site = Site::with_tokens();
    let mut command = Command::new(env::current_exe().unwrap());
    let test = "short_lived_tokens::connects_again_and_again";
    command.args(["--ignored", "--exact", test, "--test-threads=1", "--nocapture"]);
    let ports = site.ports();
    command.env("CHILD_IMAP", ports.imaps.to_string()).env("CHILD_SMTP", ports.smtp.to_string());
    command.env("CHILD_CA", site.ca_pem()).stdin(Stdio::null());
    let mut child = started(|| command.spawn()).unwrap();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        thread::park_timeout(Duration::from_millis(700));
        site.dovecot().kick(BOB);
    };
    assert!(status.success(), "{status}");
}

#[test]
#[ignore = "runs in a child process of the test above"]
fn connects_again_and_again() {
    let connects = env::var(CONNECTS).map_or(BY_DEFAULT, |number| number.parse().unwrap());
    let began = Instant::now();
    let halves = [(); 2].map(|()| {
        let books = half(connects / 2);
        (books, Resources::once_idle())
    });
    let [(first, half), (second, end)] = &halves;
    println!("{connects} connects in {:.0} s", began.elapsed().as_secs_f64());
    println!("first half: {first:?}, {half:?}\nsecond half: {second:?}, {end:?}");
    assert!(end.threads <= half.threads, "threads");
    assert!(end.descriptors <= half.descriptors, "descriptors");
    assert!(end.rss_mb < half.rss_mb + GROWTH_MB, "memory");
}

/// The counts of a half.
#[derive(Debug, Default)]
struct Books {
    connected: usize,
    replaced: u64,
    /// Tokens that were handed out after their end.
    expired: usize,
    /// Tokens that have ended between the app and the server, on a slow machine.
    slow: usize,
    renewals: usize,
    late_errors: usize,
    lost: usize,
}

/// Makes so many connections by new handles, beside some handles that stay.
fn half(connects: usize) -> Books {
    let (begun, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let books = Mutex::new(Books::default());
    thread::scope(|threads| {
        let stay: Vec<_> = (0..4)
            .map(|n| {
                let (books, is_over) = (&books, &is_over);
                threads.spawn(move || stays(n % 2 == 0, is_over, books))
            })
            .collect();
        let come_and_go: Vec<_> = (0..4)
            .map(|_| {
                let (books, begun) = (&books, &begun);
                threads.spawn(move || come_and_go(begun, connects, books))
            })
            .collect();
        for thread in come_and_go {
            thread.join().unwrap();
        }
        is_over.store(true, Ordering::SeqCst);
        for thread in stay {
            thread.join().unwrap();
        }
    });
    books.into_inner().unwrap()
}

/// Connects by new handles, in turn by IMAP and SMTP.
fn come_and_go(begun: &AtomicUsize, connects: usize, books: &Mutex<Books>) {
    let app = App::new(ALICE, false);
    let mut late = 0;
    loop {
        let nth = begun.fetch_add(1, Ordering::SeqCst);
        if nth >= connects {
            break;
        }
        let connected = if nth.is_multiple_of(2) {
            imap(&app).and_then(|imap| imap.noop().and_then(|()| imap.close()))
        } else {
            smtp(&app).and_then(|smtp| smtp.noop().and_then(|()| smtp.close()))
        };
        if let Err(error) = connected {
            assert!(is_late(&error, &app), "{error:?}");
            late += 1;
        }
    }
    let wallet = app.wallet();
    assert_eq!((wallet.early, wallet.expired_and_renewed), (0, wallet.expired), "each once");
    let mut books = books.lock().unwrap();
    books.late_errors += late;
    books.connected += wallet.requests - wallet.renewals - late;
    books.add(&wallet);
}

/// Uses one handle, whose sessions are replaced before their tokens end, and after the server has ended them.
fn stays(is_imap: bool, is_over: &AtomicBool, books: &Mutex<Books>) {
    let app = App::new(BOB, true);
    let (imap, smtp) = if is_imap {
        (Some(unless_ended(|| imap(&app))), None)
    } else {
        (None, Some(unless_ended(|| smtp(&app))))
    };
    let (mut lost, mut late) = (0, 0);
    while !is_over.load(Ordering::SeqCst) {
        let (done, status) = match (&imap, &smtp) {
            (Some(imap), _) => (imap.noop(), imap.status()),
            (_, Some(smtp)) => (smtp.noop(), smtp.status()),
            _ => unreachable!("a handle"),
        };
        assert!(!matches!(status.state, State::AuthFailed | State::SignInNeeded), "{status:?}");
        match done {
            Ok(()) => {}
            // Ended by the server within the login.
            Err(error) if error.kind() == ErrorKind::Disconnected => lost += 1,
            Err(error) => {
                assert!(is_late(&error, &app), "{error:?}");
                late += 1;
            }
        }
        thread::park_timeout(Duration::from_millis(20));
    }
    let reconnects = imap.map(|imap| imap.stats().reconnects).or(smtp.map(|smtp| smtp.stats().reconnects));
    let wallet = app.wallet();
    assert!(wallet.early == 0 && wallet.expired_and_renewed <= wallet.expired, "{wallet:?}");
    let mut books = books.lock().unwrap();
    (books.lost, books.late_errors) = (books.lost + lost, books.late_errors + late);
    books.replaced += reconnects.unwrap_or_default();
    books.add(&wallet);
}

/// Connects, once more if the server ends the session within the login.
fn unless_ended<T>(connect: impl Fn() -> pymail::Result<T>) -> T {
    loop {
        match connect() {
            Err(error) if error.kind() == ErrorKind::Disconnected => {}
            connected => return connected.unwrap(),
        }
    }
}

/// Returns `true` for the refusal of a token that has ended since the app returned it.
fn is_late(error: &Error, app: &App) -> bool {
    error.kind() == ErrorKind::Auth && error.is_transient() && app.last_has_ended()
}

impl Books {
    fn add(&mut self, wallet: &Wallet) {
        self.expired += wallet.expired;
        self.slow += wallet.slow;
        self.renewals += wallet.renewals;
    }
}

/// The app that has the tokens.
#[derive(Clone)]
struct App {
    user: &'static str,
    /// `true` if it tells the tokens' ends.
    tells_ends: bool,
    wallet: Arc<Mutex<Wallet>>,
}

#[derive(Debug, Default)]
struct Wallet {
    last: Option<Token>,
    requests: usize,
    renewals: usize,
    expired: usize,
    expired_and_renewed: usize,
    slow: usize,
    /// Requests for a new token before the end of the last one.
    early: usize,
}

#[derive(Debug)]
struct Token {
    secret: String,
    end: i64,
    was_expired: bool,
}

impl App {
    fn new(user: &'static str, tells_ends: bool) -> Self {
        Self { user, tells_ends, wallet: Arc::default() }
    }

    fn wallet(&self) -> MutexGuard<'_, Wallet> {
        self.wallet.lock().unwrap()
    }

    fn last_has_ended(&self) -> bool {
        self.wallet().last.as_ref().is_some_and(|last| last.end <= now())
    }

    fn credentials(&self) -> Credentials {
        let app = self.clone();
        Credentials::oauth2(self.user, move |request| {
            let token = app.wallet().token(app.user, request.renew);
            let end = UNIX_EPOCH + Duration::from_secs(token.end.unsigned_abs());
            let answer = AccessToken::new(token.secret);
            Ok(if app.tells_ends { answer.expires_at(end) } else { answer })
        })
    }
}

impl Wallet {
    fn token(&mut self, user: &str, renew: bool) -> Token {
        self.requests += 1;
        if renew {
            self.renewals += 1;
            let counter = match &self.last {
                Some(last) if last.was_expired => &mut self.expired_and_renewed,
                Some(last) if last.end <= now() => &mut self.slow,
                _ => &mut self.early,
            };
            *counter += 1;
        }
        let was_expired = !renew && self.requests.is_multiple_of(KEPT);
        self.expired += usize::from(was_expired);
        // As one that the app has kept for a while. Dovecot's clock may be behind for a second.
        let seconds = if was_expired { -LIFE } else { LIFE };
        let claims = Claims { seconds, id: self.requests as u64, ..Claims::of(user) };
        let (end, secret) = (now() + seconds, mint(&claims));
        self.last = Some(Token { secret: secret.clone(), end, was_expired });
        Token { secret, end, was_expired }
    }
}

/// Returns the time in seconds, as tokens have it.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed()
}

fn server(server: Server, port: &str) -> Server {
    let var = |name: &str| env::var(name).unwrap();
    server.port(var(port).parse().unwrap()).add_root_certificate_pem(var("CHILD_CA"))
}

fn imap(app: &App) -> pymail::Result<Imap> {
    let config = ImapConfig::new(server(Server::tls("localhost"), "CHILD_IMAP"), app.credentials());
    Imap::connect(config.heartbeat(NEVER).backoff(MOMENT, MOMENT).max_connects_per_minute(1_000_000))
}

fn smtp(app: &App) -> pymail::Result<Smtp> {
    let config = SmtpConfig::new(server(Server::starttls("localhost"), "CHILD_SMTP"), app.credentials());
    Smtp::connect(config.heartbeat(NEVER).backoff(MOMENT, MOMENT).max_connects_per_minute(1_000_000))
}

/// The resources of this process, which has no handle.
#[derive(Debug)]
struct Resources {
    rss_mb: f64,
    threads: usize,
    descriptors: usize,
}

impl Resources {
    fn once_idle() -> Self {
        wait_until("the end of all connections", || sockets() == 0);
        let status = fs::read_to_string(of_this_process("status")).unwrap();
        let field = |name: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        let descriptors = fs::read_dir(of_this_process("fd")).unwrap().count();
        let threads = fs::read_dir(of_this_process("task")).unwrap().count();
        Self { rss_mb: field("VmRSS:") / 1_024.0, threads, descriptors }
    }
}

fn sockets() -> usize {
    let entries = fs::read_dir(of_this_process("fd")).unwrap();
    let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}
