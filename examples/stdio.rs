//! A drop-in for the two Python servers of the subprocess version: sends and receives mail by lines of JSON.
//!
//! ```text
//! stdio imap HOST PORT USER PASSWORD    implicit TLS
//! stdio smtp HOST PORT USER PASSWORD    STARTTLS
//! ```
//!
//! `imap`: for each line on stdin, fetches the waiting messages, prints one JSON object a line
//! (`{"Id","SentBy","Body"}` or `{"Error"}`) and then an empty line, and archives them. `smtp`: for each JSON line
//! `{"Id","SentBy","SentTo","Body"}`, sends the message and prints an empty line, or the error on one line. Both end
//! at `quit` and at the end of input. The tag is `PYMAIL_TAG`, by default `__SNACKIS__`. The certificates in the file
//! `SSL_CERT_FILE` are trusted in addition to the system's.

use std::env;
use std::error::Error;
use std::io::{self, BufRead as _, StdoutLock, Write as _};
use std::process::ExitCode;

use pymail::{Credentials, Imap, ImapConfig, Message, Server, Smtp, SmtpConfig};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: stdio imap|smtp HOST PORT USER PASSWORD";

fn main() -> ExitCode {
    match run(&env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result {
    let [service, host, port, user, password] = args else { return Err(USAGE.into()) };
    let port = port.parse().map_err(|_| format!("{port:?} is not a port\n{USAGE}"))?;
    let (credentials, tag) = (Credentials::new(user, password), tag());
    match service.as_str() {
        "imap" => {
            let config = ImapConfig::new(Server::tls(host).port(port), credentials).tag(tag);
            receive(&Imap::connect(config)?)
        }
        "smtp" => {
            let config = SmtpConfig::new(Server::starttls(host).port(port), credentials).tag(tag);
            send(&Smtp::connect(config)?)
        }
        _ => Err(USAGE.into()),
    }
}

fn tag() -> String {
    env::var("PYMAIL_TAG").unwrap_or_else(|_| "__SNACKIS__".into())
}

/// Calls `answer` for each line up to `quit` or the end of input, and flushes its output.
fn serve(mut answer: impl FnMut(&str, &mut StdoutLock<'_>) -> io::Result<()>) -> Result {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        if line.trim() == "quit" {
            break;
        }
        answer(&line, &mut out)?;
        out.flush()?;
    }
    Ok(())
}

fn receive(imap: &Imap) -> Result {
    serve(|_, out| {
        if let Err(error) = print_all(imap, out) {
            writeln!(out, "{}", serde_json::json!({ "Error": error.to_string() }))?;
        }
        writeln!(out)
    })?;
    let _ = imap.close(); // All messages are printed: an error of LOGOUT does not matter.
    Ok(())
}

/// Prints each batch and then acknowledges it: after a crash in between, it is delivered again.
fn print_all(imap: &Imap, out: &mut StdoutLock<'_>) -> Result {
    loop {
        let batch = imap.fetch()?;
        if batch.is_empty() {
            return Ok(());
        }
        for delivery in &batch {
            serde_json::to_writer(&mut *out, delivery)?;
            writeln!(out)?;
        }
        out.flush()?;
        batch.ack()?;
    }
}

fn send(smtp: &Smtp) -> Result {
    serve(|line, out| match send_line(smtp, line) {
        Ok(()) => writeln!(out),
        Err(error) => writeln!(out, "{}", error.to_string().replace(['\r', '\n'], " ")),
    })?;
    let _ = smtp.close(); // All messages are sent: an error of QUIT does not matter.
    Ok(())
}

fn send_line(smtp: &Smtp, line: &str) -> Result {
    let message: Message = serde_json::from_str(line)?;
    let receipt = smtp.send(&message)?;
    // The line protocol has one reply for each message: a refused recipient is an error.
    receipt.answers.iter().try_for_each(pymail::Answer::result).map_err(Into::into)
}
