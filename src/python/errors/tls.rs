//! Explains TLS errors in words that say what to do.
//!
//! By OpenSSL's numbers and reasons, not by its texts.

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

/// Returns the explanation of a TLS error with its own text in brackets; the text alone for an unknown error.
pub(super) fn explain(exception: &Bound<'_, PyBaseException>, text: &str) -> String {
    let code = exception.getattr("verify_code").and_then(|code| code.extract::<u32>()).ok();
    let reason = exception.getattr("reason").and_then(|reason| reason.extract::<String>()).ok();
    let explanation = code.and_then(certificate).or_else(|| reason.as_deref().and_then(handshake));
    let explanation =
        explanation.or_else(|| is_about_client_certificate(text).then_some(NEEDS_CLIENT_CERTIFICATE));
    explanation.map_or_else(|| text.to_owned(), |explanation| format!("{explanation} [{text}]"))
}

const NEEDS_CLIENT_CERTIFICATE: &str =
    "the server requires a client certificate that it trusts: Server::client_certificate_pem";

/// Returns `true` for the words by which Postfix refuses a client after the handshake, in place of an alert: `421 4.7.1
/// localhost Error: No client certificate presented`, or `Client certificate not trusted`.
pub(super) fn is_about_client_certificate(text: &str) -> bool {
    text.to_ascii_lowercase().contains("client certificate")
}

/// Explains a certificate that OpenSSL does not accept (`X509_V_ERR_*`).
///
/// The numbers are those of `openssl/x509_vfy.h`; Python has them as `verify_code`.
fn certificate(code: u32) -> Option<&'static str> {
    Some(match code {
        9 => "the server's certificate is not valid yet, or this machine's clock is wrong",
        10 => "the server's certificate has expired, or this machine's clock is wrong",
        18 => {
            "the server's certificate is self-signed: Server::add_root_certificate_pem trusts it, if it is the right one"
        }
        2 | 19 | 20 | 21 => {
            "the server's certificate is signed by an unknown authority, or intermediate certificates are missing: \
             Server::add_root_certificate_pem trusts another authority"
        }
        23 => "the server's certificate is revoked",
        24 | 79 => "the server's certificate is signed by a certificate that is not an authority's",
        26 => "the server's certificate is not meant for servers",
        62 | 64 => "the server's certificate is for another host",
        66..=68 => "the key or a signature of the server's certificate, or of its authority's, is too weak",
        _ => return None,
    })
}

/// Explains a failed handshake (`SSL_R_*`).
///
/// Python has them as `reason`. One cause has several, by the version of OpenSSL.
fn handshake(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "WRONG_VERSION_NUMBER"
        | "HTTP_REQUEST"
        | "UNKNOWN_PROTOCOL"
        | "PACKET_LENGTH_TOO_LONG"
        | "RECORD_LAYER_FAILURE" => {
            "the server does not start with TLS on this port: use Server::starttls, or another port"
        }
        "UNSUPPORTED_PROTOCOL"
        | "TLSV1_ALERT_PROTOCOL_VERSION"
        | "NO_PROTOCOLS_AVAILABLE"
        | "VERSION_TOO_LOW"
        | "WRONG_SSL_VERSION" => "the server does not support TLS 1.2 or later",
        "SSLV3_ALERT_HANDSHAKE_FAILURE"
        | "NO_SHARED_CIPHER"
        | "DH_KEY_TOO_SMALL"
        | "LEGACY_SIGALG_DISALLOWED_OR_UNSUPPORTED"
        | "UNSAFE_LEGACY_RENEGOTIATION_DISABLED" => {
            "the server supports no cipher, key or signature that is strong enough, or requires a client certificate \
             (Server::client_certificate_pem)"
        }
        "TLSV13_ALERT_CERTIFICATE_REQUIRED" => {
            "the server requires a client certificate: Server::client_certificate_pem"
        }
        "TLSV1_ALERT_UNKNOWN_CA" => "the server does not know the authority of the client certificate",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED" => "for the server, the client certificate has expired",
        "SSLV3_ALERT_CERTIFICATE_REVOKED" => "for the server, the client certificate is revoked",
        "SSLV3_ALERT_BAD_CERTIFICATE"
        | "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE"
        | "SSLV3_ALERT_CERTIFICATE_UNKNOWN"
        | "TLSV1_ALERT_ACCESS_DENIED"
        | "TLSV1_ALERT_DECRYPT_ERROR" => "the server does not accept the client certificate",
        _ => return None,
    })
}
