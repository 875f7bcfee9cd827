//! What concerns the whole program, seen from outside: this test program runs itself as a child.

use std::ffi::CString;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use trine::{Cause, process};

/// A child program: this test program, in which the test `name` plays `role`.
fn child(program: &Path, name: &str, role: &str) -> Command {
    let mut command = Command::new(program);
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]);
    command.env("TRINE_TEST_ROLE", role).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped());
    command
}

fn this_program() -> PathBuf {
    std::env::current_exe().unwrap()
}

fn role() -> Option<String> {
    std::env::var("TRINE_TEST_ROLE").ok()
}

/// Runs a child to its end, which must be a good one, and gives what it wrote to standard error.
fn run(mut command: Command) -> String {
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{out}\n{text}", output.status);
    text
}

/// Waits until the child says a line that begins with `word`, and gives the rest of it.
fn hear(child: &mut Child, word: &str) -> String {
    let stdout = child.stdout.as_mut().unwrap();
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        assert_eq!(stdout.read(&mut byte).unwrap(), 1, "the child ended without `{word}`");
        if byte != *b"\n" {
            line.push(byte[0]);
            continue;
        }
        // The harness writes `test name ... ` in front of the first line.
        let text = String::from_utf8(std::mem::take(&mut line)).unwrap();
        if let Some((_, rest)) = text.split_once(word) {
            return rest.trim().to_owned();
        }
    }
}

fn say(word: &str, rest: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{word} {rest}").unwrap();
    stdout.flush().unwrap();
}

/// A handle by which the end of any process can be waited for.
struct Handle(std::os::fd::OwnedFd);

fn handle(pid: u32) -> Handle {
    use std::os::fd::FromRawFd;
    // SAFETY: no memory involved.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    assert!(descriptor >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: a new descriptor that nobody else owns.
    Handle(unsafe { std::os::fd::OwnedFd::from_raw_fd(descriptor as i32) })
}

impl Handle {
    /// Waits for the end of the process; far longer than it can take.
    fn wait(&self) {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid `pollfd`.
        assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 60_000) }, 1, "the process lives on");
    }
}

fn children_of_all_threads(pid: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let list = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        children.extend(list.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
    }
    children
}

fn shared_memory_files() -> usize {
    fs::read_dir("/dev/shm").map_or(0, Iterator::count)
}

#[test]
fn a_master_that_is_killed_leaves_nothing() {
    let name = "a_master_that_is_killed_leaves_nothing";
    if role().is_some() {
        // A tree: workers that stay, one of which has workers of its own.
        let pool = process::Pool::new(2);
        let stay = |()| -> () {
            loop {
                std::thread::park();
            }
        };
        let (read, write) = pipe_paths();
        let _nested = process::spawn(write, |path: String| -> () {
            let pool = process::Pool::new(1);
            let pid = pool.spawn((), |()| std::process::id()).join().unwrap();
            let mine = std::process::id();
            let all: Vec<u32> =
                children_of_all_threads(mine).into_iter().chain([mine, pid]).collect();
            fs::write(path, format!("{all:?}")).unwrap();
            loop {
                std::thread::park();
            }
        });
        let _stay = (pool.spawn((), stay), process::spawn((), stay));
        let deeper = fs::read_to_string(&read).unwrap();
        fs::remove_file(read).unwrap();
        // Every worker and template is forked once these have answered.
        process::pool().spawn((), |()| ()).join().unwrap();
        let mine = children_of_all_threads(std::process::id());
        say("FAMILY", &format!("{mine:?} {deeper}"));
        stay(());
    }
    let before = shared_memory_files();
    let mut child = child(&this_program(), name, "master").spawn().unwrap();
    let family = hear(&mut child, "FAMILY");
    let pids: Vec<u32> =
        family.split(|c: char| !c.is_ascii_digit()).filter_map(|pid| pid.parse().ok()).collect();
    assert!(pids.len() >= 7, "{family}");
    let handles: Vec<_> = pids.iter().map(|pid| handle(*pid)).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    for handle in handles {
        handle.wait();
    }
    assert!(shared_memory_files() <= before);
}

/// The path of a new FIFO, twice: to read from here, to write to from a worker.
fn pipe_paths() -> (String, String) {
    let path = format!("{}/trine-master-{}", std::env::temp_dir().display(), std::process::id());
    let c_path = CString::new(path.clone()).unwrap();
    // SAFETY: a NUL-terminated path.
    assert_eq!(unsafe { libc::mkfifo(c_path.as_ptr(), 0o600) }, 0);
    (path.clone(), path)
}

#[test]
fn a_master_that_ends_leaves_nothing() {
    let name = "a_master_that_ends_leaves_nothing";
    if role().is_some() {
        let _detached = process::spawn((), |()| -> () {
            loop {
                std::thread::park();
            }
        });
        process::pool().spawn((), |()| ()).join().unwrap();
        say("FAMILY", &format!("{:?}", children_of_all_threads(std::process::id())));
        // The test holds on to the children before this program ends.
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return;
    }
    let mut child = child(&this_program(), name, "master").spawn().unwrap();
    let family = hear(&mut child, "FAMILY");
    let pids = family.split(|c: char| !c.is_ascii_digit()).filter_map(|pid| pid.parse().ok());
    let handles: Vec<_> = pids.map(handle).collect();
    assert!(handles.len() >= 2, "{family}");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    for handle in handles {
        handle.wait();
    }
}

#[test]
fn nothing_is_left_open_when_pools_are_gone() {
    let name = "nothing_is_left_open_when_pools_are_gone";
    if role().is_some() {
        let open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let children = || children_of_all_threads(std::process::id()).len();
        process::Pool::new(1).shutdown();
        let (before, template) = (open(), children());
        assert_eq!(template, 1, "the template");
        for round in 0..20_u64 {
            let pool = process::Pool::new(3);
            let tasks: Vec<_> = (0..10).map(|n| pool.spawn(n, move |n: u64| n + 1)).collect();
            let crash = pool.spawn((), |()| -> () { std::process::abort() });
            for (n, task) in (0..).zip(tasks) {
                assert_eq!(task.join().unwrap(), n + 1, "round {round}");
            }
            crash.join().unwrap_err();
            pool.shutdown();
        }
        assert_eq!((open(), children()), (before, template));
        return;
    }
    run(child(&this_program(), name, "master"));
}

#[test]
fn two_thousand_processes_share_a_limit_of_a_thousand_descriptors() {
    let name = "two_thousand_processes_share_a_limit_of_a_thousand_descriptors";
    if role().is_some() {
        let most = std::sync::atomic::AtomicUsize::new(0);
        let tasks: Vec<_> = (0..2_000_u64).map(|n| process::spawn(n, |n| n + 1)).collect();
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(task.join().unwrap(), n + 1);
            let open = fs::read_dir("/proc/self/fd").unwrap().count();
            most.fetch_max(open, std::sync::atomic::Ordering::Relaxed);
        }
        let most = most.into_inner();
        assert!(most < 700, "{most} descriptors were open at once");
        return;
    }
    run(limited(child(&this_program(), name, "master"), libc::RLIMIT_NOFILE, 1000));
}

/// Has the child begin with a lower limit.
fn limited(mut command: Command, resource: libc::__rlimit_resource_t, most: u64) -> Command {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: setrlimit may be called between fork and exec.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(resource, &raw const limit) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
    };
    command
}

fn not_spawned(error: &trine::TaskError) -> &str {
    match error.cause() {
        Cause::NotSpawned { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_more_descriptors_is_an_error_that_names_the_limit() {
    let name = "no_more_descriptors_is_an_error_that_names_the_limit";
    if role().is_some() {
        let pool = process::Pool::new(1);
        assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
        let mut hoard = Vec::new();
        while let Ok(file) = fs::File::open("/dev/null") {
            hoard.push(file);
        }
        let error = process::spawn(1, |n: u8| n).join().unwrap_err();
        let reason = not_spawned(&error);
        assert!(reason.contains("RLIMIT_NOFILE") && reason.contains("ulimit -n"), "{reason}");
        // What runs goes on, also when a pool's worker dies and another cannot be had.
        assert_eq!(pool.spawn(2, |n: u8| n).join().unwrap(), 2);
        // One or two descriptors are enough for a part of what a worker needs, never for more.
        for spare in 1..=3 {
            hoard.pop();
            let error = process::spawn(1, |n: u8| n).join();
            if let Err(error) = error {
                let reason = not_spawned(&error);
                assert!(reason.contains("RLIMIT_NOFILE"), "with {spare} spare: {reason}");
            }
        }
        drop(hoard);
        assert_eq!(process::spawn(3, |n: u8| n).join().unwrap(), 3);
        pool.shutdown();
        return;
    }
    run(limited(child(&this_program(), name, "master"), libc::RLIMIT_NOFILE, 100));
}

#[test]
fn no_descriptors_at_the_start_is_an_error_and_passes() {
    let name = "no_descriptors_at_the_start_is_an_error_and_passes";
    if role().is_some() {
        let mut hoard = Vec::new();
        while let Ok(file) = fs::File::open("/dev/null") {
            hoard.push(file);
        }
        for _ in 0..8 {
            // At each number of spare descriptors another step fails first.
            let error = process::spawn(1, |n: u8| n).join();
            match error {
                Ok(value) => assert_eq!(value, 1),
                Err(error) => {
                    assert!(not_spawned(&error).contains("RLIMIT_NOFILE"), "{error}");
                }
            }
            hoard.pop();
        }
        drop(hoard);
        assert_eq!(process::spawn(3, |n: u8| n).join().unwrap(), 3);
        return;
    }
    run(limited(child(&this_program(), name, "master"), libc::RLIMIT_NOFILE, 100));
}

#[test]
fn no_more_processes_is_an_error_that_names_the_limit() {
    let name = "no_more_processes_is_an_error_that_names_the_limit";
    if role().is_some() {
        // The limit is for a user, and the superuser has none.
        // SAFETY: no memory involved.
        if unsafe { libc::getuid() } == 0 {
            // SAFETY: as above.
            assert_eq!(unsafe { libc::setuid(54_321) }, 0);
        }
        let limit = |most: u64| {
            let limit = libc::rlimit { rlim_cur: most, rlim_max: 4000 };
            // SAFETY: a valid `rlimit`.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &raw const limit) }, 0);
        };
        limit(4000);
        let pool = process::Pool::new(2);
        pool.spawn(0, |n: u8| n).join().unwrap();
        // One of them may have done all of it, with the other still on its way.
        let patience = Instant::now() + Duration::from_secs(30);
        while pool.worker_pids().len() < 2 {
            assert!(Instant::now() < patience, "a worker is missing");
            std::thread::yield_now();
        }
        // The template's limit is what counts for a fork.
        let template = children_of_all_threads(std::process::id())
            .into_iter()
            .find(|pid| {
                let name = fs::read_to_string(format!("/proc/{pid}/comm"));
                name.is_ok_and(|name| name.trim() == "trine-template")
            })
            .unwrap();
        let limit_template = |most: u64| {
            let limit = libc::rlimit { rlim_cur: most, rlim_max: 4000 };
            let (pid, none) = (template.cast_signed(), std::ptr::null_mut());
            // SAFETY: a valid `rlimit`; a process of the same user.
            let done = unsafe { libc::prlimit(pid, libc::RLIMIT_NPROC, &raw const limit, none) };
            assert_eq!(done, 0);
        };
        limit_template(0);
        let error = process::spawn(1, |n: u8| n).join().unwrap_err();
        let reason = not_spawned(&error);
        assert!(reason.contains("RLIMIT_NPROC"), "{reason}");
        // What runs goes on; so does a pool that loses one of its workers.
        let error = pool.spawn((), |()| -> () { std::process::abort() }).join().unwrap_err();
        assert!(error.is_crash(), "{error}");
        assert_eq!(pool.spawn(2, |n: u8| n).join().unwrap(), 2);
        // When the last one is gone, its tasks fail rather than wait for ever.
        let error = pool.spawn((), |()| -> () { std::process::abort() }).join().unwrap_err();
        assert!(error.is_crash(), "{error}");
        let error = pool.spawn(2, |n: u8| n).join().unwrap_err();
        assert!(not_spawned(&error).contains("RLIMIT_NPROC"), "{error}");
        // And when there is room again, the next task finds it.
        limit_template(4000);
        assert_eq!(pool.spawn(2, |n: u8| n).join().unwrap(), 2);
        assert_eq!(process::spawn(2, |n: u8| n).join().unwrap(), 2);
        return;
    }
    run(child(&copy("no-more-processes").0, name, "master"));
}

/// A copy of this program where any user may run it; removed when dropped.
///
/// `cp` makes it: a descriptor open for writing in this process would be inherited by whatever
/// another test starts just then, and a file that somebody writes cannot be run.
struct Copy(PathBuf);

fn copy(name: &str) -> Copy {
    let path = std::env::temp_dir().join(format!("trine-{}-{name}", std::process::id()));
    let copied = Command::new("cp").arg(this_program()).arg(&path).status().unwrap();
    assert!(copied.success(), "cp: {copied}");
    Copy(path)
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn the_program_s_file_may_be_replaced_or_removed_while_it_runs() {
    let name = "the_program_s_file_may_be_replaced_or_removed_while_it_runs";
    if role().is_some() {
        say("HERE", "");
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(process::spawn(20, |n: u32| n + 1).join().unwrap(), 21);
        return;
    }
    for replace in [true, false] {
        let copy = copy(if replace { "replaced" } else { "removed" });
        let mut child = child(&copy.0, name, "master").spawn().unwrap();
        hear(&mut child, "HERE");
        fs::remove_file(&copy.0).unwrap();
        if replace {
            fs::write(&copy.0, "#!/bin/sh\necho the wrong program\n").unwrap();
        }
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_program_started_through_the_loader_is_told_and_not_run_twice() {
    let name = "a_program_started_through_the_loader_is_told_and_not_run_twice";
    if role().is_some() {
        let error = process::spawn(1, |n: u8| n).join().unwrap_err();
        assert!(not_spawned(&error).contains("/proc/self/exe"), "{error}");
        return;
    }
    let loader = Path::new("/lib64/ld-linux-x86-64.so.2");
    if !loader.exists() {
        return;
    }
    let direct = child(&this_program(), name, "master");
    let mut command = Command::new(loader);
    command.arg(this_program()).args(direct.get_args()).env("TRINE_TEST_ROLE", "master");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    run(command);
}

/// A program that got a variable it was not meant to get: works normally and says so.
fn stale(
    name: &str,
    variable: &str,
    prepare: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static,
) -> String {
    let mut command = child(&this_program(), name, "normal");
    command.env("TRINE_TEMPLATE", variable);
    // SAFETY: what is prepared are descriptors, by calls that may be made between fork and exec.
    unsafe { command.pre_exec(prepare) };
    let text = run(command);
    let lines: Vec<_> =
        text.lines().filter(|line| line.contains("ignoring a stale TRINE_TEMPLATE")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(lines[0].ends_with("the program starts normally"), "{text}");
    lines[0].to_owned()
}

fn duplicate(from: i32, to: i32) -> std::io::Result<()> {
    // SAFETY: no memory involved.
    if unsafe { libc::dup2(from, to) } < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

#[test]
fn a_forged_or_stale_variable_is_ignored_aloud() {
    let name = "a_forged_or_stale_variable_is_ignored_aloud";
    if role().is_some() {
        assert!(std::env::var_os("TRINE_TEMPLATE").is_none(), "the variable is gone");
        // The descriptor is untouched where there is one: what was written can be read.
        if let Ok(number) = std::env::var("TRINE_TEST_DESCRIPTOR") {
            let mut byte = [0_u8; 1];
            let number: i32 = number.parse().unwrap();
            // SAFETY: a valid buffer of one byte.
            assert_eq!(unsafe { libc::read(number, byte.as_mut_ptr().cast(), 1) }, 1);
            assert_eq!(byte, *b"!");
        }
        // And process tasks work.
        assert_eq!(process::spawn(1, |n: u8| n).join().unwrap(), 1);
        return;
    }
    let token = token_for_this_program();
    for garbage in ["", "nonsense", "3", "3:", "-1:0", "2:0123456789abcdef0123456789abcdef"] {
        assert!(stale(name, garbage, || Ok(())).contains("form"), "{garbage}");
    }
    // A closed descriptor.
    stale(name, &format!("77:{token}"), || Ok(()));

    // A pipe: blocks for ever whoever reads from it.
    let (reader, _writer) = std::io::pipe().unwrap();
    let from = reader.as_raw_fd();
    stale(name, &format!("77:{token}"), move || duplicate(from, 77));

    // Sockets of other kinds.
    let (stream, _other) = UnixStream::pair().unwrap();
    let from = stream.as_raw_fd();
    stale(name, &format!("77:{token}"), move || duplicate(from, 77));
    let (datagram, _other) = UnixDatagram::pair().unwrap();
    let from = datagram.as_raw_fd();
    stale(name, &format!("77:{token}"), move || duplicate(from, 77));

    // The right kind: empty, with an older message of somebody else, with a wrong token.
    let pair = packet_pair();
    let from = pair[0];
    let text = stale(name, &format!("77:{token}"), move || duplicate(from, 77));
    assert!(text.contains("no handshake waits"), "{text}");
    for message in [&b"!"[..], &[b'!'; 100], &[1; 24]] {
        let pair = packet_pair();
        // SAFETY: a valid buffer.
        let sent = unsafe { libc::send(pair[1], message.as_ptr().cast(), message.len(), 0) };
        assert_eq!(sent, message.len() as isize);
        let from = pair[0];
        stale(name, &format!("77:{token}"), move || duplicate(from, 77));
    }
}

/// A handshake as a master sends it, but for the fingerprint of the program.
fn handshake(token: u128) -> Vec<u8> {
    postcard::to_stdvec(&(token, 0_u64, std::process::id())).unwrap()
}

#[test]
fn a_process_that_was_started_as_a_template_never_runs_main() {
    let name = "a_process_that_was_started_as_a_template_never_runs_main";
    assert!(role().is_none(), "main runs a second time");
    let token = token_for_this_program();
    let number = u128::from_str_radix(token.split(':').next().unwrap(), 16).unwrap();
    let send = |bytes: &[u8], close: bool| {
        let pair = packet_pair();
        // SAFETY: a valid buffer; the second end is used no more where it is closed.
        unsafe {
            assert!(libc::send(pair[1], bytes.as_ptr().cast(), bytes.len(), 0) > 0);
            if close {
                libc::close(pair[1]);
            }
        }
        pair[0]
    };
    let started = |through: Option<&str>, from: i32| {
        let mut command = child(&this_program(), name, "main");
        if let Some(script) = through {
            let direct = command;
            command = Command::new("sh");
            command.args(["-c", script]).arg(this_program()).args(direct.get_args());
            command.env("TRINE_TEST_ROLE", "main").stdin(Stdio::null());
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        command.env("TRINE_TEMPLATE", format!("77:{token}"));
        // SAFETY: dup2 may be called between fork and exec.
        unsafe { command.pre_exec(move || duplicate(from, 77)) };
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // By a master of another build.
    let (code, text) = started(None, send(&handshake(number), false));
    assert!(code == Some(1) && text.contains("another build"), "{code:?} {text}");
    // By somebody who is not its parent: a shell stands between.
    let (code, text) = started(Some(r#""$0" "$@"; exit $?"#), send(&handshake(number), false));
    assert!(code == Some(1) && text.contains("not of this process's parent"), "{code:?} {text}");
    // By a master that has died since: it ends without a word.
    let (code, text) = started(Some(r#""$0" "$@"; exit $?"#), send(&handshake(number), true));
    assert_eq!((code, &*text), (Some(0), ""));
}

#[test]
fn a_descriptor_that_was_not_meant_for_it_is_left_alone() {
    let name = "a_forged_or_stale_variable_is_ignored_aloud";
    let pair = packet_pair();
    // SAFETY: a valid buffer.
    assert_eq!(unsafe { libc::send(pair[1], b"!".as_ptr().cast(), 1, 0) }, 1);
    let from = pair[0];
    let mut command = child(&this_program(), name, "normal");
    command.env("TRINE_TEMPLATE", format!("77:{}", token_for_this_program()));
    command.env("TRINE_TEST_DESCRIPTOR", "77");
    // SAFETY: dup2 may be called between fork and exec.
    unsafe { command.pre_exec(move || duplicate(from, 77)) };
    run(command);
}

/// The second and third part of a variable that this program would take for its own: a token of no
/// meaning, and the entry's offset as a template is told it.
fn token_for_this_program() -> String {
    process::spawn((), |()| ()).join().unwrap();
    let variable = children_of_all_threads(std::process::id())
        .into_iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/environ")).ok())
        .find_map(|environment| {
            let mut variables = environment.split('\0');
            Some(variables.find_map(|v| v.strip_prefix("TRINE_TEMPLATE="))?.to_owned())
        })
        .unwrap();
    let (_, entry) = variable.rsplit_once(':').unwrap();
    format!("0123456789abcdef0123456789abcdef:{entry}")
}

fn packet_pair() -> [i32; 2] {
    let mut pair = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()) }, 0);
    pair
}

#[test]
fn a_template_that_is_killed_is_replaced_at_the_next_need() {
    let name = "a_template_that_is_killed_is_replaced_at_the_next_need";
    if role().is_some() {
        process::spawn((), |()| ()).join().unwrap();
        for _ in 0..20 {
            let tasks: Vec<_> = (0..10_u64).map(|n| process::spawn(n, |n| n + 1)).collect();
            for pid in children_of_all_threads(std::process::id()) {
                let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                if comm.trim() == "trine-template" {
                    // SAFETY: no memory involved. It may be a worker that has not renamed itself yet;
                    // then its task goes to another one.
                    unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
                }
            }
            for (n, task) in (0..).zip(tasks) {
                assert_eq!(task.join().unwrap(), n + 1);
            }
        }
        // Nor is anything left of workers that a template had forked and could not tell of.
        let patience = Instant::now() + Duration::from_secs(30);
        while children_of_all_threads(std::process::id()).len() > 1 {
            assert!(Instant::now() < patience, "children are left");
            std::thread::yield_now();
        }
        return;
    }
    run(child(&this_program(), name, "master"));
}

#[test]
fn a_template_that_cannot_start_is_an_error_and_not_a_loop() {
    let name = "a_template_that_cannot_start_is_an_error_and_not_a_loop";
    if role().is_some() {
        let variable = "LD_TRACE_LOADED_OBJECTS";
        // SAFETY: one test, and no other thread reads the environment. With this variable the loader
        // lists libraries and exits instead of running the program.
        unsafe { std::env::set_var(variable, "1") };
        for _ in 0..2 {
            let tasks: Vec<_> = (0..5_u8).map(|n| process::spawn(n, |n| n)).collect();
            for task in tasks {
                let error = task.join().unwrap_err();
                assert!(not_spawned(&error).contains("3 times before it was ready"), "{error}");
            }
        }
        // SAFETY: as above.
        unsafe { std::env::remove_var(variable) };
        assert_eq!(process::spawn(7, |n: u8| n).join().unwrap(), 7);
        return;
    }
    run(child(&this_program(), name, "master"));
}

#[test]
fn the_first_use_may_be_by_many_threads_at_once() {
    let name = "the_first_use_may_be_by_many_threads_at_once";
    if role().is_some() {
        let start = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for n in 0..8_u64 {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    let kept = process::pool().spawn(n, |n| n + 1);
                    assert_eq!(process::spawn(n, |n| n * 2).join().unwrap(), n * 2);
                    assert_eq!(kept.join().unwrap(), n + 1);
                });
            }
        });
        return;
    }
    run(child(&this_program(), name, "master"));
}

#[test]
fn a_program_that_ignores_its_children_gets_results_all_the_same() {
    let name = "a_program_that_ignores_its_children_gets_results_all_the_same";
    if role().is_some() {
        // SAFETY: ignoring a signal installs no code.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        let pool = process::Pool::new(2);
        for n in 0..20_u64 {
            assert_eq!(pool.spawn(n, |n| n).join().unwrap(), n);
        }
        // How it ended is known where the kernel keeps it, and never guessed.
        let error = pool.spawn((), |()| -> () { std::process::exit(9) }).join().unwrap_err();
        match error.cause() {
            Cause::Exited { code } => assert_eq!(*code, 9),
            Cause::Lost { reason, .. } => assert!(reason.contains("SIGCHLD"), "{reason}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
        pool.shutdown();
        return;
    }
    run(child(&this_program(), name, "master"));
}

#[test]
fn a_bare_fork_of_the_program_is_told_that_it_has_no_process_tasks() {
    let name = "a_bare_fork_of_the_program_is_told_that_it_has_no_process_tasks";
    if role().is_some() {
        process::spawn((), |()| ()).join().unwrap();
        // SAFETY: the child uses what a fork of a threaded program may hardly use; it is the
        // program that this test wants to see refused, and it hangs nowhere but in this test.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let error = process::spawn(1, |n: u8| n).join();
            let told = error.is_err_and(|error| not_spawned(&error).contains("forked"));
            // SAFETY: ends the child without the test harness.
            unsafe { libc::_exit(i32::from(!told)) };
        }
        let mut status = 0;
        // SAFETY: a valid place for the answer.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0);
        return;
    }
    run(child(&this_program(), name, "master"));
}

#[test]
fn workers_have_no_descriptors_but_their_own() {
    let open = process::spawn((), |()| {
        let mut open: Vec<(i32, String)> = fs::read_dir("/proc/self/fd")
            .unwrap()
            .flatten()
            .filter_map(|entry| {
                let target = fs::read_link(entry.path()).ok()?.display().to_string();
                Some((entry.file_name().to_str()?.parse().ok()?, target))
            })
            .collect();
        open.sort();
        open
    });
    let _held = fs::File::open("/dev/zero").unwrap();
    let open = open.join().unwrap();
    let others: Vec<_> = open.iter().filter(|(number, _)| *number > 2).collect();
    // The socket, and the directory that was being read.
    assert_eq!(others.len(), 2, "{open:?}");
    assert!(others.iter().any(|(_, target)| target.starts_with("socket:")), "{open:?}");
    assert_eq!(open[0], (0, "/dev/null".into()));
}

#[test]
fn signals_are_as_in_a_new_program() {
    let read = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
        };
        (field("SigBlk"), field("SigIgn"))
    };
    // SAFETY: blocks a signal for this thread.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGUSR1);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
    let (blocked, ignored) = process::spawn((), move |()| read()).join().unwrap();
    assert_eq!(blocked, 0);
    // The C library's own two signals (32, 33) are ignored after every `posix_spawn` of it.
    assert_eq!(ignored & 0x7fff_ffff, 1 << (libc::SIGPIPE - 1));
}
