//! The source of the access tokens of one account, shared by its handles: a cache, and one request at a time.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::client::{Client, LONGEST_TIMEOUT};
use super::response::Failure;
use super::secret::RefreshToken;
use crate::config::{AccessToken, Credentials, TokenRequest};
use crate::error::{Error, ErrorKind, Result};
use crate::secrets;
use crate::tokens::renewal;

/// The wait after a first failed request; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait after a failed request, unless the server asks for more.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The function of the app that stores a new refresh token.
pub(super) type Keep = Box<dyn Fn(&RefreshToken) -> io::Result<()> + Send + Sync>;

/// The grant that a request for an access token uses.
pub(super) enum Grant {
    RefreshToken(Keep),
    ClientCredentials,
}

/// A source of access tokens for [`Credentials::oauth2`]. Clones share its cache and its requests.
///
/// There is one request at a time, on a thread of its own. All handles that need a token wait for it, each no longer
/// than its own timeout, and get its token or its error. After an error, the source makes no request for a while, and
/// returns the same error: for as long as the server asks (`Retry-After`, at most an hour; 5 s after 429 and
/// `slow_down` without it), else for 1 s, doubled up to a minute. A token that a handle calls
/// [stale](TokenRequest::stale) is replaced once, for all handles that had it.
///
/// A token is replaced shortly before its end, when a handle connects in the last quarter of its life, or in the last 2
/// min if that is less. While the token server is away, the old one is used to its end; if it is silent, after half of the
/// handle's time. The end is `expires_in` after the start of the request, by this machine's clock; without `expires_in`, a
/// token is used until a server refuses it.
///
/// A call that waits for a token blocks its thread; a call of an `AsyncImap` blocks one of the pool.
///
/// # Errors of the source
///
/// | the token server | the error | a handle |
/// | --- | --- | --- |
/// | `invalid_grant`, `interaction_required` and the like | [`SignInNeeded`](ErrorKind::SignInNeeded) | makes no connection until [`signed_in`](crate::Imap::signed_in); call [`replace_refresh_token`](Self::replace_refresh_token) before |
/// | `invalid_client`, `unauthorized_client`, `invalid_scope` and other errors of OAuth; 3xx and other 4xx | [`Config`](ErrorKind::Config) | returns it, and tries again later: the handle lives |
/// | can't be verified | [`Tls`](ErrorKind::Tls) | returns [`Connect`](ErrorKind::Connect) with the reason, and tries again |
/// | is not reachable or silent; 408, 429, 5xx, `temporarily_unavailable`, `slow_down`; sends something else than a token | [`Connect`](ErrorKind::Connect) | the same, not before the wait that the server asks for |
///
/// If the app could not store a new refresh token, the error is `Connect` as well. The texts name the server and the
/// reason, and have no token or secret in them.
#[derive(Clone)]
pub struct TokenSource(Arc<Shared>);

struct Shared {
    client: Client,
    grant: Grant,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    refresh_token: Option<RefreshToken>,
    /// The number of times that the app has replaced the refresh token.
    sign_in: u64,
    /// `true` while the app has not stored the refresh token yet.
    is_unkept: bool,
    /// The access token that came with it.
    unkept: Option<AccessToken>,
    cached: Option<AccessToken>,
    /// The time from which the cached token is replaced.
    renew_at: Option<SystemTime>,
    is_asking: bool,
    /// The sign-in of the last request.
    asked_for: u64,
    /// The number of requests that have ended.
    ended: u64,
    /// The error of the last request, if it failed.
    failure: Option<Error>,
    /// The time before which no other request is made.
    rests_until: Option<Instant>,
    /// The number of requests that have failed in a row.
    failures: u32,
}

impl TokenSource {
    pub(super) fn new(client: Client, grant: Grant, refresh_token: Option<RefreshToken>) -> Self {
        let state = Mutex::new(State { refresh_token, ..State::default() });
        Self(Arc::new(Shared { client, grant, state, ended: Condvar::new() }))
    }

    /// Returns credentials of this user, with these tokens, for any number of handles.
    pub fn credentials(&self, user: impl Into<String>) -> Credentials {
        let source = self.clone();
        Credentials::oauth2(user, move |request| source.token(request))
    }

    /// Returns a token from the cache or from the token server, within the timeout of the request.
    ///
    /// # Errors
    /// See [the table](Self#errors-of-the-source).
    pub fn token(&self, request: TokenRequest) -> Result<AccessToken> {
        let mut state = self.0.state.lock();
        if let Some(token) = state.cached(&request).filter(|token| is_valid(token) && !state.is_renewal_due())
        {
            return Ok(token.clone());
        }
        let patience = state.patience(&request);
        let result = match state.recent_failure() {
            Some(error) => Err(error),
            None => self.wait(&mut state, patience),
        };
        match result {
            Err(error) if error.is_transient() => {
                state.cached(&request).filter(|token| is_valid(token)).cloned().ok_or(error)
            }
            result => result,
        }
    }

    /// Goes on with the refresh token of another sign-in of the same account. After that, call
    /// [`Imap::signed_in`](crate::Imap::signed_in) or [`Smtp::signed_in`](crate::Smtp::signed_in) on each handle in
    /// [`State::SignInNeeded`](crate::State::SignInNeeded).
    ///
    /// The app stores the token itself: this call does not pass it to `keep`, unless `keep` is just about to store an older
    /// one, which would take its place.
    pub fn replace_refresh_token(&self, token: RefreshToken) {
        let mut state = self.0.state.lock();
        let State { sign_in, is_asking, asked_for, ended, .. } = *state;
        let (refresh_token, sign_in) = (Some(token), sign_in + 1);
        *state = State { refresh_token, sign_in, is_asking, asked_for, ended, ..State::default() };
    }

    /// Waits for the request that is on the way, or for a new one.
    fn wait(&self, state: &mut MutexGuard<'_, State>, timeout: Duration) -> Result<AccessToken> {
        let until = Instant::now() + timeout.min(LONGEST_TIMEOUT);
        if !state.is_asking {
            self.start()?;
            state.is_asking = true;
        }
        let ended = state.ended;
        while state.ended == ended {
            if self.0.ended.wait_until(state, until).timed_out() && state.ended == ended {
                let reason = format!("no answer of the token server within {timeout:.1?}");
                return Err(Error::token_unavailable(reason, None));
            }
        }
        match (&state.failure, &state.cached) {
            (Some(error), _) => Err(error.clone()),
            (None, Some(token)) => Ok(token.clone()),
            (None, None) => Err(Error::token_unavailable("the refresh token was replaced meanwhile", None)),
        }
    }

    /// Starts a request on a thread of its own: after its callers have timed out, it may still bring a new refresh
    /// token.
    fn start(&self) -> Result<()> {
        let shared = Arc::clone(&self.0);
        let run = move || {
            let fetched = catch_unwind(AssertUnwindSafe(|| shared.fetch()));
            // The panic hook has reported the panic.
            shared.finish(
                fetched.unwrap_or_else(|_| Err(Error::token_unavailable("a request panicked", None))),
            );
        };
        let thread = thread::Builder::new().name("pymail-oauth".into()).spawn(run);
        thread.map(drop).map_err(|error| Error::token_unavailable(format!("no thread: {error}"), None))
    }
}

impl State {
    /// Returns the cached token, unless it is the one that the request calls stale.
    fn cached(&self, request: &TokenRequest) -> Option<&AccessToken> {
        let is_another = |token: &&AccessToken| request.stale.is_some_and(|stale| stale != token.id());
        self.cached.as_ref().filter(|token| !request.renew || is_another(token))
    }

    /// Returns the time to wait for another token. Half of the caller's while the old one serves: it must log in yet.
    fn patience(&self, request: &TokenRequest) -> Duration {
        let serves = self.cached(request).is_some_and(is_valid);
        if serves { request.timeout / 2 } else { request.timeout }
    }

    fn is_renewal_due(&self) -> bool {
        self.renew_at.is_some_and(|at| at <= SystemTime::now())
    }

    /// Returns the error of the last request, with the rest of the wait, while there is one.
    fn recent_failure(&self) -> Option<Error> {
        let wait = self.rests_until?.checked_duration_since(Instant::now())?;
        let error = self.failure.clone()?;
        Some(if error.is_transient() { error.with_retry_after(Some(wait)) } else { error })
    }
}

impl Shared {
    /// Asks the token server. Passes a new refresh token to the app before it returns the access token that came with
    /// it.
    fn fetch(&self) -> Result<AccessToken> {
        if let Some(token) = self.keep_new()?.filter(is_valid) {
            return Ok(token);
        }
        loop {
            if let Some(token) = self.request()? {
                return Ok(token);
            }
            if let Some(token) = self.keep_new()? {
                return Ok(token);
            }
            // The app has replaced the refresh token meanwhile.
        }
    }

    /// Makes a request. Returns `None` if the app must keep a new refresh token first, or has replaced the old one.
    fn request(&self) -> Result<Option<AccessToken>> {
        let (sign_in, refresh_token) = {
            let mut state = self.state.lock();
            state.asked_for = state.sign_in;
            (state.sign_in, state.refresh_token.clone())
        };
        let scope = self.client.scope();
        let old = refresh_token.as_ref().map_or("", RefreshToken::reveal);
        let grant_type = match self.grant {
            Grant::RefreshToken(_) => "refresh_token",
            Grant::ClientCredentials => "client_credentials",
        };
        let form = [("grant_type", grant_type), ("refresh_token", old), ("scope", &scope)];
        let answer = self.client.request_tokens(&form);
        let mut state = self.state.lock();
        if state.sign_in != sign_in {
            return Ok(None);
        }
        let tokens = answer.map_err(|Failure { error, .. }| error)?;
        let is_kept = matches!(self.grant, Grant::RefreshToken(_));
        match tokens.refresh_token.filter(|new| is_kept && new.reveal() != old) {
            None => Ok(Some(tokens.access_token)),
            Some(new) => {
                (state.refresh_token, state.is_unkept) = (Some(new), true);
                state.unkept = Some(tokens.access_token);
                Ok(None)
            }
        }
    }

    /// Passes a new refresh token to the app, unless the app has stored it. Returns the access token that came with it,
    /// if any.
    fn keep_new(&self) -> Result<Option<AccessToken>> {
        let Grant::RefreshToken(keep) = &self.grant else { return Ok(None) };
        let (sign_in, token) = {
            let state = self.state.lock();
            match &state.refresh_token {
                Some(token) if state.is_unkept => (state.sign_in, token.clone()),
                _ => return Ok(None),
            }
        };
        let kept = catch_unwind(AssertUnwindSafe(|| keep(&token)));
        let mut state = self.state.lock();
        if state.sign_in != sign_in {
            // The app may have stored this one in the place of that of its sign-in.
            state.is_unkept = true;
            drop(state);
            return self.keep_new();
        }
        let reason = match kept {
            Ok(Ok(())) => {
                state.is_unkept = false;
                return Ok(state.unkept.take());
            }
            Ok(Err(error)) => secrets::hide(error.to_string(), &[token.reveal().to_owned()]),
            // The panic hook has reported the panic.
            Err(_) => "the app's function panicked".to_owned(),
        };
        Err(Error::new(ErrorKind::Connect, format!("the new refresh token could not be kept: {reason}")))
    }

    /// Records the end of a request, and wakes all that wait for it.
    fn finish(&self, fetched: Result<AccessToken>) {
        let mut state = self.state.lock();
        state.is_asking = false;
        state.ended += 1;
        let failure = match fetched {
            _ if state.asked_for != state.sign_in => None,
            Ok(token) => {
                (state.renew_at, state.cached) = (renewal(&token, token.time_left()), Some(token));
                (state.failure, state.rests_until, state.failures) = (None, None, 0);
                None
            }
            Err(error) => {
                let doubled = FIRST_WAIT * 2_u32.saturating_pow(state.failures.min(10));
                let wait = error.retry_after().unwrap_or(doubled.min(LONGEST_WAIT)).max(FIRST_WAIT);
                state.rests_until = Instant::now().checked_add(wait);
                state.failures += 1;
                let error = if error.is_transient() { error.with_retry_after(Some(wait)) } else { error };
                Some(state.failure.insert(error).clone())
            }
        };
        drop(state);
        self.ended.notify_all();
        if let Some(error) = failure {
            let client = &self.client.id;
            tracing::warn!(client, %error, "no access token");
        }
    }
}

/// Returns `true` for a token that has not ended, as far as is known.
fn is_valid(token: &AccessToken) -> bool {
    token.time_left().is_none_or(|left| !left.is_zero())
}

/// Shows no token.
impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSource").field("client", &self.0.client).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::endpoints::Endpoints;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    /// Returns a source whose token server is away, and whose token is due for renewal.
    fn source(token: &AccessToken) -> TokenSource {
        let client = Client::new(Endpoints::new("http://localhost:1/token"), "app");
        let source = client.client_credentials();
        let mut state = source.0.state.lock();
        (state.cached, state.renew_at) = (Some(token.clone()), Some(SystemTime::now()));
        drop(state);
        source
    }

    #[test]
    fn an_old_token_serves_to_its_end_while_the_token_server_is_away() {
        let token = AccessToken::new("old").expires_in(HOUR);
        let source = source(&token);
        let request = TokenRequest::new(HOUR);
        assert_eq!(source.token(request).unwrap(), token);
        assert_eq!(source.0.state.lock().failures, 1);
        assert_eq!(source.token(request).unwrap(), token);
        let stale = source.token(TokenRequest::for_another(token.id(), HOUR)).unwrap_err();
        assert!(stale.is_transient() && stale.retry_after().is_some(), "{stale:?}");
    }

    #[test]
    fn a_silent_token_server_leaves_time_for_a_login_with_the_old_token() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let token = AccessToken::new("old").expires_in(HOUR);
        let source = Client::new(Endpoints::new(url), "app").client_credentials();
        {
            let mut state = source.0.state.lock();
            (state.cached, state.renew_at) = (Some(token.clone()), Some(SystemTime::now()));
            assert_eq!(state.patience(&TokenRequest::new(HOUR)), HOUR / 2);
            assert_eq!(state.patience(&TokenRequest::for_another(token.id(), HOUR)), HOUR);
        }
        assert_eq!(source.token(TokenRequest::new(Duration::from_secs(2))).unwrap(), token);
    }

    #[test]
    fn a_token_that_has_ended_does_not_serve() {
        let source = source(&AccessToken::new("old").expires_in(Duration::ZERO));
        assert!(source.token(TokenRequest::new(HOUR)).unwrap_err().is_transient());
    }
}
