//! GMX and WEB.DE.

use super::super::table::{Announcement, Dialect, ImapDialect, Login, Search, Security, SmtpDialect};

/// GMX and WEB.DE. UIDPLUS and MOVE, LITERAL- in place of LITERAL+, no ESEARCH, CONDSTORE or SEARCHRES.
///
/// | what | source |
/// | --- | --- |
/// | greeting, capabilities, the untagged response at login | Enough-Software/enough_mail, `imap_client_test.dart` |
/// | the same of 1&1's servers, refused logins | umanamente/n8n-nodes-imap#141 |
/// | SMTP | hilfe.gmx.net, "IMAP und SMTP" |
pub const GMX: Dialect = Dialect {
    name: "gmx",
    login: Login::Password,
    is_self_signed: false,
    imap: ImapDialect {
        security: Security::Tls,
        greeting: "OK [CAPABILITY IMAP4rev1 CHILDREN ENABLE ID IDLE LIST-EXTENDED LIST-STATUS LITERAL- MOVE NAMESPACE \
                   QUOTA SASL-IR SORT SPECIAL-USE THREAD=ORDEREDSUBJECT UIDPLUS UNSELECT WITHIN AUTH=LOGIN AUTH=PLAIN] \
                   IMAP server ready H migmx112 15.6 IMAP-1My4Ij-1k2Oa32EiF-00yVN8",
        before_login: "IMAP4rev1 CHILDREN ENABLE ID IDLE LIST-EXTENDED LIST-STATUS LITERAL- MOVE NAMESPACE QUOTA \
                       SASL-IR SORT SPECIAL-USE THREAD=ORDEREDSUBJECT UIDPLUS UNSELECT WITHIN AUTH=LOGIN AUTH=PLAIN",
        after_login: "IMAP4rev1 CHILDREN ENABLE ID IDLE LIST-EXTENDED LIST-STATUS LITERAL- MOVE NAMESPACE QUOTA \
                      SASL-IR SORT SPECIAL-USE THREAD=ORDEREDSUBJECT UIDPLUS UNSELECT WITHIN AUTH=LOGIN AUTH=PLAIN",
        announcement: Announcement::Untagged,
        logged_in: "OK LOGIN completed",
        wrong_password: "NO authentication failed",
        wrong_token: "NO authentication failed",
        completed: "NAME completed",
        unknown: "BAD expected command",
        search: Search::Substring,
        delimiter: "/",
        creates_within: "",
        has_keywords: false,
        tells_uidnext: true,
        needs_id: None,
        all_mail: None,
        message_limit: None,
        connections: None,
        session: None,
        refusals: &[],
    },
    smtp: SmtpDialect {
        greeting: "gmx.net (mrgmx004) Nemesis ESMTP Service ready",
        extensions: &["8BITMIME", "SIZE 69920427", "AUTH LOGIN PLAIN"],
        logged_in: "Authentication succeeded",
        wrong_password: "535 Authentication credentials invalid",
        wrong_token: "535 Authentication credentials invalid",
        accepted: "Requested mail action okay, completed: id=1MoO2E-1kzmXb3kFE-00ol6x",
        refusals: &[],
    },
};
