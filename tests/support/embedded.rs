//! The embedded mail server: pymap (IMAP) and aiosmtpd (SMTP), in memory, in a Python process of their own.
//!
//! The first start installs both from `PyPI` into a virtual environment under the target directory. It needs
//! `CPython` 3.9 or later with `venv` and `pip`: `PYO3_PYTHON` if that is set, else `python3`.

use std::collections::hash_map::DefaultHasher;
use std::error::Error;
use std::hash::{Hash as _, Hasher as _};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;
use std::{env, fs, thread};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::certs::Authority;
use super::process::{Stopwatch, python, started};
#[cfg(windows)]
use super::remote::{self, Call, EmbeddedStarted, Lines, Start};
use super::target_dir;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/embedded");
const REQUIREMENTS: &str = include_str!("embedded/requirements.txt");
const ABOUT: &str = "import sys; print('%d.%d' % sys.version_info[:2]); print(sys.executable)";
const OLDEST: (u32, u32) = (3, 9);

/// The time for which a virus scanner may keep a new program open.
const RENAME_TIMEOUT: Duration = Duration::from_secs(30);

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The options of an embedded server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EmbeddedOptions {
    /// The largest message that SMTP accepts, in octets; 32 MiB by default.
    pub size_limit: u32,
    /// Advertise PIPELINING over SMTP; off by default, as in aiosmtpd.
    pub pipelining: bool,
    /// The accounts; [`Embedded::USERS`] by default.
    pub users: Vec<String>,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        let users = Embedded::USERS.map(str::to_owned).to_vec();
        Self { size_limit: 32 << 20, pipelining: false, users }
    }
}

/// A running server. Dropping it ends its process.
#[derive(Debug)]
pub struct Embedded {
    process: Process,
    imap: u16,
    imaps: u16,
    smtp: u16,
    ca_pem: String,
}

/// The process of a server.
#[derive(Debug)]
enum Process {
    Child {
        child: Child,
        // Kept for the paths in the server's arguments; the server reads the files only once.
        _identity: [NamedTempFile; 2],
    },
    /// One of the system on which Wine runs.
    #[cfg(windows)]
    Remote(Lines),
}

impl Embedded {
    /// The host name on the certificate; both servers listen on 127.0.0.1.
    pub const HOST: &'static str = "localhost";
    /// The accounts, each with an empty INBOX. Mail to any other address is refused with 550; mail to
    /// `later@...` is put off with 450.
    pub const USERS: [&'static str; 3] = ["alice@example.test", "bob@example.test", "carol@example.test"];
    /// The password of every account.
    pub const PASSWORD: &'static str = "correct horse battery staple";

    /// Starts a server with the default options; it is ready when this returns.
    ///
    /// # Errors
    /// Python, `venv` or `pip` is missing, the packages can't be fetched, or the server doesn't start.
    pub fn start() -> Result<Self> {
        Self::with(&EmbeddedOptions::default())
    }

    /// Starts a server with these options; it is ready when this returns.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub fn with(options: &EmbeddedOptions) -> Result<Self> {
        #[cfg(windows)]
        if env::var_os(remote::ADDRESS).is_some() {
            let (lines, its) = remote::start::<EmbeddedStarted>(&Start::Embedded(options.clone()))?;
            let EmbeddedStarted { imap, imaps, smtp, ca_pem } = its;
            return Ok(Self { process: Process::Remote(lines), imap, imaps, smtp, ca_pem });
        }
        let python = installed()?;
        let authority = Authority::new();
        let issued = authority.issue(&[Self::HOST, "127.0.0.1"]);
        let identity = [private_file(&issued.cert_pem)?, private_file(&issued.key_pem)?];
        let mut child = started(|| command(&python, options, &identity).spawn())?;
        let output = child.stdout.take();
        // From here on, a drop ends the process.
        let ca_pem = authority.pem().to_owned();
        let process = Process::Child { child, _identity: identity };
        let mut server = Self { process, imap: 0, imaps: 0, smtp: 0, ca_pem };
        server.wait_until_ready(output)?;
        Ok(server)
    }

    /// Returns the port of IMAP with STARTTLS.
    pub fn imap_port(&self) -> u16 {
        self.imap
    }

    /// Returns the port of IMAP with implicit TLS.
    pub fn imaps_port(&self) -> u16 {
        self.imaps
    }

    /// Returns the port of SMTP with STARTTLS.
    pub fn smtp_port(&self) -> u16 {
        self.smtp
    }

    /// Returns the certificate authority of this server alone, as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Kills the process, as a crash would; clients see their connections close.
    pub fn kill(&mut self) {
        match &mut self.process {
            Process::Child { child, .. } => {
                let _ = child.kill();
                let _ = child.wait();
            }
            #[cfg(windows)]
            Process::Remote(lines) => lines.call(&Call::Kill),
        }
    }

    fn wait_until_ready(&mut self, output: Option<ChildStdout>) -> Result<()> {
        let mut line = String::new();
        BufReader::new(output.ok_or("the embedded mail server has no output")?).read_line(&mut line)?;
        if line.is_empty() {
            self.kill();
            return Err("the embedded mail server didn't start: its own output says more".into());
        }
        let ports: serde_json::Value = serde_json::from_str(&line)?;
        for (name, port) in [("imap", &mut self.imap), ("imaps", &mut self.imaps), ("smtp", &mut self.smtp)] {
            let number = ports[name].as_u64().ok_or_else(|| format!("no {name} port in {line}"))?;
            *port = number.try_into()?;
        }
        Ok(())
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.kill();
    }
}

fn command(python: &Path, options: &EmbeddedOptions, [cert, key]: &[NamedTempFile; 2]) -> Command {
    let mut command = Command::new(python);
    command.arg("-I").arg(Path::new(FOLDER).join("server.py"));
    command.arg("--cert").arg(cert.path()).arg("--key").arg(key.path());
    command.arg("--size-limit").arg(options.size_limit.to_string());
    command.args(options.users.iter().flat_map(|user| ["--user", user.as_str()]));
    if options.pipelining {
        command.arg("--pipelining");
    }
    command.env("EMBEDDED_PASSWORD", Embedded::PASSWORD);
    // The server ends with its standard input, so it can't outlive this process, however that ends.
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Writes a temporary file that only its owner can read.
fn private_file(text: &str) -> Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    file.write_all(text.as_bytes())?;
    file.flush()?;
    Ok(file)
}

/// Returns the interpreter of the virtual environment, and installs that first if it is missing.
fn installed() -> Result<PathBuf> {
    static INSTALLED: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut installed = INSTALLED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(python) = &*installed {
        return Ok(python.clone());
    }
    let (base, version) = base_python()?;
    let mut hasher = DefaultHasher::new();
    (REQUIREMENTS, &base, version).hash(&mut hasher);
    let parent = target_dir().join("embedded-mail");
    let environment = parent.join(format!("{:016x}", hasher.finish()));
    if !environment.exists() {
        eprintln!("installing the embedded mail server (once) ...");
        fs::create_dir_all(&parent)?;
        install(&base, &parent, &environment)?;
    }
    Ok(installed.insert(python_of(&environment)).clone())
}

/// Builds the environment beside its place and moves it there whole: of several processes, the first one wins.
fn install(base: &str, parent: &Path, environment: &Path) -> Result<()> {
    let building = tempfile::tempdir_in(parent)?;
    run(Command::new(base).args(["-m", "venv"]).arg(building.path())).map_err(|error| {
        format!("{error}\nPython's venv and pip are needed; on Debian or Ubuntu: apt install python3-venv")
    })?;
    let mut pip = Command::new(python_of(building.path()));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]);
    pip.args(["--only-binary", ":all:", "--no-deps", "--requirement"])
        .arg(Path::new(FOLDER).join("requirements.txt"));
    run(&mut pip)?;
    let watch = Stopwatch::start();
    loop {
        match fs::rename(building.path(), environment) {
            Err(_) if environment.exists() => return Ok(()),
            // On Windows, while a virus scanner reads a new program in it.
            Err(error) if cfg!(windows) && is_in_use(&error) && watch.elapsed() < RENAME_TIMEOUT => {
                thread::sleep(Duration::from_millis(100));
            }
            renamed => return Ok(renamed?),
        }
    }
}

/// Returns `true` for the errors of Windows about a folder in which a program has opened a file.
fn is_in_use(error: &io::Error) -> bool {
    let (access_denied, sharing_violation) = (5, 32);
    [access_denied, sharing_violation].map(Some).contains(&error.raw_os_error())
}

/// Returns the path and version of the Python to build on, by its own word: `python3` may be a shim.
fn base_python() -> Result<(String, (u32, u32))> {
    let program = python();
    let name = program.display();
    let output = run(Command::new(&program).args(["-X", "utf8", "-c", ABOUT])).map_err(|error| {
        format!("{error}\nThe embedded mail server needs Python 3.9 or later; PYO3_PYTHON names another")
    })?;
    let about = String::from_utf8(output.stdout)?;
    let (version, path) = about.trim().split_once('\n').ok_or("Python doesn't know where it is")?;
    let (major, minor) = version.trim().split_once('.').ok_or("Python doesn't know its version")?;
    let number = (major.parse()?, minor.parse()?);
    if number < OLDEST {
        return Err(
            format!("the embedded mail server needs Python 3.9 or later, but {name} is {version}").into()
        );
    }
    Ok((path.trim().to_owned(), number))
}

fn run(command: &mut Command) -> Result<Output> {
    let shown = format!("{command:?}");
    let output =
        started(|| command.stdin(Stdio::null()).output()).map_err(|error| format!("{shown}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{shown}: {}\n{}", output.status, String::from_utf8_lossy(&said).trim_end()).into())
}

fn python_of(environment: &Path) -> PathBuf {
    environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" })
}
