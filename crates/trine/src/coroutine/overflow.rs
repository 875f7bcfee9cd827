//! A coroutine or a generator that runs into its guard page: says which one it was and what to
//! change, and dies as a thread of std would.

use super::{carrier, thread_stacks};
use crate::sys;
use crate::sys::signal::fault;

/// Puts the handler in place; called before the first coroutine runs.
pub(super) fn install() {
    fault::install(look);
}

/// Runs in the signal handler: no allocation, no lock that could wait.
fn look(address: usize) -> bool {
    let fiber = carrier::current().and_then(carrier::Carrier::running);
    let of_fiber = fiber.and_then(|fiber| {
        // SAFETY: the fiber runs, on the carrier whose thread has faulted, which is this one.
        let (limit, top) = unsafe { fiber.bounds() };
        let guard_end = limit + sys::page_size();
        (limit..guard_end).contains(&address).then(|| top - guard_end)
    });
    // What else runs on a stack of this thread is a generator.
    let Some(size) = of_fiber.or_else(|| thread_stacks::size_above_guard(address)) else {
        return false;
    };
    let (mut id, mut kib) = ([0; 20], [0; 20]);
    let kib = decimal(size.div_ceil(1024) as u64, &mut kib);
    let write = sys::write_stderr_raw;
    write(&[b"\ntrine: "]);
    match of_fiber {
        Some(_) => write(&[b"coroutine "]),
        None if fiber.is_some() => write(&[b"a generator in coroutine "]),
        None => write(&[b"a generator "]),
    };
    if let Some(fiber) = fiber {
        fiber.slot().try_name(|name| write(&[b"`", name.as_bytes(), b"` "]));
        write(&[b"#", decimal(fiber.slot().raw_id(), &mut id), b" "]);
    }
    write(&[b"has overflowed its stack of ", kib, b" KiB\nGive "]);
    match of_fiber {
        Some(_) => write(&[b"it more with coroutine::Builder::stack_size, all of them"]),
        None => write(&[b"all stacks more"]),
    };
    write(&[b" with TRINE_STACK_SIZE or trine::configure; or recurse less.\n\
          fatal runtime error: stack overflow, aborting\n"]);
    true
}

/// The digits of `number`.
fn decimal(mut number: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &buffer[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn numbers_are_written_without_allocating() {
        for number in [0, 7, 10, 252, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string().as_bytes());
        }
    }
}
