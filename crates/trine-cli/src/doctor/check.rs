//! A check of the doctor, and the report of all.

use serde::Serialize;

use crate::measure::machine::Machine;

/// Everything that was found: the document that `--json` prints.
#[derive(Serialize)]
pub(crate) struct Report {
    /// The name and version of this schema. It changes when a field is renamed, removed or gets
    /// another meaning, not when a field or a check is added.
    pub(super) schema: &'static str,
    pub(crate) machine: Machine,
    pub(crate) checks: Vec<Check>,
    /// True if tasks of all three kinds run.
    pub(crate) ok: bool,
}

/// One thing that trine uses.
#[derive(Serialize)]
pub(crate) struct Check {
    /// The stable name.
    pub(crate) name: &'static str,
    pub(crate) state: State,
    /// The facts, and their consequence.
    pub(crate) found: String,
    /// The way to get more; `None` if all works, or if `found` says it.
    pub(crate) remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// All of it works.
    Works,
    /// It works in part, or trine has a substitute for it.
    Limited,
    /// Calls that need it fail.
    Missing,
}

impl Check {
    pub(super) fn is_well(&self) -> bool {
        self.state == State::Works
    }

    pub(super) fn works(name: &'static str, found: impl Into<String>) -> Check {
        Check { name, state: State::Works, found: found.into(), remedy: None }
    }

    pub(super) fn limited(
        name: &'static str,
        found: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) -> Check {
        Check { name, state: State::Limited, found: found.into(), remedy: remedy.into() }
    }

    pub(super) fn missing(
        name: &'static str,
        found: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) -> Check {
        Check { name, state: State::Missing, found: found.into(), remedy: remedy.into() }
    }
}
