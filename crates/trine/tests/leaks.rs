//! Finished work leaves nothing behind: no memory, no stack, no task, no descriptor, no process.
//!
//! There is one test, since it counts the resources of the whole program. It does each piece of
//! work a few times to warm the caches, and then some more. After that, there must be no more of
//! anything than before.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicIsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

use trine::coroutine::{self, Generator};
use trine::sync::channel;
use trine::{State, Task, future, process, thread, time};

/// The system's allocator, with counts of the memory in use.
struct Counting;

static BYTES: AtomicIsize = AtomicIsize::new(0);
static BLOCKS: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size() as isize, Relaxed);
        BLOCKS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size() as isize, Relaxed);
        BLOCKS.fetch_sub(1, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The growth that caches may cause between two looks although nothing leaks.
///
/// Queues keep the capacity of their fullest moment, which depends on the schedule, and double when
/// they grow. So the bytes are a weak sign. A leak of one block, however small, for each of the
/// thousands of tasks of a round is more blocks than this.
const SLACK_BYTES: isize = 512 * 1024;
const SLACK_BLOCKS: isize = 200;

static ALIVE: AtomicIsize = AtomicIsize::new(0);

/// Counts its instances.
struct Counted;

impl Counted {
    fn new() -> Counted {
        ALIVE.fetch_add(1, Relaxed);
        Counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Release);
    }
}

/// The count of everything that can leak.
#[derive(Debug)]
struct Look {
    bytes: isize,
    blocks: isize,
    slabs: usize,
    descriptors: usize,
    children: usize,
}

/// Looks when all tasks have ended. A joiner may go on before the joined task has released its
/// stack or its thread.
fn look() -> Look {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let (alive, stacks) = (ALIVE.load(Acquire), coroutine::stack_stats());
        let tasks = trine::task::list().len();
        if alive == 0 && stacks.in_use == 0 && tasks == 0 {
            return Look {
                bytes: BYTES.load(Relaxed),
                blocks: BLOCKS.load(Relaxed),
                slabs: stacks.slabs,
                descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
                children: children(),
            };
        }
        assert!(Instant::now() < deadline, "{alive} values, {tasks} tasks, {stacks:?} are left");
        std::thread::yield_now();
    }
}

/// Counts the children that this process has not reaped.
fn children() -> usize {
    let of_thread = |thread: std::io::Result<fs::DirEntry>| {
        let children = thread.ok()?.path().join("children");
        Some(fs::read_to_string(children).ok()?.split_whitespace().count())
    };
    fs::read_dir("/proc/self/task").unwrap().filter_map(of_thread).sum()
}

/// Does `work` in rounds, looks, does it again, and compares.
fn nothing_leaks(name: &str, rounds: usize, work: impl Fn()) {
    let rounds = || (0..rounds).for_each(|_| work());
    rounds();
    let before = look();
    rounds();
    // A thread or a process that ends in the background may take a while.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let after = look();
        let (bytes, blocks) = (after.bytes - before.bytes, after.blocks - before.blocks);
        let kept = bytes <= SLACK_BYTES && blocks <= SLACK_BLOCKS;
        if kept
            && after.slabs <= before.slabs
            && after.descriptors <= before.descriptors
            && after.children <= before.children
        {
            println!("{name}: {bytes} bytes in {blocks} blocks more; {after:?}");
            return;
        }
        assert!(Instant::now() < deadline, "{name} leaks: {before:?}, then {after:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn until_waiting<T>(task: &Task<T>) {
    while task.state() != State::Waiting {
        std::thread::yield_now();
    }
}

/// Runs a scope of `n` waiting coroutines that a failure ends.
fn cancelled_scope(n: usize) {
    let all_wait = Arc::new(AtomicIsize::new(0));
    let ended = trine::scope(|s| {
        for _ in 0..n {
            let (value, all_wait) = (Counted::new(), Arc::clone(&all_wait));
            s.coroutine(move || {
                let _values = (value, Counted::new(), vec![1_u8; 100]);
                all_wait.fetch_add(1, Release);
                time::sleep(Duration::MAX);
            });
        }
        while all_wait.load(Acquire) < n as isize {
            std::thread::yield_now();
        }
        let begin = Instant::now();
        s.coroutine(move || std::panic::resume_unwind(Box::new(begin)));
    });
    let begin = ended.unwrap_err().into_panic().unwrap().downcast::<Instant>().unwrap();
    println!("{n} cancelled in {:?}", begin.elapsed());
    assert_eq!(ALIVE.load(Acquire), 0, "destructors that have not run when the scope returns");
}

fn channels() {
    for (tx, rx) in [channel::bounded(64), channel::unbounded(), channel::rendezvous()] {
        let sender = {
            let tx = tx.clone();
            coroutine::spawn(move || while tx.send(Counted::new()).is_ok() && tx.len() < 40 {})
        };
        drop(rx.recv());
        drop(rx.recv_timeout(Duration::from_micros(100)));
        drop(tx);
        // Values are in it, and a sender may wait.
        drop(rx);
        sender.join().unwrap();
    }
}

fn futures() {
    let waiting = (0..200).map(|n| {
        let value = Counted::new();
        future::spawn(async move {
            let _value = value;
            let hour = Duration::from_secs(3600);
            if n % 2 == 0 { future::sleep(hour).await } else { std::future::pending().await }
        })
    });
    for (n, task) in waiting.collect::<Vec<_>>().into_iter().enumerate() {
        if n % 3 > 0 {
            until_waiting(&task);
        }
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled());
    }
    let soon = future::sleep(Duration::from_micros(50));
    future::block_on(future::timeout(Duration::from_secs(1), soon)).unwrap();
}

fn generators() {
    for turns in 0..50 {
        let mut numbers = Generator::new(move |yielder, ()| {
            let values = [Counted::new(), Counted::new()];
            for n in 0..30 {
                yielder.yield_(n);
            }
            drop(values);
        });
        assert_eq!(numbers.by_ref().take(turns).count(), turns.min(30));
    }
}

/// Runs threads that spawn local coroutines and leave some of them.
fn local_coroutines() {
    for n in 0..50 {
        let thread = std::thread::spawn(move || {
            let value = Counted::new();
            coroutine::spawn_local(move || drop(value)).join().unwrap();
            for _ in 0..n % 3 {
                let value = Counted::new();
                drop(coroutine::spawn_local(move || {
                    let _value = value;
                    time::sleep(Duration::MAX);
                }));
            }
            coroutine::yield_now();
            generators();
        });
        thread.join().unwrap();
    }
}

/// Waits in every way, in the destructor of a thread-local that is dropped after the library's.
struct WaitsLate(#[allow(dead_code, reason = "a thread-local needs a value")] u8);

impl Drop for WaitsLate {
    fn drop(&mut self) {
        let socket = trine::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_micros(50))).unwrap();
        assert!(socket.recv(&mut [0]).is_err());
        timeouts();
        trine::shield(Duration::from_secs(60), || time::sleep(Duration::from_micros(50)));
        generators();
        coroutine::spawn(coroutine::yield_now).join().unwrap();
    }
}

fn late_waits() {
    thread_local! { static LATE: WaitsLate = const { WaitsLate(0) }; }
    for _ in 0..20 {
        let thread = std::thread::spawn(|| {
            LATE.with(|_| time::sleep(Duration::ZERO));
            generators();
            trine::shield(Duration::from_secs(60), || time::sleep(Duration::ZERO));
        });
        thread.join().unwrap();
    }
}

fn timeouts() {
    for _ in 0..50 {
        let ended = time::timeout(Duration::from_micros(100), || {
            let _value = Counted::new();
            time::sleep(Duration::MAX);
        });
        assert!(ended.is_err());
    }
}

fn threads() {
    let pool = thread::Pool::new(2);
    let start = |n: usize| {
        let value = Counted::new();
        let wait = move || {
            let _value = value;
            time::sleep(Duration::MAX);
        };
        if n.is_multiple_of(4) { thread::spawn(wait) } else { pool.spawn(wait) }
    };
    let tasks: Vec<_> = (0..20).map(start).collect();
    for task in tasks {
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled());
    }
    let panics = pool.spawn(|| std::panic::resume_unwind(Box::new(Counted::new())));
    drop(panics.join().unwrap_err() as trine::TaskError);
    pool.shutdown();
}

fn processes() {
    let pool = process::Pool::new(2);
    let forever = |()| time::sleep(Duration::MAX);
    let tasks: Vec<_> = (0..6).map(|_| pool.spawn((), forever)).collect();
    assert_eq!(process::spawn(1, |n: u32| n + 1).join().unwrap(), 2);
    for task in tasks {
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled());
    }
    pool.shutdown();
}

#[test]
fn nothing_is_left_of_what_has_ended() {
    // One carrier. Among several, the share of the 100,000 that falls to each differs from round to
    // round, and each keeps the stacks of its fullest moment.
    trine::configure(|config| {
        config.carriers(1);
    })
    .unwrap();
    nothing_leaks("processes", 4, processes);
    nothing_leaks("threads", 4, threads);
    nothing_leaks("channels", 4, || (0..20).for_each(|_| channels()));
    nothing_leaks("futures", 4, futures);
    nothing_leaks("generators", 4, || {
        generators();
        coroutine::spawn(generators).join().unwrap();
    });
    nothing_leaks("timeouts", 4, || {
        timeouts();
        coroutine::spawn(timeouts).join().unwrap();
    });
    nothing_leaks("local coroutines of threads that end", 4, local_coroutines);
    nothing_leaks("waits of threads that end", 4, late_waits);
    nothing_leaks("detached coroutines", 4, || {
        for _ in 0..5000 {
            let value = Counted::new();
            drop(coroutine::spawn(move || drop(value)));
        }
        // A failed assertion of a detached task is not lost: the next look waits for all of them.
        look();
    });
    nothing_leaks("scopes", 1, || cancelled_scope(100_000));
}
