//! The facts about a server: greeting, TLS, capabilities and login mechanisms.

use std::time::SystemTime;

use serde::Serialize;

/// The facts that a server tells about itself, from [`Imap::probe`](crate::Imap::probe),
/// [`Imap::server_info`](crate::Imap::server_info) and [`Smtp::probe`](crate::Smtp::probe).
///
/// The texts are as the server sends them, at most 400 characters each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServerInfo {
    /// The text of the greeting.
    pub greeting: String,
    /// The connection's TLS; `None` without encryption.
    pub tls: Option<TlsInfo>,
    /// IMAP: the capabilities in upper case, such as `IDLE`; many servers announce most of them after the login only.
    /// SMTP: the extensions with their parameters, such as `SIZE 35882577`.
    pub capabilities: Vec<String>,
    /// The login mechanisms on offer, such as `PLAIN` and `XOAUTH2`. `LOGIN` also stands for IMAP's command of that
    /// name.
    pub mechanisms: Vec<String>,
    /// The name of the archive on this server, with the prefix of the personal namespace (RFC 2342). `None` from
    /// `probe`.
    pub archive: Option<String>,
    /// The hierarchy delimiter of mailbox names, such as `/`; empty if there is no hierarchy. `None` from `probe`.
    pub delimiter: Option<String>,
}

/// The facts of a connection's TLS; the certificate was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TlsInfo {
    /// The version, such as `TLSv1.3`.
    pub version: String,
    /// The cipher, by OpenSSL's name.
    pub cipher: String,
    /// The names and addresses that the certificate is for.
    pub names: Vec<String>,
    /// The common name of the certificate's issuer.
    pub issuer: String,
    /// The common names of the certificates that were verified, from the server's to the trusted one. Empty on Python
    /// 3.9.
    pub chain: Vec<String>,
    /// The start of the certificate's validity.
    pub not_before: SystemTime,
    /// The end of the certificate's validity.
    pub not_after: SystemTime,
}

/// Returns the login mechanisms that IMAP's capabilities name.
pub(crate) fn imap_mechanisms(capabilities: &[String]) -> Vec<String> {
    let has_login = !capabilities.iter().any(|name| name == "LOGINDISABLED");
    let login = has_login.then(|| "LOGIN".to_owned());
    let offered = capabilities.iter().filter_map(|name| name.strip_prefix("AUTH=")).map(str::to_owned);
    distinct(login.into_iter().chain(offered))
}

/// Returns the login mechanisms that SMTP's extensions name.
pub(crate) fn smtp_mechanisms(extensions: &[String]) -> Vec<String> {
    let auth = extensions.iter().filter_map(|extension| extension.strip_prefix("AUTH "));
    distinct(auth.flat_map(str::split_whitespace).map(str::to_owned))
}

fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut all = Vec::new();
    for name in names {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn mechanisms_are_those_on_offer() {
        let of = |texts: &[&str]| imap_mechanisms(&owned(texts)).join(" ");
        assert_eq!(of(&["IMAP4REV1", "AUTH=PLAIN", "AUTH=LOGIN"]), "LOGIN PLAIN");
        assert_eq!(of(&["LOGINDISABLED", "AUTH=XOAUTH2"]), "XOAUTH2");
        assert_eq!(of(&["LOGINDISABLED"]), "");
        let of = |texts: &[&str]| smtp_mechanisms(&owned(texts)).join(" ");
        assert_eq!(of(&["SIZE 5", "AUTH PLAIN LOGIN PLAIN"]), "PLAIN LOGIN");
        assert_eq!(of(&["SIZE 5"]), "");
    }
}
