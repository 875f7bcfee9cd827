//! A link: the two sides of a means of IPC, and how the far side finds it.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;

/// One side of a means, which sends to the other side and receives from it.
pub trait Link {
    fn send(&mut self, n: u64) -> anyhow::Result<()>;
    fn receive(&mut self) -> anyhow::Result<u64>;

    /// Returns true if messages carry their number, false if only their arrival is known.
    fn numbered(&self) -> bool {
        true
    }
}

pub type Boxed = anyhow::Result<Box<dyn Link>>;

/// Bytes of a short message.
pub const SHORT: usize = 64;

/// Bytes of a long message.
pub const LONG: usize = 64 << 10;

/// Returns the number of messages that a means may hold, where it can be chosen.
pub const fn capacity(len: usize) -> usize {
    if len > SHORT { 16 } else { 1_024 }
}

/// The descriptors or names by which the far side connects.
#[derive(Default)]
pub struct Ends {
    pub fds: Vec<OwnedFd>,
    pub names: Vec<String>,
}

impl Ends {
    pub fn of_fds<const N: usize>(fds: [OwnedFd; N]) -> Ends {
        Ends { fds: fds.into(), names: vec![] }
    }

    pub fn of_names(names: impl IntoIterator<Item = String>) -> Ends {
        Ends { fds: vec![], names: names.into_iter().collect() }
    }

    /// Returns the descriptors, of which the means has `N`.
    pub fn fds<const N: usize>(self) -> anyhow::Result<[OwnedFd; N]> {
        self.fds.try_into().ok().context("the means has another number of descriptors")
    }

    /// Returns the names, of which the means has `N`.
    pub fn names<const N: usize>(self) -> anyhow::Result<[String; N]> {
        self.names.try_into().ok().context("the means has another number of names")
    }
}

/// Returns a name that no other measurement uses.
pub fn fresh_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("trine-bench-{}-{count}", std::process::id())
}
