//! Named objects of other users, and modes that let other users in.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Uid;
use trine::ipc::{Fifo, MessageQueue, Semaphore};

use crate::common::temporary::{TempPath, unique};

const OTHER: u32 = 65_534;

/// Calls `f` as another user. Returns false if this process may not become one.
fn as_another_user(f: impl FnOnce() + Send) -> bool {
    if !rustix::process::geteuid().is_root() {
        return false;
    }
    // The kernel keeps the user of each thread.
    std::thread::scope(|scope| {
        let become_other = || {
            let other = Uid::from_raw(OTHER);
            rustix::thread::set_thread_res_uid(other, other, other).unwrap();
            f();
        };
        scope.spawn(become_other).join().unwrap();
    });
    true
}

/// A way to open one kind of object by its name: with which mode to create it, if at all, and from
/// any user or not.
type Open<'a> = &'a (dyn Fn(Option<u32>, bool) -> io::Result<()> + Sync);

fn is_refused(open: Open<'_>, mode: Option<u32>, parts: &[&str]) {
    let error = open(mode, false).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{text}");
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    assert!(text.contains("any_owner(true)"), "no remedy: {text}");
    open(mode, true).unwrap();
}

/// The name is free, and `remove` makes it so again. `let_in` gives all users its permissions.
fn another_user_s_is_refused(open: Open<'_>, let_in: &dyn Fn(Permissions), remove: &dyn Fn()) {
    let theirs = || open(Some(0o666), false).unwrap();
    if !as_another_user(theirs) {
        return;
    }
    for mode in [None, Some(0o600), Some(0o666)] {
        is_refused(open, mode, &["belongs to user 65534", "runs as user 0", "remove"]);
    }
    remove();
    // Root's is accepted, by all whom its mode lets in.
    open(Some(0o666), false).unwrap();
    let_in(Permissions::from_mode(0o666));
    as_another_user(|| open(None, false).unwrap());
    is_refused(open, Some(0o600), &["mode 0666", "0600"]);
    open(None, false).unwrap();
    remove();
}

#[test]
fn a_semaphore_of_another_user_is_refused_unless_asked_for() {
    let name = unique("semaphore");
    let open = |mode: Option<u32>, any_owner| {
        let options = Semaphore::options().any_owner(any_owner);
        let opened = match (mode, any_owner) {
            (None, false) => Semaphore::open(&name),
            (Some(mode), false) => Semaphore::create(&name, mode, 1),
            (None, true) => options.open(&name),
            (Some(mode), true) => options.create(true).mode(mode).permits(1).open(&name),
        };
        opened.map(drop)
    };
    let path = format!("/dev/shm/sem.{name}");
    let let_in = |mode| fs::set_permissions(&path, mode).unwrap();
    another_user_s_is_refused(&open, &let_in, &|| Semaphore::unlink(&name).unwrap());
}

#[test]
fn a_message_queue_of_another_user_is_refused_unless_asked_for() {
    let name = unique("queue");
    let open = |mode: Option<u32>, any_owner| {
        let options = MessageQueue::options().any_owner(any_owner);
        let opened = match (mode, any_owner) {
            (None, false) => MessageQueue::open(&name),
            (Some(mode), false) => MessageQueue::create(&name, mode),
            (None, true) => options.open(&name),
            (Some(mode), true) => options.create(true).mode(mode).open(&name),
        };
        opened.map(drop)
    };
    let let_in = |mode| {
        let queue = MessageQueue::open(&name).unwrap().as_fd().try_clone_to_owned().unwrap();
        File::from(queue).set_permissions(mode).unwrap();
    };
    another_user_s_is_refused(&open, &let_in, &|| MessageQueue::unlink(&name).unwrap());
}

#[test]
fn a_fifo_of_another_user_is_refused_unless_asked_for() {
    let folder = TempPath::folder("fifos");
    fs::set_permissions(&folder.0, Permissions::from_mode(0o777)).unwrap();
    let path = folder.0.join("fifo");
    let open = |mode: Option<u32>, any_owner| {
        let options = Fifo::options().any_owner(any_owner);
        let opened = match (mode, any_owner) {
            (None, false) => Fifo::open(&path),
            (Some(mode), false) => Fifo::create(&path, mode),
            (None, true) => options.open(&path),
            (Some(mode), true) => options.create(true).mode(mode).open(&path),
        };
        opened.map(drop)
    };
    let let_in = |mode| fs::set_permissions(&path, mode).unwrap();
    another_user_s_is_refused(&open, &let_in, &|| fs::remove_file(&path).unwrap());
}

#[test]
fn a_semaphore_that_lets_others_in_is_not_taken_for_a_private_one() {
    let name = unique("semaphore");
    let path = format!("/dev/shm/sem.{name}");
    let semaphore = Semaphore::create_new(&name, 0o600, 1).unwrap();
    for (mode, asked, accepted) in [
        (0o600, 0o600, true),
        (0o600, 0o666, true),
        (0o666, 0o666, true),
        (0o660, 0o660, true),
        (0o660, 0o600, false),
        (0o666, 0o660, false),
        (0o602, 0o600, false),
    ] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let opened = Semaphore::create(&name, asked, 1);
        assert_eq!(opened.is_ok(), accepted, "{mode:o} {asked:o} {opened:?}");
        assert_eq!(Semaphore::open(&name).unwrap().available(), 1);
    }
    drop(semaphore);
    Semaphore::unlink(&name).unwrap();
}
