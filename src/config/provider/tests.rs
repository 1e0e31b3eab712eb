//! The table of providers is consistent.

use std::collections::HashSet;

use rstest::rstest;

use super::*;
use crate::config::Security;

fn account() -> Credentials {
    Credentials::new("alice@example.org", "abcd efgh ijkl mnop")
}

#[test]
fn a_port_has_the_encryption_that_is_usual_there() {
    for provider in Provider::all() {
        for server in [&provider.imap_server, &provider.smtp_server] {
            let usual = match server.get_port() {
                Some(993 | 465) => Security::Tls,
                Some(143 | 587 | 1143 | 1025) => Security::StartTls,
                port => panic!("{}: {port:?}", provider.name),
            };
            assert_eq!(server.get_security(), usual, "{}", provider.name);
        }
        let is_imap = matches!(provider.imap_server.get_port(), Some(993 | 143 | 1143));
        let is_smtp = matches!(provider.smtp_server.get_port(), Some(465 | 587 | 1025));
        assert!(is_imap && is_smtp, "{}", provider.name);
    }
}

#[test]
fn every_preset_makes_configurations_that_can_work() {
    for provider in Provider::all() {
        let (imap, smtp) = (provider.imap(account()), provider.smtp(account()));
        assert!(imap.check().is_ok() && smtp.check().is_ok(), "{}", provider.name);
        assert_eq!(imap.get_server(), &provider.imap_server);
        assert_eq!(smtp.get_server(), &provider.smtp_server);
        assert_eq!(imap.get_max_connects_per_minute(), 10);
        assert_eq!(smtp.get_max_connects_per_minute(), 10);
    }
}

#[test]
fn every_preset_is_found_by_its_name_and_its_domains() {
    let (mut names, mut domains) = (HashSet::new(), HashSet::new());
    for provider in Provider::all() {
        assert!(names.insert(provider.name), "twice: {}", provider.name);
        assert_eq!(Provider::by_name(provider.name).as_ref(), Some(&provider));
        for domain in provider.domains {
            assert!(domains.insert(*domain), "twice: {domain}");
            assert!(!domain.contains(char::is_uppercase) && domain.contains('.'), "{domain}");
            assert_eq!(Provider::by_domain(&domain.to_uppercase()).as_ref(), Some(&provider));
        }
    }
}

#[rstest]
#[case("Gmail", "gmail")]
#[case("MICROSOFT_365", "microsoft365")]
#[case("proton bridge", "proton-bridge")]
#[case("gmx.com", "gmx-com")]
fn a_name_is_found_in_any_spelling(#[case] spelling: &str, #[case] name: &str) {
    assert_eq!(Provider::by_name(spelling).map(|provider| provider.name), Some(name));
}

#[rstest]
#[case("")]
#[case("mail.gmail.com")]
#[case("notgmail.com")]
#[case("alice@gmail.com")]
fn another_domain_is_not_found(#[case] domain: &str) {
    assert_eq!(Provider::by_domain(domain), None);
}

#[test]
fn an_account_can_log_in_at_every_provider() {
    for Provider { name, password, oauth2_scopes, .. } in Provider::all() {
        assert!(password.is_some() || !oauth2_scopes.is_empty(), "{name}");
    }
}

#[test]
fn no_message_has_more_recipients_than_a_day() {
    for Provider { name, limits, .. } in Provider::all() {
        if let (Some(day), Some(message)) = (limits.recipients_per_day, limits.recipients_per_message) {
            assert!(message <= day, "{name}");
        }
    }
}

#[test]
fn an_unreliable_search_is_noticed_sooner() {
    let default = Provider::icloud().imap(account()).get_recheck();
    assert!(Provider::qq().imap(account()).get_recheck() < default);
}

#[test]
fn a_server_of_a_preset_can_be_changed() {
    let mut provider = Provider::gmail();
    provider.smtp_server = Server::starttls("smtp.gmail.com").port(587);
    assert_eq!(provider.smtp(account()).get_server().get_security(), Security::StartTls);
}
