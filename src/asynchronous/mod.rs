//! The feature `async`: the verbs as futures, and messages as streams, on any runtime.
//!
//! ```text
//!  AsyncImap::ack ─▶ AsyncCall ─ first poll ─▶ Turns ─ one call at a time ─▶ pool: a thread runs Imap::ack
//!                        ▲                                                           │
//!                        └────────────── the result, and the waker ──────────────────┘
//!
//!  AsyncConsumer ─┬─ fetch ───▶ as above
//!                 ├─ wait ────▶ Waiting: woken by an announcement, or by the waiter at a time
//!                 └─ room ────▶ woken when a message leaves the flight
//! ```
//!
//! A verb blocks a thread of a [pool](pool) while it has commands on the wire, and is the blocking verb itself: there
//! is one implementation. All that waits for something other than a response blocks no thread.
//!
//! # Dropped futures
//!
//! | dropped | then |
//! | --- | --- |
//! | before its turn | the verb is not run |
//! | while the verb runs | it runs to its end; what its result holds is let go there |
//! | after that | the result is dropped: deliveries in flight are released, those of `fetch_and_ack` are kept |
//!
//! So no verb is ever half done by a drop.

mod call;
mod handle;
mod pool;
mod turns;

pub use self::call::AsyncCall;
pub(crate) use self::handle::Handle;
