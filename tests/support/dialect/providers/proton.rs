//! Proton Mail Bridge.

use super::super::table::{Announcement, Dialect, ImapDialect, Login, Search, Security, SmtpDialect};

/// Proton Mail Bridge: a server on the user's own machine, on ports 1143 and 1025 of 127.0.0.1, with STARTTLS and a
/// certificate that it has signed itself. No NAMESPACE, ESEARCH, CONDSTORE and keywords.
///
/// | what | source |
/// | --- | --- |
/// | greeting, capabilities, SELECT, texts | the README and `internal/session` of ProtonMail/gluon |
/// | mailboxes only within Folders (and Labels, which have none within) | proton-bridge, `imapservice/connector.go` |
/// | the refused password of SMTP, as transient | proton-bridge, `smtp_backend.go`; emersion/go-smtp, `conn.go` |
/// | STARTTLS, ports, the certificate | ProtonMail/proton-bridge, `internal/certs`; wslyvh/paperweight#32 |
/// | SMTP | ProtonMail/proton-bridge, `internal/services/smtp` (emersion/go-smtp) |
pub const PROTON: Dialect = Dialect {
    name: "proton",
    login: Login::Password,
    is_self_signed: true,
    imap: ImapDialect {
        security: Security::StartTls,
        greeting: "OK [CAPABILITY ID IDLE IMAP4rev1 MOVE STARTTLS UIDPLUS UNSELECT] Proton Mail Bridge 03.08.01 - gluon \
                   session ID 3",
        before_login: "ID IDLE IMAP4rev1 MOVE STARTTLS UIDPLUS UNSELECT",
        after_login: "ID IDLE IMAP4rev1 MOVE UIDPLUS UNSELECT",
        announcement: Announcement::InCode,
        logged_in: "OK Logged in",
        wrong_password: "NO invalid username or password",
        wrong_token: "NO invalid username or password",
        completed: "NAME",
        unknown: "BAD unknown command",
        search: Search::Substring,
        delimiter: "/",
        creates_within: "Folders/",
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
        greeting: "127.0.0.1 ESMTP Service Ready",
        extensions: &[
            "PIPELINING",
            "8BITMIME",
            "ENHANCEDSTATUSCODES",
            "CHUNKING",
            "AUTH PLAIN LOGIN",
            "SIZE 26214400",
        ],
        logged_in: "2.0.0 Authentication succeeded",
        wrong_password: "454 4.7.0 invalid username or password",
        wrong_token: "454 4.7.0 invalid username or password",
        accepted: "2.0.0 OK: queued",
        refusals: &[],
    },
};
