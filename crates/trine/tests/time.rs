//! Waits for time: never early, in order, and forever where the caller asked for it.
//!
//! One carrier serves all tests here, so that the order of its wake-ups can be observed.

use std::cell::RefCell;
use std::future::poll_fn;
use std::panic;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use trine::time::{self, MissedTicks, interval, interval_at, sleep, sleep_until};
use trine::{State, Task, coroutine, future};

/// Spawns a coroutine on the one carrier.
fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    static ONE_CARRIER: OnceLock<()> = OnceLock::new();
    ONE_CARRIER.get_or_init(|| {
        trine::configure(|config| _ = config.carriers(1)).expect("every test spawns here");
    });
    coroutine::spawn(f)
}

/// Returns a waker of the calling task.
fn own_waker() -> Waker {
    future::block_on(poll_fn(|context| Poll::Ready(context.waker().clone())))
}

#[test]
fn no_sleep_ends_early_be_it_nanoseconds_or_milliseconds() {
    let all_in_time = || {
        for nanoseconds in [0, 1, 2, 63, 64, 65, 999, 4096, 50_000, 262_144, 1_000_000, 3_333_333] {
            let duration = Duration::from_nanos(nanoseconds);
            for _ in 0..5 {
                let begin = Instant::now();
                sleep(duration);
                assert!(begin.elapsed() >= duration, "{duration:?}");
                let deadline = Instant::now() + duration;
                sleep_until(deadline);
                assert!(Instant::now() >= deadline, "{duration:?}");
            }
        }
    };
    let tasks: Vec<_> = (0..20).map(|_| spawn(all_in_time)).collect();
    all_in_time();
    tasks.into_iter().for_each(|task| task.join().unwrap());
}

#[test]
fn sleeps_end_in_the_order_of_their_deadlines_and_of_their_begin() {
    const SLEEPERS: usize = 2000;
    // An attempt counts if all sleeps began before the first deadline.
    for attempt in 0.. {
        let ended = Arc::new(Mutex::new(Vec::new()));
        let first = Instant::now() + Duration::from_millis(20 << attempt);
        let tasks: Vec<_> = (0..SLEEPERS)
            .map(|n| {
                let ended = Arc::clone(&ended);
                // All orders of magnitude up to a millisecond, and many equal ones.
                let offset = Duration::from_nanos(1 << (n * 7 % 20));
                spawn(move || {
                    let began = Instant::now();
                    sleep_until(first + offset);
                    ended.lock().unwrap().push((offset, began));
                    began
                })
            })
            .collect();
        let began = tasks.into_iter().map(|task| task.join().unwrap()).max().unwrap();
        if began < first {
            let ended = ended.lock().unwrap();
            assert_eq!(ended.len(), SLEEPERS);
            assert!(ended.is_sorted(), "{ended:?}");
            return;
        }
    }
}

#[test]
fn a_sleep_that_is_woken_early_goes_on_sleeping() {
    let (tell, told) = mpsc::channel();
    let duration = Duration::from_millis(30);
    let task = spawn(move || {
        let begin = Instant::now();
        tell.send(own_waker()).unwrap();
        sleep(duration);
        begin.elapsed()
    });
    let waker = told.recv().unwrap();
    while !task.is_finished() {
        waker.wake_by_ref();
        std::thread::yield_now();
    }
    assert!(task.join().unwrap() >= duration);
}

#[test]
fn the_longest_sleep_waits_for_good_and_survives_wake_ups() {
    let (tell, told) = mpsc::channel();
    let durations =
        [Duration::MAX, Duration::from_secs(u64::MAX / 2), Duration::from_secs(1 << 40)];
    let tasks = durations.map(|duration| {
        let tell = tell.clone();
        spawn(move || {
            tell.send(own_waker()).unwrap();
            sleep(duration);
        })
    });
    let wakers: Vec<Waker> = told.iter().take(durations.len()).collect();
    for _ in 0..100 {
        wakers.iter().for_each(Waker::wake_by_ref);
        // This task runs after everything that the wake-ups have started.
        spawn(|| sleep(Duration::from_nanos(1))).join().unwrap();
    }
    for task in tasks {
        while task.state() != State::Waiting {
            std::thread::yield_now();
        }
        assert!(!task.is_finished());
    }
}

#[test]
fn deadlines_that_have_passed_let_the_others_run() {
    let flag = Arc::new(AtomicUsize::new(0));
    let past = Instant::now();
    let others: [fn(Instant); 3] = [
        sleep_until,
        |_| sleep(Duration::ZERO),
        // Makes up for all ticks since then.
        |past| _ = interval_at(past, Duration::from_micros(1)).take(3).count(),
    ];
    for (n, wait) in others.into_iter().enumerate() {
        let flag = Arc::clone(&flag);
        let waits = spawn({
            let flag = Arc::clone(&flag);
            move || {
                while flag.load(Relaxed) <= n {
                    wait(past);
                }
            }
        });
        spawn(move || flag.fetch_add(1, Relaxed)).join().unwrap();
        waits.join().unwrap();
    }
}

#[test]
fn ticks_are_at_the_times_laid_down_and_never_early() {
    let ticks = || {
        let period = Duration::from_micros(700);
        let start = Instant::now() + period;
        for (n, due) in interval_at(start, period).take(20).enumerate() {
            assert_eq!(due, start + period * n as u32);
            assert!(Instant::now() >= due);
        }
        let mut interval = interval(period);
        let first = interval.tick();
        // Three periods late: the interval makes up for them.
        sleep(period * 3);
        for n in 1..6 {
            assert_eq!(interval.tick(), first + period * n);
        }
    };
    let task = spawn(ticks);
    ticks();
    task.join().unwrap();
}

#[test]
fn missed_ticks_are_left_out_or_put_off_if_asked() {
    let period = Duration::from_millis(1);
    let mut skip = interval(period).missed_ticks(MissedTicks::Skip);
    let mut delay = interval(period).missed_ticks(MissedTicks::Delay);
    let (first, put_off) = (skip.tick(), delay.tick());
    sleep(period * 5);
    let late = Instant::now();
    // The tick that was due is taken late; those after it are on time.
    assert_eq!((skip.tick(), delay.tick()), (first + period, put_off + period));
    let (next_skip, next_delay) = (skip.tick(), delay.tick());
    assert!(next_skip > late && next_delay >= late + period);
    assert_eq!((next_skip - first).as_nanos() % period.as_nanos(), 0);
}

#[test]
#[should_panic(expected = "an interval needs a period above zero")]
fn an_interval_of_nothing_is_refused_with_what_to_do() {
    let _ = time::interval(Duration::ZERO);
}

#[test]
fn an_interval_of_ages_ticks_once() {
    let mut interval = interval(Duration::MAX);
    interval.tick();
    let task = spawn(move || interval.tick());
    while task.state() != State::Waiting {
        std::thread::yield_now();
    }
}

#[test]
fn limits_of_time_shields_and_scopes_hold_in_the_last_destructors_of_a_thread() {
    type Seen = [bool; 4];
    struct Last(RefCell<Option<mpsc::Sender<Seen>>>);
    impl Drop for Last {
        fn drop(&mut self) {
            // Ends by itself, so that a failure is no hang.
            let wait = || time::sleep(Duration::from_secs(3));
            let timed_out = time::timeout(Duration::from_millis(1), wait).is_err();
            let late = time::timeout(Duration::ZERO, trine::cancelled) == Ok(true);
            let shielded = time::timeout(Duration::ZERO, || {
                trine::shield(Duration::from_secs(60), trine::cancelled)
            });
            let begin = Instant::now();
            let scope = trine::scope(|s| {
                s.coroutine(|| panic::resume_unwind(Box::new("of a task of the scope")));
                wait();
            });
            let ended = scope.is_err() && begin.elapsed() < Duration::from_secs(3);
            let sender = self.0.take().unwrap();
            sender.send([timed_out, late, shielded == Ok(false), ended]).unwrap();
        }
    }
    thread_local! { static LAST: Last = const { Last(RefCell::new(None)) }; }
    for on_a_task in [false, true] {
        let (sender, receiver) = mpsc::channel();
        let work = move || {
            // Registered before the library's own, so destroyed after them.
            LAST.with(|last| *last.0.borrow_mut() = Some(sender));
            assert!(time::timeout(Duration::ZERO, || time::sleep(Duration::MAX)).is_err());
            trine::shield(Duration::from_secs(1), || time::sleep(Duration::ZERO));
        };
        if on_a_task {
            trine::thread::spawn(work).join().unwrap();
        } else {
            std::thread::spawn(work).join().unwrap();
        }
        let seen = receiver.recv().unwrap();
        assert_eq!(seen, [true; 4], "on a task: {on_a_task}");
    }
}
