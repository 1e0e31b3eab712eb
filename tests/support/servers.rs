//! Starts servers for tests that run as Windows programs under Wine, until the end of its standard input.

#[cfg(unix)]
fn main() -> std::io::Result<()> {
    use std::io::{self, Read as _};
    use std::net::{Ipv4Addr, TcpListener};
    use std::sync::Arc;
    use std::thread;

    use pymail_test_support::process::wait_until;
    use pymail_test_support::remote::serve;

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?);
    let running = Arc::new(());
    let its = Arc::clone(&running);
    thread::spawn(move || serve(&listener, &its));
    io::stdin().read_to_end(&mut Vec::new())?;
    // The thread above has the other reference.
    wait_until("the end of all servers", || Arc::strong_count(&running) == 2);
    Ok(())
}

#[cfg(windows)]
fn main() {
    eprintln!("Dovecot and Postfix run on Unix only");
    std::process::exit(1);
}
