//! The presentation of the measurements.
//!
//! | file | contents |
//! |---|---|
//! | `table.rs` | tables for people |
//! | `json.rs` | one document for programs |
//! | `unit.rs` | numbers with fitting units |

pub(crate) mod json;
pub(crate) mod table;
mod unit;
