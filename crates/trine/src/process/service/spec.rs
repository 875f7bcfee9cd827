//! The description of a template, by which pools with the same one share it.

use std::time::Duration;

use crate::process::task::hook::Hook;
use crate::process::worker::setup::Setup;

/// The state of a template before it forks: the plain program by default, or the result of a
/// preload.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::process) struct TemplateSpec {
    preload: Option<Hook>,
    /// The set-up before the preload.
    setup: Setup,
    /// The time that it may take to be ready, and to reply.
    bound: Option<Duration>,
}

impl TemplateSpec {
    /// Returns the spec for workers with this preload and set-up.
    pub(in crate::process) fn new(
        preload: Option<Hook>,
        setup: &Setup,
        bound: Option<Duration>,
    ) -> TemplateSpec {
        let setup = preload.map(|_| setup.for_template()).unwrap_or_default();
        TemplateSpec { preload, setup, bound }
    }

    /// Returns true for the spec of pools without special wishes; its template is never ended.
    pub(super) fn is_plain(&self) -> bool {
        self.preload.is_none() && self.bound.is_none()
    }

    pub(super) fn preload(&self) -> Option<Hook> {
        self.preload
    }

    pub(super) fn setup(&self) -> &Setup {
        &self.setup
    }

    pub(super) fn bound(&self) -> Option<Duration> {
        self.bound
    }
}
