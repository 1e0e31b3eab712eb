//! The fixtures, pytest-style: each test has servers of its own.

use rstest::fixture;
use rstest_reuse::template;

use crate::mail_site::Site;
use crate::support::courier::Courier;
use crate::support::cyrus::Cyrus;
use crate::support::dovecot::Dovecot;
use crate::support::embedded::{Embedded, EmbeddedOptions};
use crate::support::exim::Exim;
use crate::support::opensmtpd::OpenSmtpd;
use crate::support::postfix::Postfix;

/// A Dovecot with its own folder, free ports and certificate authority.
#[fixture]
pub fn dovecot() -> Dovecot {
    Dovecot::start()
}

/// A Postfix that delivers to that Dovecot.
#[fixture]
pub fn postfix(dovecot: Dovecot) -> Site {
    Site::Real { postfix: Postfix::start(&dovecot), dovecot }
}

/// The embedded server.
#[fixture]
pub fn embedded() -> Site {
    Site::Embedded(Embedded::start().expect("the embedded server starts"))
}

/// A Postfix that delivers to a Cyrus.
pub fn cyrus() -> Site {
    let cyrus = Cyrus::start();
    Site::Cyrus { postfix: Postfix::start(&cyrus), cyrus }
}

/// A Postfix that delivers to a Courier.
pub fn courier() -> Site {
    let courier = Courier::start();
    Site::Courier { postfix: Postfix::start(&courier), courier }
}

/// An OpenSMTPD that delivers to a Dovecot.
pub fn opensmtpd() -> Site {
    let dovecot = Dovecot::start();
    Site::OpenSmtpd { opensmtpd: OpenSmtpd::start(&dovecot), dovecot }
}

/// An Exim that delivers to a Dovecot.
pub fn exim() -> Site {
    let dovecot = Dovecot::start();
    Site::Exim { exim: Exim::start(&dovecot), dovecot }
}

/// The sites of all promise tests. `cargo xtask test --all-servers` runs the ignored ones by their names.
#[template]
#[rstest]
#[case::dovecot_and_postfix(crate::fixtures::postfix(crate::fixtures::dovecot()))]
#[case::embedded(crate::fixtures::embedded())]
#[ignore = "for --all-servers"]
#[case::on_cyrus(crate::fixtures::cyrus())]
#[ignore = "for --all-servers"]
#[case::on_courier(crate::fixtures::courier())]
#[ignore = "for --all-servers"]
#[case::by_opensmtpd(crate::fixtures::opensmtpd())]
#[ignore = "for --all-servers"]
#[case::by_exim(crate::fixtures::exim())]
#[ignore = "for --all-servers"]
#[case::with_tokens(crate::mail_site::Site::with_tokens())]
#[case::on_gmail(crate::mail_site::Site::dialect(&crate::support::dialect::GMAIL))]
#[ignore = "for --all-servers"]
#[case::on_microsoft(crate::mail_site::Site::dialect(&crate::support::dialect::MICROSOFT))]
#[ignore = "for --all-servers"]
#[case::on_icloud(crate::mail_site::Site::dialect(&crate::support::dialect::ICLOUD))]
#[ignore = "for --all-servers"]
#[case::on_yahoo(crate::mail_site::Site::dialect(&crate::support::dialect::YAHOO))]
#[ignore = "for --all-servers"]
#[case::on_qq(crate::mail_site::Site::dialect(&crate::support::dialect::QQ))]
#[ignore = "for --all-servers"]
#[case::on_netease(crate::mail_site::Site::dialect(&crate::support::dialect::NETEASE))]
#[ignore = "for --all-servers"]
#[case::on_gmx(crate::mail_site::Site::dialect(&crate::support::dialect::GMX))]
#[ignore = "for --all-servers"]
#[case::on_yandex(crate::mail_site::Site::dialect(&crate::support::dialect::YANDEX))]
#[ignore = "for --all-servers"]
#[case::on_zoho(crate::mail_site::Site::dialect(&crate::support::dialect::ZOHO))]
#[ignore = "for --all-servers"]
#[case::on_proton(crate::mail_site::Site::dialect(&crate::support::dialect::PROTON))]
#[ignore = "for --all-servers"]
#[case::on_fastmail(crate::mail_site::Site::dialect(&crate::support::dialect::FASTMAIL))]
fn every_site(#[case] site: Site) {}

/// Starts an embedded server with this limit of a message's size.
pub fn embedded_with_size_limit(size_limit: u32) -> Site {
    let options = EmbeddedOptions { size_limit, ..EmbeddedOptions::default() };
    Site::Embedded(Embedded::with(&options).expect("the embedded server starts"))
}
