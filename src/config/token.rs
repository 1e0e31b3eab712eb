//! Access tokens of OAuth 2.0, and the function of the app that returns them.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use crate::error::Result;

/// An access token of OAuth 2.0 (RFC 6749), as the app got it from its provider. `Debug` shows its end only.
///
/// ```
/// use std::time::Duration;
/// use pymail::AccessToken;
///
/// let token = AccessToken::new("ya29.s3cret").expires_in(Duration::from_secs(3_599));
/// assert!(!format!("{token:?}").contains("s3cret"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    secret: String,
    end: Option<SystemTime>,
}

impl AccessToken {
    /// Makes a token of unknown end: at least one printable ASCII character, without spaces (RFC 6750, section 2.1).
    ///
    /// Together with the user name, it has about 6,000 characters at most with IMAP, and 9,000 with SMTP.
    pub fn new(secret: impl Into<String>) -> Self {
        Self { secret: secret.into(), end: None }
    }

    /// Sets the time at which the token ends. Before that time, the session is replaced, between two calls.
    #[must_use]
    pub fn expires_at(mut self, end: SystemTime) -> Self {
        self.end = Some(end);
        self
    }

    /// Sets the time for which the token is valid from now on, such as `expires_in` of a token response (RFC 6749,
    /// section 5.1).
    #[must_use]
    pub fn expires_in(self, time: Duration) -> Self {
        match SystemTime::now().checked_add(time) {
            Some(end) => self.expires_at(end),
            None => self,
        }
    }

    /// Returns the time at which the token ends, if it is known.
    #[must_use]
    pub fn get_expires_at(&self) -> Option<SystemTime> {
        self.end
    }

    /// Returns the id by which a cache tells this token from others: the same for equal tokens.
    #[must_use]
    pub fn id(&self) -> TokenId {
        static KEYS: OnceLock<RandomState> = OnceLock::new();
        TokenId(KEYS.get_or_init(RandomState::new).hash_one(&self.secret))
    }

    /// Returns the token, for the login.
    pub(crate) fn reveal(&self) -> &str {
        &self.secret
    }

    /// Returns `true` if the token can be sent: a control character would end the response that has it.
    pub(crate) fn is_sendable(&self) -> bool {
        !self.secret.is_empty() && self.secret.bytes().all(|octet| octet.is_ascii_graphic())
    }

    /// Returns the time until the token ends; zero after its end.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.end.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default())
    }
}

/// Shows the end, not the token.
impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("expires_at", &self.end).finish_non_exhaustive()
    }
}

/// The id of an access token within this process: not secret, and of no meaning elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenId(u64);

/// A request for an access token, by a handle that is about to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenRequest {
    /// `true` if the token of the last request is of no use any more: the server has refused it, or has ended a session
    /// with it; logins with it fail; or it ends soon. Fetch a new one: a cache is likely to have that one.
    pub renew: bool,
    /// With `renew`, the [id](AccessToken::id) of that token. A cache that has another token by now may return it: so a
    /// token that many handles had is renewed once, and not once for each.
    pub stale: Option<TokenId>,
    /// The rest of the time that the call has for connecting. A token that comes later is used for the next attempt.
    pub timeout: Duration,
}

impl TokenRequest {
    /// Makes a request for any token, with this timeout.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { renew: false, stale: None, timeout }
    }

    /// Makes a request for another token than this one.
    #[must_use]
    pub fn for_another(stale: TokenId, timeout: Duration) -> Self {
        Self { renew: true, stale: Some(stale), timeout }
    }
}

/// The function of the app that returns access tokens. Equal to its clones.
#[derive(Clone)]
pub(crate) struct TokenSource(Arc<dyn Fn(TokenRequest) -> Result<AccessToken> + Send + Sync>);

impl TokenSource {
    pub(super) fn new(
        provider: impl Fn(TokenRequest) -> Result<AccessToken> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(provider))
    }

    /// Asks for a token. Runs code of the app, which may block or panic.
    pub(crate) fn ask(&self, request: TokenRequest) -> Result<AccessToken> {
        (self.0)(request)
    }
}

impl PartialEq for TokenSource {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for TokenSource {}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSource(..)")
    }
}
