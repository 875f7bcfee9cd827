//! Stacks: their guards, the smallest of them, and values that are larger than a stack.

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;

use crate::common::starts::start;
use crate::common::{again, alone, role};
use trine::coroutine::{Builder, Generator, spawn, spawn_local};
use trine::sync::Event;

/// Recurses until less than `left` bytes of a stack of `size` bytes are left below `top`, and then
/// calls `f`.
#[inline(never)]
fn near_the_end(top: usize, size: usize, left: usize, f: &dyn Fn()) {
    let frame = std::hint::black_box([0_u8; 256]);
    if top - std::ptr::from_ref(&frame).addr() + left < size {
        near_the_end(top, size, left, f);
    } else {
        f();
    }
    std::hint::black_box(&frame);
}

/// Writes as C code does that has a buffer of 40 KiB in its frame: without a probe of each page.
fn unprobed_frame() {
    let mut mark = 0_u8;
    // Hidden from the optimiser, which may leave out a write beyond the variable.
    let below = std::hint::black_box(&raw mut mark).wrapping_sub(40 * 1024);
    // SAFETY: none; the child is to die of this write.
    unsafe { below.write_volatile(1) }
}

#[test]
fn a_large_frame_of_c_code_does_not_step_over_the_guard() {
    const SIZE: usize = 256 * 1024;
    if role().is_some() {
        let overflow = || {
            let mark = 0_u8;
            near_the_end(std::ptr::from_ref(&mark).addr(), SIZE, 8 * 1024, &unprobed_frame);
        };
        // Its stack lies below that of the next one.
        let gate = Arc::new(Event::new());
        let neighbour = spawn({
            let gate = Arc::clone(&gate);
            move || gate.wait()
        });
        if role().as_deref() == Some("generator") {
            Generator::<(), (), ()>::new(move |_, ()| overflow()).for_each(|()| ());
        } else {
            spawn(overflow).join().unwrap();
        }
        gate.set();
        return neighbour.join().unwrap();
    }
    for role in ["coroutine", "generator"] {
        for guard in ["marker", "mprotect"] {
            let mut command = again(role);
            command.env("TRINE_GUARD", guard).env("TRINE_CARRIERS", "1");
            let output = start(&mut command).unwrap().wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{role}, {guard}: {text}");
            assert!(
                text.contains("has overflowed its stack of 256 KiB"),
                "{role}, {guard}: {text}"
            );
        }
    }
}

#[test]
fn the_smallest_stack_bears_a_panic_with_a_backtrace() {
    if role().is_some() {
        let smallest = || Builder::new().stack_size(1);
        let error = smallest().spawn(|| panic!("on a small stack")).join().unwrap_err();
        assert!(error.to_string().contains("on a small stack"), "{error}");
        let error = smallest().spawn_local(|| panic!("here, too")).join().unwrap_err();
        assert!(error.is_panic());
        let ended = trine::supervise(|scope| {
            let task = scope.coroutine_with(smallest(), || panic!("in a scope"));
            assert!(task.join().unwrap_err().is_panic());
        });
        ended.value.unwrap();
        // In a generator, whose stack has the usual size, and at the end of a stack.
        let mut generator = Generator::<(), (), ()>::new(|_, ()| panic!("in a generator"));
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| generator.next()));
        assert!(caught.is_err());
        let deep = || {
            let mark = 0_u8;
            let top = std::ptr::from_ref(&mark).addr();
            near_the_end(top, 256 * 1024, 10 * 1024, &|| panic!("near the end of a stack"));
        };
        let task = Builder::new().stack_size(256 * 1024).spawn(deep);
        return assert!(task.join().unwrap_err().is_panic());
    }
    for backtrace in ["0", "1", "full"] {
        let output = alone(&[("RUST_BACKTRACE", backtrace), ("TRINE_STACK_SIZE", "16K")]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {text}", output.status);
        assert!(text.contains("near the end of a stack"), "{text}");
        // The functions of the small stack are found from the larger one.
        assert_eq!(text.contains("near_the_end"), backtrace != "0", "{text}");
    }
}

/// Runs `f` on a thread with room for many copies of large values.
fn on_a_large_thread(f: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(f);
    thread.unwrap().join().unwrap();
}

#[test]
fn captures_and_results_larger_than_the_stack_have_room() {
    on_a_large_thread(large_captures_and_results);
}

/// A value larger than the default stack. Its functions are not inlined: the optimiser would take
/// minutes to look at each of its words.
#[derive(Clone, Copy)]
struct Large([u64; 40_000]);

impl Large {
    #[inline(never)]
    fn new() -> Large {
        Large(std::hint::black_box([7; 40_000]))
    }

    #[inline(never)]
    fn sum(&self) -> u64 {
        self.0.iter().sum()
    }
}

const SUM: u64 = 7 * 40_000;

#[inline(never)]
fn large_captures(builder: impl Fn() -> Builder) {
    let captured = Large::new();
    assert_eq!(builder().spawn(move || captured.sum()).join().unwrap(), SUM);
    let captured = Large::new();
    assert_eq!(builder().spawn_local(move || captured.sum()).join().unwrap(), SUM);
    let captured = Large::new();
    let sum = trine::scope(|scope| scope.coroutine_with(builder(), move || captured.sum()).join());
    assert_eq!(sum.unwrap().unwrap(), SUM);
}

#[inline(never)]
fn large_results(builder: impl Fn() -> Builder) {
    assert_eq!(builder().spawn(Large::new).join().unwrap().sum(), SUM);
    assert_eq!(builder().spawn_local(Large::new).join().unwrap().sum(), SUM);
    let large = trine::scope(|scope| scope.coroutine_with(builder(), Large::new).join());
    assert_eq!(large.unwrap().unwrap().sum(), SUM);
}

fn large_captures_and_results() {
    for size in [16 * 1024, 256 * 1024, 1 << 20] {
        large_captures(|| Builder::new().stack_size(size));
        large_results(|| Builder::new().stack_size(size));
    }
    // Smaller ones, which leave less than half of the stack.
    let captured = [7_u64; 1500];
    assert_eq!(spawn(move || captured.iter().sum::<u64>()).join().unwrap(), 7 * 1500);
    assert_eq!(spawn_local(move || captured).join().unwrap(), captured);
}
