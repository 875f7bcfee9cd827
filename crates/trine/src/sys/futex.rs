//! Sleeping on an atomic word until another thread, of this process or another, reports a change.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::thread::{ClockId, futex};

use super::clock;

/// Sleeps while `word` holds `expected`, at most until `deadline`.
///
/// May return early without a reason; the caller checks `word` again.
pub(crate) fn wait(word: &AtomicU32, expected: u32, deadline: Option<Instant>) {
    let timeout = match deadline {
        None => None,
        Some(deadline) => {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            // More seconds than the kernel's clock can count are as good as no deadline.
            i64::try_from(left.as_secs())
                .ok()
                .map(|tv_sec| futex::Timespec { tv_sec, tv_nsec: left.subsec_nanos().into() })
        }
    };
    // EAGAIN (the word has changed), EINTR and ETIMEDOUT all mean that the caller checks again.
    let _ = futex::wait(word, futex::Flags::PRIVATE, expected, timeout.as_ref());
}

/// Wakes one thread that sleeps on `word`.
pub(crate) fn wake_one(word: &AtomicU32) {
    let _ = futex::wake(word, futex::Flags::PRIVATE, 1);
}

/// The longest sleep on the shared word alone, between two checks of the own one. Used if the
/// kernel cannot wait for two words: before Linux 5.16, or in a sandbox without the call.
const SHARED_ONLY: Duration = Duration::from_millis(5);

/// Sleeps while `own`, a word of this process, holds `own_expected`, and `shared`, a word in memory
/// shared with other processes, holds `shared_expected`; at most until `deadline`.
///
/// [`wake_one`] wakes the sleeper through the own word, [`wake_shared`] through the shared one. May
/// return early without a reason; the caller checks both words again.
pub(crate) fn wait_either(
    own: &AtomicU32,
    own_expected: u32,
    shared: &AtomicU32,
    shared_expected: u32,
    deadline: Option<Instant>,
) {
    static REFUSED: AtomicBool = AtomicBool::new(false);
    if REFUSED.load(Relaxed) {
        return wait_shared_briefly(shared, shared_expected, deadline);
    }
    // This call takes a moment of the clock; more than a day is as good as no deadline.
    let until = match deadline {
        None => None,
        Some(deadline) => {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            Some(after(left.min(Duration::from_secs(86_400))))
        }
    };
    let words = [
        waited_for(own, own_expected, futex::WaitFlags::PRIVATE),
        waited_for(shared, shared_expected, futex::WaitFlags::empty()),
    ];
    let waited =
        futex::waitv(&words, futex::WaitvFlags::empty(), until.as_ref(), ClockId::Monotonic);
    // All other errors mean that the caller checks again.
    if let Err(Errno::NOSYS | Errno::PERM) = waited {
        REFUSED.store(true, Relaxed);
    }
}

/// Returns true if the kernel can wait for several words at once ([`wait_any`]); asks it once.
pub(crate) fn waits_for_many() -> bool {
    static WAITS: OnceLock<bool> = OnceLock::new();
    *WAITS.get_or_init(|| {
        // A kernel that has the call refuses an empty list with another error.
        let asked = futex::waitv(&[], futex::WaitvFlags::empty(), None, ClockId::Monotonic);
        matches!(asked, Err(Errno::INVAL))
    })
}

/// The most shared words that [`wait_any`] waits for, beside the own one.
pub(crate) const MOST_SHARED: usize = 127;

/// Sleeps while `own`, a word of this process, and all of `shared`, words in memory shared with
/// other processes, hold their expected values; at most for `longest`. May return early without a
/// reason.
///
/// # Errors
///
/// If a word is not mapped any more, or the kernel has no memory for the wait. The call has then
/// not slept.
pub(crate) fn wait_any<'a>(
    own: (&AtomicU32, u32),
    shared: impl Iterator<Item = (&'a AtomicU32, u32)>,
    longest: Option<Duration>,
) -> io::Result<()> {
    let own = waited_for(own.0, own.1, futex::WaitFlags::PRIVATE);
    let shared = shared.map(|(word, held)| waited_for(word, held, futex::WaitFlags::empty()));
    let words: Vec<_> = std::iter::once(own).chain(shared).collect();
    let until = longest.map(after);
    let none = futex::WaitvFlags::empty();
    match futex::waitv(&words, none, until.as_ref(), ClockId::Monotonic) {
        Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Returns the moment of the kernel's clock after `time`.
fn after(time: Duration) -> futex::Timespec {
    let until = clock::monotonic() + time;
    let tv_sec = i64::try_from(until.as_secs()).unwrap_or(i64::MAX);
    futex::Timespec { tv_sec, tv_nsec: until.subsec_nanos().into() }
}

fn waited_for(word: &AtomicU32, expected: u32, more: futex::WaitFlags) -> futex::Wait {
    let mut wait = futex::Wait::new();
    wait.val = expected.into();
    wait.uaddr = futex::WaitPtr::new(word.as_ptr().cast());
    wait.flags = futex::WaitFlags::SIZE_U32 | more;
    wait
}

/// Sleeps like [`wait_either`], but on the shared word alone, and at most for [`SHARED_ONLY`].
fn wait_shared_briefly(shared: &AtomicU32, expected: u32, deadline: Option<Instant>) {
    let left =
        deadline.map_or(SHARED_ONLY, |deadline| deadline.saturating_duration_since(Instant::now()));
    let left = left.min(SHARED_ONLY);
    if !left.is_zero() {
        let time = futex::Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
        let _ = futex::wait(shared, futex::Flags::empty(), expected, Some(&time));
    }
}

/// Wakes all threads that sleep on `word`, in any process, and returns how many.
///
/// # Errors
///
/// If the page of the word cannot be loaded.
pub(crate) fn wake_shared(word: &AtomicU32) -> io::Result<usize> {
    // More than that cannot wait.
    Ok(futex::wake(word, futex::Flags::empty(), i32::MAX.cast_unsigned())?)
}

/// Flips `bits` of `changed`, of which only the lowest 11 can be given, and wakes all threads that
/// sleep on `word`, in any process. Both happen in one step, which no signal interrupts.
///
/// # Errors
///
/// If one of the pages cannot be loaded; then nothing has happened.
pub(crate) fn change_and_wake(changed: &AtomicU32, bits: u32, word: &AtomicU32) -> io::Result<()> {
    let bits = u16::try_from(bits).unwrap_or(u16::MAX);
    let all = i32::MAX.cast_unsigned();
    let (change, never) = (futex::WakeOp::XOr, futex::WakeOpCmp::Eq);
    futex::wake_op(word, futex::Flags::empty(), all, 0, changed, change, never, bits, 0)?;
    Ok(())
}

/// Wakes at most `most` of the threads that sleep on `word`, in any process.
pub(crate) fn wake_shared_some(word: &AtomicU32, most: u32) {
    // It fails if the word is not mapped any more, and then no thread sleeps on it.
    let _ = futex::wake(word, futex::Flags::empty(), most);
}
