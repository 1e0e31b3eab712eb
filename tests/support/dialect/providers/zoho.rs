//! Zoho Mail.

use super::super::table::{Announcement, Dialect, ImapDialect, Login, Search, Security, SmtpDialect};

/// Zoho Mail. CONDSTORE and ESEARCH, no SEARCHRES; SMTP without PIPELINING.
///
/// | what | source |
/// | --- | --- |
/// | greeting, capabilities, the untagged response at login | zetacomponents/Mail#97 |
/// | SELECT: flags, with keywords | chatmail/core#1834 |
/// | SMTP | jeremydumais/CPP-SMTPClient-library#28 |
pub const ZOHO: Dialect = Dialect {
    name: "zoho",
    login: Login::Password,
    is_self_signed: false,
    imap: ImapDialect {
        security: Security::Tls,
        greeting: "OK svwall.zoho.com IMAP4 Server (Zoho Mail IMAP4rev1 Server version 1.0)",
        before_login: "IMAP4rev1 UNSELECT CHILDREN XLIST NAMESPACE IDLE MOVE ID AUTH=PLAIN SASL-IR UIDPLUS ESEARCH \
                       LIST-EXTENDED LIST-STATUS WITHIN LITERAL- ACL CONDSTORE",
        after_login: "IMAP4rev1 UNSELECT CHILDREN XLIST NAMESPACE IDLE MOVE ID AUTH=PLAIN SASL-IR UIDPLUS ESEARCH \
                      LIST-EXTENDED LIST-STATUS WITHIN LITERAL- ACL CONDSTORE",
        announcement: Announcement::Untagged,
        logged_in: "OK Success",
        wrong_password: "NO [AUTHENTICATIONFAILED] Invalid credentials(Failure)",
        wrong_token: "NO [AUTHENTICATIONFAILED] Invalid credentials(Failure)",
        completed: "Success",
        unknown: "BAD Command not found",
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
        greeting: "mx.zohomail.com SMTP Server ready November 28, 2026 6:38:02 AM PST",
        extensions: &["AUTH LOGIN PLAIN", "SIZE 53477376"],
        logged_in: "Authentication Successful",
        wrong_password: "535 Authentication Failed",
        wrong_token: "535 Authentication Failed",
        accepted: "Message received",
        refusals: &[],
    },
};
