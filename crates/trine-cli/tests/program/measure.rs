//! Whole measurements of a small tree.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::Value;

use crate::{succeed, trine};

/// Makes four files to read, one of them with a name that is not UTF-8, and four entries to skip.
fn plant(root: &Path) {
    fs::create_dir_all(root.join("deep/er")).unwrap();
    fs::create_dir_all(root.join("deep/target")).unwrap();
    fs::create_dir_all(root.join(".git")).unwrap();
    fs::write(root.join("prose"), "to be or not to be\n").unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("deep/er/large"), "word ".repeat(100_000)).unwrap();
    fs::write(root.join(OsStr::from_bytes(b"no \xff text")), "one").unwrap();

    fs::write(root.join("deep/target/built"), "left out").unwrap();
    fs::write(root.join(".git/index"), "left out").unwrap();
    std::os::unix::fs::symlink("prose", root.join("link")).unwrap();
    std::os::unix::fs::symlink("..", root.join("deep/loop")).unwrap();
}

#[test]
fn the_document_holds_what_its_schema_says() {
    let tree = tempfile::tempdir().unwrap();
    plant(tree.path());
    let ran = succeed(trine(&["measure", "--quick", "--json", "--input"]).arg(tree.path()));
    assert_eq!(ran.stderr(), "", "progress shows only on a terminal");
    let report: Value = serde_json::from_str(ran.stdout()).unwrap();
    assert_eq!(report["schema"], "trine.measure/1");
    assert_eq!((&report["ok"], &report["quick"]), (&true.into(), &true.into()));
    assert!(report["machine"]["cores"].as_u64().unwrap() >= 1);

    let costs = report["costs"].as_array().unwrap();
    let names: Vec<_> = costs.iter().map(|row| row["name"].as_str().unwrap()).collect();
    let expected = [
        "create_join",
        "create_join_batch",
        "switch",
        "round_trip",
        "map_item",
        "first_use",
        "idle_memory",
    ];
    assert_eq!(names, expected);
    for row in costs {
        for kind in ["coroutine", "thread", "process"] {
            is_spread(&row["kinds"][kind]);
            assert!(!row["kinds"][kind]["how"].as_str().unwrap().is_empty());
        }
    }
    is_the_workload_of_the_tree(&report["workload"]);
    poison_does_what_each_kind_promises(report["poison"].as_array().unwrap());
}

fn is_spread(value: &Value) {
    let of = |name: &str| value[name].as_f64().unwrap_or_else(|| panic!("no {name} in {value}"));
    assert!(of("samples") >= 1.0 && of("operations") >= 1.0, "{value}");
    assert!(0.0 < of("min"), "{value}");
    assert!(of("min") <= of("median") && of("median") <= of("p95"), "{value}");
    assert!(of("p95") <= of("max"), "{value}");
}

fn is_the_workload_of_the_tree(workload: &Value) {
    assert_eq!(workload["agree"], true);
    assert_eq!(workload["files"], 4);
    assert_eq!(workload["words"], 6 + 100_000 + 1);
    assert_eq!(workload["bytes"], 19 + 500_000 + 3);
    for list in ["unreadable", "differences"] {
        assert_eq!(workload[list], Value::Array(Vec::new()));
    }
    let kinds = &workload["kinds"];
    for run in [&workload["plain_loop"], &kinds["coroutine"], &kinds["thread"], &kinds["process"]] {
        is_spread(&run["wall"]);
        is_spread(&run["cpu"]);
        assert!(run["bytes_per_second"].as_f64().unwrap() > 0.0);
    }
}

fn poison_does_what_each_kind_promises(scenes: &[Value]) {
    assert_eq!(scenes.len(), 6);
    for scene in scenes {
        assert_eq!(scene["as_expected"], true, "{scene}");
        assert_eq!(scene["wrong"], 0);
        if scene["poison"] == "crash" && scene["kind"] != "process" {
            assert_eq!(scene["survived"], false);
            assert_eq!(scene["signal"], 11);
            continue;
        }
        assert_eq!(scene["survived"], true);
        assert_eq!(scene["results"], 63);
        let [failure] = scene["failures"].as_array().unwrap().as_slice() else {
            panic!("not one failure: {scene}");
        };
        assert_eq!(failure["item"], 32);
        let text = failure["text"].as_str().unwrap();
        if scene["poison"] == "panic" {
            assert_eq!(failure["cause"], "panicked");
            assert!(text.contains("this item is poisoned"), "{text}");
        } else {
            assert_eq!((&failure["cause"], &failure["signal"]), (&"signaled".into(), &11.into()));
            assert!(text.contains("SIGSEGV"), "{text}");
        }
    }
}

#[test]
fn only_the_wanted_parts_are_measured() {
    let report = |only: &str| -> Value {
        let mut command = trine(&["measure", "--quick", "--json", "--only", only]);
        // A directory without files is bad input for the parts that read it.
        let empty = tempfile::tempdir().unwrap();
        if only == "costs" {
            command.arg("--input").arg(empty.path());
        }
        serde_json::from_str(succeed(&mut command).stdout()).unwrap()
    };
    let has = |report: &Value| ["costs", "workload", "poison"].map(|part| !report[part].is_null());
    let costs = report("costs");
    assert_eq!(has(&costs), [true, false, false]);
    assert_eq!(costs["ok"], true);
    assert_eq!(has(&report("poison,costs")), [true, false, true]);
}

#[test]
fn the_header_names_the_settings() {
    let mut command = trine(&["measure", "--quick", "--only", "costs"]);
    command.envs([("TRINE_CARRIERS", "3"), ("TRINE_REACTOR", "epoll")]);
    let ran = succeed(&mut command);
    let head = ran.stdout().lines().nth(1).unwrap();
    assert!(head.starts_with("3 carriers for coroutines, "), "{head}");
    assert!(head.contains(" in a pool of processes, waits by epoll"), "{head}");
}

#[test]
fn the_tables_are_for_people() {
    let tree = tempfile::tempdir().unwrap();
    plant(tree.path());
    let ran = succeed(trine(&["measure", "--quick", "--all", "--input"]).arg(tree.path()));
    for part in [
        "for coroutines, ",
        "in a pool of processes, waits by ",
        "A coroutine is created and joined in",
        "the plain loop",
        "A panic costs one task, with every kind.",
        "create + join, one by one",
        "memory of an idle one",
        "sha256 and word count of 6 files",
        "All three kinds agree",
        "died of SIGSEGV after",
        "1 TaskError, 63 results",
    ] {
        assert!(ran.stdout().contains(part), "`{part}` is missing in:\n{}", ran.stdout());
    }
    assert!(!ran.stdout().contains("EXPECTED"), "{}", ran.stdout());
    assert!(!ran.stdout().contains('\u{1b}'), "escape codes in a file");
}
