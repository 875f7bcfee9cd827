//! Looking a few times more before a sleep: what comes within a microsecond costs no wake-up then.

use std::cell::{Cell, RefCell};
use std::hint;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use crate::task::park::{self, Patience};

/// How often those of one end look, by what that brought earlier.
#[derive(Debug)]
pub(super) struct Spin {
    budget: AtomicU32,
    patience: Patience,
}

impl Spin {
    const LEAST: u32 = 16;
    const MOST: u32 = 512;

    pub(super) fn new() -> Spin {
        Spin { budget: AtomicU32::new(Spin::MOST), patience: Patience::new() }
    }

    /// What `look` has found in the end. On one processor it lets others run instead of spinning; on several it
    /// does not, as on a busy machine it would come back late, with its share of time used up.
    pub(super) fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let is_thread = park::is_plain_thread();
        // A coroutine lets its neighbours run, if there are any; with none its carrier has nothing else to do.
        if !is_thread && (park::pass() || !has_company()) {
            return look();
        }
        if has_company() {
            let budget = self.budget.load(Relaxed);
            for count in 1..=budget {
                if let Some(found) = look() {
                    self.budget.store((2 * budget).min(Spin::MOST), Relaxed);
                    return Some(found);
                }
                if !is_thread && count.is_multiple_of(64) && park::pass() {
                    return look();
                }
                hint::spin_loop();
            }
            self.budget.store((budget - budget / 8).max(Spin::LEAST), Relaxed);
            return None;
        }
        let (look, found) = (RefCell::new(look), Cell::new(None));
        self.patience.linger(|| {
            let now = look.borrow_mut()();
            let is = now.is_some();
            found.set(now);
            is
        });
        found.into_inner()
    }
}

/// Whether another processor may do meanwhile what is waited for.
fn has_company() -> bool {
    static MANY: OnceLock<bool> = OnceLock::new();
    *MANY.get_or_init(|| thread::available_parallelism().is_ok_and(|count| count.get() > 1))
}
