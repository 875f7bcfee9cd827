//! Semaphores: within the process, between programs, and what they say to bad input.

mod common;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::places::{PLACES, Place, ends_from_outside, everywhere};
use common::temporary::unique;
use common::waiting::until_waiting;
use common::{child, role, run, this_program, told};
use rustix::fs::{CWD, MemfdFlags, Mode, SealFlags, fcntl_add_seals, memfd_create, mkfifoat};
use trine::coroutine;
use trine::ipc::Semaphore;

/// A name that no other test has; the semaphore is removed with it.
struct Name(String);

impl Name {
    fn new() -> Name {
        Name(unique("semaphore"))
    }

    fn semaphore(&self, permits: u32) -> Semaphore {
        Semaphore::create_new(&self.0, 0o600, permits).unwrap()
    }

    fn path(&self) -> String {
        format!("/dev/shm/sem.{}", self.0)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.path()).or_else(|_| std::fs::remove_dir(self.path()));
    }
}

#[test]
fn permits_are_taken_and_given() {
    everywhere(|| {
        let name = Name::new();
        let semaphore = name.semaphore(2);
        let same = Semaphore::open(format!("/{}", name.0)).unwrap();
        assert!(semaphore.try_acquire());
        same.acquire().unwrap();
        assert!(!semaphore.try_acquire());
        assert_eq!(same.available(), 0);
        let (begin, limit) = (Instant::now(), Duration::from_millis(3));
        assert_eq!(told(same.acquire_timeout(limit)).0, ErrorKind::TimedOut);
        assert!(begin.elapsed() >= limit);
        assert_eq!(told(same.acquire_timeout(Duration::ZERO)).0, ErrorKind::TimedOut);
        semaphore.release(3).unwrap();
        same.acquire_timeout(Duration::MAX).unwrap();
        {
            let _permit = same.acquire_permit().unwrap();
            assert_eq!(semaphore.available(), 1);
        }
        same.acquire_permit().unwrap().forget();
        assert_eq!(semaphore.available(), 1);
        // Nobody is counted as one who sleeps.
        let word = std::fs::read(name.path()).unwrap();
        assert_eq!(word[..12], [1, 0, 0, 0, 0, 0, 0, 0, 128, 0, 0, 0]);
    });
}

#[test]
fn waits_end_from_outside_and_leave_nothing_behind() {
    ends_from_outside(|| Semaphore::new(0)?.acquire());
    let semaphore = Semaphore::new(0).unwrap();
    for place in PLACES {
        let same = semaphore.clone();
        let task = place.spawn(move || same.acquire());
        until_waiting(&task);
        task.cancel();
        assert!(task.join().unwrap().is_err());
        let memory = File::from(OwnedFd::try_from(&semaphore).unwrap());
        let mut word = [9; 8];
        memory.read_exact_at(&mut word, 0).unwrap();
        assert_eq!(word, [0; 8]);
    }
}

#[test]
fn a_release_of_many_wakes_as_many_of_all_kinds() {
    let semaphore = Semaphore::new(0).unwrap();
    for round in 0..20 {
        let tasks: Vec<_> = (0..20)
            .map(|n| {
                let same = semaphore.clone();
                PLACES[usize::from(n % 5 == 4)].spawn(move || same.acquire().unwrap())
            })
            .collect();
        if round % 2 == 0 {
            tasks.iter().for_each(until_waiting);
        }
        semaphore.release(7).unwrap();
        semaphore.release(13).unwrap();
        tasks.into_iter().for_each(|task| task.join().unwrap());
        assert_eq!(semaphore.available(), 0);
    }
}

#[test]
fn waiters_of_more_words_than_one_thread_watches() {
    let semaphores: Vec<_> = (0..300).map(|_| Semaphore::new(0).unwrap()).collect();
    let tasks: Vec<_> = semaphores
        .iter()
        .map(|semaphore| {
            let same = semaphore.clone();
            coroutine::spawn(move || same.acquire().unwrap())
        })
        .collect();
    tasks.iter().for_each(until_waiting);
    semaphores.iter().rev().for_each(|semaphore| semaphore.release(1).unwrap());
    tasks.into_iter().for_each(|task| task.join().unwrap());
}

/// Tasks of all kinds take and give back, some are cancelled while they wait; as many permits are there
/// afterwards as before, and nobody sleeps over one.
fn take_and_give_back(semaphore: &Semaphore, tasks: u32, rounds: u32) {
    let place = |n: u32| if n % 4 == 3 { Place::Thread } else { Place::Coroutine };
    let all: Vec<_> = (0..tasks)
        .map(|n| {
            let same = semaphore.clone();
            place(n).spawn(move || {
                for k in 0..rounds {
                    match (n + k) % 3 {
                        0 if same.acquire_timeout(Duration::from_micros(50)).is_err() => continue,
                        0 => {}
                        _ if same.acquire().is_err() => return,
                        _ => {}
                    }
                    if k % 5 == 0 {
                        coroutine::yield_now();
                    }
                    same.release(1).unwrap();
                }
            })
        })
        .collect();
    for task in all.iter().skip(1).step_by(7) {
        task.cancel();
    }
    for task in all {
        // One that had not begun was cancelled before.
        let _ = task.join();
    }
}

#[test]
fn no_permit_and_no_wake_up_is_lost_among_those_who_give_up() {
    for permits in [1, 3] {
        let semaphore = Semaphore::new(permits).unwrap();
        take_and_give_back(&semaphore, 24, 60);
        assert_eq!(semaphore.available(), permits);
    }
}

#[test]
fn no_permit_and_no_wake_up_is_lost_among_processes() {
    let this_test = "no_permit_and_no_wake_up_is_lost_among_processes";
    if let Some(name) = role() {
        take_and_give_back(&Semaphore::open(name).unwrap(), 12, 60);
        return;
    }
    let name = Name::new();
    let semaphore = name.semaphore(2);
    let others: Vec<_> =
        (0..3).map(|_| child(&this_program(), this_test, &name.0).spawn().unwrap()).collect();
    take_and_give_back(&semaphore, 12, 60);
    for other in others {
        let output = other.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(semaphore.available(), 2);
    assert_eq!(std::fs::read(name.path()).unwrap()[4..8], [0; 4], "nobody sleeps");
}

/// What a program in C would do.
struct OfC(*mut libc::sem_t);

impl OfC {
    fn open(name: &str, flags: i32) -> OfC {
        let name = CString::new(format!("/{name}")).unwrap();
        // SAFETY: a name that ends with NUL.
        let opened = unsafe { libc::sem_open(name.as_ptr(), flags, 0o600, 5_u32) };
        assert!(opened != libc::SEM_FAILED, "{}", io::Error::last_os_error());
        OfC(opened)
    }

    fn wait(&self) {
        // SAFETY: a semaphore that is open.
        assert_eq!(unsafe { libc::sem_wait(self.0) }, 0);
    }

    fn post(&self) {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::sem_post(self.0) }, 0);
    }
}

#[test]
fn a_program_in_c_takes_and_gives_too() {
    const ROUNDS: u32 = 1000;
    if let Some(name) = role() {
        let (there, back) = (OfC::open(&name, 0), OfC::open(&format!("{name}-back"), 0));
        for _ in 0..ROUNDS {
            there.wait();
            back.post();
        }
        // Of two who wait both are woken.
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let there = Semaphore::open(&name).unwrap();
                scope.spawn(move || there.acquire().unwrap());
            }
        });
        return;
    }
    for place in PLACES {
        let there = Name::new();
        let back = Name(format!("{}-back", there.0));
        let (gives, takes) = (there.semaphore(0), back.semaphore(0));
        let mut other = child(&this_program(), "a_program_in_c_takes_and_gives_too", &there.0);
        let other = other.spawn().unwrap();
        let task = place.spawn(move || {
            for _ in 0..ROUNDS {
                gives.release(1).unwrap();
                takes.acquire().unwrap();
            }
            gives.release(2).unwrap();
        });
        let output = other.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        task.join().unwrap();
    }
    // And the other way round: what C creates is opened here.
    let name = Name::new();
    let of_c = OfC::open(&name.0, libc::O_CREAT | libc::O_EXCL);
    let semaphore = Semaphore::create(&name.0, 0o600, 9).unwrap();
    assert_eq!(semaphore.available(), 5);
    of_c.wait();
    of_c.post();
    of_c.post();
    assert_eq!(semaphore.available(), 6);
    Semaphore::unlink(format!("/{}", name.0)).unwrap();
    assert_eq!(told(Semaphore::open(&name.0)).0, ErrorKind::NotFound);
    assert!(semaphore.try_acquire(), "who has it open keeps it");
}

#[test]
fn what_is_killed_gives_nothing_back_and_harms_nobody() {
    if let Some(name) = role() {
        let semaphore = Semaphore::open(name).unwrap();
        semaphore.acquire().unwrap();
        println!("taken");
        semaphore.acquire().unwrap();
        return;
    }
    let name = Name::new();
    let semaphore = name.semaphore(1);
    let this_test = "what_is_killed_gives_nothing_back_and_harms_nobody";
    let mut other = child(&this_program(), this_test, &name.0).spawn().unwrap();
    let sleepers = || std::fs::read(name.path()).unwrap()[4];
    while sleepers() == 0 {
        std::thread::yield_now();
    }
    other.kill().unwrap();
    other.wait().unwrap();
    let mut text = String::new();
    other.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(text.contains("taken"));
    assert_eq!((semaphore.available(), sleepers()), (0, 1));
    semaphore.release(1).unwrap();
    semaphore.acquire().unwrap();
}

#[test]
fn an_unnamed_one_crosses_by_its_descriptor() {
    if role().is_some() {
        let descriptor = io::stdin().as_fd().try_clone_to_owned().unwrap();
        let semaphore = Semaphore::try_from(descriptor).unwrap();
        for _ in 0..100 {
            semaphore.acquire().unwrap();
        }
        return;
    }
    let semaphore = Semaphore::new(0).unwrap();
    let mut command = child(&this_program(), "an_unnamed_one_crosses_by_its_descriptor", "takes");
    command.stdin(OwnedFd::try_from(&semaphore).unwrap());
    let other = command.spawn().unwrap();
    (0..100).for_each(|_| semaphore.release(1).unwrap());
    let output = other.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(semaphore.available(), 0);
}

#[test]
fn memory_that_is_no_semaphore_is_refused() {
    let sealed = |len, seals| {
        let memory = memfd_create(c"x", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        let file = File::from(memory);
        file.set_len(len).unwrap();
        fcntl_add_seals(&file, seals).unwrap();
        Semaphore::try_from(OwnedFd::from(file))
    };
    let all = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    assert_eq!(sealed(32, all).unwrap().available(), 0);
    for refused in [sealed(31, all), sealed(0, all), sealed(64, all), sealed(32, SealFlags::GROW)] {
        let (kind, text) = told(refused);
        assert!(kind == ErrorKind::InvalidData && text.contains("sealed memory of 32"), "{text}");
    }
    let (kind, _) = told(sealed(32, all | SealFlags::WRITE));
    assert_eq!(kind, ErrorKind::PermissionDenied);
    let pipe = OwnedFd::from(io::pipe().unwrap().0);
    assert_eq!(told(Semaphore::try_from(pipe)).0, ErrorKind::InvalidData);
}

#[test]
fn files_that_are_no_semaphores_are_refused() {
    let name = Name::new();
    let refused = |why: &str| {
        let (kind, text) = told(Semaphore::open(&name.0));
        assert!(kind == ErrorKind::InvalidData && text.contains(why), "{kind:?} {text}");
        let (kind, _) = told(Semaphore::create(&name.0, 0o600, 1));
        assert_eq!(kind, ErrorKind::InvalidData);
        assert_eq!(told(Semaphore::create_new(&name.0, 0o600, 1)).0, ErrorKind::AlreadyExists);
        std::fs::remove_file(name.path()).unwrap();
    };
    for len in [0, 16, 31] {
        std::fs::write(name.path(), vec![1; len]).unwrap();
        refused(&format!("it has {len} bytes"));
    }
    mkfifoat(CWD, name.path(), Mode::RWXU).unwrap();
    refused("no file");
    symlink("/etc/passwd", name.path()).unwrap();
    refused("symbolic link");
    std::fs::create_dir(name.path()).unwrap();
    told(Semaphore::open(&name.0));
    std::fs::remove_dir(name.path()).unwrap();

    // Any bytes are some number of permits and of sleepers.
    std::fs::write(name.path(), [0xff; 32]).unwrap();
    let semaphore = Semaphore::open(&name.0).unwrap();
    assert_eq!(semaphore.available(), u32::MAX);
    let (kind, text) = told(semaphore.release(1));
    assert!(kind == ErrorKind::InvalidInput && text.contains("2147483647 is the most"), "{text}");
    assert!(semaphore.try_acquire());
    std::fs::remove_file(name.path()).unwrap();
    // One without memory of its own gets it.
    File::create(name.path()).unwrap().set_len(32).unwrap();
    let semaphore = Semaphore::open(&name.0).unwrap();
    semaphore.release(Semaphore::MAX_PERMITS).unwrap();
    assert_eq!(told(semaphore.release(1)).0, ErrorKind::InvalidInput);
}

#[test]
fn what_is_no_name_is_said() {
    let long = "x".repeat(252);
    for (name, why) in [
        ("", "is empty"),
        ("/", "is empty"),
        ("//", "slash"),
        ("a/b", "slash"),
        ("../x", "slash"),
        (".", "directory"),
        ("/..", "directory"),
        ("a\0b", "NUL"),
        (&long, "252 bytes; it may have 251"),
    ] {
        for told in [
            told(Semaphore::open(name)),
            told(Semaphore::create(name, 0o600, 0)),
            told(Semaphore::create_new(name, 0o600, 0)),
            told(Semaphore::unlink(name)),
        ] {
            assert!(
                told.0 == ErrorKind::InvalidInput && told.1.contains(why),
                "{name:?}: {told:?}"
            );
        }
    }
    let longest = Name(format!("{:x<251}", Name::new().0));
    longest.semaphore(0);
    Semaphore::unlink(&longest.0).unwrap();
    let (kind, text) = told(Semaphore::unlink(&longest.0));
    assert!(kind == ErrorKind::NotFound && text.ends_with("there is none of this name"), "{text}");
    assert_eq!(told(Semaphore::new(u32::MAX)).0, ErrorKind::InvalidInput);
    assert_eq!(told(Semaphore::create("x", 0o600, u32::MAX)).0, ErrorKind::InvalidInput);
}

/// Becomes a user who may do no more than others; `false` for who may not even that.
fn become_nobody() -> bool {
    // SAFETY: the one thread that matters gives its rights up.
    unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) == 0 }
}

/// Has a `/dev/shm` of one page for this thread alone; `false` for who may not.
fn tiny_memory() -> bool {
    // SAFETY: plain calls with strings that end with NUL.
    unsafe {
        let (none, private) = (c"none".as_ptr(), libc::MS_REC | libc::MS_PRIVATE);
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(none, c"/".as_ptr(), none, private, std::ptr::null()) == 0
            && libc::mount(
                none,
                c"/dev/shm".as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                c"size=4k".as_ptr().cast(),
            ) == 0
    }
}

#[test]
fn a_full_folder_and_missing_rights_are_explained() {
    let this_test = "a_full_folder_and_missing_rights_are_explained";
    match role().as_deref() {
        None => {
            let name = Name::new();
            let semaphore = name.semaphore(1);
            // Its creator's mask takes bits away from the mode.
            let mode = std::fs::metadata(name.path()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            run(child(&this_program(), this_test, &name.0));
            run(child(&this_program(), this_test, "full"));
            assert_eq!(semaphore.available(), 1);
        }
        Some("full") => {
            if !tiny_memory() {
                return;
            }
            File::create("/dev/shm/sem.sparse").unwrap().set_len(32).unwrap();
            let first = Semaphore::create_new("first", 0o600, 1).unwrap();
            for refused in [
                Semaphore::create_new("second", 0o600, 1),
                Semaphore::create("second", 0o600, 1),
                Semaphore::open("sparse"),
            ] {
                let (kind, text) = told(refused);
                assert!(kind == ErrorKind::StorageFull, "{kind:?} {text}");
                assert!(text.contains("/dev/shm is full") && text.contains("size="), "{text}");
            }
            // Nothing half made is left.
            assert_eq!(std::fs::read_dir("/dev/shm").unwrap().count(), 2);
            assert!(first.try_acquire());
        }
        Some(name) => {
            if !become_nobody() {
                return;
            }
            for refused in [Semaphore::open(name).map(drop), Semaphore::unlink(name)] {
                let (kind, text) = told(refused);
                assert!(kind == ErrorKind::PermissionDenied, "{kind:?} {text}");
                assert!(text.contains(name) && text.contains("mode"), "{text}");
            }
            // Without privileges one is made, too.
            let own = Name::new();
            assert_eq!(own.semaphore(4).available(), 4);
        }
    }
}

#[test]
fn many_create_one_name_at_once() {
    for _ in 0..20 {
        let name = Arc::new(Name::new());
        let tasks: Vec<_> = (0..8)
            .map(|n| {
                let name = Arc::clone(&name);
                PLACES[n % 2].spawn(move || {
                    let semaphore = Semaphore::create(&name.0, 0o600, 8).unwrap();
                    semaphore.acquire().unwrap();
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join().unwrap());
        assert_eq!(Semaphore::open(&name.0).unwrap().available(), 0);
    }
}

/// From now on this thread, and those that it starts, have no `futex_waitv`, as with an older kernel.
fn without_waiting_for_many() {
    let statement = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let (load, jump, ret) = (0x20, 0x15, 0x06);
    let mut filter = [
        statement(load, 0, 0, 0),
        statement(jump, 0, 1, 449),
        statement(ret, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned()),
        statement(ret, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel reads the program, which only looks at the call's number.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program), 0);
    }
}

#[test]
fn an_older_kernel_does_with_looking_again() {
    let this_test = "an_older_kernel_does_with_looking_again";
    if role().is_none() {
        run(child(&this_program(), this_test, "old"));
        return;
    }
    without_waiting_for_many();
    ends_from_outside(|| Semaphore::new(0)?.acquire());
    let (there, back) = (Semaphore::new(0).unwrap(), Semaphore::new(0).unwrap());
    for place in PLACES {
        let (takes, gives) = (there.clone(), back.clone());
        let task = place.spawn(move || {
            for _ in 0..20 {
                takes.acquire().unwrap();
                gives.release(1).unwrap();
            }
        });
        for _ in 0..20 {
            there.release(1).unwrap();
            back.acquire().unwrap();
        }
        task.join().unwrap();
    }
    let semaphore = Semaphore::new(2).unwrap();
    take_and_give_back(&semaphore, 12, 20);
    assert_eq!(semaphore.available(), 2);
}
