//! Runs the examples as a user does, and checks their output.

#[path = "../common/mod.rs"]
mod common;

mod chat;
mod interrupt;
mod peers;
mod programs;
mod running;
mod servers;

use running::run;

#[test]
fn three_ways() {
    let printed = run("three_ways", &[]);
    let sums: Vec<&str> =
        printed.lines().filter_map(|line| line.split_once(" files, ")).map(|line| line.1).collect();
    assert_eq!(sums.len(), 3, "{printed}");
    assert!(sums[0] == sums[1] && sums[1] == sums[2], "{printed}");
}

#[test]
fn asyncio() {
    let printed = run("asyncio", &["20"]);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 9, "{printed}");
    // The order of the ends is a matter of time; that of starts and results is promised.
    let starts = ["A: sleeps for 2 s", "B: sleeps for 3 s", "C: sleeps for 1 s"];
    assert_eq!(lines[0], "started at 0 s");
    assert_eq!(lines[1..4], starts.map(|start| format!("Task {start}")), "{printed}");
    for name in ["A", "B", "C"] {
        assert!(lines[4..7].contains(&&*format!("Task {name}: done")), "{printed}");
    }
    let results = r#"["A slept for 2 s", "B slept for 3 s", "C slept for 1 s"]"#;
    assert_eq!(lines[7], results, "{printed}");
    assert!(lines[8].starts_with("finished after "), "{printed}");
}

#[test]
fn crash() {
    let printed = run("crash", &[]);
    for part in
        ["input 3 is not for us", "SIGABRT (6)", "SIGSEGV (11)", "code 3", "overflowed its stack"]
    {
        assert!(printed.contains(part), "no `{part}` in:\n{printed}");
    }
    assert!(printed.contains("11 of 16 inputs decoded"), "{printed}");
}

#[test]
fn supervisor() {
    let printed = run("supervisor", &[]);
    for part in [
        "6 of 8 inputs decoded, 21 letters",
        "log, a coroutine, restarted 0 times: no failure",
        "decoder, a process, restarted 2 times: ",
        "SIGABRT (6)",
        "audit, a thread, restarted 1 times: ",
        "the books do not balance",
    ] {
        assert!(printed.contains(part), "no `{part}` in:\n{printed}");
    }
    assert!(printed.ends_with("all children have ended\n"), "{printed}");
}

#[test]
fn restarts() {
    let printed = run("restarts", &["20"]);
    assert!(printed.starts_with("20 kills survived in "), "{printed}");
    assert_eq!(printed.matches("median").count(), 2, "{printed}");
}

#[test]
fn shared() {
    let printed = run("shared", &[]);
    assert!(printed.contains("13107200 of 13107200 numbers are added"), "{printed}");
    assert!(printed.contains("85899352473600, by 8 tasks in other processes"), "{printed}");
}

#[test]
fn preload() {
    let printed = run("preload", &[]);
    assert_eq!(printed.matches("loaded in process ").count(), 1, "{printed}");
    assert!(printed.matches("starts with 4000000 numbers").count() >= 2, "{printed}");
    assert!(printed.contains("SIGABRT (6)") && printed.contains("1000 more answers"), "{printed}");
}

#[test]
fn image_farm() {
    let printed = run("image_farm", &[]);
    let line = |name: &str| {
        let lines: Vec<_> = printed.lines().filter(|line| line.starts_with(name)).collect();
        assert_eq!(lines.len(), 1, "{name} in:\n{printed}");
        lines[0]
    };
    assert_eq!(line("sound-3.ppm"), "sound-3.ppm: 640 x 480, 1 frames, brightness 120");
    assert_eq!(line("truncated.ppm"), "truncated.ppm: the decoder refuses it");
    let bomb = line("bomb.tga");
    assert!(bomb.contains("needed more than its memory limit of 256 MiB"), "{bomb}");
    let crash = line("crash.gif");
    assert!(crash.ends_with("; attempt 2 of 2") && crash.contains("SIGABRT (6)"), "{crash}");
    let endless = line("endless.jpg");
    assert!(endless.contains("used up its processor time of 1s"), "{endless}");
    assert!(printed.ends_with("5 of 9 files decoded\n"), "{printed}");
}

#[test]
fn async_crates() {
    let printed = run("async_crates", &[]);
    for part in ["499500 in all", "counted to 100", "1000 futures have heard", "in order: true"] {
        assert!(printed.contains(part), "no `{part}` in:\n{printed}");
    }
}

#[test]
fn sleepers() {
    let printed = run("sleepers", &["100000"]);
    assert!(printed.contains("100000 futures sleep"), "{printed}");
}

#[test]
fn pipeline() {
    let last = |printed: &str| printed.lines().last().unwrap().to_owned();
    let whole = last(&run("pipeline", &[]));
    assert_eq!(whole, last(&run("pipeline", &[])), "two runs, one sum");
    let three = run("pipeline", &[env!("CARGO_MANIFEST_DIR"), "3"]);
    assert!(last(&three).starts_with("3 files, "), "{three}");
}

#[test]
fn fetch_all() {
    let printed = run("fetch_all", &["--self-test", "2000"]);
    assert!(printed.contains("2000 pages, 26000 bytes in "), "{printed}");
    assert!(!printed.contains("failed"), "{printed}");
    // Just the allowed number, all at the same time.
    let bounded = run("fetch_all", &["--at-once", "7", "--self-test", "100"]);
    assert!(bounded.starts_with("7 connections at once\n100 pages, 1300 bytes in "), "{bounded}");
}
