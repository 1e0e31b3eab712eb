//! The steps of IMAP.

use std::time::SystemTime;

use pymail::{Error, ErrorKind, Imap, ServerInfo, UidSet};

use crate::advice;
use crate::calendar::day;
use crate::network;
use crate::options::{Endpoint, Options, TAG};
use crate::report::{Done, Report, Trouble};

/// The service's name in the report.
const IMAP: &str = "imap";

/// Capabilities that pymail uses, and what it does without.
const USED: [(&str, &str); 5] = [
    ("IDLE", "new mail is asked for every 10 s"),
    ("MOVE", "COPY and STORE archive in its place"),
    ("UIDPLUS", "archived and deleted mail stays in the inbox, flagged \\Deleted"),
    ("ESEARCH", "results of SEARCH are longer"),
    ("NAMESPACE", "the archive's place is guessed by LIST"),
];

/// Runs the steps of IMAP; returns a handle, if all that a round trip needs has worked.
pub(crate) fn examine(report: &mut Report, options: &Options, at: &Endpoint) -> Option<Imap> {
    let later =
        ["mechanisms", "login", "capabilities", "namespaces", "archive", "limits", "append", "search"];
    let config = options.imap_config(at).dedup_window(0);
    let info = network::reach(report, (IMAP, options, at), || Imap::probe(&config), &later)?;
    let words = ["LOGIN", "PLAIN"];
    if report.step(IMAP, "mechanisms", || advice::mechanisms(&info.mechanisms, &words, options)).is_none() {
        report.skip(IMAP, &later[1..], "no login is possible");
        return None;
    }
    let mut not_opened = None;
    let login = report.step(IMAP, "login", || match Imap::connect(config) {
        Ok(imap) => Ok(("the server has accepted the login".into(), Some(imap))),
        Err(error) if is_after_login(&error) => {
            not_opened = Some(error);
            Ok(("the server has accepted the login".into(), None))
        }
        Err(error) => Err(advice::login(&error, options)),
    });
    if let Some(error) = not_opened {
        return not_usable(report, &error);
    }
    let Some(imap) = login.flatten() else {
        report.skip(IMAP, &later[2..], "there is no login");
        return None;
    };
    let Some(info) = report.step(IMAP, "capabilities", || capabilities(&imap)) else {
        report.skip(IMAP, &later[3..], "the connection was lost");
        return None;
    };
    report.step(IMAP, "namespaces", || Ok((namespaces(&info), ())));
    report.step(IMAP, "archive", || Ok((format!("{} is there", info.archive.as_deref().unwrap_or(TAG)), ())));
    report.step(IMAP, "limits", || Ok((limits(&info), ())));
    store_and_search(report, options, &imap);
    Some(imap)
}

/// Returns `true` for a refusal of the inbox or of the archive.
fn is_after_login(error: &Error) -> bool {
    error.kind() == ErrorKind::Refused && !error.to_string().starts_with("logging in")
}

/// Reports the mailbox that the server refuses.
fn not_usable(report: &mut Report, error: &Error) -> Option<Imap> {
    let is_inbox = error.to_string().starts_with("opening the mailboxes");
    let name = if is_inbox { "namespaces" } else { "archive" };
    report.step::<()>(IMAP, name, || Err(advice::mailbox(error, is_inbox)));
    report.skip(IMAP, &["limits", "append", "search"], "the mailboxes can't be used");
    None
}

fn capabilities(imap: &Imap) -> Done<ServerInfo> {
    let info = imap.server_info().map_err(|error| advice::later(&error))?;
    let has = |name: &str| info.capabilities.iter().any(|capability| capability == name);
    let (used, lacking): (Vec<_>, Vec<_>) = USED.iter().partition(|(name, _)| has(name));
    let used = used.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ");
    let lacking = lacking.iter().map(|(name, instead)| format!("no {name}: {instead}"));
    Ok((std::iter::once(used).chain(lacking).collect::<Vec<_>>().join("; "), info))
}

fn namespaces(info: &ServerInfo) -> String {
    let delimiter = match info.delimiter.as_deref() {
        None | Some("") => "no hierarchy".to_owned(),
        Some(delimiter) => format!("delimiter {delimiter}"),
    };
    let prefix = info.archive.as_deref().and_then(|archive| archive.strip_suffix(TAG)).unwrap_or_default();
    match prefix {
        "" => format!("mailboxes have no prefix, {delimiter}"),
        prefix => format!("mailboxes begin with {prefix}, {delimiter}"),
    }
}

fn limits(info: &ServerInfo) -> String {
    let of = |name: &str| {
        let mut found = info.capabilities.iter().filter_map(|it| it.strip_prefix(name)?.strip_prefix('='));
        found.next().unwrap_or("not told").to_owned()
    };
    format!("largest mail {}, messages a command {}", of("APPENDLIMIT"), of("MESSAGELIMIT"))
}

/// Stores a message, and searches for it.
fn store_and_search(report: &mut Report, options: &Options, imap: &Imap) {
    let _ = remove_all(imap); // those of a run that was killed; an error comes again at the cleanup
    let id = new_id("stored");
    let appended = report.step(IMAP, "append", || {
        let stored = imap.append("INBOX", mail(options, &id).as_bytes());
        stored.map(|()| ("a test message is in INBOX".into(), ())).map_err(|error| advice::append(&error))
    });
    if appended.is_none() {
        report.skip(IMAP, &["search"], "no message is stored");
        return;
    }
    report.step(IMAP, "search", || search(imap, &id));
}

fn search(imap: &Imap, id: &str) -> Done<()> {
    if has_message(imap, id).map_err(|error| advice::later(&error))? {
        return Ok(("SEARCH finds the tag in the Subject".into(), ()));
    }
    let is_there = last_mail(imap).is_some_and(|(_, mail)| mail.contains(id));
    Err(if is_there { advice::search_misses() } else { advice::not_there() })
}

/// Returns `true` if the inbox has the message.
pub(crate) fn has_message(imap: &Imap, id: &str) -> pymail::Result<bool> {
    let batch = imap.fetch()?;
    Ok(batch.iter().any(|delivery| delivery.message().is_ok_and(|message| message.id == id)))
}

/// Deletes all messages with the doctor's tag; returns how many.
pub(crate) fn remove_all(imap: &Imap) -> pymail::Result<usize> {
    let mut removed = 0;
    // With each round there are fewer, except on a server without UIDPLUS, where deleted ones are found no more.
    for _ in 0..100 {
        let batch = imap.fetch()?;
        if batch.is_empty() {
            break;
        }
        let set = UidSet::from_deliveries(&batch)?;
        removed += set.len();
        imap.delete(&set)?;
    }
    // Where SEARCH does not find the tag, they are the last ones.
    let mut before = None;
    while let Some((last, mail)) = last_mail(imap)
        && is_ours(&mail)
        // Without UIDPLUS it stays, flagged \Deleted.
        && before.as_ref() != Some(&last)
    {
        removed += last.len();
        imap.delete(&last)?;
        before = Some(last);
    }
    Ok(removed)
}

/// Returns `true` for a mail whose own Subject has the tag: one that quotes a test message, such as a bounce, has it in its
/// body.
fn is_ours(mail: &str) -> bool {
    let headers = mail.split_once("\r\n\r\n").map_or(mail, |(headers, _)| headers);
    headers.lines().any(|line| line.starts_with(&format!("Subject: {TAG} ")))
}

/// Returns the last mail of the inbox, if there is one that can be fetched.
fn last_mail(imap: &Imap) -> Option<(UidSet, String)> {
    let last = imap.search("*").ok()?;
    let mail = imap.fetch_uids(&last).ok()?.pop()?;
    Some((last, String::from_utf8_lossy(&mail.octets).into_owned()))
}

/// Returns the id of a message of this run.
pub(crate) fn new_id(word: &str) -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{word}-{}-{}", std::process::id(), since.as_nanos())
}

/// Composes a message by hand: APPEND takes any mail.
fn mail(options: &Options, id: &str) -> String {
    let (address, today) = (&options.address, day(SystemTime::now()));
    format!(
        "From: <{address}>\r\nTo: <{address}>\r\nSubject: {TAG} {id}\r\nMessage-ID: <{id}@doctor.invalid>\r\n\
         Date: {today} 00:00:00 +0000\r\n\r\nA test message of pymail's doctor, which removes it.\r\n"
    )
}

/// Removes the test messages.
pub(crate) fn clean_up(report: &mut Report, imap: &Imap) {
    report.step("mail", "cleanup", || match remove_all(imap) {
        Ok(removed) => Ok((format!("test messages removed: {removed}"), ())),
        Err(error) => Err(Trouble::new(
            format!("{error:#}"),
            format!("Delete the messages in INBOX whose Subject begins with {TAG}."),
        )),
    });
}
