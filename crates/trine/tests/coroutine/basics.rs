//! Coroutines: spawning, joining from everywhere, waiting, panics.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::waiting::until_waiting;
use crate::common::{alone, role};
use trine::sync::{Event, channel};
use trine::{Cause, Kind, State, coroutine, task, thread, time};

#[test]
fn a_coroutine_is_joined_from_main_a_thread_and_a_coroutine() {
    assert_eq!(coroutine::spawn(|| 1).join().unwrap(), 1);
    let task = coroutine::spawn(|| 2);
    assert_eq!(std::thread::spawn(|| task.join().unwrap()).join().unwrap(), 2);
    let task = coroutine::spawn(|| coroutine::spawn(|| 3).join().unwrap());
    assert_eq!(task.join().unwrap(), 3);
    let task = thread::spawn(|| coroutine::spawn(|| 4).join().unwrap());
    assert_eq!(task.join().unwrap(), 4);
    let task = coroutine::spawn(|| thread::spawn(|| 5).join().unwrap());
    assert_eq!(task.join().unwrap(), 5);
}

#[test]
fn a_hundred_thousand_sleep_wake_count_and_are_joined() {
    let counter = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..100_000_usize)
        .map(|n| {
            let counter = Arc::clone(&counter);
            coroutine::spawn(move || {
                time::sleep(Duration::from_millis(10 + n as u64 % 50));
                counter.fetch_add(1, Ordering::Relaxed);
                n
            })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), n);
    }
    assert_eq!(counter.load(Ordering::Relaxed), 100_000);
}

#[test]
fn a_coroutine_stays_on_its_thread_so_thread_bound_values_live_across_waits() {
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            coroutine::spawn(move || {
                let shared = Rc::new(Cell::new(0));
                let home = std::thread::current().id();
                for step in 0..20 {
                    shared.set(shared.get() + 1);
                    if (n + step) % 5 == 0 {
                        time::sleep(Duration::from_micros(50));
                    } else {
                        coroutine::yield_now();
                    }
                    assert_eq!(std::thread::current().id(), home);
                }
                shared.get()
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.join().unwrap(), 20);
    }
}

#[test]
fn yields_let_the_other_coroutines_of_the_carrier_run() {
    // A parent and its children share a carrier unless a child is stolen. Either way all make
    // progress.
    let order = coroutine::spawn(|| {
        let turns = Arc::new(AtomicUsize::new(0));
        let children: Vec<_> = (0..2)
            .map(|_| {
                let turns = Arc::clone(&turns);
                coroutine::spawn(move || {
                    for _ in 0..1000 {
                        turns.fetch_add(1, Ordering::Relaxed);
                        coroutine::yield_now();
                    }
                })
            })
            .collect();
        while turns.load(Ordering::Relaxed) < 2000 {
            coroutine::yield_now();
        }
        children.into_iter().for_each(|child| child.join().unwrap());
        turns.load(Ordering::Relaxed)
    });
    assert_eq!(order.join().unwrap(), 2000);
}

#[test]
fn a_panic_ends_one_coroutine_with_message_place_and_backtrace() {
    fn fails_on_purpose() -> u32 {
        panic!("no luck with {}", std::hint::black_box(13))
    }
    let task = coroutine::Builder::new().name("unlucky").spawn(fails_on_purpose);
    let id = task.id();
    let error = task.join().unwrap_err();
    assert!(error.is_panic() && !error.is_crash());
    let info = error.task().unwrap();
    assert_eq!((info.id, info.kind, info.name.as_deref()), (id, Kind::Coroutine, Some("unlucky")));
    let Cause::Panicked { message, location, backtrace, .. } = error.cause() else { panic!() };
    assert_eq!(message, "no luck with 13");
    assert!(location.as_ref().unwrap().file.ends_with("basics.rs"));
    assert!(backtrace.to_string().contains("fails_on_purpose"), "{backtrace}");
    assert!(error.to_string().contains("coroutine `unlucky`"), "{error}");
    let payload = error.into_panic().unwrap();
    assert_eq!(payload.downcast_ref::<String>().unwrap(), "no luck with 13");
}

#[test]
fn a_payload_that_is_no_string_comes_back_whole() {
    let task = coroutine::spawn(|| std::panic::panic_any(42_u8));
    let payload = task.join().unwrap_err().into_panic().unwrap();
    assert_eq!(*payload.downcast::<u8>().unwrap(), 42);
}

#[test]
fn join_timeout_gives_the_handle_back_until_the_task_has_ended() {
    let (send, receive) = std::sync::mpsc::channel::<u32>();
    // A thread may block on a channel of std.
    let task = thread::spawn(move || receive.recv().unwrap());
    let waits = coroutine::spawn(move || {
        let begin = Instant::now();
        let task = task.join_timeout(Duration::from_millis(5)).unwrap_err();
        assert!(begin.elapsed() >= Duration::from_millis(5));
        send.send(9).unwrap();
        task.join_timeout(Duration::MAX).unwrap().unwrap()
    });
    assert_eq!(waits.join().unwrap(), 9);
}

#[test]
fn states_and_the_registry_tell_the_truth() {
    let gate = thread::spawn(std::thread::park);
    let gate_id = gate.id();
    let waits = coroutine::Builder::new().name("gatekeeper").spawn(move || gate.join().unwrap());
    while waits.state() != State::Waiting {
        std::thread::yield_now();
    }
    let listed = task::list();
    let found = listed.iter().find(|info| info.id == waits.id()).unwrap();
    assert_eq!(found.name.as_deref(), Some("gatekeeper"));
    assert_eq!((found.kind, found.state), (Kind::Coroutine, State::Waiting));
    assert!(listed.iter().any(|info| info.id == gate_id && info.kind == Kind::Thread));
    let parent = coroutine::spawn(|| coroutine::spawn(|| task::current().unwrap().parent).join());
    let parent_id = parent.id();
    assert_eq!(parent.join().unwrap().unwrap(), Some(parent_id));
    let seen = coroutine::spawn(|| task::current().unwrap().state).join().unwrap();
    assert_eq!(seen, State::Running);
    // The gate's thread waits in `std::thread::park`, and its handle for `unpark` is out of reach.
    // It stays, as detached threads do.
    drop(waits);
}

#[test]
fn an_unwanted_value_is_dropped_on_the_task_and_may_wait_and_panic() {
    struct Loud(Arc<AtomicUsize>);
    impl Drop for Loud {
        fn drop(&mut self) {
            time::sleep(Duration::from_millis(1));
            if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
                panic!("a destructor that panics");
            }
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    for _ in 0..50 {
        let loud = Loud(Arc::clone(&dropped));
        drop(coroutine::spawn(move || loud));
    }
    while dropped.load(Ordering::SeqCst) < 50 {
        time::sleep(Duration::from_millis(1));
    }
    // The carriers still work.
    assert_eq!(coroutine::spawn(|| 5).join().unwrap(), 5);
}

#[test]
fn a_big_stack_of_its_own_holds_deep_recursion() {
    fn depth(n: u64) -> u64 {
        let ballast = std::hint::black_box([n; 64]);
        if n == 0 { 0 } else { 1 + depth(n - 1) + ballast[1] - n }
    }
    let builder = coroutine::Builder::new().stack_size(64 << 20);
    assert_eq!(builder.spawn(|| depth(20_000)).join().unwrap(), 20_000);
}

#[test]
fn many_threads_spawn_and_join_at_once() {
    let threads: Vec<_> = (0..4_u64)
        .map(|t| {
            std::thread::spawn(move || {
                (0..5_000).map(|n| coroutine::spawn(move || n + t).join().unwrap()).sum::<u64>()
            })
        })
        .collect();
    for (t, thread) in threads.into_iter().enumerate() {
        assert_eq!(thread.join().unwrap(), 12_497_500 + 5_000 * t as u64);
    }
}

#[test]
fn a_wait_in_a_destructor_during_a_panic_lets_the_others_run() {
    struct Patient(Option<trine::Task<u32>>, Arc<AtomicUsize>);
    impl Drop for Patient {
        fn drop(&mut self) {
            assert!(std::thread::panicking());
            // The other task may be on the same carrier, where it has to run.
            let value = self.0.take().unwrap().join().unwrap();
            self.1.store(value as usize, Ordering::SeqCst);
        }
    }
    for _ in 0..20 {
        let seen = Arc::new(AtomicUsize::new(0));
        let note = Arc::clone(&seen);
        let parent = coroutine::spawn(move || {
            let other = coroutine::spawn(|| {
                for _ in 0..5 {
                    coroutine::yield_now();
                }
                // A panic that another task catches meanwhile does not affect this one.
                let caught = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(1_u8)));
                caught.map(|()| 0).unwrap_or(77)
            });
            let _patient = Patient(Some(other), note);
            panic!("with something to wait for");
        });
        let error = parent.join().unwrap_err();
        assert!(error.is_panic() && error.to_string().contains("something to wait for"), "{error}");
        assert_eq!(seen.load(Ordering::SeqCst), 77);
    }
    // The carriers' panic counts are zero again.
    let calm = (0..100).map(|_| coroutine::spawn(std::thread::panicking));
    assert!(calm.collect::<Vec<_>>().into_iter().all(|task| !task.join().unwrap()));
}

#[test]
fn trees_of_tasks_that_join_detach_time_out_and_panic_end_and_leave_nothing() {
    static ALIVE: AtomicUsize = AtomicUsize::new(0);
    struct Counted;
    impl Counted {
        fn new() -> Counted {
            ALIVE.fetch_add(1, Ordering::SeqCst);
            Counted
        }
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            ALIVE.fetch_sub(1, Ordering::SeqCst);
        }
    }
    /// Chooses one of `n` ways to go on (xorshift; Marsaglia, 2003).
    fn choose(state: &mut u64, n: u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state % n
    }
    fn tree(depth: u32, mut seed: u64) -> Counted {
        let branches = if depth == 0 { 0 } else { choose(&mut seed, 4) };
        let tasks: Vec<_> = (0..branches)
            .map(|n| {
                let (owned, seed) = (Counted::new(), (seed ^ (n << 40)) | 1);
                let branch = move || {
                    let _owned = owned;
                    tree(depth - 1, seed)
                };
                match choose(&mut seed.clone(), 16) {
                    0 => thread::spawn(branch),
                    _ => coroutine::spawn(branch),
                }
            })
            .collect();
        match choose(&mut seed, 4) {
            0 => time::sleep(Duration::from_micros(choose(&mut seed, 100))),
            1 => (0..choose(&mut seed, 50)).for_each(|_| coroutine::yield_now()),
            2 if choose(&mut seed, 20) == 0 => std::panic::resume_unwind(Box::new(Counted::new())),
            _ => {}
        }
        for mut task in tasks {
            match choose(&mut seed, 3) {
                0 => drop(task),
                1 => drop(task.join()),
                _ => {
                    while let Err(again) = task.join_timeout(Duration::from_micros(20)) {
                        task = again;
                    }
                }
            }
        }
        Counted::new()
    }
    let trees: Vec<_> = (1..=400_u64)
        .map(|n| coroutine::spawn(move || tree(6, n.wrapping_mul(0x9e37_79b9_7f4a_7c15))))
        .collect();
    for tree in trees {
        drop(tree.join_timeout(Duration::from_secs(60)).expect("no wake-up is lost"));
    }
    while ALIVE.load(Ordering::SeqCst) > 0 {
        time::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_coroutine_that_polls_with_no_patience_lets_the_polled_one_run() {
    let polls = coroutine::spawn(|| {
        let mut child = coroutine::spawn(|| 7);
        loop {
            match child.join_timeout(Duration::ZERO) {
                Ok(value) => break value.unwrap(),
                Err(again) => child = again,
            }
        }
    });
    let value = polls.join_timeout(Duration::from_secs(30)).expect("the child gets its turn");
    assert_eq!(value.unwrap(), 7);
}

unsafe extern "C" {
    fn fesetround(mode: i32) -> i32;
    fn fegetround() -> i32;
}

/// Sets the rounding of the calling thread, as C code does, which returns with it set.
fn set_rounding(mode: i32) {
    // SAFETY: changes how numbers are rounded. The test computes none until it is set back.
    assert_eq!(unsafe { fesetround(mode) }, 0);
}

fn rounding() -> i32 {
    // SAFETY: reads a register.
    unsafe { fegetround() }
}

#[test]
fn a_rounding_mode_is_its_task_s_own_across_waits() {
    const UPWARD: i32 = if cfg!(target_arch = "x86_64") { 0x800 } else { 0x40_0000 };
    if role().is_none() {
        let output = alone(&[("TRINE_CARRIERS", "1")]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let gate = Arc::new(Event::new());
    let (send, receive) = channel::bounded::<i32>(0);
    let changes = coroutine::spawn({
        let gate = Arc::clone(&gate);
        move || {
            set_rounding(UPWARD);
            gate.wait();
            let after_a_wait = rounding();
            // A rendezvous, which lets the others run before it waits.
            send.send(1).unwrap();
            // Ends without setting it back.
            [after_a_wait, rounding()]
        }
    });
    until_waiting(&changes);
    // On the same carrier: one that begins now, and one that waits, too.
    assert_eq!(coroutine::spawn(rounding).join().unwrap(), 0);
    let receives = coroutine::spawn(move || {
        gate.set();
        (receive.recv().unwrap(), rounding())
    });
    assert_eq!(receives.join().unwrap(), (1, 0));
    assert_eq!(changes.join().unwrap(), [UPWARD; 2]);
    assert_eq!(coroutine::spawn(rounding).join().unwrap(), 0);
    // A loop that never waits, and gives others a turn.
    let loops = coroutine::spawn(|| {
        let (_sender, receiver) = channel::bounded::<()>(1);
        let seen = Rc::new(Cell::new(None));
        let other = coroutine::spawn_local({
            let seen = Rc::clone(&seen);
            move || seen.set(Some(rounding()))
        });
        set_rounding(UPWARD);
        while seen.get().is_none() {
            receiver.try_recv().unwrap_err();
        }
        let own = rounding();
        set_rounding(0);
        other.join().unwrap();
        (seen.get(), own)
    });
    assert_eq!(loops.join().unwrap(), (Some(0), UPWARD));
    // A thread that drives local coroutines in its waits.
    set_rounding(UPWARD);
    let local = coroutine::spawn_local(|| {
        let found = rounding();
        set_rounding(UPWARD);
        found
    });
    assert_eq!(local.join().unwrap(), 0);
    assert_eq!(rounding(), UPWARD);
    set_rounding(0);
}
