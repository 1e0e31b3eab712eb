//! Providers that answer late, never, and with what the server does not take.

use std::sync::mpsc::{self, Receiver, Sender};

use super::*;

/// The requests, each `true` if it was for a new token.
type Renewals = Arc<Mutex<Vec<bool>>>;

/// Tokens of a provider that answers the nth request by `answer(n)`, n from 1; and its requests.
fn tokens(answer: impl Fn(usize) -> Result<AccessToken> + Send + Sync + 'static) -> (Tokens, Renewals) {
    let renewals = Renewals::default();
    let asked = Arc::clone(&renewals);
    let credentials = Credentials::oauth2("alice", move |request| {
        let nth = {
            let mut asked = asked.lock();
            asked.push(request.renew);
            asked.len()
        };
        answer(nth)
    });
    (Tokens::new(&credentials), renewals)
}

fn nth(nth: usize) -> AccessToken {
    AccessToken::new(format!("token-{nth}"))
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

/// Logs in to a server that answers so; returns the token that it got.
fn log_in(tokens: &Tokens, deadline: Deadline, answer: Result<()>) -> Result<String> {
    tokens.log_in(deadline, |token| answer.map(|()| token.expect("a token").reveal().to_owned()))
}

fn failure(kind: ErrorKind) -> Error {
    Error::new(kind, "scripted")
}

fn refused() -> Error {
    failure(ErrorKind::Auth).mark_refused_token()
}

/// A provider that answers when it is told to.
fn slow() -> (Tokens, Renewals, Sender<Result<AccessToken>>) {
    let (sender, receiver) = mpsc::channel();
    let receiver: Mutex<Receiver<Result<AccessToken>>> = Mutex::new(receiver);
    // At the end of the test, with any token.
    let (tokens, renewals) = tokens(move |_| receiver.lock().recv().unwrap_or_else(|_| Ok(nth(0))));
    (tokens, renewals, sender)
}

/// Asks, and does not wait for the answer.
fn ask_in_vain(tokens: &Tokens) {
    loop {
        let brief = Deadline::after(Duration::from_millis(20));
        assert_eq!(log_in(tokens, brief, Ok(())).unwrap_err().kind(), ErrorKind::Timeout);
        if tokens.state.lock().question.is_some() {
            return;
        }
    }
}

#[test]
fn a_token_that_comes_too_late_is_there_for_the_next_attempt() {
    let (tokens, renewals, answer) = slow();
    for _ in 0..3 {
        ask_in_vain(&tokens);
    }
    answer.send(Ok(nth(1))).unwrap();
    assert_eq!(log_in(&tokens, soon(), Ok(())).unwrap(), "token-1");
    assert_eq!(*renewals.lock(), [false], "asked once");
}

#[test]
fn an_error_that_comes_too_late_is_old() {
    let (tokens, renewals, answer) = slow();
    ask_in_vain(&tokens);
    let question = tokens.state.lock().question.clone().unwrap();
    answer.send(Err(Error::token_unavailable("503", None))).unwrap();
    let _ = question.wait(soon()).unwrap();
    answer.send(Ok(nth(2))).unwrap();
    assert_eq!(log_in(&tokens, soon(), Ok(())).unwrap(), "token-2");
    assert_eq!(renewals.lock().len(), 2);
}

/// A token of the request before may be the one that was refused.
#[test]
fn a_request_for_a_new_token_is_not_answered_by_one_before() {
    let (tokens, renewals, answer) = slow();
    answer.send(Ok(nth(1))).unwrap();
    log_in(&tokens, soon(), Ok(())).unwrap();
    ask_in_vain(&tokens);
    tokens.note_loss(&Error::new(ErrorKind::Disconnected, "Session invalidated - AccessTokenExpired"));
    answer.send(Ok(nth(2))).unwrap();
    answer.send(Ok(nth(3))).unwrap();
    assert_eq!(log_in(&tokens, soon(), Ok(())).unwrap(), "token-3");
    assert_eq!(*renewals.lock(), [false, false, true]);
}

#[test]
fn a_provider_that_hangs_for_ever_is_asked_again_after_a_while() {
    let (tokens, _, _answer) = slow();
    ask_in_vain(&tokens);
    let question = tokens.state.lock().question.clone().unwrap();
    assert!(question.is_of_use(true) && question.is_of_use(false));
    let long_ago = match question.asked_at.checked_sub(GIVE_UP) {
        Some(long_ago) => long_ago,
        // There, the clock begins with the machine's start.
        None if cfg!(windows) => return,
        None => panic!("a machine that runs for longer"),
    };
    let answer = Mutex::default();
    let old = Question { renew: true, asked_at: long_ago, sign_ins: 0, answer, answered: Condvar::new() };
    tokens.state.lock().question = Some(Arc::new(old));
    ask_in_vain(&tokens);
    assert!(tokens.state.lock().question.as_ref().is_some_and(|it| it.asked_at > long_ago));
}

#[test]
fn a_lost_grant_of_a_request_before_the_sign_in_is_old_news() {
    let (tokens, renewals, answer) = slow();
    thread::scope(|threads| {
        let logged_in = threads.spawn(|| log_in(&tokens, soon(), Ok(())));
        while renewals.lock().is_empty() {
            thread::yield_now();
        }
        tokens.signed_in();
        answer.send(Err(Error::grant_gone("invalid_grant"))).unwrap();
        answer.send(Ok(nth(2))).unwrap();
        assert_eq!(logged_in.join().unwrap().unwrap(), "token-2");
    });
    assert_eq!(renewals.lock().len(), 2);
}

/// Such as a window that the user has closed.
#[test]
fn after_the_sign_in_a_request_before_is_not_waited_for() {
    let (tokens, renewals) = tokens(|n| {
        if n == 1 {
            thread::park_timeout(Duration::from_secs(600));
        }
        Ok(nth(n))
    });
    ask_in_vain(&tokens);
    while renewals.lock().is_empty() {
        thread::yield_now();
    }
    tokens.signed_in();
    assert_eq!(log_in(&tokens, soon(), Ok(())).unwrap(), "token-2");
    assert_eq!(renewals.lock().len(), 2);
}

/// A token server limits requests; a refresh token may be used up by each.
#[test]
fn while_the_server_is_away_one_new_token_is_asked_for() {
    let (tokens, renewals) = tokens(|n| Ok(nth(n)));
    log_in(&tokens, soon(), Ok(())).unwrap();
    tokens.note_loss(&Error::new(ErrorKind::Disconnected, "Session invalidated - AccessTokenExpired"));
    for _ in 0..3 {
        log_in(&tokens, soon(), Err(failure(ErrorKind::Connect))).unwrap_err();
    }
    assert_eq!(*renewals.lock(), [false, true, false, false]);
}

#[test]
fn a_renewed_token_that_is_cached_and_refused_is_as_a_second_refusal() {
    let (tokens, renewals) = tokens(|n| Ok(nth(n.min(2))));
    assert!(log_in(&tokens, soon(), Err(refused())).unwrap_err().is_refused_token());
    log_in(&tokens, soon(), Err(failure(ErrorKind::Connect))).unwrap_err();
    let error = log_in(&tokens, soon(), Err(refused())).unwrap_err();
    assert!(!error.is_refused_token() && error.is_transient(), "{error:?}");
    assert_eq!(*renewals.lock(), [false, true, false]);
}

/// Some servers hang up, or say "try again", in place of a refusal; and a provider need not know the token's end.
#[test]
fn a_token_with_which_two_attempts_have_failed_is_asked_for_anew_once() {
    for kind in [ErrorKind::Auth, ErrorKind::Refused, ErrorKind::Disconnected, ErrorKind::Timeout] {
        let (tokens, renewals) = tokens(|_| Ok(nth(1)));
        for _ in 0..5 {
            assert_eq!(log_in(&tokens, soon(), Err(failure(kind))).unwrap_err().kind(), kind);
        }
        assert_eq!(*renewals.lock(), [false, false, true, false, false], "{kind}");
    }
}

#[test]
fn a_token_that_is_all_that_the_provider_has_is_refused_seldom() {
    let (tokens, _) = tokens(|_| Ok(nth(1)));
    assert!(log_in(&tokens, soon(), Err(refused())).unwrap_err().is_refused_token());
    for sent in [false, true, true] {
        let mut was_sent = false;
        let error = tokens.log_in(soon(), |_| {
            was_sent = true;
            Err::<(), _>(refused())
        });
        let error = error.unwrap_err();
        assert_eq!((was_sent, error.kind()), (sent, ErrorKind::Auth));
        assert!(!error.is_refused_token() && error.is_transient(), "{error:?}");
        assert_eq!(error.retry_after(), Some(SAME_TOKEN_WAIT));
    }
}
