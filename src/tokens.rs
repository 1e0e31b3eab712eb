//! The access tokens of one connection: asks the app for them, and knows when to ask for a new one.
//!
//! The provider is code of the app. It is asked before the server is connected to, so that a server never waits for it;
//! on a thread of its own, so that a call ends by its deadline also if the provider does not. One request is under way at
//! a time: what comes too late for one attempt is there for the next. Its panics and its errors never end a handle, but
//! for [`ErrorKind::SignInNeeded`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex};

use crate::app_code::{self, Mark};
use crate::codes;
use crate::config::{AccessToken, Credentials, Login, Secret, TokenId, TokenRequest, TokenSource};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind, Result, bounded};
use crate::throttle::MAX_WAIT;

/// The action in errors of the provider.
const ACTION: &str = "asking for an access token";

/// The longest time before the end of a token within which its session is replaced: two calls of the default timeout,
/// and some beats of a heartbeat.
const MARGIN: Duration = Duration::from_secs(120);

/// The part of a token's time, as of the login, that the margin has at most.
const MARGIN_SHARE: u32 = 4;

/// The wait after a session could not be replaced, before the next attempt.
const POSTPONEMENT: Duration = Duration::from_secs(15);

/// The wait before a refused token is sent again, if the provider has no other one. By default, fail2ban bans an address
/// after five refusals within ten minutes.
const SAME_TOKEN_WAIT: Duration = Duration::from_secs(300);

/// The time after which a provider that does not answer is asked again, beside the request before: one that hangs for ever
/// costs a thread for each such time.
const GIVE_UP: Duration = Duration::from_secs(600);

/// The access tokens of one connection; none for logins by password.
#[derive(Default)]
pub(crate) struct Tokens {
    provider: Option<TokenSource>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The token in whose place the next request is for another one: it was refused, or has ended a session.
    stale: Option<TokenId>,
    /// The last token that was asked for as a new one, until a login.
    renewed: Option<AccessToken>,
    /// The token of the last login.
    last: Option<AccessToken>,
    /// The token that was refused last, until a login.
    refused: Option<Refused>,
    /// The token of the last attempt that has failed for another cause.
    failed: Option<AccessToken>,
    /// The time from which the session of the last login is due for renewal.
    renew_at: Option<SystemTime>,
    /// The request that is under way, or was answered too late.
    question: Option<Arc<Question>>,
    /// The number of sign-ins by the account's owner.
    sign_ins: u64,
    /// `true` after the answer that the grant is gone, until a sign-in or a login.
    is_grant_gone: bool,
}

/// A token that the server has refused.
struct Refused {
    token: AccessToken,
    error: Error,
    /// `true` until the next attempt, if that is to bring another token.
    is_just_now: bool,
}

/// A request to the provider.
struct Question {
    renew: bool,
    asked_at: Instant,
    /// The sign-ins before it.
    sign_ins: u64,
    answer: Mutex<Option<Result<AccessToken>>>,
    answered: Condvar,
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
        let token = self.token(provider, deadline)?;
        if let Some(error) = self.state.lock().refused_just_now(&token) {
            return Err(error);
        }
        let left = token.time_left();
        let result = connect(Some(&token));
        let mut state = self.state.lock();
        match result {
            Ok(session) => {
                state.logged_in(token, left);
                Ok(session)
            }
            Err(error) => Err(state.login_failed(token, error)),
        }
    }

    /// Returns a token that has not ended, as far as that is known.
    fn token(&self, provider: &TokenSource, deadline: Deadline) -> Result<AccessToken> {
        let stale = self.state.lock().stale;
        let token = self.ask(provider, stale, deadline)?;
        if stale.is_some() || !self.is_spent(&token) {
            return Ok(token);
        }
        self.ask(provider, Some(token.id()), deadline)
    }

    /// Returns `true` for a token that has ended, and for that of a session that is due for renewal.
    fn is_spent(&self, token: &AccessToken) -> bool {
        let state = self.state.lock();
        let is_last = is_same(state.last.as_ref(), token);
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

    /// Returns the time until the session of the last login is due for renewal, if its token's end is known.
    pub(crate) fn time_to_renewal(&self) -> Option<Duration> {
        let at = self.state.lock().renew_at?;
        Some(at.duration_since(SystemTime::now()).unwrap_or_default())
    }

    /// Returns `true` if the session of the last login is due for renewal.
    pub(crate) fn is_renewal_due(&self) -> bool {
        is_past(self.state.lock().renew_at)
    }

    /// Has the session replaced as soon as may be: the last login's was dropped in its favour. That one's token serves.
    pub(crate) fn renew_now(&self) {
        let mut state = self.state.lock();
        (state.last, state.renew_at) = (None, Some(SystemTime::now()));
    }

    /// Puts the replacement off after a failure, for this wait or longer.
    pub(crate) fn postpone_renewal(&self, wait: Duration) {
        self.state.lock().renew_at = SystemTime::now().checked_add(wait.max(POSTPONEMENT));
    }

    /// Records that the account's owner has signed in: a request before it is not waited for any more, and its answer that
    /// the grant is gone is old news.
    pub(crate) fn signed_in(&self) {
        let mut state = self.state.lock();
        state.sign_ins += 1;
        state.is_grant_gone = false;
        state.question = None;
    }

    /// Returns `true` if the grant is gone, and the account's owner has not signed in since.
    pub(crate) fn is_grant_gone(&self) -> bool {
        self.state.lock().is_grant_gone
    }

    /// Returns a number that only this connection has.
    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Asks the app for a token, in place of an old one if there is any, and checks it. Waits until the deadline; the
    /// provider may take longer.
    fn ask(&self, provider: &TokenSource, old: Option<TokenId>, deadline: Deadline) -> Result<AccessToken> {
        loop {
            deadline.check(ACTION)?;
            let question = self.question(provider, old, deadline)?;
            let answer = question.wait(deadline)?;
            let mut state = self.state.lock();
            let is_first = state.question.take_if(|asked| Arc::ptr_eq(asked, &question)).is_some();
            let is_old_news = is_grant_gone(&answer) && question.sign_ins != state.sign_ins;
            if is_old_news || (old.is_some() && !question.renew) {
                continue;
            }
            state.is_grant_gone |= is_grant_gone(&answer);
            let token = answer?;
            if question.renew && is_first {
                state.stale = None; // Not to be replaced, too, before the server has seen it.
                state.renewed = Some(token.clone());
            }
            return Ok(token);
        }
    }

    /// Returns the request that is under way, or was answered too late, if its answer is of use; else a new one.
    fn question(
        &self,
        provider: &TokenSource,
        old: Option<TokenId>,
        deadline: Deadline,
    ) -> Result<Arc<Question>> {
        let renew = old.is_some();
        let mut state = self.state.lock();
        if let Some(question) = state.question.take_if(|question| question.is_of_use(renew)) {
            return Ok(Arc::clone(state.question.insert(question)));
        }
        let question = Arc::new(Question {
            renew,
            asked_at: Instant::now(),
            sign_ins: state.sign_ins,
            answer: Mutex::default(),
            answered: Condvar::new(),
        });
        Self::run(
            provider.clone(),
            Arc::clone(&question),
            TokenRequest { renew, stale: old, timeout: deadline.left() },
        )?;
        Ok(Arc::clone(state.question.insert(question)))
    }

    /// Starts the thread that asks the provider.
    fn run(provider: TokenSource, question: Arc<Question>, request: TokenRequest) -> Result<()> {
        // This thread, and the calls that it is in, wait for the answer. It has the mark of this connection, too.
        let marks = app_code::marks();
        let span = tracing::Span::current();
        let ask = move || {
            Mark::inherit(marks);
            let asked = catch_unwind(AssertUnwindSafe(|| span.in_scope(|| provider.ask(request))));
            // The panic hook has reported the panic.
            let panicked = |_| Error::config(format!("{ACTION}: the provider panicked"));
            *question.answer.lock() = Some(asked.map_err(panicked).and_then(checked));
            question.answered.notify_all();
        };
        let failed =
            |error| Error::new(ErrorKind::Runtime, format!("{ACTION}: no thread")).with_source(error);
        thread::Builder::new().name("pymail-token".into()).spawn(ask).map(drop).map_err(failed)
    }
}

impl State {
    /// Returns the refusal of a token that was refused just now, and is all that the provider has: the server sees it
    /// again after a wait only.
    fn refused_just_now(&mut self, token: &AccessToken) -> Option<Error> {
        let refused = self.refused.as_mut()?;
        if !std::mem::take(&mut refused.is_just_now) || refused.token.reveal() != token.reveal() {
            return None;
        }
        self.stale = Some(token.id());
        Some(all_there_is(refused.error.clone()))
    }

    fn logged_in(&mut self, token: AccessToken, left: Option<Duration>) {
        *self = Self {
            renew_at: renewal(&token, left),
            last: Some(token),
            question: self.question.take(),
            sign_ins: self.sign_ins,
            ..Self::default()
        };
    }

    /// Records a failed attempt with a token. Returns its error, which tells if another token may help at once.
    fn login_failed(&mut self, token: AccessToken, error: Error) -> Error {
        let is_new = is_same(self.renewed.as_ref(), &token);
        if !error.is_refused_token() {
            // A server may refuse a token in words that do not tell, or by hanging up.
            let has_failed_before = is_same(self.failed.as_ref(), &token);
            if has_failed_before && !is_new && is_of_login(error.kind()) {
                self.stale = Some(token.id());
            }
            self.failed = Some(token);
            return error;
        }
        self.stale = Some(token.id());
        let was_refused =
            self.refused.as_ref().is_some_and(|refused| refused.token.reveal() == token.reveal());
        self.refused = Some(Refused { token, error: error.clone(), is_just_now: !is_new });
        match is_new {
            false => error,
            true if was_refused => all_there_is(error),
            true => error.mark_transient(true),
        }
    }
}

impl Question {
    /// Returns `true` if the answer is of use to a request like this: it is under way, or has brought a token.
    fn is_of_use(&self, renew: bool) -> bool {
        match &*self.answer.lock() {
            Some(answer) => answer.is_ok() && (self.renew || !renew),
            None => self.asked_at.elapsed() < GIVE_UP,
        }
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// `Timeout` at the deadline.
    fn wait(&self, deadline: Deadline) -> Result<Result<AccessToken>> {
        let mut answer = self.answer.lock();
        while answer.is_none() {
            if self.answered.wait_until(&mut answer, deadline.at()).timed_out() {
                break;
            }
        }
        answer.clone().ok_or_else(|| deadline.error(ACTION))
    }
}

/// Returns the token of an answer, if it can be sent.
fn checked(answer: Result<AccessToken>) -> Result<AccessToken> {
    let token = answer.map_err(|error| unavailable(&error))?;
    if !token.is_sendable() {
        let rule = "the provider's token must be printable ASCII without spaces, and not empty";
        return Err(Error::config(format!("{ACTION}: {rule}")));
    }
    Ok(token)
}

/// Makes the refusal of a token in whose place the provider has no other: it is sent again after a long wait only.
fn all_there_is(refusal: Error) -> Error {
    let wait = refusal.retry_after().max(Some(SAME_TOKEN_WAIT));
    refusal.mark_transient(true).with_retry_after(wait)
}

fn is_grant_gone(answer: &Result<AccessToken>) -> bool {
    answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::SignInNeeded)
}

/// Returns `true` for the kind of an error after which the server may have seen the token.
fn is_of_login(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Auth | ErrorKind::Refused | ErrorKind::Disconnected | ErrorKind::Timeout)
}

fn is_same(one: Option<&AccessToken>, other: &AccessToken) -> bool {
    one.is_some_and(|one| one.reveal() == other.reveal())
}

/// Returns the error for a provider's error. A lost grant and a wrong configuration keep their kinds, since they don't
/// pass by themselves. No error ends a handle.
fn unavailable(error: &Error) -> Error {
    let kind = match error.kind() {
        kind @ (ErrorKind::SignInNeeded | ErrorKind::Config) => kind,
        _ => ErrorKind::Connect,
    };
    let wait = error.retry_after().filter(|_| kind == ErrorKind::Connect).map(|wait| wait.min(MAX_WAIT));
    Error::during(kind, ACTION, &bounded(&format!("{error:#}"))).with_retry_after(wait)
}

/// Returns the time from which a session with this token is due for renewal, by the time that was left when the login
/// began. None for a token that the server has taken after its end: its end, or this clock, is wrong.
pub(crate) fn renewal(token: &AccessToken, left: Option<Duration>) -> Option<SystemTime> {
    let left = left.filter(|left| !left.is_zero())?;
    token.get_expires_at()?.checked_sub(MARGIN.min(left / MARGIN_SHARE))
}

fn is_past(at: Option<SystemTime>) -> bool {
    at.is_some_and(|at| at <= SystemTime::now())
}

#[cfg(test)]
mod tests;
