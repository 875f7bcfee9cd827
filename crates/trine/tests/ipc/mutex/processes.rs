//! Between well-behaved processes.

use std::panic::{self, AssertUnwindSafe};

use trine::ipc::Mutex;
use trine::{State, process};

use super::{LONG, Other, another, inherited};
use crate::common::processes::descriptors;
use crate::common::role;

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
    let others: Vec<_> = (0..3).map(|_| Other::start(&mutex, "count")).collect();
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
fn nothing_is_left_open() {
    if role().is_some() {
        let mutex = inherited::<u8>();
        drop(mutex.lock());
        let before = descriptors();
        for _ in 0..100 {
            let mutex = Mutex::new(1_u8).unwrap();
            let same = another(&mutex);
            drop((mutex.lock(), Mutex::<u16>::from_descriptors(mutex.descriptors().unwrap())));
            drop((mutex, same));
        }
        assert_eq!(descriptors(), before);
        return;
    }
    Other::start(&Mutex::new(0_u8).unwrap(), "count").finish();
}

#[test]
fn a_forked_process_is_not_taken_for_its_parent() {
    if role().is_none() {
        return Other::start(&Mutex::new(0_u8).unwrap(), "fork").finish();
    }
    let mutex = inherited::<u8>();
    let guard = mutex.lock().unwrap();
    let mut status = 0;
    // SAFETY: the child makes only the calls below, on locks that this thread holds or that are
    // free.
    match unsafe { libc::fork() } {
        0 => {
            drop(guard);
            let told = panic::catch_unwind(AssertUnwindSafe(|| drop(mutex.try_lock()))).is_err();
            let apart = another(&mutex);
            let held = apart.try_lock().is_none();
            // SAFETY: ends this copy without running the parent's destructors.
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
    // A task that dies after it was notified passes the notification on.
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
