//! Wakers of a foreign executor, which panics.

use std::sync::Arc;
use std::task::{Wake, Waker};

/// Returns a waker that panics when it is woken, and nowhere else.
pub fn panics_when_woken() -> Waker {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker of another executor, woken");
        }
    }
    Waker::from(Arc::new(Panics))
}

/// Returns a waker that panics when it is its last clone is woken or dropped.
pub fn panics_when_dropped() -> Waker {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("a waker of another executor, dropped");
        }
    }
    Waker::from(Arc::new(Panics))
}
