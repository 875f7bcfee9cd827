//! Samples where another thread of this process is: the thread copies its program counter and its
//! stack in a signal handler.
//!
//! ```text
//!   asks: WANTED = thread ──► IDLE ─► ASKED ── SIGURG ──► the thread's handler
//!                                       │                 TAKING: copies [sp, top)
//!   reads, ◄── TAKEN ◄──────────────────┼─────────────────┘ at most 16 KiB
//!   then IDLE         no answer: IDLE ◄─┘
//! ```
//!
//! The handler copies words and nothing else. The asker then picks the return addresses: words that
//! point into the program's code, right behind a call. An address that an earlier call has left in
//! an unused part of a frame passes too. So the list holds all callers, and may hold a few others.
//!
//! The signal is SIGURG, as in Go: it is ignored by default, so a late or stray one does no harm.

use std::ffi::{c_int, c_void};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::action;
use crate::sys::process::image;
use crate::sys::{futex, observe};

/// Returns the lowest and the highest address of the stack of trine's that the calling thread runs
/// on, if it runs on one. Called in a signal handler.
pub(crate) type Bounds = fn() -> Option<(usize, usize)>;

/// The most words that are copied.
const MOST: usize = 2048;
/// The longest time to wait for an answer: the thread may be waiting for a core.
const TIMEOUT: Duration = Duration::from_millis(200);

/// No thread asks.
const IDLE: u32 = 0;
/// The thread `WANTED` is to answer.
const ASKED: u32 = 1;
/// The handler of that thread writes `COUNTER`, `LENGTH` and `WORDS`; no other thread touches them.
const TAKING: u32 = 2;
/// The asker reads them.
const TAKEN: u32 = 3;

static STATE: AtomicU32 = AtomicU32::new(IDLE);
static WANTED: AtomicU32 = AtomicU32::new(0);
static COUNTER: AtomicUsize = AtomicUsize::new(0);
static LENGTH: AtomicUsize = AtomicUsize::new(0);
static WORDS: [AtomicUsize; MOST] = [const { AtomicUsize::new(0) }; MOST];
static BOUNDS: OnceLock<Bounds> = OnceLock::new();

/// Installs the handler. Returns false if the program uses SIGURG itself; its handler then stays.
pub(crate) fn install(bounds: Bounds) -> bool {
    BOUNDS.get_or_init(|| bounds);
    let Ok(current) = action::current(libc::SIGURG) else { return false };
    if !matches!(current.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) {
        return false;
    }
    // It runs on the alternate stack: the sampled stack may be nearly used up.
    let action = action::handled_by(handler, libc::SA_RESTART);
    // SAFETY: `handler` does only what a signal handler may.
    unsafe { action::exchange(libc::SIGURG, Some(&action)) }.is_ok()
}

/// Returns the call stack of `thread`, innermost first; `None` if it does not answer, or if the
/// program has replaced the handler: its own would get a signal that it does not expect.
pub(crate) fn take(thread: u32) -> Option<Vec<usize>> {
    let action = action::current(libc::SIGURG).ok()?;
    if action.sa_sigaction != handler as *const () as usize {
        return None;
    }
    static ONE_ASKS: Mutex<()> = Mutex::new(());
    let _one_asks = ONE_ASKS.lock().unwrap_or_else(PoisonError::into_inner);
    WANTED.store(thread, Relaxed);
    STATE.store(ASKED, Release);
    let (process, id) = (std::process::id().cast_signed(), thread.cast_signed());
    // SAFETY: sends a signal that has a handler, or is ignored, to a thread of this process.
    unsafe { libc::syscall(libc::SYS_tgkill, process, id, libc::SIGURG) };
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let state = STATE.load(Acquire);
        if state == TAKEN {
            break;
        }
        if Instant::now() < deadline {
            futex::wait(&STATE, state, Some(deadline));
        } else if STATE.compare_exchange(ASKED, IDLE, Relaxed, Relaxed).is_ok() {
            return None;
        } else {
            // The handler runs, and needs microseconds once its thread has a core.
            std::thread::yield_now();
        }
    }
    let words = WORDS[..LENGTH.load(Relaxed)].iter().map(|word| word.load(Relaxed));
    // One byte further, like a return address: those are looked up one byte before.
    let counter = COUNTER.load(Relaxed) + 1;
    let addresses = std::iter::once(counter).chain(words.filter(|&word| is_behind_call(word)));
    let addresses = addresses.collect();
    STATE.store(IDLE, Relaxed);
    Some(addresses)
}

unsafe extern "C" fn handler(_signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    if STATE.load(Acquire) != ASKED
        || WANTED.load(Relaxed) != observe::thread_id()
        || STATE.compare_exchange(ASKED, TAKING, Acquire, Relaxed).is_err()
    {
        return;
    }
    // SAFETY: the kernel passes a valid context to a handler installed with SA_SIGINFO.
    let (counter, stack) = unsafe { registers(&*context.cast::<libc::ucontext_t>()) };
    let mut length = 0;
    let bounds = BOUNDS.get().and_then(|bounds| bounds());
    if let Some((low, top)) = bounds
        && (low..top).contains(&stack)
    {
        let used = stack.next_multiple_of(size_of::<usize>())..top;
        for (word, at) in WORDS.iter().zip(used.step_by(size_of::<usize>())) {
            // SAFETY: between the stack pointer and the top of the stack that this very thread runs
            // on, so it is mapped, and no other thread writes it now; aligned, as `top` is too.
            word.store(unsafe { (at as *const usize).read_volatile() }, Relaxed);
            length += 1;
        }
    }
    COUNTER.store(counter, Relaxed);
    LENGTH.store(length, Relaxed);
    STATE.store(TAKEN, Release);
    futex::wake_one(&STATE);
}

/// Returns the program counter and the stack pointer of the interrupted code.
#[cfg(target_arch = "x86_64")]
fn registers(context: &libc::ucontext_t) -> (usize, usize) {
    let registers = &context.uc_mcontext.gregs;
    (registers[libc::REG_RIP as usize] as usize, registers[libc::REG_RSP as usize] as usize)
}

/// Returns the program counter and the stack pointer of the interrupted code.
#[cfg(target_arch = "aarch64")]
fn registers(context: &libc::ucontext_t) -> (usize, usize) {
    (context.uc_mcontext.pc as usize, context.uc_mcontext.sp as usize)
}

/// Returns true if a call in the program's own code returns to `address`.
fn is_behind_call(address: usize) -> bool {
    image::code_before::<8>(address).is_some_and(|before| ends_in_call(&before))
}

/// Recognises `call` with an offset (E8), or with an address from a register or memory (FF /2).
#[cfg(target_arch = "x86_64")]
fn ends_in_call(before: &[u8; 8]) -> bool {
    before[3] == 0xe8
        || [2, 3, 4, 6, 7].iter().any(|&length| {
            let at = before.len() - length;
            before[at] == 0xff && before[at + 1] >> 3 & 7 == 2
        })
}

/// Recognises `bl` and `blr`.
#[cfg(target_arch = "aarch64")]
fn ends_in_call(before: &[u8; 8]) -> bool {
    let instruction = u32::from_le_bytes([before[4], before[5], before[6], before[7]]);
    instruction & 0xfc00_0000 == 0x9400_0000 || instruction & 0xffff_fc1f == 0xd63f_0000
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn a_thread_says_where_it_is_and_one_that_is_none_does_not_answer() {
        fn spin(id: &AtomicU32, stop: &AtomicBool) {
            id.store(observe::thread_id(), Release);
            while !stop.load(Relaxed) {
                std::hint::spin_loop();
            }
        }
        // The thread is not on a stack of trine's, so the sample is the program counter alone.
        assert!(install(|| None));
        let (id, stop) = (AtomicU32::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| spin(&id, &stop));
            while id.load(Acquire) == 0 {
                std::thread::yield_now();
            }
            let taken = std::iter::from_fn(|| Some(take(id.load(Relaxed)))).flatten().next();
            assert_eq!(taken.unwrap().len(), 1);
            stop.store(true, Relaxed);
        });
        assert_eq!(take(u32::MAX >> 1), None);
        // A handler that the program puts in place of this one gets no signal.
        static CAME: AtomicBool = AtomicBool::new(false);
        extern "C" fn own(_: c_int) {
            CAME.store(true, Relaxed);
        }
        // SAFETY: the handler only touches an atomic.
        unsafe { libc::signal(libc::SIGURG, own as *const () as usize) };
        assert_eq!(take(observe::thread_id()), None);
        assert!(!CAME.load(Relaxed));
    }

    #[test]
    fn a_return_address_is_behind_a_call_and_a_function_is_not_code_before_the_image() {
        let mut own = 0;
        backtrace::trace(|frame| {
            own += usize::from(is_behind_call(frame.ip() as usize));
            true
        });
        assert!(own >= 2, "the frames of this test are behind calls");
        assert!(!is_behind_call(0) && !is_behind_call(usize::MAX));
    }
}
