//! A link: the two sides of a means of IPC, and how the far side finds it.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;

/// One side of a means: a way there, and a way back.
pub trait Link {
    fn send(&mut self, n: u64) -> anyhow::Result<()>;
    fn receive(&mut self) -> anyhow::Result<u64>;

    /// Whether what arrives is what was sent, and not only that something was.
    fn numbered(&self) -> bool {
        true
    }
}

pub type Boxed = anyhow::Result<Box<dyn Link>>;

/// Bytes of a short message, and of a long one.
pub const SHORT: usize = 64;
pub const LONG: usize = 64 << 10;

/// How many messages may be under way, where that can be chosen.
pub const fn capacity(len: usize) -> usize {
    if len > SHORT { 16 } else { 1_024 }
}

/// What the far side connects by.
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

    /// The descriptors, as many as the means has.
    pub fn fds<const N: usize>(self) -> anyhow::Result<[OwnedFd; N]> {
        self.fds.try_into().ok().context("so many descriptors it does not have")
    }

    /// The names, as many as the means has.
    pub fn names<const N: usize>(self) -> anyhow::Result<[String; N]> {
        self.names.try_into().ok().context("so many names it does not have")
    }
}

/// A name that no other measurement has.
pub fn fresh_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("trine-bench-{}-{count}", std::process::id())
}
