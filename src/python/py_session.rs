//! A Python `Session`: opened, logged in, called under a deadline, and closed with its Rust owner.
//!
//! Not `Sync`: the connection's lock gives it to one thread at a time.

use std::cell::{Cell, RefCell};
use std::net::TcpStream;
use std::sync::Arc;

use base64_simd::STANDARD;
use pyo3::conversion::FromPyObjectOwned;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict as _, PyTuple};

use super::bearer::{self, Response};
use super::errors::{self, CallContext, Phase};
use super::identity_file::IdentityFile;
use super::modules::{self, Module};
use super::runtime::attached;
use super::transcript::Transcript;
use crate::config::{AccessToken, Common, Login, Secret, Security, Server};
use crate::connection::Traffic;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::route;
use crate::socket::into_descriptor;
use crate::waiter::{Beat, Guard, Watched, WatchedCommand};

/// A protocol: its Python module, its name in errors, and its default ports.
pub(super) struct Service {
    pub(super) module: &'static Module,
    pub(super) name: &'static str,
    /// The port with implicit TLS.
    pub(super) tls: u16,
    /// The port without TLS at first.
    pub(super) starttls: u16,
    /// The port without encryption.
    pub(super) plain: u16,
    /// The most octets of a response in base64, in a login by access token.
    pub(super) longest_response: usize,
}

/// A `Session` of `imap.py` or `smtp.py`, and the waiter of its connection.
///
/// Python owns the socket. The waiter has a duplicate of the descriptor, and shuts the socket down at the deadline;
/// the thread that waits in Python then sees the end of the connection.
pub(crate) struct PySession {
    /// `None` only after the drop.
    object: Option<Py<PyAny>>,
    /// Hidden in each error: a server can send back what it was sent, at any time.
    secrets: Vec<String>,
    /// The socket, for the waiter.
    watched: Watched,
    /// The traffic up to the last call.
    ///
    /// Noted after each call, so that reading it takes neither the GIL nor a wait.
    traffic: Cell<Traffic>,
    /// The deadline of the next call. Python gets it, too: after a shutdown, its reads still return what was received
    /// before, for seconds.
    deadline: Cell<Deadline>,
    /// The call that is watched last, whose deadline can be moved.
    command: RefCell<Option<WatchedCommand>>,
    /// `None` unless a subscriber wanted it when the connection was made.
    transcript: Option<Arc<Transcript>>,
}

impl PySession {
    /// Connects, encrypted as configured, and runs `begin` on the session, all by the deadline; `hello_name` is the
    /// name in EHLO. `token` is for credentials that are tokens.
    ///
    /// | step | by |
    /// | --- | --- |
    /// | load `py/` | Rust, before a server waits for it |
    /// | DNS, TCP, proxy | Rust: [`route::connect`], which ends by the deadline |
    /// | TLS, greeting | Python, on the same socket, under the waiter |
    /// | `begin`: the login and what follows | the caller |
    ///
    /// The descriptor has one owner at any time: Rust's socket, which closes it if Python can't be entered, then
    /// Python.
    ///
    /// # Errors
    ///
    /// `Runtime`, `Connect`, `Tls`, `Timeout`, and those of `begin`, after which the socket is closed.
    pub(super) fn open<S>(
        service: &Service,
        common: &Common,
        token: Option<&AccessToken>,
        hello_name: Option<&str>,
        deadline: Deadline,
        begin: impl FnOnce(Self, LogIn<'_>) -> Result<S>,
    ) -> Result<S> {
        let server = &common.server;
        let port = server.port.unwrap_or(match server.security {
            Security::Tls => service.tls,
            Security::StartTls => service.starttls,
            Security::None => service.plain,
        });
        let action = format!("connecting to {} at {}:{port}{}", service.name, server.host, server.route);
        let log_in = LogIn::new(service, common, port, token)?;
        service.module.ready()?;
        if token.is_some() {
            modules::import_json()?;
        }
        let socket = route::connect(server, port, deadline, &action)?;
        let watched = Watched::new(&socket)?;
        let guard = watched.until(deadline);
        let secrets = log_in.secrets();
        let transcript = Transcript::begin(service.name, &secrets);
        let context = CallContext { phase: Phase::Connect, action: &action, secrets: &secrets };
        let is_silent = Cell::new(false);
        let object = attached(|py| {
            let class = service.module.session_class(py)?;
            let object = new_object(&class, socket, server, port, hello_name, deadline, transcript.as_ref());
            object.map_err(|e| {
                is_silent.set(errors::is_no_greeting(e.value(py)));
                owned(py, &e, context)
            })
        });
        if let Some(transcript) = &transcript {
            transcript.emit();
        }
        let (traffic, deadline) = (Cell::default(), Cell::new(deadline));
        let opened = object.map(|object| Self {
            object: Some(object),
            secrets,
            watched,
            traffic,
            deadline,
            command: RefCell::default(),
            transcript,
        });
        let opened = guard.map_timeout(opened.and_then(|opened| begin(opened, log_in)), &action);
        let hints = is_silent.get() && server.security != Security::Tls;
        opened.map_err(|error| if hints { with_tls_hint(error) } else { error })
    }

    /// Sets the deadline of the next calls: the connection is shut down then, unless the guard was dropped before.
    pub(super) fn watch(&self, deadline: Deadline) -> Guard {
        self.deadline.set(deadline);
        let guard = self.watched.until(deadline);
        self.command.replace(guard.command());
        guard
    }

    /// Returns the deadline of the call under way.
    pub(super) fn deadline(&self) -> Deadline {
        self.deadline.get()
    }

    /// Notes where the deadline of the call under way was moved to.
    pub(super) fn set_deadline(&self, deadline: Deadline) {
        self.deadline.set(deadline);
    }

    /// Returns the call under way, whose deadline can be moved.
    pub(super) fn command(&self) -> Option<WatchedCommand> {
        self.command.borrow().clone()
    }

    /// Runs the heartbeat when octets arrive.
    ///
    /// # Errors
    /// `Runtime` when the system can't poll another socket.
    pub(super) fn park(&self, beat: Beat) -> Result<()> {
        self.watched.park(beat)
    }

    /// Ends [`park`](Self::park).
    pub(super) fn unpark(&self) {
        self.watched.unpark();
    }

    /// Returns the traffic of the connection, up to the last call.
    pub(super) fn traffic(&self) -> Traffic {
        self.traffic.get()
    }

    /// Logs in if there are credentials; returns the capabilities after login, which only IMAP has.
    ///
    /// The secret is revealed for the call only, and Python clears its frames when the login fails.
    ///
    /// # Errors
    ///
    /// `Auth` or `Refused`, by the server's words; a lost connection.
    pub(super) fn login(&self, service: &Service, common: &Common, log_in: LogIn<'_>) -> Result<Vec<String>> {
        let action = format!("logging in to {} at {}", service.name, common.server.host);
        let context = CallContext { phase: Phase::Login, action: &action, secrets: &self.secrets };
        let capabilities: Option<Vec<String>> = match log_in {
            LogIn::Nothing => None,
            LogIn::Password(user, password) => self.call_in(context, "login", (user, password))?,
            LogIn::Certificate(user) => self.call_in(context, "login_by_certificate", (user,))?,
            LogIn::Token(_, responses) => {
                self.call_in(context, "login_with_token", (Vec::from(responses),))?
            }
        };
        Ok(capabilities.unwrap_or_default())
    }

    /// Calls a method after the login, and returns its value.
    pub(super) fn call<T>(
        &self,
        method: &str,
        args: impl for<'py> IntoPyObject<'py, Target = PyTuple>,
        action: &str,
    ) -> Result<T>
    where
        T: for<'py> FromPyObjectOwned<'py, Error: Into<PyErr>>,
    {
        self.call_in(self.context(action), method, args)
    }

    /// Calls a method after the login that returns nothing.
    pub(super) fn run(
        &self,
        method: &str,
        args: impl for<'py> IntoPyObject<'py, Target = PyTuple>,
        action: &str,
    ) -> Result<()> {
        self.with(self.context(action), method, |_| Ok(args), |_| Ok(()))
    }

    /// Returns the transcript, if there is one.
    pub(super) fn transcript(&self) -> Option<&Transcript> {
        self.transcript.as_deref()
    }

    /// Returns the context of a call after the login.
    pub(super) fn context<'a>(&'a self, action: &'a str) -> CallContext<'a> {
        CallContext { phase: Phase::Command, action, secrets: &self.secrets }
    }

    /// Calls a method in any phase, and converts its value.
    fn call_in<T>(
        &self,
        context: CallContext<'_>,
        method: &str,
        args: impl for<'py> IntoPyObject<'py, Target = PyTuple>,
    ) -> Result<T>
    where
        T: for<'py> FromPyObjectOwned<'py, Error: Into<PyErr>>,
    {
        self.with(context, method, |_| Ok(args), |value| value.extract::<T>().map_err(Into::into))
    }

    /// Returns the Python object; `None` after the drop.
    pub(super) fn object<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.object.as_ref().map_or_else(|| py.None().into_bound(py), |object| object.bind(py).clone())
    }

    /// Calls a method with the deadline that was set, and reads its value while attached. Notes the traffic.
    ///
    /// `args` and `read` run while attached, and must not wait. After an exception, which carries no traffic, the
    /// traffic is read by a second call.
    pub(super) fn with<T, A>(
        &self,
        context: CallContext<'_>,
        method: &str,
        args: impl FnOnce(Python<'_>) -> PyResult<A>,
        read: impl FnOnce(Bound<'_, PyAny>) -> PyResult<T>,
    ) -> Result<T>
    where
        A: for<'py> IntoPyObject<'py, Target = PyTuple>,
    {
        let result = attached(|py| {
            let object = self.object(py);
            let seconds = self.deadline.get().left().as_secs_f64();
            let called = args(py).and_then(|args| object.call_method1("call", (seconds, method, args)));
            let called = called.and_then(|called| called.extract::<(Bound<'_, PyAny>, Counts)>());
            let counts = match &called {
                Ok((_, counts)) => Some(*counts),
                Err(_) => object.call_method0("traffic").and_then(|counts| counts.extract()).ok(),
            };
            if let Some((commands, sent, received)) = counts {
                self.traffic.set(Traffic { commands, sent, received });
            }
            called.and_then(|(value, _)| read(value)).map_err(|e| owned(py, &e, context))
        });
        if let Some(transcript) = &self.transcript {
            transcript.emit();
        }
        result
    }
}

/// Adds what may be the cause when a server sends no greeting: it waits for the client to begin with TLS.
fn with_tls_hint(error: crate::Error) -> crate::Error {
    let hint = "no greeting came: if this port is for implicit TLS, as 993 and 465 are, use Server::tls";
    let (kind, text) = (error.kind(), format!("{error}; {hint}"));
    error.reworded(kind, text)
}

/// The commands, the octets sent and the octets received so far.
type Counts = (u64, u64, u64);

/// Calls the class `Session` with a connected socket.
fn new_object(
    class: &Bound<'_, PyAny>,
    socket: TcpStream,
    server: &Server,
    port: u16,
    hello_name: Option<&str>,
    deadline: Deadline,
    transcript: Option<&Arc<Transcript>>,
) -> PyResult<Py<PyAny>> {
    let security = match server.security {
        Security::Tls => "tls",
        Security::StartTls => "starttls",
        Security::None => "none",
    };
    let identity = server.identity.as_ref().map(IdentityFile::new).transpose()?;
    let trust = (server.certificates(), system_cert_file(), identity.as_ref().map(IdentityFile::path));
    let (host, seconds) = (server.host_without_dot(), deadline.left().as_secs_f64());
    let py = class.py();
    let wire = transcript.map(|it| [("wire", it.function(py)?)].into_py_dict(py)).transpose()?;
    // Python owns it from here on, and closes it.
    let descriptor = into_descriptor(socket);
    let object = match hello_name {
        Some(name) => class.call((descriptor, host, port, security, trust, seconds, name), wire.as_ref()),
        None => class.call((descriptor, host, port, security, trust, seconds), wire.as_ref()),
    };
    object.map(Bound::unbind)
}

/// Returns this system's file of trust roots, for an OpenSSL that was built for another system; empty if there is none.
fn system_cert_file() -> String {
    // openssl-probe does not know this one, in which Apple ships the roots for its own LibreSSL.
    if cfg!(target_os = "macos") {
        return "/etc/ssl/cert.pem".into();
    }
    let file = openssl_probe::probe().cert_file;
    file.map(|file| file.display().to_string()).unwrap_or_default()
}

/// Converts an exception.
fn owned(py: Python<'_>, exception: &PyErr, context: CallContext<'_>) -> crate::Error {
    errors::error(exception.value(py), context)
}

/// The login of one connection.
pub(super) enum LogIn<'a> {
    Nothing,
    /// The user name and the password.
    Password(&'a str, &'a str),
    /// The user name; the certificate is known from the handshake.
    Certificate(&'a str),
    /// The token, and the responses by which it is sent.
    Token(&'a str, [Response; 2]),
}

impl<'a> LogIn<'a> {
    /// # Errors
    /// `Config` for a token that is too long.
    fn new(service: &Service, common: &'a Common, port: u16, token: Option<&'a AccessToken>) -> Result<Self> {
        let Some(Login { user, secret }) = &common.credentials.login else { return Ok(Self::Nothing) };
        Ok(match (secret, token) {
            (Secret::Password(password), _) => Self::Password(user, password.reveal()),
            (Secret::Certificate, _) => Self::Certificate(user),
            (Secret::Token(_), Some(token)) => {
                let responses = bearer::responses(service, &common.server, port, (user, token))?;
                Self::Token(token.reveal(), responses)
            }
            (Secret::Token(_), None) => {
                return Err(Error::config("a login by access token, without a token"));
            }
        })
    }

    /// Returns the secret in each form in which it is sent, and in the forms in which Python's `repr` shows those.
    ///
    /// | form | sent by |
    /// | --- | --- |
    /// | base64 of NUL, user, NUL, password | AUTHENTICATE PLAIN, AUTH PLAIN |
    /// | base64 of the password | AUTHENTICATE LOGIN, AUTH LOGIN |
    /// | the password, with backslashes before quotes and backslashes | LOGIN |
    /// | the password | LOGIN with a literal |
    /// | base64 of the response that has the token | OAUTHBEARER, XOAUTH2 |
    ///
    /// CRAM-MD5 sends a digest only. The user's name is no secret.
    fn secrets(&self) -> Vec<String> {
        // Without padding, which a server may leave out when it sends it back.
        let encoded = |text: &str| STANDARD.encode_to_string(text).trim_end_matches('=').to_owned();
        let (mut forms, secret) = match self {
            Self::Nothing | Self::Certificate(_) => return Vec::new(),
            Self::Password(user, password) => {
                (vec![encoded(&format!("\0{user}\0{password}")), encoded(password)], *password)
            }
            Self::Token(token, responses) => {
                let sent = responses.iter().map(|(_, sent, _)| sent.trim_end_matches('=').to_owned());
                (sent.chain([encoded(token)]).collect(), *token)
            }
        };
        let quoted = secret.replace('\\', "\\\\").replace('"', "\\\"");
        forms.extend([&quoted, secret].into_iter().flat_map(repr_forms));
        forms.extend([quoted.clone(), secret.to_owned()]);
        // Longest first: replacing a form that is part of another one would leave the rest of that.
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        forms.dedup();
        forms
    }
}

/// Returns the forms in which `repr` shows it, as bytes and as text, within either kind of quotation marks.
fn repr_forms(text: &str) -> [String; 4] {
    let octets = text.as_bytes().escape_ascii().to_string().replace("\\\"", "\"");
    let text = text.replace('\\', "\\\\");
    [octets.replace("\\'", "'"), octets, text.replace('\'', "\\'"), text]
}

impl Drop for PySession {
    /// Closes the socket at once: an object that is dropped detached stays alive until the next thread attaches.
    fn drop(&mut self) {
        let attempt = attached(|py| {
            // It may be closed already, and a drop has no way to report an error.
            let _ = self.object(py).call_method0("close");
            self.object = None;
            Ok(())
        });
        if attempt.is_err() {
            // In a forked child, or at the end of the process, the object must not be touched.
            std::mem::forget(self.object.take());
        }
    }
}
