//! A program whose `/proc` shows another namespace of processes, or is not there.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use trine::process::{self, Builder, Pool, Sandbox};
use trine::{Cause, State, thread};

use crate::common::processes::overflow_the_stack;
use crate::common::temporary::TempPath;
use crate::common::{again, role, run};

/// Runs the running test once more, by a shell in new namespaces that first runs `prepare`. Returns
/// false if this user may not have them.
fn in_namespaces(kinds: &str, prepare: &str) -> bool {
    let unshare = |script: String| {
        let mut command = Command::new("unshare");
        command.args([kinds, "sh", "-c", &script, "sh"]);
        command
    };
    let allowed = unshare(prepare.to_owned()).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("not tested: this user may not make namespaces");
        return false;
    }
    let alone = again("there");
    // Process ids, by which temporary files are named, are not unique there.
    let folder = TempPath::folder("namespace");
    let mut command = unshare(format!("{prepare} && \"$@\""));
    command.arg(alone.get_program()).args(alone.get_args()).env("TRINE_TEST_ROLE", "there");
    command.env("TMPDIR", &folder.0);
    run(command);
    true
}

fn here() -> Result<PathBuf, String> {
    std::env::current_dir().map_err(|error| error.to_string())
}

/// Asserts that tasks run in the directory of the program, also after a change of it.
fn follow_the_directory() {
    let pool = Pool::builder().workers(1).fresh_process_per_task().preload(|| ()).build();
    let folders = [TempPath::folder("first"), TempPath::folder("second")];
    for folder in &folders {
        std::env::set_current_dir(folder).unwrap();
        let own = here();
        assert!(own.is_ok());
        assert_eq!(process::spawn((), |()| here()).join().unwrap(), own);
        assert_eq!(pool.spawn((), |()| here()).join().unwrap(), own);
    }
    drop(folders);
    // The directory is removed, for both.
    assert!(process::spawn((), |()| here().is_err()).join().unwrap());
    assert!(here().is_err());
    std::env::set_current_dir("/").unwrap();
}

static KEPT: OnceLock<File> = OnceLock::new();

/// Uses all that looks at threads and descriptors: preloads, limits, sandboxes, states.
fn look_at_processes() {
    let preload = || {
        std::thread::spawn(|| ()).join().unwrap();
        KEPT.set(File::open("/etc/passwd").unwrap()).unwrap();
    };
    let pool = Pool::builder().workers(1).preload(preload).build();
    let first_byte = |()| {
        let mut byte = [0];
        KEPT.get().unwrap().read_exact_at(&mut byte, 0).map(|()| byte[0]).ok()
    };
    assert!(pool.spawn((), first_byte).join().unwrap().is_some());
    let sandbox = Builder::new().sandbox(Sandbox::new().no_network());
    assert_eq!(sandbox.spawn(1, |n: u8| n).join().unwrap(), 1);
    let limited = Builder::new().memory_limit(64 << 20);
    assert_eq!(limited.spawn(1, |n: u8| n).join().unwrap(), 1);
    let too_low = Builder::new().memory_limit(4096).spawn(1, |n: u8| n).join().unwrap_err();
    assert!(too_low.to_string().contains("is too low"), "{too_low}");
    let overflow = process::spawn(0, overflow_the_stack).join().unwrap_err();
    assert!(matches!(overflow.cause(), Cause::StackOverflow), "{overflow}");
    let (go, goes) = std::sync::mpsc::channel::<()>();
    let (begin, begun) = std::sync::mpsc::channel();
    let waits = thread::spawn(move || {
        begin.send(()).unwrap();
        goes.recv().is_err()
    });
    begun.recv().unwrap();
    assert_ne!(waits.state(), State::Terminated);
    drop(go);
    assert!(waits.join().unwrap());
}

#[test]
fn tasks_run_where_the_program_is_though_proc_is_another_namespace_s() {
    if role().is_none() {
        in_namespaces("-pf", "true");
        return;
    }
    let link = std::fs::read_link("/proc/self").unwrap();
    assert_ne!(link.as_os_str(), &*std::process::id().to_string());
    follow_the_directory();
    look_at_processes();
}

#[test]
fn tasks_run_without_proc() {
    if role().is_none() {
        in_namespaces("-m", "mount -t tmpfs none /proc");
        return;
    }
    assert!(!std::path::Path::new("/proc/self").exists());
    follow_the_directory();
    look_at_processes();
}
