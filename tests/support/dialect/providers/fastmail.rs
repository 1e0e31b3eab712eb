//! Fastmail.

use super::super::table::{Announcement, Dialect, ImapDialect, Login, Search, Security, SmtpDialect};

/// Fastmail (Cyrus IMAP behind a proxy).
///
/// | what | source |
/// | --- | --- |
/// | greeting `IMAP4 ready`, IMAP4rev2, CONDSTORE, QRESYNC | a public recording of six greetings, September 2026 |
/// | capabilities after login | cyrusimap/cyrus-imapd, `imap/imapd.c` (`base_capabilities`), which it runs |
/// | refused password, servers and ports | fastmail.help, "App passwords"; cypht-org/cypht#1558 |
pub const FASTMAIL: Dialect = Dialect {
    name: "fastmail",
    login: Login::Password,
    is_self_signed: false,
    imap: ImapDialect {
        security: Security::Tls,
        greeting: "OK IMAP4 ready",
        before_login: "IMAP4rev1 IMAP4rev2 LITERAL+ ID ENABLE CONDSTORE QRESYNC AUTH=PLAIN AUTH=LOGIN AUTH=OAUTHBEARER \
                       SASL-IR",
        after_login: "IMAP4rev1 IMAP4rev2 LITERAL+ ID ENABLE ACL ANNOTATE-EXPERIMENT-1 BINARY CATENATE CHILDREN \
                      CONDSTORE CREATE-SPECIAL-USE ESEARCH ESORT LIST-EXTENDED LIST-METADATA LIST-MYRIGHTS LIST-STATUS \
                      MAILBOX-REFERRALS METADATA MOVE MULTIAPPEND MULTISEARCH NAMESPACE NO_ATOMIC_RENAME OBJECTID \
                      PARTIAL PREVIEW QRESYNC QUOTA RIGHTS=kxten SAVEDATE SEARCH=FUZZY SEARCHRES SORT SORT=DISPLAY \
                      SPECIAL-USE STATUS=SIZE THREAD=ORDEREDSUBJECT THREAD=REFERENCES UIDPLUS UNSELECT WITHIN IDLE \
                      XCONVERSATIONS",
        announcement: Announcement::InCode,
        logged_in: "OK User logged in SESSIONID=<imap-proxy-1764333333-1-1>",
        wrong_password: "NO [AUTHENTICATIONFAILED] Incorrect username, password or access token",
        wrong_token: "NO [AUTHENTICATIONFAILED] Incorrect username, password or access token",
        completed: "Completed",
        unknown: "BAD Unrecognized command",
        search: Search::Substring,
        delimiter: "/",
        creates_within: "",
        has_keywords: true,
        tells_uidnext: true,
        needs_id: None,
        all_mail: None,
        message_limit: None,
        connections: None,
        session: None,
        refusals: &[],
    },
    smtp: SmtpDialect {
        greeting: "smtp.fastmail.com ESMTP ready",
        extensions: &[
            "PIPELINING",
            "SIZE 71000000",
            "ENHANCEDSTATUSCODES",
            "8BITMIME",
            "AUTH PLAIN LOGIN OAUTHBEARER",
        ],
        logged_in: "2.0.0 OK",
        wrong_password: "535 5.7.0 Incorrect username or password",
        wrong_token: "535 5.7.0 Incorrect username or password",
        accepted: "2.0.0 Ok: queued as 4F2A1180012",
        refusals: &[],
    },
};
