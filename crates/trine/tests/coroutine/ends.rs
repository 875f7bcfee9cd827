//! The ends of threads and tasks that leave local coroutines: their places in queues, and the
//! thread-locals that they borrow.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex, mpsc};
use std::time::Duration;

use crate::common::{again, role};
use trine::coroutine::{self, LocalTask, spawn_local};
use trine::sync::{Condvar, Event, Mutex, RwLock, Semaphore, channel};
use trine::{process, task, thread, time};

/// The order in which a thread's values are dropped and its coroutines end.
type Journal = Arc<StdMutex<Vec<&'static str>>>;

/// Notes its drop; one that waits lets every ready coroutine of its thread run.
struct Late {
    name: &'static str,
    waits: bool,
    value: Cell<u32>,
    journal: RefCell<Option<Journal>>,
}

impl Late {
    const fn new(name: &'static str, waits: bool) -> Late {
        Late { name, waits, value: Cell::new(7), journal: RefCell::new(None) }
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.value.set(0);
        if self.waits {
            for _ in 0..20 {
                coroutine::yield_now();
                time::sleep(Duration::from_micros(100));
            }
            // The one carrier of that child does not come back from its `exit`.
            if role().is_none() {
                coroutine::spawn(|| ()).join().unwrap();
            }
        }
        if let Some(journal) = self.journal.take() {
            journal.lock().unwrap().push(self.name);
        }
    }
}

thread_local! {
    static BORROWED: Late = const { Late::new("borrowed", false) };
    static WAITS: Late = const { Late::new("waits", true) };
    static EARLIEST: Late = const { Late::new("earliest", true) };
}

fn enlist(late: &'static std::thread::LocalKey<Late>, journal: &Journal) {
    late.with(|late| *late.journal.borrow_mut() = Some(Arc::clone(journal)));
}

/// Leaves a coroutine that borrows from a thread-local across its waits. Thread-locals whose
/// destructors wait are registered at moment `order`.
fn leave_a_borrower(order: usize, journal: &Journal) -> LocalTask<()> {
    let at = |moment: usize| {
        if moment == order {
            enlist(&WAITS, journal);
        }
    };
    enlist(&EARLIEST, journal);
    at(0);
    let ready = Rc::new(Cell::new(false));
    let (inside, notes) = (Rc::clone(&ready), Arc::clone(journal));
    let task = spawn_local(move || {
        struct Ends(Journal);
        impl Drop for Ends {
            fn drop(&mut self) {
                assert_eq!(BORROWED.with(|late| late.value.get()), 7);
                self.0.lock().unwrap().push("cancelled");
            }
        }
        let _ends = Ends(Arc::clone(&notes));
        coroutine::yield_now();
        inside.set(true);
        enlist(&BORROWED, &notes);
        BORROWED.with(|borrowed| {
            loop {
                assert_eq!(borrowed.value.get(), 7, "the thread-local was destroyed");
                time::sleep(Duration::from_micros(50));
            }
        });
    });
    at(1);
    while !ready.get() {
        coroutine::yield_now();
    }
    at(2);
    task
}

#[test]
fn at_the_end_of_its_thread_a_local_coroutine_ends_before_its_thread_locals() {
    type Runs = fn(Box<dyn FnOnce() + Send>);
    let on_std: Runs = |f| std::thread::spawn(f).join().unwrap();
    let on_trine: Runs = |f| thread::spawn(f).join().unwrap();
    let in_a_pool: Runs = |f| {
        let pool = thread::Pool::new(1);
        pool.spawn(f).join().unwrap();
        pool.shutdown();
    };
    let places = [("std", on_std), ("trine", on_trine), ("pool", in_a_pool)];
    for ((place, runs), order) in places.iter().flat_map(|f| (0..3).map(move |n| (f, n))) {
        let journal = Journal::default();
        let inside = Arc::clone(&journal);
        runs(Box::new(move || drop(leave_a_borrower(order, &inside))));
        // The thread ends a moment after its task.
        while Arc::strong_count(&journal) > 1 {
            std::thread::yield_now();
        }
        let journal = journal.lock().unwrap().clone();
        let expected = match (*place, order) {
            (_, 0 | 1) => ["cancelled", "borrowed", "waits", "earliest"],
            // A thread-local that is first used after the coroutine's last turn is none that it
            // borrows; and a task ends its coroutines before its thread ends.
            ("std", _) => ["waits", "cancelled", "borrowed", "earliest"],
            _ => ["cancelled", "waits", "borrowed", "earliest"],
        };
        assert_eq!(journal, expected, "registered at moment {order}");
    }
}

#[test]
fn a_destructor_of_a_thread_local_may_use_local_coroutines_of_its_own() {
    struct Uses(RefCell<Option<mpsc::Sender<u32>>>);
    impl Drop for Uses {
        fn drop(&mut self) {
            let sender = self.0.take().unwrap();
            let sum = Rc::new(Cell::new(0));
            let tasks = [1, 2, 3].map(|n| {
                let sum = Rc::clone(&sum);
                spawn_local(move || {
                    time::sleep(Duration::from_micros(50));
                    sum.set(sum.get() + n);
                })
            });
            tasks.into_iter().for_each(|task| task.join().unwrap());
            drop(spawn_local(|| Event::new().wait()));
            sender.send(sum.get()).unwrap();
        }
    }
    thread_local! { static USES: Uses = const { Uses(RefCell::new(None)) }; }
    let (sender, receiver) = mpsc::channel();
    let end = std::thread::spawn(move || USES.with(|uses| *uses.0.borrow_mut() = Some(sender)));
    assert_eq!(receiver.recv(), Ok(6));
    end.join().unwrap();
}

/// A task that waits for something that is passed on from one waiter to the next.
struct Passed {
    name: &'static str,
    /// Waits, as a local coroutine that is left.
    wait: fn(&World),
    /// Lets the waiters go on, one after the other, and fails if one is passed over forever.
    pass: fn(&World),
}

struct World {
    mutex: Mutex<u32>,
    rwlock: RwLock<u32>,
    semaphore: Semaphore,
    condition: Condvar,
    numbers: (channel::Sender<u32>, channel::Receiver<u32>),
}

const A_MINUTE: Duration = Duration::from_secs(60);

const PASSED: [Passed; 5] = [
    Passed {
        name: "mutex",
        wait: |world| *world.mutex.lock() += 1_000_000,
        pass: |world| {
            let locked = world.mutex.lock_timeout(A_MINUTE);
            *locked.expect("nobody holds the lock") += 1;
        },
    },
    Passed {
        name: "lock for writing",
        wait: |world| *world.rwlock.write() += 1_000_000,
        pass: |world| drop(world.rwlock.read_timeout(A_MINUTE).expect("nobody holds the lock")),
    },
    Passed {
        name: "semaphore",
        wait: |world| drop(world.semaphore.acquire()),
        pass: |world| {
            drop(world.semaphore.acquire_timeout(A_MINUTE).expect("nobody has the permit"));
        },
    },
    Passed {
        name: "condition",
        wait: |world| {
            let guard = world.mutex.lock();
            drop(world.condition.wait(guard));
        },
        pass: |world| _ = world.condition.notify_one(),
    },
    Passed {
        name: "channel",
        wait: |world| drop(world.numbers.1.recv()),
        pass: |world| {
            world.numbers.0.send_timeout(1, A_MINUTE).unwrap();
            assert_eq!(world.numbers.1.recv_timeout(A_MINUTE), Ok(1));
        },
    },
];

/// Joins a local coroutine that waits, until the time for that is up; and leaves it.
fn leave_a_waiter(world: &Arc<World>, wait: fn(&World)) {
    let (mutex, rwlock) = (world.mutex.lock(), world.rwlock.write());
    let permit = world.semaphore.acquire();
    let inside = Arc::clone(world);
    let waits = spawn_local(move || wait(&inside));
    drop(time::timeout(Duration::from_millis(2), || waits.join()));
    drop((mutex, rwlock, permit));
}

#[test]
fn no_queue_keeps_a_local_coroutine_that_was_left_by_its_thread_or_task() {
    let pool = thread::Pool::new(1);
    let numbers = channel::rendezvous();
    for place in ["std", "trine", "pool"] {
        for Passed { name, wait, pass } in PASSED {
            let world = Arc::new(World {
                mutex: Mutex::new(0),
                rwlock: RwLock::new(0),
                semaphore: Semaphore::new(1),
                condition: Condvar::new(),
                numbers: numbers.clone(),
            });
            let inside = Arc::clone(&world);
            let leave = move || leave_a_waiter(&inside, wait);
            match place {
                "std" => std::thread::spawn(leave).join().unwrap(),
                "trine" => thread::spawn(leave).join().unwrap(),
                _ => pool.spawn(leave).join().unwrap(),
            }
            println!("{name}, left by a thread of {place}");
            if name == "channel" {
                let receives = Arc::clone(&world);
                let other = coroutine::spawn(move || receives.numbers.1.recv());
                world.numbers.0.send_timeout(5, A_MINUTE).expect("one receiver is left");
                assert_eq!(other.join().unwrap(), Ok(5), "not the one that was left");
                continue;
            }
            // A waiter in front is passed 256 times at most.
            (0..1000).for_each(|_| pass(&world));
            assert_eq!(Arc::strong_count(&world), 1, "it has ended");
        }
    }
}

#[test]
fn a_task_in_a_process_leaves_no_local_coroutine_to_the_next() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let pool = process::Pool::new(1);
    let first = pool.spawn((), |()| {
        drop(spawn_local(|| {
            loop {
                RUNS.fetch_add(1, Ordering::Relaxed);
                time::sleep(Duration::ZERO);
            }
        }));
        coroutine::yield_now();
        assert!(RUNS.swap(0, Ordering::Relaxed) > 0);
        std::process::id()
    });
    let second = pool.spawn((), |()| {
        RUNS.store(0, Ordering::Relaxed);
        (0..10).for_each(|_| coroutine::yield_now());
        time::sleep(Duration::from_millis(1));
        (std::process::id(), RUNS.load(Ordering::Relaxed))
    });
    assert_eq!(second.join().unwrap(), (first.join().unwrap(), 0));
}

#[test]
fn a_task_ends_the_local_coroutines_that_it_has_spawned_and_no_others() {
    std::thread::spawn(|| {
        let runs = Rc::new(Cell::new(0));
        let inner = Rc::clone(&runs);
        let outer = spawn_local(move || {
            for _ in 0..100 {
                inner.set(inner.get() + 1);
                coroutine::yield_now();
            }
        });
        // This coroutine has a carrier; the thread below has one of its own, and ends it.
        thread::spawn(|| drop(spawn_local(|| time::sleep(Duration::MAX)))).join().unwrap();
        outer.join().unwrap();
        assert_eq!(runs.get(), 100);
    })
    .join()
    .unwrap();
}

#[test]
fn a_coroutine_that_ends_with_its_thread_may_clean_up_with_waits_and_others() {
    static CLEANED: AtomicUsize = AtomicUsize::new(0);
    struct Cleans(Arc<Event>);
    impl Drop for Cleans {
        fn drop(&mut self) {
            time::sleep(Duration::from_millis(1));
            // A wait that cannot fail goes on during an unwinding.
            let event = Arc::clone(&self.0);
            drop(coroutine::spawn(move || event.set()));
            self.0.wait();
            drop(spawn_local(|| ()).join());
            CLEANED.fetch_add(1, Ordering::SeqCst);
        }
    }
    for _ in 0..20 {
        std::thread::spawn(|| {
            for _ in 0..3 {
                let cleans = Cleans(Arc::default());
                drop(spawn_local(move || {
                    let _cleans = cleans;
                    time::sleep(Duration::MAX);
                }));
            }
            coroutine::yield_now();
        })
        .join()
        .unwrap();
    }
    assert_eq!(CLEANED.load(Ordering::SeqCst), 60);
}

#[test]
fn an_exit_in_a_coroutine_runs_no_other_one_in_the_destructors_of_thread_locals() {
    if role().is_some() {
        trine::configure(|config| {
            config.carriers(1);
        })
        .unwrap();
        let borrower = || {
            BORROWED.with(|borrowed| {
                loop {
                    if borrowed.value.get() != 7 {
                        std::io::stdout().write_all(b"used after its end\n").unwrap();
                        std::process::abort();
                    }
                    coroutine::yield_now();
                }
            });
        };
        let (begun, waits) = (Arc::new(AtomicUsize::new(0)), Journal::default());
        let carrier = {
            let (begun, waits) = (Arc::clone(&begun), Arc::clone(&waits));
            move || {
                enlist(&WAITS, &waits);
                begun.fetch_add(1, Ordering::SeqCst);
                while begun.load(Ordering::SeqCst) < 2 {
                    coroutine::yield_now();
                }
                (0..200).for_each(|_| coroutine::yield_now());
                std::process::exit(17);
            }
        };
        let local = role().unwrap() == "local";
        let task = if local { None } else { Some(coroutine::spawn(carrier.clone())) };
        if local {
            drop(spawn_local(carrier));
            drop(spawn_local(borrower));
        } else {
            drop(coroutine::spawn(borrower));
        }
        begun.fetch_add(1, Ordering::SeqCst);
        task.into_iter().for_each(|task| drop(task.join()));
        loop {
            coroutine::yield_now();
        }
    }
    for role in ["carrier", "local"] {
        let output = again(role).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(17), "{role}: {text}");
        assert!(!text.contains("used after"), "{role}: {text}");
    }
    assert!(task::current().is_none());
}

#[test]
fn an_exit_ends_the_program_without_running_the_local_coroutines_of_its_thread() {
    /// Says that it was dropped, and waits for the lock that the thread holds.
    struct Says(&'static Mutex<()>);
    impl Drop for Says {
        fn drop(&mut self) {
            std::io::stdout().write_all(b"a destructor ran\n").unwrap();
            drop(self.0.lock_timeout(Duration::from_secs(30)));
        }
    }
    static LOCK: Mutex<()> = Mutex::new(());
    if let Some(role) = role() {
        let leave = move || {
            let (unstarted, waiting) = (Says(&LOCK), Says(&LOCK));
            drop(spawn_local(move || {
                let _waiting = waiting;
                time::sleep(Duration::MAX);
            }));
            coroutine::yield_now();
            drop(spawn_local(move || drop(unstarted)));
            let _lock = LOCK.lock();
            let inside = move || -> () { std::process::exit(17) };
            if role == "generator" {
                coroutine::Generator::new(move |_: &coroutine::Yielder<(), ()>, ()| inside())
                    .next();
            }
            inside();
        };
        let _ = std::thread::spawn(leave).join();
        unreachable!("the thread ends the program");
    }
    for role in ["thread", "generator"] {
        let output = again(role).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(17), "{role}: {text}");
        assert!(!text.contains("a destructor ran"), "{role}: {text}");
    }
}
