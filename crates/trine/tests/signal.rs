//! Signals: their listeners, and their effect when there is no listener.
//!
//! Each test has signals of its own, as all run in one process.

mod common;

use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::os::unix::thread::JoinHandleExt;
use std::process::ExitStatus;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use std::{fs, iter};

use common::places::{KINDS, spawn};
use common::waiting::until_it_waits;
use common::{again, is_cancelled, role};
use trine::process::Command;
use trine::signal::{self, Signal, Signals};
use trine::{coroutine, process, time};

/// Longer than any test runs.
const LONG: Duration = Duration::from_secs(600);

/// Returns a real-time signal that neither the kernel nor other code uses.
fn real_time(n: i32) -> Signal {
    Signal::from_raw(40 + n)
}

/// Runs the running test once more, where it plays a role. Returns the exit status.
fn play() -> ExitStatus {
    let output = Command::from(again("plays")).output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    println!("{}", String::from_utf8_lossy(&output.stderr));
    output.status
}

#[test]
fn a_signal_is_heard_wherever_one_waits() {
    let signals = Signals::new([Signal::USR1]).unwrap();
    signal::raise(Signal::USR1).unwrap();
    assert_eq!(signals.recv().unwrap(), Signal::USR1);
    for kind in KINDS {
        let signals = Signals::new([Signal::USR1]).unwrap();
        let task = spawn(kind, move || signals.recv().unwrap());
        until_it_waits(&task);
        signal::raise(Signal::USR1).unwrap();
        assert_eq!(task.join().unwrap(), Signal::USR1);
    }
    let signals = Signals::new([Signal::USR1]).unwrap();
    let local = coroutine::spawn_local(move || signals.recv().unwrap());
    let raiser = coroutine::spawn(|| signal::raise(Signal::USR1).unwrap());
    assert_eq!(local.join().unwrap(), Signal::USR1);
    raiser.join().unwrap();
}

#[test]
fn a_signal_from_another_process_is_heard() {
    let signals = Signals::new([Signal::USR2]).unwrap();
    for kind in KINDS {
        let pid = std::process::id().to_string();
        let kill = spawn(kind, move || Command::new("kill").args(["-USR2", &pid]).status());
        assert_eq!(signals.recv().unwrap(), Signal::USR2);
        assert!(kill.join().unwrap().unwrap().success());
    }
    signal::send(std::process::id(), Signal::USR2).unwrap();
    assert_eq!(signals.recv_timeout(LONG).unwrap(), Some(Signal::USR2));
}

#[test]
fn all_listeners_hear_a_signal_and_only_those_that_asked_for_it() {
    let (a, b) = (real_time(0), real_time(1));
    let all: Vec<_> = (0..10).map(|_| Signals::new([a]).unwrap()).collect();
    let other = Signals::new([b]).unwrap();
    signal::raise(a).unwrap();
    for signals in &all {
        assert_eq!(signals.try_recv(), Some(a));
        assert_eq!(signals.try_recv(), None);
    }
    assert_eq!(other.try_recv(), None);
}

#[test]
fn what_came_before_is_not_heard_and_what_comes_between_two_waits_is() {
    let signal = real_time(2);
    let early = Signals::new([signal]).unwrap();
    signal::raise(signal).unwrap();
    let late = Signals::new([signal]).unwrap();
    assert_eq!(late.try_recv(), None);
    assert_eq!(early.recv().unwrap(), signal);
    signal::raise(signal).unwrap();
    signal::raise(signal).unwrap();
    for signals in [early, late] {
        assert_eq!(signals.recv().unwrap(), signal);
        // Two signals that were not received are one.
        assert_eq!(signals.try_recv(), None);
    }
}

#[test]
fn of_several_the_lowest_comes_first() {
    let signals = Signals::new([4, 5, 3].map(real_time)).unwrap();
    for n in [5, 3, 4] {
        signal::raise(real_time(n)).unwrap();
    }
    let received: Vec<_> = signals.iter().take(3).collect();
    assert_eq!(received, [3, 4, 5].map(real_time));
    assert_eq!(signals.try_recv(), None);
}

#[test]
fn each_signal_goes_to_one_of_those_who_wait_in_one_listener() {
    let signal = real_time(6);
    let signals = std::sync::Arc::new(Signals::new([signal]).unwrap());
    static RECEIVED: AtomicUsize = AtomicUsize::new(0);
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let signals = signals.clone();
            spawn(KINDS[n % 2], move || {
                assert_eq!(signals.recv().unwrap(), signal);
                RECEIVED.fetch_add(1, SeqCst);
            })
        })
        .collect();
    for n in 1..=tasks.len() {
        signal::raise(signal).unwrap();
        while RECEIVED.load(SeqCst) < n {
            std::thread::yield_now();
        }
        assert_eq!(RECEIVED.load(SeqCst), n);
    }
    tasks.into_iter().for_each(|task| task.join().unwrap());
    assert_eq!(signals.try_recv(), None);
}

#[test]
fn a_wait_ends_by_its_time_and_by_cancellation() {
    let signal = real_time(7);
    for kind in KINDS {
        let task = spawn(kind, move || {
            let signals = Signals::new([signal]).unwrap();
            assert_eq!(signals.recv_timeout(Duration::from_millis(1)).unwrap(), None);
            if let Ok(received) = time::timeout(Duration::from_millis(1), || signals.recv()) {
                assert_eq!(received.unwrap_err().kind(), io::ErrorKind::TimedOut);
            }
        });
        task.join().unwrap();
        let task = spawn(kind, move || {
            let error = signal::wait([signal]).unwrap_err();
            assert!(is_cancelled(&error));
            Signals::new([signal]).unwrap().iter().next();
            unreachable!("an iterator's wait unwinds");
        });
        until_it_waits(&task);
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled());
    }
}

#[test]
fn what_cannot_be_listened_for_is_refused() {
    for (signal, why) in [
        (Signal::KILL, "kernel"),
        (Signal::STOP, "kernel"),
        (
            Signal::from_raw(libc::SIGSEGV),
            "SIGSEGV cannot be listened for: it says that the running",
        ),
        (Signal::from_raw(libc::SIGURG), "trine uses it"),
        (Signal::from_raw(0), "no such signal"),
        (Signal::from_raw(-1), "no such signal"),
        (Signal::from_raw(32), "C library"),
        (Signal::from_raw(65), "no such signal"),
        (Signal::from_raw(i32::MIN), "no such signal"),
    ] {
        let error = Signals::new([Signal::HUP, signal]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(why), "{error}");
    }
    assert_eq!(Signals::new([]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(
        signal::raise(Signal::from_raw(99)).unwrap_err().kind(),
        io::ErrorKind::InvalidInput
    );
    assert_eq!(signal::send(0, Signal::TERM).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert!(signal::send(u32::MAX, Signal::TERM).is_err());
}

#[test]
fn names_are_those_of_kill() {
    let signals = Signals::new([Signal::CONT, Signal::WINCH, real_time(8)]).unwrap();
    assert_eq!(format!("{signals:?}"), "{SIGCONT, SIGWINCH, signal 48}");
}

#[test]
fn when_the_last_listener_is_gone_the_action_from_before_is_back() {
    if role().is_none() {
        assert_eq!(play().signal(), Some(Signal::TERM.as_raw()));
        return;
    }
    // SAFETY: ignoring a signal installs no code.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    for _ in 0..3 {
        let first = Signals::new([Signal::INT, Signal::TERM]).unwrap();
        let second = Signals::new([Signal::TERM]).unwrap();
        drop(first);
        signal::raise(Signal::INT).unwrap();
        signal::raise(Signal::TERM).unwrap();
        assert_eq!(second.try_recv(), Some(Signal::TERM));
    }
    signal::raise(Signal::TERM).unwrap();
    unreachable!("it ends the process");
}

/// Has all of `signals` pending for the calling thread at the same time, and then come.
fn raise_at_once(signals: &[Signal]) {
    // SAFETY: the sets are initialised before they are read, and the mask from before is restored.
    unsafe {
        let (mut all, mut old) = std::mem::zeroed::<(libc::sigset_t, libc::sigset_t)>();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old);
        for signal in signals {
            libc::pthread_kill(libc::pthread_self(), signal.as_raw());
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old, std::ptr::null_mut());
    }
}

#[test]
fn signals_that_come_at_once_are_heard_one_after_the_other() {
    if role().is_none() {
        assert!(play().success());
        return;
    }
    let mut all = vec![Signal::HUP, Signal::INT, Signal::USR1, Signal::USR2, Signal::TERM];
    all.extend((0..20).map(real_time));
    let signals = Signals::new(all.clone()).unwrap();
    let hear_all = || {
        let mut heard: Vec<_> = all.iter().map(|_| signals.recv().unwrap().as_raw()).collect();
        heard.sort_unstable();
        heard
    };
    let mut expected: Vec<_> = all.iter().map(|signal| signal.as_raw()).collect();
    expected.sort_unstable();
    raise_at_once(&all);
    assert_eq!(hear_all(), expected);
    for kind in KINDS {
        let all = all.clone();
        spawn(kind, move || raise_at_once(&all)).join().unwrap();
        assert_eq!(hear_all(), expected);
    }
}

extern "C" fn hungry(_: libc::c_int) {
    let frame = std::hint::black_box([1_u8; 64 * 1024]);
    BEFORE.fetch_add(usize::from(frame[1]), SeqCst);
}

#[test]
fn a_handler_from_before_runs_on_the_stack_that_it_was_installed_for() {
    if role().is_none() {
        assert!(play().success());
        return;
    }
    // SAFETY: the handler only touches an atomic. Without SA_ONSTACK it has the thread's own stack.
    unsafe { libc::signal(libc::SIGUSR1, hungry as *const () as usize) };
    let signals = Signals::new([Signal::USR1]).unwrap();
    signal::raise(Signal::USR1).unwrap();
    assert_eq!((signals.recv().unwrap(), BEFORE.load(SeqCst)), (Signal::USR1, 1));
}

static BEFORE: AtomicUsize = AtomicUsize::new(0);
static ABOVE: AtomicUsize = AtomicUsize::new(0);
static BELOW_ABOVE: AtomicUsize = AtomicUsize::new(0);

extern "C" fn before(_: libc::c_int) {
    BEFORE.fetch_add(1, SeqCst);
}

extern "C" fn above(signal: libc::c_int) {
    ABOVE.fetch_add(1, SeqCst);
    let below = BELOW_ABOVE.load(SeqCst);
    // SAFETY: the handler that `above` replaced; it looks at its first argument only.
    unsafe { std::mem::transmute::<usize, extern "C" fn(libc::c_int)>(below)(signal) };
}

#[test]
fn other_handlers_below_and_above_are_called_too() {
    if role().is_none() {
        assert!(play().success());
        return;
    }
    // SAFETY: both only touch atomics, and call the previous handler.
    let set = |function: extern "C" fn(libc::c_int)| unsafe {
        libc::signal(libc::SIGUSR1, function as *const () as usize)
    };
    let count = || (BEFORE.load(SeqCst), ABOVE.load(SeqCst));
    set(before);
    let signals = Signals::new([Signal::USR1]).unwrap();
    signal::raise(Signal::USR1).unwrap();
    assert_eq!((signals.try_recv(), count()), (Some(Signal::USR1), (1, 0)));
    drop(signals);
    signal::raise(Signal::USR1).unwrap();
    assert_eq!(count(), (2, 0));

    let signals = Signals::new([Signal::USR1]).unwrap();
    BELOW_ABOVE.store(set(above), SeqCst);
    for (n, signals) in iter::once(signals)
        .chain(iter::repeat_with(|| Signals::new([Signal::USR1]).unwrap()))
        .take(3)
        .enumerate()
    {
        signal::raise(Signal::USR1).unwrap();
        assert_eq!((signals.try_recv(), count()), (Some(Signal::USR1), (3 + n, 1 + n)));
    }
    signal::raise(Signal::USR1).unwrap();
    assert_eq!(count(), (6, 4));
}

#[test]
fn a_handler_runs_in_coroutines_and_leaves_errno_and_system_calls_alone() {
    let signal = real_time(9);
    let signals = Signals::new([signal]).unwrap();
    coroutine::spawn(move || {
        // SAFETY: the address of the thread's own `errno` is always valid.
        unsafe { *libc::__errno_location() = 77 };
        signal::raise(signal).unwrap();
        // SAFETY: as above.
        assert_eq!(unsafe { *libc::__errno_location() }, 77);
    })
    .join()
    .unwrap();
    assert_eq!(signals.recv().unwrap(), signal);

    let (mut reader, mut writer) = io::pipe().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        // SAFETY: the call has no arguments.
        tell.send(unsafe { libc::gettid() }).unwrap();
        reader.read(&mut [0])
    });
    let id = told.recv().unwrap();
    let sleeps = || {
        let stat = fs::read_to_string(format!("/proc/self/task/{id}/syscall")).unwrap();
        stat.starts_with(&format!("{} ", libc::SYS_read))
    };
    while !sleeps() {
        std::thread::yield_now();
    }
    // SAFETY: the thread has not been joined.
    unsafe { libc::pthread_kill(reading.as_pthread_t(), signal.as_raw()) };
    assert_eq!(signals.recv().unwrap(), signal);
    writer.write_all(b"x").unwrap();
    assert_eq!(reading.join().unwrap().unwrap(), 1);
}

#[test]
fn a_process_task_listens_too_but_not_for_the_signal_of_its_cancellation() {
    let task = process::spawn((), |()| {
        let signals = Signals::new([Signal::USR1]).unwrap();
        signal::raise(Signal::USR1).unwrap();
        let refused = Signals::new([Signal::TERM]).unwrap_err().to_string();
        (signals.recv().unwrap() == Signal::USR1, refused)
    });
    let (heard, refused) = task.join().unwrap();
    assert!(heard);
    assert!(refused.contains("in a process task"), "{refused}");
}

#[test]
fn listeners_that_come_and_go_lose_no_signal_of_others() {
    let signal = real_time(10);
    let steady = Signals::new([signal]).unwrap();
    let tasks: Vec<_> = (0..4)
        .map(|n| {
            spawn(KINDS[n % 2], move || {
                for _ in 0..200 {
                    let passing = Signals::new([signal, real_time(11)]).unwrap();
                    passing.try_recv();
                    coroutine::yield_now();
                }
            })
        })
        .collect();
    for _ in 0..500 {
        signal::raise(signal).unwrap();
        assert_eq!(steady.recv().unwrap(), signal);
    }
    tasks.into_iter().for_each(|task| task.join().unwrap());
}
