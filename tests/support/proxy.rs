//! A proxy on the loopback that works, by SOCKS5 and by HTTP CONNECT on one port; and proxies that do not.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::listening::connections;
use super::relay::{Gate, both_ways};

/// The options of a proxy.
#[derive(Clone, Debug, Default)]
pub struct ProxyOptions {
    /// The user name and the password that it wants, if any.
    pub login: Option<(String, String)>,
    /// Hosts that it alone knows: names, and addresses as it receives them; all are on `127.0.0.1`.
    pub hosts: Vec<String>,
}

/// A proxy that runs until the process ends.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    options: ProxyOptions,
    targets: Mutex<Vec<String>>,
    open: Mutex<Vec<TcpStream>>,
    /// The ports in place of others.
    ports: Mutex<HashMap<u16, u16>>,
}

impl Proxy {
    /// Starts a proxy.
    pub fn start(options: ProxyOptions) -> Self {
        let (targets, open, ports) = (Mutex::default(), Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { options, targets, open, ports });
        let serving = Arc::clone(&shared);
        let port = listen(move |client| {
            // Its client sees the end of the connection.
            let _ = serving.serve(client);
        });
        Self { port, shared }
    }

    /// Returns its port on `127.0.0.1`.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connects to one port in place of another.
    pub fn redirect(&self, from: u16, to: u16) {
        locked(&self.shared.ports).insert(from, to);
    }

    /// Returns the hosts and ports that were asked for, as they were sent; an IPv6 address is within brackets.
    pub fn targets(&self) -> Vec<String> {
        locked(&self.shared.targets).clone()
    }

    /// Cuts every connection, without a goodbye; new connections are accepted.
    pub fn cut(&self) {
        for stream in locked(&self.shared.open).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn serve(&self, client: TcpStream) -> io::Result<()> {
        let mut first = [0];
        client.peek(&mut first)?;
        let server = if first == [5] { self.socks5(&client)? } else { self.http(&client)? };
        both_ways(client, server, &self.open, &Arc::<Gate>::default());
        Ok(())
    }

    /// Connects to a target.
    fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let is_ipv6 = host.contains(':');
        let shown = if is_ipv6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        locked(&self.targets).push(shown);
        let port = locked(&self.ports).get(&port).copied().unwrap_or(port);
        if self.options.hosts.iter().any(|its| its == host) {
            return TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        }
        TcpStream::connect((host, port))
    }

    fn socks5(&self, mut client: &TcpStream) -> io::Result<TcpStream> {
        let [_version, count] = receive(client)?;
        let methods = take(client, count.into())?;
        let wanted = if self.options.login.is_some() { 2 } else { 0 };
        let method = if methods.contains(&wanted) { wanted } else { 0xff };
        client.write_all(&[5, method])?;
        if method == 0xff {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if let Some((user, password)) = &self.options.login {
            let [_version] = receive(client)?;
            let sent = [counted(client)?, counted(client)?];
            let is_right = sent == [user.as_bytes(), password.as_bytes()];
            client.write_all(&[1, u8::from(!is_right)])?;
            if !is_right {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
        }
        let [_version, _command, _reserved, kind] = receive(client)?;
        let host = match kind {
            1 => Ipv4Addr::from(receive::<4>(client)?).to_string(),
            4 => Ipv6Addr::from(receive::<16>(client)?).to_string(),
            _ => String::from_utf8_lossy(&counted(client)?).into_owned(),
        };
        let connected = self.connect(&host, u16::from_be_bytes(receive(client)?));
        let code = match &connected {
            Ok(_) => 0,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => 5,
            Err(_) => 4,
        };
        client.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0])?;
        connected
    }

    fn http(&self, mut client: &TcpStream) -> io::Result<TcpStream> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(receive::<1>(client)?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let target = head.split(' ').nth(1).unwrap_or_default();
        let (host, port) = target.rsplit_once(':').unwrap_or((target, ""));
        let login = self.options.login.as_ref().map(|(user, password)| {
            let login = BASE64_STANDARD.encode(format!("{user}:{password}"));
            format!("\r\nProxy-Authorization: Basic {login}\r\n")
        });
        if login.is_some_and(|login| !head.contains(&login)) {
            let said =
                "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n";
            client.write_all(said.as_bytes())?;
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let connected = self.connect(host, port.parse().unwrap_or_default());
        let status = if connected.is_ok() { "200 Connection established" } else { "502 Bad Gateway" };
        client.write_all(format!("HTTP/1.1 {status}\r\nVia: 1.1 test\r\n\r\n").as_bytes())?;
        connected
    }
}

/// Starts a proxy with any behaviour, until the process ends; returns its port on `127.0.0.1`.
pub fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port for the proxy");
    let port = listener.local_addr().expect("the proxy's port").port();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for client in connections(&listener) {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(client));
        }
    });
    port
}

/// Starts a proxy that sends each answer after it has received something, and then hangs up.
pub fn answering(answers: Vec<Vec<u8>>) -> u16 {
    listen(move |mut client| {
        for answer in &answers {
            let received = client.read(&mut [0; 4096]);
            if received.is_err() || client.write_all(answer).is_err() {
                return;
            }
        }
    })
}

/// Starts a proxy that sends this without an end.
pub fn endless(octets: &'static [u8]) -> u16 {
    listen(move |mut client| while client.write_all(octets).is_ok() {})
}

/// Starts a proxy that never answers.
pub fn silent() -> u16 {
    listen(|mut client| while client.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {})
}

fn receive<const LENGTH: usize>(mut client: &TcpStream) -> io::Result<[u8; LENGTH]> {
    let mut octets = [0; LENGTH];
    client.read_exact(&mut octets).map(|()| octets)
}

fn take(mut client: &TcpStream, length: usize) -> io::Result<Vec<u8>> {
    let mut octets = vec![0; length];
    client.read_exact(&mut octets).map(|()| octets)
}

/// Receives a text behind its length.
fn counted(client: &TcpStream) -> io::Result<Vec<u8>> {
    let [length] = receive(client)?;
    take(client, length.into())
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
