//! Signing in on another device (RFC 8628): the user enters a code in any browser, while the app polls.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::client::Client;
use super::http::checked;
use super::response::{Failure, Fields, Reply, Tokens, no_refresh_token, seconds, text};
use super::secret::{RefreshToken, Secret};
use crate::error::{Error, ErrorKind, Result, bounded};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// The interval of polls, if the server names none (RFC 8628, section 3.2).
const INTERVAL: Duration = Duration::from_secs(5);

/// The shortest interval, whatever the server names.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// The time that `slow_down` adds to the interval, for all later polls (RFC 8628, section 3.5).
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// The life of a code, if the server names none.
const LIFE: Duration = Duration::from_secs(600);

/// A sign-in that the user completes in a browser, on any device (RFC 8628). Clones share it.
///
/// ```no_run
/// use std::time::Duration;
/// use pymail::oauth::{Client, Endpoints, MICROSOFT_SCOPES};
///
/// # fn main() -> pymail::Result<()> {
/// let client = Client::new(Endpoints::microsoft("common"), "client id").scopes(MICROSOFT_SCOPES);
/// let sign_in = client.sign_in_by_device()?;
/// println!("Open {} and enter {}", sign_in.verification_uri(), sign_in.user_code());
/// let refresh_token = sign_in.wait(Duration::from_secs(900))?;
/// # let _ = refresh_token;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DeviceSignIn(Arc<Shared>);

struct Shared {
    client: Client,
    device_code: Secret,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: Option<String>,
    end: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    interval: Duration,
    next_poll: Instant,
    is_polling: bool,
    is_cancelled: bool,
    /// The result of the sign-in, until a caller takes it.
    outcome: Option<Result<RefreshToken>>,
}

impl Client {
    /// Starts a sign-in on another device: asks for a code, which the app shows to the user. Takes at most the
    /// [`timeout`](Client::timeout).
    ///
    /// # Errors
    /// `Config` without a device authorization endpoint; those of [a source](super::TokenSource#errors-of-the-source).
    pub fn sign_in_by_device(&self) -> Result<DeviceSignIn> {
        let url = Self::endpoint(self.endpoints.device_authorization.as_ref(), "device authorization")?;
        let started = Instant::now();
        let reply = self.post(url, &[("scope", &self.scope())])?;
        let fields = reply.fields().map_err(|Failure { error, .. }| error)?;
        DeviceSignIn::of(self, &reply, &fields, started)
    }
}

impl DeviceSignIn {
    /// Makes a sign-in of a response (RFC 8628, section 3.2). Google's has `verification_url`.
    fn of(client: &Client, reply: &Reply, fields: &Fields, started: Instant) -> Result<Self> {
        let uri = text(fields, "verification_uri").or_else(|| text(fields, "verification_url"));
        let (Some(device_code), Some(user_code), Some(uri)) =
            (text(fields, "device_code"), text(fields, "user_code"), uri)
        else {
            let reason = "its response has no device_code, user_code or verification_uri";
            return Err(reply.failed(ErrorKind::Connect, reason));
        };
        // The app may open it.
        checked(uri)
            .map_err(|_| reply.failed(ErrorKind::Connect, "its verification_uri is no URL of HTTPS"))?;
        let complete = text(fields, "verification_uri_complete").filter(|uri| checked(uri).is_ok());
        let interval = seconds(fields, "interval").unwrap_or(INTERVAL).clamp(SHORTEST_INTERVAL, LIFE);
        let life = seconds(fields, "expires_in").unwrap_or(LIFE).min(Duration::from_secs(86_400));
        let state = State {
            interval,
            next_poll: Instant::now() + interval,
            is_polling: false,
            is_cancelled: false,
            outcome: None,
        };
        Ok(Self(Arc::new(Shared {
            client: client.clone(),
            device_code: Secret::new(device_code),
            user_code: bounded(user_code),
            verification_uri: uri.to_owned(),
            verification_uri_complete: complete.map(str::to_owned),
            end: started + life,
            state: Mutex::new(state),
            changed: Condvar::new(),
        })))
    }

    /// Returns the code that the user enters.
    #[must_use]
    pub fn user_code(&self) -> &str {
        &self.0.user_code
    }

    /// Returns the address at which the user enters the code.
    #[must_use]
    pub fn verification_uri(&self) -> &str {
        &self.0.verification_uri
    }

    /// Returns an address with the code in it, for a QR code, if the server gives one.
    #[must_use]
    pub fn verification_uri_complete(&self) -> Option<&str> {
        self.0.verification_uri_complete.as_deref()
    }

    /// Returns the time that is left for the user to enter the code.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.0.end.saturating_duration_since(Instant::now())
    }

    /// Waits until the user has signed in, at most for `limit`, and returns the refresh token. The app stores it, and
    /// makes a source of it: [`Client::refresh_token`], or [`TokenSource::replace_refresh_token`] if it has one.
    ///
    /// Polls in the interval that the server names, longer after each `slow_down`; goes on after failures of the
    /// network.
    ///
    /// [`TokenSource::replace_refresh_token`]: super::TokenSource::replace_refresh_token
    ///
    /// # Errors
    /// `Timeout` after `limit`: call it again. `Closed` after [`cancel`](Self::cancel). `SignInNeeded` if the
    /// user has refused or the code has expired: start another sign-in. `Config` for a client or a scope that the
    /// server does not accept, and if there is no refresh token: Microsoft gives one for the scope `offline_access`
    /// only.
    pub fn wait(&self, limit: Duration) -> Result<RefreshToken> {
        let Shared { client, end, changed, .. } = &*self.0;
        // Of a poll that began before the end: the user may have been just in time.
        let last = *end + client.timeout;
        let until = Instant::now().checked_add(limit).map_or(last, |until| until.min(last));
        let mut state = self.0.state.lock();
        loop {
            if state.is_cancelled {
                return Err(Error::new(ErrorKind::Closed, "the sign-in was cancelled"));
            }
            if let Some(outcome) = state.outcome.take() {
                return outcome;
            }
            let now = Instant::now();
            if now >= last || (now >= *end && !state.is_polling) {
                return Err(Error::grant_gone("the code has expired: start another sign-in"));
            }
            if now >= until {
                return Err(Error::new(ErrorKind::Timeout, format!("no sign-in within {limit:?}")));
            }
            if !state.is_polling && now >= state.next_poll {
                self.start_poll()?;
                state.is_polling = true;
            }
            let next = if state.is_polling { until } else { until.min(state.next_poll).min(*end) };
            changed.wait_until(&mut state, next);
        }
    }

    /// Ends all waits for this sign-in, also later ones.
    pub fn cancel(&self) {
        self.0.state.lock().is_cancelled = true;
        self.0.changed.notify_all();
    }

    /// Polls on a thread of its own: a wait ends at its limit, and an answer that comes later is kept for the next one.
    fn start_poll(&self) -> Result<()> {
        let shared = Arc::clone(&self.0);
        let poll = move || {
            let fields = [("grant_type", GRANT), ("device_code", shared.device_code.reveal())];
            let answer = shared.client.request_tokens(&fields);
            shared.state.lock().note(answer);
            shared.changed.notify_all();
        };
        let thread = thread::Builder::new().name("pymail-oauth".into()).spawn(poll);
        thread.map(drop).map_err(|error| Error::token_unavailable(format!("no thread: {error}"), None))
    }
}

impl State {
    /// Records the answer to a poll.
    fn note(&mut self, answer: Result<Tokens, Failure>) {
        self.is_polling = false;
        let mut wait = self.interval;
        match answer {
            Ok(tokens) => self.outcome = Some(tokens.refresh_token.ok_or_else(no_refresh_token)),
            Err(failure) => match failure.code.as_deref() {
                Some("authorization_pending") => {}
                Some("slow_down") => {
                    self.interval += SLOW_DOWN;
                    wait = self.interval;
                }
                // RFC 8628, section 3.5: more slowly after a failure of the network.
                _ if failure.error.is_transient() => {
                    wait = failure.error.retry_after().unwrap_or_default().max(self.interval * 2);
                }
                _ => self.outcome = Some(Err(failure.error)),
            },
        }
        self.next_poll = Instant::now() + wait;
    }
}

/// Shows the user's code, and not the device's.
impl fmt::Debug for DeviceSignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceSignIn")
            .field("user_code", &self.0.user_code)
            .field("verification_uri", &self.0.verification_uri)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::endpoints::Endpoints;
    use super::*;
    use crate::config::AccessToken;

    fn state() -> State {
        let next_poll = Instant::now();
        State { interval: INTERVAL, next_poll, is_polling: true, is_cancelled: false, outcome: None }
    }

    fn failure(code: &str, kind: ErrorKind) -> Result<Tokens, Failure> {
        Err(Failure { code: Some(code.to_owned()), error: Error::new(kind, code) })
    }

    #[test]
    fn slow_down_adds_five_seconds_for_good_and_a_failure_doubles_one_wait() {
        let mut state = state();
        let mut wait_after = |code: &str, kind| {
            let before = Instant::now();
            state.note(failure(code, kind));
            assert!(state.outcome.is_none() && !state.is_polling);
            let wait = state.next_poll - before;
            Duration::from_secs(wait.as_secs())
        };
        let seconds = Duration::from_secs;
        assert_eq!(wait_after("authorization_pending", ErrorKind::Connect), seconds(5));
        assert_eq!(wait_after("slow_down", ErrorKind::Connect), seconds(10));
        assert_eq!(wait_after("authorization_pending", ErrorKind::Connect), seconds(10));
        assert_eq!(wait_after("server_error", ErrorKind::Connect), seconds(20));
        assert_eq!(wait_after("slow_down", ErrorKind::Connect), seconds(15));
    }

    #[test]
    fn a_poll_from_before_the_end_of_the_code_is_waited_for() {
        let client = Client::new(Endpoints::new("http://localhost:1/token"), "app");
        let sign_in = DeviceSignIn(Arc::new(Shared {
            client,
            device_code: Secret::new("device-code"),
            user_code: String::new(),
            verification_uri: String::new(),
            verification_uri_complete: None,
            end: Instant::now() + Duration::from_millis(100),
            state: Mutex::new(state()),
            changed: Condvar::new(),
        }));
        let shared = Arc::clone(&sign_in.0);
        let poll = thread::spawn(move || {
            while Instant::now() < shared.end + Duration::from_millis(100) {
                thread::park_timeout(Duration::from_millis(10));
            }
            let (access_token, refresh_token) = (AccessToken::new("a"), Some(RefreshToken::new("r")));
            shared.state.lock().note(Ok(Tokens { access_token, refresh_token }));
            shared.changed.notify_all();
        });
        assert_eq!(sign_in.wait(Duration::MAX).unwrap().reveal(), "r");
        poll.join().unwrap();
    }
}
