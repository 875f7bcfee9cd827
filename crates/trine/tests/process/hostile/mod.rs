//! Hostile workers overwrite the memory that they share with their master, and write into their
//! socket. The master neither panics nor waits forever nor loses descriptors, and the other
//! workers are unharmed.

mod descriptors;
mod floods;
mod memory;
mod sizes;

use std::fs;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use trine::process::Pool;
use trine::{Task, TaskError};

use crate::common::processes::{descriptors, shared_mappings};
use crate::common::seeds::{Rng, seed, variable};
use crate::common::waiting::until_or;
use crate::common::{again, children_of_all_threads, role, run};

/// Lists the mappings that this process shares with its master.
fn shared() -> Vec<(usize, usize)> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let ours = maps.lines().filter(|line| line.contains("memfd:trine"));
    let at = |text: &str| usize::from_str_radix(text, 16).unwrap();
    ours.map(|line| {
        let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        (at(start), at(end))
    })
    .collect()
}

/// The attack of a hostile worker, during its task and afterwards.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Attack {
    /// Overwrites some words, many of them with plausible values.
    Words,
    /// Overwrites all memory with the same word.
    Same(u64),
    /// Overwrites words from a thread that outlives the task.
    Forever,
    /// Sends frames of all kinds, with descriptors.
    Frames,
    /// Sends the beginning of a frame, and no more.
    HalfAFrame,
}

fn strange_word(rng: &mut Rng) -> u64 {
    match rng.below(4) {
        0 => rng.number(),
        1 => rng.below(6) as u64,
        2 => (rng.below(300) << 8 | rng.below(5)) as u64,
        _ => rng.number() & 0xffff,
    }
}

fn scribble(rng: &mut Rng, words: usize) {
    let shared = shared();
    for _ in 0..words {
        let (start, end) = shared[rng.below(shared.len())];
        // The first cells are in use.
        let near = if rng.one_in(2) { (end - start).min(8192) } else { end - start };
        let word = (start + rng.below(near / 8) * 8) as *mut u64;
        // SAFETY: not sound in general; it does what a wild pointer does, within a writable
        // mapping.
        unsafe { word.write_volatile(strange_word(rng)) };
    }
}

fn send_frames(rng: &mut Rng) {
    // SAFETY: only queries.
    let is_open = |fd: &i32| unsafe { libc::fcntl(*fd, libc::F_GETFD) } != -1;
    let Some(socket) = (200..300).find(is_open) else { return };
    for _ in 0..rng.below(20) {
        let mut frame = Vec::from(*b"trn1");
        frame.extend((rng.below(11) as u32).to_le_bytes());
        frame.extend((rng.below(50) as u64).to_le_bytes());
        let len = rng.below(100);
        frame.extend((len as u64).to_le_bytes());
        frame.extend((rng.below(3) as u32).to_le_bytes());
        frame.extend([0; 4]);
        frame.extend((rng.below(3) as u32).to_le_bytes());
        frame.extend([0; 4]);
        frame.extend((0..len).map(|_| rng.number() as u8));
        send_with(socket, &frame, rng.below(4));
    }
}

/// Sends bytes and `count` descriptors through a socket, without waiting.
fn send_with(socket: i32, bytes: &[u8], count: usize) {
    let file = fs::File::open("/dev/null").unwrap();
    send(socket, bytes, &vec![file.as_raw_fd(); count], libc::MSG_DONTWAIT);
}

/// Sends bytes and descriptors through a socket. Returns the result of the call.
fn send(socket: i32, bytes: &[u8], descriptors: &[i32], flags: i32) -> isize {
    let count = descriptors.len();
    let mut control = [0_u64; 130];
    let mut part = libc::iovec { iov_base: bytes.as_ptr() as *mut _, iov_len: bytes.len() };
    // SAFETY: all-zero is a valid `msghdr`. Everything that it points to lives until the call
    // returns, and the control data has room for 253 descriptors.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if count > 0 {
            let len = (count * 4) as u32;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(len) as usize;
            let head = libc::CMSG_FIRSTHDR(&raw const message);
            (*head).cmsg_level = libc::SOL_SOCKET;
            (*head).cmsg_type = libc::SCM_RIGHTS;
            (*head).cmsg_len = libc::CMSG_LEN(len) as usize;
            let data = libc::CMSG_DATA(head).cast::<i32>();
            (0..count).for_each(|at| data.add(at).write_unaligned(descriptors[at]));
        }
        libc::sendmsg(socket, &raw const message, flags | libc::MSG_NOSIGNAL)
    }
}

/// Kinds of frames.
const VALUE: u32 = 5;
const FAILED: u32 = 6;
const BELL: u32 = 8;
const PROGRESS: u32 = 10;

/// Makes the head of a frame about the calling task.
fn head(kind: u32, len: u64, descriptors: u32) -> Vec<u8> {
    let mut head = Vec::from(*b"trn1");
    head.extend(kind.to_le_bytes());
    head.extend(trine::task::current().unwrap().id.get().to_le_bytes());
    head.extend(len.to_le_bytes());
    head.extend(0_u32.to_le_bytes());
    // Nanoseconds: it is the last answer.
    head.extend(1_u32.to_le_bytes());
    head.extend(descriptors.to_le_bytes());
    head.extend([0; 4]);
    head
}

/// Returns the number of the calling worker's socket.
fn own_socket() -> i32 {
    // SAFETY: only queries.
    let is_open = |fd: &i32| unsafe { libc::fcntl(*fd, libc::F_GETFD) } != -1;
    (200..300).find(is_open).unwrap()
}

/// Sends a frame of the calling task.
fn send_frame(kind: u32, body: &[u8], descriptors: &[i32]) {
    let mut frame = head(kind, body.len() as u64, descriptors.len() as u32);
    frame.extend(body);
    let sent = send(own_socket(), &frame, descriptors, 0);
    assert_eq!(sent, frame.len() as isize);
}

/// Waits until there is a file at the path.
fn wait_for(path: PathBuf) {
    until_or("the file of the test", || path.exists());
}

fn run_attack((attack, seed): (Attack, u64)) {
    let mut rng = Rng(seed);
    match attack {
        Attack::Words => {
            let words = 1 + rng.below(200);
            scribble(&mut rng, words);
        }
        Attack::Same(word) => {
            for (start, end) in shared() {
                for at in (start..end).step_by(8) {
                    // SAFETY: as above.
                    unsafe { (at as *mut u64).write_volatile(word) };
                }
            }
        }
        Attack::Forever => {
            _ = std::thread::spawn(move || {
                loop {
                    scribble(&mut rng, 3);
                    std::thread::yield_now();
                }
            })
        }
        Attack::Frames => send_frames(&mut rng),
        Attack::HalfAFrame => {
            let socket = (200..300).find(|fd| fs::metadata(format!("/proc/self/fd/{fd}")).is_ok());
            send_with(socket.unwrap(), b"trn1\x05\0\0", 0);
        }
    }
}

/// Joins a task. The timeout is far longer than any task takes: a missing end is the bug that this
/// test looks for.
fn join<T: Send + 'static>(task: Task<T>, what: &str) -> Result<T, TaskError> {
    let task = task.join_timeout(Duration::from_secs(30));
    task.unwrap_or_else(|_| panic!("{what} does not end"))
}

fn left() -> (usize, usize) {
    (descriptors(), shared_mappings())
}

/// Runs rounds. Each has a pool of its own with one hostile worker, and another pool beside it that
/// goes on.
fn rounds() {
    let seconds = variable("TRINE_STRESS_SECONDS").unwrap_or(10);
    let (begin, mut rng) = (Instant::now(), Rng(seed()));
    let honest = Pool::new(2);
    honest.spawn(1, |n: u64| n).join().unwrap();
    until_or("the honest pool's workers", || {
        children_of_all_threads(std::process::id()).len() == 3 && honest.worker_pids().len() == 2
    });
    honest.spawn(1, |n: u64| n).join().unwrap();
    let before = left();
    let mut rounds = 0_u64;
    let (mut values, mut errors) = (0_u64, 0_u64);
    while begin.elapsed() < Duration::from_secs(seconds) {
        let attack = match rng.below(9) {
            0..3 => Attack::Words,
            3 => Attack::Same(strange_word(&mut rng)),
            4 => Attack::Same(0),
            // All records seem to be in that state: none may be restarted forever.
            8 => Attack::Same((rng.below(300) << 8 | 2) as u64),
            5 => Attack::Forever,
            6 => Attack::Frames,
            _ => Attack::HalfAFrame,
        };
        let what = format!("{attack:?}, round {rounds} of seed {}", seed());
        let workers = 1 + rng.below(2);
        let pool = Pool::new(workers);
        let beside: Vec<_> = (0..50).map(|n| honest.spawn(n, |n: u64| n * 3)).collect();
        let mut tasks: Vec<_> = (0..5).map(|n| pool.spawn(n, |n: u64| n + 1)).collect();
        let hostile = pool.spawn((attack, rng.number()), run_attack);
        tasks.extend((5..20).map(|n| pool.spawn(n, |n: u64| n + 1)));
        _ = join(hostile, &what);
        tasks.extend((20..30).map(|n| pool.spawn(n, |n: u64| n + 1)));
        for task in tasks {
            // The values of a hostile worker are trusted. A value may be wrong, but every task
            // ends.
            match join(task, &what) {
                Ok(_) => values += 1,
                Err(_) => errors += 1,
            }
        }
        for (n, task) in (0..).zip(beside) {
            assert_eq!(join(task, &what).unwrap(), n * 3, "{what}");
        }
        // Its workers die, or are retired.
        drop(pool);
        rounds += 1;
        until_or(&format!("{what} leaves nothing: {:?} after {before:?}", left()), || {
            // One descriptor is this thread's eventfd, which exists from its first wait on.
            let (descriptors, mappings) = left();
            let children = children_of_all_threads(std::process::id()).len();
            children <= 3 && descriptors <= before.0 + 1 && mappings <= before.1
        });
    }
    println!("{rounds} rounds, {values} values, {errors} errors, seed {}", seed());
}

#[test]
fn hostile_workers_harm_nobody_else() {
    if role().is_some() {
        return rounds();
    }
    let mut command = again("master");
    command.stdout(std::process::Stdio::inherit());
    run(command);
}
