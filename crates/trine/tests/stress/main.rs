//! Everything at once: tasks of every kind that start, cancel, join and forget each other, lock,
//! send, time out and panic, from several threads. In the end each of them is accounted for.
//!
//! | variable | setting |
//! |---|---|
//! | `TRINE_STRESS_SECONDS` | the duration; by default the test ends after 30,000 tasks |
//! | `TRINE_STRESS_SEED` | the seed of all choices, by default the time of day; not the schedule |
//! | `TRINE_STRESS_LOUD` | keeps standard error, with a line for each panic |
//!
//! | file | contents |
//! |---|---|
//! | `main.rs` | the threads that drive the test, the watchdog, the last account |
//! | `books.rs` | the accounts, and the things that they count: tasks, guards, messages |
//! | `world.rs` | the locks, channels and handles that all tasks share |
//! | `work.rs`, `asynchronous.rs` | the tasks and their steps |
//! | `locks.rs`, `families.rs` | the steps with locks, and those that start tasks |
//! | `wrecks.rs` | the steps with `select!`, and with destructors that panic |

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::{AtomicBool, Ordering::Release};
use std::thread;
use std::time::{Duration, Instant};

mod asynchronous;
mod books;
mod families;
mod locks;
#[path = "../common/must.rs"]
mod must;
#[path = "../common/seeds.rs"]
mod seeds;
mod work;
mod world;
mod wrecks;

use books::{BOOKS, Life, Way, fail};
use seeds::{Rng, seed, variable};
use work::{Body, Ctx, Running};
use world::{PERMITS, WORLD};

/// The message of an intended panic.
pub const EXPECTED: &str = "meant to be";

const DRIVERS: usize = 4;
/// The number of tasks after which a run without a duration ends.
const TASKS: u64 = 30_000;
const TIMEOUT: Duration = Duration::from_secs(20);

static STOP: AtomicBool = AtomicBool::new(false);
static OVER: AtomicBool = AtomicBool::new(false);

/// Returns true if the time is up, and nothing more is to begin.
pub fn stopped() -> bool {
    STOP.load(Acquire)
}

#[test]
fn every_task_is_accounted_for() {
    let seconds = variable("TRINE_STRESS_SECONDS");
    println!("seed {}", seed());
    let begin = Instant::now();
    // The library's hook first, so that it sees every panic.
    trine::coroutine::spawn(|| ()).join().unwrap();
    watch_panics();
    let loud = std::env::var_os("TRINE_STRESS_LOUD").is_some();
    let stderr = (!loud).then(silence);
    thread::spawn(watchdog);
    thread::spawn(|| {
        while !OVER.load(Acquire) {
            wake_all();
            thread::sleep(Duration::from_millis(1));
        }
    });
    let drivers: Vec<_> = (0..DRIVERS as u64).map(|n| thread::spawn(move || drive(n))).collect();
    let goes_on = || match seconds {
        Some(seconds) => begin.elapsed() < Duration::from_secs(seconds),
        None => BOOKS.spawned() < TASKS,
    };
    while goes_on() {
        thread::sleep(Duration::from_millis(10));
    }
    STOP.store(true, Release);
    for driver in drivers {
        driver.join().expect("a driver does not panic");
    }
    finish();
    OVER.store(true, Release);
    if let Some(stderr) = stderr {
        // SAFETY: a descriptor of our own, which goes back to its place.
        unsafe { libc::dup2(stderr, 2) };
    }
    account();
    println!("{BOOKS}\n{:?}", begin.elapsed());
}

/// Makes every panic that is not intended end the program.
fn watch_panics() {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let text = info.payload_as_str().unwrap_or("?");
        if text != EXPECTED {
            fail(format_args!("{info}\n{}", std::backtrace::Backtrace::force_capture()));
        }
        previous(info);
    }));
}

/// Redirects standard error to nowhere, since the library writes a line there for each panic.
/// Returns a copy of the original.
fn silence() -> i32 {
    // SAFETY: plain calls; the path is a C string.
    unsafe {
        let stderr = libc::dup(2);
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        libc::dup2(null, 2);
        libc::close(null);
        stderr
    }
}

/// Runs one of the threads: it works itself, starts tasks, and joins some.
fn drive(n: u64) {
    let mut rng = Rng(seed().wrapping_add(n));
    while !stopped() {
        let life = Life::new(Way::Plain);
        let watch = life.watch();
        let mut ctx = Ctx {
            rng: Rng(rng.number()),
            fate: std::sync::Arc::clone(&life.fate),
            number: life.number,
            way: Way::Plain,
            depth: 0,
            pool: true,
            strangers: true,
        };
        let round = panic::catch_unwind(AssertUnwindSafe(|| {
            work::run(life, |_| round(&mut ctx));
        }));
        must!(round.is_err() == watch.fate.has_panicked(), "a thread was unwound, by no panic");
        must!(trine::checkpoint().is_ok(), "a thread that is no task was cancelled");
    }
}

fn round(ctx: &mut Ctx) {
    for _ in 0..8 {
        let way = ctx.way();
        let running = Running::start(ctx, way, Body::Mix);
        drop(WORLD.tasks.put(&mut ctx.rng, running));
    }
    if let Some(running) = WORLD.tasks.take(&mut ctx.rng) {
        running.join();
    }
    work::work(ctx);
}

fn wake_all() {
    for (n, waker) in WORLD.wakers.take_all().into_iter().enumerate() {
        match n % 3 {
            0 => waker.wake_by_ref(),
            _ => waker.wake(),
        }
    }
}

/// Waits until the last task has ended.
fn finish() {
    drop(WORLD.cancellers.take_all());
    while BOOKS.live() > 0 {
        for running in WORLD.tasks.take_all() {
            running.join();
        }
        for (_, rx) in &WORLD.channels {
            while let Ok(message) = rx.try_recv() {
                message.received();
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    // Tasks that had ended without a joiner.
    WORLD.tasks.take_all().into_iter().for_each(Running::join);
    drop(WORLD.cancellers.take_all());
    for (_, rx) in &WORLD.channels {
        rx.try_iter().for_each(books::Message::received);
    }
}

/// Checks that the accounts are balanced.
fn account() {
    let at = |counter: &std::sync::atomic::AtomicU64| counter.load(Acquire);
    let deadline = Instant::now() + TIMEOUT;
    // A handle removes its task from the registry when it is dropped; a carrier may be about to
    // drop the last.
    while at(&BOOKS.guards_made) != at(&BOOKS.guards_dropped) || !trine::task::list().is_empty() {
        must!(Instant::now() < deadline, "something is left");
        wake_all();
        thread::yield_now();
    }
    // A coroutine's stack is returned after its end is published.
    while trine::coroutine::stack_stats().in_use > 0 {
        let stacks = trine::coroutine::stack_stats();
        must!(Instant::now() < deadline, "stacks are lost: {stacks:?}");
        thread::yield_now();
    }
    must!(BOOKS.spawned() == BOOKS.ended(), "a task is missing");
    let sent = at(&BOOKS.sent);
    must!(sent == at(&BOOKS.received) + at(&BOOKS.left), "messages were lost");
    must!(at(&BOOKS.messages_made) == sent + at(&BOOKS.returned), "messages were not sent");
    let tokens = WORLD.tokens.try_lock();
    let tokens = tokens.map(|tokens| *tokens + at(&BOOKS.tokens_taken));
    must!(tokens == Some(at(&BOOKS.tokens_made)), "tokens were lost");
    for mutex in &WORLD.mutexes {
        must!(mutex.is_empty() && mutex.try_lock().is_some(), "a mutex is locked");
    }
    for lock in &WORLD.rwlocks {
        must!(lock.is_empty() && lock.try_write().is_some(), "a lock is locked");
    }
    for semaphore in &WORLD.semaphores {
        let free = semaphore.available_permits();
        must!(semaphore.is_empty() && free == PERMITS, "a semaphore has {free} permits");
    }
}

/// Aborts the program if nothing has happened for a while.
fn watchdog() {
    let (mut steps, mut since) = (u64::MAX, Instant::now());
    while !OVER.load(Acquire) {
        thread::sleep(Duration::from_millis(200));
        let now = BOOKS.steps.load(Acquire).wrapping_add(BOOKS.ended());
        if now != steps {
            (steps, since) = (now, Instant::now());
        }
        if since.elapsed() > TIMEOUT {
            fail(format_args!("nothing goes on"));
        }
    }
}
