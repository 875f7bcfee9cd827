//! The death of the holder.

use std::io::{Read, Write};

use trine::ipc::Mutex;
use trine::ipc::bytemuck::{Pod, Zeroable};

use super::{LONG, Other, another, inherited};
use crate::common::places::PLACES;
use crate::common::role;
use crate::common::seeds::{Rng, seed};
use crate::common::waiting::until_waiting;

fn print_line(word: &str) {
    // On a line of its own: the harness has begun one without an end.
    println!("\n{word}");
    std::io::stdout().flush().unwrap();
}

fn until_stdin_closes() {
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn the_next_one_is_told_of_a_death() {
    if role().is_some() {
        let mutex = inherited::<u64>();
        let mut guard = mutex.lock().unwrap();
        guard.set(7);
        print_line("held");
        until_stdin_closes();
        return;
    }
    // Tasks that wait before the death, in every place.
    for place in PLACES {
        let mutex = Mutex::new(0_u64).unwrap();
        let mut other = Other::start(&mutex, "hold");
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
    // Tasks that lock after the death, by each call.
    for how in 0..3 {
        let mutex = Mutex::new(0_u64).unwrap();
        let mut other = Other::start(&mutex, "hold");
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
            // A dropped error leaves the lock as it was.
        }
        assert_eq!(another(&mutex).lock().unwrap_err().recover().get(), 8);
        assert_eq!(lock().unwrap().get(), 8);
    }
}

#[test]
fn a_process_that_ends_in_good_order_with_the_lock_has_died_with_it() {
    if role().is_some() {
        let _guard = std::mem::ManuallyDrop::new(Box::leak(Box::new(inherited::<u8>())).lock());
        std::process::exit(0);
    }
    let mutex = Mutex::new(1_u8).unwrap();
    Other::start(&mutex, "exit").finish();
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

/// Children that lock and change all the time are killed at any instruction, while others go on.
#[test]
fn killed_at_any_moment_they_leave_whole_values_and_a_lock_that_works() {
    if let Some(role) = role() {
        let mutex = inherited::<Books>();
        let me: usize = role.parse().unwrap();
        print_line("begins");
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
            (0..3).map(|n| Other::start(&mutex, &(1 + round * 3 + n).to_string())).collect();
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
    println!("{deaths} deaths were reported here, {} changes in all", books.total);
}
