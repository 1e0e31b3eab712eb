//! Yandex Mail.

use super::super::table::{Announcement, Dialect, ImapDialect, Login, Search, Security, SmtpDialect};

/// Yandex Mail. No ESEARCH, CONDSTORE or SEARCHRES.
///
/// | what | source |
/// | --- | --- |
/// | greeting, capabilities, refused password | Foundry376/Mailspring#904, #2111 |
/// | the untagged response at login | emersion/go-imap#561 |
/// | `[UNAVAILABLE]` at SEARCH | lasselindqvist/robotframework-imaplibrary2#2, afterlogic/webmail-lite-8#74 |
/// | the hierarchy delimiter, a vertical bar | Eden-PHP/Mail#63 |
pub const YANDEX: Dialect = Dialect {
    name: "yandex",
    login: Login::Password,
    is_self_signed: false,
    imap: ImapDialect {
        security: Security::Tls,
        greeting: "OK Yandex IMAP4rev1 at sas2-1e59ad28a72c.qloud-c.yandex.net:993 ready to talk with \
                   ::ffff:127.0.0.1:38922, 2026-Nov-28 08:34:38, cYXlpv732Cg1",
        before_login: "IMAP4rev1 CHILDREN UNSELECT LITERAL+ NAMESPACE XLIST UIDPLUS ENABLE ID AUTH=PLAIN AUTH=XOAUTH2 \
                       IDLE MOVE",
        after_login: "IMAP4rev1 CHILDREN UNSELECT LITERAL+ NAMESPACE XLIST UIDPLUS ENABLE ID IDLE MOVE",
        announcement: Announcement::Untagged,
        logged_in: "OK LOGIN Completed.",
        wrong_password: "NO [AUTHENTICATIONFAILED] LOGIN invalid credentials or IMAP is disabled \
                         sc=cYXlpv732Cg1_010534_2-1e59ad28a72c",
        wrong_token: "NO [AUTHENTICATIONFAILED] AUTHENTICATE invalid credentials or IMAP is disabled sc=cYXlpv732Cg1",
        completed: "NAME Completed.",
        unknown: "BAD [CLIENTBUG] NAME Wrong session state or command",
        search: Search::Substring,
        delimiter: "|",
        creates_within: "",
        has_keywords: false,
        tells_uidnext: true,
        needs_id: None,
        all_mail: None,
        message_limit: None,
        connections: None,
        session: None,
        refusals: &[("backend error", "TAG NO [UNAVAILABLE] NAME Backend error. sc=oUKM15T7x8c1_041330\r\n")],
    },
    smtp: SmtpDialect {
        greeting: "mail-nwsmtp-smtp-production-main-17.iva.yp-c.yandex.net (Want to use Yandex.Mail for your domain? \
                   Visit http://pdd.yandex.ru)",
        extensions: &[
            "8BITMIME",
            "PIPELINING",
            "SIZE 53477376",
            "AUTH LOGIN PLAIN XOAUTH2",
            "DSN",
            "ENHANCEDSTATUSCODES",
        ],
        logged_in: "2.7.0 Authentication successful.",
        wrong_password: "535 5.7.8 Error: authentication failed: Invalid user or password!",
        wrong_token: "535 5.7.8 Error: authentication failed: Invalid user or password!",
        accepted: "2.0.0 Ok: queued on mail-nwsmtp-smtp-production-main-17 1764333333-h8K0aBcDeFgH",
        refusals: &[],
    },
};
