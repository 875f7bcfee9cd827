//! What no program can show from outside: a death at each step, and memory full of nonsense.

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

/// One more end of the same channel, as another process has it.
fn another<T>(end: &End) -> End {
    End::attach(end.side, end.descriptors().unwrap(), fingerprint::<T>(size_of::<T>())).unwrap()
}

fn claimed<T: std::fmt::Debug>(found: Found<T>) -> T {
    match found {
        Found::Claimed(it) => it,
        other => panic!("{other:?}"),
    }
}

/// What a sender does, up to a step.
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

/// What a receiver does, up to a step.
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
                        // Sent for good with the last step.
                        rest += usize::from(*step == 3);
                    }
                    Side::Receiver => {
                        let other = another::<Text>(&receiver.end);
                        sender.send(text.clone()).unwrap();
                        receive_up_to(&other.ring, *step);
                    }
                }
                // There is room for all that it carries, and all of it arrives.
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
fn one_that_dies_in_the_middle_is_found_by_those_who_sleep() {
    let (sender, receiver) = channel_with::<Text>(1, 4096).unwrap();
    // A sender dies between its claim and its end, while a receiver sleeps.
    let sleeper = receiver.clone();
    let thread = std::thread::spawn(move || sleeper.recv_timeout(LONG));
    let other = another::<Text>(&sender.end);
    send_up_to(&other.ring, 2, &"lost".into());
    drop(other);
    sender.send_timeout("kept".into(), LONG).unwrap();
    assert_eq!(thread.join().unwrap().unwrap(), "kept");
    // A receiver dies so, while a sender sleeps, and another receiver.
    sender.send("full".into()).unwrap();
    let sleeper = sender.clone();
    let thread = std::thread::spawn(move || sleeper.send_timeout("next".into(), LONG));
    let other = another::<Text>(&receiver.end);
    receive_up_to(&other.ring, 0);
    drop(other);
    assert_eq!(receiver.recv_timeout(LONG).unwrap(), "next");
    thread.join().unwrap().unwrap();
}

/// So many senders that have died in the middle of a message.
fn senders_die(sender: &Sender<Text>, count: usize) {
    // All live first: whoever gets the number of a dead one frees what that has left.
    let dead: Vec<_> = (0..count).map(|_| another::<Text>(&sender.end)).collect();
    dead.iter().for_each(|end| send_up_to(&end.ring, 2, &"lost".into()));
}

#[test]
fn those_who_only_try_find_the_dead_too() {
    let (sender, receiver) = channel_with::<Text>(2, 4096).unwrap();
    senders_die(&sender, 1);
    sender.send("kept".into()).unwrap();
    assert_eq!(receiver.try_recv().unwrap(), "kept");
    // They hold the whole queue.
    senders_die(&sender, 2);
    sender.try_send("next".into()).unwrap();
    assert!((0..3).any(|_| receiver.try_recv().is_ok()));
    // A receiver has died with what is in the way of the next message.
    for text in ["one", "two"] {
        sender.send(text.into()).unwrap();
    }
    receive_up_to(&another::<Text>(&receiver.end).ring, 0);
    sender.try_send("three".into()).unwrap();
    assert_eq!(receiver.try_recv().unwrap(), "two");
    assert_eq!(receiver.try_recv().unwrap(), "three");
    // The last sender of all.
    senders_die(&sender, 1);
    drop(sender);
    assert!((0..3).any(|_| receiver.try_recv().unwrap_err().is_disconnected()));
}

#[test]
fn what_lies_behind_many_dead_is_received_when_all_are_gone() {
    let (sender, receiver) = channel_with::<Text>(40, 4096).unwrap();
    senders_die(&sender, 30);
    sender.send("kept".into()).unwrap();
    drop(sender);
    assert_eq!(receiver.recv().unwrap(), "kept");
    assert!(receiver.recv().unwrap_err().is_disconnected());
}

#[test]
fn a_number_that_is_used_again_takes_over_what_was_left() {
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
        carry::unpacking(descriptors, || postcard::from_bytes(&bytes).unwrap());
    again.0.send(7).unwrap();
    assert_eq!(receiver.recv().unwrap(), 7);
    sender.send(8).unwrap();
    drop((sender, receiver));
    assert_eq!(again.1.recv().unwrap(), 8);
    // Of another type, or the other side.
    let (bytes, descriptors) = carry::packing(|| postcard::to_stdvec(&again.0).unwrap());
    let wrong = carry::unpacking(descriptors, || postcard::from_bytes::<Sender<u64>>(&bytes));
    assert!(wrong.is_err());
    let (bytes, descriptors) = carry::packing(|| postcard::to_stdvec(&again.0).unwrap());
    let wrong = carry::unpacking(descriptors, || postcard::from_bytes::<Receiver<u32>>(&bytes));
    assert!(wrong.is_err());
}

#[test]
fn memory_that_does_not_fit_is_told() {
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
    // The header of another build, of another type, and one that lies about the size.
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

/// Numbers that look random (splitmix64).
fn numbers(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[test]
fn memory_full_of_nonsense_makes_errors_and_no_hang() {
    for seed in 0..6 {
        let (sender, receiver) = channel_with::<(u64, Vec<u8>, Text)>(8, 2000).unwrap();
        let over = AtomicBool::new(false);
        let until = Instant::now() + Duration::from_millis(120);
        let brief = Duration::from_micros(300);
        let mad = another::<(u64, Vec<u8>, Text)>(&sender.end);
        std::thread::scope(|s| {
            s.spawn(|| {
                let mut number = numbers(seed);
                let words = mad.ring.region.len() as u64 / 8;
                while !over.load(Relaxed) {
                    // The queue's own words more often than the rest.
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
                    mad.ring.region.word(place as usize * 8).store(value, Relaxed);
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
        // Nobody but this end is left: a wait comes to its end, whatever the words say.
        drop((sender, mad));
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
    // A text of bytes that are none; lengths and blocks that cannot be, and one that is another's.
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
