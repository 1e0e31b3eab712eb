//! iCloud Mail.

use super::super::table::{Announcement, Dialect, ImapDialect, Login, Search, Security, SmtpDialect};

/// iCloud Mail. It has SEARCHRES and UIDPLUS, and no MOVE.
///
/// | what | source |
/// | --- | --- |
/// | greeting, capabilities before and after login, texts | nextcloud/mail#3401, jstedfast/MailKit#970 |
/// | refused password | jstedfast/MailKit#295 |
/// | keywords | mscdex/node-imap#230 |
/// | the item RFC822 comes empty; pymail asks for BODY.PEEK[] | modern-email/defects#36 |
/// | SMTP: size and daily limits | support.apple.com/102198 |
pub const ICLOUD: Dialect = Dialect {
    name: "icloud",
    login: Login::Password,
    is_self_signed: false,
    imap: ImapDialect {
        security: Security::Tls,
        greeting: "OK [CAPABILITY XAPPLEPUSHSERVICE IMAP4 IMAP4rev1 SASL-IR AUTH=ATOKEN AUTH=PLAIN] \
                   (2109B29-d3afe4d5aba6) pv33p00im-iscream021.me.com",
        before_login: "XAPPLEPUSHSERVICE IMAP4 IMAP4rev1 SASL-IR AUTH=ATOKEN AUTH=PLAIN",
        after_login: "XAPPLEPUSHSERVICE IMAP4 IMAP4rev1 CONDSTORE ENABLE QRESYNC QUOTA NAMESPACE UIDPLUS CHILDREN BINARY \
                      UNSELECT SORT CATENATE URLAUTH LANGUAGE ESEARCH ESORT THREAD=ORDEREDSUBJECT THREAD=REFERENCES \
                      CONTEXT=SEARCH CONTEXT=SORT WITHIN SASL-IR SEARCHRES METADATA ID XMSEARCH X-SUN-SORT \
                      ANNOTATE-EXPERIMENT-1 X-UNAUTHENTICATE X-SUN-IMAP XUM1 MULTISEARCH IDLE LIST-STATUS",
        announcement: Announcement::OnRequest,
        logged_in: "OK user USER authenticated",
        wrong_password: "NO [AUTHENTICATIONFAILED] Authentication failed",
        wrong_token: "NO [AUTHENTICATIONFAILED] Authentication failed",
        completed: "NAME completed (took 0 ms)",
        unknown: "BAD Unknown command",
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
        greeting: "smtp.mail.me.com ESMTP iCloud SMTP - p00-icloudmta-asmtp-us-west-2a-60-percent-3",
        extensions: &[
            "PIPELINING",
            "SIZE 28319744",
            "ENHANCEDSTATUSCODES",
            "8BITMIME",
            "DSN",
            "SMTPUTF8",
            "AUTH ATOKEN PLAIN LOGIN",
        ],
        logged_in: "2.7.0 Authentication successful",
        wrong_password: "535 5.7.8 Error: authentication failed:",
        wrong_token: "535 5.7.8 Error: authentication failed:",
        accepted: "2.0.0 Ok: queued as 4F2A1180012",
        refusals: &[],
    },
};
