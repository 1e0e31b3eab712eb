//! Sends a message to its own account and waits for it.
//!
//! ```text
//! shipped-app HOST IMAPS_PORT SUBMISSION_PORT USER PASSWORD [CA_FILE]
//! ```
//!
//! Trusts the system's root certificates, and those in CA_FILE.

use std::env;
use std::error::Error;
use std::fs;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use pymail::{Credentials, Imap, ImapConfig, Message, Server, Smtp, SmtpConfig};

const USAGE: &str = "usage: shipped-app HOST IMAPS_PORT SUBMISSION_PORT USER PASSWORD [CA_FILE]";

fn main() -> ExitCode {
    match run(&env::args().skip(1).collect::<Vec<_>>()) {
        Ok(body) => {
            println!("{body}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<String, Box<dyn Error>> {
    let [host, imaps, submission, user, password, ca @ ..] = args else { return Err(USAGE.into()) };
    let trust = |server: Server| match ca {
        [] => Ok(server),
        [file, ..] => fs::read_to_string(file).map(|pem| server.add_root_certificate_pem(pem)),
    };
    let account = || Credentials::new(user, password);
    let receiving = trust(Server::tls(host).port(imaps.parse()?))?;
    let sending = trust(Server::starttls(host).port(submission.parse()?))?;
    let smtp = Smtp::connect(SmtpConfig::new(sending, account()).tag("__SHIPPED__"))?;
    let imap = Imap::connect(ImapConfig::new(receiving, account()).tag("__SHIPPED__"))?;
    let message = Message::new("1", user.as_str(), user.as_str(), "it came back");
    if !smtp.send(&message)?.all_accepted() {
        return Err("the server takes no mail for that user".into());
    }
    loop {
        let batch = imap.fetch()?;
        if let Some(delivery) = batch.iter().next() {
            let body = String::from_utf8(delivery.message()?.body.clone())?;
            batch.ack()?;
            return Ok(body);
        }
        thread::sleep(Duration::from_millis(100));
    }
}
