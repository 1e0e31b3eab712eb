//! Yahoo Mail.

use super::super::table::{Announcement, Dialect, ImapDialect, Login, Search, Security, SmtpDialect};

/// Yahoo Mail.
///
/// | what | source |
/// | --- | --- |
/// | greeting, refused password | Enough-Software/enough_mail#245 |
/// | capabilities before login | zone-eu/wildduck#943 |
/// | MESSAGELIMIT=1000 | senders.yahooinc.com/developer/documentation, RFC 9738 |
/// | `[SERVERBUG]` at SEARCH | mscdex/node-imap#737, jstedfast/MailKit#1055 |
/// | `[LIMIT]` | postalsys/imapflow#75 |
/// | SELECT: flags; refused token | jstedfast/MailKit#358, #221 |
pub const YAHOO: Dialect = Dialect {
    name: "yahoo",
    login: Login::Password,
    is_self_signed: false,
    imap: ImapDialect {
        security: Security::Tls,
        greeting: "OK Welcome! IMAP Server up and ready to accept your request",
        before_login: "IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=XOAUTH2 AUTH=OAUTHBEARER ID MOVE NAMESPACE XYMHIGHESTMODSEQ \
                       UIDPLUS LITERAL+ CHILDREN UNSELECT X-MSG-EXT OBJECTID IDLE ENABLE UIDONLY X-ALL-MAIL X-UIDONLY \
                       LIST-EXTENDED LIST-STATUS SPECIAL-USE PARTIAL APPENDLIMIT=41697280",
        after_login: "IMAP4rev1 SASL-IR ID MOVE NAMESPACE XYMHIGHESTMODSEQ UIDPLUS LITERAL+ CHILDREN UNSELECT X-MSG-EXT \
                      OBJECTID IDLE ENABLE UIDONLY X-ALL-MAIL X-UIDONLY LIST-EXTENDED LIST-STATUS SPECIAL-USE PARTIAL \
                      MESSAGELIMIT=1000 APPENDLIMIT=41697280",
        announcement: Announcement::OnRequest,
        logged_in: "OK AUTHENTICATE completed",
        wrong_password: "NO [AUTHENTICATIONFAILED] NAME Invalid credentials",
        wrong_token: "NO [AUTHENTICATIONFAILED] (#AUTH901) The provided OAuth2 access token is invalid",
        completed: "NAME completed",
        unknown: "BAD [CLIENTBUG] NAME Command arguments invalid",
        search: Search::Substring,
        delimiter: "/",
        creates_within: "",
        has_keywords: false,
        tells_uidnext: true,
        needs_id: None,
        all_mail: None,
        message_limit: Some(1_000),
        connections: Some((5, "NO [LIMIT] NAME Rate limit hit.")),
        session: None,
        refusals: &[
            ("server bug", "TAG NO [SERVERBUG] NAME Server error - Please try again later\r\n"),
            ("rate limit", "TAG NO [LIMIT] NAME Rate limit hit.\r\n"),
        ],
    },
    smtp: SmtpDialect {
        greeting: "smtp.mail.yahoo.com ESMTP ready",
        extensions: &["PIPELINING", "SIZE 41697280", "8BITMIME", "AUTH PLAIN LOGIN XOAUTH2 OAUTHBEARER"],
        logged_in: "2.0.0 OK",
        wrong_password: "535 5.7.0 (#AUTH005) Too many bad auth attempts.",
        wrong_token: "535 5.7.8 Authentication failed",
        accepted: "OK , completed",
        refusals: &[],
    },
};
