//! Settings of a pool's builder, above all its initializer.

use std::fs;
use std::path::PathBuf;
use std::process::{abort, exit};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use trine::process::{Pool, PoolBuilder};
use trine::time;

use crate::common::journal::{Journal, begin, own_folder};
use crate::common::processes::{children, spin_for_ever, stay_for_ever};
use crate::common::waiting::until;
use crate::common::{again, reason_of, role, run};

#[test]
fn workers_are_as_many_as_was_said_or_as_there_are_cores() {
    assert_eq!(Pool::builder().workers(3).build().workers(), 3);
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!(Pool::builder().build().workers(), cores);
}

#[test]
#[should_panic(expected = "at least one worker")]
fn a_pool_without_workers_is_refused() {
    let _ = Pool::builder().workers(0).build();
}

#[test]
fn name_environment_and_directory_are_those_of_every_worker() {
    let pool = Pool::builder().workers(2).name("a-name-too-long-for-ps").env("COLOUR", "blue");
    let pool = pool.env("COLOUR", "green").current_dir("/").build();
    for _ in 0..3 {
        let task = pool.spawn((), |()| {
            let name = fs::read_to_string("/proc/self/comm").unwrap();
            (name, std::env::var("COLOUR").unwrap(), std::env::current_dir().unwrap())
        });
        let (name, colour, directory) = task.join().unwrap();
        assert_eq!((&*name, &*colour), ("a-name-too-long\n", "green"));
        assert_eq!(directory, PathBuf::from("/"));
        assert!(pool.spawn((), |()| -> () { abort() }).join().unwrap_err().is_crash());
    }
    let pool = Pool::builder().workers(2).current_dir("/no/such/directory").build();
    assert!(reason_of(pool.spawn(1, |n: u8| n)).contains("cannot work in the directory"));
    let pool = Pool::builder().workers(1).env("", "nameless").build();
    assert!(reason_of(pool.spawn(1, |n: u8| n)).contains("the environment cannot hold"));
    let pool = Pool::builder().workers(1).name("with\0nul").build();
    assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
}

#[test]
fn the_grace_is_the_pool_s() {
    let pool = Pool::builder().workers(1).grace(Duration::from_millis(1)).build();
    let deaf = pool.spawn((), |()| -> () { spin_for_ever() });
    deaf.cancel();
    assert!(deaf.join().unwrap_err().is_cancelled());
    assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
}

static VALUE: OnceLock<String> = OnceLock::new();
static BEATS: AtomicU32 = AtomicU32::new(0);

#[test]
fn an_initializer_runs_in_each_worker_before_its_first_task() {
    let log = Journal::new("each");
    let pool = log
        .pool(3)
        .env("VALUE", "from the environment")
        .current_dir("/")
        .initializer(|| {
            begin();
            assert_eq!(std::env::current_dir().unwrap(), PathBuf::from("/"));
            VALUE.set(std::env::var("VALUE").unwrap()).unwrap();
            // A thread goes on beside the tasks.
            std::thread::spawn(|| {
                loop {
                    BEATS.fetch_add(1, Relaxed);
                    std::thread::sleep(Duration::from_micros(100));
                }
            });
        })
        .build();
    let mut pids = Vec::new();
    for round in 0..4 {
        let beat = |()| {
            let before = BEATS.load(Relaxed);
            while BEATS.load(Relaxed) == before {
                std::thread::yield_now();
            }
            (VALUE.get().unwrap().clone(), std::process::id())
        };
        let tasks: Vec<_> = (0..30).map(|_| pool.spawn((), beat)).collect();
        for task in tasks {
            let (value, pid) = task.join().unwrap();
            assert_eq!(value, "from the environment", "round {round}");
            pids.push(pid);
        }
        let crash = pool.spawn((), |()| -> () { abort() });
        assert!(crash.join().unwrap_err().is_crash());
    }
    pool.shutdown();
    let mut began = log.began();
    began.sort_unstable();
    began.dedup();
    assert_eq!(began.len(), log.began().len(), "once in each");
    assert!(pids.iter().all(|pid| began.contains(pid)));
}

#[test]
fn preload_comes_before_the_initializer() {
    static LOADED_IN: OnceLock<u32> = OnceLock::new();
    static BEGUN: OnceLock<(u32, u32)> = OnceLock::new();
    let pool = Pool::builder()
        .workers(2)
        .initializer(|| BEGUN.set((*LOADED_IN.get().unwrap(), std::process::id())).unwrap())
        .preload(|| LOADED_IN.set(std::process::id()).unwrap())
        .build();
    for _ in 0..10 {
        let task = pool.spawn((), |()| (*BEGUN.get().unwrap(), std::process::id()));
        let ((template, own), worker) = task.join().unwrap();
        assert_eq!(own, worker);
        assert_ne!(template, worker);
    }
}

/// Returns the reason for which a pool has no workers: its initializer fails in one worker after
/// the other.
fn why_it_fails(name: &str, workers: usize, build: impl FnOnce(PoolBuilder) -> Pool) -> String {
    let log = Journal::new(&format!("{name}-{workers}"));
    let pool = build(log.pool(workers));
    let tasks: Vec<_> = (0..4_u8).map(|n| pool.spawn(n, |n| n)).collect();
    let reasons: Vec<_> = tasks.into_iter().map(reason_of).collect();
    // Bounded: the pool's own attempt, and at most one for each task.
    let began = log.began().len();
    assert!((3..=5 * (workers + 3)).contains(&began), "{began}");
    pool.shutdown();
    assert!(
        reasons.iter().all(|reason| reason.contains("3 workers in a row died before")),
        "{reasons:?}"
    );
    reasons.into_iter().next().unwrap()
}

#[test]
fn one_that_fails_ends_the_tasks_after_three_workers_and_says_why() {
    for workers in [1, 8] {
        let reason = why_it_fails("panic", workers, |pool| {
            pool.initializer(|| panic!("worker {} is too many", begin())).build()
        });
        for part in ["initializer panicked at ", "builder.rs:", " is too many"] {
            assert!(reason.contains(part), "{reason}");
        }
        let reason = why_it_fails("crash", workers, |pool| {
            pool.initializer(|| {
                begin();
                abort()
            })
            .build()
        });
        assert!(reason.contains("was ended by SIGABRT (6)"), "{reason}");
        let reason = why_it_fails("exit", workers, |pool| {
            pool.initializer(|| {
                begin();
                exit(9)
            })
            .build()
        });
        assert!(reason.contains("exited with code 9"), "{reason}");
    }
}

#[test]
fn one_that_fails_now_and_then_costs_workers_and_no_tasks() {
    let log = Journal::new("now-and-then");
    let pool = log
        .pool(2)
        .initializer(|| {
            if begin() % 2 == 1 {
                exit(1);
            }
        })
        .build();
    for n in 0..60_u32 {
        // Each second task ends its worker, so that there is a new one all the time.
        let task = pool.spawn(n, |n| -> u32 {
            if n % 2 == 0 { exit(0) } else { n }
        });
        match task.join() {
            Ok(value) => assert_eq!(value, n),
            Err(error) => assert!(n % 2 == 0 && error.is_crash(), "{error}"),
        }
    }
}

#[test]
fn one_that_succeeds_once_leaves_a_worker_that_does_all_tasks() {
    let log = Journal::new("once");
    let pool = log
        .pool(2)
        .initializer(|| {
            if begin() > 1 {
                exit(1);
            }
        })
        .build();
    for n in 0..50_u32 {
        // Some go to a worker that dies, and come back when no more workers are forked.
        assert_eq!(pool.spawn(n, |n| n).join().unwrap(), n);
    }
    pool.shutdown();
}

#[test]
fn the_next_task_tries_again() {
    let log = Journal::new("again");
    let pool = log
        .pool(2)
        .initializer(|| {
            begin();
            assert!(own_folder().join("mended").exists(), "broken");
        })
        .build();
    assert!(reason_of(pool.spawn(1, |n: u8| n)).contains("broken"));
    fs::write(log.path().join("mended"), "").unwrap();
    assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
}

#[test]
fn one_that_never_returns_holds_up_neither_deadlines_nor_the_end() {
    if role().is_some() {
        let log = Journal::new("never");
        let stay = || {
            begin();
            stay_for_ever()
        };
        let pool = log.pool(2).initializer(stay).build();
        until(|| log.began().len() == 2);
        let late = time::timeout(Duration::from_millis(20), || pool.spawn(1, |n: u8| n).join());
        assert!(late.is_err() || late.unwrap().unwrap_err().is_timeout());
        let cancelled = pool.spawn(1, |n: u8| n);
        cancelled.cancel();
        assert!(cancelled.join().unwrap_err().is_cancelled());
        pool.shutdown();
        drop(log.pool(2).initializer(stay).build());
        until(|| children() == 1);
        return;
    }
    run(again("master"));
}
