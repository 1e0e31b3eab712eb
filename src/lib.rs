//! Mail as a message transport: apps send small tagged messages through any mail account, and receive them from one.
//!
//! [`Smtp`] sends [`Message`]s. [`Imap`] fetches them, archives those that the app has acknowledged in a mailbox named
//! like the tag, and removes them from the inbox. Both handles are cheap to clone and can be used from any thread. The
//! protocols are spoken by CPython's own `imaplib` and `smtplib`, embedded in the process.
//!
//! ```no_run
//! use pymail::{Credentials, Imap, ImapConfig, Message, Server, Smtp, SmtpConfig};
//!
//! # fn main() -> pymail::Result<()> {
//! let account = || Credentials::new("alice@example.org", "correct horse");
//! let smtp = Smtp::connect(SmtpConfig::new(Server::starttls("smtp.example.org"), account()).tag("__APP__"))?;
//! let receipt = smtp.send(&Message::new("42", "alice@example.org", "bob@example.org", "hello"))?;
//! assert!(receipt.all_accepted());
//!
//! let imap = Imap::connect(ImapConfig::new(Server::tls("imap.example.org"), account()).tag("__APP__"))?;
//! let batch = imap.fetch()?;
//! for delivery in &batch {
//!     println!("{}", delivery.message()?.text_lossy());
//! }
//! batch.ack()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Receiving
//!
//! [`Imap::fetch`] changes nothing on the server. A message leaves the inbox only by [`Batch::ack`] or [`Imap::ack`];
//! without an acknowledgement it is delivered again, in this process or the next one. [`Imap::deliveries`] iterates
//! over a mailbox of any size. Mail without the tag is not touched.
//!
//! The methods [`search`](Imap::search), [`fetch_uids`](Imap::fetch_uids), [`copy`](Imap::copy),
//! [`move_to`](Imap::move_to) and [`delete`](Imap::delete) handle any mail, with the tag or without.
//!
//! Three settings of [`ImapConfig`] change how messages are received: [`shared`](ImapConfig::shared) lets several
//! processes receive from one mailbox, [`dead_letters`](ImapConfig::dead_letters) moves unreadable and failing messages
//! to a mailbox of their own, and [`dedup_window`](ImapConfig::dedup_window) is the number of acknowledged messages
//! whose duplicates are dropped.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use pymail::{Imap, ImapConfig};
//! # fn consume(config: ImapConfig) -> pymail::Result<()> {
//! let imap = Imap::connect(config.shared(Duration::from_secs(300)).dead_letters(3))?;
//! for delivery in &imap.fetch()? {
//!     match delivery.message() {
//!         Ok(message) if message.text_lossy().is_empty() => imap.reject([delivery], "empty")?,
//!         _ => imap.ack([delivery])?,
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Imap::consume`] waits for messages, which the server announces at once where it has IDLE; [`Imap::wait`] is for
//! apps with loops of their own. [`Imap::fetch`] returns what is there, or an empty batch. Every call blocks; with the
//! feature `async`, `AsyncImap` and `AsyncSmtp` have the same verbs as futures, on any runtime, and streams of
//! messages.
//!
//! # Sending
//!
//! [`Smtp::send`] returns when the server has accepted the message, with a [`Receipt`] that has the server's answer for
//! each recipient. [`Smtp::send_all`] sends many messages on one connection or [several](SmtpConfig::connections), and
//! returns one result a message; one that fails does not keep the others from being sent. A message that was certainly
//! not sent is sent again automatically, on a new connection; one that ends two connections in a row keeps its error.
//!
//! # Errors
//!
//! There is one [`Error`] type. Its [`kind`](Error::kind) tells the remedy: [`ErrorKind`] has the table. Any call can
//! have the errors of connecting, which are listed [at `Imap`](Imap#errors-of-every-call) and
//! [at `Smtp`](Smtp#errors-of-every-call); each call lists its own. [`is_transient`](Error::is_transient) returns
//! `true` if a retry may help, and [`retry_after`](Error::retry_after) the wait before it. A call that finds its
//! connection lost reconnects and repeats its commands once, unless that could do something twice.
//!
//! ```no_run
//! # use std::time::Duration;
//! # fn receive(imap: &pymail::Imap) -> pymail::Result<()> {
//! let batch = loop {
//!     match imap.fetch() {
//!         Err(error) if error.is_transient() => {
//!             eprintln!("{error:#}"); // with the causes
//!             std::thread::sleep(error.retry_after().unwrap_or(Duration::from_secs(10)));
//!         }
//!         result => break result?,
//!     }
//! };
//! # batch.ack()
//! # }
//! ```
//!
//! After [`ErrorKind::OutcomeUnknown`], the message may have been delivered. Sending it again makes at worst a
//! duplicate with the same [`MessageId`], which [`Imap`] drops. [`resend_unknown`](SmtpConfig::resend_unknown) sends
//! again automatically.
//!
//! # Staying connected
//!
//! Every call that sends commands returns by its [`timeout`](ImapConfig::timeout), by default 60 s by the wall clock,
//! even when the server never answers. [`Smtp::send_all`] has one for every 100 messages or 8 MiB.
//!
//! Background threads, shared by all handles, send a NOOP after 10 s without traffic (SMTP: 30 s), notice dead
//! connections, and reconnect with growing waits. A call does not wait for them and reconnects at once, unless the
//! [rate limit](ImapConfig::max_connects_per_minute) is reached, the server asked to wait, or the login or the mailbox
//! was refused. Then it returns the last error, with the wait in [`retry_after`](Error::retry_after). A call that comes
//! during a NOOP waits for its answer: a round trip, or on a dead connection up to one heartbeat interval.
//!
//! The handle ends when the server says clearly that the credentials are wrong. After any other refused login it
//! retries: first after 10 s when the refusal is transient, after a minute when the server gives no clear reason, then
//! less often, down to once in 5 min or an hour.
//!
//! With [access tokens](Credentials::oauth2), the app is asked for one at every connect, and again when one is refused
//! or has ended. A refused token never ends the handle. When the app says that the account's owner must sign in again
//! ([`Error::grant_gone`]), the handle makes no connection until [`Imap::signed_in`] or [`Smtp::signed_in`]. With the
//! feature `oauth`, the module `oauth` signs users in and gets tokens from Google, Microsoft and other token servers.
//!
//! # Networks
//!
//! A host name is resolved at every connect. Of several addresses, IPv6 and IPv4 by turns, the next one is tried after
//! 250 ms, or as soon as one fails (RFC 8305); the first that accepts is used.
//!
//! [`Server::proxy`] connects through a [`Proxy`], by SOCKS5 or HTTP CONNECT, and [`Server::connector`] by a function
//! of the app. [`Server::add_root_certificate_pem`] trusts a company's certificate authority, and
//! [`Server::client_certificate_pem`] shows the server a client certificate. The proxy variables of the environment are
//! read by [`Proxy::from_env`] only, and, for token servers, by `oauth::Client::proxy_from_env`.
//!
//! ```no_run
//! # use pymail::{Credentials, Imap, ImapConfig, Proxy, Server};
//! # fn connect(authority: &str, certificate: &str, key: &str) -> pymail::Result<()> {
//! let server = Server::tls("imap.example.org")
//!     .proxy(Proxy::socks5("proxy.example.org", 1080).login("alice", "s3cret"))
//!     .add_root_certificate_pem(authority)
//!     .client_certificate_pem(certificate, key);
//! let imap = Imap::connect(ImapConfig::new(server, Credentials::new("alice@example.org", "correct horse")))?;
//! # Ok(())
//! # }
//! ```
//!
//! # Monitoring
//!
//! [`Imap::status`] and [`Smtp::status`] return the [`State`] of the connection and its last error. [`Imap::stats`] and
//! [`Smtp::stats`] return counts of commands, octets, messages and failures, the number of messages that wait, and the
//! times from an announcement to its delivery. Neither waits for a call on the connection.
//!
//! With the feature `metrics`, the recorder that the app has installed (crate `metrics`) gets these counts whenever
//! they change, on the thread of the call or on a background thread. No lock is held then; a panic of the recorder is
//! an event.
//!
//! Losses, reconnections and other incidents are emitted as events of the `tracing` crate, at the level `WARN` when
//! something failed, else `INFO`. They are emitted after all locks are released, so a subscriber may call the handle.
//! No event and no `Debug` shows a password or an access token.
//!
//! Each verb has a span at the level `INFO`, such as `imap.fetch` and `smtp.send`, with the fields `messages`,
//! `elapsed_ms` and `error`, the [`ErrorKind`]. Each delivery has a span at the level `DEBUG`, `imap.delivery`, from
//! the moment when the app gets it until it drops it, with `uid`, `uid_validity`, `count` (of deliveries), `size`
//! (octets of the body), `message_hash` (FNV-1a of the Message-ID, 64 bits), `latency_ms` (after an announcement) and
//! `error`. No span has text of a message in it: no id, address, property or body.
//!
//! The transcript of a connection is emitted at the level `TRACE`, with the target `pymail::wire`: each line that is
//! sent or received, with the fields `protocol`, `connection` (a number), `sent` and `at_ms` (since the connection was
//! made). It has the names of commands, names of mailboxes and the status lines of the server, and counts of octets in
//! place of secrets, addresses, search texts, headers and bodies. There is one for connections that are made while a
//! subscriber is interested in that target; otherwise it costs nothing.
//!
//! # The host process
//!
//! The interpreter starts on first use, isolated from the environment, with the standard library of the loaded
//! libpython. An interpreter that the host has started is used as it is. It is never finalised. Calls may come from
//! threads that are attached to the interpreter: they detach while they wait. Signal handlers stay the host's.
//!
//! After a `fork`, the child's handles return [`ErrorKind::Runtime`]. A child that executes another program
//! (`std::process::Command`) is not affected.
//!
//! pymail needs CPython 3.9 to 3.15 with a shared libpython. On Unix an app needs an rpath to it; Windows finds Python's
//! DLL beside the app, or on PATH: see the README.

mod acknowledge;
mod app_code;
#[cfg(feature = "async")]
mod async_imap;
#[cfg(feature = "async")]
mod asynchronous;
mod backoff;
mod by_uid;
mod claims;
mod codes;
mod config;
mod connection;
mod consumer;
mod date;
mod dead_letters;
mod deadline;
mod delivery;
mod delivery_counts;
mod duplicates;
mod error;
mod events;
mod fetched;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod idna;
mod imap;
mod in_flight;
mod message;
mod moves;
#[cfg(feature = "oauth")]
pub mod oauth;
mod proxy;
mod python; // the only module that embeds CPython
mod route;
mod runtime;
mod search;
mod secrets;
mod server_info;
mod signal;
mod smtp;
mod socket;
mod spans;
mod tcp;
mod throttle;
mod tokens;
mod transcript;
mod uid;
mod waiter;
mod withheld;

#[cfg(feature = "async")]
pub use crate::async_imap::{AsyncConsumer, AsyncDeadLetters, AsyncDeliveries, AsyncImap};
#[cfg(feature = "async")]
pub use crate::asynchronous::AsyncCall;
pub use crate::by_uid::RawMail;
pub use crate::config::{
    AccessToken, ConnectRequest, Credentials, DEFAULT_TAG, ImapConfig, PasswordKind, Provider,
    ProviderLimits, Proxy, SearchKind, Security, Server, SmtpConfig, TokenId, TokenRequest,
};
pub use crate::connection::{Latency, Push, State, Stats, Status};
pub use crate::consumer::Consumer;
pub use crate::dead_letters::{DeadLetter, DeadLetters, Depth};
pub use crate::delivery::Delivery;
pub use crate::error::{Error, ErrorKind, Result, TokenRefusal};
pub use crate::imap::{Batch, Deliveries, Imap};
pub use crate::message::{Message, MessageId, Recipients};
pub use crate::runtime::Runtime;
pub use crate::server_info::{ServerInfo, TlsInfo};
#[cfg(feature = "async")]
pub use crate::smtp::AsyncSmtp;
pub use crate::smtp::{Answer, Receipt, Smtp};
pub use crate::uid::{Uid, UidSet, UidValidity};

/// Fails to compile when a public type loses `Send` or `Sync`.
const _: () = {
    const fn assert_send_sync<T: Send + Sync>() {}
    assert_send_sync::<Imap>();
    assert_send_sync::<Smtp>();
    assert_send_sync::<Batch>();
    assert_send_sync::<Deliveries>();
    assert_send_sync::<Delivery>();
    assert_send_sync::<DeadLetter>();
    assert_send_sync::<DeadLetters>();
    assert_send_sync::<RawMail>();
    assert_send_sync::<Message>();
    assert_send_sync::<MessageId>();
    assert_send_sync::<Recipients>();
    assert_send_sync::<Receipt>();
    assert_send_sync::<Answer>();
    assert_send_sync::<UidSet>();
    assert_send_sync::<ServerInfo>();
    assert_send_sync::<Error>();
    assert_send_sync::<Status>();
    assert_send_sync::<AccessToken>();
    assert_send_sync::<TokenRequest>();
    assert_send_sync::<Provider>();
    assert_send_sync::<Proxy>();
    assert_send_sync::<ConnectRequest>();
    assert_send_sync::<ImapConfig>();
    assert_send_sync::<SmtpConfig>();
};

#[cfg(feature = "oauth")]
const _: () = {
    const fn assert_send_sync<T: Send + Sync>() {}
    assert_send_sync::<oauth::Client>();
    assert_send_sync::<oauth::TokenSource>();
    assert_send_sync::<oauth::DeviceSignIn>();
    assert_send_sync::<oauth::BrowserSignIn>();
};

/// Fails to compile when a future or a stream can't be spawned, or polled without being pinned.
#[cfg(feature = "async")]
const _: () = {
    const fn assert_send_sync<T: Send + Sync>() {}
    const fn assert_spawns<T: Send + Unpin + 'static>() {}
    assert_send_sync::<AsyncImap>();
    assert_send_sync::<AsyncSmtp>();
    assert_spawns::<AsyncCall<Result<Batch>>>();
    assert_spawns::<AsyncConsumer>();
    assert_spawns::<AsyncDeliveries>();
    assert_spawns::<AsyncDeadLetters>();
};

#[cfg(all(doctest, feature = "oauth"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../docs/push.md")]
struct AboutPush;

#[cfg(doctest)]
#[doc = include_str!("../docs/providers.md")]
struct AboutProviders;
