//! One Python object that speaks with one server: opened, logged in, called, and never left open.

use std::cell::Cell;
use std::net::TcpStream;
use std::os::fd::IntoRawFd as _;

use base64_simd::STANDARD;
use pyo3::call::PyCallArgs;
use pyo3::conversion::FromPyObjectOwned;
use pyo3::prelude::*;

use super::convert::{self, Asking, Phase};
use super::modules::Module;
use super::runtime::attached;
use crate::config::{Common, Credentials, Security};
use crate::connection::Traffic;
use crate::deadline::Deadline;
use crate::error::Result;
use crate::tcp;
use crate::watchdog::{Guard, Watched};

/// Which dialogue, and the ports that it is spoken on.
pub(super) struct Service {
    pub(super) module: &'static Module,
    pub(super) name: &'static str,
    pub(super) tls: u16,
    pub(super) starttls: u16,
    pub(super) plain: u16,
}

/// A `Session` of one of the files in `py/`, and the watch over its connection.
pub(crate) struct Dialogue {
    object: Option<Py<PyAny>>,
    /// A server can send back what it was sent, at any time, and on a later connection too.
    secrets: Vec<String>,
    watched: Watched,
    traffic: Cell<Traffic>,
    /// Of what is called next.
    deadline: Cell<Deadline>,
}

impl Dialogue {
    /// Connects, encrypted as configured, and begins a session, all by the deadline; `hello_name` is SMTP's name
    /// for us.
    pub(super) fn open<S>(
        service: &Service,
        common: &Common,
        hello_name: Option<&str>,
        deadline: Deadline,
        begin: impl FnOnce(Self) -> Result<S>,
    ) -> Result<S> {
        let server = &common.server;
        let port = server.port.unwrap_or(match server.security {
            Security::Tls => service.tls,
            Security::StartTls => service.starttls,
            Security::None => service.plain,
        });
        let action = format!("connecting to {} at {}:{port}", service.name, server.host);
        service.module.ready()?;
        let socket = tcp::connect(&server.host, port, deadline, &action)?;
        let watched = Watched::new(&socket)?;
        let guard = watched.until(deadline);
        let opened = Self::on(socket, watched, service, common, (port, hello_name), deadline, &action);
        guard.map_timeout(opened.and_then(begin), &action)
    }

    fn on(
        socket: TcpStream,
        watched: Watched,
        service: &Service,
        common: &Common,
        (port, hello_name): (u16, Option<&str>),
        deadline: Deadline,
        action: &str,
    ) -> Result<Self> {
        let server = &common.server;
        let security = match server.security {
            Security::Tls => "tls",
            Security::StartTls => "starttls",
            Security::None => "none",
        };
        let secrets = secrets(&common.credentials);
        let asking = Asking { phase: Phase::Connect, action, secrets: &secrets };
        let object = attached(|py| {
            let class = service.module.session_class(py)?;
            let trust = (server.certificates(), elsewhere());
            // From here on the descriptor is Python's.
            let seconds = deadline.left().as_secs_f64();
            let args = (socket.into_raw_fd(), server.host_without_dot(), port, security, trust, seconds);
            let object = match hello_name {
                Some(name) => class.call1((args.0, args.1, args.2, args.3, args.4, args.5, name)),
                None => class.call1(args),
            };
            object.map(Bound::unbind).map_err(|e| owned(py, &e, asking))
        })?;
        let (traffic, deadline) = (Cell::default(), Cell::new(deadline));
        Ok(Self { object: Some(object), secrets, watched, traffic, deadline })
    }

    /// Shuts the connection down when the deadline comes, for as long as the guard is there.
    pub(super) fn watch(&self, deadline: Deadline) -> Guard {
        self.deadline.set(deadline);
        self.watched.until(deadline)
    }

    /// What went over the connection, up to the last call.
    pub(super) fn traffic(&self) -> Traffic {
        self.traffic.get()
    }

    /// Logs in, if there is anybody to log in, and returns the capabilities that are told then.
    pub(super) fn login(&self, service: &Service, common: &Common) -> Result<Vec<String>> {
        let Some((user, password)) = &common.credentials.login else { return Ok(Vec::new()) };
        let action = format!("logging in to {} at {}", service.name, common.server.host);
        let asking = Asking { phase: Phase::Login, action: &action, secrets: &self.secrets };
        let told: Option<Vec<String>> = self.ask("login", (user.as_str(), password.reveal()), asking)?;
        Ok(told.unwrap_or_default())
    }

    /// Calls a method in the middle of the dialogue.
    pub(super) fn call<T>(&self, method: &str, args: impl for<'py> PyCallArgs<'py>, action: &str) -> Result<T>
    where
        T: for<'py> FromPyObjectOwned<'py, Error: Into<PyErr>>,
    {
        self.ask(method, args, self.asking(action))
    }

    /// Calls a method that returns nothing.
    pub(super) fn tell(&self, method: &str, args: impl for<'py> PyCallArgs<'py>, action: &str) -> Result<()> {
        self.with(self.asking(action), |object| object.call_method1(method, args).map(drop))
    }

    /// For something in the middle of the dialogue.
    pub(super) fn asking<'a>(&'a self, action: &'a str) -> Asking<'a> {
        Asking { phase: Phase::Dialogue, action, secrets: &self.secrets }
    }

    fn ask<T>(&self, method: &str, args: impl for<'py> PyCallArgs<'py>, asking: Asking<'_>) -> Result<T>
    where
        T: for<'py> FromPyObjectOwned<'py, Error: Into<PyErr>>,
    {
        self.with(asking, |object| object.call_method1(method, args)?.extract::<T>().map_err(Into::into))
    }

    /// There is always one, until the drop.
    pub(super) fn object<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.object.as_ref().map_or_else(|| py.None().into_bound(py), |object| object.bind(py).clone())
    }

    /// Does something with the object, attached.
    pub(super) fn with<T>(
        &self,
        asking: Asking<'_>,
        work: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>,
    ) -> Result<T> {
        attached(|py| {
            let object = self.object(py);
            let seconds = self.deadline.get().left().as_secs_f64();
            let hurried = object.call_method1("hurry", (seconds,));
            let done = hurried.and_then(|_| work(&object)).map_err(|e| owned(py, &e, asking));
            let counted = object.call_method0("traffic").and_then(|traffic| traffic.extract());
            if let Ok((commands, sent, received)) = counted {
                self.traffic.set(Traffic { commands, sent, received });
            }
            done
        })
    }
}

/// Where this system has its trust roots, when OpenSSL was built for another one.
fn elsewhere() -> String {
    let file = openssl_probe::probe().cert_file;
    file.map(|file| file.display().to_string()).unwrap_or_default()
}

fn owned(py: Python<'_>, exception: &PyErr, asking: Asking<'_>) -> crate::Error {
    convert::error(exception.value(py), asking)
}

/// The password in every shape that goes over the wire, and in those that Python shows them in.
fn secrets(credentials: &Credentials) -> Vec<String> {
    let Some((user, password)) = &credentials.login else { return Vec::new() };
    let password = password.reveal();
    // Padding may be left out, and adds nothing.
    let encoded = |text: &str| STANDARD.encode_to_string(text).trim_end_matches('=').to_owned();
    let quoted = password.replace('\\', "\\\\").replace('"', "\\\"");
    let shown = [&quoted, password].into_iter().flat_map(shown_by_python);
    let mut shapes = vec![encoded(&format!("\0{user}\0{password}")), encoded(password)];
    shapes.extend(shown);
    shapes.extend([quoted.clone(), password.to_owned()]);
    // The longest first: what is within another one would leave the rest of it.
    shapes.sort_by_key(|shape| std::cmp::Reverse(shape.len()));
    shapes
}

/// As `repr` writes it, of bytes and of text; which quotation mark it escapes depends on what stands around.
fn shown_by_python(text: &str) -> [String; 4] {
    let octets = text.as_bytes().escape_ascii().to_string().replace("\\\"", "\"");
    let text = text.replace('\\', "\\\\");
    [octets.replace("\\'", "'"), octets, text.replace('\'', "\\'"), text]
}

/// Closes the socket now; a reference let go detached would keep it open until somebody attaches.
impl Drop for Dialogue {
    fn drop(&mut self) {
        let attempt = attached(|py| {
            // It may be closed already; there is nobody to tell.
            let _ = self.object(py).call_method0("abandon");
            self.object = None;
            Ok(())
        });
        if attempt.is_err() {
            // In a forked child, or at the end of the process, nobody may touch it.
            std::mem::forget(self.object.take());
        }
    }
}
