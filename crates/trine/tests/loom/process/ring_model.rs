//! The ring: each record is taken once or taken back, whole and in order, while the ring wraps
//! around.

use std::sync::{Arc, Mutex};

use super::wire::ring::{BYTES, Consumer, LONGEST, Producer};
use crate::check;
use crate::sys::memory::shared::SharedMemory;
use crate::sys::page_size;

struct Ring {
    /// In mutexes of std, which are free whenever loom lets another thread run.
    producer: Mutex<Option<Producer>>,
    consumer: Mutex<Option<Consumer>>,
    /// The records that were not taken back, and the records that were taken.
    kept: Mutex<Vec<u64>>,
    taken: Mutex<Vec<u64>>,
}

/// A ring whose next record of two cells goes over its end.
fn ring() -> Ring {
    let memory = Arc::new(SharedMemory::create(c"trine", page_size() + BYTES).unwrap().0);
    let mut producer = Producer::new(Arc::clone(&memory), page_size());
    let mut consumer = Consumer::new(memory, page_size());
    for n in 0..3 {
        assert_eq!(producer.push(&record(n, 8), &[]), Some(n));
        assert!(consumer.take(&mut Vec::new()).unwrap());
    }
    Ring {
        producer: Mutex::new(Some(producer)),
        consumer: Mutex::new(Some(consumer)),
        kept: Mutex::default(),
        taken: Mutex::default(),
    }
}

/// The last one.
const END: u64 = 99;
/// Bytes of a record of two cells.
const LONG: usize = 64;

fn record(n: u64, len: usize) -> Vec<u8> {
    assert!(len <= LONGEST);
    n.to_le_bytes().repeat(len / 8)
}

impl Ring {
    fn producer(&self) -> Producer {
        self.producer.lock().unwrap().take().expect("one produces")
    }

    fn keep(&self, n: u64) {
        self.kept.lock().unwrap().push(n);
    }

    fn assert_all_taken(&self) {
        assert_eq!(*self.kept.lock().unwrap(), *self.taken.lock().unwrap());
    }
}

fn push(producer: &mut Producer, n: u64, len: usize) -> u64 {
    let record = record(n, len);
    loop {
        match producer.push(&record[..8], &record[8..]) {
            Some(place) => return place,
            None => loom::thread::yield_now(),
        }
    }
}

fn consume(ring: &Ring) {
    let mut consumer = ring.consumer.lock().unwrap().take().expect("one consumes");
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if !consumer.is_ready() || !consumer.take(&mut bytes).unwrap() {
            loom::thread::yield_now();
            continue;
        }
        let (first, rest) = bytes.split_first_chunk().expect("a word at least");
        let n = u64::from_le_bytes(*first);
        assert!(rest.chunks(8).all(|word| word == first), "it is of one piece");
        if n == END {
            return;
        }
        ring.taken.lock().unwrap().push(n);
    }
}

#[test]
fn records_come_out_as_they_went_in_while_the_ring_goes_around() {
    check(
        3,
        ring,
        &[consume, |ring| {
            let mut producer = ring.producer();
            for (n, len) in [(1, LONG), (2, 8), (3, LONG), (4, 8), (END, 8)] {
                push(&mut producer, n, len);
                if n != END {
                    ring.keep(n);
                }
            }
        }],
        Ring::assert_all_taken,
    );
}

#[test]
fn a_record_is_begun_or_taken_back_and_its_place_used_again() {
    check(
        3,
        ring,
        &[consume, |ring| {
            let mut producer = ring.producer();
            let first = push(&mut producer, 1, 8);
            let places = [(2, LONG), (3, 8)].map(|(n, len)| (n, push(&mut producer, n, len)));
            let mut kept = vec![1];
            for (n, place) in places.into_iter().rev() {
                if !producer.withdraw(place) {
                    kept.insert(1, n);
                }
            }
            kept.into_iter().for_each(|n| ring.keep(n));
            push(&mut producer, 4, LONG);
            assert!(!producer.withdraw(first) || !producer.is_consumed(first));
            ring.keep(4);
            push(&mut producer, END, 8);
        }],
        Ring::assert_all_taken,
    );
}
