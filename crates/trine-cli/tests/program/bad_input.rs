//! Input that cannot be read: the error names the cause and the remedy, and the exit code is 2.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::{run, succeed, trine};

/// Runs `trine measure --quick --json --input INPUT`, which has to fail, and returns the message.
fn refusal(command: &mut Command, input: &Path) -> String {
    let ran = run(command.args(["measure", "--quick", "--json", "--input"]).arg(input));
    assert_eq!(ran.code(), Some(2), "{}", ran.stderr());
    assert_eq!(ran.stdout(), "");
    assert_eq!(ran.stderr().lines().count(), 1, "one line says it all: {}", ran.stderr());
    assert!(ran.stderr().contains(&input.display().to_string()), "{}", ran.stderr());
    ran.stderr().to_owned()
}

#[test]
fn a_directory_that_is_not_there() {
    let message = refusal(&mut trine(&[]), Path::new("/no/such/directory"));
    assert!(message.contains("No such file or directory"), "{message}");
    assert!(message.contains("check the spelling"), "{message}");
}

#[test]
fn a_file_in_place_of_a_directory() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let message = refusal(&mut trine(&[]), file.path());
    assert!(message.contains("Not a directory"), "{message}");
}

#[test]
fn a_directory_without_files() {
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir_all(tree.path().join("target/deep")).unwrap();
    fs::write(tree.path().join("target/deep/file"), "left out").unwrap();
    let message = refusal(&mut trine(&[]), tree.path());
    assert!(message.contains("no regular file"), "{message}");
    assert!(message.contains("--all"), "{message}");
}

#[test]
fn a_directory_without_permission() {
    let place = open_to_all();
    let closed = place.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o000)).unwrap();
    let message = refusal(&mut unprivileged(place.path()), &closed);
    assert!(message.contains("Permission denied"), "{message}");
    assert!(message.contains("ls -ld"), "{message}");
}

#[test]
fn a_file_and_a_directory_without_permission_are_listed_and_left_out() {
    let place = open_to_all();
    let tree = place.path().join("tree");
    fs::create_dir_all(tree.join("closed directory")).unwrap();
    fs::write(tree.join("open"), "three little words").unwrap();
    fs::write(tree.join("closed file"), "a secret").unwrap();
    for closed in ["closed directory", "closed file"] {
        fs::set_permissions(tree.join(closed), Permissions::from_mode(0o000)).unwrap();
    }
    let mut command = unprivileged(place.path());
    let ran = succeed(command.args(["measure", "--quick", "--json", "--input"]).arg(&tree));
    let report: serde_json::Value = serde_json::from_str(ran.stdout()).unwrap();
    let workload = &report["workload"];
    assert_eq!(workload["agree"], true);
    assert_eq!((&workload["files"], &workload["words"]), (&2.into(), &3.into()));
    let unreadable = workload["unreadable"].as_array().unwrap();
    assert_eq!(unreadable.len(), 2, "{unreadable:?}");
    for entry in unreadable {
        assert!(entry["path"].as_str().unwrap().contains("closed"), "{entry}");
        assert!(entry["error"].as_str().unwrap().contains("Permission denied"), "{entry}");
    }
}

/// Makes a directory that every user can read.
fn open_to_all() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    place
}

/// Makes a command that runs the program without privilege, because permissions do not apply to
/// root. It runs a copy, because the unprivileged user may have no access to the original.
///
/// `cp` makes the copy. If this process wrote it, a program started by another test at that moment
/// would inherit the open descriptor, and a file that is open for writing cannot be executed.
fn unprivileged(place: &Path) -> Command {
    let copy = place.join("trine");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_trine")).arg(&copy).status().unwrap();
    assert!(copied.success(), "cp: {copied}");
    let mut command = Command::new(copy);
    command.stdin(Stdio::null()).current_dir(place);
    if rustix::process::geteuid().is_root() {
        const NOBODY: u32 = 65534;
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}
