//! Microsoft 365.

use super::super::table::{Announcement, Dialect, ImapDialect, Login, Search, Security, SmtpDialect};

/// Microsoft 365 (Exchange Online).
///
/// | what | source |
/// | --- | --- |
/// | greeting, no password login, capabilities before and after login | jstedfast/MailKit#2016, imapsync/imapsync#239 |
/// | a refused token: NO at once, without a reason | jstedfast/MailKit#849 |
/// | SELECT: flags, no keywords | RainLoop/rainloop-webmail#686 |
/// | throttling: NO or BAD, at times a BYE behind it | imapsync/imapsync#198, simonrob/email-oauth2-proxy#191 |
/// | `authenticated but not connected` | jstedfast/MailKit#1494 |
/// | the goodbye of an ended token | learn.microsoft.com, "Authenticate an IMAP, POP or SMTP connection" |
/// | SMTP: greeting and extensions | simonrob/email-oauth2-proxy#93, #232 |
/// | 432 4.3.2, 554 5.2.0 | sabuhish/fastapi-mail#75, MicrosoftDocs/OfficeDocs-Support#1150 |
/// | 535 5.7.139; 550 5.7.30 | simonrob/email-oauth2-proxy#193; Exchange team's blog on the end of Basic auth |
pub const MICROSOFT: Dialect = Dialect {
    name: "microsoft",
    login: Login::Token,
    is_self_signed: false,
    imap: ImapDialect {
        security: Security::Tls,
        greeting: "OK Microsoft Exchange IMAP4 service ready. 1f0c9a7e (tcpproxy/15.21.0406.000 BACKENDAUTHENTICATE) \
                   [RgBSADIAUAAyADgAMQBDAEEAMAAxADIAMgA=]",
        before_login: "IMAP4 IMAP4rev1 AUTH=XOAUTH2 LOGINDISABLED SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE \
                       NAMESPACE LITERAL+",
        after_login: "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CLIENTACCESSRULES \
                      CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE CHILDREN IDLE NAMESPACE LITERAL+",
        announcement: Announcement::OnRequest,
        logged_in: "OK AUTHENTICATE completed.",
        wrong_password: "NO AUTHENTICATE failed.",
        wrong_token: "NO AUTHENTICATE failed.",
        completed: "NAME completed.",
        unknown: "BAD Command Error. 12",
        search: Search::Substring,
        delimiter: "/",
        creates_within: "",
        has_keywords: false,
        tells_uidnext: true,
        needs_id: None,
        all_mail: None,
        message_limit: None,
        connections: Some((20, "NO LOGIN failed.")),
        session: None,
        refusals: &[
            ("throttled", "TAG BAD Request is throttled. Suggested Backoff Time: 40000 milliseconds\r\n"),
            (
                "throttled and closed",
                "TAG BAD Request is throttled. Suggested Backoff Time: 40000 milliseconds\r\n\
                 * BYE Connection closed. 14\r\n",
            ),
            ("not connected", "TAG BAD User is authenticated but not connected.\r\n"),
            ("token ended", "* BYE Session invalidated - AccessTokenExpired\r\n"),
            ("unavailable", "TAG NO Server Unavailable. 15\r\n"),
        ],
    },
    smtp: SmtpDialect {
        greeting: "BL1P221CA0016.outlook.office365.com Microsoft ESMTP MAIL Service ready at Sat, 28 Nov 2026 10:07:41 +0000",
        extensions: &[
            "SIZE 157286400",
            "PIPELINING",
            "DSN",
            "ENHANCEDSTATUSCODES",
            "AUTH LOGIN XOAUTH2",
            "8BITMIME",
            "BINARYMIME",
            "CHUNKING",
            "SMTPUTF8",
        ],
        logged_in: "2.7.0 Authentication successful",
        wrong_password: "535 5.7.139 Authentication unsuccessful, basic authentication is disabled. \
                         [BL1P221CA0016.NAMP221.PROD.OUTLOOK.COM 2026-11-28T10:07:41.214Z 08DDD30471EE4ED5]",
        wrong_token: "535 5.7.3 Authentication unsuccessful \
                      [BL1P221CA0016.NAMP221.PROD.OUTLOOK.COM 2026-11-28T10:07:41.214Z 08DDD30471EE4ED5]",
        accepted: "2.0.0 OK <1f0c@example.test> [Hostname=BL1P221MB0016.NAMP221.PROD.OUTLOOK.COM]",
        refusals: &[
            (
                "concurrent connections",
                "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more \
                 information. [Hostname=BL1P221MB0016.NAMP221.PROD.OUTLOOK.COM]",
            ),
            (
                "quota",
                "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message \
                 due to a permanent exception with message The message can't be submitted because the sender's \
                 submission quota was exceeded.",
            ),
            ("basic auth", "550 5.7.30 Basic authentication is not supported for Client Submission."),
            (
                "tenant",
                "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit \
                 https://aka.ms/smtp_auth_disabled for more information.",
            ),
        ],
    },
};
