//! The mail servers of tests under Wine: programs of this system, which `pymail-test-servers` starts for each test.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use crate::{cargo, servers, step};

/// The environment variable by which the tests find that program.
pub(super) const ADDRESS: &str = "PYMAIL_TEST_SERVERS";

/// That program, until the drop.
pub(super) struct Servers {
    pub(super) address: String,
    program: Child,
}

impl Servers {
    /// Installs Dovecot and Postfix if they are missing, and starts the program.
    pub(super) fn start() -> Result<Self, String> {
        servers::install()?;
        let program = ["--locked", "--package", "pymail-test-support", "--bin", "pymail-test-servers"];
        cargo(&[&["build"], &program[..]].concat())?;
        let mut command = step("cargo", &[&["run", "--quiet"], &program[..]].concat());
        let mut program = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("pymail-test-servers: {error}"))?;
        let mut address = String::new();
        if let Some(output) = program.stdout.take() {
            let line = BufReader::new(output).read_line(&mut address);
            line.map_err(|error| format!("pymail-test-servers: {error}"))?;
        }
        Ok(Self { address: address.trim().to_owned(), program })
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // It ends with its standard input, after all servers.
        drop(self.program.stdin.take());
        let _ = self.program.wait();
    }
}
