//! Commands that cannot be started, and children that cannot be waited for.

use std::io::ErrorKind;

use rustix::process::Resource;
use trine::process::{Command, Stdio};
use trine::signal::Signal;

use super::{everywhere, sh};
use crate::common::limits::limit_for_now;
use crate::common::{again, children_of_all_threads, role, run};

#[test]
fn what_cannot_be_started_is_told_as_std_tells_it() {
    everywhere(|| {
        let kind = |command: &mut Command| command.output().unwrap_err().kind();
        assert_eq!(kind(&mut Command::new("/no/such/program")), ErrorKind::NotFound);
        assert_eq!(kind(&mut Command::new("no-such-program-anywhere")), ErrorKind::NotFound);
        assert_eq!(kind(&mut Command::new("/dev/null")), ErrorKind::PermissionDenied);
        assert_eq!(kind(sh("true").current_dir("/no/such")), ErrorKind::NotFound);
        assert_eq!(kind(sh("true").arg("a\0b")), ErrorKind::InvalidInput);
        assert_eq!(kind(sh("true").env("A", "a\0b")), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_signal_that_there_is_not_is_an_error() {
    let mut child = Command::new("sleep").arg("600").spawn().unwrap();
    let error = child.signal(Signal::from_raw(1000)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_status_that_others_have_taken_is_an_error_not_a_hang() {
    if role().as_deref() != Some("thief") {
        run(again("thief"));
        return;
    }
    let check = |waited: std::io::Result<std::process::ExitStatus>| match waited {
        // Kernels from 6.15 on keep the status.
        Ok(status) => assert_eq!(status.code(), Some(7)),
        Err(error) => assert!(error.to_string().contains("has taken its status"), "{error}"),
    };
    let mut robbed = sh("exit 7").spawn().unwrap();
    // SAFETY: takes no status.
    let stolen = unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
    assert_eq!(stolen.unsigned_abs(), robbed.id());
    check(robbed.try_wait().map(|status| status.expect("it has ended")));
    check(robbed.wait());
    robbed.kill().unwrap();
    // SAFETY: ignoring a signal installs no code.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    everywhere(|| {
        if let Err(error) = sh("exit 7").output() {
            assert!(error.to_string().contains("has taken its status"), "{error}");
        }
    });
    check(sh("exit 7").status());
}

#[test]
fn a_child_that_cannot_be_watched_is_killed() {
    if role().as_deref() != Some("full") {
        run(again("full"));
        return;
    }
    limit_for_now(Resource::Nofile, 64);
    let mut fill: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    let mut refused = 0;
    for piped in [false, true].repeat(16) {
        let mut command = Command::new("sleep");
        command.arg("600");
        if piped {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        match command.spawn() {
            Ok(mut child) => {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            Err(error) => {
                assert_eq!(error.raw_os_error().unwrap_or(libc::EMFILE), libc::EMFILE, "{error}");
                refused += 1;
            }
        }
        if piped {
            fill.pop();
        }
    }
    assert!(refused > 1);
    drop(fill);
    assert_eq!(children_of_all_threads(std::process::id()), []);
}
