//! The user name and the password of an account, or the function that returns its access tokens.

use std::fmt;

use super::token::{AccessToken, TokenRequest, TokenSource};
use crate::error::{Error, Result};

/// A password, without `Display` and `Serialize`; its `Debug` is `Password(..)`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(String);

impl Password {
    /// Makes a password.
    pub(super) fn new(password: String) -> Self {
        Self(password)
    }

    /// Returns the password, for the login.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// The user name of an account, and its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) secret: Secret,
}

/// A password, the function that returns access tokens, or none: then the client certificate names the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Secret {
    Password(Password),
    Token(TokenSource),
    Certificate,
}

/// The user name and the password of an account, or the source of its access tokens. `Debug` shows the user name only.
///
/// ```
/// use pymail::Credentials;
///
/// let credentials = Credentials::new("alice@example.org", "correct horse");
/// assert!(!format!("{credentials:?}").contains("horse"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub(crate) login: Option<Login>,
}

impl Credentials {
    /// Makes credentials of a user name and a password or app password: any characters but CR, LF and NUL, sent in
    /// UTF-8. The user name has at least one.
    ///
    /// IMAP tries LOGIN, AUTHENTICATE PLAIN and AUTHENTICATE LOGIN in turn, as far as the server offers them, until one
    /// works or the server says that the credentials are wrong; beyond ASCII, PLAIN goes first. Later logins of the
    /// handle use the one that worked. SMTP tries PLAIN, LOGIN and CRAM-MD5, each once.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            login: Some(Login {
                user: user.into(),
                secret: Secret::Password(Password::new(password.into())),
            }),
        }
    }

    /// Makes credentials of a user name and a `provider` of access tokens (OAuth 2.0): a function of the app that is
    /// called at every connect. With the feature `oauth`, `oauth::TokenSource` is such a provider, with a cache for all
    /// handles of an account.
    ///
    /// The provider returns a token, from a cache of its own or from the network. It runs on a thread of its own, in
    /// the span of the call. Its time counts within the [`timeout`](crate::ImapConfig::timeout) of the call, in the
    /// background within 20 s; [`TokenRequest::timeout`] is the rest of that. If it takes longer, the call returns
    /// [`Timeout`](crate::ErrorKind::Timeout), and the next attempt waits for the same answer; after 10 min, the
    /// provider is called again. The interpreter is free meanwhile. The provider may ask the handle for `status()` and
    /// `stats()`; other calls of that handle are [`InvalidInput`](crate::ErrorKind::InvalidInput) within it, since they
    /// would wait for themselves.
    ///
    /// | the provider returns | the handle |
    /// | --- | --- |
    /// | a token | logs in |
    /// | a token that the server refuses | asks once more, with [`renew`](TokenRequest::renew), and connects anew if it gets another one; after a second refusal it returns [`Auth`](crate::ErrorKind::Auth), and tries again after 10 s, doubled up to the longest [`backoff`](crate::ImapConfig::backoff) |
    /// | the same refused token again | returns [`Auth`](crate::ErrorKind::Auth), and tries again after 5 min |
    /// | a token with which two logins in a row fail for another cause | asks for another one next, with [`renew`](TokenRequest::renew) |
    /// | a token that ends soon | replaces the session before that, between two calls |
    /// | an error of the kind `Config`, as `oauth::TokenSource` does for a wrong client secret | returns it, and tries again |
    /// | [`Error::token_unavailable`], or any other error | returns [`Connect`](crate::ErrorKind::Connect), and tries again, not before the wait that the error names |
    /// | [`Error::grant_gone`] | returns [`SignInNeeded`](crate::ErrorKind::SignInNeeded), and does not connect before [`signed_in`](crate::Imap::signed_in) |
    /// | an empty token, or one with spaces, control characters or characters beyond ASCII; or it panics | returns [`Config`](crate::ErrorKind::Config), and tries again |
    ///
    /// Logs in by OAUTHBEARER (RFC 7628) where the server offers it, since its refusals name the cause, else by
    /// XOAUTH2. Tokens go over TLS or the loopback only, as passwords do.
    ///
    /// ```no_run
    /// use std::sync::Mutex;
    /// use std::time::Duration;
    /// use pymail::{AccessToken, Credentials, Imap, ImapConfig, Server};
    ///
    /// # struct TokenResponse { access_token: String, expires_in: u64 }
    /// # enum Failure { InvalidGrant, Other(String) }
    /// # fn post_refresh_token(_: Duration) -> Result<TokenResponse, Failure> { unimplemented!() }
    /// # fn main() -> pymail::Result<()> {
    /// let cache: Mutex<Option<AccessToken>> = Mutex::default();
    /// let account = Credentials::oauth2("alice@example.org", move |request| {
    ///     let mut cache = cache.lock().unwrap();
    ///     // Another handle of the account may have renewed it.
    ///     if let Some(token) = cache.as_ref().filter(|token| request.stale != Some(token.id())) {
    ///         return Ok(token.clone());
    ///     }
    ///     // The app's own client: a refresh token for an access token (RFC 6749, section 6).
    ///     match post_refresh_token(request.timeout) {
    ///         Ok(response) => {
    ///             let life = Duration::from_secs(response.expires_in);
    ///             Ok(cache.insert(AccessToken::new(response.access_token).expires_in(life)).clone())
    ///         }
    ///         Err(Failure::InvalidGrant) => Err(pymail::Error::grant_gone("sign in again")),
    ///         Err(Failure::Other(reason)) => Err(pymail::Error::token_unavailable(reason, None)),
    ///     }
    /// });
    /// let imap = Imap::connect(ImapConfig::new(Server::tls("imap.example.org"), account))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn oauth2(
        user: impl Into<String>,
        provider: impl Fn(TokenRequest) -> Result<AccessToken> + Send + Sync + 'static,
    ) -> Self {
        Self { login: Some(Login { user: user.into(), secret: Secret::Token(TokenSource::new(provider)) }) }
    }

    /// Makes credentials of a user name alone: the [client certificate](crate::Server::client_certificate_pem) is the
    /// login. Without one, connecting is [`Config`](crate::ErrorKind::Config).
    ///
    /// Logs in by the mechanism EXTERNAL (RFC 4422, appendix A), with the user name as the identity to act as. Servers
    /// offer it only if they are configured to: Dovecot by `auth_mechanisms` and `auth_ssl_username_from_cert`.
    pub fn external(user: impl Into<String>) -> Self {
        Self { login: Some(Login { user: user.into(), secret: Secret::Certificate }) }
    }

    /// Makes empty credentials, for an SMTP relay without login. IMAP always needs a login.
    #[must_use]
    pub fn none() -> Self {
        Self { login: None }
    }

    /// Returns the user name, if there is a login. There is no getter for the secret.
    #[must_use]
    pub fn get_user(&self) -> Option<&str> {
        self.login.as_ref().map(|login| login.user.as_str())
    }

    /// Returns `true` for a login by a client certificate.
    pub(super) fn needs_certificate(&self) -> bool {
        self.login.as_ref().is_some_and(|login| login.secret == Secret::Certificate)
    }

    /// # Errors
    /// `Config` for an empty user name, and for CR, LF or NUL, which could end the command that carries them.
    pub(super) fn check(&self) -> Result<()> {
        let Some(Login { user, secret }) = &self.login else { return Ok(()) };
        let is_broken = match secret {
            Secret::Password(password) => has_breaks(password.reveal()),
            // It would end a field of the response that has the token.
            Secret::Token(_) => user.contains('\u{1}'),
            Secret::Certificate => false,
        };
        if user.is_empty() || has_breaks(user) || is_broken {
            let why =
                "the user name must not be empty, and user name and password must not contain CR, LF or NUL";
            return Err(Error::config(why));
        }
        Ok(())
    }
}

/// Returns `true` if the text contains CR, LF or NUL.
fn has_breaks(text: &str) -> bool {
    text.contains(['\r', '\n', '\0'])
}
