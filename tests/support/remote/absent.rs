//! Servers that Windows programs do not have in these tests: their types have no value.

/// Declares a type in its module, with the arguments of its start and its methods.
macro_rules! absent {
    ($($module:ident::$name:ident($($argument:ty)?) { $($method:ident: $returned:ty),* })*) => { $(
        pub mod $module {
            pub struct $name(std::convert::Infallible);

            impl $name {
                /// Fails the test.
                pub fn start($(_: $argument)?) -> Self {
                    crate::process::needs("Linux", concat!("for ", stringify!($name)))
                }

                $(
                    pub fn $method(&self) -> $returned {
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
    courier::Courier() { imap_port: u16, imaps_port: u16, ca_pem: &str }
    cyrus::Cyrus() { imap_port: u16, imaps_port: u16, ca_pem: &str }
    exim::Exim(&crate::dovecot::Dovecot) { submission_port: u16 }
    opensmtpd::OpenSmtpd(&crate::dovecot::Dovecot) { port: u16 }
}
