//! The places by which processes share: tried with an object of each kind, which is removed.

use std::io;

use trine::ipc::{MessageQueue, Semaphore, Shared};

use super::check::Check;
use crate::report::unit;

pub(super) fn checks() -> Vec<Check> {
    vec![proc(), memory(), shm(), queues()]
}

fn proc() -> Check {
    let name = "proc";
    let own = std::fs::read_link("/proc/self").ok();
    let remedy = String::from("mount one of this namespace: `mount -t proc proc /proc`");
    let consequence = "the states of threads and processes, and some limits, are unknown";
    match own.as_deref().and_then(|path| path.to_str()?.parse::<u32>().ok()) {
        Some(pid) if pid == std::process::id() => Check::works(name, "/proc shows this process"),
        Some(_) => Check::limited(
            name,
            format!("/proc is that of another namespace of processes: {consequence}"),
            remedy,
        ),
        None => Check::limited(name, format!("there is no /proc: {consequence}"), remedy),
    }
}

fn memory() -> Check {
    let name = "shared_memory";
    match Shared::from_slice(&[42_u8; 4096]) {
        Ok(_) => Check::works(name, "values travel in sealed memory"),
        // The error names the limit that was met, and the remedy.
        Err(error) => Check::missing(name, error.to_string(), None),
    }
}

/// A name of this process, below which nothing else is made.
fn own_name() -> String {
    format!("/trine-doctor-{}", std::process::id())
}

fn shm() -> Check {
    let name = "dev_shm";
    let made = Semaphore::create_new(own_name(), 0o600, 1);
    let made = made.and_then(|_| Semaphore::unlink(own_name()));
    match (made, room()) {
        (Ok(()), Ok(free)) => {
            let free = unit::BYTES.show(free as f64);
            Check::works(name, format!("semaphores with a name work; {free} are free"))
        }
        (Ok(()), Err(_)) => Check::works(name, "semaphores with a name work"),
        (Err(error), _) => {
            let found = format!("semaphores with a name fail: {error}");
            Check::missing(name, found, shm_remedy(error.kind()).map(str::to_owned))
        }
    }
}

/// Returns the remedy for errors of the place; other errors name a limit, and how to raise it.
fn shm_remedy(error: io::ErrorKind) -> Option<&'static str> {
    match error {
        io::ErrorKind::NotFound
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem => Some(
            "mount a tmpfs that this user may write: `mount -t tmpfs -o mode=1777 tmpfs /dev/shm`",
        ),
        io::ErrorKind::StorageFull => Some(
            "remove files from it, or `mount -o remount,size=1G /dev/shm`; --shm-size of Docker",
        ),
        _ => None,
    }
}

/// Returns the free bytes of `/dev/shm`.
fn room() -> io::Result<u64> {
    let found = rustix::fs::statvfs("/dev/shm")?;
    Ok(found.f_bavail * found.f_frsize)
}

fn queues() -> Check {
    let name = "message_queues";
    let made = MessageQueue::create_new(own_name(), 0o600);
    match made.and_then(|_| MessageQueue::unlink(own_name())) {
        Ok(()) => Check::works(name, "POSIX message queues work"),
        Err(error) => {
            let remedy = match error.raw_os_error() {
                Some(_) if error.kind() == io::ErrorKind::Unsupported => {
                    "a kernel with CONFIG_POSIX_MQUEUE; channels of trine::ipc need none"
                }
                _ => "raise `ulimit -q` and fs.mqueue.*; channels of trine::ipc need none",
            };
            let found = format!("POSIX message queues fail: {error}");
            Check::missing(name, found, String::from(remedy))
        }
    }
}
