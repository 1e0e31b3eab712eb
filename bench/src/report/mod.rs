//! The results: JSON lines, tables and plots.

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
