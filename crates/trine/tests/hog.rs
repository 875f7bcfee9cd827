//! Coroutines that hold their carrier are counted and reported. Coroutines that have not started
//! are run by other carriers.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

mod common;

use common::{again, role};
use trine::coroutine;
use trine::coroutine::{Builder, Hog, hogs, yield_now};

/// Runs one test at a time, on two carriers.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // Succeeds in the first test only; the carriers stay.
    let _ = trine::configure(|config| _ = config.carriers(2));
    guard
}

/// Returns the statistics of the hog with that name.
fn hog(name: &str) -> Option<Hog> {
    hogs().recent.into_iter().find(|hog| hog.task.name.as_deref() == Some(name))
}

/// Waits until `look` finds something.
fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "waited for a minute");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[inline(never)]
fn grind_away(stop: &AtomicBool) -> u64 {
    let mut turns = 0_u64;
    while !stop.load(Relaxed) {
        turns = std::hint::black_box(turns + 1);
    }
    turns
}

#[inline(never)]
fn calls_what_grinds(stop: &AtomicBool) -> u64 {
    std::hint::black_box(grind_away(stop)) + 1
}

#[test]
fn a_coroutine_that_computes_is_counted_once_with_its_name() {
    let _alone = alone();
    let before = hogs().count;
    let stop = Arc::new(AtomicBool::new(false));
    let task = Builder::new().name("the miller").spawn({
        let stop = Arc::clone(&stop);
        move || calls_what_grinds(&stop)
    });
    // It is watched for several periods more.
    let found = wait_for(|| hog("the miller").filter(|hog| hog.longest.as_millis() >= 50));
    assert_eq!((found.times, found.task.id), (1, task.id()));
    assert_eq!(found.task.location.file(), file!());
    assert!(hogs().count > before);
    stop.store(true, Relaxed);
    task.join().unwrap();
    assert_eq!(hog("the miller").unwrap().times, 1);
}

#[test]
fn each_hold_of_the_same_coroutine_is_counted() {
    let _alone = alone();
    let stops = [(); 3].map(|()| Arc::new(AtomicBool::new(false)));
    let task = Builder::new().name("again and again").spawn({
        let stops = stops.clone();
        move || stops.iter().for_each(|stop| _ = (grind_away(stop), yield_now()))
    });
    for (n, stop) in stops.iter().enumerate() {
        let times = n as u64 + 1;
        wait_for(|| hog("again and again").filter(|hog| hog.times == times));
        stop.store(true, Relaxed);
    }
    task.join().unwrap();
}

#[test]
fn a_coroutine_that_blocks_its_thread_is_counted() {
    let _alone = alone();
    let (open, gate) = mpsc::channel::<()>();
    let task = Builder::new().name("blocks").spawn(move || gate.recv());
    wait_for(|| hog("blocks"));
    open.send(()).unwrap();
    task.join().unwrap().unwrap();
}

#[test]
fn the_lone_child_of_a_hog_is_run_by_another_carrier() {
    let _alone = alone();
    let task = coroutine::spawn(|| {
        let own = std::thread::current().id();
        let begun = Arc::new(AtomicBool::new(false));
        let child = coroutine::spawn({
            let begun = Arc::clone(&begun);
            move || {
                begun.store(true, Relaxed);
                std::thread::current().id()
            }
        });
        grind_away(&begun);
        assert_ne!(child.join().unwrap(), own);
    });
    task.join().unwrap();
}

#[test]
fn a_coroutine_that_yields_is_no_hog_however_long_it_computes() {
    let _alone = alone();
    let task = Builder::new().name("polite").spawn(|| {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(150) {
            yield_now();
        }
    });
    task.join().unwrap();
    assert!(hog("polite").is_none());
}

/// Reads the monitor's count of voluntary context switches.
fn switches_of_the_monitor() -> Option<String> {
    std::fs::read_dir("/proc/self/task").unwrap().flatten().find_map(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt"))?;
        status.contains("trine-monitor").then(|| line.to_owned())
    })
}

#[test]
fn the_monitor_sleeps_while_there_is_nothing_to_run_and_wakes_after() {
    let _alone = alone();
    for _ in 0..3 {
        coroutine::spawn(|| ()).join().unwrap();
        wait_for(|| {
            let before = switches_of_the_monitor()?;
            std::thread::sleep(Duration::from_millis(60));
            (switches_of_the_monitor()? == before).then_some(())
        });
        let stop = Arc::new(AtomicBool::new(false));
        let before = hogs().count;
        let task = coroutine::spawn({
            let stop = Arc::clone(&stop);
            move || grind_away(&stop)
        });
        wait_for(|| (hogs().count > before).then_some(()));
        stop.store(true, Relaxed);
        task.join().unwrap();
    }
}

#[test]
fn a_report_names_the_coroutine_and_the_functions_it_is_in() {
    if role().is_some() {
        // Ends when its parent kills it, or when the parent ends.
        let parent = std::os::unix::process::parent_id();
        let task = Builder::new().name("the miller").spawn(move || {
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while std::os::unix::process::parent_id() == parent {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    stop.store(true, Relaxed);
                });
                calls_what_grinds(&stop)
            })
        });
        return drop(task.join());
    }
    let text =
        report_of("miller", &["trine: coroutine `the miller` #", "grind_away", "calls_what"]);
    assert!(text.contains("tests/hog.rs:"), "{text}");
}

/// Plays `role` in a child whose monitor reports, until the report has all of `parts`, in that
/// order. Returns the report up to there.
fn report_of(role: &str, parts: &[&str]) -> String {
    let mut command = again(role);
    let mut child = command.env("TRINE_HOGS", "trace").stdout(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let (mut text, mut parts) = (String::new(), parts.iter().peekable());
    for line in lines {
        text += &(line + "\n");
        let last = text.lines().next_back().unwrap();
        while parts.next_if(|part| last.contains(**part)).is_some() {}
        if parts.peek().is_none() {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(parts.peek().is_none(), "`{}` is not in the report:\n{text}", parts.peek().unwrap());
    text
}

#[test]
fn a_report_says_that_a_coroutine_blocks_in_a_lock_of_std() {
    if role().is_some() {
        static VALUE: LazyLock<()> = LazyLock::new(|| trine::sync::Event::new().wait());
        trine::configure(|config| _ = config.carriers(1)).unwrap();
        let first = coroutine::spawn(|| *VALUE);
        wait_for(|| (first.state() == trine::State::Waiting).then_some(()));
        // Blocks the carrier, on which the initialiser would have to go on.
        drop(Builder::new().name("needs it").spawn(|| *VALUE));
        // Ends when its parent kills it, or when the parent ends.
        let parent = std::os::unix::process::parent_id();
        while std::os::unix::process::parent_id() == parent {
            std::thread::sleep(Duration::from_millis(20));
        }
        return;
    }
    let parts = ["trine: coroutine `needs it` #", "Once", "Use trine::sync::OnceLock, LazyLock"];
    report_of("std", &parts);
}

/// Runs the running test in a child with the default settings and one carrier, until it ends.
/// Returns the lines that it wrote to standard error.
fn lines_by_default(role: &str) -> Vec<String> {
    let text = common::run(by_default(role));
    text.lines().map(str::to_owned).collect()
}

fn by_default(role: &str) -> Command {
    let mut command = again(role);
    command.env_remove("TRINE_HOGS").env("TRINE_CARRIERS", "1");
    command
}

/// Runs the running test in such a child, until it has written a line to standard error.
fn first_line(role: &str) -> String {
    let mut child = by_default(role).stdout(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    line
}

/// Waits in a child for its end: its parent kills it, or ends.
fn stay() {
    let _ = std::io::stdin().read(&mut [0]);
}

/// Returns the hog with that name, once it is known to have held its carrier for longer than it
/// may without a report.
fn long_hog(name: &str) -> Option<Hog> {
    hog(name).filter(|hog| hog.longest >= Duration::from_millis(1200))
}

#[test]
fn a_lock_of_std_across_a_wait_is_reported_by_default_in_one_line() {
    if role().is_some() {
        static LOCK: Mutex<()> = Mutex::new(());
        let first = coroutine::spawn(|| {
            let _held = LOCK.lock().unwrap();
            trine::sync::Event::new().wait();
        });
        wait_for(|| (first.state() == trine::State::Waiting).then_some(()));
        drop(Builder::new().name("the second").spawn(|| drop(LOCK.lock())));
        return stay();
    }
    let line = first_line("lock");
    assert!(line.starts_with("trine: coroutine `the second` #"), "{line}");
    for part in ["hog.rs:", "has blocked its thread for 1.", "UTC, in futex", "TRINE_HOGS=trace"] {
        assert!(line.contains(part), "`{part}` is missing: {line}");
    }
}

#[test]
fn a_report_tells_a_sleep_of_the_thread_from_a_computation() {
    match role().as_deref() {
        Some("sleep") => {
            let sleep = || std::thread::sleep(Duration::from_secs(60));
            drop(Builder::new().name("sleeps").spawn(sleep));
            stay();
        }
        Some(_) => {
            drop(Builder::new().name("computes").spawn(|| grind_away(&AtomicBool::new(false))));
            stay();
        }
        None => {
            let line = first_line("sleep");
            assert!(line.contains("`sleeps`") && line.contains("nanosleep"), "{line}");
            let line = first_line("compute");
            assert!(line.contains("`computes`") && line.contains("has computed for"), "{line}");
        }
    }
}

#[test]
fn there_is_at_most_one_line_a_minute_and_none_with_the_setting_count() {
    if role().is_some() {
        for name in ["the first", "the second"] {
            let (open, gate) = mpsc::channel::<()>();
            let task = Builder::new().name(name).spawn(move || gate.recv());
            wait_for(|| long_hog(name));
            drop(open);
            assert!(task.join().unwrap().is_err());
        }
        return;
    }
    let lines = lines_by_default("twice");
    assert!(lines.len() == 1 && lines[0].contains("`the first`"), "{lines:#?}");
    let mut silent = by_default("twice");
    silent.env("TRINE_HOGS", "count");
    assert_eq!(common::run(silent), "");
}

#[test]
fn coroutines_that_wait_are_never_reported() {
    if role().is_some() {
        let parked = Builder::new().name("parked").spawn(|| trine::sync::Event::new().wait());
        wait_for(|| (parked.state() == trine::State::Waiting).then_some(()));
        std::thread::sleep(Duration::from_millis(1100));
        // The first line is that of another one, so that of the waiting one would have come before.
        let sleep = || std::thread::sleep(Duration::from_secs(60));
        drop(Builder::new().name("sleeps").spawn(sleep));
        wait_for(|| long_hog("sleeps"));
        return;
    }
    let lines = lines_by_default("waits");
    assert!(lines.len() == 1 && lines[0].contains("`sleeps`"), "{lines:#?}");
}

fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.starts_with('T')
}

#[test]
fn the_time_for_which_a_process_is_stopped_is_no_hold() {
    if role().is_some() {
        let stop = Arc::new(AtomicBool::new(false));
        let task = Builder::new().name("stopped").spawn({
            let stop = Arc::clone(&stop);
            move || grind_away(&stop)
        });
        wait_for(|| hog("stopped"));
        // SAFETY: stops this process; its parent continues it.
        unsafe { libc::raise(libc::SIGSTOP) };
        // Long enough for a look of the monitor.
        std::thread::sleep(Duration::from_millis(50));
        stop.store(true, Relaxed);
        task.join().unwrap();
        let longest = hog("stopped").unwrap().longest;
        assert!(longest < Duration::from_secs(1), "{longest:?}");
        return;
    }
    let mut child = by_default("stopped").stdout(Stdio::null()).spawn().unwrap();
    let pid = child.id();
    wait_for(|| is_stopped(pid).then_some(()));
    std::thread::sleep(Duration::from_secs(2));
    // SAFETY: the child has not been reaped.
    unsafe { libc::kill(pid.cast_signed(), libc::SIGCONT) };
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success() && text.is_empty(), "{text}");
}
