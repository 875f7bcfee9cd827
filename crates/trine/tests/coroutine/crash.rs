//! Failures that kill the whole program: the tests run themselves as a child and look at its end.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::processes::overflow_the_stack;
use crate::common::waiting::until_waiting;
use crate::common::{again, alone, role, this_program, this_test};
use trine::sync::Event;
use trine::{Cause, Task, coroutine, future, thread, time};

#[test]
fn an_overflow_names_the_coroutine_and_the_remedy_and_aborts() {
    if role().is_some() {
        // A bystander on the same carriers makes sure that the report names the right coroutine.
        let bystander = coroutine::Builder::new().name("bystander").spawn(|| {
            for _ in 0..3 {
                coroutine::yield_now();
            }
        });
        let deep = coroutine::Builder::new().name("deep thought").spawn(|| overflow_the_stack(0));
        drop((bystander.join(), deep.join()));
        unreachable!("the overflow kills the program");
    }
    for variables in [&[][..], &[("TRINE_GUARD", "mprotect")], &[("TRINE_STACK_SIZE", "1M")]] {
        let output = alone(variables);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(6), "dies as std does, of SIGABRT: {text}");
        assert!(text.contains("coroutine `deep thought` #"), "{text}");
        assert!(text.contains("has overflowed its stack of"), "{text}");
        assert!(text.contains("TRINE_STACK_SIZE"), "{text}");
        let size =
            if variables.contains(&("TRINE_STACK_SIZE", "1M")) { "1024 KiB" } else { "256 KiB" };
        assert!(text.contains(size), "{text}");
    }
}

#[test]
fn a_null_dereference_in_a_coroutine_is_an_ordinary_segmentation_fault() {
    if role().is_some() {
        let task = coroutine::spawn(|| {
            // SAFETY: none; the child is to die of this write.
            unsafe { std::ptr::null_mut::<u8>().write_volatile(1) }
        });
        drop(task.join());
        unreachable!("the fault kills the program");
    }
    let output = alone(&[]);
    assert_eq!(output.status.signal(), Some(11));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("overflowed"));
}

#[test]
fn an_overflow_of_a_plain_thread_is_still_std_s_to_report() {
    if role().is_some() {
        coroutine::spawn(|| ()).join().unwrap();
        let thread =
            std::thread::Builder::new().name("plain".into()).spawn(|| overflow_the_stack(0));
        drop(thread.unwrap().join());
        unreachable!("the overflow kills the program");
    }
    let output = alone(&[]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(6), "{text}");
    assert!(text.contains("thread 'plain'") && text.contains("has overflowed its stack"), "{text}");
}

#[test]
fn an_overflow_of_a_future_is_that_of_its_carrier_s_thread() {
    if role().is_some() {
        drop(future::spawn(async { overflow_the_stack(0) }).join());
        unreachable!("the overflow kills the program");
    }
    let output = alone(&[]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(6), "{text}");
    assert!(text.contains("'trine-co-0'") && text.contains("has overflowed its stack"), "{text}");
}

#[test]
fn with_mprotect_guards_the_mapping_limit_is_named_and_the_rest_goes_on() {
    if role().is_some() {
        let limit: usize =
            std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse().unwrap();
        if limit > 200_000 {
            return println!("1 not_spawned: not tried, vm.max_map_count is {limit}");
        }
        let gate = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let tasks: Vec<_> = (0..limit)
            .map(|n| {
                let gate = std::sync::Arc::clone(&gate);
                coroutine::spawn(move || {
                    while !gate.load(std::sync::atomic::Ordering::Relaxed) {
                        trine::time::sleep(std::time::Duration::from_millis(20));
                    }
                    n
                })
            })
            .collect();
        // The last one runs first after all others have run; then the gate may open.
        let mut tasks = tasks.into_iter();
        let last = tasks.next_back().unwrap().join();
        gate.store(true, std::sync::atomic::Ordering::Relaxed);
        let results: Vec<_> = tasks.map(trine::Task::join).chain([last]).collect();
        let refused: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
        assert!(refused.iter().all(|error| error.is_not_spawned()));
        println!("{} not_spawned: {}", refused.len(), refused[0]);
        assert_eq!(coroutine::spawn(|| 7).join().unwrap(), 7);
        return;
    }
    let output = alone(&[("TRINE_GUARD", "mprotect")]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("not_spawned") && text.contains("vm.max_map_count"), "{text}");
}

#[test]
fn nonsense_in_the_environment_is_reported_and_passed_over() {
    if role().is_some() {
        return assert_eq!(coroutine::spawn(|| 7).join().unwrap(), 7);
    }
    let nonsense =
        [("TRINE_CARRIERS", "0"), ("TRINE_STACK_SIZE", "big"), ("TRINE_GUARD", "dragon")];
    let output = alone(&nonsense);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    for (variable, _) in nonsense {
        assert!(text.contains(&format!("trine: {variable}=")), "{text}");
    }
    // More threads than any machine has room for.
    let output = alone(&[("TRINE_CARRIERS", "18446744073709551615")]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("trine: TRINE_CARRIERS="), "{text}");
}

#[test]
fn what_a_refused_coroutine_owns_may_wait_while_it_is_dropped() {
    struct Waits;
    impl Drop for Waits {
        fn drop(&mut self) {
            time::sleep(Duration::from_millis(2));
        }
    }
    if role().is_some() {
        let done = Arc::new(AtomicBool::new(false));
        let (here, there) = (Arc::clone(&done), Arc::clone(&done));
        let slow = thread::spawn(move || {
            while !here.load(Ordering::Relaxed) {
                time::sleep(Duration::from_millis(1));
            }
        });
        // All on one carrier: the address space is used up, one coroutine parks, and the next is
        // refused.
        let all = coroutine::spawn(move || {
            let keepers: Vec<_> = (0..300)
                .map(|_| {
                    let done = Arc::clone(&there);
                    coroutine::Builder::new().stack_size(1 << 40).spawn(move || {
                        while !done.load(Ordering::Relaxed) {
                            time::sleep(Duration::from_millis(1));
                        }
                    })
                })
                .collect();
            let parks = coroutine::spawn(move || slow.join().unwrap());
            let waits = Waits;
            let refused = coroutine::Builder::new().stack_size(1 << 40).spawn(move || drop(waits));
            assert!(refused.join().unwrap_err().is_not_spawned());
            there.store(true, Ordering::Relaxed);
            parks.join().unwrap();
            keepers.into_iter().filter_map(|keeper| keeper.join().ok()).count()
        });
        let started = all.join_timeout(Duration::from_secs(30)).expect("no wake-up is lost");
        assert!(started.unwrap() < 300);
        return;
    }
    let output = alone(&[("TRINE_CARRIERS", "1")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn guard_pages_of_stacks_that_are_gone_do_not_count_towards_the_mapping_limit() {
    if role().is_some() {
        for _ in 0..40_000 {
            coroutine::Builder::new().stack_size(64 * 1024).spawn(|| ()).join().unwrap();
        }
        return;
    }
    let output = alone(&[("TRINE_GUARD", "mprotect")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_panic_is_an_error_also_where_standard_error_cannot_be_written() {
    if role().is_some() {
        let error = coroutine::spawn(|| panic!("in silence")).join().unwrap_err();
        return assert!(error.is_panic());
    }
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = again("alone").env("TRINE_CARRIERS", "0").stderr(full).status().unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn the_first_spawn_of_a_program_may_stand_in_a_destructor_during_a_panic() {
    struct Spawns;
    impl Drop for Spawns {
        fn drop(&mut self) {
            assert_eq!(coroutine::spawn(|| 7).join().unwrap(), 7);
        }
    }
    if role().is_some() {
        let caught = std::panic::catch_unwind(|| {
            let _spawns = Spawns;
            panic!("with something to clean up");
        });
        assert!(caught.is_err());
        // Panics are recorded from the next one on.
        let error = coroutine::spawn(|| panic!("noted")).join().unwrap_err();
        let Cause::Panicked { location, .. } = error.cause() else { panic!("{error}") };
        return assert!(location.is_some());
    }
    let output = alone(&[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_program_with_a_panic_hook_of_its_own_unwinds_no_task_twice() {
    struct WaitsFor(Arc<Event>);
    impl Drop for WaitsFor {
        fn drop(&mut self) {
            self.0.wait();
        }
    }
    if role().is_none() {
        let output = alone(&[("TRINE_CARRIERS", "1")]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    coroutine::spawn(|| ()).join().unwrap();
    std::panic::set_hook(Box::new(|_| ()));
    let panics: fn() = || panic!("unlucky");
    let resumes: fn() = || std::panic::resume_unwind(Box::new("unlucky"));
    for begin in [panics, resumes] {
        let gate = Arc::new(Event::new());
        let unwinding: Vec<_> = (0..3)
            .map(|_| {
                let waits = WaitsFor(Arc::clone(&gate));
                coroutine::spawn(move || {
                    let _waits = waits;
                    begin();
                })
            })
            .collect();
        let sleeps = coroutine::spawn(|| time::sleep(Duration::MAX));
        unwinding.iter().chain([&sleeps]).for_each(until_waiting);
        unwinding.iter().chain([&sleeps]).for_each(Task::cancel);
        // Of the tasks of this thread, the last to be cancelled is the only one that can end.
        assert!(sleeps.join().unwrap_err().is_cancelled());
        gate.set();
        for task in unwinding {
            let error = task.join().unwrap_err();
            assert!(error.is_panic() && error.to_string().contains("unlucky"), "{error}");
        }
    }
}

#[test]
fn a_panic_whose_payload_panics_when_dropped_costs_no_carrier() {
    struct First;
    impl Drop for First {
        fn drop(&mut self) {
            std::panic::panic_any(Second);
        }
    }
    struct Second;
    impl Drop for Second {
        fn drop(&mut self) {
            panic!("once more");
        }
    }
    if role().is_some() {
        for _ in 0..10 {
            drop(coroutine::spawn(|| First));
            drop(future::spawn(async { First }));
            drop(future::spawn(async { std::panic::panic_any(First) }));
        }
        let task = coroutine::spawn(|| 7).join_timeout(Duration::from_secs(30));
        return assert_eq!(task.expect("the carrier is alive").unwrap(), 7);
    }
    let output = alone(&[("TRINE_CARRIERS", "1")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn without_a_thread_to_carry_it_a_future_is_dropped_and_its_task_says_why() {
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    if role().is_some() {
        let dropped = Arc::new(AtomicBool::new(false));
        let owned = Dropped(Arc::clone(&dropped));
        let task = future::spawn(async move { drop(owned) });
        let error = task.join().unwrap_err();
        assert!(error.is_not_spawned() && dropped.load(Ordering::Relaxed), "{error}");
        // There is no timer thread, either.
        let sleep = || future::block_on(future::sleep(Duration::from_millis(1)));
        return assert!(std::panic::catch_unwind(sleep).is_err());
    }
    // Threads with stacks that no address space has room for.
    let output = alone(&[("RUST_MIN_STACK", "140737488355328")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_spawn_while_settings_are_chosen_uses_the_old_ones_and_the_choice_is_too_late() {
    if role().is_some() {
        let late = trine::configure(|config| {
            config.carriers(1);
            assert_eq!(coroutine::spawn(|| 7).join().unwrap(), 7);
        });
        return assert_eq!(late, Err(trine::AlreadyStarted));
    }
    let output = alone(&[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_segmentation_signal_that_the_program_ignores_stays_ignored() {
    if role().is_some() {
        coroutine::spawn(|| ()).join().unwrap();
        let kill = format!("kill -SEGV {}", std::process::id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        return coroutine::spawn(|| ()).join().unwrap();
    }
    // A program that a shell executes inherits the signals that the shell ignores.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' SEGV; exec \"$0\" \"$1\" --exact --test-threads=1"]);
    shell.arg(this_program()).arg(this_test()).env("TRINE_TEST_ROLE", "alone");
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{}: {output:?}", output.status);
}

#[test]
fn a_handler_from_before_is_called_with_the_signals_blocked_that_its_action_blocks() {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::SeqCst;

    /// The mask in which the handler has run.
    static MASK: AtomicU64 = AtomicU64::new(0);

    fn bit(signal: i32) -> u64 {
        1 << (signal - 1)
    }
    extern "C" fn note(_: i32) {
        let mut mask = 0_u64;
        let old = &raw mut mask;
        // SAFETY: reads the mask, eight bytes.
        unsafe { libc::syscall(libc::SYS_rt_sigprocmask, 0, std::ptr::null::<u64>(), old, 8) };
        MASK.store(mask, SeqCst);
    }
    let Some(role) = role() else {
        for role in ["deferred", "nested"] {
            let output = again(role).output().unwrap();
            assert!(output.status.success(), "{role}: {output:?}");
        }
        return;
    };
    let nested = role == "nested";
    // SAFETY: all-zero is a valid action. The handler makes one system call and touches an atomic.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = note as *const () as usize;
        action.sa_flags = if nested { libc::SA_NODEFER } else { 0 };
        libc::sigaddset(&raw mut action.sa_mask, libc::SIGUSR2);
        assert_eq!(libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut()), 0);
    }
    // Installs the library's handler.
    coroutine::spawn(|| ()).join().unwrap();
    // SAFETY: the handler returns.
    unsafe { libc::raise(libc::SIGSEGV) };
    let segv = if nested { 0 } else { bit(libc::SIGSEGV) };
    assert_eq!(MASK.load(SeqCst), segv | bit(libc::SIGUSR2));
}
