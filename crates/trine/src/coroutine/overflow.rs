//! A coroutine that runs into its guard page: says which one it was and what to change, and dies as
//! a thread of std would.

use super::carrier;
use crate::sys::{self, fault};

/// Puts the handler in place; called before the first coroutine runs.
pub(super) fn install() {
    fault::install(look);
}

/// Runs in the signal handler: no allocation, no lock that could wait.
fn look(address: usize) -> bool {
    let Some(fiber) = carrier::current().and_then(carrier::Carrier::running) else {
        return false;
    };
    // SAFETY: the fiber runs, on the carrier whose thread has faulted, which is this one.
    let (limit, top) = unsafe { fiber.bounds() };
    let guard_end = limit + sys::page_size();
    if !(limit..guard_end).contains(&address) {
        return false;
    }
    let (mut id, mut size) = ([0; 20], [0; 20]);
    let id = decimal(fiber.slot().raw_id(), &mut id);
    let size = decimal(((top - guard_end).div_ceil(1024)) as u64, &mut size);
    let write = sys::write_stderr_raw;
    write(&[b"\ntrine: coroutine "]);
    fiber.slot().try_name(|name| write(&[b"`", name.as_bytes(), b"` "]));
    write(&[
        b"#",
        id,
        b" has overflowed its stack of ",
        size,
        b" KiB\nGive it more with coroutine::Builder::stack_size, all of them with TRINE_STACK_SIZE \
          or trine::configure; or recurse less.\nfatal runtime error: stack overflow, aborting\n",
    ]);
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
