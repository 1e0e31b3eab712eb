//! SOCKS5 (RFC 1928), with user name and password (RFC 1929).

use std::net::IpAddr;

use super::Dialogue;
use crate::config::ProxyLogin;
use crate::error::{Error, Result};

const VERSION: u8 = 5;

/// The version of the login's own dialogue.
const LOGIN_VERSION: u8 = 1;

/// Methods of login.
const NO_LOGIN: u8 = 0;
const PASSWORD: u8 = 2;
const NONE_ACCEPTABLE: u8 = 0xff;

/// Types of addresses.
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Has the proxy connect to the host.
///
/// # Errors
/// `Config` for a host that can't be sent; `Timeout`, `Connect`.
pub(super) fn open(dialogue: &Dialogue<'_>, login: Option<&ProxyLogin>, host: &str, port: u16) -> Result<()> {
    let request = request(host, port)?;
    log_in(dialogue, login)?;
    dialogue.send(&request)?;
    // A proxy that refuses may close before it has sent an address.
    let [version, code] = dialogue.receive()?;
    if version != VERSION {
        return Err(not_socks5(dialogue, version));
    }
    if code != 0 {
        return Err(dialogue.refused(&format!("the proxy refused: {}", reason(code))));
    }
    let [_reserved, kind] = dialogue.receive()?;
    match kind {
        IPV4 => dialogue.receive::<6>().map(drop),
        IPV6 => dialogue.receive::<18>().map(drop),
        NAME => {
            let [length] = dialogue.receive()?;
            (0..usize::from(length) + 2).try_for_each(|_| dialogue.receive::<1>().map(drop))
        }
        _ => Err(dialogue.refused(&format!("the proxy answered with the unknown address type {kind}"))),
    }
}

/// Returns the request for a connection: a name is resolved by the proxy.
fn request(host: &str, port: u16) -> Result<Vec<u8>> {
    const CONNECT: u8 = 1;
    let mut request = vec![VERSION, CONNECT, 0];
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => {
            request.push(IPV4);
            request.extend(ip.octets());
        }
        Ok(IpAddr::V6(ip)) => {
            request.push(IPV6);
            request.extend(ip.octets());
        }
        Err(_) => {
            let length = u8::try_from(host.len());
            let length = length
                .map_err(|_| Error::config("a SOCKS5 proxy takes a host name of 255 octets at most"))?;
            request.extend([NAME, length]);
            request.extend(host.as_bytes());
        }
    }
    request.extend(port.to_be_bytes());
    Ok(request)
}

/// Logs in, if the proxy asks for it.
fn log_in(dialogue: &Dialogue<'_>, login: Option<&ProxyLogin>) -> Result<()> {
    let offer: &[u8] =
        if login.is_some() { &[VERSION, 2, NO_LOGIN, PASSWORD] } else { &[VERSION, 1, NO_LOGIN] };
    dialogue.send(offer)?;
    let [version, method] = dialogue.receive()?;
    if version != VERSION {
        return Err(not_socks5(dialogue, version));
    }
    match (method, login) {
        (NO_LOGIN, _) => Ok(()),
        (PASSWORD, Some(login)) => send_password(dialogue, login),
        (PASSWORD | NONE_ACCEPTABLE, None) => Err(dialogue.refused("the proxy wants a login: Proxy::login")),
        (NONE_ACCEPTABLE, Some(_)) => {
            Err(dialogue.refused("the proxy takes no login by user name and password"))
        }
        (method, _) => {
            Err(dialogue
                .refused(&format!("the proxy chose the method of login {method}, which was not offered")))
        }
    }
}

fn send_password(dialogue: &Dialogue<'_>, ProxyLogin { user, password }: &ProxyLogin) -> Result<()> {
    let mut request = vec![LOGIN_VERSION];
    for text in [user, password.reveal()] {
        // The settings were checked.
        request.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        request.extend(text.as_bytes());
    }
    dialogue.send(&request)?;
    let [_version, code] = dialogue.receive()?;
    if code == 0 { Ok(()) } else { Err(dialogue.refused_login("the proxy refused the login")) }
}

fn not_socks5(dialogue: &Dialogue<'_>, version: u8) -> Error {
    dialogue.refused(&format!("the proxy does not speak SOCKS5: its answer begins with the octet {version}"))
}

/// Returns the meaning of a reply code (RFC 1928, section 6).
fn reason(code: u8) -> String {
    let text = match code {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused by the server",
        6 => "time to live expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => return format!("unknown code {code}"),
    };
    format!("{text} (code {code})")
}
