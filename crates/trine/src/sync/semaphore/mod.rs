//! A semaphore: a number of permits.

mod count;
mod owned;

pub use count::{AcquireError, Semaphore, SemaphorePermit};
pub use owned::OwnedSemaphorePermit;
