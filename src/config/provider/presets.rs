//! The table of providers. Each preset names the sources of its figures.

use super::{PasswordKind, Provider, ProviderLimits, SearchKind};
use crate::config::Server;

/// The bytes of a provider's MB: the smaller reading, since some count 1,048,576.
const MB: u64 = 1_000_000;

/// Makes a server with implicit TLS.
fn tls(host: &str, port: u16) -> Server {
    Server::tls(host).port(port)
}

/// Makes a server with STARTTLS.
fn starttls(host: &str, port: u16) -> Server {
    Server::starttls(host).port(port)
}

impl Provider {
    /// Makes a provider that takes app passwords, without known limits.
    fn new(name: &'static str, imap_server: Server, smtp_server: Server) -> Self {
        Self {
            name,
            domains: &[],
            imap_server,
            smtp_server,
            password: Some(PasswordKind::App),
            oauth2_scopes: &[],
            requires_id: false,
            search: SearchKind::Substrings,
            limits: ProviderLimits::default(),
        }
    }

    /// Returns all presets.
    #[must_use]
    pub fn all() -> Vec<Self> {
        vec![
            Self::gmail(),
            Self::google_workspace(),
            Self::microsoft365(),
            Self::outlook(),
            Self::icloud(),
            Self::yahoo(),
            Self::qq(),
            Self::netease163(),
            Self::netease126(),
            Self::gmx(),
            Self::gmx_com(),
            Self::yandex(),
            Self::zoho(),
            Self::zoho_eu(),
            Self::proton_bridge(),
            Self::fastmail(),
        ]
    }

    /// Returns the settings of Gmail: app passwords with 2-step verification, or OAuth 2.0.
    ///
    /// Sources: developers.google.com/workspace/gmail/imap (servers, scope); support.google.com/mail/answer/7126229
    /// (IMAP connections and bytes), /mail/answer/22839 (messages a day; 500 recipients, in an earlier version 100 for
    /// mail programs), /mail/answer/6584 (size).
    #[must_use]
    pub fn gmail() -> Self {
        Self {
            domains: &["gmail.com", "googlemail.com"],
            oauth2_scopes: &["https://mail.google.com/"],
            search: SearchKind::Words,
            limits: ProviderLimits {
                imap_connections: Some(15),
                imap_download_per_day: Some(2_500 * MB),
                imap_upload_per_day: Some(500 * MB),
                messages_per_day: Some(500),
                recipients_per_message: Some(100),
                message_bytes: Some(25 * MB),
                ..ProviderLimits::default()
            },
            ..Self::new("gmail", tls("imap.gmail.com", 993), tls("smtp.gmail.com", 465))
        }
    }

    /// Returns the settings of Gmail for Google Workspace: as [`gmail`](Self::gmail), with higher limits.
    ///
    /// Sources: those of Gmail; support.google.com/a/answer/166852 (sending), /a/answer/1071518 (bytes).
    #[must_use]
    pub fn google_workspace() -> Self {
        let gmail = Self::gmail();
        let limits = ProviderLimits {
            messages_per_day: Some(2_000),
            recipients_per_day: Some(10_000),
            ..gmail.limits
        };
        Self { name: "google-workspace", domains: &[], limits, ..gmail }
    }

    /// Returns the settings of Microsoft 365, for work and school: OAuth 2.0.
    ///
    /// SMTP still takes passwords where the tenant's administrator allows it, by default until the end of December
    /// 2026; IMAP takes none.
    ///
    /// Sources: learn.microsoft.com, "Authenticate an IMAP, POP or SMTP connection using OAuth" (scopes), "Exchange
    /// Online limits" (recipients a day, messages a minute), and `Set-Mailbox` (recipients of a message: the default,
    /// which an administrator can raise to 1,000; the size depends on the subscription); techcommunity.microsoft.com,
    /// "Changes coming to the SMTP Authenticated Submission client protocol" (connections).
    #[must_use]
    pub fn microsoft365() -> Self {
        Self {
            password: None,
            oauth2_scopes: &[
                "https://outlook.office.com/IMAP.AccessAsUser.All",
                "https://outlook.office.com/SMTP.Send",
                "offline_access",
            ],
            search: SearchKind::Unreliable,
            limits: ProviderLimits {
                smtp_connections: Some(3),
                messages_per_minute: Some(30),
                recipients_per_day: Some(10_000),
                recipients_per_message: Some(500),
                ..ProviderLimits::default()
            },
            ..Self::new(
                "microsoft365",
                tls("outlook.office365.com", 993),
                starttls("smtp.office365.com", 587),
            )
        }
    }

    /// Returns the settings of Outlook.com, the mail of personal Microsoft accounts: OAuth 2.0 only.
    ///
    /// Sources: support.microsoft.com, "Sending limits in Outlook.com" (those of subscribers) and "POP, IMAP, and SMTP
    /// settings for Outlook.com".
    #[must_use]
    pub fn outlook() -> Self {
        Self {
            name: "outlook",
            domains: &["outlook.com", "hotmail.com", "live.com", "msn.com"],
            smtp_server: starttls("smtp-mail.outlook.com", 587),
            limits: ProviderLimits {
                recipients_per_day: Some(5_000),
                recipients_per_message: Some(500),
                message_bytes: Some(25 * MB),
                ..ProviderLimits::default()
            },
            ..Self::microsoft365()
        }
    }

    /// Returns the settings of iCloud Mail: app passwords only.
    ///
    /// Sources: support.apple.com/102525 (servers), /102198 (limits).
    #[must_use]
    pub fn icloud() -> Self {
        Self {
            domains: &["icloud.com", "me.com", "mac.com"],
            limits: ProviderLimits {
                messages_per_day: Some(1_000),
                recipients_per_day: Some(1_000),
                recipients_per_message: Some(500),
                message_bytes: Some(20 * MB),
                ..ProviderLimits::default()
            },
            ..Self::new("icloud", tls("imap.mail.me.com", 993), starttls("smtp.mail.me.com", 587))
        }
    }

    /// Returns the settings of Yahoo Mail: app passwords; OAuth 2.0 for apps that Yahoo has approved.
    ///
    /// Sources: autoconfig.thunderbird.net/v1.1/yahoo.com (servers, scope). Yahoo publishes no limits for IMAP and
    /// SMTP.
    #[must_use]
    pub fn yahoo() -> Self {
        Self {
            domains: &["yahoo.com", "ymail.com", "rocketmail.com", "yahoo.co.uk", "yahoo.de", "yahoo.fr"],
            oauth2_scopes: &["mail-w"],
            search: SearchKind::Unreliable,
            ..Self::new("yahoo", tls("imap.mail.yahoo.com", 993), tls("smtp.mail.yahoo.com", 465))
        }
    }

    /// Returns the settings of QQ Mail: authorization codes only.
    ///
    /// Sources: autoconfig.thunderbird.net/v1.1/qq.com (servers); github.com/mscdex/node-imap/issues/686 (SEARCH).
    #[must_use]
    pub fn qq() -> Self {
        Self {
            domains: &["qq.com", "foxmail.com"],
            search: SearchKind::Unreliable,
            ..Self::new("qq", tls("imap.qq.com", 993), tls("smtp.qq.com", 465))
        }
    }

    /// Returns the settings of 163.com: authorization codes only, and ID before SELECT.
    ///
    /// Sources: autoconfig.thunderbird.net/v1.1/163.com (servers); github.com/mjs/imapclient/issues/552 (SEARCH).
    #[must_use]
    pub fn netease163() -> Self {
        Self {
            domains: &["163.com"],
            requires_id: true,
            search: SearchKind::Unreliable,
            ..Self::new("netease163", tls("imap.163.com", 993), tls("smtp.163.com", 465))
        }
    }

    /// Returns the settings of 126.com: as [`netease163`](Self::netease163), on other servers.
    #[must_use]
    pub fn netease126() -> Self {
        Self {
            name: "netease126",
            domains: &["126.com"],
            imap_server: tls("imap.126.com", 993),
            smtp_server: tls("smtp.126.com", 465),
            ..Self::netease163()
        }
    }

    /// Returns the settings of GMX in Germany, Austria and Switzerland: the password of the account, or an app password
    /// if the account has 2-step verification.
    ///
    /// Sources: autoconfig.thunderbird.net/v1.1/gmx.net (servers); hilfe.gmx.net/sicherheit/2fa (passwords).
    #[must_use]
    pub fn gmx() -> Self {
        Self {
            domains: &["gmx.net", "gmx.de", "gmx.at", "gmx.ch"],
            password: Some(PasswordKind::Account),
            ..Self::new("gmx", tls("imap.gmx.net", 993), tls("mail.gmx.net", 465))
        }
    }

    /// Returns the settings of GMX in other countries: as [`gmx`](Self::gmx), on other servers.
    #[must_use]
    pub fn gmx_com() -> Self {
        Self {
            name: "gmx-com",
            domains: &["gmx.com", "gmx.us", "gmx.co.uk", "gmx.fr", "gmx.es", "gmx.it"],
            imap_server: tls("imap.gmx.com", 993),
            smtp_server: tls("mail.gmx.com", 465),
            ..Self::gmx()
        }
    }

    /// Returns the settings of Yandex Mail: app passwords or OAuth 2.0.
    ///
    /// Sources: tech.yandex.com/oauth/doc/imap (servers), autoconfig.thunderbird.net/v1.1/yandex.ru (scopes);
    /// yandex.com/support/mail, "Sending a large number of messages" (limits).
    #[must_use]
    pub fn yandex() -> Self {
        Self {
            domains: &["yandex.com", "yandex.ru", "ya.ru", "yandex.by", "yandex.kz"],
            oauth2_scopes: &["mail:imap_full", "mail:smtp"],
            limits: ProviderLimits {
                messages_per_day: Some(500),
                recipients_per_day: Some(500),
                recipients_per_message: Some(35),
                ..ProviderLimits::default()
            },
            ..Self::new("yandex", tls("imap.yandex.com", 993), tls("smtp.yandex.com", 465))
        }
    }

    /// Returns the settings of Zoho Mail in the US, for addresses of Zoho's own domains: the password of the account,
    /// or an app password if the account has 2-step verification.
    ///
    /// Organisations with a domain of their own have other servers, `imappro.zoho.com` and `smtppro.zoho.com`: set
    /// [`imap_server`](Self::imap_server) and [`smtp_server`](Self::smtp_server).
    ///
    /// Sources: zoho.com/mail/help/imap-access.html (servers), /mail/help/adminconsole/rates-and-limits.html (limits;
    /// the highest: 50 to 500 messages an hour, by reputation).
    #[must_use]
    pub fn zoho() -> Self {
        Self {
            domains: &["zoho.com", "zohomail.com"],
            password: Some(PasswordKind::Account),
            limits: ProviderLimits {
                messages_per_hour: Some(500),
                recipients_per_message: Some(150),
                ..ProviderLimits::default()
            },
            ..Self::new("zoho", tls("imap.zoho.com", 993), tls("smtp.zoho.com", 465))
        }
    }

    /// Returns the settings of Zoho Mail in the EU: as [`zoho`](Self::zoho), on other servers.
    #[must_use]
    pub fn zoho_eu() -> Self {
        Self {
            name: "zoho-eu",
            domains: &["zoho.eu", "zohomail.eu"],
            imap_server: tls("imap.zoho.eu", 993),
            smtp_server: tls("smtp.zoho.eu", 465),
            ..Self::zoho()
        }
    }

    /// Returns the settings of Proton Mail Bridge, an app that runs on the user's own machine.
    ///
    /// Its certificate is its own: export it from the Bridge's settings, and trust it. Where the ports are taken, the
    /// Bridge chooses others.
    ///
    /// Sources: github.com/ProtonMail/proton-bridge (ports, certificate); proton.me/support/email-sending-limits.
    ///
    /// ```no_run
    /// # use pymail::{Credentials, Provider};
    /// let mut bridge = Provider::proton_bridge();
    /// let pem = std::fs::read_to_string("cert.pem").expect("exported from the Bridge");
    /// bridge.imap_server = bridge.imap_server.add_root_certificate_pem(&pem);
    /// bridge.smtp_server = bridge.smtp_server.add_root_certificate_pem(&pem);
    /// let config = bridge.imap(Credentials::new("alice@proton.me", "the Bridge's password"));
    /// # let _ = config;
    /// ```
    #[must_use]
    pub fn proton_bridge() -> Self {
        Self {
            domains: &["proton.me", "protonmail.com", "pm.me"],
            limits: ProviderLimits { recipients_per_message: Some(100), ..ProviderLimits::default() },
            ..Self::new("proton-bridge", starttls("127.0.0.1", 1143), starttls("127.0.0.1", 1025))
        }
    }

    /// Returns the settings of Fastmail: app passwords; OAuth 2.0 for apps that Fastmail has registered.
    ///
    /// Sources: fastmail.com/help/technical/servernamesandports.html (servers, passwords); Thunderbird's
    /// `OAuth2Providers.sys.mjs` (scopes).
    #[must_use]
    pub fn fastmail() -> Self {
        Self {
            domains: &["fastmail.com", "fastmail.fm"],
            oauth2_scopes: &[
                "https://www.fastmail.com/dev/protocol-imap",
                "https://www.fastmail.com/dev/protocol-smtp",
            ],
            ..Self::new("fastmail", tls("imap.fastmail.com", 993), tls("smtp.fastmail.com", 465))
        }
    }
}
