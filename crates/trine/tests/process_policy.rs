//! What a pool can be told about its tasks and workers: retries, limits, bounds, how long workers live, its end.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use trine::process::{Pool, PoolStats};
use trine::{Cause, Executor, Kind, TaskError, coroutine, thread, time};

mod common;

use common::desk::{Desk, be_deaf, report, wait_for_a_word};
use common::processes::{die, kill, signal_of, spin_for_ever, stay_for_ever};
use common::temporary::TempPath;
use common::waiting::{until, until_waiting};

const SHORT: Duration = Duration::from_millis(20);
/// Longer than any test lasts.
const LONG: Duration = Duration::from_secs(3600);

fn pid(_: u64) -> u32 {
    std::process::id()
}

fn stopped(error: &TaskError) {
    assert!(error.is_cancelled() && error.to_string().contains("pool was stopped"), "{error}");
}

/// Ends its process the first `crashes` times that it is called for `n`.
fn crash_at_first((marks, n, crashes): (PathBuf, u64, u32)) -> u64 {
    for time in 0..crashes {
        if File::create_new(marks.join(format!("{n}-{time}"))).is_ok() {
            match n % 3 {
                0 => die(),
                1 => std::process::exit(7),
                _ => std::process::abort(),
            }
        }
    }
    n + 1
}

/// One in a hundred crashes, some of them twice.
fn crashes(n: u64) -> u32 {
    u32::from(n % 100 == 7) + u32::from(n % 1000 == 7)
}

#[test]
fn ten_thousand_tasks_of_which_one_in_a_hundred_crashes_are_all_done() {
    let marks = TempPath::folder("marks");
    let pool = Pool::builder().workers(2).retries(2).backoff(Duration::from_millis(1)).build();
    let tasks: Vec<_> =
        (0..10_000).map(|n| pool.spawn((marks.owned(), n, crashes(n)), crash_at_first)).collect();
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(task.join().unwrap(), n + 1);
    }
    let stats = pool.stats();
    assert_eq!((stats.completed, stats.failed, stats.retried), (10_000, 0, 110));
    assert_eq!(stats.workers_lost, 110);
    pool.shutdown();
}

#[test]
fn each_argument_of_a_map_is_retried_by_itself() {
    let marks = TempPath::folder("marks");
    let pool = Pool::builder().workers(2).retries(2).backoff(Duration::ZERO).build();
    let args = (0..2_000).map(|n| (marks.owned(), n, if n == 777 { 99 } else { crashes(n) }));
    let results: Vec<_> = pool.map(args, crash_at_first).chunk(100).collect();
    for (n, result) in (0..).zip(results) {
        match result {
            Ok(value) => assert!(n != 777 && value == n + 1),
            Err(error) => {
                assert!(n == 777 && error.is_crash(), "{n}: {error}");
                assert_eq!(error.attempt(), 3);
            }
        }
    }
    let stats = pool.stats();
    assert_eq!((stats.completed, stats.failed, stats.crashed), (1_999, 1, 1));
    assert_eq!(stats.retried, 22 + 2);
}

#[test]
fn a_task_that_always_crashes_fails_in_its_last_attempt() {
    let pool = Pool::builder().workers(1).retries(2).backoff(Duration::ZERO).build();
    let error = pool.spawn((), |()| die()).join().unwrap_err();
    assert_eq!((signal_of(&error), error.attempt()), (libc::SIGKILL, 3));
    assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
    let fresh = Pool::builder().workers(2).retries(1).fresh_process_per_task().build();
    let error = fresh.spawn((), |()| die()).join().unwrap_err();
    assert_eq!((signal_of(&error), error.attempt()), (libc::SIGKILL, 2));
    let unlucky = fresh.spawn((), |()| -> () { panic!("once is enough") });
    assert_eq!(unlucky.join().unwrap_err().attempt(), 1);
    let marks = TempPath::folder("marks");
    assert_eq!(fresh.spawn((marks.owned(), 4, 1), crash_at_first).join().unwrap(), 5);
}

#[test]
fn only_crashes_are_retried() {
    let retrying = || Pool::builder().workers(1).retries(u32::MAX).grace(SHORT);
    let counts = |pool: &Pool| {
        let stats = pool.stats();
        (stats.retried, stats.panicked, stats.timed_out, stats.failed)
    };
    // Without a limit: a panic that looks up its backtrace takes longer than the one below.
    let pool = retrying().build();
    assert!(pool.spawn((), |()| -> () { panic!("no") }).join().unwrap_err().is_panic());
    assert_eq!(counts(&pool), (0, 1, 0, 1));
    let pool = retrying().timeout(SHORT).build();
    let deaf = pool.spawn((), |()| -> () { spin_for_ever() });
    assert!(deaf.join().unwrap_err().is_timeout());
    assert_eq!(counts(&pool), (0, 0, 1, 1));
}

#[test]
fn a_task_that_waits_to_be_run_again_can_be_cancelled_and_has_its_deadline() {
    let pool = Pool::builder().workers(1).retries(5).backoff(Duration::MAX).build();
    let cancelled = pool.spawn((), |()| die());
    until(|| pool.stats().retried == 1);
    assert_eq!(pool.stats().queued, 1);
    cancelled.cancel_because("too late");
    let error = cancelled.join().unwrap_err();
    assert!(error.is_cancelled() && error.to_string().contains("too late"), "{error}");
    let late = time::timeout(Duration::from_secs(1), || pool.spawn((), |()| die())).unwrap();
    assert!(late.join().unwrap_err().is_timeout());
    let left = pool.spawn((), |()| die());
    until(|| pool.stats().retried == 3);
    pool.stop(LONG);
    stopped(&left.join().unwrap_err());
}

#[test]
fn a_closed_pool_waits_for_what_is_to_be_run_again() {
    let marks = TempPath::folder("marks");
    let pool = Pool::builder().workers(2).retries(2).backoff(SHORT).build();
    let tasks: Vec<_> =
        (0..20).map(|n| pool.spawn((marks.owned(), n, 1), crash_at_first)).collect();
    pool.shutdown();
    for (n, task) in (0..).zip(tasks) {
        assert!(task.is_finished());
        assert_eq!(task.join().unwrap(), n + 1);
    }
}

#[test]
fn the_limit_ends_waits_and_leaves_the_worker_alive() {
    let pool = Pool::builder().workers(1).timeout(SHORT).grace(LONG).build();
    let before = pool.spawn(0, pid).join().unwrap();
    let task = pool.spawn((), |()| time::sleep(Duration::MAX));
    assert!(task.join().unwrap_err().is_timeout());
    assert_eq!(pool.spawn(0, pid).join().unwrap(), before);
    let asks = pool.spawn((), |()| while !trine::cancelled() {});
    assert!(asks.join().is_ok());
    assert_eq!(pool.spawn(0, pid).join().unwrap(), before);
}

#[test]
fn the_limit_kills_what_is_deaf_and_counts_for_each_task_by_itself() {
    let pool = Pool::builder().workers(1).timeout(Duration::from_millis(200)).grace(SHORT).build();
    let deaf = || pool.spawn((), |()| -> () { spin_for_ever() });
    // All wait longer than the limit, but for the first.
    let tasks: Vec<_> = (0..4).map(|_| (deaf(), pool.spawn(7, |n: u8| n))).collect();
    for (deaf, other) in tasks {
        assert!(deaf.join().unwrap_err().is_timeout());
        assert_eq!(other.join().unwrap(), 7);
    }
    let fresh =
        Pool::builder().workers(1).timeout(SHORT).grace(SHORT).fresh_process_per_task().build();
    let deaf = fresh.spawn((), |()| -> () { spin_for_ever() });
    assert!(deaf.join().unwrap_err().is_timeout());
    let results: Vec<_> = fresh.map(0..3_u8, |n| n).collect();
    assert!(results.iter().zip(0..).all(|(result, n)| *result.as_ref().unwrap() == n));
}

#[test]
fn an_argument_of_a_map_that_takes_too_long_costs_no_other() {
    let pool = Pool::builder().workers(2).timeout(Duration::from_millis(500)).grace(SHORT).build();
    let results: Vec<_> = pool
        .map(0..60_u64, |n| {
            if n == 31 {
                spin_for_ever()
            }
            n
        })
        .chunk(30)
        .collect();
    for (n, result) in (0..).zip(results) {
        match result {
            Ok(value) => assert!(n == value && n != 31),
            Err(error) => assert!(n == 31 && error.is_timeout(), "{n}: {error}"),
        }
    }
}

#[test]
fn a_worker_that_somebody_has_stopped_ends_by_the_limit() {
    let desk = Desk::open();
    let limit = Duration::from_secs(1);
    let pool = Pool::builder().workers(1).timeout(limit).grace(SHORT).build();
    let task = pool.spawn(desk.path.clone(), be_deaf);
    let (worker, _stream) = desk.hear();
    kill(worker, libc::SIGSTOP);
    assert!(task.join().unwrap_err().is_timeout());
    // One that is stopped while it has nothing to do costs no task.
    let idle = pool.spawn(0, pid).join().unwrap();
    until(|| pool.stats().idle == 1);
    kill(idle, libc::SIGSTOP);
    assert_ne!(pool.spawn(0, pid).join().unwrap(), idle);
}

#[test]
fn odd_limits_mean_what_they_say() {
    let pool = Pool::builder().workers(1).timeout(Duration::MAX).build();
    assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
    let pool = Pool::builder().workers(1).timeout(Duration::ZERO).grace(Duration::ZERO).build();
    for _ in 0..3 {
        assert!(pool.spawn((), |()| time::sleep(LONG)).join().unwrap_err().is_timeout());
    }
    let pool = Pool::builder().workers(1).idle_timeout(Duration::ZERO).build();
    for n in 0..3_u8 {
        assert_eq!(pool.spawn(n, |n| n).join().unwrap(), n);
    }
    let pool =
        Pool::builder().workers(1).idle_timeout(Duration::MAX).min_workers(usize::MAX).build();
    until(|| pool.stats().workers == 1);
    assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
    let pool = Pool::builder().workers(1).queue(usize::MAX).build();
    assert_eq!(pool.try_spawn(1, |n: u8| n).unwrap().join().unwrap(), 1);
}

#[test]
#[should_panic(expected = "a worker has to be allowed one task at least")]
fn a_worker_without_tasks_is_refused() {
    let _ = Pool::builder().tasks_per_worker(0);
}

#[test]
fn a_worker_is_replaced_after_its_share() {
    let pool = Pool::builder().workers(2).tasks_per_worker(3).build();
    let tasks: Vec<_> = (0..60).map(|n| pool.spawn(n, pid)).collect();
    let mut by_pid = HashMap::new();
    for task in tasks {
        *by_pid.entry(task.join().unwrap()).or_insert(0) += 1;
    }
    assert!(by_pid.values().all(|tasks| *tasks <= 3), "{by_pid:?}");
    assert!(by_pid.len() >= 20);
    // Its strength is back at once, and none of them counts as lost.
    until(|| pool.stats().workers == 2);
    assert_eq!(pool.stats().workers_lost, 0);
    let whole: Vec<_> = pool.map(0..500_u64, |n| n).map(Result::unwrap).collect();
    assert!(whole.into_iter().eq(0..500));
    pool.shutdown();
}

#[test]
fn workers_that_rest_end_and_come_back() {
    let desks = [Desk::open(), Desk::open(), Desk::open()];
    let pool = Pool::builder().workers(3).idle_timeout(SHORT).min_workers(1).build();
    for _ in 0..3 {
        let tasks: Vec<_> =
            desks.iter().map(|desk| pool.spawn(desk.path.clone(), wait_for_a_word)).collect();
        // All three are at work at once.
        let streams: Vec<_> = desks.iter().map(Desk::hear).collect();
        assert_eq!(pool.stats().running, 3);
        drop(streams);
        assert!(tasks.into_iter().all(|task| task.join().is_ok()));
        until(|| pool.worker_pids().len() == 1);
    }
    let stays = pool.worker_pids();
    assert_eq!(pool.spawn(0, pid).join().unwrap(), stays[0]);
    assert_eq!(pool.stats().workers_lost, 0);
    pool.shutdown();
}

#[test]
fn the_bound_holds_whoever_spawns() {
    let pool = Pool::builder().workers(2).queue(3).build();
    let ended = AtomicBool::new(false);
    let bounded = |stats: PoolStats| assert!(stats.running + stats.queued <= 5, "{stats:?}");
    std::thread::scope(|scope| {
        let spawners: Vec<_> = (0..8_u64)
            .map(|spawner| {
                let pool = &pool;
                scope.spawn(move || {
                    let numbers = (0..100).map(|n| 100 * spawner + n);
                    let tasks: Vec<_> = numbers
                        .map(|n| {
                            let crashes = n % 50 == 3;
                            let task = pool.spawn((n, crashes), |(n, crashes)| {
                                if crashes {
                                    die();
                                }
                                n
                            });
                            bounded(pool.stats());
                            (n, crashes, task)
                        })
                        .collect();
                    for (n, crashes, task) in tasks {
                        match task.join() {
                            Ok(value) => assert!(value == n && !crashes),
                            Err(error) => assert!(error.is_crash() && crashes, "{error}"),
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !ended.load(Relaxed) {
                bounded(pool.stats());
            }
        });
        for spawner in spawners {
            spawner.join().unwrap();
        }
        ended.store(true, Relaxed);
    });
    assert_eq!((pool.stats().completed, pool.stats().crashed), (784, 16));
}

#[test]
fn a_full_queue_refuses_or_waits_and_a_cancelled_spawner_leaves_nothing_behind() {
    let desk = Desk::open();
    let pool = Arc::new(Pool::builder().workers(1).queue(1).build());
    let at_work = pool.spawn(desk.path.clone(), wait_for_a_word);
    let (_, stream) = desk.hear();
    let queued = pool.spawn(1, |n: u8| n);
    assert_eq!(pool.try_spawn("back".to_owned(), |text| text).unwrap_err().0, "back");
    assert_eq!(pool.stats().queued, 1);
    let spawner = Arc::clone(&pool);
    let waits = coroutine::spawn(move || drop(spawner.spawn(2, |n: u8| n)));
    until_waiting(&waits);
    waits.cancel();
    assert!(waits.join().unwrap_err().is_cancelled());
    assert!(time::timeout(SHORT, || pool.spawn(3, |n: u8| n)).is_err());
    // Who ends in the queue makes room.
    queued.cancel();
    pool.spawn(4, |n: u8| n).cancel();
    let next = pool.try_spawn(5, |n: u8| n).unwrap();
    drop(stream);
    assert!(at_work.join().is_ok());
    assert_eq!(next.join().unwrap(), 5);
    // An argument that cannot be encoded takes no room.
    for _ in 0..5 {
        let task = pool.spawn(Unfit, |_| ());
        assert!(matches!(task.join().unwrap_err().cause(), Cause::Codec { .. }));
    }
    let two: Vec<_> = (0..2_u8).map(|n| pool.try_spawn(n, |n| n).unwrap()).collect();
    assert!(two.into_iter().all(|task| task.join().is_ok()));
    assert_eq!(pool.stats().cancelled, 2);
    assert_eq!(pool.map(0..100_u64, |n| n).map(Result::unwrap).sum::<u64>(), 4950);
}

struct Unfit;

impl serde::Serialize for Unfit {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("unfit"))
    }
}

impl<'de> serde::Deserialize<'de> for Unfit {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Unfit, D::Error> {
        Ok(Unfit)
    }
}

#[test]
fn one_killed_with_a_thousand_queued_costs_one() {
    let desk = Desk::open();
    let pool = Pool::builder().workers(2).timeout(LONG).tasks_per_worker(400).build();
    let victim = pool.spawn(desk.path.clone(), be_deaf);
    let (worker, _stream) = desk.hear();
    let tasks: Vec<_> = (0..999_u64).map(|n| pool.spawn(n, |n| n + 1)).collect();
    kill(worker, libc::SIGKILL);
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(task.join().unwrap(), n + 1);
    }
    assert_eq!(signal_of(&victim.join().unwrap_err()), libc::SIGKILL);
    let stats = pool.stats();
    assert_eq!((stats.completed, stats.failed, stats.workers_lost), (999, 1, 1));
}

#[test]
fn a_cancellation_costs_the_worker_of_that_task_only() {
    let (one, other) = (Desk::open(), Desk::open());
    let pool = Pool::builder().workers(2).grace(SHORT).build();
    let deaf = pool.spawn(one.path.clone(), be_deaf);
    let (gone, _stream) = one.hear();
    let task = pool.spawn(other.path.clone(), wait_for_a_word);
    let (stays, stream) = other.hear();
    deaf.cancel();
    assert!(deaf.join().unwrap_err().is_cancelled());
    drop(stream);
    assert_eq!(task.join().unwrap(), stays);
    until(|| pool.stats().workers == 2);
    let pids = pool.worker_pids();
    assert!(pids.contains(&stays) && !pids.contains(&gone));
    assert_eq!(pool.stats().workers_lost, 1);
}

#[test]
fn progress_is_seen_while_the_task_runs_and_after_its_end() {
    fn go((path, end): (String, bool)) {
        assert_eq!(end, end);
        trine::progress(0.25);
        let mut stream = report(&path);
        let _ = stream.read(&mut [0]);
        trine::progress(0.75);
        if end {
            std::process::exit(3);
        }
    }
    let desk = Desk::open();
    let pool = Pool::new(1);
    for crash in [false, true] {
        let task = pool.spawn((desk.path.clone(), crash), go);
        let (_, stream) = desk.hear();
        let behind = pool.spawn((), |()| trine::progress(1.0));
        assert_eq!((task.progress(), behind.progress()), (Some(0.25), None));
        drop(stream);
        assert_eq!(behind.info().kind, Kind::Process);
        until(|| task.is_finished() && behind.is_finished());
        assert_eq!((task.progress(), behind.progress()), (Some(0.75), Some(1.0)));
        assert_eq!(task.join().is_err(), crash);
    }
    let local = [
        coroutine::spawn(|| trine::progress(f64::INFINITY)),
        thread::spawn(|| trine::progress(f64::INFINITY)),
    ];
    for task in local {
        until(|| task.is_finished());
        assert_eq!(task.progress(), Some(f64::INFINITY));
    }
    trine::progress(1.0);
}

#[test]
fn the_last_progress_of_each_of_many_small_tasks_stays() {
    let pool = Pool::new(2);
    let tasks: Vec<_> = (0..2_000_u32)
        .map(|n| {
            pool.spawn(n, |n| {
                if n % 2 == 0 {
                    trine::progress(n.into())
                }
            })
        })
        .collect();
    for (n, task) in (0..).zip(tasks) {
        until(|| task.is_finished());
        assert_eq!(task.progress(), (n % 2 == 0).then_some(f64::from(n)));
    }
}

#[test]
fn a_task_that_runs_again_has_told_nothing_yet() {
    fn first_tells((marks, path): (PathBuf, String)) {
        if File::create_new(marks.join("told")).is_ok() {
            trine::progress(0.5);
            die();
        }
        wait_for_a_word(path);
    }
    let (marks, desk) = (TempPath::folder("marks"), Desk::open());
    let pool = Pool::builder().workers(1).retries(1).build();
    let task = pool.spawn((marks.owned(), desk.path.clone()), first_tells);
    let (_, stream) = desk.hear();
    assert_eq!(task.progress(), None);
    drop(stream);
    task.join().unwrap();
}

#[test]
fn a_pool_works_inside_a_worker_of_another() {
    fn inner(n: u64) -> (u64, bool) {
        let pool = Pool::builder().workers(2).retries(1).queue(4).build();
        trine::progress(0.5);
        let sum = pool.map(0..n, |n| n * n).map(Result::unwrap).sum();
        let crash = pool.spawn((), |()| die()).join().unwrap_err();
        pool.shutdown();
        (sum, crash.attempt() == 2)
    }
    let pool = Pool::builder().workers(2).tasks_per_worker(2).build();
    let tasks: Vec<_> = (0..4).map(|_| pool.spawn(100, inner)).collect();
    for task in tasks {
        assert_eq!(task.join().unwrap(), (328_350, true));
    }
    pool.shutdown();
}

#[test]
fn a_pool_can_be_stopped_whatever_its_tasks_do() {
    let desk = Desk::open();
    let pool = Pool::builder().workers(3).grace(LONG).build();
    let deaf = pool.spawn(desk.path.clone(), be_deaf);
    let _deaf = desk.hear();
    let frozen = pool.spawn(desk.path.clone(), be_deaf);
    let (frozen_pid, _frozen) = desk.hear();
    let polite = pool.spawn(desk.path.clone(), |path| {
        let _stream = report(&path);
        time::sleep(Duration::MAX);
    });
    let _polite = desk.hear();
    kill(frozen_pid, libc::SIGSTOP);
    // One of them was cancelled before, with a grace that is too long.
    deaf.cancel_because("it was before");
    let queued: Vec<_> = (0..1_000_u64).map(|n| pool.spawn(n, |n| n)).collect();
    pool.stop(SHORT);
    let error = deaf.join().unwrap_err();
    assert!(error.is_cancelled() && error.to_string().contains("it was before"), "{error}");
    stopped(&frozen.join().unwrap_err());
    stopped(&polite.join().unwrap_err());
    for task in queued {
        assert!(task.is_finished());
        stopped(&task.join().unwrap_err());
    }
}

#[test]
fn a_pool_whose_template_or_idle_workers_are_stopped_ends() {
    let marks = TempPath::folder("marks");
    let note = marks.owned().join("template");
    let pool = Pool::builder()
        .workers(2)
        .env("TRINE_TEST_NOTE", &note)
        .preload(|| {
            let path = std::env::var_os("TRINE_TEST_NOTE").unwrap();
            fs::write(path, std::process::id().to_string()).unwrap();
        })
        .build();
    until(|| pool.stats().idle == 2);
    let template: u32 = fs::read_to_string(&note).unwrap().parse().unwrap();
    kill(template, libc::SIGSTOP);
    let pids = pool.worker_pids();
    kill(pids[0], libc::SIGSTOP);
    // Its successor is asked for, and does not come.
    kill(pids[1], libc::SIGKILL);
    until(|| pool.stats().workers_lost == 1);
    let waits = pool.spawn(1, |n: u8| n);
    pool.stop(SHORT);
    stopped(&waits.join().unwrap_err());
}

#[test]
fn a_pool_whose_workers_do_not_become_ready_can_be_stopped() {
    let hangs = Pool::builder().workers(2).initializer(|| stay_for_ever()).build();
    let task = hangs.spawn(1, |n: u8| n);
    until(|| hangs.stats().workers == 2);
    hangs.stop(SHORT);
    stopped(&task.join().unwrap_err());
    let hangs = Pool::builder().workers(1).preload(|| stay_for_ever()).build();
    let task = hangs.spawn(1, |n: u8| n);
    hangs.stop(SHORT);
    stopped(&task.join().unwrap_err());
}

#[test]
fn the_workers_of_a_pool_have_its_limits() {
    let pool = Pool::builder().workers(1).cpu_limit(SHORT).capture_output().retries(1).build();
    let busy = pool.spawn((), |()| -> () {
        eprintln!("on my way");
        spin_for_ever()
    });
    let error = busy.join().unwrap_err();
    assert!(error.to_string().contains("processor time"), "{error}");
    assert_eq!((error.stderr(), error.attempt()), (b"on my way\n".as_slice(), 2));
    let results: Vec<_> = pool.map(0..50_u64, |n| n).map(Result::unwrap).collect();
    assert!(results.into_iter().eq(0..50));
    let nonsense = Pool::builder().workers(1).open_files(3).queue(0).build();
    for _ in 0..3 {
        let error = nonsense.spawn(1, |n: u8| n).join().unwrap_err();
        assert!(error.is_not_spawned() && error.to_string().contains("open files"), "{error}");
    }
    nonsense.shutdown();
}

#[test]
fn dropping_a_pool_with_hung_tasks_waits_for_nobody() {
    let desk = Desk::open();
    let pool = Pool::builder().workers(1).grace(SHORT).queue(5).timeout(LONG).build();
    let deaf = pool.spawn(desk.path.clone(), be_deaf);
    let queued = pool.spawn(1, |n: u8| n);
    let (worker, _stream) = desk.hear();
    kill(worker, libc::SIGSTOP);
    drop(pool);
    assert!(!deaf.is_finished());
    deaf.cancel();
    assert!(deaf.join().unwrap_err().is_cancelled());
    assert_eq!(queued.join().unwrap(), 1);
}

#[test]
fn stop_of_a_pool_without_tasks_is_quick_and_of_one_with_values_takes_them() {
    let pool = Pool::new(2);
    assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
    let begin = Instant::now();
    pool.stop(LONG);
    assert!(begin.elapsed() < LONG);
    let pool = Pool::new(2);
    let tasks: Vec<_> = (0..100_u64).map(|n| pool.spawn(n, |n| n)).collect();
    pool.stop(LONG);
    for (n, task) in (0..).zip(tasks) {
        match task.join() {
            Ok(value) => assert_eq!(value, n),
            Err(error) => stopped(&error),
        }
    }
}
