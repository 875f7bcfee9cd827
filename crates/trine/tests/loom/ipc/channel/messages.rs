//! Messages between living processes: each is received once, those of one sender in order, and no
//! process sleeps forever. The code here mirrors `codec.rs` and `end.rs`.

use std::fs::File;
use std::sync::Mutex;
use std::sync::atomic::Ordering::{AcqRel, SeqCst};

use loom::sync::atomic::AtomicU32;

use super::layout::{
    self, ATTACHMENTS, DEPARTURES, HEAD, INLINE, Layout, MessageHeader, NUMBERS, Position,
    RECEIVERS, SENDERS, TAIL,
};
use super::ring::{Found, OTHERS, Ring, Side, THREADS};
use crate::check;
use crate::sys::io::reopen;
use crate::sys::memory::shared::SharedMemory;
use crate::sys::presence::{self, Presence, Table};
use crate::sys::time::Naps;
use crate::task::{park, wait};

/// A channel, and the messages that were received. Each process has a number.
pub(super) struct Channel {
    region: SharedMemory,
    layout: Layout,
    pub(super) table: Table,
    rings: Vec<Ring>,
    /// The number of processes with a sender and with a receiver, as the kernel knows it.
    left: [AtomicU32; 2],
    /// The number of deaths that the kernel has reported.
    hangups: AtomicU32,
    /// A mutex of std is free whenever loom lets another thread run.
    received: Mutex<Vec<u64>>,
}

impl Channel {
    pub(super) fn new(capacity: usize, max_message: usize, ends: [u32; 2]) -> Channel {
        reopen::hang_bell();
        let layout = Layout::new(capacity, max_message).expect("it is small");
        let mut words = vec![TAIL, HEAD, NUMBERS, ATTACHMENTS];
        let mut contents = Vec::new();
        for slot in (0..capacity).map(|index| layout.slot(index)) {
            words.extend([slot, slot + 8]);
            contents.push(slot + 16);
        }
        for block in 0..layout.blocks {
            words.push(layout.block_word(block));
            contents.push(layout.block(block) + layout::padding(0));
        }
        let halves = [RECEIVERS, RECEIVERS + 4, SENDERS, SENDERS + 4, DEPARTURES];
        let mut channel = Channel {
            region: SharedMemory::new(&words, &halves, &contents),
            layout,
            table: presence::table(ends.iter().sum::<u32>() as usize),
            rings: Vec::new(),
            left: ends.map(AtomicU32::new),
            hangups: AtomicU32::new(0),
            received: Mutex::default(),
        };
        channel.rings = (0..ends.iter().sum()).map(|number| channel.attach(number)).collect();
        channel
    }

    /// Attaches a process under a number that is free.
    pub(super) fn attach(&self, number: u32) -> Ring {
        let presence = Presence::new(&self.table, number).expect("it is free");
        let bell = File::open("/dev/null").expect("it is there").into();
        Ring::new(self.region.clone(), self.layout, bell, presence)
    }

    pub(super) fn ring(&self, number: usize) -> &Ring {
        &self.rings[number]
    }

    pub(super) fn received(&self) -> Vec<u64> {
        self.received.lock().unwrap().clone()
    }

    fn is_disconnected(&self, side: Side) -> bool {
        self.left[side as usize].fetch_add(0, AcqRel) == 0
    }

    /// Closes the end of a process, as the kernel does.
    fn close(&self, side: Side) {
        self.left[side as usize].fetch_sub(1, AcqRel);
    }

    /// Drops an end.
    pub(super) fn depart(&self, ring: &Ring, side: Side) {
        self.close(side);
        ring.depart(side);
    }

    /// Ends the process `number`, which has one end, as a death does. The kernel notifies the other
    /// side, whose ring is `other`.
    pub(super) fn kill(&self, number: u32, side: Side, other: &Ring) {
        Presence::end(&self.table, number);
        self.close(side);
        self.hangups.fetch_add(1, SeqCst);
        other.wake_all(side.other());
    }

    /// Waits as `End::wait` does; `None` if no end is left on the other side.
    fn wait<T>(&self, ring: &Ring, side: Side, mut look: impl FnMut() -> Found<T>) -> Option<T> {
        let kind = if park::is_plain_thread() { THREADS } else { OTHERS };
        let (mut departures, mut hangups, mut disconnected) = (0, 0, false);
        let mut naps = Naps::new();
        loop {
            let epoch = ring.arm(side, kind);
            let (left, reported) = (ring.departures(), self.hangups.fetch_add(0, SeqCst));
            if (left, reported) != (departures, hangups) {
                (departures, hangups) = (left, reported);
                disconnected = self.is_disconnected(side.other());
            }
            match look() {
                Found::Claimed(value) => return Some(value),
                Found::Nothing if disconnected => return None,
                Found::Nothing if kind == THREADS => {
                    wait::for_word(ring.epoch(side), epoch, None).expect("it is not cancelled");
                }
                Found::Nothing => loop {
                    let rung = reopen::rung();
                    if ring.epoch(side).load(SeqCst) != epoch {
                        break;
                    }
                    reopen::hear(rung);
                },
                // Sleeps for a bounded time.
                Found::Busy(claim) => {
                    let _ = claim.is_some_and(|claim| ring.reclaim(claim));
                    naps.sleep();
                }
                Found::Broken => panic!("corrupted"),
            }
        }
    }

    /// Sends a message; false if no receiver is left.
    pub(super) fn send(&self, ring: &Ring, message: u64) -> bool {
        let bytes = message.to_le_bytes();
        let block = if self.layout.max_message > INLINE {
            let look = || ring.take_block().map_or(Found::Busy(None), Found::Claimed);
            let Some(block) = self.wait(ring, Side::Sender, look) else { return false };
            ring.region.write(block.offset() + layout::padding(0), &bytes);
            Some(block)
        } else {
            None
        };
        let position = match ring.claim_to_write() {
            Found::Claimed(position) => position,
            _ => match self.wait(ring, Side::Sender, || ring.claim_to_write()) {
                Some(position) => position,
                None => return false,
            },
        };
        match block {
            None => {
                ring.write_header(position, MessageHeader { len: bytes.len(), block: None });
                ring.region.write(ring.inline(position), &bytes);
            }
            Some(block) => {
                let block_and_padding = Some((block.block, layout::padding(0)));
                ring.write_header(
                    position,
                    MessageHeader { len: bytes.len(), block: block_and_padding },
                );
                block.hand_to(position);
            }
        }
        ring.publish(position);
        true
    }

    /// Receives the next message; `None` if no sender is left.
    pub(super) fn receive(&self, ring: &Ring) -> Option<u64> {
        let position = match ring.claim_to_read() {
            Found::Claimed(position) => position,
            _ => self.wait(ring, Side::Receiver, || ring.claim_to_read())?,
        };
        let message = u64::from_le_bytes(self.read(ring, position));
        self.received.lock().unwrap().push(message);
        Some(message)
    }

    fn read(&self, ring: &Ring, position: Position) -> [u8; 8] {
        let MessageHeader { len, block } = ring.read_header(position).expect("it is valid");
        assert_eq!(len, 8);
        match block {
            None => {
                let bytes = ring.region.read(ring.inline(position));
                ring.release(position);
                bytes
            }
            Some((block, padding)) => {
                let held = ring.block_of(position, block);
                ring.release(position);
                let held = held.expect("it is this message's");
                ring.region.read(held.offset() + padding)
            }
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        reopen::take_bell_down();
    }
}

fn short(capacity: usize, ends: [u32; 2]) -> Channel {
    Channel::new(capacity, 8, ends)
}

/// Sends the messages as process `number`, and drops its end.
fn send(channel: &Channel, number: usize, messages: &[u64]) {
    for message in messages {
        assert!(channel.send(channel.ring(number), *message));
    }
    channel.depart(channel.ring(number), Side::Sender);
}

fn receive_all(channel: &Channel, number: usize) {
    while channel.receive(channel.ring(number)).is_some() {}
}

fn receive_all_in_a_coroutine(channel: &Channel, number: usize) {
    park::be_carried();
    receive_all(channel, number);
}

fn assert_received(channel: &Channel, messages: &[u64]) {
    let mut received = channel.received();
    received.sort_unstable();
    assert_eq!(received, messages);
}

#[test]
fn messages_of_one_arrive_in_order() {
    check(
        2,
        || short(1, [1, 1]),
        &[|channel| receive_all(channel, 1), |channel| send(channel, 0, &[1, 2, 3])],
        |channel| assert_eq!(channel.received(), [1, 2, 3]),
    );
    check(
        2,
        || short(2, [1, 1]),
        &[|channel| receive_all(channel, 1), |channel| send(channel, 0, &[1, 2, 3])],
        |channel| assert_eq!(channel.received(), [1, 2, 3]),
    );
}

#[test]
fn the_bell_wakes_coroutines() {
    check(
        2,
        || short(1, [1, 1]),
        &[|channel| receive_all_in_a_coroutine(channel, 1), |channel| send(channel, 0, &[1, 2])],
        |channel| assert_eq!(channel.received(), [1, 2]),
    );
    check(
        2,
        || short(1, [1, 1]),
        &[
            |channel| receive_all(channel, 1),
            |channel| {
                park::be_carried();
                send(channel, 0, &[1, 2, 3]);
            },
        ],
        |channel| assert_eq!(channel.received(), [1, 2, 3]),
    );
}

#[test]
fn two_send_to_one() {
    check(
        1,
        || short(1, [2, 1]),
        &[
            |channel| receive_all(channel, 2),
            |channel| send(channel, 0, &[1]),
            |channel| send(channel, 1, &[2]),
        ],
        |channel| assert_received(channel, &[1, 2]),
    );
}

#[test]
fn one_sends_to_two_of_whom_one_is_a_coroutine() {
    check(
        1,
        || short(1, [1, 2]),
        &[
            |channel| receive_all(channel, 1),
            |channel| receive_all_in_a_coroutine(channel, 2),
            |channel| send(channel, 0, &[1, 2]),
        ],
        |channel| assert_received(channel, &[1, 2]),
    );
}

#[test]
fn long_messages_lie_in_blocks_that_are_used_again() {
    check(
        2,
        || Channel::new(1, INLINE + 1, [1, 1]),
        &[|channel| receive_all(channel, 1), |channel| send(channel, 0, &[1, 2, 3])],
        |channel| assert_eq!(channel.received(), [1, 2, 3]),
    );
}
