//! Why TLS failed, in words that say what to do about it.

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

use super::Cause;
use crate::error::{Error, ErrorKind};

/// The error for a TLS handshake that failed; the source keeps OpenSSL's own words.
pub(super) fn error(
    exception: &Bound<'_, PyBaseException>,
    class: &str,
    text: String,
    action: &str,
) -> Error {
    let code = exception.getattr("verify_code").and_then(|code| code.extract::<u32>()).ok();
    let reason = exception.getattr("reason").and_then(|reason| reason.extract::<String>()).ok();
    let why = code.and_then(of_certificate).or_else(|| reason.as_deref().and_then(of_handshake));
    let told = why.map_or_else(|| text.clone(), |why| format!("{why} [{text}]"));
    Error::new(ErrorKind::Tls, format!("{action}: {told}")).with_source(Cause { class: class.into(), text })
}

/// What OpenSSL's verification says (`X509_V_ERR_*`).
fn of_certificate(code: u32) -> Option<&'static str> {
    Some(match code {
        9 => "the server's certificate is not valid yet, or this machine's clock is wrong",
        10 => "the server's certificate has expired, or this machine's clock is wrong",
        18 => {
            "the server's certificate is self-signed: Server::add_root_certificate_pem trusts it, if it is the right one"
        }
        2 | 19 | 20 | 21 => {
            "the server's certificate is of an unknown authority, or comes without those between: Server::add_root_certificate_pem \
             trusts another authority"
        }
        23 => "the server's certificate is revoked",
        24 | 79 => "the server's certificate is signed by one that is not of an authority",
        26 => "the server's certificate is not for servers",
        62 | 64 => "the server's certificate is for another host",
        66..=68 => "the server's certificate or its authority's has a key or a signature that is too weak",
        _ => return None,
    })
}

/// What OpenSSL says of a handshake (`SSL_R_*`).
fn of_handshake(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "WRONG_VERSION_NUMBER"
        | "HTTP_REQUEST"
        | "UNKNOWN_PROTOCOL"
        | "PACKET_LENGTH_TOO_LONG"
        | "RECORD_LAYER_FAILURE" => {
            "no TLS is spoken at this port: Server::starttls is for those that begin without, or it is another port"
        }
        "UNSUPPORTED_PROTOCOL"
        | "TLSV1_ALERT_PROTOCOL_VERSION"
        | "NO_PROTOCOLS_AVAILABLE"
        | "VERSION_TOO_LOW"
        | "WRONG_SSL_VERSION" => "the server speaks no TLS of version 1.2 or later",
        "SSLV3_ALERT_HANDSHAKE_FAILURE"
        | "NO_SHARED_CIPHER"
        | "DH_KEY_TOO_SMALL"
        | "LEGACY_SIGALG_DISALLOWED_OR_UNSUPPORTED"
        | "UNSAFE_LEGACY_RENEGOTIATION_DISABLED" => "the server speaks TLS in ways only that are too weak",
        "TLSV13_ALERT_CERTIFICATE_REQUIRED" => {
            "the server asks for a certificate of the client, which has none"
        }
        _ => return None,
    })
}
