//! SEARCH as the provider does it, its limit of messages, and its labels.

use std::io;

use super::super::search::{Asked, has_words, set};
use super::super::table::Search;
use super::{Command, Talk, quoted};

impl Talk<'_> {
    /// Runs UID SEARCH as the provider does.
    pub(super) fn search(&mut self, command: &Command) -> io::Result<()> {
        let asked = Asked::of(command.arguments());
        if let Some(limit) = self.dialect.imap.message_limit {
            return self.search_limited(command, &asked, limit);
        }
        let found = match self.dialect.imap.search {
            _ if !asked.has_text => return self.forward(command),
            Search::Substring => return self.forward(command),
            // Not evaluated: the words that pymail looks for so are whole ones.
            Search::Words if asked.is_nested => return self.forward(command),
            Search::Nothing => Vec::new(),
            Search::Everything => self.find(&asked.others)?,
            Search::Words => {
                let found = self.find(&asked.criteria)?;
                self.with_words(found, &asked.subjects)?
            }
        };
        self.link.to_client(asked.response(&command.tag, &found))?;
        self.complete(command)
    }

    /// Returns those messages whose Subjects have all words of the texts.
    fn with_words(&mut self, uids: Vec<u32>, texts: &[String]) -> io::Result<Vec<u32>> {
        if uids.is_empty() {
            return Ok(uids);
        }
        let fetch = format!("UID FETCH {} (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])", set(&uids));
        let mut found = Vec::new();
        for response in self.ask(&fetch)? {
            let text = String::from_utf8_lossy(&response).into_owned();
            let uid =
                text.split_once("UID ").and_then(|(_, rest)| rest.split([' ', ')']).next()?.parse().ok());
            let subject = text.split_once("\r\n").map_or("", |(_, rest)| rest);
            if texts.iter().all(|text| has_words(subject, text)) {
                found.extend::<Option<u32>>(uid);
            }
        }
        Ok(found)
    }

    /// Runs UID SEARCH on the newest messages alone (RFC 9738, section 3.3).
    fn search_limited(&mut self, command: &Command, asked: &Asked, limit: usize) -> io::Result<()> {
        let of = asked.criteria.strip_prefix("UID ").and_then(|it| it.split(' ').next());
        let within = of.map_or("ALL".to_owned(), |set| format!("UID {set}"));
        let all = self.find(&within)?;
        let newest = &all[all.len().saturating_sub(limit)..];
        let found = match newest {
            [] => Vec::new(),
            newest => self.find(&format!("UID {} {}", set(newest), asked.criteria))?,
        };
        self.link.to_client(asked.response(&command.tag, &found))?;
        if newest.len() == all.len() {
            return self.complete(command);
        }
        let code = format!("OK [MESSAGELIMIT {limit} {}] the newest messages only", newest[0]);
        self.say(command, &code)
    }

    /// Runs a command on as many messages as are allowed (RFC 9738, sections 3.1 and 3.2).
    pub(super) fn run_limited(&mut self, command: &Command) -> io::Result<()> {
        let limit = self.dialect.imap.message_limit.unwrap_or(usize::MAX);
        let (uids, rest) = command.arguments().split_once(' ').unwrap_or_default();
        let named = self.find(&format!("UID {uids}"))?;
        if named.len() <= limit {
            return self.forward(command);
        }
        if matches!(&*command.name, "UID COPY" | "UID MOVE") {
            return self.say(command, &format!("NO [MESSAGELIMIT {limit}] too many messages"));
        }
        let newest = &named[named.len() - limit..];
        for response in self.ask(&format!("{} {} {rest}", command.name, set(newest)))? {
            self.link.to_client(response)?;
        }
        self.say(command, &format!("OK [MESSAGELIMIT {limit} {}] the newest messages only", newest[0]))
    }

    /// Keeps messages that lose their last label.
    pub(super) fn keep_in_all_mail(&mut self, command: &Command) -> io::Result<()> {
        let Some(all_mail) = self.dialect.imap.all_mail else { return Ok(()) };
        let of = if command.name == "EXPUNGE" { "1:*" } else { command.arguments() };
        let gone = self.find(&format!("UID {of} DELETED"))?;
        if !gone.is_empty() {
            self.ask(&format!("CREATE {}", quoted(all_mail)))?;
            self.ask(&format!("UID COPY {} {}", set(&gone), quoted(all_mail)))?;
        }
        Ok(())
    }
}
