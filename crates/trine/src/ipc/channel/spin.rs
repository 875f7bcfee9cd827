//! Looking a few times more before a sleep: what comes within some microseconds costs no wake-up then.
//!
//! As `task::park`'s `Patience`, how long it pays is learnt at each place: what has come in time makes the next
//! spin longer, what has not makes it shorter. Other than there the peer may run on another processor at
//! the same time, so it looks without a system call in between if it can, and a coroutine does so too: to be woken costs
//! it as much as a thread.

use std::hint;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use crate::task::park;

/// How often those of one end look, by what that brought earlier.
#[derive(Debug)]
pub(super) struct Spin(AtomicU32);

impl Spin {
    const LEAST: u32 = 16;
    const MOST: u32 = 512;
    /// Looks before a coroutine asks whether others of its carrier are ready, and everybody what time it is.
    const ALONE: u32 = 16;
    /// A program that lets nobody run costs one who lets it run its whole share of time, at each look.
    const LONGEST: Duration = Duration::from_micros(200);

    pub(super) fn new() -> Spin {
        Spin(AtomicU32::new(Spin::MOST))
    }

    /// What `look` has found in the end. On one processor it lets other threads run instead of spinning; on several it
    /// does not, as on a busy machine it would come back late, with its share of time used up.
    ///
    /// In a coroutine it ends when its neighbours are ready: they run, and it looks once more. At `deadline` it ends, too.
    pub(super) fn until<T>(
        &self,
        deadline: Option<Instant>,
        mut look: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        if park::pass() {
            return look();
        }
        let budget = self.0.load(Relaxed);
        let spins = has_company();
        let end_from = |now: Instant| {
            let end = now + Spin::LONGEST;
            deadline.map_or(end, |deadline| deadline.min(end))
        };
        // Who spins has nearly always found it before the clock is worth a look.
        let mut end = if spins { None } else { Some(end_from(Instant::now())) };
        for count in 1..=if spins { budget } else { budget / 2 } {
            if let Some(found) = look() {
                self.0.store((2 * budget).min(Spin::MOST), Relaxed);
                return Some(found);
            }
            if spins {
                hint::spin_loop();
            } else {
                thread::yield_now();
            }
            if !spins || count.is_multiple_of(Spin::ALONE) {
                if park::pass() {
                    return look();
                }
                let now = Instant::now();
                if now >= *end.get_or_insert_with(|| end_from(now)) {
                    break;
                }
            }
        }
        self.0.store((budget - budget / 8).max(Spin::LEAST), Relaxed);
        None
    }
}

/// Whether another processor may do meanwhile what is waited for.
fn has_company() -> bool {
    static MANY: OnceLock<bool> = OnceLock::new();
    *MANY.get_or_init(|| thread::available_parallelism().is_ok_and(|count| count.get() > 1))
}
