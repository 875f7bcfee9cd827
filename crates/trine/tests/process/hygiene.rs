//! Nothing is left when pools have ended, or when their master has.

use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use trine::process::{Pool, PoolBuilder};

use crate::common::processes::{children, descriptors, die, shared_mappings, stay_for_ever};
use crate::common::waiting::{a_second, until_or};
use crate::common::{again, role, run};

fn all_mappings() -> usize {
    fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// Makes, uses and drops a pool: single tasks, a long one, a chunked map, a crash.
fn use_a_pool(pool: PoolBuilder, wait: bool) {
    let pool = pool.build();
    let short: Vec<_> = (0..10).map(|n| pool.spawn(n, |n: u64| n + 1)).collect();
    let long = pool.spawn(vec![7_u8; 30_000], |bytes| bytes);
    let crash = pool.spawn((), |()| -> () { std::process::abort() });
    let many = trine::Executor::map(&pool, 0..64_u64, |n| n + 1).chunk(16);
    assert!(many.map(Result::unwrap).eq(1..65));
    assert!(short.into_iter().map(|task| task.join().unwrap()).eq(1..11));
    assert_eq!(long.join().unwrap().len(), 30_000);
    crash.join().unwrap_err();
    if wait {
        pool.shutdown();
    }
}

#[test]
fn a_hundred_pools_leave_nothing() {
    if role().is_none() {
        run(again("master"));
        return;
    }
    for preload in [false, true] {
        let builder = || {
            let pool = Pool::builder().workers(2);
            if preload { pool.preload(|| ()) } else { pool }
        };
        use_a_pool(builder(), true);
        // The template of plain workers stays. One with a preload ends with its last pool.
        until_or("the first pool's end", || children() == 1);
        let state = || (descriptors(), shared_mappings(), children());
        let (before, mappings) = (state(), all_mappings());
        for round in 0..50 {
            use_a_pool(builder(), round % 2 == 0);
        }
        // The service may be about to close descriptors of the first template.
        until_or("the end of all", || {
            let (descriptors, mappings, children) = state();
            descriptors <= before.0 && mappings <= before.1 && children <= before.2
        });
        let now = all_mappings();
        assert!(now <= mappings + 16, "{now} mappings after {mappings}");
    }
}

/// Waits until every process that holds the other end of the pipe has ended. Returns how long that
/// took.
fn family_ends(mut end: impl Read) -> Duration {
    let begin = Instant::now();
    end.read_to_end(&mut Vec::new()).unwrap();
    begin.elapsed()
}

/// Starts processes of all kinds, from this thread, a thread that has ended, and a coroutine.
fn busy_master() {
    let forever = |()| -> () { stay_for_ever() };
    let plain = Pool::new(2);
    let preloaded = Pool::builder().workers(2).preload(|| ()).build();
    let tasks = [plain.spawn((), forever), preloaded.spawn((), forever)];
    let of_a_thread_that_is_gone = std::thread::spawn(move || {
        let pool = Pool::builder().workers(1).env("OF", "a thread").build();
        pool.spawn(1, |n: u8| n).join().unwrap();
        (pool.spawn((), forever), pool, trine::process::spawn((), forever))
    });
    let kept = of_a_thread_that_is_gone.join().unwrap();
    let of_a_coroutine = trine::coroutine::spawn(move || trine::process::spawn((), forever));
    let last = of_a_coroutine.join().unwrap();
    plain.spawn(2, |n: u8| n).join().unwrap();
    preloaded.spawn(2, |n: u8| n).join().unwrap();
    until_or("two templates and seven workers", || children() == 9);
    std::mem::forget((tasks, kept, last, plain, preloaded));
}

#[test]
fn a_master_that_is_killed_leaves_no_process_within_a_second() {
    if let Some(role) = role() {
        busy_master();
        match role.as_str() {
            "first thread" => die(),
            "other thread" => _ = std::thread::spawn(die).join(),
            "coroutine" => _ = trine::coroutine::spawn(die).join(),
            _ => {}
        }
        stay_for_ever()
    }
    for role in ["first thread", "other thread", "coroutine"] {
        let mut command = again(role);
        // Every process of the family has it as its standard error.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut master = command.spawn().unwrap();
        let family = master.stderr.take().unwrap();
        let ended = master.wait().unwrap();
        assert_eq!(ended.signal(), Some(libc::SIGKILL), "{role}: {ended}");
        let took = family_ends(family);
        assert!(took < a_second(), "{role}: {took:?}");
    }
}
