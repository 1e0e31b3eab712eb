//! Access tokens that a Dovecot of these tests takes: JSON Web Tokens (RFC 7519), signed by HS256.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::hmac;

/// The scope that Dovecot demands.
pub const SCOPE: &str = "mail";

const KEY: &[u8] = b"a key of these tests alone, of 256 bits or more";

/// Returns the key as Dovecot reads it.
#[cfg_attr(windows, expect(dead_code, reason = "no Dovecot is configured there"))]
pub(crate) fn key() -> String {
    BASE64_STANDARD.encode(KEY)
}

/// The claims of a token.
#[derive(Clone, Debug)]
pub struct Claims<'a> {
    /// The user.
    pub user: &'a str,
    pub scope: &'a str,
    /// The seconds from now to its end; negative for a token that has ended.
    pub seconds: i64,
    /// The octets by which the token is longer than it need be, about three quarters of them.
    pub padding: usize,
    /// Tells tokens of one second apart.
    pub id: u64,
}

impl<'a> Claims<'a> {
    /// Returns those of a token that is valid for an hour.
    pub fn of(user: &'a str) -> Self {
        Self { user, scope: SCOPE, seconds: 3_600, padding: 0, id: 0 }
    }
}

/// Returns a token with these claims.
pub fn mint(claims: &Claims<'_>) -> String {
    let Claims { user, scope, seconds, padding, id } = claims;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs().cast_signed();
    let (issued, end, padding) = (now.min(now + seconds) - 1, now + seconds, "x".repeat(*padding));
    let body = serde_json::json!({
        "sub": user, "iss": "https://issuer.example.test", "scope": scope, "iat": issued, "exp": end, "pad": padding,
        "jti": id.to_string()
    });
    let encoded = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let signed = [encoded(r#"{"typ":"JWT","alg":"HS256"}"#), encoded(&body.to_string())].join(".");
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY), signed.as_bytes());
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}
