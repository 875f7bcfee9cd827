//! Maps of a scope: closures that borrow, lazy and bounded, each result with its item.

use std::collections::BTreeSet;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::time::Duration;

use trine::sync::Event;
use trine::{Scope, ScopedMap, TaskError, coroutine, scope, supervise, thread, time};

use super::{FOR_GOOD, Notes, anywhere};
use crate::common::waiting::until;

/// Makes a map of either kind.
fn map<'scope, 'env, I, F, R>(
    s: &'scope Scope<'scope, 'env>,
    on_threads: bool,
    items: I,
    at_once: usize,
    f: F,
) -> ScopedMap<'scope, I::IntoIter, F, R>
where
    I: IntoIterator,
    I::Item: Send + 'scope,
    F: Fn(I::Item) -> R + Send + Sync + 'scope,
    R: Send + 'scope,
{
    if on_threads { s.map_on_threads(items, at_once, f) } else { s.map(items, at_once, f) }
}

#[test]
fn a_map_s_closure_borrows_and_the_results_keep_the_order_of_the_items() {
    anywhere(|| {
        for on_threads in [false, true] {
            let words: Vec<String> = (0..30).map(|n| "x".repeat(n)).collect();
            let (seen, factor) = (Mutex::new(BTreeSet::new()), 2);
            let lengths = scope(|s| {
                let lengths = map(s, on_threads, &words, 4, |word| {
                    // The first of each three takes longest.
                    time::sleep(Duration::from_micros(100 * (3 - word.len() as u64 % 3)));
                    seen.lock().unwrap().insert(word.as_str());
                    factor * word.len()
                });
                lengths.collect::<Result<Vec<_>, _>>()
            });
            assert!(lengths.unwrap().unwrap().into_iter().eq((0..60).step_by(2)));
            assert_eq!(seen.into_inner().unwrap().len(), 30);
        }
    });
}

#[test]
fn a_map_takes_an_item_only_when_there_is_room() {
    const AT_ONCE: usize = 3;
    anywhere(|| {
        for (on_threads, unordered) in [(false, false), (false, true), (true, false), (true, true)]
        {
            let (taken, running, most) =
                (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
            scope(|s| {
                let endless = (0_usize..).inspect(|_| _ = taken.fetch_add(1, Relaxed));
                let results = map(s, on_threads, endless, AT_ONCE, |n| {
                    most.fetch_max(running.fetch_add(1, AcqRel) + 1, AcqRel);
                    coroutine::yield_now();
                    running.fetch_sub(1, AcqRel);
                    n
                });
                assert_eq!(taken.load(Relaxed), 0, "it has begun before it was iterated");
                let check = |yielded: usize| assert!(taken.load(Relaxed) <= yielded + AT_ONCE);
                if unordered {
                    for (yielded, (index, n)) in results.unordered().take(50).enumerate() {
                        assert_eq!(n.unwrap(), index);
                        check(yielded);
                    }
                } else {
                    for (yielded, n) in results.take(50).enumerate() {
                        assert_eq!(n.unwrap(), yielded);
                        check(yielded);
                    }
                }
            })
            .unwrap();
            assert!(most.load(Acquire) <= AT_ONCE);
        }
    });
}

#[test]
fn an_unordered_map_gives_the_quick_ones_first_with_their_indices() {
    anywhere(|| {
        for on_threads in [false, true] {
            let last = Event::new();
            let order = scope(|s| {
                let results = map(s, on_threads, 0..10_usize, 3, |n| {
                    if n == 4 {
                        last.wait();
                    }
                    10 * n
                });
                let mut order = Vec::new();
                for (index, value) in results.unordered() {
                    assert_eq!(value.unwrap(), 10 * index);
                    order.push(index);
                    if order.len() == 9 {
                        last.set();
                    }
                }
                order
            });
            let mut order = order.unwrap();
            assert_eq!(order.last(), Some(&4));
            order.sort_unstable();
            assert!(order.into_iter().eq(0..10));
        }
    });
}

#[test]
fn a_failed_item_is_a_failure_of_its_scope_with_its_index() {
    anywhere(|| {
        for on_threads in [false, true] {
            let ended = supervise(|s| {
                let fails =
                    |n: usize| if n % 3 == 1 { panic::resume_unwind(Box::new(n)) } else { n };
                let ordered: Vec<_> = map(s, on_threads, 0..10, 4, fails).collect();
                for (index, result) in map(s, on_threads, 0..10, 4, fails).unordered() {
                    assert_eq!(result.as_ref().ok(), ordered[index].as_ref().ok());
                    assert_eq!(
                        result.err().map(|error| error.argument()),
                        (index % 3 == 1).then_some(Some(index))
                    );
                }
                assert!(!s.is_cancelled());
                ordered
            });
            assert_eq!(ended.failed, 6);
            let mut failed: Vec<_> = ended.failures.iter().map(TaskError::argument).collect();
            failed.sort_unstable();
            assert_eq!(failed, [1, 1, 4, 4, 7, 7].map(Some));
            for (n, result) in ended.value.unwrap().into_iter().enumerate() {
                match result {
                    Ok(value) => assert!(value == n && n % 3 != 1),
                    Err(error) => assert!(error.is_panic() && error.argument() == Some(n)),
                }
            }
        }
    });
}

#[test]
fn the_first_failure_of_an_item_ends_the_map_and_its_scope() {
    anywhere(|| {
        for (on_threads, unordered) in [(false, false), (false, true), (true, false), (true, true)]
        {
            let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let error = scope(|s| {
                s.coroutine(|| time::sleep(FOR_GOOD));
                let results = map(s, on_threads, 0.., 3, |n| {
                    begun.fetch_add(1, Release);
                    let _notes = Notes(&ended);
                    if n == 5 {
                        panic::resume_unwind(Box::new("number five"));
                    }
                    if n > 5 {
                        time::sleep(FOR_GOOD);
                    }
                });
                // Endless, unless the failure ends it.
                if unordered { results.unordered().count() } else { results.count() }
            });
            let error = error.unwrap_err();
            assert!(error.is_panic() && error.argument() == Some(5), "{error:?}");
            assert_eq!(*error.into_panic().unwrap().downcast::<&str>().unwrap(), "number five");
            assert_eq!(begun.load(Acquire), ended.load(Acquire));
        }
    });
}

#[test]
fn a_dropped_map_cancels_the_rest_and_the_scope_waits_for_it() {
    anywhere(|| {
        for (on_threads, unordered) in [(false, false), (false, true), (true, false), (true, true)]
        {
            let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let first = scope(|s| {
                let mut results = map(s, on_threads, 0.., 5, |n| {
                    if n == 0 {
                        return n;
                    }
                    begun.fetch_add(1, Release);
                    let _notes = Notes(&ended);
                    time::sleep(FOR_GOOD);
                    n
                });
                let first = if unordered {
                    results.unordered().next().unwrap().1
                } else {
                    let first = results.next().unwrap();
                    until(|| begun.load(Acquire) == 4);
                    drop(results);
                    first
                };
                assert!(!s.is_cancelled());
                first
            });
            assert_eq!(first.unwrap().unwrap(), 0);
            assert_eq!(ended.load(Acquire), begun.load(Acquire));
        }
    });
}

#[test]
fn values_that_a_dropped_map_has_not_yielded_are_dropped_before_the_scope_ends() {
    anywhere(|| {
        for on_threads in [false, true] {
            let (made, dropped) = (AtomicUsize::new(0), AtomicUsize::new(0));
            scope(|s| {
                let mut results = map(s, on_threads, 0..100, 20, |_| {
                    made.fetch_add(1, Release);
                    Notes(&dropped)
                });
                drop(results.next());
            })
            .unwrap();
            assert_eq!(dropped.load(Acquire), made.load(Acquire));
        }
    });
}

#[test]
fn a_scope_waits_for_the_tasks_of_a_map_that_was_forgotten() {
    let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    scope(|s| {
        let mut results = s.map(0..4, 4, |n| {
            begun.fetch_add(1, Release);
            let _notes = Notes(&ended);
            if n > 0 {
                until(|| begun.load(Acquire) == 4);
                time::sleep(Duration::from_millis(1));
            }
        });
        results.next().unwrap().unwrap();
        mem::forget(results);
    })
    .unwrap();
    assert_eq!((begun.load(Acquire), ended.load(Acquire)), (4, 4));
}

#[test]
fn a_panic_of_the_items_iterator_ends_the_map_or_is_caught() {
    anywhere(|| {
        for on_threads in [false, true] {
            let items = || {
                (0..6).inspect(|n| {
                    if *n == 3 {
                        panic::resume_unwind(Box::new("no more items"));
                    }
                })
            };
            let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let caught = panic::catch_unwind(AssertUnwindSafe(|| {
                scope(|s| {
                    map(s, on_threads, items(), 9, |_| {
                        begun.fetch_add(1, Release);
                        let _notes = Notes(&ended);
                        time::sleep(FOR_GOOD);
                    })
                    .count()
                })
            }));
            assert_eq!(*caught.unwrap_err().downcast::<&str>().unwrap(), "no more items");
            assert_eq!(ended.load(Acquire), begun.load(Acquire));
            // A caller that catches it goes on with the items after that.
            let values = scope(|s| {
                let mut results = map(s, on_threads, items(), 2, |n| 10 * n);
                let mut step = || panic::catch_unwind(AssertUnwindSafe(|| results.next()));
                let steps: Vec<_> = (0..7).map(|_| step().ok().flatten()).collect();
                steps.into_iter().map(|step| step.map(Result::unwrap)).collect::<Vec<_>>()
            });
            // The second call has two items under way when the iterator panics.
            let expected = [Some(0), Some(10), None, Some(20), Some(40), Some(50), None];
            let mut values = values.unwrap();
            values.sort_unstable();
            let mut sorted = expected;
            sorted.sort_unstable();
            assert_eq!(values, sorted);
        }
    });
}

#[test]
fn a_cancelled_scope_ends_an_endless_map() {
    anywhere(|| {
        for (on_threads, unordered) in [(false, false), (false, true), (true, false), (true, true)]
        {
            let results: Result<Vec<_>, _> = scope(|s| {
                let results = map(s, on_threads, 0.., 4, |n| {
                    if n == 10 {
                        s.cancel_because("enough");
                    }
                });
                if unordered {
                    results.unordered().map(|(_, result)| result).collect()
                } else {
                    results.collect()
                }
            });
            let failed: Vec<TaskError> =
                results.unwrap().into_iter().filter_map(Result::err).collect();
            // Those under way, and the next.
            assert!((1..=5).contains(&failed.len()), "{failed:?}");
            assert!(failed.iter().all(|error| error.to_string().ends_with("enough")), "{failed:?}");
        }
    });
}

#[test]
fn a_failure_of_another_task_ends_the_wait_for_a_map() {
    anywhere(|| {
        for on_threads in [false, true] {
            let yielded = AtomicUsize::new(0);
            let error = scope(|s| {
                let mut results =
                    map(s, on_threads, 0.., 3, |_| time::sleep(FOR_GOOD)).map(|end| {
                        yielded.fetch_add(1, Relaxed);
                        end.unwrap_err()
                    });
                s.thread(|| panic::resume_unwind(Box::new("elsewhere")));
                assert!(results.all(|error| error.is_cancelled()));
                assert!(results.next().is_none());
            });
            assert!(error.unwrap_err().is_panic());
            // Those under way, and one that is refused.
            assert!((1..=4).contains(&yielded.load(Relaxed)));
        }
    });
}

#[test]
fn a_map_whose_caller_is_interrupted_yields_that_once_and_ends() {
    for unordered in [false, true] {
        let caller = move || {
            scope(|s| {
                let results = s.map(0.., 3, |_| time::sleep(FOR_GOOD));
                let ends: Vec<_> = if unordered {
                    results.unordered().collect()
                } else {
                    results.enumerate().collect()
                };
                ends.into_iter().map(|(at, end)| (at, end.unwrap_err())).collect::<Vec<_>>()
            })
        };
        for task in [coroutine::spawn(caller), thread::spawn(caller)] {
            until(|| task.state() == trine::State::Waiting);
            let id = task.id();
            task.cancel_because("no time");
            let ends = match task.join().unwrap() {
                // All tasks were cancelled, so the scope has no value but the caller's error.
                Err(error) => {
                    assert!(error.is_cancelled(), "{error}");
                    continue;
                }
                Ok(ends) => ends,
            };
            assert_eq!(ends.len(), 1);
            assert!(ends[0].0 == 0 && ends[0].1.task().unwrap().id == id, "{ends:?}");
        }
    }
    anywhere(|| {
        let _ = time::timeout(Duration::from_millis(1), || {
            scope(|s| {
                let ends = s.map(0.., 3, |_| time::sleep(FOR_GOOD)).collect::<Vec<_>>();
                assert!(ends.iter().all(|end| end.as_ref().unwrap_err().is_timeout()), "{ends:?}");
            })
        });
    });
}

#[test]
fn maps_nest_and_run_in_tasks_of_their_scope() {
    anywhere(|| {
        let sum = AtomicUsize::new(0);
        scope(|s| {
            let rows = s.map(0..5_usize, 2, |row| {
                let cells =
                    s.map_on_threads(0..4_usize, 2, |cell| sum.fetch_add(10, Relaxed) + cell);
                let row_of = scope(|inner| inner.map(0..row, 3, |n| n).map(Result::unwrap).sum());
                (cells.map(Result::unwrap).count(), row_of.unwrap())
            });
            let counted = s.thread(move || rows.map(Result::unwrap).collect::<Vec<_>>());
            assert_eq!(counted.join().unwrap(), [(4, 0_usize), (4, 0), (4, 1), (4, 3), (4, 6)]);
        })
        .unwrap();
        assert_eq!(sum.into_inner(), 200);
    });
}

#[test]
fn a_map_of_a_hundred_thousand_items_runs_them_all() {
    let sum = scope(|s| s.map(0..100_000_u64, 1_000, |n| n).map(Result::unwrap).sum::<u64>());
    assert_eq!(sum.unwrap(), 4_999_950_000);
}

#[test]
#[should_panic(expected = "no task under way would never end")]
fn a_map_of_nothing_at_once_is_refused() {
    let _ = scope(|s| drop(s.map(0..1, 0, |n| n)));
}
