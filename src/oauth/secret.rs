//! Refresh tokens and other secrets, which no error and no `Debug` shows.

use std::fmt;

/// A refresh token (RFC 6749, section 1.5), by which an app gets access tokens until it is revoked. `Debug` does not
/// show it.
///
/// ```
/// let token = pymail::oauth::RefreshToken::new("1//s3cret");
/// assert_eq!(format!("{token:?}"), "RefreshToken(..)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken(String);

impl RefreshToken {
    /// Makes a refresh token of the text that the app has stored.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// Returns the text, for the app to store where only its user can read it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshToken(..)")
    }
}

/// Another secret: a client secret, a device code, a proxy's address with its password.
#[derive(Clone)]
pub(super) struct Secret(String);

impl Secret {
    pub(super) fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
