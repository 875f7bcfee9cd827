//! `trine replay`, with capsules of this very test program.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use trine::process::Pool;

use crate::{run, trine};

/// Has a task fail in a pool, and returns the path of its capsule.
fn capsule(directory: &TempDir, argument: u32) -> PathBuf {
    let pool = Pool::builder().workers(1).capture_output().capsules(directory).build();
    let task = pool.spawn(argument, |n: u32| {
        eprintln!("the number is {n}");
        if n == 0 {
            std::process::abort();
        }
        assert!(n > 1, "too small");
    });
    task.join().unwrap_err().capsule().unwrap().to_owned()
}

fn replay(file: &Path, options: &[&str]) -> crate::Ran {
    run(trine(&["replay"]).args(options).arg(file))
}

#[test]
fn a_capsule_is_shown_and_its_task_fails_again() {
    let directory = TempDir::new().unwrap();
    let file = capsule(&directory, 1);
    let shown = replay(&file, &["--show"]);
    assert_eq!(shown.code(), Some(0));
    for part in ["too small", "attempts    1", "the number is 1", "replay.rs"] {
        assert!(shown.stdout().contains(part), "{part}: {}", shown.stdout());
    }
    let ran = replay(&file, &[]);
    assert_eq!(ran.code(), Some(1));
    assert!(ran.stderr().contains("too small (as recorded)"), "{}", ran.stderr());
}

#[test]
fn the_debugger_stops_where_the_task_crashes() {
    if std::process::Command::new("gdb").arg("--version").output().is_err() {
        return println!("skipped: gdb is not installed");
    }
    let directory = TempDir::new().unwrap();
    let ran = replay(&capsule(&directory, 0), &["--gdb"]);
    assert!(ran.stdout().contains("SIGABRT"), "{}{}", ran.stdout(), ran.stderr());
}

#[test]
fn bad_files_and_programs_are_refused() {
    let directory = TempDir::new().unwrap();
    let none = replay(&directory.path().join("none"), &[]);
    assert_eq!(none.code(), Some(2));
    assert!(none.stderr().contains("none"), "{}", none.stderr());
    let text = directory.path().join("text");
    std::fs::write(&text, "no capsule").unwrap();
    assert!(replay(&text, &[]).stderr().contains("no capsule of this version"));
    let file = capsule(&directory, 1);
    let missing = replay(&file, &["--program", "/no/such/program"]);
    assert_eq!(missing.code(), Some(2));
    assert!(missing.stderr().contains("/no/such/program"), "{}", missing.stderr());
    let other = replay(&file, &["--program", env!("CARGO_BIN_EXE_trine")]);
    assert_eq!(other.code(), Some(2));
    assert!(other.stderr().contains("not the build"), "{}", other.stderr());
    // A file that others may have written could name any program.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o622);
    std::fs::set_permissions(&file, open).unwrap();
    let written = replay(&file, &[]);
    assert_eq!(written.code(), Some(2));
    assert!(written.stderr().contains("others may have written it"), "{}", written.stderr());
}
