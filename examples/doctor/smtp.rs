//! The steps of SMTP.

use pymail::{ServerInfo, Smtp};

use crate::advice;
use crate::network;
use crate::options::{Endpoint, Options};
use crate::report::Report;

const SMTP: &str = "smtp";

/// Runs the steps of SMTP up to the login; returns a handle if all have worked.
pub(crate) fn examine(report: &mut Report, options: &Options, at: &Endpoint) -> Option<Smtp> {
    let later = ["capabilities", "limits", "mechanisms", "login"];
    let config = options.smtp_config(at);
    let info = network::reach(report, (SMTP, options, at), || Smtp::probe(&config), &later)?;
    report.step(SMTP, "capabilities", || Ok((capabilities(&info), ())));
    report.step(SMTP, "limits", || Ok((limits(&info), ())));
    let words = ["PLAIN", "LOGIN", "CRAM-MD5"];
    if report.step(SMTP, "mechanisms", || advice::mechanisms(&info.mechanisms, &words, options)).is_none() {
        report.skip(SMTP, &["login"], "no login is possible");
        return None;
    }
    report.step(SMTP, "login", || match Smtp::connect(config) {
        Ok(smtp) => Ok(("the server has accepted the login".into(), smtp)),
        Err(error) => Err(advice::login(&error, options)),
    })
}

fn capabilities(info: &ServerInfo) -> String {
    let names: Vec<&str> = info.capabilities.iter().filter_map(|it| it.split(' ').next()).collect();
    let has_pipelining = names.contains(&"PIPELINING");
    let note = if has_pipelining { "" } else { "; no PIPELINING: a message costs more round trips" };
    format!("{}{note}", names.join(" "))
}

fn limits(info: &ServerInfo) -> String {
    let size = info.capabilities.iter().find_map(|it| it.strip_prefix("SIZE ")).unwrap_or("not told");
    format!("largest message {size} octets")
}
