//! The tables, one a provider.

mod fastmail;
mod gmail;
mod gmx;
mod icloud;
mod microsoft;
mod netease;
mod proton;
mod qq;
mod yahoo;
mod yandex;
mod zoho;

pub use self::fastmail::FASTMAIL;
pub use self::gmail::GMAIL;
pub use self::gmx::GMX;
pub use self::icloud::ICLOUD;
pub use self::microsoft::MICROSOFT;
pub use self::netease::NETEASE;
pub use self::proton::PROTON;
pub use self::qq::QQ;
pub use self::yahoo::YAHOO;
pub use self::yandex::YANDEX;
pub use self::zoho::ZOHO;
use super::table::Dialect;

/// All dialects.
pub const ALL: [&Dialect; 11] =
    [&GMAIL, &MICROSOFT, &ICLOUD, &YAHOO, &QQ, &NETEASE, &GMX, &YANDEX, &ZOHO, &PROTON, &FASTMAIL];
