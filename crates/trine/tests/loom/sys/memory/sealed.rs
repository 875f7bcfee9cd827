//! Stands in for `src/sys/memory/sealed.rs`.

use std::convert::Infallible;
use std::sync::Arc;

use crate::sys::atomic::AtomicU64;

/// Memory that only its maker has yet.
pub(crate) struct Draft(Vec<u8>);

/// Memory that all threads of a model write.
#[derive(Clone, Debug)]
pub(crate) struct Open(Arc<[AtomicU64]>);

impl Draft {
    pub(crate) fn new(len: usize) -> Result<Draft, Infallible> {
        Ok(Draft(vec![0; len]))
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.0
    }

    pub(crate) fn open(self) -> Result<Open, Infallible> {
        let words = self.0.chunks(8).map(|word| word.try_into().expect("a word"));
        Ok(Open(words.map(|word| AtomicU64::new(u64::from_ne_bytes(word))).collect()))
    }
}

impl Open {
    pub(crate) fn len(&self) -> usize {
        self.0.len() * 8
    }

    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        &self.0[offset / 8]
    }
}
