//! The rights that a worker gives up before its first task.
//!
//! | file | contents |
//! |---|---|
//! | `settings.rs` | the settings: [`Sandbox`] |
//! | `report.rs` | the parts of a sandbox that the kernel can enforce: [`Enforcement`] |
//! | `enforce.rs` | enforcing a sandbox in the worker |

mod enforce;
mod report;
mod settings;

pub use report::{Enforcement, NotEnforced, Part};
pub use settings::Sandbox;
