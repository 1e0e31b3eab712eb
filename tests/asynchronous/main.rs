//! The feature `async`: futures and streams, on real and on scripted servers.
#![allow(unreachable_pub, dead_code, reason = "the fixtures are shared with the other tests")]

mod dropped;
mod executor;
#[path = "../fixtures.rs"]
mod fixtures;
#[cfg(unix)]
mod forks;
mod idle;
#[path = "../mail_site.rs"]
mod mail_site;
mod server_info;
mod streams;
mod turns;

use pymail_test_support as support;
