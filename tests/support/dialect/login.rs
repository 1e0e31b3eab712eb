//! Credentials in SASL's forms, and the check of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::dovecot::PASSWORD;
use super::table::Login;

/// The access token that every dialect accepts.
pub const TOKEN: &str = "ya29.a0AfB_byC-an-access-token-of-the-tests-9f31c2d7e8";

/// A password or an access token, as a client has presented it.
pub(super) struct Presented {
    pub(super) user: String,
    secret: String,
    is_token: bool,
}

impl Presented {
    pub(super) fn password(user: String, secret: String) -> Self {
        Self { user, secret, is_token: false }
    }

    /// Reads the response of a mechanism: PLAIN (RFC 4616), XOAUTH2, or OAUTHBEARER (RFC 7628).
    pub(super) fn of_response(mechanism: &str, response: &str) -> Option<Self> {
        let octets = STANDARD.decode(response.trim()).ok()?;
        let text = String::from_utf8(octets).ok()?;
        if mechanism == "PLAIN" {
            let mut words = text.split('\0').skip(1);
            return Some(Self::password(words.next()?.to_owned(), words.next()?.to_owned()));
        }
        let field = |name: &str| text.split(['\x01', ',']).find_map(|it| it.strip_prefix(name));
        let user = field("user=").or_else(|| field("a="))?.to_owned();
        let secret = field("auth=Bearer ")?.to_owned();
        Some(Self { user, secret, is_token: true })
    }

    pub(super) fn is_token(&self) -> bool {
        self.is_token
    }

    pub(super) fn is_accepted(&self, login: Login) -> bool {
        if self.is_token { self.secret == TOKEN } else { login == Login::Password && self.secret == PASSWORD }
    }
}

/// Decodes a line of LOGIN's exchange.
pub(super) fn decoded(line: &str) -> String {
    String::from_utf8(STANDARD.decode(line.trim()).unwrap_or_default()).unwrap_or_default()
}

/// Returns PLAIN's response by which the proxy logs in behind.
pub(super) fn behind(user: &str) -> String {
    STANDARD.encode(format!("\0{user}\0{PASSWORD}"))
}
