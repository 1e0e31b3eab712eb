//! Logins by access tokens about which Dovecot asks the token server, for itself and for Postfix (RFC 7662).

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::slice;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use pymail::{AccessToken, Credentials, Error, ErrorKind, Imap, ImapConfig, Smtp, SmtpConfig, State};
use rstest::rstest;
use serde_json::Value;

use crate::access_tokens::{BOTH, Tokens, has_reason, imap, smtp};
use crate::mail_site::{ALICE, Site, message};
use crate::support::dovecot::DovecotOptions;
use crate::support::postfix::PostfixOptions;
use crate::support::process::wait_until;
use crate::support::token_server::{Fault, TokenServer};

const MOMENT: Duration = Duration::from_millis(1);

/// Starts a token server, and servers that ask it about each token.
fn asking() -> (TokenServer, Site) {
    let server = TokenServer::start();
    let options = DovecotOptions {
        token_mechanisms: BOTH.to_owned(),
        introspection_url: Some(server.introspection_url()),
        ..DovecotOptions::default()
    };
    (server, Site::real(&options, &PostfixOptions::default()))
}

/// Returns an access token of this user.
fn token_of(server: &TokenServer, user: &str) -> String {
    refreshed(server, &server.sign_in(user)).expect("the refresh token is valid")
}

/// Makes a request with a refresh token (RFC 6749, section 6), as an app does. Returns the access token, or the error.
fn refreshed(server: &TokenServer, refresh_token: &str) -> Result<String, String> {
    let form = format!("grant_type=refresh_token&client_id=test&refresh_token={refresh_token}");
    let request = format!("POST /token HTTP/1.1\r\nContent-Length: {}\r\n\r\n{form}", form.len());
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, server.http_port())).unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    match &body["access_token"] {
        Value::String(token) => Ok(token.clone()),
        _ => Err(body["error"].as_str().unwrap_or("no reason").to_owned()),
    }
}

/// Returns the credentials of an app that has a refresh token, and one access token for as long as that is not refused.
fn by_refresh_token(server: &Arc<TokenServer>) -> Credentials {
    let (server, grant) = (Arc::clone(server), server.sign_in(ALICE));
    let cache = Mutex::new(None::<String>);
    Credentials::oauth2(ALICE, move |request| {
        let mut cache = cache.lock().unwrap();
        if request.renew || cache.is_none() {
            *cache = Some(refreshed(&server, &grant).map_err(Error::grant_gone)?);
        }
        Ok(AccessToken::new(cache.as_ref().unwrap()))
    })
}

#[rstest]
fn messages_go_round_by_tokens_that_the_token_server_knows() {
    let (server, site) = asking();
    let tokens = Tokens::new(&[token_of(&server, ALICE)]);
    let (imap, smtp) =
        (imap(&site, tokens.credentials()).unwrap(), smtp(&site, tokens.credentials()).unwrap());
    assert!(smtp.send(&message("1", "hello")).unwrap().all_accepted());
    wait_until("the message", || !imap.fetch().unwrap().is_empty());
    assert_eq!(imap.fetch_and_ack().unwrap()[0].message().unwrap().id, "1");
    assert_eq!((server.received("/introspect").len(), tokens.renewals()), (2, vec![false, false]));
}

/// The life of a token is no secret to the app, but its revocation is.
#[rstest]
fn a_revoked_token_is_renewed_when_its_session_is_replaced() {
    let (server, site) = asking();
    let all = [token_of(&server, ALICE), token_of(&server, ALICE)];
    let (of_imap, of_smtp) = (Tokens::new(&[&all[..1], &all[..1], &all[1..]].concat()), Tokens::new(&all));
    let imap = imap(&site, of_imap.credentials()).unwrap();
    server.revoke(&all[0]);
    assert!(site.dovecot().kick(ALICE));
    wait_until("another session", || {
        imap.noop().unwrap();
        imap.stats().reconnects > 0
    });
    assert_eq!((imap.status().state, of_imap.renewals()), (State::Connected, vec![false, false, true]));

    smtp(&site, of_smtp.credentials()).unwrap().noop().unwrap();
    assert_eq!(of_smtp.renewals(), [false, true]);
}

#[rstest]
fn after_the_owner_has_revoked_all_a_handle_waits_for_the_sign_in_and_goes_on() {
    let (server, site) = asking();
    let server = Arc::new(server);
    let grant = Arc::new(Mutex::new(server.sign_in(ALICE)));
    let (app, stored) = (Arc::clone(&server), Arc::clone(&grant));
    let credentials = Credentials::oauth2(ALICE, move |_| {
        let answer = refreshed(&app, &stored.lock().unwrap());
        answer.map(AccessToken::new).map_err(Error::grant_gone)
    });
    let imap = imap(&site, credentials).unwrap();
    server.revoke_all(ALICE);
    assert!(site.dovecot().kick(ALICE));
    let mut error = None;
    wait_until("the end of the session", || {
        error = imap.noop().err();
        error.is_some()
    });
    let error = error.unwrap();
    assert_eq!((error.kind(), imap.status().state), (ErrorKind::SignInNeeded, State::SignInNeeded));
    assert!(error.to_string().contains("invalid_grant"), "{error}");
    *grant.lock().unwrap() = server.sign_in(ALICE);
    imap.signed_in().unwrap();
    imap.noop().unwrap();
    assert_eq!(imap.status().state, State::Connected);
}

#[rstest]
#[case::garbage(|_: &TokenServer| "garbage".to_owned())]
#[case::for_another_user(|server: &TokenServer| token_of(server, "bob@example.test"))]
#[case::for_another_scope(|server: &TokenServer| {
    server.change(|settings| settings.scope = "calendar".to_owned());
    let token = token_of(server, ALICE);
    server.change(|settings| settings.scope = "mail".to_owned());
    token
})]
#[case::that_has_ended(|server: &TokenServer| {
    server.change(|settings| settings.life = Duration::ZERO);
    let token = token_of(server, ALICE);
    server.change(|settings| settings.life = Duration::from_secs(3_600));
    token
})]
fn a_token_that_the_token_server_does_not_confirm_is_renewed_once(#[case] bad: fn(&TokenServer) -> String) {
    let (server, site) = asking();
    let (bad, good) = (bad(&server), token_of(&server, ALICE));
    let renewed = || Tokens::new(&[bad.clone(), good.clone()]);
    let [of_imap, of_smtp] = [renewed(), renewed()];
    imap(&site, of_imap.credentials()).unwrap().noop().unwrap();
    smtp(&site, of_smtp.credentials()).unwrap().noop().unwrap();
    assert_eq!([of_imap.renewals(), of_smtp.renewals()], [[false, true], [false, true]]);

    let refused = || Tokens::new(slice::from_ref(&bad)).credentials();
    let errors = [imap(&site, refused()).map(drop), smtp(&site, refused()).map(drop)].map(Result::unwrap_err);
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Auth, "{error:?}");
        assert!(error.is_transient() && has_reason(&error) && !error.to_string().contains(&bad), "{error:?}");
    }
}

/// Dovecot can't tell then; in SMTP, it does not say so.
#[rstest]
fn while_the_token_server_fails_a_handle_waits_and_goes_on_with_the_same_token() {
    let (server, site) = asking();
    let token = token_of(&server, ALICE);
    let failing = Tokens::new(slice::from_ref(&token));
    let imap = Imap::connect(brief(&site, failing.credentials())).unwrap();
    let smtp = Smtp::connect(brief_smtp(&site, Tokens::new(&[token]).credentials())).unwrap();
    server.change(|settings| settings.fault = Some(Fault::page(503)));
    assert!(site.dovecot().kick(ALICE));
    let Site::Real { postfix, .. } = &site else { unreachable!("a real site") };
    postfix.disconnect_all();
    let [mut of_imap, mut of_smtp] = [None, None];
    let is_of_login = |error: &Error| matches!(error.kind(), ErrorKind::Auth | ErrorKind::Refused);
    wait_until("the refusals of both logins", || {
        of_imap = of_imap.take().or_else(|| imap.noop().err().filter(is_of_login));
        of_smtp = of_smtp.take().or_else(|| smtp.noop().err().filter(is_of_login));
        of_imap.is_some() && of_smtp.is_some()
    });
    let (of_imap, of_smtp) = (of_imap.unwrap(), of_smtp.unwrap());
    assert_eq!((of_imap.kind(), of_imap.code()), (ErrorKind::Refused, Some("UNAVAILABLE")), "{of_imap:?}");
    assert_eq!((of_smtp.kind(), of_smtp.code()), (ErrorKind::Auth, Some("535")), "{of_smtp:?}");
    assert!(of_imap.is_transient() && of_smtp.is_transient(), "{of_imap:?} {of_smtp:?}");
    assert_eq!(failing.renewals()[..2], [false, false], "a new token would not help");

    server.change(|settings| settings.fault = None);
    smtp.signed_in().unwrap(); // To the test, five minutes are too long.
    wait_until("both sessions", || imap.noop().is_ok() && smtp.noop().is_ok());
    assert!(smtp.send(&message("1", "hello")).unwrap().all_accepted());
}

fn brief(site: &Site, credentials: Credentials) -> ImapConfig {
    let never = Duration::from_secs(3_600);
    ImapConfig::new(site.imaps_server(), credentials).heartbeat(never).backoff(MOMENT, MOMENT)
}

fn brief_smtp(site: &Site, credentials: Credentials) -> SmtpConfig {
    let never = Duration::from_secs(3_600);
    SmtpConfig::new(site.smtp_server(), credentials).heartbeat(never).backoff(MOMENT, MOMENT)
}

#[rstest]
fn a_token_server_that_does_not_answer_costs_no_more_than_the_timeout() {
    let (server, site) = asking();
    let token = token_of(&server, ALICE);
    server.change(|settings| settings.fault = Some(Fault::Silent));
    let timeout = Duration::from_secs(2);
    let credentials = || Tokens::new(slice::from_ref(&token)).credentials();
    let errors = [
        Imap::connect(brief(&site, credentials()).timeout(timeout)).map(drop).unwrap_err(),
        Smtp::connect(brief_smtp(&site, credentials()).timeout(timeout)).map(drop).unwrap_err(),
    ];
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::Timeout), "{errors:?}");
}

#[rstest]
fn a_token_server_that_answers_late_delays_the_login_and_no_more() {
    let (server, site) = asking();
    let server = Arc::new(server);
    let imap = Imap::connect(brief(&site, by_refresh_token(&server))).unwrap();
    let asked = server.received("/introspect").len();
    server.change(|settings| settings.holds = true);
    assert!(site.dovecot().kick(ALICE));
    thread::scope(|threads| {
        threads.spawn(|| {
            wait_until("a login that waits", || server.received("/introspect").len() > asked);
            server.change(|settings| settings.holds = false);
        });
        wait_until("another session", || {
            imap.noop().unwrap();
            imap.stats().reconnects > 0
        });
    });
    assert!(imap.status().state == State::Connected);
}
