//! A subscriber of `tracing` that prints the transcript of each connection.

use std::fmt::{Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

/// Prints the events with the target `pymail::wire`, and no others.
pub(crate) struct Transcript;

/// The fields of an event.
#[derive(Default)]
struct Line {
    protocol: String,
    connection: u64,
    is_sent: Option<bool>,
    at_ms: f64,
    text: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            let _ = write!(self.text, "{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "protocol" {
            value.clone_into(&mut self.protocol);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "connection" {
            self.connection = value;
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "sent" {
            self.is_sent = Some(value);
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "at_ms" {
            self.at_ms = value;
        }
    }
}

impl Subscriber for Transcript {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "pymail::wire" && *metadata.level() == Level::TRACE
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let arrow = line.is_sent.map_or("..", |is_sent| if is_sent { "->" } else { "<-" });
        eprintln!("{} {} {:>8.1} ms {arrow} {}", line.protocol, line.connection, line.at_ms, line.text);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
