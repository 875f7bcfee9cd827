//! A lock that a mapped guard holds.

use super::owner::Owner;
use super::permits::Permits;

/// The permits of a lock whose guard was mapped to a part of the value. Unlocks when dropped.
pub(super) struct Hold<'a> {
    permits: &'a Permits,
    n: u64,
    /// The record of the holder; `None` for a reader, which is not recorded.
    owner: Option<&'a Owner>,
}

impl<'a> Hold<'a> {
    /// Makes the holder of `n` permits that the caller has taken.
    pub(super) fn new(permits: &'a Permits, n: u64, owner: Option<&'a Owner>) -> Hold<'a> {
        Hold { permits, n, owner }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if let Some(owner) = self.owner {
            owner.clear();
        }
        self.permits.give(self.n);
    }
}
