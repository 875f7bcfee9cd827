//! Copies between private memory and memory that other processes may write at the same time.
//!
//! An ordinary copy may be split, repeated or moved by the compiler, which assumes that no other
//! party writes meanwhile. Here each byte of the shared side is accessed once:
//!
//! | bytes | by |
//! |---|---|
//! | a few, and all where the processor is no x86-64 | relaxed atomics of the largest aligned size |
//! | [`LONG`] and more on x86-64 | one `rep movsb`, which the compiler does not look into |
//!
//! The string instruction copies as fast as `memcpy`; the atomics take twice as long from about
//! 1 KiB on. The bytes that a racing process leaves are any mixture of old and new ones.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

/// The number of bytes from which the string instruction is faster than words.
#[cfg(target_arch = "x86_64")]
const LONG: usize = 1024;

/// Copies `len` bytes out of shared memory.
///
/// # Safety
///
/// `from` is mapped and readable for `len` bytes. `to` is memory of the caller, writable for as
/// many, and no part of the mapping.
#[inline]
pub(super) unsafe fn copy_out(from: *const u8, to: *mut u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    if len >= LONG {
        // SAFETY: the caller's promise.
        return unsafe { copy_string(from, to, len) };
    }
    // SAFETY: the caller's promise, for each piece; `pieces` keeps to `len` and to alignment. Any
    // bytes are a valid integer.
    pieces(from.addr(), len, |at, size| unsafe {
        let (from, to) = (from.add(at), to.add(at));
        match size {
            8 => to.cast::<u64>().write_unaligned((*from.cast::<AtomicU64>()).load(Relaxed)),
            4 => to.cast::<u32>().write_unaligned((*from.cast::<AtomicU32>()).load(Relaxed)),
            2 => to.cast::<u16>().write_unaligned((*from.cast::<AtomicU16>()).load(Relaxed)),
            _ => to.write((*from.cast::<AtomicU8>()).load(Relaxed)),
        }
    });
}

/// Copies `len` bytes into shared memory.
///
/// # Safety
///
/// `from` is memory of the caller with `len` initialised bytes. `to` is mapped and writable for as
/// many, and no part of that memory.
#[inline]
pub(super) unsafe fn copy_in(from: *const u8, to: *mut u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    if len >= LONG {
        // SAFETY: the caller's promise.
        return unsafe { copy_string(from, to, len) };
    }
    // SAFETY: the caller's promise, for each piece; `pieces` keeps to `len` and to alignment.
    pieces(to.addr(), len, |at, size| unsafe {
        let (from, to) = (from.add(at), to.add(at));
        match size {
            8 => (*to.cast::<AtomicU64>()).store(from.cast::<u64>().read_unaligned(), Relaxed),
            4 => (*to.cast::<AtomicU32>()).store(from.cast::<u32>().read_unaligned(), Relaxed),
            2 => (*to.cast::<AtomicU16>()).store(from.cast::<u16>().read_unaligned(), Relaxed),
            _ => (*to.cast::<AtomicU8>()).store(from.read(), Relaxed),
        }
    });
}

/// Calls `copy(offset, size)` for each piece of the `len` bytes at `address`: single bytes up to an
/// address that is a multiple of 8, words of 8, then at most one piece each of 4, 2 and 1.
#[inline(always)]
fn pieces(address: usize, len: usize, mut copy: impl FnMut(usize, usize)) {
    let head = (address.wrapping_neg() & 7).min(len);
    (0..head).for_each(|at| copy(at, 1));
    let mut at = head;
    while len - at >= 8 {
        copy(at, 8);
        at += 8;
    }
    for size in [4, 2, 1] {
        if (len - at) & size != 0 {
            copy(at, size);
            at += size;
        }
    }
}

/// # Safety
///
/// Both are valid for `len` bytes and do not overlap.
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn copy_string(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: reads and writes what the caller has promised. The direction flag is clear by the
    // rules of `asm!`.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_at_every_alignment_is_copied_and_no_byte_beside_it() {
        let numbers: Vec<u8> = (0..4096_u32).map(|n| (n % 251) as u8 + 1).collect();
        for len in (0..40).chain([111, 112, 1023, 1024, 1025, 2000]) {
            for (from, to) in (0..9).flat_map(|from| (0..9).map(move |to| (from, to))) {
                for copy in [copy_in, copy_out] {
                    let mut target = vec![0; len + 32];
                    // SAFETY: both have as many bytes from there on.
                    unsafe {
                        copy(numbers.as_ptr().add(from), target.as_mut_ptr().add(to), len);
                    }
                    assert_eq!(target[to..to + len], numbers[from..from + len]);
                    let beside = target[..to].iter().chain(&target[to + len..]);
                    assert!(beside.copied().all(|byte| byte == 0), "{len} {from} {to}");
                }
            }
        }
    }
}
