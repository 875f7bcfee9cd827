//! The mutex in shared memory: between tasks, between processes, after the death of its holder, and
//! on hostile memory.

mod deaths;
mod hostile;
mod processes;
mod tasks;

use std::io::{BufRead, BufReader};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Child;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use trine::ipc::Mutex;
use trine::ipc::bytemuck::Pod;

use crate::common::again;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(30);

/// Attaches to the lock once more, as another process does.
fn another<T: Pod>(mutex: &Mutex<T>) -> Mutex<T> {
    Mutex::from_descriptors(mutex.descriptors().unwrap()).unwrap()
}

/// A child program that has the lock and plays a role in the running test.
struct Other(Child);

impl Other {
    fn start<T: Pod>(mutex: &Mutex<T>, role: &str) -> Other {
        let descriptors = mutex.descriptors().unwrap();
        let [memory, bell] = descriptors.each_ref().map(OwnedFd::as_raw_fd);
        let mut command = again(role);
        command.env("TRINE_TEST_MUTEX", format!("{memory} {bell}"));
        // Only this child inherits them; children of other tests must not.
        let inherit = move || {
            descriptors.iter().try_for_each(|end| fcntl_setfd(end, FdFlags::empty()))?;
            Ok(())
        };
        // SAFETY: fcntl may be called between fork and exec.
        unsafe { command.pre_exec(inherit) };
        Other(command.spawn().unwrap())
    }

    /// Waits until the child has written a line that begins with `word`.
    fn until(&mut self, word: &str) {
        let mut reader = BufReader::new(self.0.stdout.as_mut().unwrap());
        let mut line = String::new();
        while !line.starts_with(word) {
            line.clear();
            assert!(
                reader.read_line(&mut line).unwrap() > 0,
                "it has ended before it printed {word}"
            );
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

/// Attaches to the lock that the child has inherited.
fn inherited<T: Pod>() -> Mutex<T> {
    let numbers = std::env::var("TRINE_TEST_MUTEX").unwrap();
    let numbers: Vec<i32> = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
    // SAFETY: the parent has left them open for this use.
    let descriptors = [0, 1].map(|n| unsafe { OwnedFd::from_raw_fd(numbers[n]) });
    Mutex::from_descriptors(descriptors).unwrap()
}
