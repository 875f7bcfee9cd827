//! The control words of floating point: rounding, and the treatment of tiny numbers.
//!
//! They belong to the thread, and the ABI has every function restore what it has changed. A
//! coroutine that computes with another rounding, in C code, and waits meanwhile would hand it to
//! the coroutines that run next. So a wait puts changed words aside, and takes them back after.
//!
//! Rust's own code assumes the words that a program begins with.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// The words of the thread that used coroutines first.
static USUAL: AtomicU64 = AtomicU64::new(arch::INITIAL);

/// Makes the words of the calling thread those that coroutines begin with.
pub(crate) fn set_usual() {
    USUAL.store(arch::read(), Relaxed);
}

/// Gives the calling thread the usual words, if it has others.
#[inline]
pub(crate) fn restore_usual() {
    drop(put_aside_for(false));
}

/// Changed words of a task, which are in force again when this is dropped.
pub(crate) struct Aside(Option<u64>);

/// Gives the calling thread the usual words, until the returned value is dropped.
#[inline]
pub(crate) fn put_aside() -> Aside {
    put_aside_for(true)
}

#[inline]
fn put_aside_for(a_while: bool) -> Aside {
    let (own, usual) = (arch::read(), USUAL.load(Relaxed));
    if own == usual {
        return Aside(None);
    }
    arch::write(usual);
    Aside(a_while.then_some(own))
}

impl Drop for Aside {
    #[inline]
    fn drop(&mut self) {
        if let Some(own) = self.0 {
            arch::write(own);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod arch {
    use std::arch::asm;

    /// The flags of MXCSR that note inexact results and the like. They control nothing.
    const FLAGS: u32 = 0x3f;

    /// MXCSR in the lower half, the control word of the x87 in the upper one.
    pub(super) const INITIAL: u64 = 0x037f_0000_1f80;

    #[inline]
    pub(super) fn read() -> u64 {
        let (mut mxcsr, mut x87) = (0_u32, 0_u16);
        // SAFETY: stores the two registers and changes none.
        unsafe {
            asm!(
                "stmxcsr [{}]", "fnstcw [{}]", in(reg) &raw mut mxcsr, in(reg) &raw mut x87,
                options(nostack, preserves_flags),
            );
        }
        u64::from(mxcsr & !FLAGS) | u64::from(x87) << 32
    }

    #[cold]
    pub(super) fn write(words: u64) {
        let (mxcsr, x87) = (words as u32, (words >> 32) as u16);
        // SAFETY: words that `read` has returned or that a process begins with, so no reserved bit
        // is set. They are in force where the code of the task itself has set them, or are the
        // usual ones.
        unsafe {
            asm!(
                "ldmxcsr [{}]", "fldcw [{}]", in(reg) &raw const mxcsr, in(reg) &raw const x87,
                options(nostack, preserves_flags),
            );
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod arch {
    use std::arch::asm;

    /// FPCR.
    pub(super) const INITIAL: u64 = 0;

    #[inline]
    pub(super) fn read() -> u64 {
        let words: u64;
        // SAFETY: reads a register.
        unsafe { asm!("mrs {}, fpcr", out(reg) words, options(nomem, nostack, preserves_flags)) };
        words
    }

    #[cold]
    pub(super) fn write(words: u64) {
        // SAFETY: a word that `read` has returned or that a process begins with. It is in force
        // where the code of the task itself has set it, or is the usual one.
        unsafe { asm!("msr fpcr, {}", in(reg) words, options(nomem, nostack, preserves_flags)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_words_are_put_aside_and_taken_back() {
        unsafe extern "C" {
            fn fesetround(mode: i32) -> i32;
            fn fegetround() -> i32;
        }
        // SAFETY: the calls change and read the control words; no number is computed meanwhile.
        unsafe {
            let upward = if cfg!(target_arch = "x86_64") { 0x800 } else { 0x40_0000 };
            let usual = fegetround();
            fesetround(upward);
            let aside = put_aside();
            assert_eq!(fegetround(), usual);
            drop(aside);
            assert_eq!(fegetround(), upward);
            restore_usual();
            assert_eq!(fegetround(), usual);
        }
    }
}
