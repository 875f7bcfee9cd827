//! Runtimes of tokio.

use tokio::runtime::{Builder, Runtime};

/// tokio on this thread.
pub fn current() -> anyhow::Result<Runtime> {
    Ok(Builder::new_current_thread().enable_time().build()?)
}

/// tokio on all cores.
pub fn multi() -> anyhow::Result<Runtime> {
    Ok(Builder::new_multi_thread().enable_time().build()?)
}
