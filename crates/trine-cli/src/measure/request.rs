//! Requests to a program of its own: see `part.rs`.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};
use trine::Kind;

use super::by_kind::kind_as_word;

/// A measurement for a program of its own.
#[derive(Serialize, Deserialize)]
pub(crate) enum Request {
    /// The time of the program's first task.
    FirstUse {
        #[serde(with = "kind_as_word")]
        kind: Kind,
    },
    /// The memory of idle tasks.
    Memory {
        #[serde(with = "kind_as_word")]
        kind: Kind,
        tasks: usize,
    },
    /// The results of items, one of them poisoned.
    Poison {
        #[serde(with = "kind_as_word")]
        kind: Kind,
        items: Vec<Item>,
    },
}

/// An item of a poisoned workload.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Item {
    File(OsString),
    Poisoned(Poison),
}

/// The fault of a poisoned item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Poison {
    /// Its function panics.
    Panic,
    /// Its function dereferences a null pointer.
    Crash,
}
