//! The steps that both protocols share: the name, the connection, TLS and the greeting.

use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, SystemTime};

use pymail::{ErrorKind, Security, ServerInfo, TlsInfo};

use crate::advice;
use crate::calendar::day;
use crate::options::{Endpoint, Options};
use crate::report::{Report, Trouble};

/// A certificate that ends within this time is reported.
const SOON: Duration = Duration::from_secs(14 * 24 * 3_600);

/// Runs the steps up to the greeting; returns the facts about the server. `later` are the steps that need them.
pub(crate) fn reach(
    report: &mut Report,
    (service, options, at): (&str, &Options, &Endpoint),
    probe: impl FnOnce() -> pymail::Result<ServerInfo>,
    later: &[&str],
) -> Option<ServerInfo> {
    let skip = |report: &mut Report, first: &[&str], why: &str| {
        report.skip(service, &[first, later].concat(), why);
    };
    let Some(addresses) = report.step(service, "addresses", || resolve(at)) else {
        skip(report, &["connect", "tls", "greeting"], "the host has no address");
        return None;
    };
    if report.step(service, "connect", || connect(&addresses, options.timeout)).is_none() {
        skip(report, &["tls", "greeting"], "there is no connection");
        return None;
    }
    let mut info = None;
    let mut refused_greeting = None;
    let tls = report.step(service, "tls", || match probe() {
        Ok(found) => {
            let words = encryption(&found);
            info = Some(found);
            words.map(|words| (words, ()))
        }
        Err(error) if at.security == Security::None && error.kind() != ErrorKind::Tls => {
            refused_greeting = Some(error);
            Ok(("none: anyone on the way can read and change everything".into(), ()))
        }
        Err(error) => Err(advice::connecting(&error, at)),
    });
    if let Some(error) = refused_greeting {
        report.step::<()>(service, "greeting", || Err(advice::connecting(&error, at)));
        report.skip(service, later, "the server does not greet");
    } else if tls.is_none() && info.is_none() {
        skip(report, &["greeting"], "TLS has failed");
    }
    let info = info?;
    // Without a code, such as the capabilities, which have a step of their own.
    let greeting = info.greeting.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    let greeting = greeting.map_or(&*info.greeting, |(_, text)| text).to_owned();
    report.step(service, "greeting", || Ok((greeting, ())));
    Some(info)
}

fn resolve(at: &Endpoint) -> Result<(String, Vec<SocketAddr>), Trouble> {
    let found = (&*at.host, at.port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
    match found {
        Ok(addresses) if !addresses.is_empty() => {
            let shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
            Ok((shown.join(", "), addresses))
        }
        Ok(_) => Err(advice::unknown_host(&at.host, "it has no address")),
        Err(error) => Err(advice::unknown_host(&at.host, &error.to_string())),
    }
}

/// Connects to each address, and closes the connections at once.
fn connect(addresses: &[SocketAddr], timeout: Duration) -> Result<(String, ()), Trouble> {
    let attempts: Vec<_> =
        addresses.iter().map(|address| (address, TcpStream::connect_timeout(address, timeout))).collect();
    let says = |(address, attempt): &(&SocketAddr, std::io::Result<TcpStream>)| match attempt {
        Ok(_) => format!("{address} accepts"),
        Err(error) => format!("{address}: {error}"),
    };
    let said = attempts.iter().map(says).collect::<Vec<_>>().join("; ");
    if attempts.iter().all(|(_, attempt)| attempt.is_err()) {
        let has_timed_out = attempts.iter().any(|(_, attempt)| {
            attempt.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
        });
        return Err(advice::no_connection(said, has_timed_out));
    }
    let is_dead = |(address, attempt): &(&SocketAddr, std::io::Result<TcpStream>)| {
        attempt.is_err() && matches!(address.ip(), IpAddr::V6(_))
    };
    let note = if attempts.iter().any(is_dead) { " (the other address is tried in vain)" } else { "" };
    Ok((format!("{said}{note}"), ()))
}

fn encryption(info: &ServerInfo) -> Result<String, Trouble> {
    let Some(tls) = &info.tls else {
        return Ok("none: anyone on the way can read and change everything".into());
    };
    let TlsInfo { version, cipher, names, issuer, chain, not_before, not_after, .. } = tls;
    let chain = if chain.len() > 1 { format!(", chain {}", chain.join(" < ")) } else { String::new() };
    let words = format!(
        "{version}, {cipher}; certificate for {} by {issuer}, valid from {} to {}{chain}",
        names.join(", "),
        day(*not_before),
        day(*not_after)
    );
    if SystemTime::now().checked_add(SOON).is_some_and(|soon| *not_after < soon) {
        return Err(Trouble::new(words, "The certificate ends soon: the server's operator must renew it."));
    }
    Ok(words)
}
