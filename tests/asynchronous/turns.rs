//! Calls that wait for their turn.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use pymail::{AsyncSmtp, Credentials, ErrorKind, Server, SmtpConfig};

use crate::executor::{Runtime, Wakes, poll};
use crate::mail_site::message;
use crate::support::script::{Script, Step};

#[test]
fn a_call_behind_a_late_final_reply_ends_at_its_own_timeout() {
    let server = Script::smtp(&[]).on(".", |_| Step::Nothing).start();
    let config = SmtpConfig::new(Server::unencrypted("localhost").port(server.port()), Credentials::none());
    let config = config.timeout(Duration::from_secs(10)).reply_timeout(Duration::from_secs(60));
    let smtp = Runtime::Smol.block_on(AsyncSmtp::connect(config)).unwrap();
    let mut first = pin!(smtp.send(&message("1", "hello")));
    assert!(poll(first.as_mut(), &Arc::new(Wakes::default())).is_pending());
    let error = Runtime::Smol.block_on(smtp.send(&message("2", "hello"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    assert!(poll(first.as_mut(), &Arc::new(Wakes::default())).is_pending());
}
