//! Posts a form by HTTPS; the response is bounded in size and time.

use std::env;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rustls::crypto::ring;
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::{Agent, Proxy};

use super::response::{MAX_BODY, Reply};
use super::secret::Secret;
use crate::config::is_loopback;
use crate::error::{Error, ErrorKind, Result};
use crate::secrets;

/// The variables of the environment that name a proxy.
const PROXY_VARIABLES: [&str; 6] =
    ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];

/// All but the unreserved characters (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The proxy of a client.
#[derive(Clone)]
pub(super) enum Proxies {
    None,
    One(Secret),
    Environment,
}

/// A form, and all that sending it needs.
pub(super) struct Request<'a> {
    pub(super) url: &'a str,
    pub(super) form: Vec<(&'a str, &'a str)>,
    /// The user and the password in the header.
    pub(super) basic: Option<(&'a str, &'a str)>,
    /// Trusted authorities besides the system's, as PEM.
    pub(super) roots: &'a [String],
    pub(super) proxies: &'a Proxies,
    pub(super) timeout: Duration,
}

impl Request<'_> {
    /// Sends the form, and returns the response whatever its status.
    ///
    /// # Errors
    /// `Config` for an address, a proxy or a root that can't work; `Tls`; `Connect` for all failures of the network.
    pub(super) fn post(&self) -> Result<Reply> {
        let server = checked(self.url)?;
        let agent = self.agent()?;
        let mut request = agent.post(self.url).header("Accept", "application/json");
        if let Some((user, password)) = self.basic {
            let pair = format!("{}:{}", encoded(user), encoded(password));
            let value = base64_simd::STANDARD.encode_to_string(pair.as_bytes());
            request = request.header("Authorization", format!("Basic {value}"));
        }
        let asked_at = SystemTime::now();
        let failed = |error| self.failed(&server, error);
        let mut response = request.send_form(self.form.iter().copied()).map_err(failed)?;
        let status = response.status().as_u16();
        let header = response.headers().get("Retry-After").and_then(|value| value.to_str().ok());
        let retry_after = header.map(str::to_owned);
        let body = match response.body_mut().with_config().limit(MAX_BODY).read_to_vec() {
            // Its status tells enough.
            Err(_) if status >= 400 => Vec::new(),
            body => body.map_err(failed)?,
        };
        Ok(Reply { server, status, retry_after, body, asked_at, secrets: self.secrets() })
    }

    /// Returns the values that no text may show: those of all fields but the public ones, and the password.
    fn secrets(&self) -> Vec<String> {
        let public = ["grant_type", "scope", "client_id", "redirect_uri"];
        let fields =
            self.form.iter().filter(move |(name, _)| !public.contains(name)).map(|(_, value)| *value);
        fields.chain(self.basic.map(|(_, password)| password)).map(str::to_owned).collect()
    }

    /// Returns the proxy. What is not encrypted goes through none but on this machine, as mail does.
    fn proxy(&self) -> Result<Option<Proxy>> {
        let proxy = self.proxies.proxy()?;
        let leaves = |uri: &Uri| {
            uri.scheme_str() == Some("http")
                && proxy.as_ref().is_some_and(|it| !it.is_no_proxy(uri) && !is_local(it.host()))
        };
        if self.url.parse().is_ok_and(|uri| leaves(&uri)) {
            return Err(Error::config(
                "without HTTPS, the token server can't be reached through a proxy elsewhere",
            ));
        }
        Ok(proxy)
    }

    fn agent(&self) -> Result<Agent> {
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
            .root_certs(RootCerts::Specific(Arc::new(self.trusted()?)))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(self.proxy()?)
            .timeout_global(Some(self.timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(0)
            .user_agent(concat!("pymail/", env!("CARGO_PKG_VERSION")));
        Ok(config.build().into())
    }

    /// Returns the trusted authorities. The system's are read for each request, so that changes count at once: requests
    /// are rare.
    fn trusted(&self) -> Result<Vec<Certificate<'static>>> {
        let system = rustls_native_certs::load_native_certs();
        let system = system.certs.iter().map(|der| Certificate::from_der(der).to_owned());
        let mut all: Vec<Certificate<'static>> = system.collect();
        for pem in self.roots {
            let before = all.len();
            for item in parse_pem(pem.as_bytes()) {
                match item {
                    Ok(PemItem::Certificate(certificate)) => all.push(certificate),
                    Ok(_) => {}
                    Err(_) => return Err(Error::config("the PEM text has a broken section")),
                }
            }
            if all.len() == before {
                return Err(Error::config("the PEM text contains no certificate"));
            }
        }
        if all.is_empty() {
            return Err(Error::config("this system has no trusted roots: name them by SSL_CERT_FILE"));
        }
        Ok(all)
    }

    /// Returns the error for one of ureq's, in words.
    fn failed(&self, server: &str, error: ureq::Error) -> Error {
        let (kind, reason) = match error {
            ureq::Error::Timeout(_) => (ErrorKind::Connect, format!("no answer within {:?}", self.timeout)),
            ureq::Error::Rustls(error) => (ErrorKind::Tls, error.to_string()),
            ureq::Error::Io(error) if is_of_tls(&error) => (ErrorKind::Tls, error.to_string()),
            ureq::Error::Io(error) => (ErrorKind::Connect, error.to_string()),
            ureq::Error::BodyExceedsLimit(limit) => {
                (ErrorKind::Connect, format!("its response is over {limit} octets"))
            }
            error => (ErrorKind::Connect, error.to_string()),
        };
        // Of a proxy, ureq names at most the host, and the status of its answer.
        let reason = secrets::hide(reason, &self.secrets());
        Error::new(kind, format!("the token server {server}: {reason}"))
    }
}

fn is_of_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn StdError + Send + Sync>::is::<rustls::Error>)
}

impl Proxies {
    /// # Errors
    /// `Config` for an invalid address.
    fn proxy(&self) -> Result<Option<Proxy>> {
        match self {
            Self::None => Ok(None),
            Self::One(url) => {
                let invalid = |_| Error::config("the address of the proxy for the token server is invalid");
                Proxy::new(url.reveal()).map(Some).map_err(invalid)
            }
            Self::Environment => {
                let proxy = Proxy::try_from_env();
                let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
                if proxy.is_none() && PROXY_VARIABLES.into_iter().any(is_set) {
                    return Err(Error::config("the address of the proxy in the environment is invalid"));
                }
                Ok(proxy)
            }
        }
    }
}

/// Checks an address of a token server, and returns its host and port.
///
/// # Errors
/// `Config` unless the address is one of HTTPS, or of HTTP on a loopback host.
pub(super) fn checked(url: &str) -> Result<String> {
    let uri: Option<Uri> = url.parse().ok();
    let authority = uri.as_ref().and_then(|uri| uri.authority()).filter(|it| !it.as_str().contains('@'));
    let (Some(uri), Some(authority)) = (&uri, authority) else {
        return Err(Error::config("the address of the token server is no URL of HTTPS"));
    };
    match uri.scheme_str() {
        Some("https") => Ok(authority.to_string()),
        Some("http") if is_local(authority.host()) => Ok(authority.to_string()),
        _ => Err(Error::config(format!("the token server {authority} must be reached by HTTPS"))),
    }
}

/// Returns `true` if the host of a URL is this machine.
fn is_local(host: &str) -> bool {
    is_loopback(host.trim_matches(['[', ']']))
}

/// Encodes a text for a form or a query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Decodes a value of a query.
pub(super) fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("https://login.example/token", Ok("login.example"))]
    #[case("http://127.0.0.1:8080/token", Ok("127.0.0.1:8080"))]
    #[case("http://[::1]/token", Ok("[::1]"))]
    #[case("http://login.example/token", Err(ErrorKind::Config))]
    #[case("https://user:secret@login.example/token", Err(ErrorKind::Config))]
    #[case("login.example", Err(ErrorKind::Config))]
    #[case("/token", Err(ErrorKind::Config))]
    #[case("", Err(ErrorKind::Config))]
    #[case("https://a b/", Err(ErrorKind::Config))]
    fn secrets_go_by_https_or_to_the_loopback(#[case] url: &str, #[case] expected: Result<&str, ErrorKind>) {
        let server = checked(url);
        assert_eq!(server.as_deref().map_err(Error::kind), expected);
        assert!(!format!("{server:?}").contains("secret"));
    }

    #[rstest]
    #[case("http://alice:s3cret@proxy.invalid:3128", ErrorKind::Config)]
    #[case("socks5://proxy.invalid", ErrorKind::Config)]
    #[case("http://127.0.0.1:1", ErrorKind::Connect)]
    fn what_is_not_encrypted_goes_through_no_proxy_elsewhere(#[case] proxy: &str, #[case] kind: ErrorKind) {
        let request = Request {
            url: "http://localhost:1/token",
            form: vec![("refresh_token", "s3cret")],
            basic: None,
            roots: &[],
            proxies: &Proxies::One(Secret::new(proxy)),
            timeout: Duration::from_secs(60),
        };
        let error = request.post().map(drop).unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }

    #[test]
    fn reserved_characters_and_others_beyond_ascii_are_encoded() {
        assert_eq!(encoded("a-Z_0.~ :&=+%é"), "a-Z_0.~%20%3A%26%3D%2B%25%C3%A9");
    }

    #[rstest]
    #[case("a%20b+c%C3%a9", "a b cé")]
    #[case("%", "%")]
    #[case("%4", "%4")]
    #[case("%zz%+1", "%zz% 1")]
    #[case("%ff", "\u{fffd}")]
    fn values_are_decoded_whatever_they_are(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(decoded(text), expected);
    }
}
