//! Memory limits by control groups. If none can be made, the tests check nothing.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, ptr};

use trine::process::{self, Builder};
use trine::{Cause, Limit, TaskError, time};

use crate::common::waiting::until_or;
use crate::common::{again, own_group, role, worker_group};

const LIMIT: u64 = 64 << 20;

fn limited() -> Builder {
    Builder::new().memory_limit(LIMIT)
}

fn limited_pool(workers: usize) -> process::Pool {
    process::Pool::builder().workers(workers).memory_limit(LIMIT).build()
}

fn assert_killed_at_the_limit(error: &TaskError) {
    let Cause::Signaled { signal, out_of_memory, limit, .. } = error.cause() else {
        panic!("{error:?}")
    };
    assert_eq!((*signal, *out_of_memory), (libc::SIGKILL, true), "{error}");
    assert_eq!(*limit, Some(Limit::Memory(LIMIT)));
    let text = error.to_string();
    assert!(text.ends_with("it needed more than its memory limit of 64 MiB"), "{text}");
}

/// Lists the control groups of the workers of `master`.
fn groups_of(master: u32, beside: &Path) -> Vec<PathBuf> {
    let prefix = format!("trine-{master}-");
    let all = fs::read_dir(beside.parent().unwrap()).unwrap().flatten().map(|entry| entry.path());
    all.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&prefix)).collect()
}

/// Returns true if no process is in `group`, or it was removed.
fn is_empty(group: &Path) -> bool {
    fs::read_to_string(group.join("cgroup.events"))
        .map_or(true, |events| events.contains("populated 0"))
}

/// Maps and touches anonymous shared memory.
fn share(len: u64) {
    let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANON);
    // SAFETY: a new mapping at an address of the kernel's choice.
    let mapped = unsafe { libc::mmap(ptr::null_mut(), len as usize, access, flags, -1, 0) };
    assert_ne!(mapped, libc::MAP_FAILED);
    // SAFETY: mapped above, as long.
    unsafe { ptr::write_bytes(mapped.cast::<u8>(), 1, len as usize) };
}

/// Starts a child program that allocates and keeps that much memory.
fn hoard(mebibytes: u32) -> std::process::Child {
    let hoard = format!("head -c {mebibytes}M /dev/zero | tail -c {mebibytes}M > /dev/null");
    Command::new("sh").args(["-c", &hoard]).spawn().unwrap()
}

#[test]
fn all_memory_that_was_touched_counts_and_no_other() {
    if worker_group().is_none() {
        return;
    }
    let untouched = limited().spawn((), |()| {
        let room = Vec::<u8>::with_capacity(4 * LIMIT as usize);
        (black_box(vec![1_u8; LIMIT as usize / 2]).len(), room.capacity())
    });
    assert_eq!(untouched.join().unwrap(), (LIMIT as usize / 2, 4 * LIMIT as usize));
    let touched = limited().spawn((), |()| drop(black_box(vec![1_u8; LIMIT as usize])));
    assert_killed_at_the_limit(&touched.join().unwrap_err());
    assert_killed_at_the_limit(&limited().spawn((), |()| share(LIMIT)).join().unwrap_err());
}

#[test]
fn the_programs_that_a_task_starts_count_and_die_with_it() {
    if worker_group().is_none() {
        return;
    }
    let few = limited().spawn((), |()| hoard(4).wait().unwrap().success());
    assert!(few.join().unwrap());
    let many = limited().spawn((), |()| hoard(LIMIT as u32 >> 20).wait().unwrap().into_raw());
    assert_killed_at_the_limit(&many.join().unwrap_err());
}

#[test]
fn a_kill_for_another_reason_is_not_said_to_be_one() {
    if worker_group().is_none() {
        return;
    }
    let error = limited().spawn((), |()| {
        let _most = black_box(vec![1_u8; LIMIT as usize / 2]);
        // SAFETY: signals itself.
        unsafe { libc::raise(libc::SIGKILL) };
    });
    let error = error.join().unwrap_err();
    assert!(error.is_crash() && !error.is_out_of_memory(), "{error}");
}

#[test]
fn a_pool_goes_on_after_a_kill_at_the_limit() {
    if worker_group().is_none() {
        return;
    }
    let pool = limited_pool(2);
    for n in 0..4_u32 {
        let task = pool.spawn((), |()| drop(black_box(vec![1_u8; LIMIT as usize])));
        assert_killed_at_the_limit(&task.join().unwrap_err());
        assert_eq!(pool.spawn(n, |n| n + 1).join().unwrap(), n + 1);
    }
}

#[test]
fn no_group_is_left_of_workers_that_have_ended() {
    let Some(beside) = worker_group() else { return };
    if role().is_none() {
        // In a process of its own, whose groups are all of this test.
        crate::common::run(again("master"));
        return;
    }
    let none_left = || groups_of(std::process::id(), &beside).is_empty();
    for n in 0..100_u32 {
        let pool = limited_pool(2);
        let group = pool.spawn((), |()| own_group()).join().unwrap().unwrap();
        assert!(group.is_dir());
        match n % 4 {
            0 => {
                let kill = |()| {
                    // SAFETY: signals itself.
                    unsafe { libc::raise(libc::SIGKILL) };
                };
                pool.spawn((), kill).join().unwrap_err();
            }
            1 => drop(pool.spawn((), |()| time::sleep(Duration::MAX))),
            _ => {}
        }
        match n % 2 {
            0 => pool.shutdown(),
            _ => pool.stop(Duration::ZERO),
        }
    }
    until_or("the removal of all groups", none_left);
    // A program that lives on in the group keeps it, until a later chance to remove it.
    let (group, pid) = limited()
        .spawn((), |()| {
            (own_group().unwrap(), Command::new("sleep").arg("600").spawn().unwrap().id())
        })
        .join()
        .unwrap();
    let is_alone = || {
        let members = fs::read_to_string(group.join("cgroup.procs")).unwrap();
        members.trim() == pid.to_string()
    };
    until_or("the end of the worker", is_alone);
    // SAFETY: a process of this test, which is reaped after its end only.
    unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
    until_or("the end of the program", || is_empty(&group));
    until_or("the removal of the group of a program that lived on", || {
        limited().spawn((), |()| ()).join().unwrap();
        none_left()
    });
}

#[test]
fn what_a_killed_program_has_left_is_removed_by_the_next() {
    if worker_group().is_none() {
        return;
    }
    if role().is_some() {
        let pool = limited_pool(1);
        let group = pool.spawn((), |()| own_group()).join().unwrap().unwrap();
        println!("group {}", group.display());
        std::io::stdout().flush().unwrap();
        // Until it is killed, or its parent has seen enough.
        let _ = std::io::stdin().lines().next();
        return;
    }
    let start = || {
        let mut master = again("master").spawn().unwrap();
        let lines = BufReader::new(master.stdout.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        let group = lines.find_map(|line| Some(PathBuf::from(line.split_once("group ")?.1)));
        (master, group.unwrap(), lines)
    };
    let (mut killed, left, _) = start();
    assert!(left.is_dir());
    killed.kill().unwrap();
    killed.wait().unwrap();
    // Its worker has ended with it, or will.
    until_or("the end of the worker", || is_empty(&left));
    let (mut next, group, rest) = start();
    assert!(group.is_dir() && !left.exists());
    drop(next.stdin.take());
    rest.for_each(drop);
    assert!(next.wait().unwrap().success());
}
