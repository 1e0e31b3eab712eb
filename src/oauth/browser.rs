//! Signing in with a browser on this machine (RFC 8252): the provider's page sends the browser back to a port of the
//! app, with a code, which the app exchanges with a proof that it began the sign-in (PKCE, RFC 7636).

use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use ring::digest;

use super::client::Client;
use super::http::{checked, decoded, encoded};
use super::response::{Failure, no_refresh_token};
use super::secret::{RefreshToken, Secret};
use crate::error::{Error, ErrorKind, Result, bounded};

/// The time that a browser has to send its request.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// The longest first line of a request, in octets: it has the code.
const MAX_LINE: u64 = 16 * 1_024;

/// The longest rest of a request that is read, in octets.
const MAX_HEADERS: u64 = 1 << 20;

/// A sign-in that the user completes in a browser on this machine (RFC 8252). Clones share it.
///
/// The browser is sent back to `http://localhost` at a free port. Google allows that for clients of the type "Desktop
/// app", Microsoft for those with the redirect URI `http://localhost` of the platform "Mobile and desktop
/// applications".
///
/// ```no_run
/// use std::time::Duration;
/// use pymail::oauth::{Client, Endpoints, GMAIL_SCOPE};
///
/// # fn main() -> pymail::Result<()> {
/// let client = Client::new(Endpoints::google(), "client id").secret("client secret").scopes([GMAIL_SCOPE]);
/// let sign_in = client.sign_in_by_browser("alice@gmail.com")?;
/// println!("Open {}", sign_in.url()); // or have the system open it
/// let refresh_token = sign_in.wait(Duration::from_secs(600))?;
/// # let _ = refresh_token;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct BrowserSignIn(Arc<SignIn>);

struct SignIn {
    client: Client,
    url: String,
    redirect_uri: String,
    verifier: Secret,
    shared: Arc<Shared>,
    address: SocketAddr,
}

/// The state that callers and the thread that listens share.
struct Shared {
    /// The value by which the browser shows that it comes from this sign-in (RFC 6749, section 10.12).
    expected: Secret,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_cancelled: bool,
    /// The code, or the reason why there is none, until a caller takes it.
    answer: Option<Result<Secret>>,
}

impl Client {
    /// Starts a sign-in with a browser on this machine. The provider's page suggests `user`, unless that is empty.
    ///
    /// # Errors
    /// `Config` without an authorization endpoint, `Connect` without a free port.
    pub fn sign_in_by_browser(&self, user: &str) -> Result<BrowserSignIn> {
        let endpoint = Self::endpoint(self.endpoints.authorization.as_ref(), "authorization")?;
        checked(endpoint)?;
        let no_port = |error| Error::new(ErrorKind::Connect, format!("no port for the browser: {error}"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(no_port)?;
        let address = listener.local_addr().map_err(no_port)?;
        let (verifier, expected) = (random()?, random()?);
        let redirect_uri = format!("http://localhost:{}", address.port());
        let url = self.authorization_url(endpoint, &redirect_uri, &verifier, &expected, user);
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { expected: Secret::new(expected), state, changed });
        let accepting = Arc::clone(&shared);
        let thread = thread::Builder::new().name("pymail-oauth".into());
        thread.spawn(move || accepting.accept(&listener)).map_err(no_port)?;
        let (client, verifier) = (self.clone(), Secret::new(verifier));
        Ok(BrowserSignIn(Arc::new(SignIn { client, url, redirect_uri, verifier, shared, address })))
    }

    /// Returns the address of the provider's page (RFC 6749, section 4.1.1).
    fn authorization_url(
        &self,
        endpoint: &str,
        redirect_uri: &str,
        verifier: &str,
        state: &str,
        user: &str,
    ) -> String {
        let challenge = base64_url(digest::digest(&digest::SHA256, verifier.as_bytes()).as_ref());
        let scope = self.scope();
        let fields = [
            ("response_type", "code"),
            ("client_id", &self.id),
            ("redirect_uri", redirect_uri),
            ("scope", &scope),
            ("state", state),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("login_hint", user),
        ];
        let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
        let query: Vec<String> = fields.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let separator = if endpoint.contains('?') { '&' } else { '?' };
        format!("{endpoint}{separator}{}", query.join("&"))
    }
}

impl BrowserSignIn {
    /// Returns the address that the user opens in a browser on this machine.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// Waits until the user has signed in, at most for `limit` and the [`timeout`](Client::timeout) of one request, and
    /// returns the refresh token. The app stores it, and makes a source of it: [`Client::refresh_token`], or
    /// [`TokenSource::replace_refresh_token`](super::TokenSource::replace_refresh_token) if it has one.
    ///
    /// # Errors
    /// `Timeout` after `limit`: call it again. `Closed` after [`cancel`](Self::cancel). After any other error, start
    /// another sign-in: `SignInNeeded` if the user has refused; `Config` for a client or a scope that the server does
    /// not accept, and if there is no refresh token; those of [a source](super::TokenSource#errors-of-the-source).
    pub fn wait(&self, limit: Duration) -> Result<RefreshToken> {
        let code = self.0.shared.wait(limit)?;
        let SignIn { client, redirect_uri, verifier, .. } = &*self.0;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.reveal()),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier.reveal()),
        ];
        let tokens = client.request_tokens(&form).map_err(|Failure { error, .. }| error)?;
        tokens.refresh_token.ok_or_else(no_refresh_token)
    }

    /// Ends all waits for this sign-in, also later ones.
    pub fn cancel(&self) {
        self.0.shared.cancel();
    }
}

impl Shared {
    fn wait(&self, limit: Duration) -> Result<Secret> {
        let until = Instant::now().checked_add(limit);
        let mut state = self.state.lock();
        loop {
            if state.is_cancelled {
                return Err(Error::new(ErrorKind::Closed, "the sign-in was cancelled"));
            }
            if let Some(answer) = state.answer.take() {
                return answer;
            }
            match until {
                Some(until) if self.changed.wait_until(&mut state, until).timed_out() => {
                    if state.answer.is_none() && !state.is_cancelled {
                        return Err(Error::new(ErrorKind::Timeout, format!("no sign-in within {limit:?}")));
                    }
                }
                Some(_) => {}
                None => self.changed.wait(&mut state),
            }
        }
    }

    fn cancel(&self) {
        self.state.lock().is_cancelled = true;
        self.changed.notify_all();
    }

    /// Serves browsers until the sign-in has an answer or is dropped. A browser opens connections that it may not use:
    /// each has a thread.
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            let State { is_cancelled, answer } = &*self.state.lock();
            if *is_cancelled || answer.is_some() {
                return;
            }
            let Ok(stream) = stream else { continue };
            let shared = Arc::clone(self);
            let serve = move || {
                let _ = shared.serve(stream);
            };
            // Without a thread the browser gets no answer; the user tries again.
            let _ = thread::Builder::new().name("pymail-oauth".into()).spawn(serve);
        }
    }

    /// Answers one request; `None` if the browser hangs up or sends something else.
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        stream.set_read_timeout(Some(REQUEST_TIME)).ok()?;
        let mut request = BufReader::new((&stream).take(MAX_LINE));
        let mut line = String::new();
        request.read_line(&mut line).ok().filter(|_| line.ends_with('\n'))?;
        // To its end: a connection that is closed with unread octets is reset, and the answer is lost. Browsers send the
        // cookies of all programs on this machine, in any encoding.
        request.get_mut().set_limit(MAX_HEADERS);
        let mut header = Vec::new();
        while request.read_until(b'\n', &mut header).is_ok() && !header.trim_ascii().is_empty() {
            header.clear();
        }
        let target = line.split(' ').nth(1)?;
        let (status, text) = match self.answer(target.split_once('?').map_or("", |(_, query)| query)) {
            Some(answer) => {
                let text =
                    if answer.is_ok() { "Signed in: you can close this page." } else { "Not signed in." };
                self.state.lock().answer = Some(answer);
                self.changed.notify_all();
                ("200 OK", text)
            }
            None => ("404 Not Found", "This is not the sign-in that was started."),
        };
        let length = text.len();
        let head = "Content-Type: text/plain\r\nConnection: close\r\nCache-Control: no-store";
        write!(stream, "HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {length}\r\n\r\n{text}").ok()
    }

    /// Returns the code in a query, or the provider's error; `None` for a request that is not of this sign-in.
    fn answer(&self, query: &str) -> Option<Result<Secret>> {
        let fields: Vec<(&str, String)> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name, decoded(value)))
            .collect();
        let field = |wanted| fields.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str());
        if field("state") != Some(self.expected.reveal()) {
            return None;
        }
        if let Some(error) = field("error") {
            let description = field("error_description").map(|text| format!(": {text}")).unwrap_or_default();
            let reason = bounded(&format!("the provider's page: {error}{description}"));
            let kind = match error {
                "access_denied" => ErrorKind::SignInNeeded,
                "server_error" | "temporarily_unavailable" => ErrorKind::Connect,
                _ => ErrorKind::Config,
            };
            return Some(Err(Error::new(kind, reason)));
        }
        field("code").map(|code| Ok(Secret::new(code)))
    }
}

impl Drop for SignIn {
    /// Ends the thread that listens.
    fn drop(&mut self) {
        self.shared.cancel();
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

/// Returns 32 random octets in base64 for URLs, as RFC 7636, section 4.1 recommends.
fn random() -> Result<String> {
    let mut octets = [0; 32];
    let failed = |error| Error::new(ErrorKind::Connect, format!("no random numbers: {error}"));
    getrandom::fill(&mut octets).map_err(failed)?;
    Ok(base64_url(&octets))
}

fn base64_url(octets: &[u8]) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(octets)
}

/// Shows neither the code nor the URL, whose `state` would let another program end the sign-in.
impl fmt::Debug for BrowserSignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrowserSignIn").field("redirect_uri", &self.0.redirect_uri).finish_non_exhaustive()
    }
}
