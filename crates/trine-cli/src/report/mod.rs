//! How a measurement is shown.
//!
//! | file | what it holds |
//! |---|---|
//! | `table.rs` | tables for people |
//! | `json.rs` | one document for programs |
//! | `unit.rs` | numbers with units that fit them |

pub(crate) mod json;
pub(crate) mod table;
mod unit;
