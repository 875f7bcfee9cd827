//! The presentation of the measurements and of the checks.
//!
//! | file | contents |
//! |---|---|
//! | `table.rs` | tables for people |
//! | `verdict.rs` | the sentences below the tables |
//! | `checks.rs` | the findings of the doctor |
//! | `json.rs` | one document for programs |
//! | `unit.rs` | numbers with fitting units |

pub(crate) mod checks;
pub(crate) mod json;
pub(crate) mod table;
pub(crate) mod unit;
mod verdict;
