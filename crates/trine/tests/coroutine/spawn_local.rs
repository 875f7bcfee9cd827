//! `coroutine::spawn_local`: coroutines that stay on their thread and need not be `Send`.

use std::cell::{Cell, RefCell};
use std::panic;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use trine::coroutine::{self, Builder, Generator, Local, LocalTask, spawn_local};
use trine::{Kind, State, future, task, thread, time};

/// Calls `f` on a plain thread, on this one, and in a coroutine.
fn everywhere(f: fn()) {
    f();
    std::thread::spawn(f).join().unwrap();
    coroutine::spawn(f).join().unwrap();
}

#[test]
fn they_share_without_locks_and_bring_what_is_not_send() {
    everywhere(|| {
        let home = std::thread::current().id();
        let shared = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..100_u64)
            .map(|n| {
                let shared = Rc::clone(&shared);
                spawn_local(move || {
                    time::sleep(Duration::from_micros(n % 7 * 100));
                    shared.borrow_mut().push(n);
                    coroutine::yield_now();
                    // A helper on another carrier wakes it from another thread.
                    assert_eq!(coroutine::spawn(move || n + 1).join().unwrap(), n + 1);
                    assert_eq!(std::thread::current().id(), home);
                    Rc::clone(&shared)
                })
            })
            .collect();
        for task in tasks {
            assert!(Rc::ptr_eq(&task.join().unwrap(), &shared));
        }
        assert_eq!(shared.borrow().iter().sum::<u64>(), 4950);
        assert_eq!(Rc::strong_count(&shared), 1);
    });
}

#[test]
fn they_start_in_order_and_take_turns() {
    everywhere(|| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..300)
            .map(|n| {
                let order = Rc::clone(&order);
                spawn_local(move || {
                    for turn in 0..3 {
                        order.borrow_mut().push((turn, n));
                        coroutine::yield_now();
                    }
                })
            })
            .collect();
        assert!(order.borrow().is_empty(), "none runs before its parent waits");
        tasks.into_iter().for_each(|task| task.join().unwrap());
        let order = order.take();
        for turn in 0..3 {
            let starts = order.iter().filter(|step| step.0 == turn);
            assert!(starts.map(|step| step.1).eq(0..300), "in order, each turn");
        }
        // The first has its second turn before the last of so many begins to end.
        let place = |step| order.iter().position(|other| *other == step).unwrap();
        assert!(place((1, 0)) < place((2, 299)) && place((2, 0)) < place((2, 299)));
    });
}

#[test]
fn a_local_coroutine_spawns_others_of_both_sorts() {
    fn tree(depth: u32, leaves: &Rc<Cell<u32>>) {
        if depth == 0 {
            return leaves.set(leaves.get() + 1);
        }
        let children = [(); 3].map(|()| {
            let leaves = Rc::clone(leaves);
            spawn_local(move || tree(depth - 1, &leaves))
        });
        assert_eq!(coroutine::spawn(|| 7).join().unwrap(), 7);
        children.into_iter().for_each(|child| child.join().unwrap());
    }
    everywhere(|| {
        let leaves = Rc::new(Cell::new(0));
        tree(5, &leaves);
        assert_eq!(leaves.get(), 243);
    });
}

#[test]
fn a_plain_thread_runs_them_in_every_wait() {
    let ticks = Rc::new(Cell::new(0_u32));
    let mine = Rc::clone(&ticks);
    let ticker = spawn_local(move || {
        while mine.get() < u32::MAX {
            mine.set(mine.get() + 1);
            time::sleep(Duration::from_micros(200));
        }
    });
    let two_more = |wait: &mut dyn FnMut()| {
        let before = ticks.get();
        while ticks.get() < before + 2 {
            wait();
        }
    };
    two_more(&mut coroutine::yield_now);
    two_more(&mut || {
        let begin = Instant::now();
        time::sleep(Duration::from_millis(1));
        assert!(begin.elapsed() >= Duration::from_millis(1));
    });
    two_more(&mut || thread::spawn(std::thread::yield_now).join().unwrap());
    two_more(&mut || coroutine::spawn(coroutine::yield_now).join().unwrap());
    let mut sleeper = Some(coroutine::spawn(|| time::sleep(Duration::from_secs(3600))));
    two_more(&mut || {
        let task = sleeper.take().unwrap();
        sleeper = task.join_timeout(Duration::from_millis(1)).err();
    });
    ticks.set(u32::MAX);
    ticker.join().unwrap();
}

#[test]
fn a_waker_that_was_taken_before_the_first_local_coroutine_still_wakes_the_thread() {
    std::thread::spawn(|| {
        let (woken, mut spawned) = (Arc::new(AtomicUsize::new(0)), None);
        let inside = Arc::clone(&woken);
        let result = future::block_on(std::future::poll_fn(move |context: &mut Context<'_>| {
            if inside.load(Ordering::SeqCst) == 1 {
                return Poll::Ready(spawned.take().map(coroutine::LocalTask::join));
            }
            if spawned.is_none() {
                spawned = Some(spawn_local(|| Rc::new(5)));
                let (waker, woken) = (context.waker().clone(), Arc::clone(&inside));
                drop(thread::spawn(move || {
                    // Long enough for the thread to sleep by then, most times.
                    std::thread::sleep(Duration::from_millis(5));
                    woken.store(1, Ordering::SeqCst);
                    waker.wake();
                }));
            }
            Poll::Pending
        }));
        assert_eq!(*result.unwrap().unwrap(), 5);
    })
    .join()
    .unwrap();
}

#[test]
fn the_handle_is_that_of_a_task() {
    everywhere(|| {
        let task = Builder::new().name("near").stack_size(64 * 1024).spawn_local(|| {
            let info = task::current().unwrap();
            time::sleep(Duration::from_millis(2));
            info
        });
        assert_eq!((task.name().as_deref(), task.kind()), (Some("near"), Kind::Coroutine));
        assert_eq!((task.state(), task.is_finished()), (State::New, false));
        let (id, here) = (task.id(), task::current().map(|info| info.id));
        let task = task.join_timeout(Duration::from_micros(1)).unwrap_err();
        assert!(format!("{task:?}").starts_with("LocalTask(coroutine `near` #"));
        let info = future::block_on(task).unwrap();
        assert_eq!((info.id, info.state, info.parent), (id, State::Running, here));
        assert!(info.location.file().ends_with("spawn_local.rs"));
        assert_eq!(task::current().map(|info| info.id), here);
        let error = spawn_local(|| panic!("near by")).join().unwrap_err();
        assert!(error.is_panic() && error.to_string().contains("near by"), "{error}");
    });
}

#[test]
fn a_value_that_nobody_wants_is_dropped_on_its_thread() {
    struct Here(std::thread::ThreadId, Rc<Cell<usize>>);
    impl Drop for Here {
        fn drop(&mut self) {
            assert_eq!(std::thread::current().id(), self.0);
            self.1.set(self.1.get() + 1);
        }
    }
    everywhere(|| {
        let drops = Rc::new(Cell::new(0));
        let here = || Here(std::thread::current().id(), Rc::clone(&drops));
        let (early, late, captured) = (here(), here(), here());
        drop(spawn_local(move || early));
        let kept = spawn_local(move || late);
        drop(spawn_local(move || drop(captured)));
        while drops.get() < 2 || !kept.is_finished() {
            coroutine::yield_now();
        }
        drop(kept);
        assert_eq!(drops.get(), 3);
    });
}

#[test]
fn many_threads_have_their_own_and_wake_each_other() {
    let barrier = Arc::new(Barrier::new(4));
    let threads: Vec<_> = (0..4_u64)
        .map(|t| {
            let barrier = Arc::clone(&barrier);
            std::thread::spawn(move || {
                barrier.wait();
                let sum = Rc::new(Cell::new(0));
                let tasks: Vec<_> = (0..200_u64)
                    .map(|n| {
                        let sum = Rc::clone(&sum);
                        spawn_local(move || {
                            for _ in 0..5 {
                                let remote = coroutine::spawn(move || n + t);
                                // Not within one expression: others add meanwhile.
                                let more = remote.join().unwrap();
                                sum.set(sum.get() + more);
                            }
                        })
                    })
                    .collect();
                tasks.into_iter().for_each(|task| task.join().unwrap());
                sum.get()
            })
        })
        .collect();
    for (t, thread) in threads.into_iter().enumerate() {
        assert_eq!(thread.join().unwrap(), 5 * (200 * 199 / 2 + 200 * t as u64));
    }
}

#[test]
fn a_generator_moves_between_coroutines_of_its_thread() {
    everywhere(|| {
        let shared: Rc<RefCell<_>> = Rc::new(RefCell::new(Some(Generator::new(|yielder, ()| {
            for n in 0_u32.. {
                time::sleep(Duration::from_micros(20));
                yielder.yield_(n);
            }
        }))));
        let sums = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let (shared, sums) = (Rc::clone(&shared), Rc::clone(&sums));
                spawn_local(move || {
                    for _ in 0..10 {
                        // The task that finds the generator takes it, and waits inside it.
                        let mut generator = loop {
                            let found = shared.borrow_mut().take();
                            match found {
                                Some(generator) => break generator,
                                None => coroutine::yield_now(),
                            }
                        };
                        let number = generator.next().unwrap();
                        sums.set(sums.get() + number);
                        *shared.borrow_mut() = Some(generator);
                        coroutine::yield_now();
                    }
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join().unwrap());
        assert_eq!(sums.get(), 99 * 100 / 2);
    });
}

#[test]
fn a_thread_that_has_had_local_coroutines_can_wait_for_a_sleeping_future() {
    everywhere(|| {
        let sleep = || future::block_on(future::sleep(Duration::from_millis(1)));
        spawn_local(sleep).join().unwrap();
        sleep();
    });
}

#[test]
fn what_is_unfinished_when_a_thread_ends_is_cancelled_or_never_starts() {
    static LEFT: AtomicUsize = AtomicUsize::new(0);
    struct Counted;
    impl Drop for Counted {
        fn drop(&mut self) {
            LEFT.fetch_add(1, Ordering::SeqCst);
        }
    }
    struct Spawns;
    impl Drop for Spawns {
        fn drop(&mut self) {
            assert!(std::panic::catch_unwind(|| spawn_local(|| ())).is_err());
        }
    }
    static VALUE: Local<Cell<u32>> = Local::new(Cell::default);
    for _ in 0..50 {
        let waker: Arc<std::sync::Mutex<Option<Waker>>> = Arc::default();
        let inside = Arc::clone(&waker);
        std::thread::spawn(move || {
            let mut early = Generator::new(|yielder, ()| yielder.yield_(1));
            assert_eq!(early.next(), Some(1));
            let mut once = Some(inside);
            drop(spawn_local(move || {
                let _counted = Counted;
                VALUE.set(1);
                future::block_on(std::future::poll_fn(|context| {
                    let waker = context.waker().clone();
                    if let Some(inside) = once.take() {
                        *inside.lock().unwrap() = Some(waker);
                    }
                    Poll::<()>::Pending
                }));
            }));
            spawn_local(|| drop(Counted)).join().unwrap();
            // It never starts. Its captures are dropped where it cannot spawn another.
            let (never, spawns) = (Counted, Spawns);
            drop(spawn_local(move || drop((never, spawns))));
            drop(early);
        })
        .join()
        .unwrap();
        // Its waker may still be used.
        let waker = waker.lock().unwrap().take().unwrap();
        waker.wake_by_ref();
        std::thread::spawn(|| spawn_local(|| Rc::new(7)).join().map(|seven| *seven).unwrap())
            .join()
            .unwrap();
    }
    assert_eq!(LEFT.load(Ordering::SeqCst), 150);
}

#[test]
fn the_destructors_of_a_thread_that_panics_cancel_and_join_them() {
    struct Joins(Option<LocalTask<()>>);

    impl Drop for Joins {
        fn drop(&mut self) {
            let task = self.0.take().unwrap();
            // Its first wait begins while its thread unwinds.
            until_it_waits(&task);
            task.cancel();
            assert!(task.join().unwrap_err().is_cancelled());
        }
    }

    fn until_it_waits<T>(task: &LocalTask<T>) {
        while task.state() != State::Waiting {
            coroutine::yield_now();
        }
    }

    std::thread::spawn(|| {
        let panicked = panic::catch_unwind(|| {
            let _joins = Joins(Some(spawn_local(|| time::sleep(Duration::MAX))));
            panic!("of the thread");
        });
        assert!(panicked.is_err());
        // A task that has waited so can still be cancelled when the unwinding is over.
        struct Waits(Rc<Cell<Option<LocalTask<()>>>>);
        impl Drop for Waits {
            fn drop(&mut self) {
                let task = spawn_local(|| time::sleep(Duration::MAX));
                until_it_waits(&task);
                self.0.set(Some(task));
            }
        }
        let left = Rc::new(Cell::new(None));
        let waits = Waits(Rc::clone(&left));
        let unwinding = panic::AssertUnwindSafe(|| {
            let _waits = waits;
            panic!("of the thread");
        });
        assert!(panic::catch_unwind(unwinding).is_err());
        let task = left.take().unwrap();
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled());
    })
    .join()
    .unwrap();
}

#[test]
fn a_thread_that_unwinds_goes_on_with_its_waits_while_they_run() {
    struct Waits(Rc<Cell<u32>>);

    impl Drop for Waits {
        fn drop(&mut self) {
            // The time is up, but an unwinding does not unwind again.
            for _ in 0..5 {
                time::sleep(Duration::from_millis(2));
                self.0.set(self.0.get() + 1);
            }
        }
    }

    std::thread::spawn(|| {
        let neighbour = spawn_local(|| {
            loop {
                time::sleep(Duration::from_micros(100));
            }
        });
        let waits = Rc::new(Cell::new(0));
        let unwinding = panic::AssertUnwindSafe(|| {
            time::timeout(Duration::from_millis(1), || {
                let _waits = Waits(Rc::clone(&waits));
                panic!("of the thread")
            })
        });
        assert!(panic::catch_unwind(unwinding).is_err());
        assert_eq!(waits.get(), 5);
        neighbour.cancel();
        assert!(neighbour.join().map(|never: ()| never).unwrap_err().is_cancelled());
    })
    .join()
    .unwrap();
}
