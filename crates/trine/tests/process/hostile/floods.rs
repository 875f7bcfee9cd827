//! A hostile worker writes without end: each look at it ends, and the others get their turn.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

use trine::Task;
use trine::process::{self, Pool};

use super::{BELL, PROGRESS, head, own_socket, send, shared};
use crate::common::waiting::TIMEOUT;

/// Cells of a ring, and words of a cell.
const CELLS: usize = 1024;
const CELL: usize = 8;

/// Fills its ring of answers with records about no task, faster than one thread can read them.
fn flood_ring(_: ()) {
    let (start, end) = shared()[0];
    let ring = end - CELLS * CELL * 8;
    assert!(ring > start);
    // SAFETY: the second ring of the worker's memory, whose words are atomics on both sides.
    let words = unsafe { std::slice::from_raw_parts(ring as *const AtomicU64, CELLS * CELL) };
    let sweep = move || {
        loop {
            for cell in words.chunks(CELL).filter(|cell| cell[0].load(Acquire) == 0) {
                // A task's number, the kind, two words of the body. All threads write the same.
                for (word, value) in [0, PROGRESS.into(), 0, 0].into_iter().enumerate() {
                    cell[1 + word].store(value, Relaxed);
                }
                // A whole record of 32 bytes.
                cell[0].store(2 | 32 << 8, Release);
            }
        }
    };
    (0..4).for_each(|_| _ = std::thread::spawn(sweep));
    loop {
        std::thread::park();
    }
}

/// Sends frames without end that an intact worker sends seldom: progress, and replies to questions.
fn flood_socket(_: ()) {
    let mut frames = Vec::new();
    for _ in 0..500 {
        frames.extend(head(PROGRESS, 8, 0));
        frames.extend([0; 8]);
        let mut reply = head(BELL, 0, 0);
        // About a task that it was not asked about.
        reply[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        frames.extend(reply);
    }
    loop {
        let mut sent = 0;
        while sent < frames.len() {
            let count = send(own_socket(), &frames[sent..], &[], 0);
            sent += usize::try_from(count).unwrap_or_else(|_| std::process::exit(1));
        }
    }
}

/// Lets a hostile pool flood while tasks of others go on; then ends it in two ways.
fn others_go_on_beside(spawn: fn(&Pool) -> Task<()>) {
    let (hostile, honest) = (Pool::new(1), Pool::new(1));
    let mut task = spawn(&hostile);
    for n in 0..50_u32 {
        // Each of these waits is for a moment, and has to end.
        let begin = Instant::now();
        task = match task.join_timeout(Duration::from_millis(2)) {
            Err(task) => task,
            Ok(ended) => panic!("{ended:?}"),
        };
        assert!(begin.elapsed() < TIMEOUT);
        for task in [honest.spawn(n, |n| n + 1), process::spawn(n, |n| n + 1)] {
            assert_eq!(task.join_timeout(TIMEOUT).expect("it ends").unwrap(), n + 1);
        }
    }
    hostile.stop(Duration::ZERO);
    assert!(task.join().unwrap_err().is_cancelled());
    let limit = Duration::from_millis(50);
    let hostile = Pool::builder().workers(1).timeout(limit).grace(limit).build();
    let ended = spawn(&hostile).join_timeout(TIMEOUT).expect("its time is up");
    assert!(ended.unwrap_err().is_timeout());
}

#[test]
fn a_flood_of_records_holds_nobody_up() {
    others_go_on_beside(|pool| pool.spawn((), flood_ring));
}

#[test]
fn a_flood_of_frames_holds_nobody_up() {
    others_go_on_beside(|pool| pool.spawn((), flood_socket));
}

#[test]
fn a_process_that_goes_on_writing_for_a_dead_worker_ends() {
    let fork_and_die = |()| -> () {
        // SAFETY: the child has one thread, and calls the kernel only.
        unsafe {
            if libc::fork() == 0 {
                let socket = own_socket();
                while libc::send(socket, [0_u8; 4096].as_ptr().cast(), 4096, libc::MSG_NOSIGNAL) > 0
                {
                }
                libc::_exit(0);
            }
        }
        std::process::abort();
    };
    let pool = Pool::new(1);
    let error = pool.spawn((), fork_and_die).join_timeout(TIMEOUT).expect("it ends").unwrap_err();
    assert!(error.is_crash(), "{error}");
    assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
}
