//! What came out: JSON lines for machines, a table for people.

mod row;
mod table;

pub use row::{Row, save};
pub use table::table;
