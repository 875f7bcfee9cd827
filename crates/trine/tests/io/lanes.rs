//! Slow blocking calls of one kind hold up no quick ones of another, and no cancelled task.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread::available_parallelism;

use trine::coroutine;
use trine::net::ToSocketAddrs;

use crate::common::temporary::TempPath;
use crate::common::waiting::{TIMEOUT, until};
use crate::common::{again, is_cancelled, role, run};

/// Shows `file` as `/etc/resolv.conf` to this thread and those that it starts. Returns false if it
/// may not.
fn resolve_by(file: &Path) -> bool {
    let file = CString::new(file.as_os_str().as_bytes()).unwrap();
    // SAFETY: plain calls with strings that end with NUL.
    unsafe {
        let (none, private) = (c"none".as_ptr(), libc::MS_REC | libc::MS_PRIVATE);
        let (conf, no_data) = (c"/etc/resolv.conf".as_ptr(), std::ptr::null());
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(none, c"/".as_ptr(), none, private, no_data) == 0
            && libc::mount(file.as_ptr(), conf, none, libc::MS_BIND, no_data) == 0
    }
}

#[test]
fn look_ups_at_a_silent_server_hold_up_no_file() {
    if role().is_none() {
        run(again("alone"));
        return;
    }
    let folder = TempPath::folder("resolver");
    let conf = folder.join("resolv.conf");
    fs::write(&conf, "nameserver 127.0.0.99\noptions timeout:30 attempts:1\n").unwrap();
    if !resolve_by(&conf) {
        return println!("not tried: it takes a mount");
    }
    let Ok(server) = UdpSocket::bind("127.0.0.99:53") else {
        return println!("not tried: it takes port 53");
    };
    server.set_read_timeout(Some(TIMEOUT)).unwrap();
    let look_up = |n: u32| {
        coroutine::spawn(move || (format!("name-{n}.example"), 80).to_socket_addrs().map(drop))
    };
    let look_ups: Vec<_> = (0..100).map(look_up).collect();
    // Each that has begun asks from a port of its own.
    let many = (4 * available_parallelism().unwrap().get()).max(16);
    let mut asking = BTreeSet::new();
    while asking.len() < many {
        match server.recv_from(&mut [0; 512]) {
            Ok((_, from)) => _ = asking.insert(from),
            Err(_) => return println!("not tried: names are not looked up by DNS"),
        }
    }
    let path = folder.join("written");
    let writer = coroutine::spawn(move || {
        trine::fs::write(&path, "quick")?;
        trine::fs::read_to_string(&path)
    });
    let written = writer.join_timeout(TIMEOUT).expect("it waits for the look-ups");
    assert_eq!(written.unwrap().unwrap(), "quick");
    assert!(look_ups.iter().all(|look_up| !look_up.is_finished()));
    // Those that have begun are left to their threads.
    look_ups.iter().for_each(|look_up| look_up.cancel());
    for look_up in look_ups {
        match look_up.join() {
            Ok(looked_up) => assert!(is_cancelled(&looked_up.unwrap_err())),
            // It had not begun.
            Err(error) => assert!(error.is_cancelled(), "{error}"),
        }
    }
}

/// Returns true if a thread for blocking calls opens a file at this moment.
fn is_opening() -> bool {
    let open = format!("{} ", libc::SYS_openat);
    let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
    threads.map(|thread| thread.path()).any(|thread| {
        let read = |name| fs::read_to_string(thread.join(name)).unwrap_or_default();
        read("comm").trim() == "trine-offload" && read("syscall").starts_with(&open)
    })
}

#[test]
fn a_cancelled_task_waits_for_no_file_that_is_leased() {
    if role().is_none() {
        run(again("alone"));
        return;
    }
    let path = TempPath::new("leased");
    let holder = fs::File::create(&path).unwrap();
    // SAFETY: plain calls with an open descriptor. The kernel asks for the lease by SIGIO.
    let is_leased = unsafe {
        libc::signal(libc::SIGIO, libc::SIG_IGN);
        libc::fcntl(holder.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) == 0
    };
    if !is_leased || fs::read_to_string("/proc/self/syscall").is_err() {
        return println!("not tried: it takes leases, and the system calls in /proc");
    }
    let leased = path.owned();
    let opener = coroutine::spawn(move || trine::fs::File::open(leased));
    until(is_opening);
    opener.cancel();
    // The kernel ends the lease by itself, but only after 45 seconds.
    assert!(is_cancelled(&opener.join().unwrap().unwrap_err()));
    // One that is not cancelled waits for the end of the lease.
    let leased = path.owned();
    let opener = coroutine::spawn(move || trine::fs::File::open(leased));
    drop(holder);
    opener.join().unwrap().unwrap();
}
