//! System calls, memory, networks and programs that a sandbox refuses.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::Duration;

use trine::process::Sandbox;
use trine::{Cause, TaskError, coroutine, net, process, time};

use super::{attempts, call, errno, error_of, landlock, run_in, tight};
use crate::common::temporary::TempPath;

/// Makes each attempt in the most permissive sandbox.
pub fn attempts_are_refused() {
    for (what, error) in run_in(Sandbox::new(), (), |()| attempts()).unwrap() {
        let expected = match &*what {
            "clone3" | "a call of the future" | "a call of x32" => libc::ENOSYS,
            own if own.starts_with("own") => 0,
            _ => libc::EPERM,
        };
        assert_eq!(error, expected, "{what}: {}", io::Error::from_raw_os_error(error));
    }
}

#[test]
fn what_no_task_needs_is_refused_in_every_sandbox() {
    attempts_are_refused();
    let (status, death, dumpable) = run_in(Sandbox::new(), (), |()| {
        let (mut death, none) = (0_i32, 0_usize);
        // SAFETY: a valid place for the answer.
        let dumpable = unsafe {
            libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut death, none, none, none);
            libc::prctl(libc::PR_GET_DUMPABLE, none, none, none, none)
        };
        (fs::read_to_string("/proc/self/status").unwrap(), death, dumpable)
    })
    .unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().to_owned()
    };
    assert_eq!(u64::from_str_radix(&field("CapEff:"), 16), Ok(0));
    assert_eq!(u64::from_str_radix(&field("CapPrm:"), 16), Ok(0));
    assert_eq!(field("NoNewPrivs:"), "1");
    // It still dies with its master, and may leave a core file.
    assert_eq!((death, dumpable), (libc::SIGKILL, 1));
}

#[test]
fn the_memory_and_the_descriptors_of_the_master_are_out_of_reach() {
    if landlock() == 0 {
        return;
    }
    let secret = Box::new(*b"a secret of the master");
    let address = secret.as_ptr().addr();
    for sandbox in [Sandbox::new(), tight()] {
        let errors = run_in(sandbox, address, |_| {
            let master = std::os::unix::process::parent_id();
            let open = |name: &str| {
                error_of(fs::OpenOptions::new().read(true).open(format!("/proc/{master}/{name}")))
            };
            let link = |name: &str| error_of(fs::read_link(format!("/proc/{master}/{name}")));
            [
                open("mem"),
                open("fd/0"),
                open("environ"),
                open("maps"),
                open("root/etc/passwd"),
                link("fd/0"),
                link("cwd"),
                error_of(fs::OpenOptions::new().write(true).open(format!("/proc/{master}/mem"))),
            ]
        });
        let errors = errors.unwrap();
        assert!(
            errors.iter().all(|error| [libc::EACCES, libc::EPERM].contains(error)),
            "{errors:?}"
        );
    }
}

#[test]
fn there_is_no_network() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = TempPath::folder("network");
    let path = directory.0.join("socket");
    let _unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let port = listener.local_addr().unwrap().port();
    let tried = |(port, path): (u16, PathBuf)| {
        let socket = |domain: i32, kind: i32| {
            // SAFETY: no memory involved.
            errno(unsafe { libc::socket(domain, kind, 0) }.into())
        };
        let pair = |kind: i32| {
            let mut ends = [0; 2];
            // SAFETY: room for two descriptors.
            errno(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) }.into())
        };
        let refused = vec![
            error_of(std::net::TcpStream::connect(("127.0.0.1", port))),
            error_of(net::TcpStream::connect(("127.0.0.1", port))),
            error_of(net::TcpListener::bind("127.0.0.1:0")),
            error_of(std::net::UdpSocket::bind("127.0.0.1:0")),
            error_of(std::os::unix::net::UnixStream::connect(&path)),
            socket(libc::AF_INET6, libc::SOCK_STREAM),
            socket(libc::AF_NETLINK, libc::SOCK_RAW),
            socket(libc::AF_VSOCK, libc::SOCK_STREAM),
            socket(libc::AF_PACKET, libc::SOCK_RAW),
            pair(libc::SOCK_DGRAM | libc::SOCK_CLOEXEC),
            pair(libc::SOCK_RAW),
        ];
        (refused, [pair(libc::SOCK_STREAM), pair(libc::SOCK_SEQPACKET)])
    };
    let argument = (port, path);
    let (refused, pairs) = run_in(Sandbox::new().no_network(), argument.clone(), tried).unwrap();
    assert!(refused.iter().all(|error| *error == libc::EPERM), "{refused:?}");
    assert_eq!(pairs, [0, 0]);
    // Without the setting, there is a network.
    let (open, _) = run_in(Sandbox::new(), argument, tried).unwrap();
    assert_eq!(open[..5], [0; 5], "{open:?}");
}

#[test]
fn programs_are_not_run() {
    let tried = |()| {
        // SAFETY: a NUL-terminated name.
        let memory = unsafe { libc::memfd_create(c"program".as_ptr(), 0) };
        assert!(memory >= 0);
        // SAFETY: a new descriptor, which nothing else owns.
        let mut file = fs::File::from(unsafe { OwnedFd::from_raw_fd(memory) });
        file.write_all(b"#!/bin/true\n").unwrap();
        let none: [*const libc::c_char; 1] = [ptr::null()];
        let (empty, list) = (c"".as_ptr().addr(), none.as_ptr().addr());
        let by_descriptor = libc::AT_EMPTY_PATH as usize;
        let memory = file.as_raw_fd() as usize;
        let run = call(libc::SYS_execveat, [memory, empty, list, list, by_descriptor]);
        let child = std::process::Command::new("/bin/true").status();
        [
            run,
            error_of(child),
            call(libc::SYS_execve, [c"/bin/true".as_ptr().addr(), list, list, 0, 0]),
        ]
    };
    assert_eq!(run_in(Sandbox::new().no_exec(), (), tried).unwrap(), [libc::EPERM; 3]);
    // So a process task of the task cannot start.
    let error = run_in(Sandbox::new().no_exec(), (), |()| {
        process::spawn((), |()| ()).join().unwrap_err().to_string()
    });
    assert!(error.unwrap().contains("not permitted"));
    // A program runs from a path that is listed as read-only, and not from one that can be written.
    if landlock() > 0 {
        let directory = TempPath::folder("programs");
        let sandbox = Sandbox::new().read_only(["/bin", "/usr", "/lib", "/etc"]);
        let sandbox = match Path::new("/lib64").exists() {
            true => sandbox.read_only(["/lib64"]),
            false => sandbox,
        };
        let sandbox = sandbox.read_write([&directory.0]);
        let (listed, written) = run_in(sandbox, directory.0.clone(), |directory| {
            let run = |path: &Path| std::process::Command::new(path).status();
            let copy = directory.join("true");
            let mut to = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o755)
                .open(&copy)
                .unwrap();
            io::copy(&mut fs::File::open("/bin/true").unwrap(), &mut to).unwrap();
            drop(to);
            (run(Path::new("/bin/true")).unwrap().success(), error_of(run(&copy)))
        })
        .unwrap();
        assert_eq!((listed, written), (true, libc::EACCES));
    }
}

#[test]
fn there_are_no_new_processes_but_threads() {
    let (forks, sum) = run_in(Sandbox::new().no_new_processes(), (), |()| {
        let clone = |flags: i32| {
            // Without a stack of its own, as `fork` does.
            call(libc::SYS_clone, [flags as usize, 0, 0, 0, 0])
        };
        // A fork bomb, which is refused.
        let bomb = (0..1000).map(|_| {
            // SAFETY: refused; a child would end at once.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                // SAFETY: ends the child without anything else.
                unsafe { libc::_exit(0) };
            }
            errno(pid.into())
        });
        let mut forks: Vec<_> = bomb.collect();
        forks.extend([
            clone(libc::SIGCHLD),
            clone(libc::CLONE_PARENT | libc::SIGCHLD),
            error_of(std::process::Command::new("/bin/true").status()),
        ]);
        let threads: Vec<_> = (0..8).map(|n| std::thread::spawn(move || n)).collect();
        (forks, threads.into_iter().map(|thread| thread.join().unwrap()).sum::<i32>())
    })
    .unwrap();
    assert!(forks.iter().all(|error| *error == libc::EPERM));
    assert_eq!(sum, 28);
}

#[test]
fn a_violation_kills_where_that_was_asked_for() {
    let killed = |error: TaskError| match error.cause() {
        Cause::Signaled { signal, .. } => assert_eq!(*signal, libc::SIGSYS, "{error}"),
        other => panic!("{other:?}"),
    };
    let deadly = || tight().kill_on_violation();
    let socket = |()| error_of(std::net::TcpListener::bind("127.0.0.1:0"));
    killed(run_in(deadly(), (), socket).unwrap_err());
    let trace = |()| call(libc::SYS_ptrace, [0; 5]);
    killed(run_in(Sandbox::new().kill_on_violation(), (), trace).unwrap_err());
    // Calls that libraries try in good faith do not kill.
    let kind = run_in(deadly(), (), |()| {
        coroutine::spawn(|| time::sleep(Duration::from_millis(1))).join().unwrap();
        std::thread::spawn(|| ()).join().unwrap();
        call(libc::SYS_io_uring_setup, [1, 0, 0, 0, 0])
    });
    assert_eq!(kind.unwrap(), libc::EPERM);
}
