//! A stand-in for hooks, which no model has.

pub(super) mod hook {
    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    pub(in crate::process) struct Hook;
}
