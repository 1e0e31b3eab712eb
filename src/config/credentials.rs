//! Who logs in, and the secret that nothing shows.

use std::fmt;

use crate::error::{Error, Result};

/// A secret that no `Debug`, `Display` or `Serialize` shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(String);

impl Password {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Who logs in. `Debug` shows the user and never the password.
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
    /// A user name and a password (or an app password), of any characters but line breaks and NUL; others than ASCII go
    /// to the server in UTF-8.
    ///
    /// IMAP logs in by LOGIN, AUTHENTICATE PLAIN or AUTHENTICATE LOGIN: in turn by those that the server offers, until one
    /// works or the server says something of the credentials. A handle goes on with the one that has worked.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { login: Some((user.into(), Password(password.into()))) }
    }

    /// Nobody: for an SMTP relay that asks for no login. IMAP always needs one.
    #[must_use]
    pub fn none() -> Self {
        Self { login: None }
    }

    /// A password with a line break or NUL could end the command that carries it.
    pub(super) fn check(&self) -> Result<()> {
        let Some((user, password)) = &self.login else { return Ok(()) };
        if user.is_empty() || has_breaks(user) || has_breaks(password.reveal()) {
            let why = "a user name is not empty, and neither it nor the password has CR, LF or NUL";
            return Err(Error::config(why));
        }
        Ok(())
    }
}

fn has_breaks(text: &str) -> bool {
    text.contains(['\r', '\n', '\0'])
}
