//! Between the tasks of one process.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use trine::ipc::Mutex;
use trine::ipc::bytemuck::{Pod, Zeroable};
use trine::{State, coroutine, thread, time};

use super::{LONG, another};
use crate::common::places::{PLACES, everywhere};
use crate::common::waiting::until_waiting;

#[test]
fn one_at_a_time_whoever_they_are() {
    let mutex = Mutex::new([0_u64; 5]).unwrap();
    let others = [mutex.clone(), another(&mutex), another(&mutex)];
    let tasks: Vec<_> = (0..24)
        .map(|n| {
            let mutex = others[n % 3].clone();
            PLACES[usize::from(n % 4 == 0)].spawn(move || {
                for k in 0..200 {
                    let mut guard = mutex.lock().unwrap();
                    let value = guard.get();
                    if k % 20 == 0 {
                        coroutine::yield_now();
                    }
                    guard.set(value.map(|it| it + 1));
                }
            })
        })
        .collect();
    tasks.into_iter().for_each(|task| task.join().unwrap());
    assert_eq!(mutex.lock().unwrap().get(), [24 * 200; 5]);
}

#[test]
fn values_of_every_size_are_kept() {
    #[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
    #[bytemuck(crate = "trine::ipc::bytemuck")]
    #[repr(C, packed)]
    struct Odd {
        a: u8,
        b: u64,
        c: u16,
    }
    let odd = Mutex::new(Odd { a: 1, b: 2, c: 3 }).unwrap();
    assert_eq!(another(&odd).lock().unwrap().get(), Odd { a: 1, b: 2, c: 3 });
    another(&odd).lock().unwrap().update(|odd| odd.b = u64::MAX);
    assert_eq!(odd.lock().unwrap().get(), Odd { a: 1, b: u64::MAX, c: 3 });
    Mutex::new(()).unwrap().lock().unwrap().set(());
    let large = Mutex::new([7_u8; 10_001]).unwrap();
    large.lock().unwrap().update(|bytes| bytes[10_000] = 8);
    let seen = another(&large).lock().unwrap().get();
    assert_eq!((seen[0], seen[9_999], seen[10_000]), (7, 7, 8));
}

#[test]
fn a_panic_and_a_cancellation_give_it_back() {
    let mutex = Mutex::new(5_u32).unwrap();
    let unwound = panic::catch_unwind(AssertUnwindSafe(|| {
        mutex.lock().unwrap().update(|value| {
            *value = 6;
            panic::resume_unwind(Box::new(()))
        })
    }));
    assert!(unwound.is_err());
    assert_eq!(another(&mutex).lock().unwrap().get(), 5);
    for place in PLACES {
        let held = another(&mutex);
        let guard = held.lock().unwrap();
        let waiting = mutex.clone();
        let task = place.spawn(move || waiting.lock().map(|guard| guard.get()).unwrap());
        until_waiting(&task);
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled(), "{place:?}");
        drop(guard);
        assert_eq!(mutex.try_lock().unwrap().unwrap().get(), 5);
    }
}

#[test]
fn time_is_up_everywhere() {
    everywhere(|| {
        let mutex = Mutex::new(1_u8).unwrap();
        let other = another(&mutex);
        let guard = mutex.lock().unwrap();
        assert!(mutex.try_lock().is_none());
        assert!(other.try_lock().is_none());
        for limit in [0, 1, 15] {
            let limit = Duration::from_millis(limit);
            let begin = Instant::now();
            assert!(other.lock_timeout(limit).is_none());
            assert!(begin.elapsed() >= limit);
            assert!(mutex.lock_timeout(limit).is_none());
        }
        let limit = Duration::from_millis(3);
        assert!(time::timeout(limit, || drop(other.lock())).is_err());
        drop(guard);
        assert_eq!(other.lock_timeout(LONG).unwrap().unwrap().get(), 1);
    });
}

#[test]
fn a_wait_goes_on_in_a_destructor_of_a_cancelled_task() {
    struct Last(Mutex<u32>);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0.lock().unwrap().update(|count| *count += 1);
        }
    }
    let mutex = Mutex::new(0_u32).unwrap();
    for place in PLACES {
        let (last, held) = (Last(another(&mutex)), mutex.lock().unwrap());
        let task = place.spawn(move || {
            let _last = last;
            time::sleep(LONG);
        });
        until_waiting(&task);
        task.cancel();
        // It waits for the lock now, or soon.
        time::sleep(Duration::from_millis(5));
        assert!(!task.is_finished());
        drop(held);
        assert!(task.join().unwrap_err().is_cancelled());
    }
    while mutex.lock().unwrap().get() < 2 {
        time::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_task_that_locks_twice_is_told() {
    let mutex = Mutex::new(0_u8).unwrap();
    let guard = mutex.lock().unwrap();
    assert!(panic::catch_unwind(AssertUnwindSafe(|| drop(mutex.lock()))).is_err());
    // With a limit, the wait ends by itself.
    assert!(mutex.lock_timeout(Duration::from_millis(1)).is_none());
    assert!(time::timeout(Duration::from_millis(1), || drop(mutex.lock())).is_err());
    drop(guard);
    assert!(mutex.try_lock().is_some());
}

#[test]
fn whoever_locks_in_a_loop_leaves_the_others_their_turn() {
    let mutex = Mutex::new(0_u64).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let greedy = {
        let (mutex, stop) = (another(&mutex), Arc::clone(&stop));
        thread::spawn(move || {
            while !stop.load(Relaxed) {
                let mut guard = mutex.lock().unwrap();
                let begin = Instant::now();
                while begin.elapsed() < Duration::from_micros(500) {}
                guard.update(|count| *count += 1);
            }
        })
    };
    let before = mutex.lock().unwrap().get();
    for _ in 0..50 {
        drop(mutex.lock().unwrap());
    }
    let between = mutex.lock().unwrap().get() - before;
    stop.store(true, Relaxed);
    greedy.join().unwrap();
    assert!(between < 50_000, "passed {between} times in 50 turns");
}

/// A thread holds a lock for which coroutines of one carrier wait. The carrier goes on.
#[test]
fn a_coroutine_that_waits_does_not_block_its_carrier() {
    let mutex = Mutex::new(0_u8).unwrap();
    let holder = another(&mutex);
    let (held, is_held) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let guard = holder.lock().unwrap();
        held.send(()).unwrap();
        may_go.recv().unwrap();
        drop(guard);
    });
    is_held.recv().unwrap();
    let waiting = coroutine::spawn_local(move || mutex.lock().unwrap().get());
    // On the same thread as the waiting coroutine.
    let neighbour = coroutine::spawn_local(move || {
        while waiting.state() != State::Waiting {
            coroutine::yield_now();
        }
        go.send(()).unwrap();
        waiting.join().unwrap()
    });
    assert_eq!(neighbour.join().unwrap(), 0);
    thread.join().unwrap();
}
