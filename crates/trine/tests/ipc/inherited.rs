//! Objects that a pool's preload has made, in the workers, which are copies of its process.

use std::cell::RefCell;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use trine::coroutine::{Generator, Step};
use trine::ipc::{self, Mutex, Semaphore, Shared, SharedError, SharedMut, channel};
use trine::process::Pool;

use crate::common::reason_of;

struct Made {
    constant: Shared<[u64]>,
    counts: SharedMut<[AtomicU64]>,
    semaphore: Semaphore,
    ends: (channel::Sender<u64>, channel::Receiver<u64>),
    mutex: Mutex<u64>,
}

static MADE: OnceLock<Made> = OnceLock::new();

fn made() -> &'static Made {
    MADE.get_or_init(|| Made {
        constant: Shared::from_slice(&[7; 1000]).unwrap(),
        counts: SharedMut::zeroed(1000).unwrap(),
        semaphore: Semaphore::new(1).unwrap(),
        ends: ipc::channel(4).unwrap(),
        mutex: Mutex::new(3).unwrap(),
    })
}

#[test]
fn what_a_preload_has_made_is_there_in_every_worker() {
    let preload = || {
        made();
    };
    let pool = Pool::builder().workers(2).preload(preload).build();
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            pool.spawn(n, |n: u64| {
                let made = made();
                // Other memory of the worker, which would fill a hole.
                let own = SharedMut::<[AtomicU64]>::zeroed(1000).unwrap();
                let before = made.counts[5].fetch_add(1, Relaxed);
                made.semaphore.acquire().unwrap();
                made.semaphore.release(1).unwrap();
                made.ends.0.send(n).unwrap();
                let received = made.ends.1.recv().unwrap();
                assert!(made.constant.iter().all(|n| *n == 7));
                assert!(own.iter().all(|n| n.load(Relaxed) == 0));
                (before, received)
            })
        })
        .collect();
    let (mut counts, mut received): (Vec<_>, Vec<_>) =
        tasks.into_iter().map(|task| task.join().unwrap()).unzip();
    counts.sort_unstable();
    received.sort_unstable();
    assert!(counts.into_iter().eq(0..20));
    assert!(received.into_iter().eq(0..20));
    pool.shutdown();
}

#[test]
fn a_mutex_that_a_preload_has_made_is_refused_and_its_descriptors_serve() {
    let preload = || {
        made();
    };
    let pool = Pool::builder().workers(2).preload(preload).build();
    let refused = pool.spawn((), |()| drop(made().mutex.lock())).join().unwrap_err();
    assert!(refused.to_string().contains("make a mutex of its descriptors"), "{refused}");
    let add = |()| {
        let own = Mutex::<u64>::from_descriptors(made().mutex.descriptors().unwrap()).unwrap();
        own.lock().unwrap().update(|n| *n += 1);
        own.lock().unwrap().get()
    };
    let tasks: Vec<_> = (0..10).map(|_| pool.spawn((), add)).collect();
    let most = tasks.into_iter().map(|task| task.join().unwrap()).max();
    assert_eq!(most, Some(13));
    pool.shutdown();
}

type Filling = Generator<(), (), Result<Shared<[u8]>, SharedError>>;

thread_local! {
    static FILLING: RefCell<Option<Filling>> = const { RefCell::new(None) };
}

/// Begins to fill shared memory, and stops half-way.
fn begin_to_fill() {
    let mut filling: Filling = Generator::new(|yielder, ()| {
        Shared::build(10_000, |bytes: &mut [u8]| {
            bytes[0] = 1;
            yielder.yield_(());
            bytes[1] = 2;
        })
    });
    assert!(matches!(filling.send(()), Step::Yielded(())));
    FILLING.set(Some(filling));
}

#[test]
fn a_preload_that_leaves_shared_memory_half_filled_is_told() {
    let pool = Pool::builder().workers(1).preload(begin_to_fill).build();
    let reason = reason_of(pool.spawn((), |()| {
        FILLING.with_borrow_mut(|filling| drop(filling.as_mut().unwrap().send(())));
    }));
    assert!(reason.contains("half built"), "{reason}");
    pool.shutdown();
    // One that is finished is shared.
    let preload = || {
        begin_to_fill();
        FILLING.with_borrow_mut(|filling| match filling.as_mut().unwrap().send(()) {
            Step::Complete(shared) => assert_eq!(shared.unwrap()[..3], [1, 2, 0]),
            Step::Yielded(()) => panic!("it yields once"),
        });
    };
    let pool = Pool::builder().workers(1).preload(preload).build();
    assert_eq!(pool.spawn(4, |n: u8| n).join().unwrap(), 4);
    pool.shutdown();
}
