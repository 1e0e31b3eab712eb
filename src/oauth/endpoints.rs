//! The addresses of a provider's token server.

/// The scope of Gmail: all mail of an account, by IMAP and SMTP.
pub const GMAIL_SCOPE: &str = "https://mail.google.com/";

/// The scopes of Microsoft 365 and Outlook.com for mail of the user that signs in: IMAP, SMTP, and a refresh token.
pub const MICROSOFT_SCOPES: [&str; 3] = [
    "https://outlook.office.com/IMAP.AccessAsUser.All",
    "https://outlook.office.com/SMTP.Send",
    "offline_access",
];

/// The scope of Microsoft 365 for [client credentials](super::Client::client_credentials): all that the administrator
/// has given the app.
pub const MICROSOFT_APP_SCOPE: &str = "https://outlook.office365.com/.default";

/// The addresses of a token server: `https` ones, or `http` ones on a loopback host, which are not reached through
/// a proxy elsewhere.
///
/// ```
/// use pymail::oauth::Endpoints;
///
/// let company = Endpoints::new("https://login.example.org/token")
///     .device_authorization("https://login.example.org/device");
/// # let _ = company;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    pub(super) token: String,
    pub(super) device_authorization: Option<String>,
    pub(super) authorization: Option<String>,
}

impl Endpoints {
    /// Makes endpoints with this token endpoint (RFC 6749, section 3.2) and no others.
    pub fn new(token: impl Into<String>) -> Self {
        Self { token: token.into(), device_authorization: None, authorization: None }
    }

    /// Returns Google's endpoints. The scope of mail is [`GMAIL_SCOPE`].
    ///
    /// Google gives no device codes for mail: it answers `invalid_scope`. Its users sign in
    /// [by a browser](super::Client::sign_in_by_browser).
    #[must_use]
    pub fn google() -> Self {
        Self::new("https://oauth2.googleapis.com/token")
            .device_authorization("https://oauth2.googleapis.com/device/code")
            .authorization("https://accounts.google.com/o/oauth2/v2/auth?access_type=offline&prompt=consent")
    }

    /// Returns Microsoft's endpoints: of a tenant by its id or domain, or `common` (all accounts), `organizations`
    /// (Microsoft 365) or `consumers` (Outlook.com). Client credentials need a tenant. The scopes of mail are
    /// [`MICROSOFT_SCOPES`] for users, and [`MICROSOFT_APP_SCOPE`] for client credentials.
    #[must_use]
    pub fn microsoft(tenant: &str) -> Self {
        let url = |last: &str| format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/{last}");
        Self::new(url("token")).device_authorization(url("devicecode")).authorization(url("authorize"))
    }

    /// Sets the device authorization endpoint (RFC 8628, section 3.1).
    #[must_use]
    pub fn device_authorization(mut self, url: impl Into<String>) -> Self {
        self.device_authorization = Some(url.into());
        self
    }

    /// Sets the authorization endpoint (RFC 6749, section 3.1), at which a user signs in with a browser.
    #[must_use]
    pub fn authorization(mut self, url: impl Into<String>) -> Self {
        self.authorization = Some(url.into());
        self
    }
}
