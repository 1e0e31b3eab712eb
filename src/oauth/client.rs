//! An app as its provider knows it: endpoints, client id, scopes; and the way to the token server.

use std::fmt;
use std::io;
use std::time::Duration;

use super::endpoints::Endpoints;
use super::http::{Proxies, Request};
use super::response::{Failure, Reply, Tokens};
use super::secret::{RefreshToken, Secret};
use super::source::{Grant, TokenSource};
use crate::error::{Error, Result};

/// The default time limit of a request to the token server.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest wait: longer ones overflow.
pub(super) const LONGEST_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3_600);

/// An app as it is registered with a provider (RFC 6749, section 2), and how it reaches the token server.
///
/// TLS is verified against the system's roots, or, if `SSL_CERT_FILE` or `SSL_CERT_DIR` is set, those in their place
/// (a mail [`Server`](crate::Server) takes them besides the system's); and against those
/// [added](Self::add_root_certificate_pem). There are no client certificates, and redirects are not followed. Without a
/// [`proxy`](Self::proxy) the connection is direct, whatever the environment says. `Debug` shows no secret.
///
/// ```
/// use pymail::oauth::{Client, Endpoints, MICROSOFT_SCOPES};
///
/// let client = Client::new(Endpoints::microsoft("common"), "client id").scopes(MICROSOFT_SCOPES);
/// # let _ = client;
/// ```
#[derive(Clone)]
pub struct Client {
    pub(super) endpoints: Endpoints,
    pub(super) id: String,
    secret: Option<Secret>,
    sends_secret_in_header: bool,
    scopes: Vec<String>,
    roots: Vec<String>,
    proxies: Proxies,
    pub(super) timeout: Duration,
}

impl Client {
    /// Makes a client with the id that the provider has given the app.
    pub fn new(endpoints: Endpoints, id: impl Into<String>) -> Self {
        Self {
            endpoints,
            id: id.into(),
            secret: None,
            sends_secret_in_header: false,
            scopes: Vec::new(),
            roots: Vec::new(),
            proxies: Proxies::None,
            timeout: TIMEOUT,
        }
    }

    /// Sets the client secret, if the provider has given the app one. It is sent in the form, as Google and Microsoft
    /// want it.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.secret = Some(Secret::new(secret));
        self
    }

    /// Sends id and secret in the header `Authorization` in place of the form (RFC 6749, section 2.3.1).
    #[must_use]
    pub fn secret_in_header(mut self) -> Self {
        self.sends_secret_in_header = true;
        self
    }

    /// Sets the scopes to ask for. Without them, the server decides.
    #[must_use]
    pub fn scopes(mut self, scopes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Trusts the certificate authorities in this PEM text besides the system's roots. Can be called several times.
    #[must_use]
    pub fn add_root_certificate_pem(mut self, pem: impl Into<String>) -> Self {
        self.roots.push(pem.into());
        self
    }

    /// Connects through this proxy: `http://` or `https://` (both by CONNECT), `socks5h://` (the proxy resolves the
    /// host name) or `socks5://` (this machine resolves it), with a percent-encoded `USER:PASSWORD@` if the proxy wants
    /// a login.
    ///
    /// The mail servers' proxy is another setting: [`Server::proxy`](crate::Server::proxy).
    #[must_use]
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxies = Proxies::One(Secret::new(url));
        self
    }

    /// Connects through the proxy in the environment, if there is one: the first valid one of `ALL_PROXY`,
    /// `HTTPS_PROXY` and `HTTP_PROXY`, in upper or lower case, except to the hosts in `NO_PROXY`.
    ///
    /// For mail servers, [`Proxy::from_env`](crate::Proxy::from_env) prefers the names in lower case, does not read
    /// `HTTP_PROXY`, and has another default port: 1080 also for `http://`, where this is 80.
    #[must_use]
    pub fn proxy_from_env(mut self) -> Self {
        self.proxies = Proxies::Environment;
        self
    }

    /// Sets the time limit of a request to the token server, from the look-up of its name to the end of its answer.
    /// Default 30 s, at most a week.
    ///
    /// A handle waits no longer than its own timeout. The request goes on after that, so that a late refresh token is
    /// not lost.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.min(LONGEST_TIMEOUT);
        self
    }

    /// Returns a source of access tokens by a refresh token (RFC 6749, section 6). Connects when it is first asked.
    ///
    /// Many providers answer with a new refresh token: Microsoft each time; others end the old one with it
    /// (*rotation*). The source calls `keep` with each new one, on a thread of its own; `keep` stores it durably in the
    /// place of the old one, where only the app's user can read it. The access token that came with it is used only
    /// after `keep` has returned `Ok`. If `keep` fails or panics, the source returns an error, and calls it with the
    /// same refresh token again when it is next asked, at first after a second; it does not send the old one any more.
    /// The text of an error of `keep` is shown: it must have no secret in it.
    ///
    /// ```no_run
    /// use pymail::oauth::{Client, Endpoints, GMAIL_SCOPE, RefreshToken};
    ///
    /// # fn load() -> std::io::Result<String> { unimplemented!() }
    /// # fn store(_: &RefreshToken) -> std::io::Result<()> { unimplemented!() }
    /// # fn main() -> std::io::Result<()> {
    /// let client = Client::new(Endpoints::google(), "client id").secret("client secret").scopes([GMAIL_SCOPE]);
    /// // `load` and `store` are the app's: a keyring, or a file that only its user can read.
    /// let source = client.refresh_token(RefreshToken::new(load()?), store);
    /// let account = source.credentials("alice@gmail.com");
    /// # Ok(())
    /// # }
    /// ```
    pub fn refresh_token(
        &self,
        token: RefreshToken,
        keep: impl Fn(&RefreshToken) -> io::Result<()> + Send + Sync + 'static,
    ) -> TokenSource {
        TokenSource::new(self.clone(), Grant::RefreshToken(Box::new(keep)), Some(token))
    }

    /// Returns a source of access tokens of the app itself, without a user (RFC 6749, section 4.4). It needs the
    /// [`secret`](Self::secret).
    ///
    /// At Microsoft, the administrator gives the app its mailboxes; the scope is
    /// [`MICROSOFT_APP_SCOPE`](super::MICROSOFT_APP_SCOPE), the endpoints are those of a tenant, and the user of the
    /// handle names the mailbox. Google has no such grant.
    #[must_use]
    pub fn client_credentials(&self) -> TokenSource {
        TokenSource::new(self.clone(), Grant::ClientCredentials, None)
    }

    /// Returns the scopes as a field of a form.
    pub(super) fn scope(&self) -> String {
        self.scopes.join(" ")
    }

    /// Asks the token endpoint for tokens.
    pub(super) fn request_tokens(&self, fields: &[(&str, &str)]) -> Result<Tokens, Failure> {
        self.post(&self.endpoints.token, fields)?.tokens()
    }

    /// Posts a form with these fields, which may be secret, and those of the client. Leaves out empty ones.
    pub(super) fn post(&self, url: &str, fields: &[(&str, &str)]) -> Result<Reply> {
        let secret = self.secret.as_ref().map(Secret::reveal);
        let in_header = secret.filter(|_| self.sends_secret_in_header);
        let of_client = match in_header {
            Some(_) => [("client_id", ""), ("client_secret", "")],
            None => [("client_id", self.id.as_str()), ("client_secret", secret.unwrap_or_default())],
        };
        let all = fields.iter().copied().chain(of_client);
        let request = Request {
            url,
            form: all.filter(|(_, value)| !value.is_empty()).collect(),
            basic: in_header.map(|secret| (self.id.as_str(), secret)),
            roots: &self.roots,
            proxies: &self.proxies,
            timeout: self.timeout,
        };
        request.post()
    }

    /// Returns an endpoint that a call needs.
    pub(super) fn endpoint<'a>(url: Option<&'a String>, name: &str) -> Result<&'a str> {
        let missing = || Error::config(format!("the endpoints have no {name} endpoint"));
        url.map(String::as_str).ok_or_else(missing)
    }
}

/// Shows neither the secret nor the proxy.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoints", &self.endpoints)
            .field("id", &self.id)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}
