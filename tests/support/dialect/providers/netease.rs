//! 163 and 126 (`NetEase`).

use super::super::table::{Announcement, Dialect, ImapDialect, Login, Search, Security, SmtpDialect};

/// 163 and 126 (`NetEase`, Coremail). No SELECT before ID; SEARCH finds nothing by a text; no MOVE, IDLE, NAMESPACE,
/// keywords and UIDNEXT.
///
/// | what | source |
/// | --- | --- |
/// | greeting, capabilities before login | OfflineIMAP/offlineimap3#71 |
/// | capabilities after login, ID, SELECT, texts | getmail6/getmail6#194, emersion/go-imap#404 |
/// | `Unsafe Login` before ID | pimalaya/himalaya#651, OfflineIMAP/offlineimap#696 |
/// | SEARCH finds nothing by Subject, sender or text | chengazhen/cursor-auto-free#269, jstedfast/MailKit#983 |
/// | no UIDNEXT, also by STATUS | modern-email/defects#43 and #15 |
/// | refused password | modern-email/defects#25 |
/// | SMTP: extensions and refusals | open-falcon/mail-provider#6, xuess/puppeteer-sign#2 |
pub const NETEASE: Dialect = Dialect {
    name: "netease",
    login: Login::Password,
    is_self_signed: false,
    imap: ImapDialect {
        security: Security::Tls,
        greeting: "OK Coremail System IMap Server Ready(163com[10774b260cc7a37d26d71b52404dcf5c])",
        before_login: "IMAP4rev1 XLIST SPECIAL-USE ID LITERAL+ STARTTLS APPENDLIMIT=71680000 XAPPLEPUSHSERVICE UIDPLUS \
                       X-CM-EXT-1 SASL-IR AUTH=XOAUTH2",
        after_login: "IMAP4rev1 XLIST SPECIAL-USE ID LITERAL+ STARTTLS APPENDLIMIT=71680000 XAPPLEPUSHSERVICE UIDPLUS \
                      X-CM-EXT-1 SASL-IR AUTH=XOAUTH2",
        announcement: Announcement::OnRequest,
        logged_in: "OK NAME completed",
        wrong_password: "NO LOGIN Login error or password error",
        wrong_token: "NO AUTHENTICATE Login error",
        completed: "NAME completed",
        unknown: "BAD Command error",
        search: Search::Nothing,
        delimiter: "/",
        creates_within: "",
        has_keywords: false,
        tells_uidnext: false,
        needs_id: Some("NO NAME Unsafe Login. Please contact kefu@188.com for help"),
        all_mail: None,
        message_limit: None,
        connections: None,
        session: None,
        refusals: &[],
    },
    smtp: SmtpDialect {
        greeting: "163.com Anti-spam GT for Coremail System (163com[20141201])",
        extensions: &[
            "mail",
            "PIPELINING",
            "AUTH LOGIN PLAIN XOAUTH2",
            "AUTH=LOGIN PLAIN XOAUTH2",
            "coremail 1Uxr2xKj7kG0xkI17xGrU7I0s8FY2U3Uj8Cz28x1UUUUU7Ic2I0Y2UrU",
            "SMTPUTF8",
            "8BITMIME",
        ],
        logged_in: "Authentication successful",
        wrong_password: "535 Error: authentication failed",
        wrong_token: "535 Error: authentication failed",
        accepted: "Mail OK queued as gzga-smtp-mta-g0-3,_____wD3d1234 1764333333",
        refusals: &[("no permission", "550 User has no permission")],
    },
};
