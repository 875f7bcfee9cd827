//! The measurements of `trine measure`: the same work three ways.
//!
//! | file | contents |
//! |---|---|
//! | `costs/` | the cost of a task of each kind: the rows of the first table |
//! | `workload/` | every file of a tree, digested by all three kinds |
//! | `poison.rs` | the same workload with an item that panics or crashes |
//! | `part.rs`, `request.rs` | measurements in a program of their own, and their requests |
//! | `sample.rs` | repetitions, medians and spreads |
//! | `by_kind.rs`, `machine.rs` | a value for each kind; the machine |

pub(crate) mod by_kind;
pub(crate) mod costs;
pub(crate) mod machine;
mod part;
pub(crate) mod poison;
pub(crate) mod request;
pub(crate) mod sample;
pub(crate) mod workload;

use self::request::Request;

/// Does the measurement that standard input requests, and writes the answers to standard output:
/// the other side of [`part::ask`].
pub(crate) fn answer() -> anyhow::Result<()> {
    match part::receive()? {
        Request::FirstUse { kind } => costs::first_use::answer(kind),
        Request::Memory { kind, tasks } => costs::memory::answer(kind, tasks),
        Request::Poison { kind, items } => poison::answer(kind, items),
    }
}
