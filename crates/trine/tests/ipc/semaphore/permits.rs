//! Within the process: permits are taken and given, and waits end.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use trine::coroutine;
use trine::ipc::Semaphore;

use super::{Name, take_and_give_back};
use crate::common::filters::refuse;
use crate::common::places::{PLACES, ends_from_outside, everywhere};
use crate::common::waiting::until_waiting;
use crate::common::{again, kind_and_text, role, run};

#[test]
fn permits_are_taken_and_given() {
    everywhere(|| {
        let name = Name::new();
        let semaphore = name.semaphore(2);
        let same = Semaphore::open(format!("/{}", name.0)).unwrap();
        assert!(semaphore.try_acquire());
        same.acquire().unwrap();
        assert!(!semaphore.try_acquire());
        assert_eq!(same.available(), 0);
        let (begin, limit) = (Instant::now(), Duration::from_millis(3));
        assert_eq!(kind_and_text(same.acquire_timeout(limit)).0, ErrorKind::TimedOut);
        assert!(begin.elapsed() >= limit);
        assert_eq!(kind_and_text(same.acquire_timeout(Duration::ZERO)).0, ErrorKind::TimedOut);
        semaphore.release(3).unwrap();
        same.acquire_timeout(Duration::MAX).unwrap();
        {
            let _permit = same.acquire_permit().unwrap();
            assert_eq!(semaphore.available(), 1);
        }
        same.acquire_permit().unwrap().forget();
        assert_eq!(semaphore.available(), 1);
        // The count of sleepers is zero.
        let word = std::fs::read(name.path()).unwrap();
        assert_eq!(word[..12], [1, 0, 0, 0, 0, 0, 0, 0, 128, 0, 0, 0]);
    });
}

#[test]
fn waits_end_from_outside_and_leave_nothing_behind() {
    ends_from_outside(|| Semaphore::new(0)?.acquire());
    let semaphore = Semaphore::new(0).unwrap();
    for place in PLACES {
        let same = semaphore.clone();
        let task = place.spawn(move || same.acquire());
        until_waiting(&task);
        task.cancel();
        assert!(task.join().unwrap().is_err());
        let memory = File::from(OwnedFd::try_from(&semaphore).unwrap());
        let mut word = [9; 8];
        memory.read_exact_at(&mut word, 0).unwrap();
        assert_eq!(word, [0; 8]);
    }
}

#[test]
fn a_release_of_many_wakes_as_many_of_all_kinds() {
    let semaphore = Semaphore::new(0).unwrap();
    for round in 0..20 {
        let tasks: Vec<_> = (0..20)
            .map(|n| {
                let same = semaphore.clone();
                PLACES[usize::from(n % 5 == 4)].spawn(move || same.acquire().unwrap())
            })
            .collect();
        if round % 2 == 0 {
            tasks.iter().for_each(until_waiting);
        }
        semaphore.release(7).unwrap();
        semaphore.release(13).unwrap();
        tasks.into_iter().for_each(|task| task.join().unwrap());
        assert_eq!(semaphore.available(), 0);
    }
}

#[test]
fn waiters_of_more_words_than_one_thread_watches() {
    let semaphores: Vec<_> = (0..300).map(|_| Semaphore::new(0).unwrap()).collect();
    let tasks: Vec<_> = semaphores
        .iter()
        .map(|semaphore| {
            let same = semaphore.clone();
            coroutine::spawn(move || same.acquire().unwrap())
        })
        .collect();
    tasks.iter().for_each(until_waiting);
    semaphores.iter().rev().for_each(|semaphore| semaphore.release(1).unwrap());
    tasks.into_iter().for_each(|task| task.join().unwrap());
}

#[test]
fn no_permit_and_no_wake_up_is_lost_among_those_who_give_up() {
    for permits in [1, 3] {
        let semaphore = Semaphore::new(permits).unwrap();
        take_and_give_back(&semaphore, 24, 60);
        assert_eq!(semaphore.available(), permits);
    }
}

#[test]
fn many_create_one_name_at_once() {
    for _ in 0..20 {
        let name = Arc::new(Name::new());
        let tasks: Vec<_> = (0..8)
            .map(|n| {
                let name = Arc::clone(&name);
                PLACES[n % 2].spawn(move || {
                    let semaphore = Semaphore::create(&name.0, 0o600, 8).unwrap();
                    semaphore.acquire().unwrap();
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join().unwrap());
        assert_eq!(Semaphore::open(&name.0).unwrap().available(), 0);
    }
}

#[test]
fn an_older_kernel_does_with_looking_again() {
    if role().is_none() {
        run(again("old"));
        return;
    }
    refuse(libc::SYS_futex_waitv, libc::ENOSYS);
    ends_from_outside(|| Semaphore::new(0)?.acquire());
    let (there, back) = (Semaphore::new(0).unwrap(), Semaphore::new(0).unwrap());
    for place in PLACES {
        let (takes, gives) = (there.clone(), back.clone());
        let task = place.spawn(move || {
            for _ in 0..20 {
                takes.acquire().unwrap();
                gives.release(1).unwrap();
            }
        });
        for _ in 0..20 {
            there.release(1).unwrap();
            back.acquire().unwrap();
        }
        task.join().unwrap();
    }
    let semaphore = Semaphore::new(2).unwrap();
    take_and_give_back(&semaphore, 12, 20);
    assert_eq!(semaphore.available(), 2);
}
