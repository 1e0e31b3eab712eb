//! QQ Mail.

use super::super::table::{Announcement, Dialect, ImapDialect, Login, Search, Security, SmtpDialect};

/// QQ Mail (Tencent). SEARCH finds everything, whatever it looks for.
///
/// | what | source |
/// | --- | --- |
/// | greeting, capabilities before and after login, SELECT, texts | jstedfast/MailKit#1241, #946 |
/// | SEARCH ignores texts | mscdex/node-imap#686, jstedfast/MailKit#1143, stardust95/MicroMailClient#11 |
/// | refused password: one text for five causes | chengazhen/cursor-auto-free#294 |
/// | SMTP: refused password | lossme/ComicBook#3 |
pub const QQ: Dialect = Dialect {
    name: "qq",
    login: Login::Password,
    is_self_signed: false,
    imap: ImapDialect {
        security: Security::Tls,
        greeting: "OK [CAPABILITY IMAP4 IMAP4rev1 ID AUTH=PLAIN AUTH=LOGIN AUTH=XOAUTH2 NAMESPACE] QQMail \
                   XMIMAP4Server ready",
        before_login: "IMAP4 IMAP4rev1 ID AUTH=PLAIN AUTH=LOGIN AUTH=XOAUTH2 NAMESPACE",
        after_login: "IMAP4 IMAP4rev1 XLIST MOVE IDLE XAPPLEPUSHSERVICE NAMESPACE CHILDREN ID UIDPLUS",
        announcement: Announcement::OnRequest,
        logged_in: "OK Success login ok",
        wrong_password: "NO Login fail. Account is abnormal, service is not open, password is incorrect, login \
                         frequency limited, or system is busy. More information at \
                         https://help.mail.qq.com/detail/108/1023",
        wrong_token: "NO Login fail. Account is abnormal, service is not open, password is incorrect, login \
                      frequency limited, or system is busy. More information at \
                      https://help.mail.qq.com/detail/108/1023",
        completed: "NAME completed",
        unknown: "BAD command not support",
        search: Search::Everything,
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
        greeting: "newxmesmtplogicsvrszc13-0.qq.com XMail Esmtp QQ Mail Server.",
        extensions: &[
            "PIPELINING",
            "SIZE 73400320",
            "AUTH LOGIN PLAIN XOAUTH XOAUTH2",
            "AUTH=LOGIN",
            "MAILCOMPRESS",
            "SMTPUTF8",
            "8BITMIME",
        ],
        logged_in: "Authentication successful",
        wrong_password: "535 Login fail. Account is abnormal, service is not open, password is incorrect, login \
                         frequency limited, or system is busy. More information at \
                         https://help.mail.qq.com/detail/108/1023",
        wrong_token: "535 Login fail.",
        accepted: "OK: queued as.",
        refusals: &[],
    },
};
