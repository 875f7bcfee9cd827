//! Each failure leaves a capsule, from which the same program fails again in the same way.

use std::env;
use std::ffi::{CString, OsStr};
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use trine::process::{Capsule, Pool, Replay};
use trine::{Executor, TaskError, time};

use crate::common::processes::spin_for_ever;
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

#[test]
fn drafts_of_writers_that_have_died_are_removed_and_no_other_files() {
    let folder = TempPath::folder("replays");
    let names = [".00000000000000001-1-0.capsule", ".00000000000000002-1-0.capsule", ".notes"];
    let [stale, held, notes] = names.map(|name| folder.join(name));
    for file in [&stale, &notes] {
        fs::write(file, "").unwrap();
    }
    let held_file = fs::File::create(&held).unwrap();
    held_file.lock().unwrap();
    let pool = Pool::builder().workers(1).capsules(&folder.0).build();
    pool.spawn((), |()| -> () { std::process::abort() }).join().unwrap_err().capsule().unwrap();
    assert!(!stale.exists() && held.exists() && notes.exists());
    assert_eq!(files(&folder.0), 3);
}

#[test]
fn an_argument_of_a_map_that_is_killed_at_its_deadline_leaves_its_file() {
    // Longer each time, until the argument begins in time.
    for seconds in 1.. {
        let folder = TempPath::folder("replays");
        let (directory, mark) = (folder.join("capsules"), folder.join("mark"));
        let pool = Pool::builder().workers(1).grace(Duration::ZERO).capsules(&directory).build();
        let hang = |(n, mark): (u32, PathBuf)| {
            if n == 7 {
                fs::write(mark, "").unwrap();
                spin_for_ever();
            }
        };
        let args = (0..10).map(|n| (n, mark.clone()));
        let mut results = pool.map(args, hang).chunk(5);
        // Both chunks are under way when the first result is there, and have the time limit.
        let first = time::timeout(Duration::from_secs(seconds), || results.next());
        if !matches!(first, Ok(Some(Ok(())))) {
            continue;
        }
        let ends: Vec<_> = results.by_ref().skip(4).collect();
        if mark.exists() {
            let [Ok(()), Ok(()), Err(killed), others @ ..] = &ends[..] else { panic!("{ends:?}") };
            assert!(killed.is_timeout());
            let capsule = Capsule::read(killed.capsule().unwrap()).unwrap();
            // A byte before the value, then the number.
            assert_eq!(capsule.argument().unwrap()[..2], [0, 7]);
            for other in others {
                let error = other.as_ref().unwrap_err();
                assert!(error.is_timeout() && error.capsule().is_none());
            }
            return assert_eq!(files(&directory), 1);
        }
    }
}

/// Mounts a small file system for the command alone.
fn with_a_small_disk(command: &mut Command, place: &Path) {
    let place = CString::new(place.as_os_str().as_bytes()).unwrap();
    let mount = move || {
        let kind = c"tmpfs".as_ptr();
        let (none, flags) = (std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE);
        // SAFETY: all strings end with a zero byte; null pointers stand for no string.
        let is_mounted = unsafe {
            libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(none, c"/".as_ptr(), none, flags, none.cast()) == 0
                && libc::mount(kind, place.as_ptr(), kind, 0, c"size=256k".as_ptr().cast()) == 0
        };
        if is_mounted { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: the closure makes system calls only.
    unsafe { command.pre_exec(mount) };
}

#[test]
fn a_full_disk_is_reported_once_and_the_pool_goes_on() {
    if let Some(folder) = env::var_os("TRINE_TEST_FOLDER").filter(|_| role().is_some()) {
        let folder = PathBuf::from(folder);
        let filler = folder.join("filler");
        let mut file = fs::File::create(&filler).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        drop(file);
        let pool = Pool::builder().workers(1).capsules(&folder).build();
        let crash = || pool.spawn((), |()| -> () { std::process::abort() }).join().unwrap_err();
        for _ in 0..3 {
            let error = crash();
            assert!(error.is_crash() && error.capsule().is_none());
            assert_eq!(files(&folder), 1, "a draft is left");
        }
        assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
        fs::remove_file(filler).unwrap();
        Capsule::read(crash().capsule().unwrap()).unwrap();
        return;
    }
    let folder = TempPath::folder("replays");
    let mut command = again("alone");
    command.env("TRINE_TEST_FOLDER", &folder.0);
    with_a_small_disk(&mut command, &folder.0);
    match command.spawn() {
        Ok(child) => {
            let (code, stderr) = end(child);
            assert_eq!(code, Some(0), "{stderr}");
            assert_eq!(stderr.matches("cannot write a crash capsule").count(), 1, "{stderr}");
            assert!(stderr.contains("No space left"), "{stderr}");
        }
        Err(error) => println!("skipped: no file system can be mounted: {error}"),
    }
}
