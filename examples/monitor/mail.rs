//! The messages: sent to the own address, and consumed.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use pymail::{Consumer, Delivery, Imap, Message, Smtp};

/// The property that says what the consumer does with a message.
const PROPERTY: &str = "monitor";
const RETURN: &str = "return";
const REJECT: &str = "reject";

/// The time until a returned message is handed out again.
const DELAY: Duration = Duration::from_millis(500);

/// Sends a message at each interval, until `stopped` is closed. A failure shows in the counts.
pub(crate) fn send(smtp: &Smtp, address: &str, every: Duration, stopped: &Receiver<()>) {
    for index in 0_u32.. {
        let message = Message::new(index.to_string(), address, address, "a message of examples/monitor");
        let (message, copies) = match index % 20 {
            3 => (message, 2),
            7 => (message.with_property(PROPERTY, RETURN), 1),
            11 => (message.with_property(PROPERTY, REJECT), 1),
            _ => (message, 1),
        };
        let _ = smtp.send_all(&vec![message; copies]);
        if stopped.recv_timeout(every) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// Consumes messages until [`Imap::drain`].
///
/// # Errors
///
/// Those that a retry does not help against.
pub(crate) fn consume(imap: &Imap, deliveries: Consumer) -> pymail::Result<()> {
    for delivery in deliveries {
        let delivery = delivery?;
        match handle(imap, &delivery) {
            Err(error) if error.is_transient() => imap.nack([&delivery], DELAY)?,
            result => result?,
        }
    }
    Ok(())
}

fn handle(imap: &Imap, delivery: &Delivery) -> pymail::Result<()> {
    let told = delivery.message().ok().and_then(|message| message.property(PROPERTY));
    match told {
        Some(RETURN) if delivery.delivery_count() == 1 => imap.nack([delivery], DELAY),
        Some(REJECT) => imap.reject([delivery], "it asks for that"),
        _ => imap.ack([delivery]),
    }
}
