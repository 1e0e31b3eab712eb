//! A Python extension module that sends and receives: pymail in an interpreter that is not its own.

use std::sync::OnceLock;

use pymail::{Credentials, Imap, ImapConfig, Message, Server, Smtp, SmtpConfig};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// A handle that is still in use when the process ends.
static KEPT: OnceLock<Imap> = OnceLock::new();

/// Sends a message from a user to itself and returns the text of the received one.
#[pyfunction]
fn round_trip(
    host: &str,
    imaps: u16,
    submission: u16,
    user: &str,
    password: &str,
    ca_pem: &str,
) -> PyResult<String> {
    // This thread stays attached: pymail detaches while it waits.
    let there_and_back = || {
        let account = || Credentials::new(user, password);
        let sending = Server::starttls(host).port(submission).add_root_certificate_pem(ca_pem);
        let receiving = Server::tls(host).port(imaps).add_root_certificate_pem(ca_pem);
        let smtp = Smtp::connect(SmtpConfig::new(sending, account()).tag("__EXTENSION__"))?;
        let config = ImapConfig::new(receiving, account()).tag("__EXTENSION__");
        let imap = Imap::connect(config)?;
        let _receipt = smtp.send(&Message::new("1", user, user, "it came back"))?;
        loop {
            let batch = imap.fetch()?;
            batch.ack()?;
            if let Some(delivery) = batch.into_iter().next() {
                // These threads are still calling when the interpreter ends.
                for imap in std::iter::repeat_n(KEPT.get_or_init(|| imap), 4) {
                    std::thread::spawn(|| while imap.noop().is_ok() {});
                }
                return delivery.into_message();
            }
        }
    };
    let message =
        there_and_back().map_err(|error: pymail::Error| PyRuntimeError::new_err(error.to_string()))?;
    Ok(message.text_lossy().into_owned())
}

#[pymodule]
fn pymail_extension(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(round_trip, module)?)
}
