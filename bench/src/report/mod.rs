//! What came out: JSON lines for machines, tables and plots for people.

mod document;
mod figures;
mod machine;
mod plots;
mod results;
mod row;
mod table;

pub use document::write;
pub use figures::table as figures;
pub use machine::Machine;
pub use results::Results;
pub use row::Row;
pub use table::table;
