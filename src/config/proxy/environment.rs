//! The proxy variables of the environment, which are read only when the app asks for it.

use std::env;
use std::ffi::OsString;
use std::net::IpAddr;

use super::Proxy;
use crate::error::{Error, Result};

/// The variables that name a proxy; the first one that is set counts.
const PROXY: [&str; 4] = ["all_proxy", "ALL_PROXY", "https_proxy", "HTTPS_PROXY"];

/// The variables with the hosts that are connected to without a proxy.
const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// The port of a proxy whose URL has none, as in curl.
const DEFAULT_PORT: u16 = 1080;

impl Proxy {
    /// Returns the proxy that the environment names for a server's host; `None` if it names none. pymail reads these
    /// variables here only, and, for token servers, in `oauth::Client::proxy_from_env`.
    ///
    /// | variable | taken |
    /// | --- | --- |
    /// | `all_proxy`, `ALL_PROXY`, `https_proxy`, `HTTPS_PROXY` | the first one that is set and not empty: `[SCHEME://][USER[:PASSWORD]@]HOST[:PORT]` |
    /// | `no_proxy`, `NO_PROXY` | the first one that is set and not empty: hosts without a proxy |
    ///
    /// - The scheme is `http` (also if there is none), `socks5` or `socks5h`. With `socks5`, too, the proxy resolves
    ///   the host name, while curl does it itself. A path after the port is ignored.
    /// - An IPv6 address is within brackets. The default port is 1080, as in curl, also for `http`.
    /// - User name and password are percent-encoded UTF-8.
    /// - `no_proxy` is read as by curl: names and addresses, separated by commas or blanks. A name, with or without a
    ///   dot before it, stands for itself and all names below it; an address or a network (`10.0.0.0/8`, `fd00::/8`)
    ///   for hosts that are configured as addresses; `*` for all hosts. Names are not resolved, and case does not
    ///   count.
    ///
    /// `http_proxy` is for HTTP without encryption, and is not read.
    ///
    /// ```no_run
    /// use pymail::{Proxy, Server};
    ///
    /// # fn main() -> pymail::Result<()> {
    /// let host = "imap.example.org";
    /// let server = Server::tls(host).proxy(Proxy::from_env(host)?);
    /// # let _ = server;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) for a variable that is not such a URL, or not Unicode. The text names the
    /// variable, and does not show its value, which may have a password in it.
    pub fn from_env(host: &str) -> Result<Option<Self>> {
        from_variables(host, |name| env::var_os(name))
    }
}

fn from_variables(host: &str, variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<Proxy>> {
    let Some((name, url)) = first(&PROXY, &variable)? else { return Ok(None) };
    if let Some((_, list)) = first(&NO_PROXY, &variable)?
        && is_exempt(host, &list)
    {
        return Ok(None);
    }
    let named = |reason: &str| Error::config(format!("the environment variable {name}: {reason}"));
    let proxy = parse(&url).map_err(named)?;
    proxy.check().map_err(|error| named(&error.to_string()))?;
    Ok(Some(proxy))
}

/// Returns the first of these variables that is set and not empty, and its value.
fn first<'a>(
    names: &[&'a str],
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<(&'a str, String)>> {
    let mut set = names.iter().filter_map(|name| Some((*name, variable(name).filter(|it| !it.is_empty())?)));
    let Some((name, value)) = set.next() else { return Ok(None) };
    let text = value.into_string();
    text.map(|text| Some((name, text)))
        .map_err(|_| Error::config(format!("the environment variable {name} is not Unicode")))
}

/// # Errors
/// The reason, without a part of the URL, which may have a password in it.
fn parse(url: &str) -> Result<Proxy, &'static str> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (login, address) =
        authority.rsplit_once('@').map_or((None, authority), |(login, at)| (Some(login), at));
    let (host, port) = parse_address(address)?;
    let proxy = match scheme.to_ascii_lowercase().as_str() {
        "http" => Proxy::http(host, port),
        "socks5" | "socks5h" => Proxy::socks5(host, port),
        _ => return Err("the scheme must be http, socks5 or socks5h"),
    };
    let Some(login) = login else { return Ok(proxy) };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    Ok(proxy.login(percent_decoded(user)?, percent_decoded(password)?))
}

fn parse_address(address: &str) -> Result<(&str, u16), &'static str> {
    let (host, rest) = match address.strip_prefix('[') {
        Some(address) => address.split_once(']').ok_or("the bracket of the host has no end")?,
        None => address.split_at(address.find(':').unwrap_or(address.len())),
    };
    if rest.is_empty() {
        return Ok((host, DEFAULT_PORT));
    }
    let port = rest.strip_prefix(':').and_then(|port| port.parse().ok());
    Ok((host, port.ok_or("the port is not a number up to 65535, or an IPv6 address is without brackets")?))
}

/// Decodes a text of RFC 3986, section 2.1.
fn percent_decoded(text: &str) -> Result<String, &'static str> {
    const BAD: &str = "user name and password must be percent-encoded UTF-8";
    let mut pieces = text.split('%');
    let mut octets = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2).ok_or(BAD)?;
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        octets.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_hex).ok_or(BAD)?);
        octets.extend(rest.as_bytes());
    }
    String::from_utf8(octets).map_err(|_| BAD)
}

/// Returns `true` if the list of `no_proxy` has the host.
fn is_exempt(host: &str, list: &str) -> bool {
    let mut entries = list.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
    let ip = host.parse::<IpAddr>();
    entries.any(|entry| {
        entry == "*" || ip.as_ref().map_or_else(|_| has_name(entry, host), |ip| has_address(entry, *ip))
    })
}

/// Returns `true` if the host is this name, or one below it.
fn has_name(entry: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let entry = entry.strip_prefix('.').unwrap_or(entry);
    let name = entry.strip_suffix('.').unwrap_or(entry).to_ascii_lowercase();
    host.strip_suffix(&name).is_some_and(|above| above.is_empty() || above.ends_with('.'))
}

/// Returns `true` if the address is this one, or in this network.
fn has_address(entry: &str, ip: IpAddr) -> bool {
    let (network, bits) =
        entry.split_once('/').map_or((entry, None), |(network, bits)| (network, Some(bits)));
    let network = network.trim_start_matches('[').trim_end_matches(']');
    let (Ok(network), bits) = (network.parse::<IpAddr>(), bits.map(str::parse::<u32>)) else { return false };
    match (network, ip, bits) {
        (_, _, None) => network == ip,
        (IpAddr::V4(network), IpAddr::V4(ip), Some(Ok(bits @ 0..=32))) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            network.to_bits() & mask == ip.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(ip), Some(Ok(bits @ 0..=128))) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            network.to_bits() & mask == ip.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #[cfg(unix)]
    use std::os::unix::ffi::OsStringExt as _;
    #[cfg(windows)]
    use std::os::windows::ffi::OsStringExt as _;

    use rstest::rstest;

    use super::*;
    use crate::ErrorKind;

    fn of(host: &str, variables: &[(&str, &str)]) -> Result<Option<Proxy>> {
        let value =
            |name: &str| variables.iter().find(|(its, _)| *its == name).map(|(_, value)| value.into());
        from_variables(host, value)
    }

    #[rstest]
    #[case::http("http://proxy.test:3128", Proxy::http("proxy.test", 3128))]
    #[case::no_scheme("proxy.test:3128", Proxy::http("proxy.test", 3128))]
    #[case::no_port("HTTP://proxy.test/", Proxy::http("proxy.test", 1080))]
    #[case::socks5("socks5://127.0.0.1:9050", Proxy::socks5("127.0.0.1", 9050))]
    #[case::socks5h("socks5h://proxy.test", Proxy::socks5("proxy.test", 1080))]
    #[case::ipv6("socks5h://[::1]:9050/", Proxy::socks5("::1", 9050))]
    #[case::ipv6_no_port("http://[::1]", Proxy::http("::1", 1080))]
    #[case::login("http://al%40ice:s%3A3%2fcr%25t@p:1", Proxy::http("p", 1).login("al@ice", "s:3/cr%t"))]
    #[case::user("http://alice@p:1", Proxy::http("p", 1).login("alice", ""))]
    #[case::at_sign("socks5://alice:a@b@p:1", Proxy::socks5("p", 1).login("alice", "a@b"))]
    fn the_url_of_a_variable_is_a_proxy(#[case] url: &str, #[case] proxy: Proxy) {
        assert_eq!(of("mail.test", &[("all_proxy", url)]).unwrap(), Some(proxy));
    }

    #[rstest]
    #[case::scheme("https://alice:hunter2@p:1")]
    #[case::socks4("socks4://alice:hunter2@p:1")]
    #[case::no_host("http://alice:hunter2@")]
    #[case::blank("http://alice:hunter2@a proxy:1")]
    #[case::port("http://alice:hunter2@p:65536")]
    #[case::port_name("http://alice:hunter2@p:http")]
    #[case::bare_ipv6("http://alice:hunter2@::1:1")]
    #[case::bracket("http://alice:hunter2@[::1")]
    #[case::percent("http://alice:hunter2%@p:1")]
    #[case::not_hex("http://alice:hunter2%+1@p:1")]
    #[case::not_utf8("http://alice:hunter2%ff@p:1")]
    #[case::control("http://alice:hunter2%0a@p:1")]
    #[case::no_password("socks5://hunter2@p:1")]
    #[case::slash("http://alice:hunter2/x@p:1")]
    fn a_bad_url_is_a_config_error_that_names_the_variable_and_shows_no_value(#[case] url: &str) {
        let error = of("mail.test", &[("HTTPS_PROXY", url)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
        assert!(error.to_string().contains("HTTPS_PROXY"), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }

    #[test]
    fn a_variable_beyond_unicode_is_a_config_error() {
        #[cfg(unix)]
        let beyond_unicode = || OsString::from_vec(vec![b'p', 0xff]);
        #[cfg(windows)]
        let beyond_unicode = || OsString::from_wide(&[u16::from(b'p'), 0xd800]);
        let value = |name: &str| (name == "ALL_PROXY").then(beyond_unicode);
        assert_eq!(from_variables("mail.test", value).unwrap_err().kind(), ErrorKind::Config);
    }

    #[test]
    fn the_first_variable_that_is_not_empty_counts() {
        let all =
            [("all_proxy", "a:1"), ("ALL_PROXY", "b:1"), ("https_proxy", "c:1"), ("HTTPS_PROXY", "d:1")];
        for (at, (_, first)) in all.iter().enumerate() {
            let mut set = all.to_vec();
            set[..at].iter_mut().for_each(|(_, value)| *value = "");
            let proxy = of("mail.test", &set).unwrap().unwrap();
            assert_eq!(proxy, parse(first).unwrap());
        }
        assert_eq!(of("mail.test", &[("http_proxy", "a:1"), ("HTTP_PROXY", "b:1")]).unwrap(), None);
    }

    #[rstest]
    #[case("mail.test", "mail.test", true)]
    #[case("imap.mail.test", "mail.test", true)]
    #[case("imap.mail.test", ".mail.test", true)]
    #[case("mail.test", ".mail.test", true)]
    #[case("mail.test.", "mail.test", true)]
    #[case("mail.test", "MAIL.Test.", true)]
    #[case("hotmail.test", "mail.test", false)]
    #[case("mail.test", "imap.mail.test", false)]
    #[case("mail.test", "a.test, b.test,mail.test", true)]
    #[case("mail.test", "a.test mail.test", true)]
    #[case("mail.test", "*", true)]
    #[case("mail.test", "*.test", false)]
    #[case("mail.test", " , ", false)]
    #[case("mail.test", ".", false)]
    #[case("localhost", "127.0.0.1", false)]
    #[case("10.1.2.3", "10.1.2.3", true)]
    #[case("10.1.2.3", "2.3", false)]
    #[case("10.1.2.3", "10.0.0.0/8", true)]
    #[case("11.1.2.3", "10.0.0.0/8", false)]
    #[case("11.1.2.3", "0.0.0.0/0", true)]
    #[case("10.1.2.3", "10.1.2.3/32", true)]
    #[case("10.1.2.3", "10.1.2.3/33", false)]
    #[case("10.1.2.3", "fd00::/8", false)]
    #[case("fd12::1", "fd00::/8", true)]
    #[case("fe80::1", "fd00::/8", false)]
    #[case("fe80::1", "::/0", true)]
    #[case("::1", "[::1]", true)]
    #[case("::1", "0:0::1", true)]
    fn hosts_of_no_proxy_are_told_as_by_curl(
        #[case] host: &str,
        #[case] list: &str,
        #[case] is_exempt: bool,
    ) {
        for name in NO_PROXY {
            let proxy = of(host, &[("ALL_PROXY", "p:1"), (name, list)]).unwrap();
            assert_eq!(proxy.is_none(), is_exempt);
        }
    }
}
