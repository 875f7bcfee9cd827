//! Tests that no program can make from outside: a death at each step, and corrupted memory.

use std::os::fd::AsFd;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use super::codec::pack;
use super::end::{Descriptors, End};
use super::error::Reason;
use super::layout::{INLINE, MessageHeader};
use super::ring::{Found, Ring, Side};
use super::{Receiver, Sender, channel_with};
use crate::ipc::carry;
use crate::ipc::fingerprint::fingerprint;

const LONG: Duration = Duration::from_secs(30);

type Text = String;

/// Makes another end of the same channel, as another process has it.
fn another<T>(end: &End) -> End {
    End::attach(end.side, end.descriptors().unwrap(), fingerprint::<T>(size_of::<T>())).unwrap()
}

fn claimed<T: std::fmt::Debug>(found: Found<T>) -> T {
    match found {
        Found::Claimed(it) => it,
        other => panic!("{other:?}"),
    }
}

/// Sends up to a step.
fn send_up_to(ring: &Ring, step: u32, text: &Text) {
    let packed = pack(ring, text).unwrap();
    if step == 0 {
        return std::mem::forget(packed);
    }
    let position = claimed(ring.claim_to_write());
    match step {
        1 => std::mem::forget(packed),
        2 => packed.write_to(position),
        _ => packed.put(position),
    }
}

/// Receives up to a step.
fn receive_up_to(ring: &Ring, step: u32) {
    let position = claimed(ring.claim_to_read());
    let block = ring.read_header(position).unwrap().block;
    if step == 0 {
        return;
    }
    let held = block.map(|(block, _)| ring.block_of(position, block).unwrap());
    if step == 1 {
        return std::mem::forget(held);
    }
    ring.release(position);
    std::mem::forget(held);
}

#[test]
fn a_death_at_any_step_loses_at_most_its_own_message_and_no_room() {
    for len in [3, INLINE * 3] {
        for capacity in [1, 2, 5] {
            let (sender, receiver) = channel_with::<Text>(capacity, 4096).unwrap();
            let text = "x".repeat(len);
            let deaths = (0..4).map(|step| (Side::Sender, step));
            let deaths: Vec<_> = deaths.chain((0..3).map(|step| (Side::Receiver, step))).collect();
            for (side, step) in deaths.iter().cycle().take(20 * deaths.len()) {
                let mut rest = 0;
                match side {
                    Side::Sender => {
                        let other = another::<Text>(&sender.end);
                        send_up_to(&other.ring, *step, &text);
                        // With the last step the message is sent.
                        rest += usize::from(*step == 3);
                    }
                    Side::Receiver => {
                        let other = another::<Text>(&receiver.end);
                        sender.send(text.clone()).unwrap();
                        receive_up_to(&other.ring, *step);
                    }
                }
                // All slots are usable, and all messages arrive.
                for _ in rest..capacity {
                    sender.send_timeout(text.clone(), LONG).unwrap();
                }
                assert!(sender.try_send(text.clone()).unwrap_err().is_full());
                for _ in 0..capacity {
                    assert_eq!(receiver.recv_timeout(LONG).unwrap(), text, "{side:?} {step}");
                }
                assert!(receiver.try_recv().unwrap_err().is_empty());
            }
        }
    }
}

#[test]
fn sleepers_find_a_peer_that_died_in_the_middle() {
    let (sender, receiver) = channel_with::<Text>(1, 4096).unwrap();
    // A sender dies between its claim and the claim's end, while a receiver sleeps.
    let sleeper = receiver.clone();
    let thread = std::thread::spawn(move || sleeper.recv_timeout(LONG));
    let other = another::<Text>(&sender.end);
    send_up_to(&other.ring, 2, &"lost".into());
    drop(other);
    sender.send_timeout("kept".into(), LONG).unwrap();
    assert_eq!(thread.join().unwrap().unwrap(), "kept");
    // A receiver dies between its claim and the claim's end, while a sender and another receiver
    // sleep.
    sender.send("full".into()).unwrap();
    let sleeper = sender.clone();
    let thread = std::thread::spawn(move || sleeper.send_timeout("next".into(), LONG));
    let other = another::<Text>(&receiver.end);
    receive_up_to(&other.ring, 0);
    drop(other);
    assert_eq!(receiver.recv_timeout(LONG).unwrap(), "next");
    thread.join().unwrap().unwrap();
}

/// Makes `count` senders that have died in the middle of a message.
fn senders_die(sender: &Sender<Text>, count: usize) {
    // All live first, because a process that gets the number of a dead one frees its claims.
    let dead: Vec<_> = (0..count).map(|_| another::<Text>(&sender.end)).collect();
    dead.iter().for_each(|end| send_up_to(&end.ring, 2, &"lost".into()));
}

#[test]
fn calls_that_never_wait_reclaim_dead_claims_too() {
    let (sender, receiver) = channel_with::<Text>(2, 4096).unwrap();
    senders_die(&sender, 1);
    sender.send("kept".into()).unwrap();
    assert_eq!(receiver.try_recv().unwrap(), "kept");
    // They hold the whole queue.
    senders_die(&sender, 2);
    sender.try_send("next".into()).unwrap();
    assert!((0..3).any(|_| receiver.try_recv().is_ok()));
    // A receiver has died with the message before the next one.
    for text in ["one", "two"] {
        sender.send(text.into()).unwrap();
    }
    receive_up_to(&another::<Text>(&receiver.end).ring, 0);
    sender.try_send("three".into()).unwrap();
    assert_eq!(receiver.try_recv().unwrap(), "two");
    assert_eq!(receiver.try_recv().unwrap(), "three");
    // The last sender of all dies.
    senders_die(&sender, 1);
    drop(sender);
    assert!((0..3).any(|_| receiver.try_recv().unwrap_err().is_disconnected()));
}

#[test]
fn a_message_behind_many_dead_claims_is_received_after_the_last_sender() {
    let (sender, receiver) = channel_with::<Text>(40, 4096).unwrap();
    senders_die(&sender, 30);
    sender.send("kept".into()).unwrap();
    drop(sender);
    assert_eq!(receiver.recv().unwrap(), "kept");
    assert!(receiver.recv().unwrap_err().is_disconnected());
}

#[test]
fn a_reused_number_takes_over_what_its_predecessor_left() {
    let (sender, receiver) = channel_with::<Text>(2, 4096).unwrap();
    for _ in 0..10 {
        let dead = another::<Text>(&sender.end);
        let number = dead.ring.number();
        send_up_to(&dead.ring, 1, &"x".repeat(500));
        drop(dead);
        let next = another::<Text>(&sender.end);
        assert_eq!(next.ring.number(), number);
        sender.send_timeout("y".repeat(500), LONG).unwrap();
        assert_eq!(receiver.recv_timeout(LONG).unwrap().len(), 500);
    }
}

#[test]
fn ends_travel_with_their_descriptors_and_only_so() {
    let (sender, receiver) = channel_with::<u32>(4, 64).unwrap();
    assert!(postcard::to_stdvec(&sender).is_err(), "no descriptor can come along");
    let (bytes, descriptors) =
        carry::packing(|| postcard::to_stdvec(&(&sender, &receiver)).unwrap());
    assert_eq!(descriptors.len(), 6);
    let again: (Sender<u32>, Receiver<u32>) =
        carry::unpacking(descriptors, || postcard::from_bytes(&bytes)).unwrap();
    again.0.send(7).unwrap();
    assert_eq!(receiver.recv().unwrap(), 7);
    sender.send(8).unwrap();
    drop((sender, receiver));
    assert_eq!(again.1.recv().unwrap(), 8);
    // An end of another type, and one of the other side.
    let (bytes, descriptors) = carry::packing(|| postcard::to_stdvec(&again.0).unwrap());
    let wrong = carry::unpacking(descriptors, || postcard::from_bytes::<Sender<u64>>(&bytes));
    assert!(wrong.is_err());
    let (bytes, descriptors) = carry::packing(|| postcard::to_stdvec(&again.0).unwrap());
    let wrong = carry::unpacking(descriptors, || postcard::from_bytes::<Receiver<u32>>(&bytes));
    assert!(wrong.is_err());
}

#[test]
fn unfit_descriptors_are_refused() {
    use super::AttachError;
    use crate::sys::memory::shared::SharedMemory;
    let (sender, _receiver) = channel_with::<u32>(4, 64).unwrap();
    let attach = |memory: &dyn AsFd, peers: &dyn AsFd, bell: &dyn AsFd| {
        let own = |it: &dyn AsFd| it.as_fd().try_clone_to_owned().unwrap();
        let descriptors = Descriptors { memory: own(memory), peers: own(peers), bell: own(bell) };
        End::attach(Side::Sender, descriptors, fingerprint::<u32>(4)).unwrap_err()
    };
    let Descriptors { memory, peers, bell } = sender.end.descriptors().unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let (_map, empty) = SharedMemory::create(c"trine-channel", 5000).unwrap();
    let none = |error| matches!(error, AttachError::NotAChannel(_));
    assert!(none(attach(&null, &peers, &bell)));
    assert!(none(attach(&memory, &null, &bell)));
    assert!(none(attach(&memory, &peers, &null)));
    assert!(none(attach(&empty, &peers, &bell)));
    // The header of another build, of another type, and one with a wrong size.
    let word = |offset| sender.end.ring.region.word(offset);
    let change = |offset, value| word(offset).swap(value, SeqCst);
    let magic = change(0, word(0).load(SeqCst) ^ (3 << 56));
    assert!(matches!(attach(&memory, &peers, &bell), AttachError::OtherBuild));
    change(0, magic);
    let capacity = change(8, 1 << 19);
    assert!(none(attach(&memory, &peers, &bell)));
    change(8, u64::MAX);
    assert!(none(attach(&memory, &peers, &bell)));
    change(8, capacity);
    change(24, 1);
    assert!(matches!(attach(&memory, &peers, &bell), AttachError::OtherType));
}

/// Returns pseudo-random numbers (splitmix64).
fn numbers(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[test]
fn corrupted_memory_makes_errors_and_no_hang() {
    for seed in 0..6 {
        let (sender, receiver) = channel_with::<(u64, Vec<u8>, Text)>(8, 2000).unwrap();
        let over = AtomicBool::new(false);
        let until = Instant::now() + Duration::from_millis(120);
        let brief = Duration::from_micros(300);
        let corrupted = another::<(u64, Vec<u8>, Text)>(&sender.end);
        std::thread::scope(|s| {
            s.spawn(|| {
                let mut number = numbers(seed);
                let words = corrupted.ring.region.len() as u64 / 8;
                while !over.load(Relaxed) {
                    // Writes to the queue's own words more often than to the rest.
                    let place = match number() % 3 {
                        0 => number() % words,
                        1 => number() % 128,
                        _ => number() % 300,
                    };
                    let value = match number() % 4 {
                        0 => number(),
                        1 => number() % 16,
                        2 => ((number() % 8) << 22) | ((number() % 16) << 8) | (number() % 5),
                        _ => ((number() % 8) << 20) | (number() % 10),
                    };
                    corrupted.ring.region.word(place as usize * 8).store(value, Relaxed);
                    if number().is_multiple_of(64) {
                        std::thread::yield_now();
                    }
                }
            });
            for _ in 0..2 {
                s.spawn(|| {
                    let mut number = numbers(seed + 100);
                    while Instant::now() < until {
                        let value = (1, vec![7; number() as usize % 300], "t".repeat(100));
                        let _ = sender.send_timeout(value, brief);
                    }
                });
            }
            let taker = s.spawn(|| {
                let mut got = 0;
                while Instant::now() < until {
                    got += u32::from(receiver.recv_timeout(brief).is_ok());
                    let _ = (receiver.len(), sender.is_empty());
                }
                got
            });
            taker.join().unwrap();
            over.store(true, Relaxed);
        });
        // Only this end is left: a wait ends, whatever the words are.
        drop((sender, corrupted));
        let mut ends = 0;
        while !matches!(receiver.recv(), Err(error) if error.is_disconnected()) {
            ends += 1;
            if ends > 1000 {
                break;
            }
        }
    }
}

#[test]
fn a_message_that_is_none_is_an_error_and_the_next_one_arrives() {
    let (sender, receiver) = channel_with::<Text>(4, 4096).unwrap();
    let ring = &sender.end.ring;
    // Bytes that are no text, impossible lengths and blocks, and a block of another message.
    let bad = [
        (2, None),
        (INLINE + 1, None),
        (5000, Some((0, 0))),
        (200, Some((99, 0))),
        (200, Some((0, 0))),
        (200, Some((0, 64))),
        (200, Some((0, 255))),
    ];
    for (len, block) in bad {
        let position = claimed(ring.claim_to_write());
        ring.region.write(ring.inline(position), &[1, 0xff]);
        ring.write_header(position, MessageHeader { len, block });
        ring.publish(position);
        let error = receiver.recv().unwrap_err();
        assert!(matches!(error.reason(), Reason::Codec(_) | Reason::Broken(_)), "{error}");
        sender.send("after".into()).unwrap();
        assert_eq!(receiver.recv().unwrap(), "after");
    }
}
