//! Access tokens from a token server, for [`Credentials::oauth2`](crate::Credentials::oauth2): by refresh token, client
//! credentials, device code or browser. Feature `oauth`.
//!
//! ```no_run
//! use pymail::oauth::{Client, Endpoints, MICROSOFT_SCOPES, RefreshToken};
//! use pymail::{Imap, Provider};
//!
//! # fn load() -> std::io::Result<String> { unimplemented!() }
//! # fn store(_: &RefreshToken) -> std::io::Result<()> { unimplemented!() }
//! # fn main() -> std::io::Result<()> {
//! let client = Client::new(Endpoints::microsoft("common"), "client id").scopes(MICROSOFT_SCOPES);
//! // `load` and `store` are the app's: a keyring, or a file that only its user can read.
//! let source = client.refresh_token(RefreshToken::new(load()?), store);
//! let imap = Imap::connect(Provider::microsoft365().imap(source.credentials("alice@example.org")))?;
//! # Ok(())
//! # }
//! ```
//!
//! A [`Client`] is the app as it is registered with its provider; this crate has no registration of its own.
//! [`Client::sign_in_by_device`] gets the first refresh token with a code that the user enters in any browser,
//! [`Client::sign_in_by_browser`] with a browser on this machine, which Gmail needs; an app may get it by its own
//! means. A [`TokenSource`] turns it into access tokens, one request at a time for all handles of the account.
//!
//! # A crash while a refresh token is rotated
//!
//! The app stores a new refresh token before the access token that came with it is used. Yet a process can die or exit
//! after the server has sent the token and before the app has stored it, or the response can be lost. The app then has
//! the old one only. Microsoft still takes it; Google does not rotate; others take it for some seconds or a minute
//! more. After that, a server that watches for reuse (RFC 9700, section 4.14.2) refuses the old token and revokes the
//! new one: `invalid_grant`, and the handle is in [`State::SignInNeeded`](crate::State::SignInNeeded). The user must
//! sign in again; no client can prevent that.
//!
//! # The HTTP client
//!
//! `ureq` sends the forms, and blocks as this crate does. TLS is by `rustls` with `ring`, whose build needs a C
//! compiler: certificates are verified by its rules, not by those of [`Server`](crate::Server). The addresses of a host
//! are tried one after another: on a network with a dead IPv6, a request to a server with many IPv6 addresses may end
//! by its timeout.
//!
//! # Secrets
//!
//! No error, event or `Debug` of this crate shows an access token, a refresh token, a device code, a client secret or
//! a proxy's password. The HTTP client beneath (`ureq`) writes whole requests to the crate `log` at the level TRACE,
//! with the target `ureq_proto`: an app that installs a logger for that level must leave this target out.

mod browser;
mod client;
mod device;
mod endpoints;
mod http;
mod response;
mod secret;
mod source;

pub use self::browser::BrowserSignIn;
pub use self::client::Client;
pub use self::device::DeviceSignIn;
pub use self::endpoints::{Endpoints, GMAIL_SCOPE, MICROSOFT_APP_SCOPE, MICROSOFT_SCOPES};
pub use self::secret::RefreshToken;
pub use self::source::TokenSource;
