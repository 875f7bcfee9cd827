//! The handler of stack overflows: names the coroutine or generator that ran into its guard,
//! prints the remedy, and aborts as std does for a thread.

use super::{current, guard_size, room};
use crate::coroutine::carrier::{self, Carrier};
use crate::sys;
use crate::sys::signal::fault;
use crate::task::failure;

/// Installs the handler, and the means by which panics are reported on small stacks. Called before
/// the first coroutine or generator runs.
pub(in crate::coroutine) fn install() {
    fault::install(report);
    failure::set_room(room::with_room);
}

/// Reports a fault at `address`, if that is a stack overflow.
///
/// Runs in the signal handler: no allocation, no lock that could wait.
fn report(address: usize) -> bool {
    let fiber = carrier::current().and_then(Carrier::running);
    let of_fiber = fiber.and_then(|fiber| {
        // SAFETY: the fiber runs, on the carrier whose thread has faulted, which is this one.
        let (limit, top) = unsafe { fiber.bounds() };
        let size = (top - limit).next_multiple_of(sys::page_size());
        (limit - guard_size(size)..limit).contains(&address).then_some(size)
    });
    // Any other stack of this thread is a generator's.
    let Some(size) = of_fiber.or_else(|| current::size_above_guard(address)) else {
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

/// Writes the decimal digits of `number` into `buffer`.
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
