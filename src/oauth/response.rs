//! The responses of token servers: tells tokens, refusals and failures apart. No I/O.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::secret::RefreshToken;
use crate::config::AccessToken;
use crate::date;
use crate::error::{Error, ErrorKind};
use crate::secrets;
use crate::throttle::MAX_WAIT;

/// The largest body that is read, in octets. Tokens are a few thousand long.
pub(super) const MAX_BODY: u64 = 64 * 1_024;

/// The wait after `slow_down` and after 429 without `Retry-After`.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Errors of OAuth and of `OpenID` Connect after which the account's owner must sign in again.
const GRANT_GONE: [&str; 7] = [
    "invalid_grant",
    "access_denied",
    "expired_token",
    "interaction_required",
    "login_required",
    "consent_required",
    "account_selection_required",
];

/// Transient errors of OAuth, whatever the status.
const TEMPORARY: [&str; 4] =
    ["temporarily_unavailable", "server_error", "slow_down", "authorization_pending"];

/// An HTTP response. Its body is at most [`MAX_BODY`] octets long.
pub(super) struct Reply {
    /// The host and port of the server, for texts.
    pub(super) server: String,
    pub(super) status: u16,
    pub(super) retry_after: Option<String>,
    pub(super) body: Vec<u8>,
    /// The time before the request. `expires_in` counts from then on, so that no token is taken to live too long.
    pub(super) asked_at: SystemTime,
    /// The secrets of the request.
    pub(super) secrets: Vec<String>,
}

/// A failed request: the error, and the code of OAuth (RFC 6749, section 5.2) if the response has one.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: Option<String>,
    pub(super) error: Error,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { code: None, error }
    }
}

/// The tokens of a response (RFC 6749, section 5.1).
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) access_token: AccessToken,
    pub(super) refresh_token: Option<RefreshToken>,
}

/// The fields of a response.
pub(super) type Fields = Map<String, Value>;

impl Reply {
    /// Returns the fields of a success.
    ///
    /// # Errors
    /// `SignInNeeded` for a grant that is gone, `Config` for other refusals of the request, and `Connect` for a server
    /// that is busy, or whose response is not one of OAuth.
    pub(super) fn fields(&self) -> Result<Fields, Failure> {
        let fields = serde_json::from_slice::<Fields>(&self.body).ok();
        if self.status == 429 || self.status == 408 || self.status >= 500 {
            return Err(self.busy(fields.as_ref()).into());
        }
        match fields {
            Some(fields) if text(&fields, "error").is_some() => Err(self.refusal(&fields)),
            Some(fields) if self.status == 200 => Ok(fields),
            None if self.status == 200 => {
                Err(self.failed(ErrorKind::Connect, "its response is not JSON").into())
            }
            _ => Err(self.unexpected_status().into()),
        }
    }

    /// Returns the tokens of a success. A response without `token_type` is taken as one with `Bearer`.
    ///
    /// # Errors
    /// See [`fields`](Self::fields).
    pub(super) fn tokens(&self) -> Result<Tokens, Failure> {
        let fields = self.fields()?;
        if text(&fields, "token_type").is_some_and(|name| !name.eq_ignore_ascii_case("bearer")) {
            return Err(self.failed(ErrorKind::Connect, "its token is not of the type Bearer").into());
        }
        let secret = text(&fields, "access_token").unwrap_or_default();
        let token = AccessToken::new(secret);
        if !token.is_sendable() {
            let reason = "its response has no access_token of printable ASCII characters";
            return Err(self.failed(ErrorKind::Connect, reason).into());
        }
        let end = seconds(&fields, "expires_in").and_then(|life| self.asked_at.checked_add(life));
        let access_token = end.map_or(token.clone(), |end| token.expires_at(end));
        let refresh_token = text(&fields, "refresh_token").map(RefreshToken::new);
        Ok(Tokens { access_token, refresh_token })
    }

    /// Makes an error about this server.
    pub(super) fn failed(&self, kind: ErrorKind, reason: &str) -> Error {
        Error::new(kind, format!("the token server {}: {reason}", self.server))
    }

    /// Returns the error of a server that is down or busy.
    fn busy(&self, fields: Option<&Fields>) -> Error {
        let default = Some(BUSY_WAIT).filter(|_| self.status == 429);
        let reason =
            format!("HTTP {}{}", self.status, fields.map(|it| self.described(it)).unwrap_or_default());
        self.failed(ErrorKind::Connect, &reason).with_retry_after(self.wait().or(default))
    }

    /// Returns the error of a response with an error of OAuth.
    fn refusal(&self, fields: &Fields) -> Failure {
        let code = text(fields, "error").unwrap_or_default().to_owned();
        let kind = match code.as_str() {
            code if GRANT_GONE.contains(&code) => ErrorKind::SignInNeeded,
            code if TEMPORARY.contains(&code) => ErrorKind::Connect,
            _ => ErrorKind::Config,
        };
        let default = Some(BUSY_WAIT).filter(|_| code == "slow_down");
        let wait = self.wait().or(default).filter(|_| kind == ErrorKind::Connect);
        let error = self.failed(kind, self.described(fields).trim_start_matches(": "));
        Failure { code: Some(code), error: error.with_retry_after(wait) }
    }

    fn unexpected_status(&self) -> Error {
        let reason = match self.status {
            300..400 => "it redirects, which is not followed",
            _ => "no error of OAuth: check the address of the token server",
        };
        self.failed(ErrorKind::Config, &format!("HTTP {}, {reason}", self.status))
    }

    /// Returns the error of OAuth in words, after a colon; without the secrets that it may repeat.
    fn described(&self, fields: &Fields) -> String {
        let shown = |name| text(fields, name).map(|value| format!(": {value}")).unwrap_or_default();
        let whole = shown("error") + &shown("error_description");
        secrets::hide(whole, &self.secrets)
    }

    /// Returns the wait in `Retry-After`, in seconds or until a date (RFC 9110, section 10.2.3).
    fn wait(&self) -> Option<Duration> {
        let value = self.retry_after.as_deref()?.trim();
        let wait = match value.parse() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => date::parse(value.as_bytes())?.duration_since(SystemTime::now()).unwrap_or_default(),
        };
        Some(wait.min(MAX_WAIT))
    }
}

/// Returns the error of a sign-in without a refresh token.
pub(super) fn no_refresh_token() -> Error {
    Error::config("the token server gives no refresh token: at Microsoft, add the scope offline_access")
}

/// Returns a field's text, unless it is empty.
pub(super) fn text<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Returns a field's time in seconds, a number or, as some servers send it, a text with one.
pub(super) fn seconds(fields: &Fields, name: &str) -> Option<Duration> {
    let seconds = match fields.get(name)? {
        Value::String(text) => text.trim().parse().ok()?,
        number => number.as_f64()?,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    proptest! {
        #[test]
        fn no_response_makes_the_reader_panic_or_show_what_was_sent(
            status in 100_u16..1_000,
            code in "[a-z_]{0,20}|invalid_grant|slow_down",
            text in "\\PC{0,40}s3cret\\PC{0,40}",
            life in any::<f64>(),
            retry_after in proptest::option::of("[0-9]{0,25}|\\PC{0,40}"),
        ) {
            let fields = serde_json::json!({
                "error": code, "error_description": text, "access_token": text, "token_type": text, "expires_in": life
            });
            for body in [fields.to_string(), text.clone()] {
                let reply = Reply { retry_after: retry_after.clone(), ..reply(status, &body) };
                if let Err(failure) = reply.tokens() {
                    prop_assert!(!format!("{:?}", failure.error).contains("s3cret"), "{:?}", failure.error);
                }
            }
        }
    }

    fn reply(status: u16, body: &str) -> Reply {
        Reply {
            server: "login.example".to_owned(),
            status,
            retry_after: None,
            body: body.as_bytes().to_vec(),
            asked_at: SystemTime::UNIX_EPOCH,
            secrets: vec!["s3cret".to_owned()],
        }
    }

    fn error(status: u16, body: &str) -> Error {
        reply(status, body).tokens().unwrap_err().error
    }

    #[rstest]
    #[case::integer(r#"{"access_token":"t","token_type":"Bearer","expires_in":3599}"#, Some(3_599))]
    #[case::text(r#"{"access_token":"t","token_type":"bearer","expires_in":"3599"}"#, Some(3_599))]
    #[case::missing(r#"{"access_token":"t"}"#, None)]
    #[case::negative(r#"{"access_token":"t","expires_in":-1}"#, None)]
    #[case::absurd(r#"{"access_token":"t","expires_in":1e300}"#, None)]
    #[case::another_type(r#"{"access_token":"t","expires_in":[1]}"#, None)]
    fn the_life_of_a_token_counts_from_before_the_request(#[case] body: &str, #[case] life: Option<u64>) {
        let token = reply(200, body).tokens().unwrap().access_token;
        let end = life.map(|life| SystemTime::UNIX_EPOCH + Duration::from_secs(life));
        assert_eq!((token.reveal(), token.get_expires_at()), ("t", end));
    }

    #[rstest]
    #[case("invalid_grant", ErrorKind::SignInNeeded)]
    #[case("interaction_required", ErrorKind::SignInNeeded)]
    #[case("invalid_client", ErrorKind::Config)]
    #[case("unauthorized_client", ErrorKind::Config)]
    #[case("invalid_scope", ErrorKind::Config)]
    #[case("anything_else", ErrorKind::Config)]
    #[case("temporarily_unavailable", ErrorKind::Connect)]
    #[case("slow_down", ErrorKind::Connect)]
    fn errors_of_oauth_are_told_apart(
        #[case] code: &str,
        #[case] kind: ErrorKind,
        #[values(200, 400, 401, 403)] status: u16,
    ) {
        let body = format!(r#"{{"error":"{code}","error_description":"the token s3cret\r\nis gone"}}"#);
        let error = error(status, &body);
        assert_eq!(error.kind(), kind);
        assert_eq!(
            error.to_string(),
            format!("the token server login.example: {code}: the token (..)  is gone")
        );
    }

    #[rstest]
    #[case::cut("AQDh4mVq8c2Wj6Zt0bRr")]
    #[case::encoded("1%2F%2F0gAQDh4mVq8c2Wj6Zt0bRrXy5uNk3e")]
    fn pieces_and_codings_of_a_secret_are_hidden(#[case] echo: &str) {
        let body = format!(r#"{{"error":"invalid_request","error_description":"bad token {echo}"}}"#);
        let secrets = vec!["1//0gAQDh4mVq8c2Wj6Zt0bRrXy5uNk3e".to_owned()];
        let error = Reply { secrets, ..reply(400, &body) }.tokens().unwrap_err().error;
        assert!(error.to_string().ends_with(": bad token (..)"), "{error}");
    }

    #[rstest]
    #[case::html(200, "<html>", ErrorKind::Connect)]
    #[case::array(200, "[1]", ErrorKind::Connect)]
    #[case::no_token(200, "{}", ErrorKind::Connect)]
    #[case::empty_token(200, r#"{"access_token":""}"#, ErrorKind::Connect)]
    #[case::token_of_two_lines(200, r#"{"access_token":"a\r\nb"}"#, ErrorKind::Connect)]
    #[case::number(200, r#"{"access_token":7}"#, ErrorKind::Connect)]
    #[case::other_type(200, r#"{"access_token":"s3cret","token_type":"mac"}"#, ErrorKind::Connect)]
    #[case::redirect(302, "", ErrorKind::Config)]
    #[case::wrong_address(404, "<html>", ErrorKind::Config)]
    #[case::down(503, "<html>", ErrorKind::Connect)]
    #[case::down_with_an_error(500, r#"{"error":"invalid_grant"}"#, ErrorKind::Connect)]
    #[case::nested(200, r#"{"access_token":{"access_token":"s3cret"}}"#, ErrorKind::Connect)]
    fn other_responses_are_errors_in_words(#[case] status: u16, #[case] body: &str, #[case] kind: ErrorKind) {
        let error = error(status, body);
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.to_string().starts_with("the token server login.example: "), "{error}");
        assert!(!format!("{error:?}{error:#}").contains("s3cret"), "{error:?}");
    }

    #[rstest]
    #[case(Some("7"), 429, Some(7))]
    #[case(Some("999999999"), 503, Some(3_600))]
    #[case(Some("Sun, 06 Nov 1994 08:49:37 GMT"), 503, Some(0))]
    #[case(Some("Sunday, 06-Nov-94 08:49:37 GMT"), 503, Some(0))]
    #[case(Some("Fri, 31 Dec 9999 23:59:59 GMT"), 503, Some(3_600))]
    #[case(Some("soon"), 503, None)]
    #[case(None, 429, Some(5))]
    #[case(None, 503, None)]
    fn a_busy_server_names_the_wait(
        #[case] header: Option<&str>,
        #[case] status: u16,
        #[case] wait: Option<u64>,
    ) {
        let busy = Reply { retry_after: header.map(str::to_owned), ..reply(status, "") };
        let error = busy.tokens().unwrap_err().error;
        assert_eq!(error.retry_after(), wait.map(Duration::from_secs));
        assert!(error.is_transient());
    }
}
