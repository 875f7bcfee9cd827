//! The settings of a pool that a replay needs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::process::task::hook::Hook;
use crate::process::worker::setup::Setup;

/// The settings with which a pool runs its tasks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::process) struct Settings {
    /// True if each task has a fresh worker.
    pub(in crate::process) fresh: bool,
    pub(in crate::process) preload: Option<Hook>,
    pub(in crate::process) setup: Setup,
    pub(in crate::process) grace: Duration,
    pub(in crate::process) start: Option<Duration>,
}

impl Settings {
    /// Encodes the settings for a capsule.
    pub(in crate::process) fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("strings and numbers")
    }

    /// Decodes the settings of a capsule.
    ///
    /// # Errors
    ///
    /// The bytes are corrupted.
    pub(in crate::process) fn decode(bytes: &[u8]) -> Result<Settings, String> {
        postcard::from_bytes(bytes).map_err(|_| "its settings are corrupted".into())
    }
}
