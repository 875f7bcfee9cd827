//! A pool's preload runs once, its effect is in every worker, and its failure is an error.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::IntoRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{abort, exit};
use std::sync::OnceLock;
use std::time::Duration;

use trine::process::{self, Pool, PoolBuilder};
use trine::time;

use crate::common::journal::{Journal, begin, own_folder};
use crate::common::processes::{
    children, descriptors, kill, overflow_the_stack, shared_mappings, sockets_of_a_worker,
    stay_for_ever,
};
use crate::common::waiting::until;
use crate::common::{again, children_of_all_threads, reason_of, role, run};

static TABLE: OnceLock<Vec<u64>> = OnceLock::new();

fn fill_table() {
    begin();
    TABLE.set((0..4 << 20).collect()).unwrap();
}

fn look_up(index: usize) -> (u64, u32) {
    (TABLE.get().unwrap()[index], std::process::id())
}

#[test]
fn it_runs_once_and_is_there_in_every_worker() {
    let folder = Journal::new("once");
    let pool = folder.pool(3).preload(fill_table).build();
    for round in 0..3 {
        let tasks: Vec<_> = (0..30).map(|n| pool.spawn(n, look_up)).collect();
        for (n, task) in (0..).zip(tasks) {
            let (value, worker) = task.join().unwrap();
            assert_eq!(value, n);
            assert_ne!(folder.began(), [worker]);
        }
        // Workers that replace another have it as well.
        let crash = pool.spawn((), |()| -> () { abort() });
        assert!(crash.join().unwrap_err().is_crash(), "round {round}");
    }
    pool.shutdown();
    assert_eq!(folder.began().len(), 1);
    // Other pools are not affected.
    assert!(process::spawn((), |()| TABLE.get().is_none()).join().unwrap());
}

#[test]
fn its_memory_is_there_once() {
    let folder = Journal::new("memory");
    let pool = folder.pool(1).preload(fill_table).build();
    let private = pool.spawn((), |()| {
        let sum: u64 = TABLE.get().unwrap().iter().sum();
        std::hint::black_box(sum);
        let text = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let line = text.lines().find(|line| line.starts_with("Private_Dirty:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    });
    let private = private.join().unwrap();
    assert!(private < 8 << 10, "{private} KiB of a table of 32 MiB are the worker's own");
}

#[test]
fn pools_with_the_same_preload_and_settings_share_it() {
    let folder = Journal::new("shared");
    let build = |value| folder.pool(1).env("VALUE", value).preload(fill_table).build();
    let (first, second, other) = (build("1"), build("1"), build("2"));
    for pool in [&first, &second, &other] {
        assert_eq!(pool.spawn(7, look_up).join().unwrap().0, 7);
    }
    assert_eq!(folder.began().len(), 2);
    drop(first);
    let crash = second.spawn((), |()| -> () { abort() });
    assert!(crash.join().unwrap_err().is_crash());
    assert_eq!(second.spawn(7, look_up).join().unwrap().0, 7);
    assert_eq!(folder.began().len(), 2, "the second still has its template");
}

#[test]
fn it_sees_the_pool_s_environment_and_directory() {
    static SEEN: OnceLock<(String, PathBuf)> = OnceLock::new();
    let folder = Journal::new("settings");
    let pool = folder
        .pool(1)
        .env("GREETING", "hello")
        .current_dir(folder.path())
        .preload(|| {
            let greeting = std::env::var("GREETING").unwrap();
            SEEN.set((greeting, std::env::current_dir().unwrap())).unwrap();
        })
        .build();
    let task = pool.spawn((), |()| (SEEN.get().unwrap().clone(), std::env::current_dir().unwrap()));
    let ((greeting, directory), own) = task.join().unwrap();
    assert_eq!(greeting, "hello");
    let expected = folder.path().canonicalize().unwrap();
    assert_eq!((&directory, &own), (&expected, &expected));
    // Tasks report settings that cannot be applied.
    let pool =
        folder.pool(2).current_dir(folder.path().join("nowhere")).preload(|| _ = begin()).build();
    assert!(reason_of(pool.spawn(1, |n: u8| n)).contains("cannot work in the directory"));
    let pool = folder.pool(2).env("a=b", "c").preload(|| _ = begin()).build();
    assert!(reason_of(pool.spawn(1, |n: u8| n)).contains("the environment cannot hold"));
    assert_eq!(folder.began(), []);
}

#[test]
fn a_thread_that_it_leaves_behind_is_an_error_that_says_what_to_do() {
    let folder = Journal::new("thread");
    let pool = folder
        .pool(2)
        .preload(|| {
            std::thread::Builder::new().name("lingerer".into()).spawn(stay_for_ever).unwrap();
        })
        .build();
    let tasks: Vec<_> = (0..5_u8).map(|n| pool.spawn(n, |n| n)).collect();
    for task in tasks {
        let reason = reason_of(task);
        for part in ["preload started a thread", "lingerer", "join it", "`initializer`"] {
            assert!(reason.contains(part), "{reason}");
        }
    }
    pool.shutdown();
    // Threads that trine starts count, too.
    let pools = [
        folder.pool(1).preload(|| trine::coroutine::spawn(|| ()).join().unwrap()).build(),
        folder.pool(1).preload(|| process::spawn((), |()| ()).join().unwrap()).build(),
    ];
    for pool in pools {
        let reason = reason_of(pool.spawn(1, |n: u8| n));
        assert!(reason.contains("preload started a thread"), "{reason}");
    }
    let pool =
        folder.pool(1).preload(|| trine::coroutine::spawn_local(|| ()).join().unwrap()).build();
    let reason = reason_of(pool.spawn(1, |n: u8| n));
    assert!(reason.contains("coroutines of its own thread"), "{reason}");
}

#[test]
fn threads_that_have_ended_are_welcome() {
    static SUM: OnceLock<u64> = OnceLock::new();
    let pool = Pool::builder()
        .workers(2)
        .preload(|| {
            let sum = |from: u64| (from..from + 1000).sum::<u64>();
            let joined = std::thread::spawn(move || sum(0));
            let scoped = std::thread::scope(|scope| {
                let threads: Vec<_> = (1..4).map(|n| scope.spawn(move || sum(n * 1000))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>()
            });
            SUM.set(joined.join().unwrap() + scoped).unwrap();
        })
        .build();
    let sum = pool.spawn((), |()| *SUM.get().unwrap());
    assert_eq!(sum.join().unwrap(), (0..4000).sum::<u64>());
}

#[test]
fn a_panic_ends_the_tasks_with_its_message_and_place() {
    let folder = Journal::new("panic");
    let pool = folder.pool(3).preload(load_a_model).build();
    let tasks: Vec<_> = (0..5_u8).map(|n| pool.spawn(n, |n| n)).collect();
    for task in tasks {
        let reason = reason_of(task);
        let place = format!("preload.rs:{LINE_OF_THE_PANIC}:");
        for part in ["preload panicked at ", &place, "there is no model"] {
            assert!(reason.contains(part), "{reason}");
        }
    }
    // Once for the pool and at most once for each task, not three times.
    assert!((1..=6).contains(&folder.began().len()), "{:?}", folder.began());
    // The next task tries again.
    fs::write(folder.path().join("model"), "").unwrap();
    assert_eq!(pool.spawn(3, |n: u8| n).join().unwrap(), 3);
    pool.shutdown();
}

fn load_a_model() {
    begin();
    assert!(own_folder().join("model").exists(), "there is no model");
}

const LINE_OF_THE_PANIC: u32 = line!() - 3;

fn is_mended() -> bool {
    begin();
    own_folder().join("mended").exists()
}

/// Returns the reason for which a pool has no workers: its preload crashes. When the cause is
/// mended, it gets workers.
fn why_it_crashes(name: &str, build: impl FnOnce(PoolBuilder) -> Pool) -> String {
    let folder = Journal::new(name);
    let pool = build(folder.pool(4));
    let reasons: Vec<_> = (0..3_u8).map(|n| pool.spawn(n, |n| n)).map(reason_of).collect();
    // The pool's own attempt, and those of tasks that came after it.
    let began = folder.began().len();
    assert!(began.is_multiple_of(3) && (3..=12).contains(&began), "{began}");
    for reason in &reasons {
        assert!(reason.contains("died 3 times before it was ready, in preload"), "{reason}");
    }
    fs::write(folder.path().join("mended"), "").unwrap();
    assert_eq!(pool.spawn(3, |n: u8| n).join().unwrap(), 3);
    pool.shutdown();
    reasons.into_iter().next().unwrap()
}

#[test]
fn a_crash_is_tried_three_times_and_told() {
    let reason = why_it_crashes("segv", |pool| {
        let crash = || {
            if !is_mended() {
                let nowhere = std::hint::black_box(std::ptr::null_mut::<u8>());
                // SAFETY: none; the crash is intended, and it is another process's.
                unsafe { nowhere.write_volatile(1) };
            }
        };
        pool.preload(crash).build()
    });
    assert!(reason.contains("was ended by SIGSEGV (11)"), "{reason}");
    let reason = why_it_crashes("killed", |pool| {
        let crash = || {
            if !is_mended() {
                kill(std::process::id(), libc::SIGKILL);
            }
        };
        pool.preload(crash).build()
    });
    assert!(reason.contains("was ended by SIGKILL (9)"), "{reason}");
    let reason = why_it_crashes("exited", |pool| {
        let crash = || {
            if !is_mended() {
                exit(7);
            }
        };
        pool.preload(crash).build()
    });
    assert!(reason.contains("exited with code 7"), "{reason}");
    let reason = why_it_crashes("deep", |pool| {
        let crash = || {
            if !is_mended() {
                overflow_the_stack(0);
            }
        };
        pool.preload(crash).build()
    });
    assert!(reason.contains("was ended by SIGABRT (6)"), "{reason}");
    let reason = why_it_crashes("deaf", |pool| {
        let crash = || {
            if !is_mended() {
                // Replaced and not just closed: std aborts where a descriptor of its own is gone.
                let null = File::open("/dev/null").unwrap().into_raw_fd();
                for descriptor in (3..100).filter(|&descriptor| descriptor != null) {
                    // SAFETY: not sound in general; the template's socket is to be closed.
                    unsafe { libc::dup2(null, descriptor) };
                }
            }
        };
        pool.preload(crash).build()
    });
    // Its master notices the closed connection first, and kills it.
    assert!(reason.contains("exited with code") || reason.contains("SIGKILL"), "{reason}");
}

/// Returns a byte of the file that a preload has opened, and the other open descriptors.
fn read_and_look(at: u64) -> (u8, Vec<String>) {
    let mut byte = [0];
    FILE.get().unwrap().read_exact_at(&mut byte, at).unwrap();
    let mut open = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
        if let (3.., Ok(target)) = (number, fs::read_link(entry.path())) {
            open.push(target.display().to_string());
        }
    }
    (byte[0], open)
}

static FILE: OnceLock<File> = OnceLock::new();

#[test]
fn descriptors_that_it_leaves_are_open_in_workers_and_no_others() {
    let folder = Journal::new("descriptors");
    let pool = folder
        .pool(2)
        .preload(|| {
            fs::write(own_folder().join("data"), "0123456789").unwrap();
            let closed_again = File::open("/dev/null").unwrap();
            FILE.set(File::open(own_folder().join("data")).unwrap()).unwrap();
            drop(closed_again);
            // A wait of trine opens a descriptor, which workers must not share.
            let (mut reader, mut writer) = trine::ipc::pipe().unwrap();
            let writing = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(5));
                writer.write_all(b"x").unwrap();
            });
            reader.read_exact(&mut [0]).unwrap();
            writing.join().unwrap();
        })
        .build();
    for round in 0..2 {
        let tasks: Vec<_> = (0..10_u64).map(|at| pool.spawn(at, read_and_look)).collect();
        for (n, task) in (b'0'..).zip(tasks) {
            let (digit, open) = task.join().unwrap();
            assert_eq!(digit, n, "round {round}");
            // The file, the sockets, and the directory that was being read.
            assert!(open.iter().any(|target| target.ends_with("/data")), "{open:?}");
            assert_eq!(open.len(), sockets_of_a_worker() + 2, "{open:?}");
        }
    }
}

#[test]
fn what_it_prints_is_printed_once() {
    if role().is_some() {
        let pool = Pool::builder()
            .workers(3)
            .preload(|| {
                std::io::stdout().write_all(b"<rust>").unwrap();
                // SAFETY: a NUL-terminated text.
                unsafe { libc::printf(c"<c>".as_ptr()) };
            })
            .build();
        let tasks: Vec<_> = (0..30_u8).map(|n| pool.spawn(n, |n| n)).collect();
        tasks.into_iter().for_each(|task| assert!(task.join().is_ok()));
        pool.shutdown();
        return;
    }
    let child = again("master").spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert_eq!((text.matches("<rust>").count(), text.matches("<c>").count()), (1, 1), "{text}");
}

fn begin_and_stay() {
    begin();
    stay_for_ever()
}

#[test]
fn one_that_never_returns_holds_up_neither_deadlines_nor_the_end() {
    if role().is_some() {
        let folder = Journal::new("never");
        // The template of all others exists, and stays.
        process::spawn((), |()| ()).join().unwrap();
        let pool = folder.pool(40).preload(begin_and_stay).build();
        folder.wait_for(1);
        // Other pools go on.
        let other = Pool::new(2);
        assert_eq!(other.spawn(5, |n: u8| n).join().unwrap(), 5);
        let late = time::timeout(Duration::from_millis(20), || pool.spawn(1, |n: u8| n).join());
        assert!(late.is_err() || late.unwrap().unwrap_err().is_timeout());
        let cancelled = pool.spawn(1, |n: u8| n);
        cancelled.cancel();
        assert!(cancelled.join().unwrap_err().is_cancelled());
        pool.shutdown();
        // A dropped pool ends in the background, as soon as no task waits for it.
        let pool = folder.pool(2).env("ANOTHER", "template").preload(begin_and_stay).build();
        folder.wait_for(2);
        let task = pool.spawn(1, |n: u8| n);
        drop(pool);
        assert_eq!(other.spawn(6, |n: u8| n).join().unwrap(), 6);
        assert!(!task.is_finished(), "a dropped pool finishes what it was given");
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled());
        other.shutdown();
        until(|| children() == 1);
        return;
    }
    run(again("master"));
}

#[test]
fn a_template_that_is_killed_is_replaced_and_preloaded_again() {
    let folder = Journal::new("replaced");
    let pool = folder.pool(2).preload(fill_table).build();
    let tasks: Vec<_> = (0..50).map(|n| pool.spawn(n, look_up)).collect();
    for round in 1..=10 {
        let templates = folder.wait_for(round);
        assert_eq!(templates.len(), round);
        kill(templates[round - 1], libc::SIGKILL);
        // All workers are lost, so that a new template is needed.
        for _ in 0..2 {
            let crash = pool.spawn((), |()| -> () { abort() });
            assert!(crash.join().unwrap_err().is_crash());
        }
        assert_eq!(pool.spawn(round, look_up).join().unwrap().0, round as u64);
    }
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(task.join().unwrap().0, n);
    }
    pool.shutdown();
}

#[test]
fn a_template_that_is_stopped_holds_up_neither_deadlines_nor_the_end() {
    if role().is_some() {
        let folder = Journal::new("stopped");
        Pool::new(1).spawn((), |()| ()).join().unwrap();
        until(|| children() == 1);
        let [plain] = children_of_all_threads(std::process::id())[..] else { panic!("more") };
        let preloaded = folder.pool(1).preload(fill_table).build();
        let [template] = folder.wait_for(1)[..] else { panic!("more") };
        let pid = preloaded.spawn(1, look_up).join().unwrap().1;
        kill(plain, libc::SIGSTOP);
        kill(template, libc::SIGSTOP);
        kill(pid, libc::SIGKILL);
        for pool in [Pool::new(3), preloaded] {
            let limit = Duration::from_millis(20);
            let late = time::timeout(limit, || pool.spawn(1, |n: u8| n).join());
            assert!(late.is_err() || !late.unwrap().unwrap_err().is_panic());
            pool.shutdown();
        }
        let waiting = process::spawn(9, |n: u8| n);
        kill(plain, libc::SIGCONT);
        assert_eq!(waiting.join().unwrap(), 9);
        // The workers that were no longer needed have ended, and the template of the ended pool.
        until(|| children_of_all_threads(std::process::id()) == [plain]);
        return;
    }
    run(again("master"));
}

#[test]
fn nothing_is_left_of_a_hundred_pools() {
    if role().is_some() {
        let folder = Journal::new("hundred");
        let everything = || [descriptors(), children(), shared_mappings()];
        // The template of all others exists, and stays.
        process::spawn((), |()| ()).join().unwrap();
        until(|| children() == 1);
        let before = everything();
        for round in 0..100_u32 {
            let value = (round % 3).to_string();
            let pool = folder.pool(2).env("VALUE", value).preload(|| _ = begin()).build();
            match round % 4 {
                0 => drop(pool),
                1 => pool.shutdown(),
                2 => assert_eq!(pool.spawn(round, |n| n + 1).join().unwrap(), round + 1),
                _ => {
                    let task = pool.spawn(round, |n| n + 1);
                    drop(pool);
                    assert_eq!(task.join().unwrap(), round + 1);
                }
            }
        }
        // Not more than before: something of the first process may have been ending then.
        let is_left = |(now, before): (usize, usize)| now > before;
        until(|| !everything().into_iter().zip(before).any(is_left));
        return;
    }
    run(again("master"));
}
