//! `trine doctor`: its findings, under limits that the tests set.

use std::process::Command;

use serde_json::Value;
use trine::process::{Builder, Sandbox};

use crate::{Ran, run, succeed, trine};

/// Runs the doctor below a shell that has changed its limits.
fn under(limits: &str) -> Ran {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{limits} && exec \"$0\" doctor --json")]);
    shell.arg(env!("CARGO_BIN_EXE_trine"));
    run(&mut shell)
}

fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Returns state, findings and remedy of one check.
fn check<'a>(report: &'a Value, name: &str) -> (&'a str, &'a str, &'a str) {
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name);
    let check = check.unwrap_or_else(|| panic!("no check of {name}: {report}"));
    let text = |field: &str| check[field].as_str();
    (text("state").unwrap(), text("found").unwrap(), text("remedy").unwrap_or_default())
}

#[test]
fn the_document_holds_what_its_schema_says() {
    let ran = succeed(trine(&["doctor", "--json"]).env("TRINE_CARRIERS", "3"));
    assert_eq!(ran.stderr(), "");
    let report = document(ran.stdout());
    assert_eq!(report["schema"], "trine.doctor/1");
    assert_eq!(report["ok"], true);
    assert_eq!(report["machine"]["carriers"], 3);
    let checks = report["checks"].as_array().unwrap();
    let names: Vec<_> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    let expected = [
        "coroutines",
        "threads",
        "processes",
        "kernel",
        "io_uring",
        "landlock",
        "seccomp",
        "cgroups",
        "descriptors",
        "threads_and_processes",
        "address_space",
        "data",
        "file_size",
        "mappings",
        "proc",
        "shared_memory",
        "dev_shm",
        "message_queues",
    ];
    assert_eq!(names, expected);
    for name in names {
        let (state, found, remedy) = check(&report, name);
        assert!(["works", "limited", "missing"].contains(&state), "{state}");
        assert!(!found.is_empty());
        assert!(state != "works" || remedy.is_empty(), "{name} works: {remedy}");
    }
    for kind in ["coroutines", "threads", "processes"] {
        assert_eq!(check(&report, kind).0, "works");
    }
}

#[test]
fn people_get_lines_with_remedies_and_a_verdict() {
    let ran = succeed(trine(&["doctor"]).env("TRINE_REACTOR", "epoll"));
    for part in [
        "waits by epoll",
        "works    coroutines",
        "limited  io_uring",
        "remedy: unset TRINE_REACTOR",
        "Tasks of all three kinds run here.",
    ] {
        assert!(ran.stdout().contains(part), "`{part}` is missing in:\n{}", ran.stdout());
    }
}

#[test]
fn a_low_limit_is_found_with_the_remedy_that_is_allowed() {
    let ran = under("ulimit -Sn 64");
    assert_eq!(ran.code(), Some(0), "{}", ran.stdout());
    let report = document(ran.stdout());
    let (state, found, remedy) = check(&report, "descriptors");
    assert_eq!(state, "limited");
    assert!(found.starts_with("64 for sockets"), "{found}");
    assert!(remedy.contains("`ulimit -n "), "{remedy}");

    let report = document(under("ulimit -n 64").stdout());
    assert!(check(&report, "descriptors").2.contains("root"), "{report}");

    let report = document(under("ulimit -v 8000000").stdout());
    let (state, found, remedy) = check(&report, "address_space");
    assert_eq!(state, "limited");
    assert!(found.contains("7.63 GiB") && remedy.contains("`ulimit -v unlimited`"), "{found}");
}

#[test]
fn tasks_that_do_not_run_are_exit_code_1_with_the_reason() {
    let ran = under("ulimit -f 0");
    assert_eq!(ran.code(), Some(1), "{}", ran.stdout());
    let report = document(ran.stdout());
    assert_eq!(report["ok"], false);
    let (state, found, _) = check(&report, "processes");
    assert_eq!(state, "missing");
    assert!(found.contains("RLIMIT_FSIZE") && found.contains("`ulimit -f`"), "{found}");
    assert_eq!(check(&report, "coroutines").0, "works");
    assert!(check(&report, "cgroups").1.contains("not tried"), "{report}");
    for place in ["file_size", "shared_memory", "dev_shm"] {
        assert_ne!(check(&report, place).0, "works", "{place}");
    }
}

#[test]
fn a_refused_io_uring_is_found_with_its_reason() {
    // A sandbox of trine's denies io_uring by a seccomp filter, as containers do.
    let sandbox = Sandbox::new();
    if !sandbox.check().seccomp() {
        return;
    }
    let program = env!("CARGO_BIN_EXE_trine").to_owned();
    let doctor = Builder::new().sandbox(sandbox).spawn(program, |program: String| {
        let mut doctor = Command::new(program);
        // The tests also run with epoll, which asks for no io_uring.
        let output = doctor.args(["doctor", "--json"]).env_remove("TRINE_REACTOR").output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    });
    let report = document(&doctor.join().unwrap());
    let (state, found, remedy) = check(&report, "io_uring");
    assert_eq!(state, "limited");
    assert!(found.contains("refused (") && found.contains("epoll instead"), "{found}");
    assert!(remedy.contains("seccomp filter"), "{remedy}");
    let reactor = report["machine"]["reactor"].as_str().unwrap();
    assert!(reactor.starts_with("epoll: io_uring was refused"), "{reactor}");
}
