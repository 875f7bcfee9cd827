//! Work on the threads of the pool: cancelled at every moment, panicking, in crowds.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Barrier, mpsc};

use super::*;
use crate::task::State as TaskState;
use crate::task::wait;
use crate::{Task, coroutine};

/// Occupies every thread of the pool until it is dropped. There is one at a time.
struct Full {
    gate: Arc<Barrier>,
    held: Vec<Task<()>>,
    _one: MutexGuard<'static, ()>,
}

static ONE: Mutex<()> = Mutex::new(());

impl Full {
    fn new() -> Full {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let max_threads = pool(Lane::Files).max_threads;
        let (gate, begun) =
            (Arc::new(Barrier::new(max_threads + 1)), Arc::new(Barrier::new(max_threads + 1)));
        let held = (0..max_threads)
            .map(|_| {
                let (gate, begun) = (Arc::clone(&gate), Arc::clone(&begun));
                let wait = move || {
                    begun.wait();
                    gate.wait();
                };
                coroutine::spawn(move || run(Lane::Files, wait).unwrap())
            })
            .collect();
        begun.wait();
        Full { gate, held, _one: one }
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        self.gate.wait();
        self.held.drain(..).for_each(|task| task.join().unwrap());
    }
}

fn until_it_waits<T>(task: &Task<T>) {
    while task.state() != TaskState::Waiting && !task.is_finished() {
        thread::yield_now();
    }
}

/// Counts its living values.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Counted {
        count.fetch_add(1, SeqCst);
        Counted(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

fn is_cancellation(error: &io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<Interrupted>()).is_some()
}

#[test]
fn a_plain_thread_calls_the_work_itself() {
    let own = thread::current().id();
    assert_eq!(run(Lane::Files, || thread::current().id()).unwrap(), own);
    assert_eq!(detached(Lane::Files, || thread::current().id()).unwrap(), own);
}

#[test]
fn work_borrows_from_its_caller_and_runs_elsewhere() {
    let task = coroutine::spawn(|| {
        let own = thread::current().id();
        let mut words = vec![String::from("one")];
        let there = run(Lane::Files, || {
            words.push("two".into());
            thread::current().id()
        });
        assert_ne!(there.unwrap(), own);
        assert_ne!(detached(Lane::Files, || thread::current().id()).unwrap(), own);
        words
    });
    assert_eq!(task.join().unwrap(), ["one", "two"]);
}

#[test]
fn ten_thousand_jobs_of_a_thousand_coroutines() {
    let tasks: Vec<_> = (0..1000_usize)
        .map(|n| {
            coroutine::spawn(move || {
                let mut sum = 0;
                for round in 0..10 {
                    if round % 2 == 0 {
                        run(Lane::Files, || sum += n).unwrap();
                    } else {
                        sum += detached(Lane::Files, move || n).unwrap();
                    }
                }
                sum
            })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), 10 * n);
    }
    assert!(pool(Lane::Files).lock().threads <= pool(Lane::Files).max_threads);
}

#[test]
fn a_panic_goes_on_in_the_caller_and_leaves_the_thread_whole() {
    for _ in 0..100 {
        let a = coroutine::spawn(|| run(Lane::Files, || panic!("borrowed")));
        let b = coroutine::spawn(|| detached(Lane::Files, || -> u8 { panic!("detached") }));
        assert!(a.join().unwrap_err().is_panic());
        assert!(b.join().unwrap_err().is_panic());
    }
    assert_eq!(coroutine::spawn(|| run(Lane::Files, || 7).unwrap()).join().unwrap(), 7);
}

#[test]
fn work_that_has_not_begun_is_withdrawn() {
    let full = Full::new();
    for round in 0..300 {
        let (count, calls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (owned, called) = (Counted::new(&count), Arc::clone(&calls));
        let work = move || {
            called.fetch_add(1, SeqCst);
            drop(owned);
        };
        let task = coroutine::spawn(move || {
            if round % 2 == 0 { run(Lane::Files, work) } else { detached(Lane::Files, work) }
        });
        until_it_waits(&task);
        task.cancel();
        // The task may end with its error or as cancelled; both report the cancellation.
        let error = match task.join() {
            Ok(done) => done.unwrap_err(),
            Err(error) => {
                assert!(error.is_cancelled());
                continue;
            }
        };
        assert!(is_cancellation(&error));
        assert_eq!((count.load(SeqCst), calls.load(SeqCst)), (0, 0));
    }
    drop(full);
}

#[test]
fn borrowed_work_that_has_begun_is_waited_for() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..300 {
        let (begun, begins) = mpsc::channel();
        let (go_on, goes_on) = mpsc::channel::<()>();
        let task = coroutine::spawn(move || {
            let mut local = 0;
            let (here, goes_on) = (&mut local, goes_on);
            let called = run(Lane::Files, move || {
                begun.send(()).unwrap();
                goes_on.recv().unwrap();
                *here = 7;
                "done"
            });
            (called.unwrap(), local, crate::cancelled())
        });
        begins.recv().unwrap();
        task.cancel();
        go_on.send(()).unwrap();
        assert_eq!(task.join().unwrap(), ("done", 7, true));
    }
}

#[test]
fn detached_work_that_has_begun_is_left_and_its_value_dropped() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..300 {
        let count = Arc::new(AtomicUsize::new(0));
        let (begun, begins) = mpsc::channel();
        let (go_on, goes_on) = mpsc::channel::<()>();
        let value = Arc::clone(&count);
        let task = coroutine::spawn(move || {
            detached(Lane::Files, move || {
                begun.send(()).unwrap();
                goes_on.recv().unwrap();
                Counted::new(&value)
            })
            .map(drop)
        });
        begins.recv().unwrap();
        task.cancel();
        // The task ends though its work has not.
        assert!(is_cancellation(&task.join().unwrap().unwrap_err()));
        go_on.send(()).unwrap();
        while Arc::strong_count(&count) > 1 {
            thread::yield_now();
        }
        assert_eq!(count.load(SeqCst), 0);
    }
}

#[test]
fn whenever_it_is_cancelled_it_ends_once_and_nothing_is_left() {
    let (count, calls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut completed = 0;
    for round in 0..2000_usize {
        let (owned, value, calls) = (Counted::new(&count), Arc::clone(&count), Arc::clone(&calls));
        let task = coroutine::spawn(move || {
            let work = move || {
                calls.fetch_add(1, SeqCst);
                drop(owned);
                Counted::new(&value)
            };
            let done =
                if round % 2 == 0 { run(Lane::Files, work) } else { detached(Lane::Files, work) };
            done.map(drop).is_ok()
        });
        for _ in 0..round % 64 {
            std::hint::spin_loop();
        }
        if round % 7 == 0 {
            until_it_waits(&task);
        }
        task.cancel();
        completed += usize::from(task.join().unwrap_or(false));
    }
    while Arc::strong_count(&count) > 1 {
        thread::yield_now();
    }
    assert_eq!(count.load(SeqCst), 0);
    assert!(calls.load(SeqCst) >= completed);
}

#[test]
fn numbers_find_their_work_among_gaps() {
    // SAFETY: never called.
    unsafe fn nothing(_: *const (), _: Option<&io::Error>) {}
    let entry = || Entry { job: std::ptr::null(), settle: nothing };
    let mut state = State::default();
    let numbers: Vec<u64> = (0..6).map(|_| state.push(entry())).collect();
    assert!(state.pop().is_some());
    assert!(!state.remove(numbers[0]), "it has begun");
    assert!(state.remove(numbers[3]));
    assert!(state.remove(numbers[5]));
    assert_eq!((state.waiting, state.queue.len()), (3, 4));
    assert!(state.remove(numbers[1]) && state.remove(numbers[2]));
    assert_eq!((state.waiting, state.queue.len(), state.first), (1, 1, numbers[4]));
    assert_eq!(state.push(entry()), numbers[5], "a number at the end is used again");
    assert!(state.pop().is_some() && state.pop().is_some() && state.pop().is_none());
    assert_eq!(state.waiting, 0);
}

#[test]
fn without_any_thread_the_whole_queue_is_refused() {
    let pool = Pool::new(1, KEEP_ALIVE);
    pool.lock().threads = 1;
    let jobs: Vec<_> = (0..3)
        .map(|n| {
            let outcome = Outcome::new();
            let job = Arc::new(Detached { work: UnsafeCell::new(Some(move || n)), outcome });
            pool.submit(Detached::entry(Arc::clone(&job)));
            job
        })
        .collect();
    pool.refuse_without_threads(&io::Error::from_raw_os_error(11));
    for job in jobs {
        assert_eq!(Arc::strong_count(&job), 1);
        // SAFETY: the one consumer.
        let end = unsafe { job.outcome.take() }.unwrap().unwrap();
        let text = end.unwrap_err().to_string();
        assert!(text.contains("the system refused another thread"), "{text}");
        assert!(text.contains("limit") || text.contains("pids.max"), "{text}");
    }
}

#[test]
fn threads_end_when_there_is_no_work_and_come_back_with_it() {
    let pool = Pool::new(4, Duration::from_millis(1));
    for round in 0..50 {
        let jobs: Vec<_> = (0..round % 9)
            .map(|n| {
                let outcome = Outcome::new();
                let job = Arc::new(Detached { work: UnsafeCell::new(Some(move || n)), outcome });
                pool.submit(Detached::entry(Arc::clone(&job)));
                job
            })
            .collect();
        for (n, job) in jobs.into_iter().enumerate() {
            // SAFETY: the one consumer.
            let end = unsafe {
                job.outcome.wait(None, wait::for_wake).unwrap();
                job.outcome.take().unwrap().unwrap()
            };
            assert_eq!(end.unwrap().unwrap(), n);
        }
        while pool.lock().threads > 0 {
            thread::yield_now();
        }
        assert_eq!(pool.lock().idle, 0);
    }
}

/// Work that ends when `gate` is opened.
fn wait_for(gate: &Arc<(Mutex<bool>, Condvar)>) -> impl FnOnce() + Send + use<> {
    let gate = Arc::clone(gate);
    move || {
        let closed = gate.0.lock().unwrap();
        drop(gate.1.wait_while(closed, |open| !*open).unwrap());
    }
}

#[test]
fn a_lane_whose_threads_all_sleep_holds_up_no_other() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let lanes = [Lane::Files, Lane::Names, Lane::Leases];
    for full in lanes {
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let sleepers: Vec<_> = (0..2 * full.max_threads())
            .map(|_| {
                let work = wait_for(&gate);
                coroutine::spawn(move || run(full, work).unwrap())
            })
            .collect();
        // Every thread of the lane has work, and there is more.
        while pool(full).lock().waiting != full.max_threads() {
            thread::yield_now();
        }
        for other in lanes.into_iter().filter(|other| *other != full) {
            let quick = coroutine::spawn(move || {
                (run(other, || 1).unwrap(), detached(other, || 2).unwrap())
            });
            assert_eq!(quick.join().unwrap(), (1, 2), "{other:?} beside {full:?}");
        }
        assert!(sleepers.iter().all(|sleeper| !sleeper.is_finished()));
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
    }
}

#[test]
fn a_place_has_one_thread_and_is_forgotten_with_it() {
    let [reads, writes] = [false, true].map(|writes| Place { file: [1, 2, 3], writes });
    let known = pool_at(reads);
    assert!(Arc::ptr_eq(&known, &pool_at(reads)) && !Arc::ptr_eq(&known, &pool_at(writes)));
    assert_eq!(known.max_threads, 1);
    let threads: Vec<_> = (0..8)
        .map(|_| coroutine::spawn(move || run_at(reads, || thread::current().id()).unwrap()))
        .map(|task| task.join().unwrap())
        .collect();
    assert!(threads.iter().all(|thread| *thread == threads[0]));
    let gone = Arc::downgrade(&pool_at(writes));
    assert!(gone.upgrade().is_none(), "it has neither a caller nor a thread");
}
