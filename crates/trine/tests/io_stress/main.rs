//! All of I/O at once: connections of every kind that are made, broken, waited for and given up, by
//! coroutines, local coroutines and threads. In the end each byte and each descriptor is accounted
//! for.
//!
//! | variable | setting |
//! |---|---|
//! | `TRINE_STRESS_SECONDS` | the duration, 3 by default |
//! | `TRINE_STRESS_SEED` | the seed of all choices, by default the time of day; not the schedule |
//! | `TRINE_REACTOR`, `TRINE_CARRIERS` | as everywhere |
//!
//! | file | contents |
//! |---|---|
//! | `main.rs` | the tasks that drive the test, the watchdog, the last account |
//! | `books.rs` | the accounts |
//! | `link.rs` | connections, and the bytes on them; tasks |
//! | `calm.rs` | connections that live to their end: echoes, both ways, half closed, slow readers |
//! | `rough.rs` | accept storms, resets, interrupted calls, no descriptor left |
//! | `pieces.rs` | pipes with many ends, messages, packets |

use std::panic;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant};

use trine::{coroutine, thread};

mod books;
mod calm;
mod link;
#[path = "../common/must.rs"]
mod must;
mod pieces;
mod rough;
#[path = "../common/seeds.rs"]
mod seeds;

use books::{BOOKS, fail};
use seeds::{Rng, seed, variable};

const TIMEOUT: Duration = Duration::from_secs(30);
/// The time of traffic between two shortages of descriptors.
const PHASE: Duration = Duration::from_secs(10);
/// The growth of memory that is allowed between the first phase and the last.
const MOST_GROWTH: usize = 64 << 20;

static STOP: AtomicBool = AtomicBool::new(false);
static OVER: AtomicBool = AtomicBool::new(false);
static MOST_DESCRIPTORS: AtomicUsize = AtomicUsize::new(0);

#[test]
fn every_byte_is_accounted_for() {
    let seconds = Duration::from_secs(variable("TRINE_STRESS_SECONDS").unwrap_or(3));
    println!("seed {}, {}", seed(), trine::reactor());
    watch_panics();
    std::thread::spawn(watchdog);
    let mut rng = Rng(seed());
    // All kinds of traffic once, so that everything that is made once exists.
    traffic(&mut rng, Duration::from_millis(200));
    let (begin, first) = (Instant::now(), Level::now());
    let mut levels = vec![first];
    while begin.elapsed() < seconds {
        traffic(&mut rng, PHASE.min(seconds.saturating_sub(begin.elapsed())));
        rough::exhaust(&mut rng);
        levels.push(Level::now());
    }
    let (busy, worked) = (begin.elapsed(), cpu_time());
    OVER.store(true, Release);
    account(first);
    let idle = idle();
    let level = |at: usize| format!("{} MiB", levels[at].memory >> 20);
    println!("{BOOKS}");
    println!(
        "memory {}, {} in the middle, {} at the end",
        level(0),
        level(levels.len() / 2),
        level(levels.len() - 1)
    );
    println!(
        "at most {} descriptors; {} sockets and pipes at first, {} at last, and {} others",
        MOST_DESCRIPTORS.load(Relaxed),
        first.descriptors,
        ends(),
        descriptors() - ends(),
    );
    println!("{busy:?}, {worked:?} of the processor; {idle:?} of it in 300 idle ms");
}

/// Makes every panic end the program, since none is intended.
fn watch_panics() {
    panic::set_hook(Box::new(|info| {
        fail(format_args!("{info}\n{}", std::backtrace::Backtrace::force_capture()));
    }));
}

/// Runs all kinds of traffic for `time`, and waits until the last has ended.
fn traffic(rng: &mut Rng, time: Duration) {
    let end = Instant::now() + time;
    STOP.store(false, Release);
    let mut driver = || {
        let mut rng = Rng(rng.number());
        move || drive(&mut rng, end)
    };
    let coroutines: Vec<_> = (0..4).map(|_| coroutine::spawn(driver())).collect();
    let threads: Vec<_> = (0..2).map(|_| thread::spawn(driver())).collect();
    let here = coroutine::spawn_local(driver());
    driver()();
    for task in coroutines.into_iter().chain(threads) {
        task.join().unwrap();
    }
    here.join().unwrap();
}

fn drive(rng: &mut Rng, end: Instant) {
    const KINDS: [fn(&mut Rng); 10] = [
        calm::echo,
        calm::echo,
        calm::both_ways,
        calm::half_close,
        calm::slow_reader,
        rough::storm,
        rough::reset,
        rough::interrupted,
        pieces::pipe_of_many,
        |rng| if rng.one_in(2) { pieces::messages(rng) } else { pieces::packets(rng) },
    ];
    let mut next = rng.below(KINDS.len());
    while Instant::now() < end {
        KINDS[next](rng);
        next = rng.below(KINDS.len());
    }
}

/// The resources of the process.
#[derive(Clone, Copy)]
struct Level {
    /// The number of sockets and pipes.
    descriptors: usize,
    /// The resident bytes.
    memory: usize,
}

impl Level {
    fn now() -> Level {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages = pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap();
        Level { descriptors: ends(), memory: pages * rustix::param::page_size() }
    }
}

/// Counts the open descriptors, except for the one that is open for reading the list.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

/// Counts the descriptors of sockets and pipes.
fn ends() -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let links = links.filter_map(|link| std::fs::read_link(link.path()).ok());
    let is_end = |link: &str| link.starts_with("socket:") || link.starts_with("pipe:");
    links.filter(|link| link.to_str().is_some_and(is_end)).count()
}

/// Returns the processor time of all threads.
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes into `time`, which belongs to the caller.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) }, 0);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

/// Checks that the accounts are balanced.
fn account(first: Level) {
    let at = |counter: &std::sync::atomic::AtomicU64| counter.load(Acquire);
    let deadline = Instant::now() + TIMEOUT;
    // A handle removes its task from the registry when it is dropped; a carrier may be about to
    // drop the last.
    while !trine::task::list().is_empty() || trine::coroutine::stack_stats().in_use > 0 {
        must!(Instant::now() < deadline, "a task is left");
        std::thread::yield_now();
    }
    while ends() > first.descriptors {
        must!(
            Instant::now() < deadline,
            "{} ends are open, {} at first",
            ends(),
            first.descriptors
        );
        std::thread::yield_now();
    }
    // A carrier has a ring, an epoll and an eventfd; a thread has an eventfd.
    let carriers = variable("TRINE_CARRIERS").map_or_else(
        || std::thread::available_parallelism().unwrap().get(),
        |carriers| usize::try_from(carriers).unwrap(),
    );
    let others = descriptors() - ends();
    must!(others <= 3 * carriers + 12, "{others} descriptors that are no sockets");
    let (sent, checked) = (at(&BOOKS.sent), at(&BOOKS.checked) + at(&BOOKS.lost_to_resets));
    must!(sent == checked, "{sent} bytes were sent, {checked} were checked or are lost to resets");
    let memory = Level::now().memory;
    must!(memory < first.memory + MOST_GROWTH, "{} bytes at first, {memory} now", first.memory);
}

/// Measures the processor time that is used while there is nothing to do.
fn idle() -> Duration {
    // The watchdog looks once more.
    std::thread::sleep(Duration::from_millis(100));
    let begin = cpu_time();
    std::thread::sleep(Duration::from_millis(300));
    let spent = cpu_time() - begin;
    must!(spent < Duration::from_millis(60), "{spent:?} in 300 ms in which nothing was to be done");
    spent
}

/// Aborts the program if nothing has happened for a while. Also counts descriptors.
fn watchdog() {
    let (mut steps, mut since) = (u64::MAX, Instant::now());
    while !OVER.load(Acquire) {
        std::thread::sleep(Duration::from_millis(50));
        // There may be no descriptor left for reading the list.
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            MOST_DESCRIPTORS.fetch_max(open.count(), Relaxed);
        }
        let now = BOOKS.steps.load(Acquire);
        if now != steps {
            (steps, since) = (now, Instant::now());
        }
        if since.elapsed() > TIMEOUT {
            fail(format_args!("nothing goes on"));
        }
    }
}
