//! Hostile tasks in a sandbox, and ordinary ones.
//!
//! What takes Landlock is tested where the kernel has it; that it is missing is staged in a child program, by a filter
//! that refuses it.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::ptr;
use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};
use trine::process::{Builder, Part, Sandbox};
use trine::{Cause, TaskError, coroutine, net, process, thread, time};

mod common;

use common::temporary::TempPath;
use common::{child, not_spawned, role, run, this_program};

fn run_in<A, R, F>(sandbox: Sandbox, arg: A, task: F) -> Result<R, TaskError>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(A) -> R + Copy + Send + 'static,
{
    Builder::new().sandbox(sandbox).spawn(arg, task).join()
}

/// The most that can be asked for without a path.
fn tight() -> Sandbox {
    Sandbox::new().no_network().no_files().no_exec().no_new_processes()
}

fn landlock() -> u32 {
    Sandbox::new().check().landlock().unwrap_or(0)
}

/// The error of a system call, by its number; 0 for none.
fn errno(result: i64) -> i32 {
    if result == -1 { io::Error::last_os_error().raw_os_error().unwrap() } else { 0 }
}

fn error_of<T>(result: io::Result<T>) -> i32 {
    result.map_or_else(|error| error.raw_os_error().unwrap_or(-1), |_| 0)
}

/// Calls whose arguments are numbers.
fn call(number: i64, arguments: [usize; 5]) -> i32 {
    let [a, b, c, d, e] = arguments;
    // SAFETY: the callers pass numbers and valid pointers only.
    errno(unsafe { libc::syscall(number, a, b, c, d, e) })
}

/// A file in the folder, with that text.
fn file_in(folder: &TempPath, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// What a task that was taken over might try in any sandbox; each with the error that it met.
fn attempts() -> Vec<(String, i32)> {
    let master = std::os::unix::process::parent_id() as usize;
    let own = std::process::id() as usize;
    let mut tried = Vec::new();
    let mut note = |what: &str, error: i32| tried.push((what.to_owned(), error));
    let mut word = 0_u64;
    let here = libc::iovec { iov_base: (&raw mut word).cast(), iov_len: 8 };
    let vector = (&raw const here).addr();
    note("ptrace", call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as usize, master, 0, 0, 0]));
    note("process_vm_readv", call(libc::SYS_process_vm_readv, [master, vector, 1, vector, 1]));
    note("process_vm_writev", call(libc::SYS_process_vm_writev, [master, vector, 1, vector, 1]));
    // A signal that does nothing to a program which has not stopped.
    let signal = libc::SIGCONT as usize;
    note("kill", call(libc::SYS_kill, [master, signal, 0, 0, 0]));
    note("tgkill", call(libc::SYS_tgkill, [master, master, signal, 0, 0]));
    note("tkill", call(libc::SYS_tkill, [master, signal, 0, 0, 0]));
    // SAFETY: no memory involved.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, master, 0) } as usize;
    note("pidfd_send_signal", call(libc::SYS_pidfd_send_signal, [pidfd, signal, 0, 0, 0]));
    note("pidfd_getfd", call(libc::SYS_pidfd_getfd, [pidfd, 0, 0, 0, 0]));
    note("setns", call(libc::SYS_setns, [pidfd, libc::CLONE_NEWNET as usize, 0, 0, 0]));
    note("F_SETOWN", call(libc::SYS_fcntl, [0, libc::F_SETOWN as usize, master, 0, 0]));
    note("FIOSETOWN", call(libc::SYS_ioctl, [1, 0x8901, (&raw const word).addr(), 0, 0]));
    note("TIOCSTI", call(libc::SYS_ioctl, [1 | 1 << 32, 0x5412 | 1 << 32, vector, 0, 0]));
    note("prlimit", call(libc::SYS_prlimit64, [master, libc::RLIMIT_CORE as usize, 0, vector, 0]));
    note("setpriority", call(libc::SYS_setpriority, [0, master, 19, 0, 0]));
    note("setpriority of a group", call(libc::SYS_setpriority, [1, 0, 19, 0, 0]));
    note("ioprio_set", call(libc::SYS_ioprio_set, [1, master, 3 << 13, 0, 0]));
    note("sched_setaffinity", call(libc::SYS_sched_setaffinity, [master, 8, vector, 0, 0]));
    note("a quiet end of the parent", call(libc::SYS_prctl, [1, 0, 0, 0, 0]));
    note("io_uring_setup", call(libc::SYS_io_uring_setup, [1, vector, 0, 0, 0]));
    note("unshare", call(libc::SYS_unshare, [libc::CLONE_NEWUSER as usize, 0, 0, 0, 0]));
    note("clone", call(libc::SYS_clone, [libc::CLONE_NEWUSER as usize, 0, 0, 0, 0]));
    note("bpf", call(libc::SYS_bpf, [0, 0, 0, 0, 0]));
    note("perf_event_open", call(libc::SYS_perf_event_open, [vector, 0, 0, 0, 0]));
    note("keyctl", call(libc::SYS_keyctl, [0, usize::MAX - 3, 0, 0, 0]));
    note("userfaultfd", call(libc::SYS_userfaultfd, [1, 0, 0, 0, 0]));
    note("personality", call(libc::SYS_personality, [0x0400_0000, 0, 0, 0, 0]));
    note("shmget", call(libc::SYS_shmget, [77, 4096, 0o1600, 0, 0]));
    note("mq_open", call(libc::SYS_mq_open, [c"x".as_ptr().addr(), 0o102, 0o600, 0, 0]));
    let root = c"/".as_ptr().addr();
    note("mount", call(libc::SYS_mount, [root, root, root, libc::MS_BIND as usize, 0]));
    note("chroot", call(libc::SYS_chroot, [root, 0, 0, 0, 0]));
    note("open_tree", call(libc::SYS_open_tree, [root, root, 1, 0, 0]));
    note("reboot", call(libc::SYS_reboot, [0, 0, 0, 0, 0]));
    // What it may do to itself.
    note("own signal", call(libc::SYS_kill, [own, 0, 0, 0, 0]));
    note("own thread's signal", call(libc::SYS_tgkill, [own, own, 0, 0, 0]));
    note("own limit", call(libc::SYS_prlimit64, [0, libc::RLIMIT_CORE as usize, 0, vector, 0]));
    note("own affinity", {
        let mut set = [0_u8; 128];
        let set = set.as_mut_ptr().addr();
        // Answers how many bytes there are.
        call(libc::SYS_sched_getaffinity, [0, 128, set, 0, 0]);
        call(libc::SYS_sched_setaffinity, [0, 128, set, 0, 0])
    });
    note("clone3", call(libc::SYS_clone3, [0, 0, 0, 0, 0]));
    note("a call of the future", call(4000, [0, 0, 0, 0, 0]));
    if cfg!(target_arch = "x86_64") {
        note("a call of x32", call(libc::SYS_getpid | 0x4000_0000, [0, 0, 0, 0, 0]));
    }
    tried
}

#[test]
fn what_no_task_needs_is_refused_in_every_sandbox() {
    for (what, error) in run_in(Sandbox::new(), (), |()| attempts()).unwrap() {
        let expected = match &*what {
            "clone3" | "a call of the future" | "a call of x32" => libc::ENOSYS,
            own if own.starts_with("own") => 0,
            _ => libc::EPERM,
        };
        assert_eq!(error, expected, "{what}: {}", io::Error::from_raw_os_error(error));
    }
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
    // It still dies with its master, and may leave a core.
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
    // Where it was not asked for, there is one.
    let (open, _) = run_in(Sandbox::new(), argument, tried).unwrap();
    assert_eq!(open[..5], [0; 5], "{open:?}");
}

#[test]
fn files_that_are_not_listed_are_out_of_reach() {
    if landlock() < 3 {
        return;
    }
    let listed = TempPath::folder("listed");
    let outside = TempPath::folder("outside");
    let note = file_in(&listed, "note", "listed");
    let secret = file_in(&outside, "secret", "outside");
    std::os::unix::fs::symlink(&secret, listed.0.join("link")).unwrap();
    for writable in [false, true] {
        let sandbox = match writable {
            true => Sandbox::new().read_write([&listed.0]),
            false => Sandbox::new().read_only([&listed.0]),
        };
        let argument = (note.clone(), secret.clone());
        let (read, outside, inside, attributes) = run_in(sandbox, argument, |(note, secret)| {
            let here = note.parent().unwrap();
            let append = |path: &Path| error_of(fs::OpenOptions::new().append(true).open(path));
            let c_path = CString::new(secret.to_str().unwrap()).unwrap();
            let outside = [
                error_of(fs::read("/etc/passwd")),
                error_of(fs::read("/proc/self/root/etc/passwd")),
                error_of(fs::read(&secret)),
                error_of(fs::read(here.join("link"))),
                error_of(fs::read_dir(secret.parent().unwrap())),
                append(&secret),
                error_of(fs::write(secret.with_file_name("new"), "x")),
                error_of(fs::remove_file(&secret)),
                error_of(fs::create_dir(secret.with_file_name("new"))),
                // SAFETY: a NUL-terminated path.
                errno(unsafe { libc::truncate(c_path.as_ptr(), 0) }.into()),
                error_of(fs::File::open("/proc/1/mem")),
                error_of(fs::File::open("/dev/full")),
                error_of(trine::fs::read(&secret)),
            ];
            // The kernel says EXDEV where a file would come to more rights by it.
            let attributes = [
                error_of(fs::set_permissions(&secret, fs::Permissions::from_mode(0o777))),
                error_of(std::os::unix::fs::chown(&secret, Some(1), None)),
                error_of(std::os::unix::fs::lchown(&secret, Some(1), None)),
                // SAFETY: NUL-terminated names, and no value.
                errno(i64::from(unsafe {
                    let name = c"user.x".as_ptr();
                    libc::setxattr(c_path.as_ptr(), name, ptr::null(), 0, 0)
                })),
                // SAFETY: a NUL-terminated path; null stands for now.
                errno(i64::from(unsafe {
                    libc::utimensat(libc::AT_FDCWD, c_path.as_ptr(), ptr::null(), 0)
                })),
            ];
            let inside = [
                append(&note),
                error_of(fs::write(here.join("new"), "x")),
                error_of(fs::copy(here.join("new"), here.join("copy"))),
                error_of(fs::create_dir(here.join("directory"))),
                error_of(fs::rename(here.join("new"), here.join("directory/new"))),
                error_of(fs::remove_dir_all(here.join("directory"))),
                error_of(fs::remove_file(here.join("copy"))),
            ];
            (fs::read_to_string(&note).unwrap(), outside, inside, attributes)
        })
        .unwrap();
        assert_eq!(read, "listed");
        let all_are = |errors: &[i32], wanted: i32| errors.iter().all(|error| *error == wanted);
        assert!(all_are(&outside, libc::EACCES), "{outside:?}");
        assert!(all_are(&attributes, libc::EPERM), "{attributes:?}");
        if writable {
            assert!(all_are(&inside, 0), "{inside:?}");
        } else {
            assert!(inside.iter().all(|error| *error != 0), "{inside:?}");
        }
    }
    assert_eq!(fs::read_to_string(&secret).unwrap(), "outside");
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o644);
}

#[test]
fn what_is_only_listed_for_reading_keeps_its_permissions() {
    let directory = TempPath::folder("permissions");
    let note = file_in(&directory, "note", "x");
    let chmod = |note: PathBuf| {
        let file = fs::File::open(note).unwrap();
        error_of(file.set_permissions(fs::Permissions::from_mode(0o777)))
    };
    let sandbox = Sandbox::new().read_only([&directory.0]);
    assert_eq!(run_in(sandbox, note.clone(), chmod).unwrap(), libc::EPERM);
    let sandbox = Sandbox::new().read_write([&directory.0]);
    assert_eq!(run_in(sandbox, note.clone(), chmod).unwrap(), 0);
    // FS_IOC_ENABLE_VERITY, for which a file is opened for reading, and BTRFS_IOC_SUBVOL_CREATE.
    let change = |path: PathBuf| {
        let file = fs::File::open(path).unwrap();
        let number = file.as_raw_fd() as usize;
        [0x4080_6685, 0x5000_940e].map(|request| call(libc::SYS_ioctl, [number, request, 0, 0, 0]))
    };
    let sandbox = Sandbox::new().read_only([&directory.0]);
    assert_eq!(run_in(sandbox, note.clone(), change).unwrap(), [libc::EPERM; 2]);
    assert!(!run_in(Sandbox::new(), note, change).unwrap().contains(&libc::EPERM));
}

#[test]
fn a_process_has_what_it_needs_without_any_file() {
    let (exe, random, null) = run_in(tight(), (), |()| {
        let mut null = fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
        let program = fs::read("/proc/self/exe").unwrap();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        assert!(maps.contains("[stack]"));
        let mut random = [0; 16];
        fs::File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
        (program.starts_with(b"\x7fELF"), random != [0; 16], null.write_all(b"x").is_ok())
    })
    .unwrap();
    assert!(exe && random && null);
}

#[test]
fn programs_are_not_run() {
    let tried = |()| {
        // SAFETY: a NUL-terminated name.
        let memory = unsafe { libc::memfd_create(c"program".as_ptr(), 0) };
        assert!(memory >= 0);
        // SAFETY: a new descriptor that nobody else owns.
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
    // So a process task of the task has no process.
    let error = run_in(Sandbox::new().no_exec(), (), |()| {
        process::spawn((), |()| ()).join().unwrap_err().to_string()
    });
    assert!(error.unwrap().contains("not permitted"));
    // From where it is listed for running, it runs; nothing that was written does.
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
            // Without a stack of its own, as `fork`.
            call(libc::SYS_clone, [flags as usize, 0, 0, 0, 0])
        };
        // A bomb that does not go off.
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
fn trine_and_std_work_in_the_tightest_sandbox() {
    let reactor = run_in(tight(), (), |()| {
        let threads: u32 = std::thread::available_parallelism().unwrap().get().try_into().unwrap();
        assert!(threads > 0);
        assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
        assert_eq!(HashMap::from([(1, 2)])[&1], 2);
        time::sleep(Duration::from_millis(1));
        let scope = trine::scope(|s| {
            for _ in 0..100 {
                s.coroutine(|| time::sleep(Duration::from_millis(1)));
            }
        });
        scope.unwrap();
        // Waits of carriers, for sockets, pipes and files.
        let (mut one, mut other) = net::UnixStream::pair().unwrap();
        let echo = coroutine::spawn(move || {
            let mut buffer = [0; 5];
            other.read_exact(&mut buffer).unwrap();
            other.write_all(&buffer).unwrap();
        });
        let (mut receiver, mut sender) = trine::ipc::pipe().unwrap();
        let answer = coroutine::spawn(move || {
            one.write_all(b"hello").unwrap();
            let mut buffer = [0; 5];
            one.read_exact(&mut buffer).unwrap();
            sender.write_all(&buffer).unwrap();
            trine::fs::read("/proc/self/exe").unwrap().len()
        });
        let mut text = String::new();
        receiver.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        echo.join().unwrap();
        assert!(answer.join().unwrap() > 1000);
        let blocked = time::timeout(Duration::from_millis(1), || {
            let (mut one, _other) = net::UnixStream::pair().unwrap();
            one.read(&mut [0])
        });
        assert!(!matches!(blocked, Ok(Ok(_))));
        (trine::reactor().kind() == trine::Reactor::Epoll, trine::reactor().to_string())
    });
    let (is_epoll, text) = reactor.unwrap();
    assert!(is_epoll, "{text}");
    assert!(text.contains("refused") || std::env::var_os("TRINE_REACTOR").is_some(), "{text}");
}

#[test]
fn a_sandboxed_task_ends_as_any_other() {
    let panic = run_in(tight(), (), |()| -> () { panic!("in the sandbox") }).unwrap_err();
    match panic.cause() {
        Cause::Panicked { message, location, .. } => {
            assert_eq!(message, "in the sandbox");
            assert!(location.as_ref().is_some_and(|at| at.to_string().contains(file!())));
        }
        other => panic!("{other:?}"),
    }
    let abort = run_in(tight(), (), |()| -> () { std::process::abort() }).unwrap_err();
    assert!(
        matches!(abort.cause(), Cause::Signaled { signal, .. } if *signal == libc::SIGABRT),
        "{abort}"
    );
    fn deeper(n: u64) -> u64 {
        if n == u64::MAX { 0 } else { std::hint::black_box(deeper(n + 1)) + n }
    }
    let overflow = run_in(tight(), 0, deeper).unwrap_err();
    assert!(matches!(overflow.cause(), Cause::StackOverflow), "{overflow}");
    let exit = run_in(tight(), (), |()| -> () { std::process::exit(3) }).unwrap_err();
    assert!(matches!(exit.cause(), Cause::Exited { code: 3 }), "{exit}");
    let sleeper = Builder::new().sandbox(tight()).spawn((), |()| time::sleep(Duration::MAX));
    sleeper.cancel();
    assert!(sleeper.join().unwrap_err().is_cancelled());
    let late = time::timeout(Duration::from_millis(200), || {
        run_in(tight(), (), |()| time::sleep(Duration::MAX))
    });
    assert!(late.is_err() || late.is_ok_and(|task| task.is_err()));
}

#[test]
fn process_tasks_of_a_task_are_in_its_sandbox() {
    let network = run_in(Sandbox::new().no_network(), (), |()| {
        let pool = process::Pool::new(2);
        assert_eq!(pool.spawn(1, |n: u8| n + 1).join().unwrap(), 2);
        let inner = Builder::new().sandbox(Sandbox::new().no_exec());
        let inner = inner.spawn((), |()| {
            let network = error_of(std::net::TcpListener::bind("127.0.0.1:0"));
            (network, error_of(std::process::Command::new("/bin/true").status()))
        });
        inner.join().unwrap()
    });
    assert_eq!(network.unwrap(), (libc::EPERM, libc::EPERM));
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
    // What libraries try in good faith does not.
    let kind = run_in(deadly(), (), |()| {
        coroutine::spawn(|| time::sleep(Duration::from_millis(1))).join().unwrap();
        std::thread::spawn(|| ()).join().unwrap();
        call(libc::SYS_io_uring_setup, [1, 0, 0, 0, 0])
    });
    assert_eq!(kind.unwrap(), libc::EPERM);
}

#[test]
fn a_path_that_is_not_there_is_named() {
    if landlock() == 0 {
        return;
    }
    let error = run_in(Sandbox::new().read_only(["/no/such/path"]), (), |()| ()).unwrap_err();
    let reason = not_spawned(&error);
    assert!(reason.contains("/no/such/path") && reason.contains("sandbox"), "{reason}");
}

#[test]
fn what_the_kernel_cannot_enforce_is_told() {
    let all = tight().check();
    let parts: Vec<_> = all.missing().iter().map(|missing| missing.part()).collect();
    match landlock() {
        0 => assert_eq!(parts, [Part::Files, Part::OtherProcesses], "{all}"),
        1..5 => assert_eq!(parts, [Part::Files], "{all}"),
        _ => assert!(all.is_complete(), "{all}"),
    }
    let required = run_in(tight().require_all(), (), |()| ());
    assert_eq!(required.is_ok(), all.is_complete());
    // Unix sockets in the file system, which is not the whole of it before Linux 7.1.
    let files = Sandbox::new().no_files();
    let required = run_in(files.clone().require_all(), (), |()| ());
    if landlock() >= 9 {
        required.unwrap();
    } else {
        assert!(!files.check().is_complete());
        let error = required.unwrap_err();
        let reason = not_spawned(&error);
        assert!(reason.contains("require_all") && reason.contains("no_network"), "{reason}");
    }
}

/// Has the kernel answer `call` with `error` from now on, in this process and all that it starts.
fn take_away(call: libc::c_long, error: i32) {
    let action = seccompiler::SeccompAction::Errno(error.cast_unsigned());
    let here = std::env::consts::ARCH.try_into().unwrap();
    let allow = seccompiler::SeccompAction::Allow;
    let rules = [(call, Vec::new())].into();
    let filter = seccompiler::SeccompFilter::new(rules, allow, action, here).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter_all_threads(&program).unwrap();
}

#[test]
fn a_kernel_without_landlock_is_told_and_the_rest_is_enforced() {
    let name = "a_kernel_without_landlock_is_told_and_the_rest_is_enforced";
    if role().is_none() {
        return drop(run(child(&this_program(), name, "master")));
    }
    take_away(libc::SYS_landlock_create_ruleset, libc::EOPNOTSUPP);
    let report = tight().check();
    let parts: Vec<_> = report.missing().iter().map(|missing| missing.part()).collect();
    assert_eq!(parts, [Part::Files, Part::OtherProcesses]);
    assert!(report.landlock().is_none() && report.seccomp());
    assert!(report.to_string().contains("`lsm=` list"), "{report}");
    let error = run_in(tight().require_all(), (), |()| ()).unwrap_err();
    let reason = not_spawned(&error);
    assert!(reason.contains("`lsm=` list") && reason.contains("files"), "{reason}");
    // Everything else is denied as before: signals by the filter now.
    for (what, error) in run_in(Sandbox::new(), (), |()| attempts()).unwrap() {
        let expected = match &*what {
            "clone3" | "a call of the future" | "a call of x32" => libc::ENOSYS,
            own if own.starts_with("own") => 0,
            _ => libc::EPERM,
        };
        assert_eq!(error, expected, "{what}: {}", io::Error::from_raw_os_error(error));
    }
    // And a task may still end itself, be cancelled, and use threads.
    let abort = run_in(tight(), (), |()| -> () { std::process::abort() }).unwrap_err();
    assert!(matches!(abort.cause(), Cause::Signaled { signal, .. } if *signal == libc::SIGABRT));
    let sleeper = Builder::new().sandbox(tight()).spawn((), |()| {
        let _other = coroutine::spawn(|| time::sleep(Duration::MAX));
        time::sleep(Duration::MAX);
    });
    sleeper.cancel();
    assert!(sleeper.join().unwrap_err().is_cancelled());
}

#[test]
fn a_kernel_without_filters_is_told_and_the_rest_is_enforced() {
    let name = "a_kernel_without_filters_is_told_and_the_rest_is_enforced";
    if role().is_none() {
        return drop(run(child(&this_program(), name, "master")));
    }
    take_away(libc::SYS_seccomp, libc::ENOSYS);
    let report = tight().check();
    assert!(!report.seccomp());
    assert!(report.missing().iter().any(|missing| missing.part() == Part::Network), "{report}");
    let error = run_in(tight().require_all(), (), |()| ()).unwrap_err();
    assert!(not_spawned(&error).contains("CONFIG_SECCOMP_FILTER"), "{error}");
    if landlock() >= 6 {
        let refused = run_in(tight(), (), |()| {
            let master = std::os::unix::process::parent_id() as usize;
            [
                error_of(fs::read("/etc/passwd")),
                error_of(std::net::TcpListener::bind("127.0.0.1:0")),
                call(libc::SYS_kill, [master, 0, 0, 0, 0]),
                call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as usize, master, 0, 0, 0]),
            ]
        });
        let refused = refused.unwrap();
        assert_eq!(refused, [libc::EACCES, libc::EACCES, libc::EPERM, libc::EPERM]);
    }
}
