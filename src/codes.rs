//! Classifies refusals as transient, permanent or about the credentials.
//!
//! By IMAP response codes (RFC 3501, 5530, 9738 and some of large providers), SMTP reply codes (RFC 5321, 4954) and
//! enhanced status codes (RFC 3463). A code goes before the text, which decides where there is no code.

use crate::throttle::requested_wait;

/// IMAP codes of transient refusals.
///
/// `OVERQUOTA` is a full mailbox, which its owner empties, and Gmail's bandwidth limit. `THROTTLED` is Gmail's.
const TRANSIENT_CODES: [&str; 9] = [
    "UNAVAILABLE",
    "INUSE",
    "LIMIT",
    "SERVERBUG",
    "OVERQUOTA",
    "THROTTLED",
    "EXPUNGEISSUED",
    "NOTIFICATIONOVERFLOW",
    "MESSAGELIMIT",
];

/// IMAP codes of permanent refusals, independent of their text.
const PERMANENT_CODES: [&str; 20] = [
    "AUTHENTICATIONFAILED",
    "AUTHORIZATIONFAILED",
    "EXPIRED",
    "PRIVACYREQUIRED",
    "CONTACTADMIN",
    "NOPERM",
    "CORRUPTION",
    "CLIENTBUG",
    "CANNOT",
    "ALREADYEXISTS",
    "NONEXISTENT",
    "TRYCREATE",
    "HASCHILDREN",
    "READ-ONLY",
    "PARSE",
    "BADCHARSET",
    "BADURL",
    "TOOBIG",
    "UNKNOWN-CTE",
    "UIDVALIDITY",
];

/// Texts of transient refusals, for those without a code in the tables above.
///
/// Exchange: `Server Busy`, `Server Unavailable. 15`, `User is authenticated but not connected.`; Gmail: `Too many
/// simultaneous connections`, `System Error`, `exceeded command or bandwidth limits`; Yahoo: `Rate limit hit`; Courier:
/// `You exceeded your mail quota.`, as `OVERQUOTA`; POP servers' `Mailbox is locked`, as `INUSE`.
const TRANSIENT_WORDS: [&str; 26] = [
    "try again",
    "try later",
    "retry",
    "temporar",
    "busy",
    "unavailable",
    "overload",
    "not connected",
    "too many",
    "rate limit",
    "bandwidth limit",
    "throttl",
    "internal error",
    "internal server error",
    "system error",
    "server error",
    "backend error",
    "timed out",
    "quota",
    "mailbox full",
    "mailbox is full",
    "storage limit",
    "mailbox locked",
    "mailbox is locked",
    "mailbox in use",
    "mailbox is in use",
];

/// Texts of refused logins whose cause is the server or the account, and not the password.
///
/// Postfix: `Connection lost to authentication server`; Cyrus SASL without its daemon: `generic failure`.
const NOT_THE_PASSWORD: [&str; 12] = [
    "connection lost",
    "connection to",
    "connect to",
    "could not reach",
    "generic failure",
    "internal",
    "backend",
    "locked",
    "blocked",
    "disabled",
    "suspended",
    "not enabled",
];

/// Texts of refused logins that name the password among the causes, whatever the code says: the same one again could
/// lock the account.
///
/// QQ: `password is incorrect, login frequency limited, or system is busy`; Proton Mail Bridge: `454 4.7.0 invalid
/// username or password`.
const MAYBE_THE_PASSWORD: [&str; 3] = ["password is incorrect", "username or password", "wrong password"];

/// IMAP codes of wrong credentials (RFC 5530).
const WRONG_CREDENTIALS: [&str; 3] = ["AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED"];

/// SMTP replies that refuse a login (RFC 4954, section 6).
const LOGIN_REPLIES: [&str; 4] = ["530", "534", "535", "538"];

/// Enhanced codes that come with 535 and refuse by policy: the same password may work later, or from elsewhere.
const POLICY_CODES: [(u16, u16); 4] = [(7, 30), (7, 57), (7, 60), (7, 139)];

/// The meaning of a refused login, on which the wait before the next one depends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    /// The credentials are wrong.
    WrongCredentials,
    /// The refusal is transient.
    Later,
    /// The cause may be the credentials, or another.
    Unclear,
    /// The refusal does not concern the login.
    Other,
}

/// The meaning of a refused message or recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Transient,
    Permanent,
    TooLarge,
}

/// Returns `true` if a refusal after the login is transient. `code` is an IMAP response code or an SMTP reply code.
pub(crate) fn is_transient(code: Option<&str>, text: &str) -> bool {
    match code {
        Some(code) if smtp_code(code).is_some() => {
            smtp_code(code).is_some_and(|code| smtp(code, text, false) == Verdict::Transient)
        }
        Some(code) if TRANSIENT_CODES.contains(&code) => true,
        Some(code) if PERMANENT_CODES.contains(&code) => false,
        _ => has_transient_words(text),
    }
}

/// Classifies an SMTP reply to a message or, with `of_recipient`, to a recipient.
///
/// The enhanced code goes first: by RFC 3463, 5.2.2 (mailbox full), 5.3.1 (system full), 5.4.3 (routing server failure)
/// and 5.4.5 (congestion; Gmail's daily limit) are transient in any class, and 5.2.3 and 5.3.4 are about the size;
/// Exchange's limit of a day is 5.2.0 with `SubmissionQuotaExceededException`. A
/// bare 552 is about the size, a full mailbox, or too many recipients (RFC 5321, section 4.5.3.1.10), which is
/// transient.
pub(crate) fn smtp(code: u16, text: &str, of_recipient: bool) -> Verdict {
    let enhanced = enhanced(text);
    match (code, enhanced) {
        (400..=499, _)
        | (_, Some((4, _, _) | (5, 2, 2) | (5, 3, 1) | (5, 4, 3 | 5)))
        | (552, Some((5, 5, 3))) => Verdict::Transient,
        (_, Some((5, 2, 0))) if has(text, "quotaexceeded") => Verdict::Transient,
        (_, Some((5, 2, 3) | (5, 3, 4))) => Verdict::TooLarge,
        (552, Some((5, 2, _))) => Verdict::Permanent,
        (552, None) if is_full(text) || (of_recipient && has(text, "recipients")) => Verdict::Transient,
        (552, _) => Verdict::TooLarge,
        (_, None) if is_quota(text) => Verdict::Transient,
        _ => Verdict::Permanent,
    }
}

/// Classifies a refused login by its IMAP code or SMTP reply code and its text.
pub(crate) fn login(code: Option<&str>, text: &str) -> Login {
    let is_transient = has_transient_words(text) || requested_wait(text).is_some();
    let is_other = is_transient || NOT_THE_PASSWORD.iter().any(|words| has(text, words));
    let wrong_or =
        |is_clear: bool| if is_clear && !is_other { Login::WrongCredentials } else { Login::Unclear };
    let may_be_password = MAYBE_THE_PASSWORD.iter().any(|words| has(text, words));
    match code {
        Some(code) if WRONG_CREDENTIALS.contains(&code) => wrong_or(true),
        None | Some("454") if may_be_password => Login::Unclear,
        Some(code) if code.starts_with('4') || TRANSIENT_CODES.contains(&code) => Login::Later,
        Some("535") if matches!(enhanced(text), Some((4, _, _))) => Login::Later,
        Some("535") => wrong_or(!is_policy(text)),
        Some(code) if LOGIN_REPLIES.contains(&code) => Login::Unclear,
        Some(code) if smtp_code(code).is_some() => Login::Other,
        _ if is_transient => Login::Later,
        Some("BAD") => Login::Other,
        _ => Login::Unclear,
    }
}

/// Classifies a refused access token by its IMAP code or SMTP reply code, its text, and by the server having given a
/// reason for it; `WrongCredentials` is a token in whose place another one may be accepted.
///
/// Many servers refuse a token without a code: Microsoft's `AUTHENTICATE failed.`, Gmail's `[ALERT] Invalid credentials`.
/// A policy refuses any token.
pub(crate) fn token_login(code: Option<&str>, text: &str, has_reason: bool) -> Login {
    let is_about_tokens = || {
        let is_unspecific = matches!(code, None | Some("ALERT"));
        has_reason || (is_unspecific && !NOT_THE_PASSWORD.iter().any(|words| has(text, words)))
    };
    match login(code, text) {
        Login::Unclear if !is_policy(text) && is_about_tokens() => Login::WrongCredentials,
        meaning => meaning,
    }
}

/// Returns `true` for the enhanced code of a refusal by policy.
fn is_policy(text: &str) -> bool {
    enhanced(text).is_some_and(|(_, a, b)| POLICY_CODES.contains(&(a, b)))
}

/// Returns `true` if a connection was lost since its access token has ended, or may have.
///
/// Exchange: `Session invalidated - AccessTokenExpired`, and its refusal of every command after the login.
pub(crate) fn is_token_ended(code: Option<&str>, text: &str) -> bool {
    let words = ["accesstoken", "access token", "token expired", "token has expired", "session invalidated"];
    is_not_connected(code, text) || words.iter().any(|words| has(text, words))
}

/// Returns `true` for Exchange's refusal after it has lost its own backend: every later command on the connection
/// fails.
pub(crate) fn is_not_connected(code: Option<&str>, text: &str) -> bool {
    matches!(code, None | Some("BAD")) && has(text, "authenticated but not connected")
}

/// Returns `true` if a command may have been refused for its length, or for the number of messages in it.
pub(crate) fn is_too_long(code: Option<&str>, text: &str) -> bool {
    let long = ["too long", "too large", "too big", "line length", "too many messages", "too many arguments"];
    match code {
        Some("TOOBIG" | "MESSAGELIMIT") => true,
        Some("BAD") => !has_transient_words(text) || long.iter().any(|words| has(text, words)),
        None | Some("LIMIT" | "CLIENTBUG" | "CANNOT" | "ALERT") => long.iter().any(|words| has(text, words)),
        Some(_) => false,
    }
}

/// Parses an SMTP reply code, of three digits.
fn smtp_code(code: &str) -> Option<u16> {
    (code.len() == 3).then(|| code.parse().ok()).flatten()
}

/// Finds the enhanced status code (RFC 3463) of a reply's text: at its beginning, after the recipient, or after a `#`,
/// as qmail writes it.
fn enhanced(text: &str) -> Option<(u16, u16, u16)> {
    let behind_address = || text.trim_start().strip_prefix('<')?.split_once('>');
    let at_sign = || text.split_once('#').and_then(|(_, code)| enhanced_at(code));
    enhanced_at(text)
        .or_else(|| enhanced_at(behind_address()?.1.trim_start_matches([':', '.', ' '])))
        .or_else(at_sign)
}

/// Parses the code at the beginning of a text, with or without punctuation around it.
fn enhanced_at(text: &str) -> Option<(u16, u16, u16)> {
    let word = text.trim_start().trim_start_matches(['#', '(', '[', '<', '"']);
    let word = word.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    let mut numbers = word.trim_end_matches('.').split('.').map(str::parse::<u16>);
    match (numbers.next()?, numbers.next()?, numbers.next()?, numbers.next()) {
        (Ok(class @ (2 | 4 | 5)), Ok(subject), Ok(detail), None) => Some((class, subject, detail)),
        _ => None,
    }
}

/// Returns `true` if the text of a 552 is about a full mailbox, and not about the size of the message.
fn is_full(text: &str) -> bool {
    ["quota", "full", "storage", "no space"].iter().any(|word| has(text, word)) && !has(text, "message size")
}

/// Returns `true` if a text without an enhanced code is about a full mailbox.
fn is_quota(text: &str) -> bool {
    ["quota", "mailbox full", "mailbox is full"].iter().any(|words| has(text, words))
}

/// Returns `true` if the text is one of a transient refusal.
fn has_transient_words(text: &str) -> bool {
    TRANSIENT_WORDS.iter().any(|words| has(text, words))
}

/// Returns `true` if the text contains these words, in any case.
fn has(text: &str, words: &str) -> bool {
    text.to_ascii_lowercase().contains(words)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::yahoo(Some("SERVERBUG"), "UID SEARCH Server error - Please try again later")]
    #[case::dovecot(Some("SERVERBUG"), "Internal error occurred. Refer to server log for more information.")]
    #[case::rate(Some("LIMIT"), "UID FETCH Rate limit hit.")]
    #[case::in_use(Some("INUSE"), "Mailbox in use")]
    #[case::gmail(Some("THROTTLED"), "slow down")]
    #[case::gmail_quota(Some("OVERQUOTA"), "Account exceeded command or bandwidth limits. (Failure)")]
    #[case::gmail_alert(Some("ALERT"), "Account exceeded command or bandwidth limits. (Failure)")]
    #[case::gmail_connections(Some("ALERT"), "Too many simultaneous connections. (Failure)")]
    #[case::gmail_without(None, "System Error (Failure)")]
    #[case::exchange(Some("BAD"), "User is authenticated but not connected.")]
    #[case::exchange_number(None, "Server Unavailable. 15")]
    #[case::exchange_throttles(
        Some("BAD"),
        "Request is throttled. Suggested Backoff Time: 5000 milliseconds"
    )]
    #[case::unspecific(None, "UID SEARCH failed temporarily")]
    #[case::unknown_code(Some("X-UNHEARD-OF"), "the backend is temporarily asleep")]
    #[case::courier(None, "You exceeded your mail quota.")]
    #[case::full_alert(Some("ALERT"), "Mailbox is over quota")]
    #[case::full_words(None, "Mailbox is full")]
    #[case::locked(None, "Mailbox is locked by POP3 session")]
    #[case::smtp(Some("450"), "greylisted")]
    #[case::full(Some("552"), "5.2.2 mailbox full")]
    #[case::class_4_in_5(Some("550"), "4.7.1 come back later")]
    fn a_transient_refusal_is_recognised(#[case] code: Option<&str>, #[case] text: &str) {
        assert!(is_transient(code, text));
    }

    #[rstest]
    #[case(Some("NOPERM"), "try again with another account")]
    #[case(Some("CANNOT"), "not here")]
    #[case(Some("NONEXISTENT"), "no such mailbox")]
    #[case(Some("CLIENTBUG"), "you can't do that")]
    #[case(Some("CORRUPTION"), "the mailbox is broken")]
    #[case(Some("CONTACTADMIN"), "call us")]
    #[case(Some("X-UNHEARD-OF"), "no")]
    #[case(Some("BAD"), "unknown command")]
    #[case(None, "no")]
    #[case(Some("550"), "5.1.1 no such user")]
    #[case(Some("554"), "try again, but not with this")]
    fn a_permanent_refusal_is_recognised(#[case] code: Option<&str>, #[case] text: &str) {
        assert!(!is_transient(code, text));
    }

    #[rstest]
    #[case(450, "4.2.0 greylisted", false, Verdict::Transient)]
    #[case(452, "5.3.4 too much for now", false, Verdict::Transient)]
    #[case(421, "closing", false, Verdict::Transient)]
    #[case(550, "4.2.1 later", true, Verdict::Transient)]
    #[case(550, "5.2.2 mailbox full", true, Verdict::Transient)]
    #[case(552, "5.2.2 over quota", true, Verdict::Transient)]
    #[case(552, "#5.2.2 over quota", true, Verdict::Transient)]
    #[case(554, "5.3.1 no room", false, Verdict::Transient)]
    #[case(552, "5.5.3 too many recipients", true, Verdict::Transient)]
    #[case(552, "too many recipients", true, Verdict::Transient)]
    #[case(552, "Mailbox is full", true, Verdict::Transient)]
    #[case(552, "Requested mail action aborted: exceeded storage allocation", true, Verdict::Transient)]
    #[case(552, "5.2.1 disabled", true, Verdict::Permanent)]
    #[case(552, "Message size exceeds fixed maximum message size", false, Verdict::TooLarge)]
    #[case(552, "5.3.4 too large", false, Verdict::TooLarge)]
    #[case(550, "5.2.3 longer than this mailbox takes", true, Verdict::TooLarge)]
    #[case(554, "5.3.4 Message too big for system", false, Verdict::TooLarge)]
    #[case(523, "(5.2.3) too long", false, Verdict::TooLarge)]
    #[case(550, "5.4.1 Recipient address rejected: Access denied", true, Verdict::Permanent)]
    #[case(
        554,
        "5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; ..",
        false,
        Verdict::Transient
    )]
    #[case(554, "5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException; ..", false, Verdict::Permanent)]
    #[case(554, "5.4.6 too many hops", false, Verdict::Permanent)]
    #[case(550, "no such user", true, Verdict::Permanent)]
    #[case(550, "4.4 beers", true, Verdict::Permanent)]
    #[case(550, "Mailbox quota exceeded", true, Verdict::Transient)]
    #[case(554, "mailbox is full", false, Verdict::Transient)]
    #[case(550, "<bob@example.org>: 5.2.2 no room", true, Verdict::Transient)]
    #[case(554, "sorry, no room for bob (#5.2.2)", true, Verdict::Transient)]
    #[case(552, "sorry, that message size exceeds my databytes limit (#5.3.4)", false, Verdict::TooLarge)]
    #[case(550, "5.1.1 no such user, and no quota", true, Verdict::Permanent)]
    #[case(550, "5.4.5 Daily user sending limit exceeded", false, Verdict::Transient)]
    fn rfc_3463_decides_before_the_reply_code(
        #[case] code: u16,
        #[case] text: &str,
        #[case] of_recipient: bool,
        #[case] verdict: Verdict,
    ) {
        assert_eq!(smtp(code, text, of_recipient), verdict);
    }

    #[rstest]
    #[case(Some("AUTHENTICATIONFAILED"), "Invalid credentials (Failure)", Login::WrongCredentials)]
    #[case(Some("AUTHENTICATIONFAILED"), "Too many failed attempts, try again later", Login::Unclear)]
    #[case(Some("EXPIRED"), "your password is from last year", Login::WrongCredentials)]
    #[case(Some("535"), "5.7.8 Username and Password not accepted", Login::WrongCredentials)]
    #[case(Some("535"), "5.7.3 Authentication unsuccessful", Login::WrongCredentials)]
    #[case(Some("535"), "authentication failed", Login::WrongCredentials)]
    #[case(Some("535"), "5.7.139 the user's security defaults", Login::Unclear)]
    #[case(Some("535"), "5.7.0 too many login failures", Login::Unclear)]
    #[case(Some("535"), "4.7.0 Temporary failure", Login::Later)]
    #[case(
        Some("535"),
        "5.7.8 Error: authentication failed: Connection lost to authentication server",
        Login::Unclear
    )]
    #[case(Some("535"), "5.7.8 Error: authentication failed: generic failure", Login::Unclear)]
    #[case(
        Some("535"),
        "5.7.8 Error: authentication failed: authentication failure",
        Login::WrongCredentials
    )]
    #[case(Some("AUTHENTICATIONFAILED"), "Internal authentication failure", Login::Unclear)]
    #[case(Some("AUTHENTICATIONFAILED"), "this account is locked", Login::Unclear)]
    #[case(Some("AUTHENTICATIONFAILED"), "IMAP access is disabled for this account", Login::Unclear)]
    #[case(Some("534"), "5.7.9 Application-specific password required", Login::Unclear)]
    #[case(Some("454"), "4.7.0 Temporary authentication failure", Login::Later)]
    #[case(Some("550"), "5.7.30 Basic authentication is not supported", Login::Other)]
    #[case(Some("UNAVAILABLE"), "the directory sleeps", Login::Later)]
    #[case(Some("SERVERBUG"), "internal error", Login::Later)]
    #[case(Some("ALERT"), "Too many simultaneous connections", Login::Later)]
    #[case(Some("ALERT"), "Application-specific password required", Login::Unclear)]
    #[case(Some("PRIVACYREQUIRED"), "use TLS", Login::Unclear)]
    #[case(Some("CONTACTADMIN"), "call us", Login::Unclear)]
    #[case(Some("BAD"), "what?", Login::Other)]
    #[case(Some("BAD"), "server busy", Login::Later)]
    #[case(None, "Login failed.", Login::Unclear)]
    #[case(None, "Login fail. The password is incorrect, or system is busy", Login::Unclear)]
    #[case(Some("454"), "4.7.0 invalid username or password", Login::Unclear)]
    #[case(None, "server busy", Login::Later)]
    fn only_a_clear_refusal_means_wrong_credentials(
        #[case] code: Option<&str>,
        #[case] text: &str,
        #[case] meaning: Login,
    ) {
        assert_eq!(login(code, text), meaning);
    }

    #[rstest]
    #[case::microsoft(None, "AUTHENTICATE failed.", false, Login::WrongCredentials)]
    #[case::gmail(Some("ALERT"), "Invalid credentials (Failure)", false, Login::WrongCredentials)]
    #[case::exchange(Some("535"), "5.7.3 Authentication unsuccessful", false, Login::WrongCredentials)]
    #[case::by_policy(Some("535"), "5.7.139 Authentication unsuccessful", true, Login::Unclear)]
    #[case::blocked(None, "this account is blocked", false, Login::Unclear)]
    #[case::lost_behind_a_reason(None, "connection lost", true, Login::WrongCredentials)]
    #[case::for_now(Some("UNAVAILABLE"), "the token server sleeps", true, Login::Later)]
    #[case::misunderstood(Some("BAD"), "what?", false, Login::Other)]
    fn a_refused_token_is_told_from_other_refusals(
        #[case] code: Option<&str>,
        #[case] text: &str,
        #[case] has_reason: bool,
        #[case] meaning: Login,
    ) {
        assert_eq!(token_login(code, text, has_reason), meaning);
    }

    #[rstest]
    #[case("NOOP: Session invalidated - AccessTokenExpired", true)]
    #[case("NOOP: the server refused: User is authenticated but not connected.", true)]
    #[case("421 4.7.0 access token has ended", true)]
    #[case("NOOP: Autologout; idle for too long", false)]
    fn a_connection_that_ended_with_its_token_is_recognised(#[case] text: &str, #[case] has_ended: bool) {
        assert_eq!(is_token_ended(None, text), has_ended);
    }

    #[rstest]
    #[case(Some("TOOBIG"), "no", true)]
    #[case(Some("BAD"), "Command Error. 10", true)]
    #[case(Some("BAD"), "Error in IMAP command UID COPY: Too long argument", true)]
    #[case(Some("LIMIT"), "too many messages", true)]
    #[case(Some("LIMIT"), "UID FETCH Rate limit hit.", false)]
    #[case(None, "line too long", true)]
    #[case(None, "no", false)]
    #[case(Some("BAD"), "User is authenticated but not connected.", false)]
    #[case(Some("NOPERM"), "too long", false)]
    fn a_command_that_was_too_long_is_recognised(
        #[case] code: Option<&str>,
        #[case] text: &str,
        #[case] too_long: bool,
    ) {
        assert_eq!(is_too_long(code, text), too_long);
    }
}
