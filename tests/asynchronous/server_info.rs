//! The futures of `probe`, `server_info` and `append`.

use pymail::{AsyncImap, AsyncSmtp, ImapConfig, SmtpConfig};
use rstest::rstest;

use crate::executor::Runtime;
use crate::fixtures::embedded;
use crate::mail_site::{Site, TAG};

#[rstest]
fn a_server_is_asked_by_futures(#[from(embedded)] site: Site) {
    let imap = ImapConfig::new(site.imaps_server(), site.credentials()).tag(TAG);
    let smtp = SmtpConfig::new(site.smtp_server(), site.credentials()).tag(TAG);
    Runtime::Tokio.block_on(async {
        assert!(AsyncImap::probe(&imap).await.unwrap().archive.is_none());
        assert!(AsyncSmtp::probe(&smtp).await.unwrap().tls.is_some());
        let imap = AsyncImap::connect(imap).await.unwrap();
        assert_eq!(imap.server_info().await.unwrap().archive.as_deref(), Some(TAG));
        imap.append("INBOX", format!("Subject: {TAG} 1\r\n\r\nhello\r\n").as_bytes()).await.unwrap();
        assert_eq!(imap.fetch().await.unwrap().len(), 1);
    });
}
