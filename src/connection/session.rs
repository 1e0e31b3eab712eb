//! The protocol side of a connection: a logged-in session, and how one handle makes and leaves it.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::Traffic;
use crate::app_code::{self, Mark};
use crate::config::AccessToken;
use crate::deadline::Deadline;
use crate::error::Result;
use crate::events;
use crate::tokens::Tokens;
use crate::waiter::{Beat, Guard};

/// A logged-in session with a server, one command at a time.
pub(crate) trait Session: Send + Sized + 'static {
    /// Sends a NOOP, and takes in the untagged responses that came with the answer.
    fn noop(&mut self) -> Result<()>;

    /// Returns `true` if the server has seen as many NOOPs on this session as it should, so that an idle moment is one
    /// to replace it. SMTP servers take further ones for an attack.
    fn is_used_up(&self) -> bool {
        false
    }

    /// Returns `true` if the server can announce new mail by itself.
    fn can_listen(&self) -> bool {
        false
    }

    /// Returns `true` while the server announces new mail: no other command may be sent then.
    fn is_listening(&self) -> bool {
        false
    }

    /// Has the server announce new mail. Where it can't, and `may_ask`, asks for it.
    ///
    /// Returns `true` if new mail is known already; then the session does not listen.
    fn listen(&mut self, may_ask: bool) -> Result<bool> {
        if may_ask { self.noop().map(|()| false) } else { Ok(false) }
    }

    /// Takes in what the server has sent, without waiting for more. Returns `true` if it has announced new mail.
    fn hear(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// Ends the listening; without `waits`, the response comes before that of the next command.
    fn stop_listening(&mut self, _waits: bool) -> Result<()> {
        Ok(())
    }

    /// Has the heartbeat beat when the server sends something.
    fn park(&self, _beat: Beat) -> Result<()> {
        Ok(())
    }

    /// Ends [`park`](Self::park).
    fn unpark(&self) {}

    /// Sends LOGOUT or QUIT and closes the socket.
    fn close(self) -> Result<()>;

    /// Shuts the socket down at the deadline, unless the guard is dropped before.
    fn watch(&self, deadline: Deadline) -> Guard;

    /// Returns the commands and octets so far.
    fn traffic(&self) -> Traffic;

    /// Runs `wait`, which may block, detached from the interpreter that other sessions need. A caller from Python is
    /// attached; without detaching, it would wait for a call that can't end.
    fn detached<T: Send>(wait: impl FnOnce() -> T + Send) -> T {
        wait()
    }

    /// Returns `true` in a child process that was forked after the session's runtime started: there it can't be used.
    /// Checked before any lock is taken, which may have been held at the fork.
    fn is_forked() -> bool {
        false
    }
}

/// A function that works on a session.
type Hook<S, T> = Box<dyn Fn(&mut S) -> T + Send + Sync>;

/// A function that makes a session, with an access token where the credentials are tokens.
type Connect<S> = Box<dyn Fn(Deadline, Option<&AccessToken>) -> Result<S> + Send + Sync>;

/// The functions by which one handle makes, prepares and leaves its sessions.
pub(crate) struct SessionHooks<S> {
    connect: Connect<S>,
    pub(super) tokens: Tokens,
    pub(super) before_call: Hook<S, Result<()>>,
    pub(super) before_close: Hook<S, ()>,
    pub(super) server: ServerName,
}

/// The name of a server, by which heartbeats and counts are told apart.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct ServerName {
    /// `imap` or `smtp`.
    pub(super) protocol: &'static str,
    pub(super) host: String,
    /// `None` for the protocol's own.
    pub(super) port: Option<u16>,
}

impl ServerName {
    /// Returns a hash of the name.
    pub(super) fn hashed(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

impl<S: Session> SessionHooks<S> {
    /// Makes sessions by `connect`.
    #[cfg(test)]
    pub(crate) fn new(connect: impl Fn(Deadline) -> Result<S> + Send + Sync + 'static) -> Self {
        Self::with_tokens(Tokens::default(), move |deadline, _| connect(deadline))
    }

    /// Makes sessions by `connect`, which gets a token where the credentials are tokens.
    pub(crate) fn with_tokens(
        tokens: Tokens,
        connect: impl Fn(Deadline, Option<&AccessToken>) -> Result<S> + Send + Sync + 'static,
    ) -> Self {
        Self {
            connect: Box::new(connect),
            tokens,
            before_call: Box::new(|_| Ok(())),
            before_close: Box::new(|_| ()),
            server: ServerName::default(),
        }
    }

    /// Makes a session; a second time, if `admit` allows it, with a new token in place of a refused one.
    ///
    /// # Errors
    /// Those of the last attempt.
    pub(super) fn connect(&self, deadline: Deadline, admit: impl FnOnce() -> Result<()>) -> Result<S> {
        let _mark = Mark::new(self.tokens.address());
        let attempt = || self.tokens.log_in(deadline, |token| (self.connect)(deadline, token));
        match attempt() {
            Err(error) if error.is_refused_token() && admit().is_ok() => {
                events::emit(move || tracing::info!(%error, "asking for another access token"));
                attempt()
            }
            result => result,
        }
    }

    /// Returns `true` if this thread runs code of the app for this connection: a provider of access tokens or a connector.
    pub(super) fn run_app_code(&self) -> bool {
        app_code::is_marked(self.tokens.address())
    }

    /// Sets the server, so that a silent one does not delay the heartbeats of others.
    pub(crate) fn at(mut self, protocol: &'static str, (host, port): (String, Option<u16>)) -> Self {
        self.server = ServerName { protocol, host, port };
        self
    }

    /// Runs `hook` before each call and each NOOP, and on each new session. A refusal does not fail the call.
    pub(crate) fn before_call(mut self, hook: impl Fn(&mut S) -> Result<()> + Send + Sync + 'static) -> Self {
        self.before_call = Box::new(hook);
        self
    }

    /// Runs `hook` before LOGOUT or QUIT.
    pub(crate) fn before_close(mut self, hook: impl Fn(&mut S) + Send + Sync + 'static) -> Self {
        self.before_close = Box::new(hook);
        self
    }
}
