//! Signs in with a code that the user enters in a browser on any device (RFC 8628), and stores the refresh token.
//!
//! ```text
//! cargo run --features oauth --example oauth_device -- CLIENT_ID FILE
//! cargo run --features oauth --example oauth_device -- CLIENT_ID FILE TOKEN_URL DEVICE_URL SCOPE...
//! ```
//!
//! The first line is for Microsoft 365 and Outlook.com, the second for another provider. Google gives no device codes
//! for mail: its users sign in by a browser, with `Client::sign_in_by_browser`.
//!
//! The refresh token is in `FILE` afterwards. On Unix, only its owner can read the file. On Windows, those who can read
//! its folder can: choose one in the user's profile, which is private. The client secret is `OAUTH_CLIENT_SECRET`, if
//! the provider has given the app one; the proxy is that of the environment.

use std::env;
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use pymail::TokenRequest;
use pymail::oauth::{Client, Endpoints, MICROSOFT_SCOPES, RefreshToken};

const USAGE: &str = "usage: oauth_device CLIENT_ID FILE [TOKEN_URL DEVICE_URL SCOPE...]";

fn main() -> ExitCode {
    match run(&env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<(), Box<dyn Error>> {
    let (id, file, client) = match args {
        [id, file] => (id, file, Client::new(Endpoints::microsoft("common"), id).scopes(MICROSOFT_SCOPES)),
        [id, file, token, device, scopes @ ..] if !scopes.is_empty() => {
            (id, file, Client::new(Endpoints::new(token).device_authorization(device), id).scopes(scopes))
        }
        _ => return Err(USAGE.into()),
    };
    let client = client.proxy_from_env();
    let client = match env::var("OAUTH_CLIENT_SECRET") {
        Ok(secret) => client.secret(secret),
        Err(_) => client,
    };
    let file = PathBuf::from(file);

    let sign_in = client.sign_in_by_device()?;
    println!("Open {} and enter {}", sign_in.verification_uri(), sign_in.user_code());
    let refresh_token = sign_in.wait(Duration::from_secs(900))?;
    keep(&file, &refresh_token)?;

    // As an app does at each of its starts.
    let kept = RefreshToken::new(fs::read_to_string(&file)?);
    let path = file.clone();
    let source = client.refresh_token(kept, move |new| keep(&path, new));
    let token = source.token(TokenRequest::new(Duration::from_secs(60)))?;
    println!("{id} has an access token, which ends at {:?}.", token.get_expires_at());
    println!("The refresh token is in {}.", file.display());
    Ok(())
}

/// Replaces the file at once, so that a crash leaves the old token or the new one.
fn keep(path: &Path, token: &RefreshToken) -> io::Result<()> {
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new); // of a process that has crashed
    let mut file = private().write(true).create_new(true).open(&new)?;
    file.write_all(token.reveal().as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// Returns the options of a file that only its owner can read. On Windows, a new file has the rights of its folder.
fn private() -> OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut))]
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
