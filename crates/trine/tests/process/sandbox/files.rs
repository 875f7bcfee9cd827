//! Files that a sandbox lists, and others.

use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::ptr;

use trine::process::Sandbox;

use super::{call, errno, error_of, landlock, run_in};
use crate::common::not_spawned;
use crate::common::temporary::TempPath;

/// Writes a file in the folder.
fn file_in(folder: &TempPath, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// Tries to change the attributes of a file. Returns the error of each attempt.
///
/// The kernel returns EXDEV if a file would gain rights by the call.
fn change_attributes(secret: &Path) -> [i32; 5] {
    let c_path = CString::new(secret.to_str().unwrap()).unwrap();
    [
        error_of(fs::set_permissions(secret, fs::Permissions::from_mode(0o777))),
        error_of(std::os::unix::fs::chown(secret, Some(1), None)),
        error_of(std::os::unix::fs::lchown(secret, Some(1), None)),
        // SAFETY: NUL-terminated names, and no value.
        errno(i64::from(unsafe {
            let name = c"user.x".as_ptr();
            libc::setxattr(c_path.as_ptr(), name, ptr::null(), 0, 0)
        })),
        // SAFETY: a NUL-terminated path; null stands for now.
        errno(i64::from(unsafe {
            libc::utimensat(libc::AT_FDCWD, c_path.as_ptr(), ptr::null(), 0)
        })),
    ]
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
            let attributes = change_attributes(&secret);
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
fn a_path_that_is_not_there_is_named() {
    if landlock() == 0 {
        return;
    }
    let error = run_in(Sandbox::new().read_only(["/no/such/path"]), (), |()| ()).unwrap_err();
    let reason = not_spawned(&error);
    assert!(reason.contains("/no/such/path") && reason.contains("sandbox"), "{reason}");
}
