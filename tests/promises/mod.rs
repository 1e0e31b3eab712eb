//! The README's promises, by their names there, each on every kind of server.

mod at_least_once;
mod dead_letters;
mod depth;
mod exact;
mod once;
mod one_bad_message;
mod ours_only;
mod push;
mod push_at_any_moment;
mod redrive;
mod secret;
mod several_consumers;
mod stays_up;
mod tls;
mod walk;
mod wrong_security;
