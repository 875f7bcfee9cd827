//! A larger stack for the report of a panic.
//!
//! ```text
//!   a small stack                             a mapping of its own, for the time of the report
//!   ┌─────────────────────┐                  ┌────────────────────────────────────┐
//!   │ f, panic!, our hook │ ── on_stack ───► │ backtrace, the program's hook, …   │
//!   └─────────────────────┘ ◄─── returns ─── └────────────────────────────────────┘
//! ```
//!
//! The hook runs where the panic is, and std's needs more than 20 KiB for a backtrace with names.
//! The smallest stacks have 16 KiB, and any stack may be nearly used up. The unwinding after it
//! needs less than a small stack has.

use corosensei::on_stack;

use super::{CoStack, current, guard_kind};
use crate::coroutine::carrier::{self, Carrier};

/// The room that a report has on any stack.
const ROOM: usize = 128 * 1024;
/// The size of the stack for reports.
const SIZE: usize = 512 * 1024;

/// Calls `report` on this stack if there is room, else on a larger one. Without memory for that it
/// stays here.
///
/// `report` may wait: its coroutine is then suspended on the larger stack, as on that of a
/// generator. The stack is its own until it returns.
pub(super) fn with_room(report: &mut dyn FnMut()) {
    let mark = 0_u8;
    let here = (&raw const mark).addr();
    let fiber = carrier::current().and_then(Carrier::running);
    let of_fiber = fiber.and_then(|fiber| {
        let (limit, top) = fiber.bounds_if_begun()?;
        (limit..top).contains(&here).then(|| here - limit)
    });
    // Any other stack of this thread is a generator's, or the thread's own.
    let room = of_fiber.or_else(|| current::room_below(here));
    if room.is_some_and(|room| room < ROOM)
        && let Ok(mut stack) = CoStack::map(SIZE, guard_kind())
    {
        on_stack(&mut stack, report);
    } else {
        report();
    }
}
