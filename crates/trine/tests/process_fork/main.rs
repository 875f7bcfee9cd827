//! `process::fork`: this test program runs itself as a child for each test.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use trine::coroutine::Generator;
use trine::ipc::{Semaphore, Shared, SharedMut};
use trine::process::{Command, Fork, Process, fork};
use trine::signal::{Signal, Signals};
use trine::{coroutine, future, ipc, net, process, task, thread, time};

mod bare;
#[path = "../common/mod.rs"]
mod common;

use common::{child, role, run, this_program};

/// The tests. Rust's harness runs each test on a thread of its own, which is one thread too many
/// for a fork. Here each test is the first thread of a child program.
const TESTS: &[(&str, fn())] = &[
    ("it_returns_twice", it_returns_twice),
    ("other_threads_are_an_error", other_threads_are_an_error),
    ("what_starts_threads_that_stay_comes_after_it", what_starts_threads_that_stay_comes_after_it),
    ("a_joined_thread_is_waited_for", a_joined_thread_is_waited_for),
    ("all_of_trine_works_in_both", all_of_trine_works_in_both),
    ("the_bell_of_the_first_thread_is_its_own", the_bell_of_the_first_thread_is_its_own),
    ("the_end_of_a_child_is_told_as_it_was", the_end_of_a_child_is_told_as_it_was),
    (
        "a_dropped_child_lives_on_and_is_reaped_at_a_later_fork",
        a_dropped_child_lives_on_and_is_reaped_at_a_later_fork,
    ),
    (
        "a_program_that_ignores_its_children_forks_too",
        a_program_that_ignores_its_children_forks_too,
    ),
    ("a_limit_is_named_and_no_child_is_left", a_limit_is_named_and_no_child_is_left),
    ("a_child_of_the_parent_is_not_the_child_s", a_child_of_the_parent_is_not_the_child_s),
    ("local_coroutines_go_on_in_both", local_coroutines_go_on_in_both),
    ("a_process_task_does_not_fork", a_process_task_does_not_fork),
    ("shared_memory_is_there_in_both", shared_memory_is_there_in_both),
    (
        "a_locked_mutex_and_its_guard_stay_the_parent_s",
        a_locked_mutex_and_its_guard_stay_the_parent_s,
    ),
    ("no_fork_while_shared_memory_is_being_filled", no_fork_while_shared_memory_is_being_filled),
    (
        "a_bare_fork_refuses_what_it_has_no_threads_for",
        bare::a_bare_fork_refuses_what_it_has_no_threads_for,
    ),
    (
        "a_bare_fork_waits_for_no_task_of_its_parent",
        bare::a_bare_fork_waits_for_no_task_of_its_parent,
    ),
    ("a_bare_fork_has_all_that_needs_no_threads", bare::a_bare_fork_has_all_that_needs_no_threads),
];

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if role().is_some() {
        let (_, test) = TESTS.iter().find(|(name, _)| wanted[0] == *name).unwrap();
        return test();
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part));
    for (name, _) in TESTS.iter().filter(|(name, _)| is_wanted(name)) {
        run(child(&this_program(), name, "alone"));
        println!("test {name} ... ok");
    }
}

/// Forks. The child exits after `in_child`, with 0 if that did not panic.
fn fork_and(in_child: impl FnOnce()) -> Process {
    match fork().unwrap() {
        Fork::Parent(process) => process,
        Fork::Child => {
            let result = catch_unwind(AssertUnwindSafe(in_child));
            std::process::exit(i32::from(result.is_err()));
        }
    }
}

fn sleep_for_good() {
    loop {
        std::thread::park();
    }
}

fn must_succeed(process: &Process) {
    let status = process.wait().unwrap();
    assert!(status.success(), "{status}");
}

fn it_returns_twice() {
    let parent = std::process::id();
    let (mut receiver, mut sender) = ipc::pipe().unwrap();
    let before = String::from("from before");
    let process = fork_and(|| {
        assert_ne!(std::process::id(), parent);
        // SAFETY: no memory involved.
        assert_eq!(unsafe { libc::getppid() }.cast_unsigned(), parent);
        // SAFETY: as above. The C library knows the new thread's id.
        assert_eq!(unsafe { libc::gettid() }.cast_unsigned(), std::process::id());
        write!(sender, "{before} {}", std::process::id()).unwrap();
    });
    drop(sender);
    let mut text = String::new();
    receiver.read_to_string(&mut text).unwrap();
    assert_eq!(text, format!("from before {}", process.id()));
    must_succeed(&process);
    assert_eq!(std::process::id(), parent);
}

fn other_threads_are_an_error() {
    let told = |what: &str| {
        let error = fork().unwrap_err();
        assert!(error.is_multithreaded(), "{what}: {error}");
        let text = error.to_string();
        assert!(text.contains("threads") && text.contains("process::spawn"), "{what}: {text}");
    };
    let (go, stay) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || stay.recv());
    told("a thread");
    drop(go);
    other.join().unwrap().unwrap_err();
    must_succeed(&fork_and(|| {}));
    // A coroutine has a carrier, which stays.
    let inside = coroutine::spawn(|| fork().unwrap_err().is_multithreaded());
    assert!(inside.join().unwrap());
    told("carriers");
}

fn what_starts_threads_that_stay_comes_after_it() {
    type Start = fn();
    let all: [(&str, Start); 3] = [
        ("a process task", || process::spawn((), |()| ()).join().unwrap()),
        ("a listener", || drop(Signals::new([Signal::USR1]).unwrap())),
        ("a pool", || thread::pool().spawn(|| ()).join().unwrap()),
    ];
    for (what, start) in all {
        must_succeed(&fork_and(move || {
            start();
            assert!(fork().is_err_and(|error| error.is_multithreaded()), "{what}");
        }));
    }
}

fn a_joined_thread_is_waited_for() {
    for _ in 0..100 {
        std::thread::spawn(|| ()).join().unwrap();
        must_succeed(&fork_and(|| {}));
    }
}

fn all_of_trine_works_in_both() {
    // Waits for a descriptor before the fork. The child must not share the eventfd of that wait.
    let read = time::timeout(Duration::from_millis(1), || {
        let (mut end, _other) = net::UnixStream::pair().unwrap();
        end.read(&mut [0])
    });
    assert!(!matches!(read, Ok(Ok(_))));
    let process = fork_and(all_kinds);
    all_kinds();
    must_succeed(&process);
}

/// Uses every part of trine from the first thread.
fn all_kinds() {
    assert!(task::list().is_empty());
    let (sender, receiver) = trine::sync::channel::bounded(1);
    let producer = coroutine::spawn(move || (0..10).for_each(|n| sender.send(n).unwrap()));
    assert_eq!(receiver.iter().sum::<i32>(), 45);
    producer.join().unwrap();
    assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
    assert_eq!(process::spawn(6, |n: u32| n * 7).join().unwrap(), 42);
    assert_eq!(process::pool().spawn(6, |n: u32| n * 7).join().unwrap(), 42);
    time::sleep(Duration::from_millis(1));
    assert_eq!(future::spawn(async { 1 }).join().unwrap(), 1);
    let signals = Signals::new([Signal::USR1]).unwrap();
    trine::signal::raise(Signal::USR1).unwrap();
    assert_eq!(signals.recv().unwrap(), Signal::USR1);
    assert_eq!(Command::new("echo").arg("x").output().unwrap().stdout, b"x\n");
    let (mut end, mut other) = net::UnixStream::pair().unwrap();
    let writer = coroutine::spawn(move || other.write_all(b"hello"));
    let mut buffer = [0; 5];
    end.read_exact(&mut buffer).unwrap();
    writer.join().unwrap().unwrap();
    // The first thread waits for a descriptor, and its eventfd ends that wait.
    let (mut end, _other) = net::UnixStream::pair().unwrap();
    let failed = trine::scope(|s| {
        s.coroutine(|| -> () { panic!("a failure of a sibling") });
        end.read(&mut buffer)
    });
    assert!(failed.unwrap_err().is_panic());
}

fn the_bell_of_the_first_thread_is_its_own() {
    let bells = || {
        let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        open.filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .filter(|target| target.to_string_lossy().contains("eventfd"))
            .count()
    };
    let (mut end, _other) = net::UnixStream::pair().unwrap();
    end.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    end.read(&mut [0]).unwrap_err();
    assert_eq!(bells(), 1);
    must_succeed(&fork_and(|| assert_eq!(bells(), 0)));
    assert_eq!(bells(), 1);
}

fn the_end_of_a_child_is_told_as_it_was() {
    let process = fork_and(|| std::process::exit(3));
    assert_eq!(process.wait().unwrap().code(), Some(3));
    assert_eq!(process.wait().unwrap().code(), Some(3));
    let process = fork_and(sleep_for_good);
    assert!(process.try_wait().unwrap().is_none());
    assert!(process.wait_timeout(Duration::from_millis(1)).unwrap().is_none());
    process.signal(Signal::TERM).unwrap();
    assert_eq!(process.wait().unwrap().signal(), Some(libc::SIGTERM));
    // It has ended, and the signal has no target.
    process.kill().unwrap();
    let process = fork_and(|| std::process::abort());
    assert_eq!(process.wait().unwrap().signal(), Some(libc::SIGABRT));
}

fn a_dropped_child_lives_on_and_is_reaped_at_a_later_fork() {
    let (mut receiver, mut sender) = ipc::pipe().unwrap();
    let (mut gate, opener) = std::io::pipe().unwrap();
    let process = fork_and(|| {
        // SAFETY: this process's copy; it ends without dropping `opener`.
        unsafe { libc::close(opener.as_raw_fd()) };
        gate.read_to_end(&mut Vec::new()).unwrap();
        sender.write_all(b"alive").unwrap();
        std::process::exit(0)
    });
    let pid = process.id();
    drop(process);
    drop(opener);
    let mut text = [0; 5];
    receiver.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"alive");
    // It wrote its last bytes a moment before its end.
    while std::path::Path::new(&format!("/proc/{pid}")).exists() {
        must_succeed(&fork_and(|| {}));
    }
}

fn a_program_that_ignores_its_children_forks_too() {
    // SAFETY: ignoring a signal installs no code.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    for _ in 0..100 {
        let process = fork_and(|| {
            // SAFETY: the default installs no code either. The child has inherited the parent's
            // choice.
            let before = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
            assert_eq!(before, libc::SIG_IGN);
        });
        match process.wait() {
            Ok(status) => assert!(status.success()),
            Err(error) => assert!(error.to_string().contains("SIGCHLD"), "{error}"),
        }
    }
}

fn a_limit_is_named_and_no_child_is_left() {
    let mut hoard = Vec::new();
    let limit = libc::rlimit { rlim_cur: 50, rlim_max: 50 };
    // SAFETY: a valid `rlimit`.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    while let Ok(file) = std::fs::File::open("/dev/null") {
        hoard.push(file);
    }
    for spare in 0..4 {
        match fork() {
            Ok(Fork::Child) => std::process::exit(0),
            Ok(Fork::Parent(process)) => {
                assert!(spare >= 2, "it takes two");
                must_succeed(&process);
            }
            Err(error) => {
                assert!(spare < 2 && !error.is_multithreaded(), "{error}");
                let text = std::io::Error::from(error).to_string();
                assert!(text.contains("ulimit -n"), "{text}");
            }
        }
        hoard.pop();
    }
    // SAFETY: no memory involved.
    let any = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
    assert_eq!(any, -1, "a child is left");
}

fn a_child_of_the_parent_is_not_the_child_s() {
    let sleeper = fork_and(sleep_for_good);
    let process = fork_and(|| {
        sleeper.wait().unwrap_err();
        sleeper.kill().unwrap();
    });
    must_succeed(&process);
    assert_eq!(sleeper.wait().unwrap().signal(), Some(libc::SIGKILL));
}

fn local_coroutines_go_on_in_both() {
    let (mut receiver, mut sender) = ipc::pipe().unwrap();
    let parent = std::process::id();
    let forker = coroutine::spawn_local(|| {
        time::sleep(Duration::from_millis(1));
        match fork().unwrap() {
            Fork::Parent(process) => Some(process),
            Fork::Child => {
                time::sleep(Duration::from_millis(1));
                must_succeed(&fork_and(|| {}));
                None
            }
        }
    });
    let process = forker.join().unwrap();
    sender.write_all(if process.is_some() { b"p" } else { b"c" }).unwrap();
    drop(sender);
    let Some(process) = process else {
        std::process::exit(i32::from(std::process::id() == parent));
    };
    must_succeed(&process);
    let mut both = Vec::new();
    receiver.read_to_end(&mut both).unwrap();
    both.sort_unstable();
    assert_eq!(both, b"cp");
}

fn a_process_task_does_not_fork() {
    let text = process::spawn((), |()| fork().unwrap_err().to_string()).join().unwrap();
    assert!(text.contains("process task"), "{text}");
}

fn shared_memory_is_there_in_both() {
    let counts = SharedMut::<[AtomicU64]>::zeroed(1000).unwrap();
    let constant = Shared::from_slice(&[7_u64; 1000]).unwrap();
    let semaphore = Semaphore::new(0).unwrap();
    let (sender, receiver) = ipc::channel(4).unwrap();
    let process = fork_and(|| {
        // Would fill a hole where the memory of before is.
        let own = SharedMut::<[AtomicU64]>::zeroed(1000).unwrap();
        semaphore.acquire().unwrap();
        counts.iter().for_each(|count| _ = count.fetch_add(1, Relaxed));
        assert!(own.iter().all(|count| count.load(Relaxed) == 0));
        sender.send(constant[999]).unwrap();
    });
    counts.iter().for_each(|count| count.store(1, Relaxed));
    semaphore.release(1).unwrap();
    assert_eq!(receiver.recv().unwrap(), 7);
    must_succeed(&process);
    assert!(counts.iter().all(|count| count.load(Relaxed) == 2));
}

fn a_locked_mutex_and_its_guard_stay_the_parent_s() {
    let mutex = ipc::Mutex::new([3_u64; 100]).unwrap();
    let mut guard = mutex.lock().unwrap();
    let process = fork_and(|| {
        let refused = |what: &str, call: &mut dyn FnMut()| {
            let panic = catch_unwind(AssertUnwindSafe(call)).unwrap_err();
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or(panic.downcast_ref::<&str>().map(|&text| text.into())).unwrap();
            assert!(text.contains("make a mutex of its descriptors"), "{what}: {text}");
        };
        refused("get", &mut || _ = guard.get());
        refused("set", &mut || guard.set([4; 100]));
        refused("lock", &mut || drop(mutex.lock()));
        let own = mutex.descriptors().unwrap();
        let own = ipc::Mutex::<[u64; 100]>::from_descriptors(own).unwrap();
        assert!(own.try_lock().is_none(), "the parent holds it");
    });
    must_succeed(&process);
    assert_eq!(guard.get(), [3; 100]);
    guard.set([5; 100]);
    drop(guard);
    assert_eq!(mutex.lock().unwrap().get(), [5; 100]);
}

fn no_fork_while_shared_memory_is_being_filled() {
    let is_refused = || {
        let error = fork().unwrap_err();
        assert!(!error.is_multithreaded());
        assert!(error.to_string().contains("`Shared` is being built"), "{error}");
    };
    Shared::build(10_000, |_: &mut [u8]| is_refused()).unwrap();
    must_succeed(&fork_and(|| {}));
    let mut half = Generator::new(|yielder, ()| {
        Shared::build(10_000, |bytes: &mut [u8]| {
            yielder.yield_(());
            bytes.fill(1);
        })
    });
    let _ = half.send(());
    is_refused();
    drop(half);
    must_succeed(&fork_and(|| {}));
    // A panic ends it as well.
    let panics = || Shared::build(10_000, |_: &mut [u8]| std::panic::resume_unwind(Box::new(())));
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    must_succeed(&fork_and(|| {}));
}
