//! The accounts of a token server: its tokens and codes, and the rules by which it gives them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::digest;
use serde_json::{Value, json};

use super::http::{Request, Response};
use super::{CLIENT_SECRET, Form, Settings};
use crate::jwt::{self, Claims};

/// The life of a device code.
const DEVICE_CODE_LIFE: Duration = Duration::from_secs(300);

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

#[derive(Default)]
pub(super) struct Accounts {
    count: u64,
    refresh_tokens: BTreeMap<String, RefreshToken>,
    access_tokens: BTreeMap<String, Access>,
    devices: BTreeMap<String, Device>,
    codes: BTreeMap<String, Code>,
}

#[derive(Clone)]
struct RefreshToken {
    /// The number of the sign-in, which those that follow by rotation share.
    family: u64,
    user: String,
    rotated_at: Option<SystemTime>,
}

struct Access {
    user: String,
    scope: String,
    end: SystemTime,
}

struct Device {
    user_code: String,
    decision: Decision,
    interval: Duration,
    next_poll: SystemTime,
    end: SystemTime,
}

#[derive(Clone)]
enum Decision {
    Pending,
    Denied,
    Approved(String),
}

/// An authorization code.
struct Code {
    user: String,
    challenge: String,
    redirect_uri: String,
}

/// An error of OAuth, and its status.
struct Refused(u16, &'static str);

type Outcome = Result<Value, Refused>;

impl Accounts {
    pub(super) fn sign_in(&mut self, user: &str) -> String {
        let family = self.next();
        self.add_refresh_token(family, user)
    }

    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    fn add_refresh_token(&mut self, family: u64, user: &str) -> String {
        let token = format!("refresh-token-{}-of-{family}", self.next());
        let user = user.to_owned();
        self.refresh_tokens.insert(token.clone(), RefreshToken { family, user, rotated_at: None });
        token
    }

    pub(super) fn revoke(&mut self, token: &str) {
        self.refresh_tokens.remove(token);
        self.access_tokens.remove(token);
    }

    pub(super) fn revoke_all(&mut self, user: &str) {
        self.refresh_tokens.retain(|_, token| token.user != user);
        self.access_tokens.retain(|_, token| token.user != user);
    }

    pub(super) fn decide(&mut self, user_code: &str, user: Option<&str>) {
        let device = self.devices.values_mut().find(|device| device.user_code == user_code);
        device.expect("a device with this code").decision =
            user.map_or(Decision::Denied, |user| Decision::Approved(user.to_owned()));
    }

    pub(super) fn expire_device_codes(&mut self) {
        self.devices.values_mut().for_each(|device| device.end = UNIX_EPOCH);
    }

    pub(super) fn answer(&mut self, request: &Request, settings: &Settings, now: SystemTime) -> Response {
        let form = &request.form;
        if form.get("client_secret").is_some_and(|secret| secret != CLIENT_SECRET) {
            return error(&Refused(401, "invalid_client"));
        }
        let outcome = match request.path.as_str() {
            "/token" => self.token(form, settings, now),
            "/device_authorization" => Ok(self.device(settings, now)),
            "/introspect" => Ok(self.introspect(form, now)),
            "/authorize" => return self.authorize(form),
            _ => Err(Refused(404, "not_found")),
        };
        outcome.map_or_else(|refused| error(&refused), |body| Response::json(200, &body))
    }

    fn token(&mut self, form: &Form, settings: &Settings, now: SystemTime) -> Outcome {
        match field(form, "grant_type") {
            "refresh_token" => self.by_refresh_token(field(form, "refresh_token"), settings, now),
            DEVICE_GRANT => self.by_device_code(field(form, "device_code"), settings, now),
            "authorization_code" => self.by_code(form, settings, now),
            "client_credentials" => Ok(self.issue(field(form, "client_id"), settings, now)),
            _ => Err(Refused(400, "unsupported_grant_type")),
        }
    }

    fn by_refresh_token(&mut self, token: &str, settings: &Settings, now: SystemTime) -> Outcome {
        let Some(known) = self.refresh_tokens.get(token).cloned() else {
            return Err(Refused(400, "invalid_grant"));
        };
        let is_late = |at: SystemTime| now.duration_since(at).unwrap_or_default() >= settings.grace;
        if known.rotated_at.is_some_and(is_late) {
            self.refresh_tokens.retain(|_, other| other.family != known.family);
            return Err(Refused(400, "invalid_grant"));
        }
        let mut body = self.issue(&known.user, settings, now);
        if settings.rotates {
            self.refresh_tokens.entry(token.to_owned()).and_modify(|token| {
                token.rotated_at.get_or_insert(now);
            });
            body["refresh_token"] = self.add_refresh_token(known.family, &known.user).into();
        }
        Ok(body)
    }

    fn by_device_code(&mut self, code: &str, settings: &Settings, now: SystemTime) -> Outcome {
        let device = self.devices.get_mut(code).ok_or(Refused(400, "invalid_grant"))?;
        if now >= device.end {
            return Err(Refused(400, "expired_token"));
        }
        let is_early = now < device.next_poll;
        if is_early {
            device.interval += Duration::from_secs(5);
        }
        device.next_poll = now + device.interval;
        let user = match device.decision.clone() {
            _ if is_early => return Err(Refused(400, "slow_down")),
            Decision::Pending => return Err(Refused(400, "authorization_pending")),
            Decision::Denied => return Err(Refused(400, "access_denied")),
            Decision::Approved(user) => user,
        };
        self.devices.remove(code);
        Ok(self.issue_with_refresh_token(&user, settings, now))
    }

    fn by_code(&mut self, form: &Form, settings: &Settings, now: SystemTime) -> Outcome {
        let code = self.codes.remove(field(form, "code")).ok_or(Refused(400, "invalid_grant"))?;
        let digest = digest::digest(&digest::SHA256, field(form, "code_verifier").as_bytes());
        let is_right = BASE64_URL_SAFE_NO_PAD.encode(digest) == code.challenge
            && field(form, "redirect_uri") == code.redirect_uri;
        if !is_right {
            return Err(Refused(400, "invalid_grant"));
        }
        Ok(self.issue_with_refresh_token(&code.user, settings, now))
    }

    /// Redirects to the client with a code, as if the user `login_hint` had allowed the request.
    fn authorize(&mut self, form: &Form) -> Response {
        let code = format!("code-{}", self.next());
        let text = |name| field(form, name).to_owned();
        let (user, challenge) = (text("login_hint"), text("code_challenge"));
        let (redirect_uri, state) = (text("redirect_uri"), text("state"));
        let location = format!("{redirect_uri}?code={code}&state={state}");
        self.codes.insert(code, Code { user, challenge, redirect_uri });
        Response::new(302, "text/plain", "").with_header("Location", &location)
    }

    fn issue_with_refresh_token(&mut self, user: &str, settings: &Settings, now: SystemTime) -> Value {
        let mut body = self.issue(user, settings, now);
        body["refresh_token"] = self.sign_in(user).into();
        body
    }

    /// Makes an access token, and the response with it.
    fn issue(&mut self, user: &str, settings: &Settings, now: SystemTime) -> Value {
        let seconds = settings.life.as_secs();
        let (id, scope) = (self.next(), settings.scope.clone());
        let claims = Claims { scope: &scope, seconds: seconds.cast_signed(), id, ..Claims::of(user) };
        let token = jwt::mint(&claims);
        let mut body = json!({ "access_token": &token, "token_type": "Bearer", "scope": &scope });
        if settings.tells_life {
            body["expires_in"] = seconds.into();
        }
        let access = Access { user: user.to_owned(), scope, end: now + settings.life };
        self.access_tokens.insert(token, access);
        body
    }

    fn device(&mut self, settings: &Settings, now: SystemTime) -> Value {
        let (number, interval) = (self.next(), Duration::from_secs(settings.interval));
        let (device_code, user_code) = (format!("device-code-{number}"), format!("WDJB-{number:04}"));
        let body = json!({
            "device_code": &device_code, "user_code": &user_code, "verification_uri": "https://localhost/device",
            "expires_in": DEVICE_CODE_LIFE.as_secs(), "interval": settings.interval,
        });
        let (next_poll, end) = (now + interval, now + DEVICE_CODE_LIFE);
        self.devices
            .insert(device_code, Device { user_code, decision: Decision::Pending, interval, next_poll, end });
        body
    }

    /// Answers as Dovecot's `active_attribute = active` and `username_attribute = username` want it.
    fn introspect(&self, form: &Form, now: SystemTime) -> Value {
        let known = self.access_tokens.get(field(form, "token")).filter(|access| now < access.end);
        let Some(Access { user, scope, end }) = known else { return json!({ "active": false }) };
        let end = end.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        json!({ "active": true, "username": user, "scope": scope, "exp": end })
    }
}

fn field<'a>(form: &'a Form, name: &str) -> &'a str {
    form.get(name).map_or("", String::as_str)
}

fn error(Refused(status, error): &Refused) -> Response {
    Response::json(*status, &json!({ "error": error, "error_description": "as the test wants it" }))
}
