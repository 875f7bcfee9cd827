//! The parts of a supervisor, from which each of its runs is made.

use std::sync::Arc;

use super::backoff::Backoff;
use super::child::Child;
use super::error::Intensity;
use super::plan::Strategy;

pub(super) struct Blueprint {
    pub(super) strategy: Strategy,
    pub(super) intensity: Intensity,
    pub(super) backoff: Backoff,
    /// In the order of their start, with their names.
    pub(super) children: Vec<(Arc<str>, Child)>,
}
