//! Between programs, also with C.

use std::ffi::CString;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};

use trine::ipc::Semaphore;

use super::{Name, take_and_give_back};
use crate::common::places::PLACES;
use crate::common::{again, kind_and_text, role};

#[test]
fn no_permit_and_no_wake_up_is_lost_among_processes() {
    if let Some(name) = role() {
        take_and_give_back(&Semaphore::open(name).unwrap(), 12, 60);
        return;
    }
    let name = Name::new();
    let semaphore = name.semaphore(2);
    let others: Vec<_> = (0..3).map(|_| again(&name.0).spawn().unwrap()).collect();
    take_and_give_back(&semaphore, 12, 60);
    for other in others {
        let output = other.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(semaphore.available(), 2);
    assert_eq!(std::fs::read(name.path()).unwrap()[4..8], [0; 4], "there are no sleepers");
}

/// A semaphore, used as a program in C does.
struct OfC(*mut libc::sem_t);

impl OfC {
    fn open(name: &str, flags: i32) -> OfC {
        let name = CString::new(format!("/{name}")).unwrap();
        // SAFETY: a name that ends with NUL.
        let opened = unsafe { libc::sem_open(name.as_ptr(), flags, 0o600, 5_u32) };
        assert!(opened != libc::SEM_FAILED, "{}", io::Error::last_os_error());
        OfC(opened)
    }

    fn wait(&self) {
        // SAFETY: a semaphore that is open.
        assert_eq!(unsafe { libc::sem_wait(self.0) }, 0);
    }

    fn post(&self) {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::sem_post(self.0) }, 0);
    }
}

#[test]
fn a_program_in_c_takes_and_gives_too() {
    const ROUNDS: u32 = 1000;
    if let Some(name) = role() {
        let (there, back) = (OfC::open(&name, 0), OfC::open(&format!("{name}-back"), 0));
        for _ in 0..ROUNDS {
            there.wait();
            back.post();
        }
        // Two waiters are both woken.
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let there = Semaphore::open(&name).unwrap();
                scope.spawn(move || there.acquire().unwrap());
            }
        });
        return;
    }
    for place in PLACES {
        let there = Name::new();
        let back = Name(format!("{}-back", there.0));
        let (gives, takes) = (there.semaphore(0), back.semaphore(0));
        let mut other = again(&there.0);
        let other = other.spawn().unwrap();
        let task = place.spawn(move || {
            for _ in 0..ROUNDS {
                gives.release(1).unwrap();
                takes.acquire().unwrap();
            }
            gives.release(2).unwrap();
        });
        let output = other.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        task.join().unwrap();
    }
    // The other way round: a semaphore of C is opened here.
    let name = Name::new();
    let of_c = OfC::open(&name.0, libc::O_CREAT | libc::O_EXCL);
    let semaphore = Semaphore::create(&name.0, 0o600, 9).unwrap();
    assert_eq!(semaphore.available(), 5);
    of_c.wait();
    of_c.post();
    of_c.post();
    assert_eq!(semaphore.available(), 6);
    Semaphore::unlink(format!("/{}", name.0)).unwrap();
    assert_eq!(kind_and_text(Semaphore::open(&name.0)).0, ErrorKind::NotFound);
    assert!(semaphore.try_acquire(), "an open semaphore outlives its name");
}

#[test]
fn what_is_killed_gives_nothing_back_and_harms_nobody() {
    if let Some(name) = role() {
        let semaphore = Semaphore::open(name).unwrap();
        semaphore.acquire().unwrap();
        println!("taken");
        semaphore.acquire().unwrap();
        return;
    }
    let name = Name::new();
    let semaphore = name.semaphore(1);
    let mut other = again(&name.0).spawn().unwrap();
    let sleepers = || std::fs::read(name.path()).unwrap()[4];
    while sleepers() == 0 {
        std::thread::yield_now();
    }
    other.kill().unwrap();
    other.wait().unwrap();
    let mut text = String::new();
    other.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(text.contains("taken"));
    assert_eq!((semaphore.available(), sleepers()), (0, 1));
    semaphore.release(1).unwrap();
    semaphore.acquire().unwrap();
}

#[test]
fn an_unnamed_one_crosses_by_its_descriptor() {
    if role().is_some() {
        let descriptor = io::stdin().as_fd().try_clone_to_owned().unwrap();
        let semaphore = Semaphore::try_from(descriptor).unwrap();
        for _ in 0..100 {
            semaphore.acquire().unwrap();
        }
        return;
    }
    let semaphore = Semaphore::new(0).unwrap();
    let mut command = again("takes");
    command.stdin(OwnedFd::try_from(&semaphore).unwrap());
    let other = command.spawn().unwrap();
    (0..100).for_each(|_| semaphore.release(1).unwrap());
    let output = other.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(semaphore.available(), 0);
}
