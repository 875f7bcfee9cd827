//! Each failure leaves a capsule, from which the same program fails again in the same way.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use trine::process::{Capsule, Pool, Replay};
use trine::{Executor, TaskError, time};

use crate::common::temporary::TempPath;
use crate::common::{again, role, run};
use crate::failure::Failure::{ClosesItsDescriptors, OverwritesItsMemory};
use crate::failure::{Fault, Limits, in_every_way};
use crate::pools::builder;

fn start(capsule: &Capsule, replay: Replay) -> Child {
    let mut command = capsule.command(replay);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Returns the exit code of a replay, and its standard error.
fn end(replay: Child) -> (Option<i32>, String) {
    let output = replay.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn files(directory: &Path) -> usize {
    fs::read_dir(directory).map_or(0, Iterator::count)
}

#[test]
fn every_failure_is_replayed_from_its_file() {
    in_every_way(|fault, folder| {
        let directory = folder.0.join("capsules");
        let pool = builder(fault.failure).capsules(&directory).build();
        let spawn = || {
            Ok::<_, TaskError>(pool.spawn(fault.clone(), |fault: Fault| {
                fault.fail(Limits::OfThePool);
            }))
        };
        let task = if fault.failure.takes_time() {
            time::timeout(Duration::from_millis(700), spawn).unwrap().unwrap()
        } else {
            spawn().unwrap()
        };
        fault.act();
        let first = task.join();
        fault.check_end(&first, "recorded");
        let vague = matches!(fault.failure, ClosesItsDescriptors | OverwritesItsMemory);
        let Err(error) = first else {
            assert!(vague, "{:?} did not fail", fault.failure);
            return assert_eq!(files(&directory), 0);
        };
        assert_eq!(files(&directory), 1, "{:?}", fault.failure);
        let file = error.capsule().expect("its pool keeps capsules");
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        let capsule = Capsule::read(file).unwrap();
        assert_eq!(capsule.cause(), error.cause().to_string());
        fs::remove_file(folder.0.join("pid")).unwrap();
        let replay = start(&capsule, Replay::Worker);
        fault.act();
        let (code, stderr) = end(replay);
        let again = code == Some(Capsule::FAILED) && stderr.contains("(as recorded)");
        // The effect of a wild write is another one each time.
        let ran = vague && matches!(code, Some(0 | Capsule::FAILED));
        assert!(again || ran, "{:?}: {code:?}: {stderr}", fault.failure);
        pool.shutdown();
    });
}

#[test]
fn a_replay_in_the_process_itself_dies_as_the_worker_did() {
    let folder = TempPath::folder("replays");
    let pool = Pool::builder().workers(1).capsules(&folder.0).build();
    let error = pool.spawn((), |()| -> () { std::process::abort() }).join().unwrap_err();
    let capsule = Capsule::read(error.capsule().unwrap()).unwrap();
    let output = start(&capsule, Replay::Here).wait_with_output().unwrap();
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    assert_eq!(signal, Some(libc::SIGABRT));
}

#[test]
fn a_task_that_fails_no_more_is_reported_as_such() {
    let folder = TempPath::folder("replays");
    let mark = folder.0.join("mark");
    let pool = Pool::builder().workers(1).capsules(folder.0.join("capsules")).build();
    let task = pool.spawn(mark.clone(), |mark| assert!(mark.exists(), "not yet"));
    let error = task.join().unwrap_err();
    let capsule = Capsule::read(error.capsule().unwrap()).unwrap();
    assert!(capsule.backtrace().contains("a_task_that_fails_no_more"), "{}", capsule.backtrace());
    fs::write(mark, "").unwrap();
    for replay in [Replay::Worker, Replay::Here] {
        assert_eq!(end(start(&capsule, replay)).0, Some(0));
    }
}

/// The settings, the directory, the environment and a long argument come along.
#[test]
fn a_replay_has_the_surroundings_of_its_task() {
    let folder = TempPath::folder("replays");
    let pool = Pool::builder()
        .workers(1)
        .preload(|| std::env::set_current_dir("/usr").unwrap())
        .env("TRINE_TEST_SETTING", "as set")
        .capture_output()
        .capsules(&folder.0)
        .build();
    let long = vec![7_u8; 1 << 20];
    let task = pool.spawn(long.clone(), |long: Vec<u8>| -> () {
        let setting = std::env::var("TRINE_TEST_SETTING").unwrap();
        let sum: u64 = long.iter().map(|&byte| u64::from(byte)).sum();
        println!("printed");
        panic!("{setting}, {sum}, {}", std::env::current_dir().unwrap().display());
    });
    let error = task.join().unwrap_err();
    let capsule = Capsule::read(error.capsule().unwrap()).unwrap();
    assert_eq!(capsule.stdout(), b"printed\n");
    // The encoded vector: its length in three bytes, then its elements.
    assert_eq!(capsule.argument().unwrap().len(), 3 + long.len());
    assert!(capsule.cause().contains("as set, 7340032, /"), "{}", capsule.cause());
    for replay in [Replay::Worker, Replay::Here] {
        let (code, stderr) = end(start(&capsule, replay));
        assert_eq!(code, Some(Capsule::FAILED), "{stderr}");
        assert!(stderr.contains("(as recorded)"), "{stderr}");
    }
}

#[test]
fn each_argument_of_a_map_that_fails_leaves_its_own_file() {
    let folder = TempPath::folder("replays");
    let pool = Pool::builder().workers(2).capsules(&folder.0).build();
    let check = |n: u32| -> u32 { if n % 50 == 7 { std::process::exit(3) } else { n } };
    let errors: Vec<TaskError> = pool.map(0..200, check).filter_map(Result::err).collect();
    assert_eq!((errors.len(), files(&folder.0)), (4, 4));
    for error in errors {
        let capsule = Capsule::read(error.capsule().unwrap()).unwrap();
        let argument = capsule.argument().unwrap();
        assert_eq!(usize::from(argument[1] & 0x7f) % 50, error.argument().unwrap() % 128 % 50);
        assert_eq!(end(start(&capsule, Replay::Worker)).0, Some(Capsule::FAILED));
    }
}

#[test]
fn a_task_that_runs_again_leaves_a_file_at_its_last_failure() {
    let folder = TempPath::folder("replays");
    let pool = Pool::builder().workers(1).retries(2).capsules(&folder.0).build();
    let error = pool.spawn((), |()| -> () { std::process::abort() }).join().unwrap_err();
    assert_eq!(files(&folder.0), 1);
    assert_eq!(Capsule::read(error.capsule().unwrap()).unwrap().attempts(), 3);
}

#[test]
fn values_cancelled_tasks_and_tasks_that_no_worker_began_leave_none() {
    let folder = TempPath::folder("replays");
    let directory = folder.0.join("capsules");
    let pool = Pool::builder().workers(1).capsules(&directory).build();
    let sleeper = pool.spawn((), |()| time::sleep(Duration::MAX));
    let queued = || Ok::<_, TaskError>(pool.spawn((), |()| ()));
    let queued = time::timeout(Duration::from_millis(20), queued).unwrap().unwrap();
    assert!(queued.join().unwrap_err().is_timeout());
    sleeper.cancel();
    assert!(sleeper.join().unwrap_err().is_cancelled());
    assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
    pool.shutdown();
    assert_eq!(files(&directory), 0);
}

#[test]
fn what_cannot_be_replayed_is_refused_with_the_reason() {
    let folder = TempPath::folder("replays");
    let pool = Pool::builder().workers(1).capsules(&folder.0).capsule_limits(9, 1000).build();
    let refusal = |capsule: &Capsule| {
        let (code, stderr) = end(start(capsule, Replay::Worker));
        assert_eq!(code, Some(Capsule::REFUSED), "{stderr}");
        stderr
    };
    let long = pool.spawn(vec![1_u8; 2000], |_| -> () { panic!("long") }).join().unwrap_err();
    let long = Capsule::read(long.capsule().unwrap()).unwrap();
    assert!(long.argument().unwrap_err().contains("1000 bytes"));
    assert!(refusal(&long).contains("1000 bytes"));

    let (_, end) = trine::ipc::channel::<u8>(1).unwrap();
    let held = pool.spawn(end, |_| -> () { panic!("held") }).join().unwrap_err();
    let held = Capsule::read(held.capsule().unwrap()).unwrap();
    assert!(refusal(&held).contains("it holds a descriptor"));

    let whole = pool.spawn((), |()| -> () { panic!("whole") }).join().unwrap_err();
    let file = whole.capsule().unwrap();
    let bytes = fs::read(file).unwrap();
    let capsule = Capsule::read(file).unwrap();
    fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    assert!(Capsule::read(file).unwrap_err().to_string().contains("cut off or changed"));
    assert!(refusal(&capsule).contains("cut off or changed"));
    fs::write(file, "something else").unwrap();
    assert!(refusal(&capsule).contains("no capsule of this version"));
}

/// The directory of a process is its own, so the test runs in one of its own.
#[test]
fn a_directory_whose_name_is_no_text_is_recorded() {
    if role().is_none() {
        run(again("alone"));
        return;
    }
    let folder = TempPath::folder("replays");
    let odd = folder.0.join(OsStr::from_bytes(b"\xff"));
    fs::create_dir(&odd).unwrap();
    std::env::set_current_dir(&odd).unwrap();
    let pool = Pool::builder().workers(1).capsules(folder.0.join("capsules")).build();
    let error = pool.spawn((), |()| -> () { panic!("here") }).join().unwrap_err();
    assert!(error.is_panic(), "{error}");
    let capsule = Capsule::read(error.capsule().unwrap()).unwrap();
    assert_eq!(end(start(&capsule, Replay::Worker)).0, Some(Capsule::FAILED));
}

#[test]
fn a_pool_that_cannot_write_its_capsules_goes_on() {
    let folder = TempPath::folder("replays");
    let file = folder.0.join("file");
    fs::write(&file, "").unwrap();
    let pool = Pool::builder().workers(1).capsules(file.join("below")).build();
    for _ in 0..3 {
        let error = pool.spawn((), |()| -> () { std::process::abort() }).join().unwrap_err();
        assert!(error.is_crash() && error.capsule().is_none());
    }
    assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
}
