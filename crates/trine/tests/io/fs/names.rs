//! Directories, links, and the properties of a name.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use trine::fs::{self, File, FileTimes};

use super::{TempPath, everywhere};

#[test]
fn names_come_and_go() {
    let folder = TempPath::folder("fs");
    let root = folder.0.clone();
    everywhere(move || {
        let at = |name: &str| root.join(name);
        fs::create_dir(at("one")).unwrap();
        fs::create_dir_all(at("a/b/c")).unwrap();
        fs::create_dir_all(at("a/b/c")).unwrap();
        fs::write(at("a/b/c/file"), "text").unwrap();
        fs::hard_link(at("a/b/c/file"), at("link")).unwrap();
        fs::rename(at("link"), at("renamed")).unwrap();
        assert!(!fs::exists(at("link")).unwrap());
        assert_eq!(fs::read_to_string(at("renamed")).unwrap(), "text");
        std::os::unix::fs::symlink(at("renamed"), at("symbolic")).unwrap();
        assert_eq!(fs::read_link(at("symbolic")).unwrap(), at("renamed"));
        assert!(fs::symlink_metadata(at("symbolic")).unwrap().is_symlink());
        assert!(fs::metadata(at("symbolic")).unwrap().is_file());
        let canonical = std::fs::canonicalize(&root).unwrap();
        assert_eq!(fs::canonicalize(at("a/../symbolic")).unwrap(), canonical.join("renamed"));
        fs::set_permissions(at("renamed"), PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(fs::metadata(at("renamed")).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_file(at("symbolic")).unwrap();
        fs::remove_file(at("renamed")).unwrap();
        fs::remove_dir(at("one")).unwrap();
        fs::remove_dir_all(at("a")).unwrap();
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    });
}

#[test]
fn a_long_list_comes_in_batches_and_each_name_once() {
    let folder = TempPath::folder("fs");
    for n in 0..1000 {
        std::fs::write(folder.join(n.to_string()), "").unwrap();
    }
    std::fs::create_dir(folder.join("folder")).unwrap();
    let root = folder.0.clone();
    everywhere(move || {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(&root).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.path(), root.join(entry.file_name()));
            let is_folder = entry.file_name() == "folder";
            assert_eq!(entry.file_type().unwrap().is_dir(), is_folder);
            assert_ne!(entry.ino(), 0);
            if is_folder {
                assert!(entry.metadata().unwrap().is_dir());
            }
            assert!(found.insert(entry.file_name()));
        }
        assert_eq!(found.len(), 1001);
    });
}

#[test]
fn a_file_that_has_ended_iterating_stays_so() {
    let folder = TempPath::folder("fs");
    let mut list = fs::read_dir(&folder.0).unwrap();
    assert!(list.next().is_none());
    assert!(list.next().is_none());
}

#[test]
fn times_and_locks_are_those_of_std() {
    let folder = TempPath::folder("fs");
    let path = folder.join("file");
    everywhere(move || {
        let file = File::create(&path).unwrap();
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        file.set_modified(then).unwrap();
        file.set_times(FileTimes::new().set_accessed(then)).unwrap();
        assert_eq!(file.metadata().unwrap().modified().unwrap(), then);
        let other = std::fs::File::open(&path).unwrap();
        file.lock().unwrap();
        assert!(other.try_lock_shared().is_err());
        file.unlock().unwrap();
        file.lock_shared().unwrap();
        other.try_lock_shared().unwrap();
        assert!(file.try_lock().is_err());
        file.try_lock_shared().unwrap();
    });
}
