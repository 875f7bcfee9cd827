//! What kills the whole program, seen from outside: this test program runs itself as a child.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use trine::coroutine;

/// Runs the test `name` of this program with `variable` set.
fn child(name: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env("TRINE_TEST_CHILD", "1");
    command.envs(variables.iter().copied()).output().unwrap()
}

fn is_child() -> bool {
    std::env::var_os("TRINE_TEST_CHILD").is_some()
}

fn endless(n: u64) -> u64 {
    let ballast = std::hint::black_box([n; 16]);
    if n == u64::MAX { 0 } else { endless(n + 1) + ballast[3] }
}

#[test]
fn an_overflow_names_the_coroutine_and_the_remedy_and_aborts() {
    if is_child() {
        // A bystander on the same carriers makes sure that the right one is named.
        let bystander = coroutine::Builder::new().name("bystander").spawn(|| {
            for _ in 0..3 {
                coroutine::yield_now();
            }
        });
        let deep = coroutine::Builder::new().name("deep thought").spawn(|| endless(0));
        drop((bystander.join(), deep.join()));
        unreachable!("the overflow kills the program");
    }
    let name = "an_overflow_names_the_coroutine_and_the_remedy_and_aborts";
    for variables in [&[][..], &[("TRINE_GUARD", "mprotect")], &[("TRINE_STACK_SIZE", "1M")]] {
        let output = child(name, variables);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(6), "dies as std does, of SIGABRT: {text}");
        assert!(text.contains("coroutine `deep thought` #"), "{text}");
        assert!(text.contains("has overflowed its stack of"), "{text}");
        assert!(text.contains("TRINE_STACK_SIZE"), "{text}");
        let size =
            if variables.contains(&("TRINE_STACK_SIZE", "1M")) { "1020 KiB" } else { "252 KiB" };
        assert!(text.contains(size), "{text}");
    }
}

#[test]
fn a_null_dereference_in_a_coroutine_is_an_ordinary_segmentation_fault() {
    if is_child() {
        let task = coroutine::spawn(|| {
            // SAFETY: there is none; the child is to die of this.
            unsafe { std::ptr::null_mut::<u8>().write_volatile(1) }
        });
        drop(task.join());
        unreachable!("the fault kills the program");
    }
    let output = child("a_null_dereference_in_a_coroutine_is_an_ordinary_segmentation_fault", &[]);
    assert_eq!(output.status.signal(), Some(11));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("overflowed"));
}

#[test]
fn an_overflow_of_a_plain_thread_is_still_std_s_to_report() {
    if is_child() {
        coroutine::spawn(|| ()).join().unwrap();
        let thread = std::thread::Builder::new().name("plain".into()).spawn(|| endless(0));
        drop(thread.unwrap().join());
        unreachable!("the overflow kills the program");
    }
    let output = child("an_overflow_of_a_plain_thread_is_still_std_s_to_report", &[]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(6), "{text}");
    assert!(text.contains("thread 'plain'") && text.contains("has overflowed its stack"), "{text}");
}

#[test]
fn with_mprotect_guards_the_mapping_limit_is_named_and_the_rest_goes_on() {
    if is_child() {
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
        // The last one comes to its first run after all others; then the gate may open.
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
    let name = "with_mprotect_guards_the_mapping_limit_is_named_and_the_rest_goes_on";
    let output = child(name, &[("TRINE_GUARD", "mprotect")]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("not_spawned") && text.contains("vm.max_map_count"), "{text}");
}

#[test]
fn nonsense_in_the_environment_is_reported_and_passed_over() {
    if is_child() {
        return assert_eq!(coroutine::spawn(|| 7).join().unwrap(), 7);
    }
    let name = "nonsense_in_the_environment_is_reported_and_passed_over";
    let nonsense =
        [("TRINE_CARRIERS", "0"), ("TRINE_STACK_SIZE", "big"), ("TRINE_GUARD", "dragon")];
    let output = child(name, &nonsense);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    for (variable, _) in nonsense {
        assert!(text.contains(&format!("trine: {variable}=")), "{text}");
    }
}
