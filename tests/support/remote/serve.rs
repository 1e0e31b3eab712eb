//! The side that has the servers.

use std::collections::HashMap;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::thread;

use super::{Call, DovecotStarted, EmbeddedStarted, Lines, PostfixStarted, Start};
use crate::dovecot::Dovecot;
use crate::embedded::{Embedded, EmbeddedOptions};
use crate::files::set_mode;
use crate::postfix::Postfix;
use crate::server_options::{DovecotOptions, PostfixOptions};
use crate::tls_server::{TlsServer, TlsServerStart};

/// The Dovecots by their folders, for the Postfixes that deliver to them.
type Dovecots = Arc<Mutex<HashMap<PathBuf, Weak<Dovecot>>>>;

/// Serves each connection on a thread of its own, for ever; `running` has one more reference for each.
pub fn serve(listener: &TcpListener, running: &Arc<()>) {
    let dovecots = Dovecots::default();
    for stream in listener.incoming().flatten() {
        let (dovecots, running) = (Arc::clone(&dovecots), Arc::clone(running));
        thread::spawn(move || {
            run(stream, &dovecots);
            drop(running);
        });
    }
}

/// Starts the server that a connection asks for, which ends with it. A panic closes the connection, too.
fn run(stream: TcpStream, dovecots: &Dovecots) {
    let outcome =
        stream.set_nodelay(true).map(|()| Lines::on(stream)).and_then(|mut lines| match lines.read()? {
            Start::Dovecot(options) => dovecot(&mut lines, &options, dovecots),
            Start::Postfix(receiver, options) => postfix(&mut lines, &*find(dovecots, &receiver)?, &options),
            Start::SetMode(path, mode) => lines.write(&set_mode(&path, mode)?),
            Start::Embedded(options) => embedded(&mut lines, &options),
            Start::Tls(start) => tls(&mut lines, &start),
        });
    if let Err(error) = outcome.as_ref()
        && error.kind() != io::ErrorKind::UnexpectedEof
    {
        eprintln!("a server of the tests: {error}");
    }
}

fn find(dovecots: &Dovecots, folder: &Path) -> io::Result<Arc<Dovecot>> {
    let dovecots = dovecots.lock().expect("no panic under the lock");
    let dovecot = dovecots.get(folder).and_then(Weak::upgrade);
    dovecot.ok_or_else(|| io::Error::other(format!("no Dovecot in {}", folder.display())))
}

fn dovecot(lines: &mut Lines, options: &DovecotOptions, dovecots: &Dovecots) -> io::Result<()> {
    let server = Arc::new(Dovecot::with(options));
    let dir = server.dir().to_owned();
    dovecots.lock().expect("no panic under the lock").insert(dir.clone(), Arc::downgrade(&server));
    lines.write(&DovecotStarted {
        imap: server.imap_port(),
        imaps: server.imaps_port(),
        lmtp: server.lmtp_port(),
        ca_pem: server.ca_pem().to_owned(),
        dir,
    })?;
    loop {
        match lines.read()? {
            Call::DisconnectAll => server.disconnect_all(),
            Call::DismissAll => server.dismiss_all(),
            Call::SignalAll(signal) => server.signal_all(&signal),
            Call::Stop => server.stop(),
            Call::Restart => server.restart(),
            Call::Kick(user) => {
                lines.write(&server.kick(&user))?;
                continue;
            }
            Call::Issue => {
                lines.write(&server.issue())?;
                continue;
            }
            call @ (Call::KillAll | Call::Kill | Call::Heard) => return Err(unknown(&call)),
        }
        lines.write(&())?;
    }
}

fn postfix(lines: &mut Lines, receiver: &Dovecot, options: &PostfixOptions) -> io::Result<()> {
    let server = Postfix::with(receiver, options);
    lines.write(&PostfixStarted {
        submission: server.submission_port(),
        smtps: server.smtps_port(),
        dir: server.dir().to_owned(),
    })?;
    loop {
        match lines.read()? {
            Call::DisconnectAll => server.disconnect_all(),
            Call::KillAll => server.kill_all(),
            call => return Err(unknown(&call)),
        }
        lines.write(&())?;
    }
}

fn embedded(lines: &mut Lines, options: &EmbeddedOptions) -> io::Result<()> {
    let mut server = Embedded::with(options).map_err(io::Error::other)?;
    lines.write(&EmbeddedStarted {
        imap: server.imap_port(),
        imaps: server.imaps_port(),
        smtp: server.smtp_port(),
        ca_pem: server.ca_pem().to_owned(),
    })?;
    loop {
        match lines.read()? {
            Call::Kill => server.kill(),
            call => return Err(unknown(&call)),
        }
        lines.write(&())?;
    }
}

fn tls(lines: &mut Lines, start: &TlsServerStart) -> io::Result<()> {
    let server = TlsServer::of_this_system(start);
    lines.write(&server.port())?;
    loop {
        match lines.read()? {
            Call::Heard => lines.write(&server.heard())?,
            call => return Err(unknown(&call)),
        }
    }
}

fn unknown(call: &Call) -> io::Error {
    io::Error::other(format!("this server has no {call:?}"))
}
