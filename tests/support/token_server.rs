//! A token server of OAuth 2.0 (RFC 6749): refresh tokens, client credentials, device codes (RFC 8628), authorization
//! codes with PKCE (RFC 7636), and introspection (RFC 7662) as Dovecot asks for it. Over HTTP and HTTPS, on free ports.

mod grants;
mod http;

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use self::grants::Accounts;
pub use self::http::Response;
use super::certs::{Authority, Issued};
use super::jwt;
use super::listening::connections;

/// The client secret that the server demands where a client sends one.
pub const CLIENT_SECRET: &str = "client secret 4b1d";

/// The fields of a form, by their names.
pub type Form = BTreeMap<String, String>;

/// The behaviour of a server, which a test may change at any time.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The life of access tokens.
    pub life: Duration,
    /// The scope of access tokens.
    pub scope: String,
    /// `true` if `expires_in` is sent.
    pub tells_life: bool,
    /// `true` if each answer to a refresh token has a new refresh token, and the old one ends.
    pub rotates: bool,
    /// The time for which a rotated refresh token is still taken. After it, its use revokes those that followed it
    /// (RFC 9700, section 4.14.2).
    pub grace: Duration,
    /// The interval in which a device may poll, in seconds.
    pub interval: u64,
    /// `true` if requests wait, without an answer, until this is `false` again.
    pub holds: bool,
    /// The fault of all answers, if any.
    pub fault: Option<Fault>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            life: Duration::from_secs(3_600),
            scope: jwt::SCOPE.to_owned(),
            tells_life: true,
            rotates: false,
            grace: Duration::ZERO,
            interval: 1,
            holds: false,
            fault: None,
        }
    }
}

/// An answer in place of the usual one.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This answer; the request has no effect.
    Answer(Response),
    /// No answer; the connection stays open until the client closes it.
    Silent,
    /// The request is carried out, and the connection closed without the answer.
    Lost,
}

impl Fault {
    /// Returns an error of OAuth (RFC 6749, section 5.2).
    pub fn error(status: u16, error: &str) -> Self {
        Self::Answer(Response::json(status, &serde_json::json!({ "error": error })))
    }

    /// Returns a status with a page of HTML, as a gateway sends it.
    pub fn page(status: u16) -> Self {
        let body = "<!DOCTYPE html><html><body><h1>Sorry</h1></body></html>";
        Self::Answer(Response::new(status, "text/html", body))
    }

    /// Returns a status and a page with `Retry-After`: seconds, or a date.
    pub fn retry_after(status: u16, value: &str) -> Self {
        let Self::Answer(page) = Self::page(status) else { unreachable!("a page is an answer") };
        Self::Answer(page.with_header("Retry-After", value))
    }
}

/// A request that the server has received.
#[derive(Clone, Debug)]
pub struct Received {
    /// The path, such as `/token`.
    pub path: String,
    /// The form, with the client's id and secret from a header `Authorization`.
    pub form: Form,
    /// The status of the answer; 0 for none.
    pub status: u16,
}

/// A running server. Its threads end with the process.
pub struct TokenServer {
    authority: Authority,
    http: u16,
    https: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    shared: Mutex<Shared>,
    changed: Condvar,
}

#[derive(Default)]
struct Shared {
    settings: Settings,
    next_faults: VecDeque<Fault>,
    accounts: Accounts,
    received: Vec<Received>,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenServer {
    /// Starts a server.
    pub fn start() -> Self {
        Self::named("localhost")
    }

    /// Starts a server with a certificate for this name.
    pub fn named(name: &str) -> Self {
        let (authority, state) = (Authority::new(), Arc::<State>::default());
        let tls = tls(&authority.issue(&[name]));
        let (http, https) = (serve(&state, None), serve(&state, Some(&tls)));
        Self { authority, http, https, state }
    }

    /// Returns the certificate to trust, as PEM.
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// Returns the port of HTTP on `127.0.0.1`.
    pub fn http_port(&self) -> u16 {
        self.http
    }

    /// Returns the port of HTTPS on `localhost`.
    pub fn https_port(&self) -> u16 {
        self.https
    }

    /// Returns an HTTPS address: `token`, `device_authorization`, `authorize`.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/{path}", self.https)
    }

    /// Returns the address of introspection, without TLS, for Dovecot's `introspection_url` with the mode `post`.
    pub fn introspection_url(&self) -> String {
        format!("http://127.0.0.1:{}/introspect", self.http)
    }

    /// Changes the settings.
    pub fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.state.lock().settings);
        self.state.changed.notify_all();
    }

    /// Gives the next answers these faults, before the fault of the settings.
    pub fn next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().next_faults.extend(faults);
    }

    /// Returns a refresh token of this user, as if it had signed in.
    pub fn sign_in(&self, user: &str) -> String {
        self.state.lock().accounts.sign_in(user)
    }

    /// Ends a refresh token or an access token.
    pub fn revoke(&self, token: &str) {
        self.state.lock().accounts.revoke(token);
    }

    /// Ends all tokens of a user.
    pub fn revoke_all(&self, user: &str) {
        self.state.lock().accounts.revoke_all(user);
    }

    /// Has this user enter a device's code and allow its request.
    ///
    /// # Panics
    /// If there is no such code.
    pub fn approve(&self, user_code: &str, user: &str) {
        self.state.lock().accounts.decide(user_code, Some(user));
    }

    /// Has a user enter a device's code and refuse its request.
    ///
    /// # Panics
    /// If there is no such code.
    pub fn deny(&self, user_code: &str) {
        self.state.lock().accounts.decide(user_code, None);
    }

    /// Ends the time of all device codes.
    pub fn expire_device_codes(&self) {
        self.state.lock().accounts.expire_device_codes();
    }

    /// Returns the requests so far at a path, also those that have no answer yet.
    pub fn received(&self, path: &str) -> Vec<Received> {
        self.state.lock().received.iter().filter(|it| it.path == path).cloned().collect()
    }

    /// Returns the number of requests for tokens so far.
    pub fn requests(&self) -> usize {
        self.received("/token").len()
    }
}

/// Serves connections; returns the port.
fn serve(state: &Arc<State>, tls: Option<&Arc<ServerConfig>>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("a local port").port();
    let (state, tls) = (Arc::clone(state), tls.cloned());
    thread::spawn(move || {
        for stream in connections(&listener) {
            let (state, tls) = (Arc::clone(&state), tls.clone());
            thread::spawn(move || http::serve(stream, tls, |request| answer(&state, request)));
        }
    });
    port
}

/// Answers a request; `None` closes the connection without an answer.
fn answer(state: &State, request: &http::Request) -> Option<Reply> {
    let mut shared = state.lock();
    let number = shared.received.len();
    let (path, form) = (request.path.clone(), request.form.clone());
    shared.received.push(Received { path, form, status: 0 });
    while shared.settings.holds {
        shared = state.changed.wait(shared).unwrap_or_else(PoisonError::into_inner);
    }
    let fault = shared.next_faults.pop_front().or_else(|| shared.settings.fault.clone());
    let response = match fault {
        Some(Fault::Silent) => return Some(Reply::Silence),
        Some(Fault::Answer(response)) => response,
        fault => {
            let settings = shared.settings.clone();
            let response = shared.accounts.answer(request, &settings, SystemTime::now());
            if matches!(fault, Some(Fault::Lost)) {
                return None;
            }
            response
        }
    };
    shared.received[number].status = response.status;
    Some(Reply::Response(response))
}

enum Reply {
    Response(Response),
    Silence,
}

fn tls(issued: &Issued) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(issued.cert_pem.as_bytes());
    let chain = chain.collect::<Result<_, _>>().expect("the server's certificate");
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).expect("the server's key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, key);
    Arc::new(config.expect("the server's certificate and key fit"))
}
