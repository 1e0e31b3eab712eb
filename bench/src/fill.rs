//! Fills a mailbox by writing files: LMTP would take minutes for large mails.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::job::Result;
use crate::mails::{Bodies, SENDER};

/// The bytes in a base64 line of 76 characters.
const LINE: usize = 57;

/// Writes all messages into an existing Maildir, under names as Dovecot's delivery makes them.
///
/// All are complete before the server sees the first one.
///
/// # Errors
/// A file can't be written.
pub fn fill(maildir: &Path, user: &str, tag: &str, bodies: &Bodies) -> Result<()> {
    let (staging, owner) = (maildir.join("tmp"), fs::metadata(maildir)?);
    let mut names = Vec::with_capacity(bodies.count());
    for (id, body) in bodies.iter() {
        let mail = mail(user, tag, id, body);
        let lines = mail.bytes().filter(|&byte| byte == b'\n').count();
        let name = format!("17000{id:06}.M1P1.bench,S={},W={}", mail.len(), mail.len() + lines);
        fs::write(staging.join(&name), mail)?;
        chown(staging.join(&name), Some(owner.uid()), Some(owner.gid()))?;
        names.push(name);
    }
    for name in names {
        fs::rename(staging.join(&name), maildir.join("new").join(&name))?;
    }
    Ok(())
}

/// Returns the mail that pymail would send, with the line ends of files.
pub fn mail(user: &str, tag: &str, id: usize, body: &str) -> String {
    let mut mail = format!(
        "From: {SENDER}\nTo: {user}\nSubject: {tag} {id}\nMessage-ID: <{id}.{user}@bench.test>\n\
         MIME-Version: 1.0\nContent-Type: text/plain; charset=\"utf-8\"\nContent-Transfer-Encoding: base64\n\n"
    );
    for line in body.as_bytes().chunks(LINE) {
        STANDARD.encode_string(line, &mut mail);
        mail.push('\n');
    }
    mail
}

/// Returns the number of mails in a Maildir folder.
///
/// # Errors
/// There is no such folder.
pub fn count(folder: &Path) -> Result<usize> {
    Ok(fs::read_dir(folder.join("new"))?.count() + fs::read_dir(folder.join("cur"))?.count())
}
