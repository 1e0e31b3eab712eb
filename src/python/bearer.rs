//! Logins by access token: the responses of OAUTHBEARER (RFC 7628) and of XOAUTH2, which is Google's and Microsoft's.

use base64_simd::STANDARD;

use super::py_session::Service;
use crate::config::{AccessToken, Server};
use crate::error::{Error, Result};

/// The response by one mechanism, and the answer to the reason of its refusal; both in base64.
pub(super) type Response = (&'static str, String, &'static str);

/// Returns the responses, in the order in which they are tried.
///
/// OAUTHBEARER first: by its refusals a wrong scope is told from a token that has ended, which XOAUTH2's `401` does not.
/// XOAUTH2 is the only one of Microsoft 365.
///
/// # Errors
/// `Config` for a token that is too long for servers of this protocol: Dovecot closes the connection without a word.
pub(super) fn responses(
    service: &Service,
    server: &Server,
    port: u16,
    (user, token): (&str, &AccessToken),
) -> Result<[Response; 2]> {
    let (secret, host) = (token.reveal(), server.host_without_dot());
    // RFC 5801, section 4.
    let name = user.replace('=', "=3D").replace(',', "=2C");
    let bearer = format!("n,a={name},\u{1}host={host}\u{1}port={port}\u{1}auth=Bearer {secret}\u{1}\u{1}");
    let xoauth2 = format!("user={user}\u{1}auth=Bearer {secret}\u{1}\u{1}");
    let responses = [("OAUTHBEARER", bearer, "AQ=="), ("XOAUTH2", xoauth2, "")];
    let responses = responses.map(|(name, text, end)| (name, STANDARD.encode_to_string(text), end));
    if responses.iter().any(|(_, response, _)| response.len() > service.longest_response) {
        let (length, name, limit) = (secret.len(), service.name, service.longest_response);
        let text = format!(
            "an access token of {length} characters is too long: {name} servers take {limit} octets in base64, with the \
             user name"
        );
        return Err(Error::config(text));
    }
    Ok(responses)
}

#[cfg(test)]
mod tests {
    use base64_simd::STANDARD;

    use super::*;
    use crate::python::imap::SERVICE;

    fn decoded(user: &str) -> [String; 2] {
        let server = Server::tls("imap.example.test");
        let made = responses(&SERVICE, &server, 993, (user, &AccessToken::new("ya29.t0ken"))).unwrap();
        made.map(|(_, response, _)| String::from_utf8(STANDARD.decode_to_vec(response).unwrap()).unwrap())
    }

    #[test]
    fn responses_are_those_of_rfc_7628_and_of_googles_protocol() {
        let [bearer, xoauth2] = decoded("alice@example.test");
        assert_eq!(
            bearer,
            "n,a=alice@example.test,\u{1}host=imap.example.test\u{1}port=993\u{1}auth=Bearer ya29.t0ken\u{1}\u{1}"
        );
        assert_eq!(xoauth2, "user=alice@example.test\u{1}auth=Bearer ya29.t0ken\u{1}\u{1}");
    }

    #[test]
    fn a_user_name_ends_no_field_of_the_header() {
        let [bearer, xoauth2] = decoded("a=b,c");
        assert!(bearer.starts_with("n,a=a=3Db=2Cc,\u{1}") && xoauth2.starts_with("user=a=b,c\u{1}"));
    }

    #[test]
    fn a_token_that_servers_do_not_take_is_a_config_error() {
        let length = |characters: usize| {
            let token = AccessToken::new("x".repeat(characters));
            responses(&SERVICE, &Server::tls("imap.example.test"), 993, ("alice", &token)).map(drop)
        };
        assert!(length(6_000).is_ok());
        let error = length(6_200).unwrap_err();
        assert!(error.kind() == crate::ErrorKind::Config && error.to_string().contains("6200"), "{error}");
        assert!(!error.to_string().contains("xxxx"), "{error}");
    }
}
