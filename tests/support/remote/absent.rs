//! Servers that Windows programs do not have in these tests: their types have no value.

/// Declares a type in its module, with the arguments of its start and its methods.
macro_rules! absent {
    ($($module:ident::$name:ident($($at_start:ty)?) { $($method:ident($($argument:ty),*) -> $returned:ty),* })*) => { $(
        pub mod $module {
            pub struct $name(std::convert::Infallible);

            impl $name {
                /// Fails the test.
                pub fn start($(_: $at_start)?) -> Self {
                    crate::process::needs("Linux", concat!("for ", stringify!($name)))
                }

                $(
                    pub fn $method(&self, $(_: $argument),*) -> $returned {
                        match self.0 {}
                    }
                )*
            }

            impl crate::postfix::Receiver for $name {
                fn its_dir(&self) -> &std::path::Path {
                    match self.0 {}
                }
            }
        }
    )* };
}

absent! {
    courier::Courier() {
        imap_port() -> u16,
        imaps_port() -> u16,
        ca_pem() -> &str,
        deliver(&str, &[u8]) -> ()
    }
    cyrus::Cyrus() {
        imap_port() -> u16,
        imaps_port() -> u16,
        ca_pem() -> &str,
        deliver_all(&str, impl IntoIterator<Item = impl AsRef<[u8]>>) -> ()
    }
    exim::Exim(&crate::dovecot::Dovecot) { submission_port() -> u16 }
    opensmtpd::OpenSmtpd(&crate::dovecot::Dovecot) { port() -> u16 }
}
