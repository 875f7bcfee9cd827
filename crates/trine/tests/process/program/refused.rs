//! Calls that the system refuses, and moments that are too late.

use std::io::Write;
use std::process::Command;

use rustix::process::Resource;
use trine::process::{self, Builder, Pool};

use crate::common::filters::refuse;
use crate::common::limits::limit;
use crate::common::waiting::TIMEOUT;
use crate::common::{again, alone, not_spawned, role, run};

#[test]
fn a_missing_null_device_is_named() {
    if role().is_none() {
        let alone = again("no null device");
        let mut command = Command::new("unshare");
        let script = "mount -t tmpfs none /dev && exec \"$@\"";
        command.args(["-m", "sh", "-c", script, "sh"]).arg(alone.get_program());
        command.args(alone.get_args()).env("TRINE_TEST_ROLE", "no null device");
        let allowed = Command::new("unshare").args(["-m", "true"]).output();
        if allowed.is_ok_and(|output| output.status.success()) {
            run(command);
        }
        return;
    }
    let error = process::spawn(1, |n: u8| n).join().unwrap_err();
    assert!(not_spawned(&error).contains("/dev/null"), "{error}");
}

#[test]
fn limits_that_cannot_be_set_or_read_are_an_error() {
    if role().is_none() {
        run(again("no limits"));
        return;
    }
    // Before the first process task, so that the thread which starts templates has it too.
    refuse(libc::SYS_prlimit64, libc::EPERM);
    let builders = [
        Builder::new().open_files(64),
        Builder::new().file_size_limit(1 << 20),
        Builder::new().core_dumps(true),
        Builder::new().core_dumps(false),
    ];
    for builder in builders {
        let error = builder.spawn(1, |n: u8| n).join().unwrap_err();
        assert!(not_spawned(&error).contains("not permitted"), "{error}");
    }
    // Shared memory is limited by the size of files, and is made without a look at the limit.
    assert_eq!(trine::ipc::Shared::build(8, |_: &mut [u64]| ()).unwrap()[..], [0; 8]);
    // Other tasks run.
    assert_eq!(Pool::new(1).spawn(2, |n: u8| n).join().unwrap(), 2);
    assert_eq!(process::spawn(3, |n: u8| n).join().unwrap(), 3);
}

/// Spawns from a handler of `atexit`. The exit code is 17 if each task has ended as it should.
extern "C" fn at_exit() {
    let pool = process::pool();
    let many = trine::Executor::map(pool, 0..10_u64, |n| n + 1).chunk(5);
    let errors = many.map(|result| result.unwrap_err().to_string());
    let one = process::spawn(1, |n: u8| n).join().unwrap_err().to_string();
    let all_say_so = errors.chain([one]).all(|error| {
        let _ = writeln!(std::io::stderr(), "{error}");
        error.contains("could not be started") && error.contains("atexit")
    });
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(if all_say_so { 17 } else { 18 }) };
}

#[test]
fn a_handler_of_atexit_is_too_late_for_process_tasks() {
    if role().is_some() {
        assert_eq!(process::pool().spawn(1, |n: u8| n).join().unwrap(), 1);
        // SAFETY: the handler is a function of this program.
        assert_eq!(unsafe { libc::atexit(at_exit) }, 0);
        // Ends the storage of this thread, which has spawned, before the handler.
        std::process::exit(0);
    }
    let output = alone(&[]);
    assert_eq!(output.status.code(), Some(17), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn without_room_for_marks_a_cancellation_ends_its_task_and_hurts_no_other() {
    if role().is_none() {
        run(again("no pending signals"));
        return;
    }
    // Signals then carry neither a mark nor a sender.
    limit(Resource::Sigpending, 0);
    // On a busy machine a worker may take long to hear of it.
    let pool = Pool::builder().workers(1).grace(TIMEOUT).build();
    let worker = pool.spawn((), |()| std::process::id()).join().unwrap();
    for n in 0..200 {
        let begun = trine::ipc::Semaphore::new(0).unwrap();
        let waits = pool.spawn(begun.clone(), |begun| {
            begun.release(1).unwrap();
            trine::time::sleep(std::time::Duration::MAX);
        });
        let next = pool.spawn(n, |n: u32| n + 1);
        begun.acquire().unwrap();
        waits.cancel();
        assert!(waits.join().unwrap_err().is_cancelled());
        assert_eq!(next.join().unwrap(), n + 1);
    }
    assert_eq!(pool.spawn((), |()| std::process::id()).join().unwrap(), worker);
}
