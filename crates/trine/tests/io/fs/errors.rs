//! Errors have std's kinds.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use trine::coroutine;
use trine::fs::{self, File, OpenOptions};

use super::{TempPath, everywhere};
use crate::common::starts::{no_child_starts, start};
use crate::common::{again, role, run};

#[track_caller]
fn same<T, U>(ours: io::Result<T>, std: io::Result<U>) {
    let (Err(ours), Err(std)) = (ours, std) else { panic!("one of them is no error") };
    assert_eq!(ours.kind(), std.kind());
    assert_eq!(ours.to_string(), std.to_string());
}

#[test]
fn paths_that_lead_nowhere_are_what_std_says() {
    let folder = TempPath::folder("fs");
    let root = folder.0.clone();
    std::fs::write(folder.join("file"), "text").unwrap();
    std::os::unix::fs::symlink("loop", folder.join("loop")).unwrap();
    everywhere(move || {
        let long = "x".repeat(300);
        let longer = "y/".repeat(3000);
        let nul = OsStr::from_bytes(b"a\0b");
        let names = ["missing", "missing/x", "file/x", "", "loop", &long, &longer].map(OsStr::new);
        for name in names.into_iter().chain([nul]) {
            let path = &if name.is_empty() { name.into() } else { root.join(name) };
            same(File::open(path), std::fs::File::open(path));
            same(fs::read(path), std::fs::read(path));
            same(fs::read_to_string(path), std::fs::read_to_string(path));
            same(fs::metadata(path), std::fs::metadata(path));
            same(fs::read_dir(path), std::fs::read_dir(path));
            same(fs::canonicalize(path), std::fs::canonicalize(path));
            same(fs::rename(path, path.join("z")), std::fs::rename(path, path.join("z")));
            same(fs::remove_dir(path.join("z")), std::fs::remove_dir(path.join("z")));
            same(fs::copy(path, root.join("copy")), std::fs::copy(path, root.join("copy")));
            if name != "loop" {
                same(fs::remove_file(path), std::fs::remove_file(path));
                same(fs::symlink_metadata(path), std::fs::symlink_metadata(path));
            }
        }
        same(fs::write(&root, "text"), std::fs::write(&root, "text"));
        same(fs::read(&root), std::fs::read(&root));
        same(fs::copy(&root, "to"), std::fs::copy(&root, "to"));
        same(fs::create_dir(&root), std::fs::create_dir(&root));
        same(fs::remove_dir(&root), std::fs::remove_dir(&root));
        same(fs::remove_file(&root), std::fs::remove_file(&root));
        same(File::create_new(root.join("file")), std::fs::File::create_new(root.join("file")));
        same(fs::read_link(root.join("file")), std::fs::read_link(root.join("file")));
        same(fs::hard_link(root.join("missing"), root.join("l")), {
            std::fs::hard_link(root.join("missing"), root.join("l"))
        });
    });
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    everywhere(|| {
        for bits in 0..64_u8 {
            let on = |bit: u8| bits & (1 << bit) != 0;
            let mut ours = OpenOptions::new();
            ours.read(on(0)).write(on(1)).append(on(2));
            ours.truncate(on(3)).create(on(4)).create_new(on(5));
            let mut std = std::fs::OpenOptions::new();
            std.read(on(0)).write(on(1)).append(on(2));
            std.truncate(on(3)).create(on(4)).create_new(on(5));
            // It exists, and is a directory: every option fails except for reading.
            match (ours.open("/"), std.open("/")) {
                (Ok(_), Ok(_)) => assert_eq!(bits, 1),
                (ours, std) => same(ours, std),
            }
        }
    });
}

#[test]
fn what_was_not_opened_for_it_is_refused() {
    let folder = TempPath::folder("fs");
    let path = folder.join("file");
    everywhere(move || {
        let bad = |error: io::Error| assert_eq!(error.raw_os_error(), Some(9), "{error}");
        let mut file = File::create(&path).unwrap();
        bad(file.read(&mut [0; 4]).unwrap_err());
        bad(file.read_at(&mut [0; 4], 0).unwrap_err());
        let mut file = File::open(&path).unwrap();
        bad(file.write(b"text").unwrap_err());
        // There is no such offset.
        let kind = file.read_at(&mut [0; 4], u64::MAX).unwrap_err().kind();
        assert_eq!(kind, ErrorKind::InvalidInput);
        let file = File::create(&path).unwrap();
        let kind = file.write_at(b"text", u64::MAX).unwrap_err().kind();
        assert_eq!(kind, ErrorKind::InvalidInput);
        std::fs::write(&path, [0xFF, 0xFE]).unwrap();
        same(fs::read_to_string(&path), std::fs::read_to_string(&path));
        let mut text = String::from("kept");
        let read = File::open(&path).unwrap().read_to_string(&mut text);
        assert_eq!((read.unwrap_err().kind(), &*text), (ErrorKind::InvalidData, "kept"));
    });
}

#[test]
fn a_full_disk_is_told() {
    everywhere(|| {
        let mut full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        assert_eq!(full.write_all(b"text").unwrap_err().kind(), ErrorKind::StorageFull);
        let written = fs::write("/dev/full", "text");
        assert_eq!(written.unwrap_err().kind(), ErrorKind::StorageFull);
    });
}

#[test]
fn a_small_disk_takes_what_it_can() {
    let folder = TempPath::folder("fs");
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=64k", "none"]).arg(&folder.0);
    mount.stdout(Stdio::null()).stderr(Stdio::null());
    if !start(&mut mount).and_then(|mut mount| mount.wait()).is_ok_and(|ended| ended.success()) {
        eprintln!("not run: this user may not mount a file system");
        return;
    }
    let path = folder.join("file");
    // A copy of the file's descriptor would keep the file system busy.
    let alone = no_child_starts();
    let task = coroutine::spawn(move || {
        let error = fs::write(&path, vec![1; 1 << 20]).unwrap_err();
        (error.kind(), fs::metadata(&path).unwrap().len())
    });
    let (kind, len) = task.join().unwrap();
    drop(alone);
    let mut unmount = start(Command::new("umount").arg(&folder.0)).unwrap();
    assert!(unmount.wait().unwrap().success());
    assert_eq!(kind, ErrorKind::StorageFull);
    assert!(len > 0 && len <= 64 << 10, "{len}");
}

#[test]
fn without_descriptors_opening_fails_and_asking_does_not() {
    if role().is_none() {
        // The shell sets the limit of this child's descriptors.
        let inner = again("few");
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -n 64; exec \"$@\"", "sh"]).arg(inner.get_program());
        shell.args(inner.get_args()).env("TRINE_TEST_ROLE", "few");
        shell.stdin(Stdio::null()).stdout(Stdio::piped());
        run({
            shell.stderr(Stdio::piped());
            shell
        });
        return;
    }
    // Trine opens its own descriptors first.
    coroutine::spawn(|| fs::create_dir("/").unwrap_err()).join().unwrap();
    let task = coroutine::spawn(|| {
        let mut held = Vec::new();
        let error = loop {
            match File::open("/dev/null") {
                Ok(file) => held.push(file),
                Err(error) => break error,
            }
            assert!(held.len() < 100);
        };
        assert_eq!(error.raw_os_error(), Some(24));
        assert_eq!(fs::read("/dev/null").unwrap_err().raw_os_error(), Some(24));
        assert!(fs::metadata("/dev/null").is_ok(), "this needs none");
        held.pop();
        fs::read("/dev/null").unwrap();
    });
    task.join().unwrap();
}
