//! Gmail.

use std::time::Duration;

use super::super::table::{Announcement, Dialect, ImapDialect, Login, Search, Security, SmtpDialect};

/// Gmail.
///
/// | what | source |
/// | --- | --- |
/// | greeting, capabilities before and after login, texts of OK | jstedfast/MailKit#1396, imapsync/imapsync#239 |
/// | refused token: a challenge, then `[ALERT]`; 15 connections | jstedfast/MailKit#377, zone-eu/wildduck#35 |
/// | `[OVERQUOTA]`: the limit of bandwidth | ljmerza/ha-email-sensor#16, support.google.com/a/answer/1071518 |
/// | the end of a session | joeyates/imap-backup#92 |
/// | what loses a label stays in All Mail | postalsys/imapflow#69, overseers-desk/courier#53 |
/// | words, not parts of words | emersion/go-imap#120, MailCore/mailcore2#229 |
/// | SMTP: extensions, 5.7.8, the daily limit | logto-io/logto#8333, support.google.com/a/answer/3726730 |
///
/// A simplification: All Mail has what has lost its last label, and not what has labels still.
pub const GMAIL: Dialect = Dialect {
    name: "gmail",
    login: Login::Password,
    is_self_signed: false,
    imap: ImapDialect {
        security: Security::Tls,
        greeting: "OK Gimap ready for requests from 127.0.0.1 x2mb241876667wmk",
        before_login: "IMAP4rev1 UNSELECT IDLE NAMESPACE QUOTA ID XLIST CHILDREN X-GM-EXT-1 XYZZY SASL-IR \
                       AUTH=XOAUTH2 AUTH=PLAIN AUTH=PLAIN-CLIENTTOKEN AUTH=OAUTHBEARER",
        after_login: "IMAP4rev1 UNSELECT IDLE NAMESPACE QUOTA ID XLIST CHILDREN X-GM-EXT-1 UIDPLUS COMPRESS=DEFLATE \
                      ENABLE MOVE CONDSTORE ESEARCH UTF8=ACCEPT LIST-EXTENDED LIST-STATUS LITERAL- SPECIAL-USE \
                      APPENDLIMIT=35651584",
        announcement: Announcement::Untagged,
        logged_in: "OK USER authenticated (Success)",
        wrong_password: "NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)",
        // {"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}
        wrong_token: "+ eyJzdGF0dXMiOiI0MDAiLCJzY2hlbWVzIjoiQmVhcmVyIiwic2NvcGUiOiJodHRwczovL21haWwuZ29vZ2xlLmNvbS8ifQ==\r\n\
                      NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)",
        completed: "Success",
        unknown: "BAD Could not parse command",
        search: Search::Words,
        delimiter: "/",
        creates_within: "",
        has_keywords: true,
        tells_uidnext: true,
        needs_id: None,
        all_mail: Some("[Gmail]/All Mail"),
        message_limit: None,
        connections: Some((15, "NO [ALERT] Too many simultaneous connections. (Failure)")),
        session: Some((Duration::from_secs(3_600), "BYE Session expired, please login again.")),
        refusals: &[
            ("bandwidth", "TAG NO [OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)\r\n"),
            ("system error", "TAG NO System Error (Failure)\r\n"),
        ],
    },
    smtp: SmtpDialect {
        greeting: "smtp.gmail.com ESMTP 5b1f17b1804b1-4 - gsmtp",
        extensions: &[
            "SIZE 35882577",
            "8BITMIME",
            "AUTH LOGIN PLAIN XOAUTH2 PLAIN-CLIENTTOKEN OAUTHBEARER XOAUTH",
            "ENHANCEDSTATUSCODES",
            "PIPELINING",
            "CHUNKING",
            "SMTPUTF8",
        ],
        logged_in: "2.7.0 Accepted",
        wrong_password: "535-5.7.8 Username and Password not accepted. For more information, go to\r\n\
                         535 5.7.8  https://support.google.com/mail/?p=BadCredentials 5b1f17b1804b1-4 - gsmtp",
        wrong_token: "334 eyJzdGF0dXMiOiI0MDAiLCJzY2hlbWVzIjoiQmVhcmVyIiwic2NvcGUiOiJodHRwczovL21haWwuZ29vZ2xlLmNvbS8ifQ==\r\n\
                      535-5.7.8 Username and Password not accepted. For more information, go to\r\n\
                      535 5.7.8  https://support.google.com/mail/?p=BadCredentials 5b1f17b1804b1-4 - gsmtp",
        accepted: "2.0.0 OK  1764333333 5b1f17b1804b1-47793d9c - gsmtp",
        refusals: &[
            (
                "daily limit",
                "550-5.4.5 Daily user sending limit exceeded. For more information on Gmail\r\n\
                 550 5.4.5 sending limits go to https://support.google.com/a/answer/166852 - gsmtp",
            ),
            ("goodbye", "421 4.7.0 Try again later, closing connection. (MAIL) - gsmtp"),
        ],
    },
};
