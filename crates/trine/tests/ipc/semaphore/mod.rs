//! Semaphores: within the process, between programs, and with bad input.

mod permits;
mod programs;
mod refused;

use std::time::Duration;

use trine::coroutine;
use trine::ipc::Semaphore;

use crate::common::places::Place;
use crate::common::temporary::unique;

/// A name that no other test has; drop removes the semaphore.
struct Name(String);

impl Name {
    fn new() -> Name {
        Name(unique("semaphore"))
    }

    fn semaphore(&self, permits: u32) -> Semaphore {
        Semaphore::create_new(&self.0, 0o600, permits).unwrap()
    }

    fn path(&self) -> String {
        format!("/dev/shm/sem.{}", self.0)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.path()).or_else(|_| std::fs::remove_dir(self.path()));
    }
}

/// Takes and gives back permits in tasks of all kinds, some of which are cancelled while they wait.
/// Afterwards there are as many permits as before, and no task has missed one.
fn take_and_give_back(semaphore: &Semaphore, tasks: u32, rounds: u32) {
    let place = |n: u32| if n % 4 == 3 { Place::Thread } else { Place::Coroutine };
    let all: Vec<_> = (0..tasks)
        .map(|n| {
            let same = semaphore.clone();
            place(n).spawn(move || {
                for k in 0..rounds {
                    match (n + k) % 3 {
                        0 if same.acquire_timeout(Duration::from_micros(50)).is_err() => continue,
                        0 => {}
                        _ if same.acquire().is_err() => return,
                        _ => {}
                    }
                    if k % 5 == 0 {
                        coroutine::yield_now();
                    }
                    same.release(1).unwrap();
                }
            })
        })
        .collect();
    for task in all.iter().skip(1).step_by(7) {
        task.cancel();
    }
    for task in all {
        // A task that had not begun has no value.
        let _ = task.join();
    }
}
