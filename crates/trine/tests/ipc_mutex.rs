//! The lock in shared memory: between tasks, between processes, over the death of its holder, and over hostile memory.

mod common;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::panic::{self, AssertUnwindSafe};
use std::process::Child;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use common::places::{PLACES, everywhere};
use common::seeds::{Rng, seed};
use common::waiting::until_waiting;
use common::{child, role, this_program};
use rustix::io::{FdFlags, fcntl_setfd};
use trine::ipc::bytemuck::{Pod, Zeroable};
use trine::ipc::{Mutex, Shared, SharedError};
use trine::{State, coroutine, process, thread, time};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// Another hold on the same lock, as another process would have it.
fn another<T: Pod>(mutex: &Mutex<T>) -> Mutex<T> {
    Mutex::from_descriptors(mutex.descriptors().unwrap()).unwrap()
}

/// The memory of the lock, to write there whatever one likes.
fn memory<T: Pod>(mutex: &Mutex<T>) -> File {
    let [memory, _bell] = mutex.descriptors().unwrap();
    File::from(memory)
}

/// A child program which has the lock and plays `role`, in the test `name`.
struct Other(Child);

impl Other {
    fn start<T: Pod>(mutex: &Mutex<T>, name: &str, role: &str) -> Other {
        let descriptors = mutex.descriptors().unwrap();
        let [memory, bell] = descriptors.each_ref().map(|descriptor| {
            fcntl_setfd(descriptor, FdFlags::empty()).unwrap();
            descriptor.as_raw_fd()
        });
        let mut command = child(&this_program(), name, role);
        command.env("TRINE_TEST_MUTEX", format!("{memory} {bell}"));
        Other(command.spawn().unwrap())
    }

    /// Waits until it has written a line that begins so.
    fn until(&mut self, word: &str) {
        let mut reader = BufReader::new(self.0.stdout.as_mut().unwrap());
        let mut line = String::new();
        while !line.starts_with(word) {
            line.clear();
            assert!(reader.read_line(&mut line).unwrap() > 0, "it has ended before it said {word}");
        }
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn finish(mut self) {
        drop(self.0.stdin.take());
        let output = self.0.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The lock that a child was given.
fn inherited<T: Pod>() -> Mutex<T> {
    let numbers = std::env::var("TRINE_TEST_MUTEX").unwrap();
    let numbers: Vec<i32> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
    // SAFETY: whoever has started this program has left them open for this use.
    let descriptors = [0, 1].map(|n| unsafe { OwnedFd::from_raw_fd(numbers[n]) });
    Mutex::from_descriptors(descriptors).unwrap()
}

fn say(word: &str) {
    // Past the harness, which begins its line without an end.
    println!("\n{word}");
    std::io::stdout().flush().unwrap();
}

fn until_told_to_end() {
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn one_at_a_time_whoever_they_are() {
    let mutex = Mutex::new([0_u64; 5]).unwrap();
    let others = [mutex.clone(), another(&mutex), another(&mutex)];
    let tasks: Vec<_> = (0..24)
        .map(|n| {
            let mutex = others[n % 3].clone();
            PLACES[usize::from(n % 4 == 0)].spawn(move || {
                for k in 0..200 {
                    let mut guard = mutex.lock().unwrap();
                    let value = guard.get();
                    if k % 20 == 0 {
                        coroutine::yield_now();
                    }
                    guard.set(value.map(|it| it + 1));
                }
            })
        })
        .collect();
    tasks.into_iter().for_each(|task| task.join().unwrap());
    assert_eq!(mutex.lock().unwrap().get(), [24 * 200; 5]);
}

#[test]
fn processes_exclude_each_other() {
    if role().is_some() {
        let mutex = inherited::<[u64; 2]>();
        for _ in 0..2000 {
            mutex.lock().unwrap().update(|[a, b]| {
                *a += 1;
                *b += 1;
            });
        }
        return;
    }
    let mutex = Mutex::new([0_u64; 2]).unwrap();
    let others: Vec<_> =
        (0..3).map(|_| Other::start(&mutex, "processes_exclude_each_other", "count")).collect();
    for _ in 0..2000 {
        mutex.lock().unwrap().update(|[a, b]| {
            *a += 1;
            *b += 1;
        });
    }
    others.into_iter().for_each(Other::finish);
    assert_eq!(mutex.lock().unwrap().get(), [8000; 2]);
}

#[test]
fn values_of_every_size_are_kept() {
    #[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
    #[bytemuck(crate = "trine::ipc::bytemuck")]
    #[repr(C, packed)]
    struct Odd {
        a: u8,
        b: u64,
        c: u16,
    }
    let odd = Mutex::new(Odd { a: 1, b: 2, c: 3 }).unwrap();
    assert_eq!(another(&odd).lock().unwrap().get(), Odd { a: 1, b: 2, c: 3 });
    another(&odd).lock().unwrap().update(|odd| odd.b = u64::MAX);
    assert_eq!(odd.lock().unwrap().get(), Odd { a: 1, b: u64::MAX, c: 3 });
    Mutex::new(()).unwrap().lock().unwrap().set(());
    let large = Mutex::new([7_u8; 10_001]).unwrap();
    large.lock().unwrap().update(|bytes| bytes[10_000] = 8);
    let seen = another(&large).lock().unwrap().get();
    assert_eq!((seen[0], seen[9_999], seen[10_000]), (7, 7, 8));
}

#[test]
fn a_panic_and_a_cancellation_give_it_back() {
    let mutex = Mutex::new(5_u32).unwrap();
    let unwound = panic::catch_unwind(AssertUnwindSafe(|| {
        mutex.lock().unwrap().update(|value| {
            *value = 6;
            panic::resume_unwind(Box::new(()))
        })
    }));
    assert!(unwound.is_err());
    assert_eq!(another(&mutex).lock().unwrap().get(), 5);
    for place in PLACES {
        let held = another(&mutex);
        let guard = held.lock().unwrap();
        let waiting = mutex.clone();
        let task = place.spawn(move || waiting.lock().map(|guard| guard.get()).unwrap());
        until_waiting(&task);
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled(), "{place:?}");
        drop(guard);
        assert_eq!(mutex.try_lock().unwrap().unwrap().get(), 5);
    }
}

#[test]
fn time_is_up_everywhere() {
    everywhere(|| {
        let mutex = Mutex::new(1_u8).unwrap();
        let other = another(&mutex);
        let guard = mutex.lock().unwrap();
        assert!(mutex.try_lock().is_none());
        assert!(other.try_lock().is_none());
        for limit in [0, 1, 15] {
            let limit = Duration::from_millis(limit);
            let begin = Instant::now();
            assert!(other.lock_timeout(limit).is_none());
            assert!(begin.elapsed() >= limit);
            assert!(mutex.lock_timeout(limit).is_none());
        }
        let limit = Duration::from_millis(3);
        assert!(time::timeout(limit, || drop(other.lock())).is_err());
        drop(guard);
        assert_eq!(other.lock_timeout(LONG).unwrap().unwrap().get(), 1);
    });
}

#[test]
fn a_wait_goes_on_in_a_destructor_of_a_cancelled_task() {
    struct Last(Mutex<u32>);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0.lock().unwrap().update(|count| *count += 1);
        }
    }
    let mutex = Mutex::new(0_u32).unwrap();
    for place in PLACES {
        let (last, held) = (Last(another(&mutex)), mutex.lock().unwrap());
        let task = place.spawn(move || {
            let _last = last;
            time::sleep(LONG);
        });
        until_waiting(&task);
        task.cancel();
        // It waits for the lock now, or will.
        time::sleep(Duration::from_millis(5));
        assert!(!task.is_finished());
        drop(held);
        assert!(task.join().unwrap_err().is_cancelled());
    }
    while mutex.lock().unwrap().get() < 2 {
        time::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_task_that_locks_twice_is_told() {
    let mutex = Mutex::new(0_u8).unwrap();
    let guard = mutex.lock().unwrap();
    assert!(panic::catch_unwind(AssertUnwindSafe(|| drop(mutex.lock()))).is_err());
    drop(guard);
    assert!(mutex.try_lock().is_some());
}

#[test]
fn whoever_locks_in_a_loop_leaves_the_others_their_turn() {
    let mutex = Mutex::new(0_u64).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let greedy = {
        let (mutex, stop) = (another(&mutex), Arc::clone(&stop));
        thread::spawn(move || {
            while !stop.load(Relaxed) {
                let mut guard = mutex.lock().unwrap();
                let begin = Instant::now();
                while begin.elapsed() < Duration::from_micros(500) {}
                guard.update(|count| *count += 1);
            }
        })
    };
    let before = mutex.lock().unwrap().get();
    for _ in 0..50 {
        drop(mutex.lock().unwrap());
    }
    let between = mutex.lock().unwrap().get() - before;
    stop.store(true, Relaxed);
    greedy.join().unwrap();
    assert!(between < 50_000, "passed {between} times in 50 turns");
}

#[test]
fn the_next_one_is_told_of_a_death() {
    const NAME: &str = "the_next_one_is_told_of_a_death";
    if role().is_some() {
        let mutex = inherited::<u64>();
        let mut guard = mutex.lock().unwrap();
        guard.set(7);
        say("held");
        until_told_to_end();
        return;
    }
    // Those who already wait, in every place.
    for place in PLACES {
        let mutex = Mutex::new(0_u64).unwrap();
        let mut other = Other::start(&mutex, NAME, "hold");
        other.until("held");
        assert!(mutex.try_lock().is_none());
        let waiting = [mutex.clone(), another(&mutex), another(&mutex)].map(|mutex| {
            place.spawn(move || match mutex.lock() {
                Ok(mut guard) => {
                    guard.update(|value| *value += 1);
                    false
                }
                Err(died) => {
                    assert_eq!(died.guard().get(), 7);
                    died.recover().update(|value| *value += 1);
                    true
                }
            })
        });
        waiting.iter().for_each(until_waiting);
        other.kill();
        let told = waiting.map(|task| task.join().unwrap());
        assert_eq!(told.iter().filter(|told| **told).count(), 1, "one of them, once");
        assert_eq!(mutex.lock().unwrap().get(), 10);
    }
    // Those who come later, by each call.
    for how in 0..3 {
        let mutex = Mutex::new(0_u64).unwrap();
        let mut other = Other::start(&mutex, NAME, "hold");
        other.until("held");
        other.kill();
        let lock = || match how {
            0 => mutex.lock(),
            1 => mutex.try_lock().unwrap(),
            _ => mutex.lock_timeout(LONG).unwrap(),
        };
        for _ in 0..3 {
            let mut died = lock().unwrap_err();
            died.guard_mut().set(8);
            // Dropped, it is as it was.
        }
        assert_eq!(another(&mutex).lock().unwrap_err().recover().get(), 8);
        assert_eq!(lock().unwrap().get(), 8);
    }
}

#[test]
fn a_process_that_ends_in_good_order_with_the_lock_has_died_with_it() {
    const NAME: &str = "a_process_that_ends_in_good_order_with_the_lock_has_died_with_it";
    if role().is_some() {
        let _guard = std::mem::ManuallyDrop::new(Box::leak(Box::new(inherited::<u8>())).lock());
        std::process::exit(0);
    }
    let mutex = Mutex::new(1_u8).unwrap();
    Other::start(&mutex, NAME, "exit").finish();
    assert_eq!(mutex.lock().unwrap_err().recover().get(), 1);
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[bytemuck(crate = "trine::ipc::bytemuck")]
#[repr(C)]
struct Books {
    total: u64,
    each: [u64; 40],
}

impl Books {
    fn are_right(&self) -> bool {
        self.total == self.each.iter().sum::<u64>()
    }
}

/// Children that lock and change all the time are killed at any instruction, beside others that go on.
#[test]
fn killed_at_any_moment_they_leave_whole_values_and_a_lock_that_works() {
    const NAME: &str = "killed_at_any_moment_they_leave_whole_values_and_a_lock_that_works";
    if let Some(role) = role() {
        let mutex = inherited::<Books>();
        let me: usize = role.parse().unwrap();
        say("begins");
        loop {
            let mut guard = mutex.lock().unwrap_or_else(|died| died.recover());
            guard.update(|books| {
                assert!(books.are_right());
                books.total += 1;
                books.each[me] += 1;
            });
        }
    }
    let mut random = Rng(seed());
    let mutex = Mutex::new(Books::zeroed()).unwrap();
    let (mut deaths, mut own) = (0, 0);
    for round in 0..13 {
        let mut others: Vec<_> =
            (0..3).map(|n| Other::start(&mutex, NAME, &(1 + round * 3 + n).to_string())).collect();
        others.iter_mut().for_each(|other| other.until("begins"));
        while let Some(other) = others.pop() {
            for _ in 0..random.below(40) {
                let locked =
                    mutex.lock_timeout(LONG).expect("the lock is given back or taken over");
                let mut guard = locked.unwrap_or_else(|died| {
                    deaths += 1;
                    died.recover()
                });
                guard.update(|books| {
                    assert!(books.are_right());
                    books.total += 1;
                    books.each[0] += 1;
                });
                own += 1;
            }
            other.kill();
        }
    }
    let books = mutex.lock_timeout(LONG).unwrap().unwrap_or_else(|died| died.recover()).get();
    assert!(books.are_right() && books.each[0] == own, "{books:?}");
    println!("{deaths} deaths were told here, {} changes in all", books.total);
}

#[test]
fn what_is_no_mutex_is_told() {
    let mutex = Mutex::new(1_u64).unwrap();
    let told = |descriptors| Mutex::<u64>::from_descriptors(descriptors).unwrap_err();
    let [memory, bell] = mutex.descriptors().unwrap();
    assert!(matches!(told([bell, memory]), SharedError::NotMemory));
    let [memory, _] = mutex.descriptors().unwrap();
    assert!(matches!(told([memory.try_clone().unwrap(), memory]), SharedError::NotPipe));
    let null = || OwnedFd::from(File::open("/dev/null").unwrap());
    assert!(matches!(told([null(), null()]), SharedError::NotMemory));
    let [_, bell] = mutex.descriptors().unwrap();
    let frozen = Shared::new([0_u64; 10]).unwrap().as_fd().try_clone_to_owned().unwrap();
    assert!(matches!(told([frozen, bell]), SharedError::NotMapped(_)));
    let other = Mutex::<[u8; 8]>::from_descriptors(mutex.descriptors().unwrap()).unwrap_err();
    assert!(matches!(other, SharedError::Content), "{other}");
    let other = Mutex::<[u64; 2]>::from_descriptors(mutex.descriptors().unwrap()).unwrap_err();
    assert!(matches!(other, SharedError::Size { .. }), "{other}");
    assert_eq!(mutex.lock().unwrap().get(), 1);
}

/// All calls, on memory that somebody else writes.
fn use_in_every_way(mutex: &Mutex<[u64; 3]>) {
    let limit = Duration::from_millis(2);
    for locked in [mutex.try_lock(), mutex.lock_timeout(limit), mutex.lock_timeout(limit)] {
        let Some(locked) = locked else { continue };
        let mut guard = locked.unwrap_or_else(|died| {
            let _ = (died.guard().get(), died.to_string());
            died.recover()
        });
        guard.set([1, 2, 3]);
        let _ = guard.get();
        guard.update(|value| value[0] ^= 1);
    }
}

#[test]
fn hostile_bytes_harm_nobody() {
    let mut random = Rng(seed());
    let mutex = Mutex::new([0_u64; 3]).unwrap();
    let file = memory(&mutex);
    let len = file.metadata().unwrap().len();
    let other = another(&mutex);
    let begin = Instant::now();
    let rounds: u32 = 100;
    for _ in 0..rounds {
        let bytes: Vec<u8> = match random.below(4) {
            0 => vec![random.number() as u8; 8],
            1 => (random.number() & random.number() & random.number()).to_ne_bytes().to_vec(),
            2 => (1_u64 << random.below(64)).to_ne_bytes().to_vec(),
            _ => (0..8).map(|_| random.number() as u8).collect(),
        };
        // The word, most of the time.
        let at = if random.below(3) > 0 { 8 } else { random.below(len as usize - 8) as u64 };
        let guard = if random.below(4) == 0 { mutex.try_lock() } else { None };
        file.write_all_at(&bytes, at).unwrap();
        drop(guard);
        use_in_every_way(&other);
        use_in_every_way(&mutex);
    }
    assert!(begin.elapsed() < rounds * 8 * Duration::from_millis(15), "{:?}", begin.elapsed());
}

#[test]
fn hostile_bytes_at_the_same_time_harm_nobody() {
    let mutex = Mutex::new([0_u64; 3]).unwrap();
    let file = memory(&mutex);
    let attached: Vec<_> = (0..6).map(|_| another(&mutex)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let scribbler = {
        let (stop, mut random) = (Arc::clone(&stop), Rng(seed()));
        std::thread::spawn(move || {
            while !stop.load(Relaxed) {
                let at = if random.one_in(2) { 8 } else { random.below(100) as u64 };
                file.write_all_at(&(random.number() & random.number()).to_ne_bytes(), at).unwrap();
            }
        })
    };
    let tasks: Vec<_> = attached
        .into_iter()
        .zip(PLACES.into_iter().cycle())
        .map(|(mutex, place)| place.spawn(move || (0..50).for_each(|_| use_in_every_way(&mutex))))
        .collect();
    tasks.into_iter().for_each(|task| task.join().unwrap());
    stop.store(true, Relaxed);
    scribbler.join().unwrap();
}

/// A word that names one who lives and does not hold the lock: it seems held, for as long as the caller wants to wait.
#[test]
fn a_forged_owner_is_waited_for_no_longer_than_asked() {
    let mutex = Mutex::new(1_u8).unwrap();
    let (other, file) = (another(&mutex), memory(&mutex));
    let mut word = [0; 8];
    let guard = mutex.lock().unwrap();
    file.read_exact_at(&mut word, 8).unwrap();
    drop(guard);
    file.write_all_at(&word, 8).unwrap();
    let begin = Instant::now();
    assert!(other.lock_timeout(Duration::from_millis(25)).is_none());
    assert!(begin.elapsed() < LONG);
    // Its own number is nobody's but its own.
    assert!(mutex.lock().is_err());
    // And when that process has gone, it is over.
    file.write_all_at(&word, 8).unwrap();
    drop(mutex);
    assert_eq!(other.lock().unwrap_err().recover().get(), 1);
}

#[test]
fn a_bell_that_others_empty_costs_time_only() {
    let mutex = Mutex::new(0_u32).unwrap();
    let other = another(&mutex);
    let [_, mut bell] = mutex.descriptors().unwrap().map(File::from);
    let stop = Arc::new(AtomicBool::new(false));
    let thief = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            while !stop.load(Relaxed) {
                if bell.read(&mut [0; 64]).is_err() {
                    std::thread::yield_now();
                }
            }
        })
    };
    for place in PLACES {
        for _ in 0..20 {
            let guard = other.lock().unwrap();
            let waiting = mutex.clone();
            let task = place.spawn(move || waiting.lock().unwrap().update(|count| *count += 1));
            until_waiting(&task);
            drop(guard);
            task.join().unwrap();
        }
    }
    stop.store(true, Relaxed);
    thief.join().unwrap();
    assert_eq!(mutex.lock().unwrap().get(), 40);
}

#[test]
fn nothing_is_left_open() {
    const NAME: &str = "nothing_is_left_open";
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    if role().is_some() {
        let mutex = inherited::<u8>();
        drop(mutex.lock());
        let before = count();
        for _ in 0..100 {
            let mutex = Mutex::new(1_u8).unwrap();
            let same = another(&mutex);
            drop((mutex.lock(), Mutex::<u16>::from_descriptors(mutex.descriptors().unwrap())));
            drop((mutex, same));
        }
        assert_eq!(count(), before);
        return;
    }
    Other::start(&Mutex::new(0_u8).unwrap(), NAME, "count").finish();
}

/// One carrier, whose coroutines wait for a lock that a thread holds: the carrier goes on.
#[test]
fn a_coroutine_that_waits_does_not_block_its_carrier() {
    let mutex = Mutex::new(0_u8).unwrap();
    let holder = another(&mutex);
    let (held, is_held) = mpsc::channel();
    let (go, may_go) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let guard = holder.lock().unwrap();
        held.send(()).unwrap();
        may_go.recv().unwrap();
        drop(guard);
    });
    is_held.recv().unwrap();
    let waiting = coroutine::spawn_local(move || mutex.lock().unwrap().get());
    // On the same thread as the one that waits.
    let neighbour = coroutine::spawn_local(move || {
        while waiting.state() != State::Waiting {
            coroutine::yield_now();
        }
        go.send(()).unwrap();
        waiting.join().unwrap()
    });
    assert_eq!(neighbour.join().unwrap(), 0);
    thread.join().unwrap();
}

#[test]
fn a_forked_process_is_not_taken_for_its_parent() {
    const NAME: &str = "a_forked_process_is_not_taken_for_its_parent";
    if role().is_none() {
        return Other::start(&Mutex::new(0_u8).unwrap(), NAME, "fork").finish();
    }
    let mutex = inherited::<u8>();
    let guard = mutex.lock().unwrap();
    let mut status = 0;
    // SAFETY: the child does no more than the calls below, on locks that this thread has or nobody.
    match unsafe { libc::fork() } {
        0 => {
            drop(guard);
            let told = panic::catch_unwind(AssertUnwindSafe(|| drop(mutex.try_lock()))).is_err();
            let apart = another(&mutex);
            let held = apart.try_lock().is_none();
            // SAFETY: ends this copy without running what belongs to the parent.
            unsafe { libc::_exit(if told && held { 0 } else { 1 }) }
        }
        // SAFETY: our own child.
        child => assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child),
    }
    assert_eq!(status, 0);
    drop(guard);
    assert!(another(&mutex).try_lock().is_some());
}

#[test]
fn process_tasks_share_it_and_one_that_crashes_is_told_of() {
    let pool = process::Pool::new(2);
    let mutex = Mutex::new([0_u64; 2]).unwrap();
    let count = |(mutex, crash): (Mutex<[u64; 2]>, bool)| {
        for n in 0..100 {
            let (mut guard, told) = match mutex.lock() {
                Ok(guard) => (guard, 0),
                Err(died) => (died.recover(), 1),
            };
            if crash && n == 50 {
                std::process::abort();
            }
            guard.update(|[changes, deaths]| {
                *changes += 1;
                *deaths += told;
            });
        }
    };
    let tasks: Vec<_> =
        (0..20).map(|n| (n % 5 == 0, pool.spawn((mutex.clone(), n % 5 == 0), count))).collect();
    for (crashes, task) in tasks {
        assert_eq!(task.join().is_err(), crashes);
    }
    let (mut guard, told) = match mutex.lock_timeout(LONG).unwrap() {
        Ok(guard) => (guard, 0),
        Err(died) => (died.recover(), 1),
    };
    let [changes, deaths] = guard.get();
    assert_eq!(changes, 16 * 100 + 4 * 50);
    // One that dies with the news passes it on.
    assert!((1..=4).contains(&(deaths + told)), "{deaths} + {told}");
    guard.set([0; 2]);
    drop(guard);
    // Cancelled while it waits, in another process.
    let held = mutex.lock().unwrap();
    let task = pool.spawn(mutex.clone(), |mutex: Mutex<[u64; 2]>| drop(mutex.lock()));
    while task.state() == State::New {
        std::thread::yield_now();
    }
    task.cancel();
    assert!(task.join().unwrap_err().is_cancelled());
    drop(held);
    pool.shutdown();
}

#[test]
fn a_sandbox_does_not_keep_it_from_its_workers() {
    let sandbox = process::Sandbox::new().no_network().no_exec().no_new_processes().no_files();
    let pool = process::Pool::builder().workers(1).sandbox(sandbox).build();
    let mutex = Mutex::new(0_u8).unwrap();
    let add = |mutex: Mutex<u8>| mutex.lock().unwrap().update(|n| *n += 1);
    pool.spawn(mutex.clone(), add).join().unwrap();
    assert_eq!(mutex.lock().unwrap().get(), 1);
    pool.shutdown();
}
