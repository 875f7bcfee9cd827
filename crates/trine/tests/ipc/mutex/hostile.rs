//! Memory and descriptors that another process corrupts.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use trine::ipc::bytemuck::Pod;
use trine::ipc::{Mutex, Shared, SharedError};

use super::{LONG, another};
use crate::common::places::PLACES;
use crate::common::seeds::{Rng, seed};
use crate::common::waiting::until_waiting;

/// Opens the lock's memory for arbitrary writes.
fn memory<T: Pod>(mutex: &Mutex<T>) -> File {
    let [memory, _bell] = mutex.descriptors().unwrap();
    File::from(memory)
}

#[test]
fn what_is_no_mutex_is_told() {
    let mutex = Mutex::new(1_u64).unwrap();
    let told = |descriptors| Mutex::<u64>::from_descriptors(descriptors).unwrap_err();
    let [memory, bell] = mutex.descriptors().unwrap();
    assert!(matches!(told([bell, memory]), SharedError::NotMemory));
    let [memory, _] = mutex.descriptors().unwrap();
    assert!(matches!(told([memory.try_clone().unwrap(), memory]), SharedError::NotPipe));
    let null = || OwnedFd::from(File::open("/dev/null").unwrap());
    assert!(matches!(told([null(), null()]), SharedError::NotMemory));
    let [_, bell] = mutex.descriptors().unwrap();
    let frozen = Shared::new([0_u64; 10]).unwrap().as_fd().try_clone_to_owned().unwrap();
    assert!(matches!(told([frozen, bell]), SharedError::NotMapped(_)));
    let other = Mutex::<[u8; 8]>::from_descriptors(mutex.descriptors().unwrap()).unwrap_err();
    assert!(matches!(other, SharedError::Content), "{other}");
    let other = Mutex::<[u64; 2]>::from_descriptors(mutex.descriptors().unwrap()).unwrap_err();
    assert!(matches!(other, SharedError::Size { .. }), "{other}");
    assert_eq!(mutex.lock().unwrap().get(), 1);
}

/// Makes all calls on memory that is being corrupted.
fn use_in_every_way(mutex: &Mutex<[u64; 3]>) {
    let limit = Duration::from_millis(2);
    for locked in [mutex.try_lock(), mutex.lock_timeout(limit), mutex.lock_timeout(limit)] {
        let Some(locked) = locked else { continue };
        let mut guard = locked.unwrap_or_else(|died| {
            let _ = (died.guard().get(), died.to_string());
            died.recover()
        });
        guard.set([1, 2, 3]);
        let _ = guard.get();
        guard.update(|value| value[0] ^= 1);
    }
}

#[test]
fn hostile_bytes_harm_nobody() {
    let mut random = Rng(seed());
    let mutex = Mutex::new([0_u64; 3]).unwrap();
    let file = memory(&mutex);
    let len = file.metadata().unwrap().len();
    let other = another(&mutex);
    let begin = Instant::now();
    let rounds: u32 = 100;
    for _ in 0..rounds {
        let bytes: Vec<u8> = match random.below(4) {
            0 => vec![random.number() as u8; 8],
            1 => (random.number() & random.number() & random.number()).to_ne_bytes().to_vec(),
            2 => (1_u64 << random.below(64)).to_ne_bytes().to_vec(),
            _ => (0..8).map(|_| random.number() as u8).collect(),
        };
        // Most writes hit the lock word.
        let at = if random.below(3) > 0 { 8 } else { random.below(len as usize - 8) as u64 };
        let guard = if random.below(4) == 0 { mutex.try_lock() } else { None };
        file.write_all_at(&bytes, at).unwrap();
        drop(guard);
        use_in_every_way(&other);
        use_in_every_way(&mutex);
    }
    assert!(begin.elapsed() < rounds * 8 * Duration::from_millis(100), "{:?}", begin.elapsed());
}

#[test]
fn hostile_bytes_at_the_same_time_harm_nobody() {
    let mutex = Mutex::new([0_u64; 3]).unwrap();
    let file = memory(&mutex);
    let attached: Vec<_> = (0..6).map(|_| another(&mutex)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let scribbler = {
        let (stop, mut random) = (Arc::clone(&stop), Rng(seed()));
        std::thread::spawn(move || {
            while !stop.load(Relaxed) {
                let at = if random.one_in(2) { 8 } else { random.below(100) as u64 };
                file.write_all_at(&(random.number() & random.number()).to_ne_bytes(), at).unwrap();
            }
        })
    };
    let tasks: Vec<_> = attached
        .into_iter()
        .zip(PLACES.into_iter().cycle())
        .map(|(mutex, place)| place.spawn(move || (0..50).for_each(|_| use_in_every_way(&mutex))))
        .collect();
    tasks.into_iter().for_each(|task| task.join().unwrap());
    stop.store(true, Relaxed);
    scribbler.join().unwrap();
}

/// A forged word names an attached process that does not hold the lock. The lock seems held, for as
/// long as the caller wants to wait.
#[test]
fn a_forged_owner_is_waited_for_no_longer_than_asked() {
    let mutex = Mutex::new(1_u8).unwrap();
    let (other, file) = (another(&mutex), memory(&mutex));
    let mut word = [0; 8];
    let guard = mutex.lock().unwrap();
    file.read_exact_at(&mut word, 8).unwrap();
    drop(guard);
    file.write_all_at(&word, 8).unwrap();
    let begin = Instant::now();
    assert!(other.lock_timeout(Duration::from_millis(25)).is_none());
    assert!(begin.elapsed() < LONG);
    // The owner recognizes its own number.
    assert!(mutex.lock().is_err());
    // When that process has left, the wait is over.
    file.write_all_at(&word, 8).unwrap();
    drop(mutex);
    assert_eq!(other.lock().unwrap_err().recover().get(), 1);
}

#[test]
fn a_bell_that_others_empty_costs_time_only() {
    let mutex = Mutex::new(0_u32).unwrap();
    let other = another(&mutex);
    let [_, mut bell] = mutex.descriptors().unwrap().map(File::from);
    let stop = Arc::new(AtomicBool::new(false));
    let thief = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            while !stop.load(Relaxed) {
                if bell.read(&mut [0; 64]).is_err() {
                    std::thread::yield_now();
                }
            }
        })
    };
    for place in PLACES {
        for _ in 0..20 {
            let guard = other.lock().unwrap();
            let waiting = mutex.clone();
            let task = place.spawn(move || waiting.lock().unwrap().update(|count| *count += 1));
            until_waiting(&task);
            drop(guard);
            task.join().unwrap();
        }
    }
    stop.store(true, Relaxed);
    thief.join().unwrap();
    assert_eq!(mutex.lock().unwrap().get(), 40);
}
