//! A process that is killed at any step: its work is resolved once, and the others go on.

use std::cell::Cell;

use super::messages::Channel;
use super::ring::Side;
use crate::check;
use crate::sys::life;

std::thread_local! {
    /// The number of accesses after which a process dies, and whether one has died. All threads of
    /// a model run on one system thread.
    static AFTER: Cell<u32> = const { Cell::new(0) };
    static HAS_DIED: Cell<bool> = const { Cell::new(false) };
}

/// Checks `threads` with a death at each step.
fn check_all_deaths(make: fn() -> Channel, threads: &'static [fn(&Channel)], end: fn(&Channel)) {
    for accesses in 0.. {
        AFTER.set(accesses);
        HAS_DIED.set(false);
        check(1, make, threads, end);
        if !HAS_DIED.get() {
            assert!(accesses > 5, "a process has died");
            return;
        }
    }
}

/// Runs `f` as the process `number`, which has one end and is killed in `f` or ends after it. The
/// process `other` of the other side is notified.
fn die(channel: &Channel, number: u32, side: Side, other: usize, f: impl FnOnce()) {
    if life::killed_after(AFTER.get(), f) {
        HAS_DIED.set(true);
        channel.kill(number, side, channel.ring(other));
    } else {
        channel.depart(channel.ring(number as usize), side);
    }
}

fn receive_all(channel: &Channel, number: usize) {
    while channel.receive(channel.ring(number)).is_some() {}
}

/// Asserts that all slots are usable.
fn assert_room(channel: &Channel, number: usize) {
    let ring = channel.ring(number);
    for message in [11, 12] {
        assert!(channel.send(ring, message));
        assert_eq!(channel.receive(ring), Some(message));
    }
}

#[test]
fn a_sender_is_killed_beside_another() {
    check_all_deaths(
        || Channel::new(1, 8, [2, 1]),
        &[
            |channel| receive_all(channel, 2),
            |channel| {
                die(channel, 0, Side::Sender, 2, || {
                    channel.send(channel.ring(0), 1);
                });
            },
            |channel| {
                assert!(channel.send(channel.ring(1), 2));
                channel.depart(channel.ring(1), Side::Sender);
            },
        ],
        |channel| {
            let mut received = channel.received();
            received.sort_unstable();
            assert!(received == [1, 2] || received == [2] && HAS_DIED.get(), "{received:?}");
        },
    );
}
