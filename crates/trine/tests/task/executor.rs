//! One function on all kinds: `spawn` and `map` through the trait.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use trine::{Cause, Executor, Kind, State, Task, TaskError, process, thread};

use crate::common::processes::spin_for_ever;

fn cube(n: u64) -> u64 {
    n * n * n
}

/// A generic function, as a user writes it.
fn sum_of_cubes(executor: &impl Executor) -> u64 {
    executor.map(1..=100, cube).map(Result::unwrap).sum()
}

#[test]
fn a_chunk_of_any_size_takes_memory_for_what_there_is() {
    let pool = process::Pool::new(1);
    for chunk in [1 << 40, usize::MAX] {
        let sum: u64 = pool.map(1..=100, cube).chunk(chunk).map(Result::unwrap).sum();
        assert_eq!(sum, 25_502_500);
        let lengths = pool.map(vec![[7_u64; 30]; 10], |array| array.len()).chunk(chunk);
        assert_eq!(lengths.unordered().map(Result::unwrap).sum::<usize>(), 300);
    }
}

#[test]
fn one_function_runs_on_every_executor() {
    for kind in Kind::ALL {
        assert_eq!(sum_of_cubes(&kind), 25_502_500, "{kind}");
        let task: Task<u64> = kind.spawn(3, cube);
        assert_eq!(task.kind(), kind);
        assert!(task.info().location.file().ends_with("executor.rs"));
        assert_eq!(task.join().unwrap(), 27);
    }
    assert_eq!(sum_of_cubes(&thread::Pool::new(2)), 25_502_500);
    assert_eq!(sum_of_cubes(&process::Pool::new(2)), 25_502_500);
}

#[test]
fn results_come_in_the_order_of_the_arguments() {
    for kind in Kind::ALL {
        // The first of each four takes longest.
        let nap = |n: u64| {
            trine::time::sleep(Duration::from_micros((4 - n % 4) * 300));
            n
        };
        let order: Vec<u64> = kind.map(0..40, nap).collect::<Result<_, _>>().unwrap();
        assert!(order.iter().copied().eq(0..40), "{kind}: {order:?}");
        let mut any: Vec<u64> = kind.map(0..40, nap).unordered().collect::<Result<_, _>>().unwrap();
        any.sort_unstable();
        assert!(any.iter().copied().eq(0..40), "{kind}: {any:?}");
    }
}

#[test]
fn indexed_results_name_the_argument_of_each_value_and_error() {
    fn odd(n: usize) -> usize {
        assert!(n % 100 != 50, "not this");
        10 * n
    }
    fn check(executor: &impl Executor) {
        let mut seen = vec![false; 1_000];
        for (index, result) in executor.map(0..1_000, odd).unordered().indexed() {
            match result {
                Ok(value) => assert_eq!(value, 10 * index),
                Err(error) => assert!(index % 100 == 50 && error.argument() == Some(index)),
            }
            assert!(!std::mem::replace(&mut seen[index], true), "{index} twice");
        }
        assert!(seen.into_iter().all(|seen| seen));
    }
    Kind::ALL.iter().for_each(check);
    check(&thread::Pool::new(2));
    check(&process::Pool::new(2));
    // Many cross together from the first on.
    let pool = process::Pool::new(2);
    for (index, value) in pool.map(0..100_usize, |n| 10 * n).chunk(7).unordered().indexed() {
        assert_eq!(value.unwrap(), 10 * index);
    }
    let task = trine::coroutine::spawn(|| {
        let endless = Kind::Coroutine.map(0..9, |_: u64| trine::time::sleep(Duration::MAX));
        endless.window(3).unordered().indexed().map(|(at, end)| (at, end.is_err())).collect()
    });
    while task.state() != State::Waiting {
        std::thread::yield_now();
    }
    task.cancel();
    let ends: Vec<_> = task.join().unwrap();
    assert_eq!(ends, [(0, true)]);
}

#[test]
fn unordered_gives_the_quick_ones_first() {
    // The first argument's task waits until all other results have been yielded.
    static PASSED: AtomicUsize = AtomicUsize::new(0);
    fn quick_ones_come_first(executor: &impl Executor) {
        PASSED.store(0, Ordering::SeqCst);
        let results = executor.map(0..10_usize, |n| {
            while n == 0 && PASSED.load(Ordering::SeqCst) < 9 {
                trine::time::sleep(Duration::from_micros(100));
            }
            n
        });
        let order: Vec<_> = results
            .window(2)
            .unordered()
            .map(|result| {
                PASSED.fetch_add(1, Ordering::SeqCst);
                result.unwrap()
            })
            .collect();
        assert_eq!(order.last(), Some(&0), "{order:?}");
    }
    quick_ones_come_first(&Kind::Coroutine);
    // The default pool has one thread on one core, where the first would wait forever.
    quick_ones_come_first(&thread::Pool::new(2));
}

#[test]
fn a_map_is_lazy_and_bounded_whatever_its_input() {
    for kind in Kind::ALL {
        let taken = AtomicUsize::new(0);
        let endless = (0_u64..).inspect(|_| {
            taken.fetch_add(1, Ordering::Relaxed);
        });
        let mut results = kind.map(endless, |n| n).window(5);
        assert_eq!(taken.load(Ordering::Relaxed), 0, "nothing runs before the first `next`");
        for n in 0..50 {
            assert_eq!(results.next().unwrap().unwrap(), n);
            assert!(taken.load(Ordering::Relaxed) <= n as usize + 5);
        }
    }
}

#[test]
fn a_failed_task_is_one_error_among_results() {
    for kind in Kind::ALL {
        let results: Vec<_> =
            kind.map(0..20, |n: u32| if n == 13 { panic!("unlucky {n}") } else { n }).collect();
        for (n, result) in results.iter().enumerate() {
            match result {
                Ok(value) => assert_eq!(*value, n as u32),
                Err(error) => {
                    assert_eq!(n, 13);
                    assert_eq!(error.task().unwrap().kind, kind);
                    let Cause::Panicked { message, location, backtrace, .. } = error.cause() else {
                        panic!("{error}");
                    };
                    assert_eq!(message, "unlucky 13");
                    assert!(location.as_ref().unwrap().file.ends_with("executor.rs"));
                    assert!(!backtrace.is_empty());
                }
            }
        }
        assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1);
    }
}

#[test]
fn only_a_process_survives_an_abort_and_the_others_go_on() {
    let results: Vec<_> = Kind::Process
        .map(0..50, |n: u32| if n == 7 { std::process::abort() } else { n })
        .unordered()
        .collect();
    let errors: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert_eq!((results.len(), errors.len()), (50, 1));
    assert!(matches!(errors[0].cause(), Cause::Signaled { signal: 6, .. }), "{}", errors[0]);
}

#[test]
fn an_empty_map_ends_at_once_and_stays_ended() {
    for kind in Kind::ALL {
        let mut results = kind.map(std::iter::empty::<u64>(), cube);
        assert!(results.next().is_none() && results.next().is_none());
        let mut results = kind.map(std::iter::empty::<u64>(), cube).unordered();
        assert!(results.next().is_none() && results.next().is_none());
    }
}

#[test]
fn a_map_may_run_inside_a_task_of_any_kind() {
    let inner = |n: u64| Kind::Coroutine.map(0..n, |n| n).map(Result::unwrap).sum::<u64>();
    for kind in Kind::ALL {
        let sums: Vec<u64> = kind.map([10, 20, 30], inner).collect::<Result<_, _>>().unwrap();
        assert_eq!(sums, [45, 190, 435], "{kind}");
    }
    let nested = process::spawn(5_u64, |n| process::spawn(n, |n| n + 1).join().unwrap());
    assert_eq!(nested.join().unwrap(), 6, "a worker has workers of its own");
}

#[test]
fn the_states_of_a_process_task_are_true() {
    let pool = process::Pool::new(1);
    let sign = std::env::temp_dir().join(format!("trine-test-begun-{}", std::process::id()));
    let runs = pool.spawn(sign.clone(), |sign: std::path::PathBuf| {
        std::fs::write(sign, "").unwrap();
        spin_for_ever()
    });
    let queued: Task<()> = pool.spawn((), |()| ());
    // A worker that is killed before it has begun its task would pass it to the next worker.
    while !sign.exists() {
        std::thread::yield_now();
    }
    std::fs::remove_file(&sign).unwrap();
    while runs.state() != State::Running {
        std::thread::yield_now();
    }
    assert_eq!(queued.state(), State::New);
    for pid in pool.worker_pids() {
        let kill = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
        assert!(kill.unwrap().success());
    }
    let error = runs.join().map(|never: ()| never).unwrap_err();
    assert!(matches!(error.cause(), Cause::Signaled { signal: 9, .. }), "{error}");
    queued.join().unwrap();
}

#[test]
fn a_map_whose_caller_is_cancelled_cancels_what_is_under_way_and_ends() {
    fn endless(_: u64) {
        trine::time::sleep(std::time::Duration::MAX);
    }
    for unordered in [false, true] {
        let task = trine::coroutine::spawn(move || {
            let map = Kind::Coroutine.map(0.., endless).window(3);
            let ends: Vec<_> = if unordered { map.unordered().collect() } else { map.collect() };
            ends.into_iter().map(|end| end.unwrap_err()).collect::<Vec<_>>()
        });
        while task.state() != trine::State::Waiting {
            std::thread::yield_now();
        }
        let id = task.id();
        task.cancel();
        let errors = task.join().unwrap();
        assert_eq!(errors.len(), 1);
        assert!(errors[0].is_cancelled() && errors[0].task().unwrap().id == id);
        while trine::task::list().iter().any(|task| task.parent == Some(id)) {
            std::thread::yield_now();
        }
    }
}

#[test]
fn long_and_short_results_of_one_chunk_keep_their_places() {
    let pool = trine::process::Pool::new(2);
    let bytes = |n: u32| vec![n as u8; if n.is_multiple_of(3) { 20_000 } else { n as usize % 50 }];
    let results: Vec<Vec<u8>> = pool
        .map(0..3_000_u32, |n| {
            vec![n as u8; if n.is_multiple_of(3) { 20_000 } else { n as usize % 50 }]
        })
        .chunk(100)
        .collect::<Result<_, _>>()
        .unwrap();
    assert!((0..).zip(results).all(|(n, result)| result == bytes(n)));
}

#[test]
fn an_error_says_which_argument_it_had() {
    fn fails(n: usize) -> usize {
        if n % 70 == 3 { panic!("one of them") } else { n }
    }
    fn argument(result: Result<usize, TaskError>) -> usize {
        result.unwrap_or_else(|error| {
            assert!(error.is_panic(), "{error}");
            let n = error.argument().unwrap();
            assert_eq!(n % 70, 3);
            assert!(error.to_string().contains(&format!(", argument {n}, panicked")), "{error}");
            n
        })
    }
    for kind in Kind::ALL {
        let ordered: Vec<_> = kind.map(0..300, fails).map(argument).collect();
        assert!(ordered.into_iter().eq(0..300));
        let mut unordered: Vec<_> = kind.map(0..300, fails).unordered().map(argument).collect();
        unordered.sort_unstable();
        assert!(unordered.into_iter().eq(0..300));
        let chunked: Vec<_> = kind.map(0..300, fails).chunk(90).map(argument).collect();
        assert!(chunked.into_iter().eq(0..300));
        assert_eq!(kind.spawn(3, fails).join().unwrap_err().argument(), None);
    }
}
