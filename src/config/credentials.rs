//! The user name and the password of an account.

use std::fmt;

use crate::error::{Error, Result};

/// A password, without `Display` and `Serialize`; its `Debug` is `Password(..)`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(String);

impl Password {
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

/// The user name and the password of an account. `Debug` shows the user name only.
///
/// ```
/// use pymail::Credentials;
///
/// let credentials = Credentials::new("alice@example.org", "correct horse");
/// assert!(!format!("{credentials:?}").contains("horse"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub(crate) login: Option<(String, Password)>,
}

impl Credentials {
    /// Makes credentials of a user name and a password or app password: any characters but CR, LF and NUL, sent in
    /// UTF-8. The user name has at least one.
    ///
    /// IMAP tries LOGIN, AUTHENTICATE PLAIN and AUTHENTICATE LOGIN in turn, as far as the server offers them, until one
    /// works or the server says that the credentials are wrong; beyond ASCII, PLAIN goes first. Later logins of the
    /// handle use the one that worked. SMTP tries PLAIN, LOGIN and CRAM-MD5, each once.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { login: Some((user.into(), Password(password.into()))) }
    }

    /// Makes empty credentials, for an SMTP relay without login. IMAP always needs a login.
    #[must_use]
    pub fn none() -> Self {
        Self { login: None }
    }

    /// Returns the user name, if there is a login. There is no getter for the password.
    #[must_use]
    pub fn get_user(&self) -> Option<&str> {
        self.login.as_ref().map(|(user, _)| user.as_str())
    }

    /// # Errors
    /// `Config` for an empty user name, and for CR, LF or NUL, which could end the command that carries them.
    pub(super) fn check(&self) -> Result<()> {
        let Some((user, password)) = &self.login else { return Ok(()) };
        if user.is_empty() || has_breaks(user) || has_breaks(password.reveal()) {
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
