//! Memory, files and names that are no semaphores, and refusals of the system.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::fs::{CWD, MemfdFlags, Mode, SealFlags, fcntl_add_seals, memfd_create, mkfifoat};
use trine::ipc::Semaphore;

use super::Name;
use crate::common::{again, kind_and_text, role, run};

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
        let (kind, text) = kind_and_text(refused);
        assert!(kind == ErrorKind::InvalidData && text.contains("sealed memory of 32"), "{text}");
    }
    let (kind, _) = kind_and_text(sealed(32, all | SealFlags::WRITE));
    assert_eq!(kind, ErrorKind::PermissionDenied);
    let pipe = OwnedFd::from(io::pipe().unwrap().0);
    assert_eq!(kind_and_text(Semaphore::try_from(pipe)).0, ErrorKind::InvalidData);
}

#[test]
fn files_that_are_no_semaphores_are_refused() {
    let name = Name::new();
    let refused = |why: &str| {
        let (kind, text) = kind_and_text(Semaphore::open(&name.0));
        assert!(kind == ErrorKind::InvalidData && text.contains(why), "{kind:?} {text}");
        let (kind, _) = kind_and_text(Semaphore::create(&name.0, 0o600, 1));
        assert_eq!(kind, ErrorKind::InvalidData);
        assert_eq!(
            kind_and_text(Semaphore::create_new(&name.0, 0o600, 1)).0,
            ErrorKind::AlreadyExists
        );
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
    kind_and_text(Semaphore::open(&name.0));
    std::fs::remove_dir(name.path()).unwrap();

    // Any bytes are a valid number of permits and of sleepers.
    std::fs::write(name.path(), [0xff; 32]).unwrap();
    let semaphore = Semaphore::open(&name.0).unwrap();
    assert_eq!(semaphore.available(), u32::MAX);
    let (kind, text) = kind_and_text(semaphore.release(1));
    assert!(kind == ErrorKind::InvalidInput && text.contains("2147483647 is the most"), "{text}");
    assert!(semaphore.try_acquire());
    std::fs::remove_file(name.path()).unwrap();
    // A sparse file gets memory of its own.
    File::create(name.path()).unwrap().set_len(32).unwrap();
    let semaphore = Semaphore::open(&name.0).unwrap();
    semaphore.release(Semaphore::MAX_PERMITS).unwrap();
    assert_eq!(kind_and_text(semaphore.release(1)).0, ErrorKind::InvalidInput);
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
            kind_and_text(Semaphore::open(name)),
            kind_and_text(Semaphore::create(name, 0o600, 0)),
            kind_and_text(Semaphore::create_new(name, 0o600, 0)),
            kind_and_text(Semaphore::unlink(name)),
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
    let (kind, text) = kind_and_text(Semaphore::unlink(&longest.0));
    assert!(kind == ErrorKind::NotFound && text.ends_with("there is none of this name"), "{text}");
    assert_eq!(kind_and_text(Semaphore::new(u32::MAX)).0, ErrorKind::InvalidInput);
    assert_eq!(kind_and_text(Semaphore::create("x", 0o600, u32::MAX)).0, ErrorKind::InvalidInput);
}

/// Becomes a user without privileges. Returns false if this process may not.
fn become_nobody() -> bool {
    // SAFETY: the only thread that matters gives up its rights.
    unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) == 0 }
}

/// Mounts a `/dev/shm` of one page for this thread alone. Returns false if it may not.
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
    match role().as_deref() {
        None => {
            let name = Name::new();
            let semaphore = name.semaphore(1);
            // The creator's mask clears bits of the mode.
            let mode = std::fs::metadata(name.path()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            run(again(&name.0));
            run(again("full"));
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
                let (kind, text) = kind_and_text(refused);
                assert!(kind == ErrorKind::StorageFull, "{kind:?} {text}");
                assert!(text.contains("/dev/shm is full") && text.contains("size="), "{text}");
            }
            // No half-made semaphore is left.
            assert_eq!(std::fs::read_dir("/dev/shm").unwrap().count(), 2);
            assert!(first.try_acquire());
        }
        Some(name) => {
            if !become_nobody() {
                return;
            }
            for refused in [Semaphore::open(name).map(drop), Semaphore::unlink(name)] {
                let (kind, text) = kind_and_text(refused);
                assert!(kind == ErrorKind::PermissionDenied, "{kind:?} {text}");
                assert!(text.contains(name) && text.contains("mode"), "{text}");
            }
            // A semaphore is made without privileges, too.
            let own = Name::new();
            assert_eq!(own.semaphore(4).available(), 4);
        }
    }
}
