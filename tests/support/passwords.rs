//! Daemons that check passwords: any user at example.test may log in, with the one password of these tests.

use std::fs::{self, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::dovecot::PASSWORD;

const DOMAIN: &str = "example.test";

/// A daemon on a Unix socket, until it is dropped.
pub struct Passwords {
    socket: PathBuf,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Passwords {
    /// Stands in for Cyrus SASL's `saslauthd`: reads four strings with their lengths, and writes one.
    pub fn saslauthd(socket: &Path) -> Self {
        Self::serve(socket, |mut stream| {
            let mut words = Vec::new();
            for _ in 0..4 {
                let mut length = [0; 2];
                stream.read_exact(&mut length)?;
                let mut word = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut word)?;
                words.push(word);
            }
            // The user without the domain, the password, the service, the domain: Cyrus leaves out its own domain.
            let domain = [b"", DOMAIN.as_bytes()].contains(&&*words[3]);
            let known = words[1] == PASSWORD.as_bytes() && domain;
            stream.write_all(if known { b"\0\x02OK" } else { b"\0\x02NO" })
        })
    }

    /// Stands in for Courier's `authdaemond`; `welcome` returns a user's attributes, one a line.
    pub fn authdaemond(socket: &Path, welcome: impl Fn(&str) -> String + Send + 'static) -> Self {
        Self::serve(socket, move |stream| {
            let mut reader = BufReader::new(&stream);
            let mut line = String::new();
            // Lines with the client's address come before the command.
            let length = loop {
                line.clear();
                if reader.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                if let Some(length) = line.strip_prefix("AUTH ") {
                    break length.trim().parse().map_err(io::Error::other)?;
                }
            };
            let mut request = String::new();
            reader.take(length).read_to_string(&mut request)?;
            // The service, the kind of login, the user, the password.
            let words: Vec<&str> = request.lines().collect();
            let answer = match words[..] {
                [_, "login", user, PASSWORD, ..] if is_local(user) => welcome(user) + "\n.\n",
                _ => "FAIL\n".into(),
            };
            (&stream).write_all(answer.as_bytes())
        })
    }

    /// Returns the settings with which Cyrus SASL in a Postfix asks this `saslauthd`.
    pub fn smtpd_conf(&self) -> String {
        let socket = self.socket.display();
        format!("pwcheck_method: saslauthd\nsaslauthd_path: {socket}\nmech_list: PLAIN\n")
    }

    fn serve(socket: &Path, answer: impl Fn(UnixStream) -> io::Result<()> + Send + 'static) -> Self {
        let listener = UnixListener::bind(socket).expect("a socket for passwords");
        fs::set_permissions(socket, Permissions::from_mode(0o777)).expect("a socket for all users");
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            let streams = listener.incoming().flatten();
            for stream in streams.take_while(|_| !end.load(Ordering::SeqCst)) {
                // A client that hangs up, or sends nothing, harms no other.
                let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
                let _ = answer(stream);
            }
        });
        Self { socket: socket.to_owned(), ended, thread: Some(thread) }
    }
}

impl Drop for Passwords {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread, which waits for a client.
        let _ = UnixStream::connect(&self.socket);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn is_local(user: &str) -> bool {
    // The user becomes a folder's name.
    user.split_once('@').is_some_and(|(name, domain)| domain == DOMAIN && !name.contains('/'))
}
