//! Runtimes of tokio.

use tokio::runtime::{Builder, Runtime};

/// Builds tokio's current-thread runtime.
pub fn current() -> anyhow::Result<Runtime> {
    Ok(Builder::new_current_thread().enable_time().build()?)
}

/// Builds tokio's multi-thread runtime.
pub fn multi() -> anyhow::Result<Runtime> {
    Ok(Builder::new_multi_thread().enable_time().build()?)
}
