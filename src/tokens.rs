//! The access tokens of one connection: asks the app for them, and knows when to ask for a new one.
//!
//! The provider is code of the app. It is asked before the server is connected to, so that a server never waits for it;
//! with no lock of this module held, and detached from the interpreter. Its panics and its errors never end a handle,
//! but for [`ErrorKind::SignInNeeded`].

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::codes;
use crate::config::{AccessToken, Credentials, Login, Provider, Secret, TokenId, TokenRequest};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result, bounded};
use crate::throttle::MAX_WAIT;

/// The longest time before the end of a token within which its session is replaced: two calls of the default timeout,
/// and some beats of a heartbeat.
const MARGIN: Duration = Duration::from_secs(120);

/// The part of a token's time, as of the login, that the margin has at most.
const MARGIN_SHARE: u32 = 4;

/// The wait after a session could not be replaced, before the next attempt.
const POSTPONEMENT: Duration = Duration::from_secs(15);

thread_local! {
    /// The connections for which this thread is asking the app, by their addresses.
    static ASKING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// The access tokens of one connection; none for logins by password.
#[derive(Default)]
pub(crate) struct Tokens {
    provider: Option<Provider>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The token that was refused last, or has ended a session.
    stale: Option<TokenId>,
    /// The token of the last login.
    last: Option<AccessToken>,
    /// The token that was refused just now, and its refusal; none if it was new.
    refused: Option<(AccessToken, Error)>,
    /// The time from which the session of the last login is to be replaced.
    renew_at: Option<SystemTime>,
}

impl Tokens {
    /// Makes the tokens of a connection with these credentials.
    pub(crate) fn new(credentials: &Credentials) -> Self {
        let provider = match &credentials.login {
            Some(Login { secret: Secret::Token(provider), .. }) => Some(provider.clone()),
            _ => None,
        };
        Self { provider, state: Mutex::default() }
    }

    /// Logs in by `connect`, with a token where the credentials are tokens.
    ///
    /// # Errors
    /// Those of `connect`. A refusal [asks for another token](Error::is_refused_token) unless the token was new; it comes
    /// again, without a connection, if the provider has no other token: many refusals could lock an account.
    /// Of the provider: `SignInNeeded`, `Connect` for its other errors, `Config` for a token that can't be sent and for a
    /// panic; `Timeout` if it takes all of the time.
    pub(crate) fn log_in<S>(
        &self,
        deadline: Deadline,
        connect: impl FnOnce(Option<&AccessToken>) -> Result<S>,
    ) -> Result<S> {
        let Some(provider) = &self.provider else { return connect(None) };
        let (token, is_new) = self.token(provider, deadline)?;
        if let Some((refused, error)) = self.take_refused()
            && is_new
            && refused.reveal() == token.reveal()
        {
            return Err(error.mark_transient(true));
        }
        let result = connect(Some(&token));
        let mut state = self.state.lock();
        match &result {
            Ok(_) => *state = State { renew_at: renewal(&token), last: Some(token), ..State::default() },
            Err(error) if error.is_refused_token() => {
                state.stale = Some(token.id());
                state.refused = Some((token, error.clone())).filter(|_| !is_new);
            }
            Err(_) => {}
        }
        drop(state);
        result.map_err(
            |error| if is_new && error.is_refused_token() { error.mark_transient(true) } else { error },
        )
    }

    fn take_refused(&self) -> Option<(AccessToken, Error)> {
        self.state.lock().refused.take()
    }

    /// Returns a token, and `true` if it is new: one that was asked for with `renew`.
    fn token(&self, provider: &Provider, deadline: Deadline) -> Result<(AccessToken, bool)> {
        let stale = self.state.lock().stale;
        let token = self.ask(provider, stale, deadline)?;
        if stale.is_some() || !self.is_spent(&token) {
            return Ok((token, stale.is_some()));
        }
        self.ask(provider, Some(token.id()), deadline).map(|token| (token, true))
    }

    /// Returns `true` for a token that has ended, and for that of a session that is to be replaced.
    fn is_spent(&self, token: &AccessToken) -> bool {
        let state = self.state.lock();
        let is_last = state.last.as_ref().is_some_and(|last| last.reveal() == token.reveal());
        token.time_left().is_some_and(|left| left.is_zero()) || (is_last && is_past(state.renew_at))
    }

    /// Records that the session was lost: if its token has ended, a new one is asked for next.
    pub(crate) fn note_loss(&self, error: &Error) {
        if self.provider.is_none() {
            return;
        }
        let is_of_session = matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::OutcomeUnknown);
        let mut state = self.state.lock();
        state.renew_at = None;
        if is_of_session && codes::is_token_ended(error.code(), &error.to_string()) {
            state.stale = state.last.as_ref().map(AccessToken::id).or(state.stale);
        }
    }

    /// Returns the time until the session of the last login is to be replaced, if its token's end is known.
    pub(crate) fn time_to_renewal(&self) -> Option<Duration> {
        let at = self.state.lock().renew_at?;
        Some(at.duration_since(SystemTime::now()).unwrap_or_default())
    }

    /// Returns `true` if the session of the last login is to be replaced.
    pub(crate) fn is_renewal_due(&self) -> bool {
        is_past(self.state.lock().renew_at)
    }

    /// Has the session replaced as soon as may be.
    pub(crate) fn renew_now(&self) {
        self.state.lock().renew_at = Some(SystemTime::now());
    }

    /// Puts the replacement off after a failure: for this wait, or for a while.
    pub(crate) fn postpone_renewal(&self, wait: Option<Duration>) {
        let wait = wait.unwrap_or_default().max(POSTPONEMENT);
        self.state.lock().renew_at = SystemTime::now().checked_add(wait);
    }

    /// Returns `true` if this thread is asking the app for a token, for this connection.
    pub(crate) fn is_asking(&self) -> bool {
        let asks = |asking: &RefCell<Vec<usize>>| asking.borrow().contains(&self.address());
        // A thread that is ending has no such list any more, and asks for nothing.
        self.provider.is_some() && ASKING.try_with(asks).unwrap_or(false)
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Asks the app for a token, in place of a stale one if there is any, and checks it.
    fn ask(&self, provider: &Provider, stale: Option<TokenId>, deadline: Deadline) -> Result<AccessToken> {
        const ACTION: &str = "asking for an access token";
        deadline.check(ACTION)?;
        let request = TokenRequest { renew: stale.is_some(), stale, timeout: deadline.left() };
        ASKING.with_borrow_mut(|asking| asking.push(self.address()));
        let asked = catch_unwind(AssertUnwindSafe(|| provider.ask(request)));
        ASKING.with_borrow_mut(Vec::pop);
        // The panic hook has reported the panic.
        let answer = asked.map_err(|_| Error::config(format!("{ACTION}: the provider panicked")))?;
        let token = answer.map_err(|error| unavailable(ACTION, &error))?;
        deadline.check(ACTION)?;
        if !token.is_sendable() {
            let rule = "the provider's token must be printable ASCII without spaces, and not empty";
            return Err(Error::config(format!("{ACTION}: {rule}")));
        }
        Ok(token)
    }
}

/// Returns the error for a provider's error. A lost grant and a wrong configuration keep their kinds, since they don't
/// pass by themselves. No error ends a handle.
fn unavailable(action: &str, error: &Error) -> Error {
    let kind = match error.kind() {
        kind @ (ErrorKind::SignInNeeded | ErrorKind::Config) => kind,
        _ => ErrorKind::Connect,
    };
    let wait = error.retry_after().filter(|_| kind == ErrorKind::Connect).map(|wait| wait.min(MAX_WAIT));
    Error::during(kind, action, &bounded(&format!("{error:#}"))).with_retry_after(wait)
}

/// Returns the time from which a session with this token is to be replaced. None for a token that the server has taken
/// after its end: its end, or this clock, is wrong.
pub(crate) fn renewal(token: &AccessToken) -> Option<SystemTime> {
    let left = token.time_left().filter(|left| !left.is_zero())?;
    token.get_expires_at()?.checked_sub(MARGIN.min(left / MARGIN_SHARE))
}

fn is_past(at: Option<SystemTime>) -> bool {
    at.is_some_and(|at| at <= SystemTime::now())
}
