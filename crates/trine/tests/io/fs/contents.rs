//! Reads return the bytes that were written.

use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};

use trine::fs::{self, File, OpenOptions};
use trine::{Kind, coroutine, thread};

use super::{TempPath, everywhere, pattern};

fn size(n: usize) -> usize {
    4096 + n * 61_440 / 999
}

#[test]
fn a_thousand_tasks_read_a_thousand_files() {
    let _turn = crate::hundreds_of_descriptors();
    let folder = TempPath::folder("fs");
    for n in 0..1000 {
        std::fs::write(folder.join(n.to_string()), pattern(n, size(n))).unwrap();
    }
    for kind in [Kind::Coroutine, Kind::Thread] {
        let tasks: Vec<_> = (0..1000)
            .map(|n| {
                let path = folder.join(n.to_string());
                let read = move || fs::read(path).unwrap();
                match kind {
                    Kind::Coroutine => coroutine::spawn(read),
                    _ => thread::pool().spawn(read),
                }
            })
            .collect();
        for (n, task) in tasks.into_iter().enumerate() {
            assert!(task.join().unwrap() == pattern(n, size(n)), "file {n}");
        }
    }
    let locals: Vec<_> = (0..1000)
        .map(|n| {
            let path = folder.join(n.to_string());
            coroutine::spawn_local(move || fs::read(path).unwrap())
        })
        .collect();
    for (n, task) in locals.into_iter().enumerate() {
        assert!(task.join().unwrap() == pattern(n, size(n)), "file {n}");
    }
}

#[test]
fn two_hundred_coroutines_write_and_sync_their_files() {
    let _turn = crate::hundreds_of_descriptors();
    let folder = TempPath::folder("fs");
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let path = folder.join(n.to_string());
            coroutine::spawn(move || {
                let mut file = File::create_new(&path)?;
                file.write_all(&pattern(n, size(n)))?;
                if n % 50 == 0 {
                    file.sync_all()?;
                    file.sync_data()?;
                }
                drop(file);
                assert!(fs::read(&path)? == pattern(n, size(n)));
                fs::remove_file(&path)
            })
        })
        .collect();
    for task in tasks {
        task.join().unwrap().unwrap();
    }
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0);
}

#[test]
fn appends_of_many_are_whole() {
    let folder = TempPath::folder("fs");
    let path = folder.join("log");
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let path = path.clone();
            let append = move || {
                let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
                for line in 0..20 {
                    // In one write, since each append is one write.
                    file.write_all(format!("{n} {line}\n").as_bytes()).unwrap();
                }
            };
            if n % 2 == 0 { coroutine::spawn(append) } else { thread::spawn(append) }
        })
        .collect();
    tasks.into_iter().for_each(|task| task.join().unwrap());
    let mut lines: Vec<_> = BufReader::new(File::open(&path).unwrap())
        .lines()
        .map(|line| {
            let line = line.unwrap();
            let (n, line) = line.split_once(' ').unwrap();
            (n.parse::<u32>().unwrap(), line.parse::<u32>().unwrap())
        })
        .collect();
    lines.sort_unstable();
    let expected: Vec<_> = (0..100).flat_map(|n| (0..20).map(move |line| (n, line))).collect();
    assert_eq!(lines, expected);
}

#[test]
fn clones_share_a_position_and_calls_with_an_offset_leave_it() {
    let folder = TempPath::folder("fs");
    let path = folder.join("shared");
    everywhere(move || {
        let mut options = File::options();
        let mut file =
            options.read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        file.write_all(b"0123456789").unwrap();
        let mut other = file.try_clone().unwrap();
        assert_eq!(other.stream_position().unwrap(), 10);
        other.seek(SeekFrom::Start(2)).unwrap();
        let mut two = [0; 2];
        file.read_exact(&mut two).unwrap();
        assert_eq!(&two, b"23");
        file.read_exact_at(&mut two, 8).unwrap();
        assert_eq!(&two, b"89");
        file.write_all_at(b"xy", 0).unwrap();
        other.read_exact(&mut two).unwrap();
        assert_eq!(&two, b"45");
        assert_eq!(file.seek(SeekFrom::End(-10)).unwrap(), 0);
        let mut text = String::from("so: ");
        assert_eq!(other.read_to_string(&mut text).unwrap(), 10);
        assert_eq!(text, "so: xy23456789");
        assert_eq!(file.read(&mut two).unwrap(), 0);
        assert_eq!(
            file.read_exact_at(&mut two, 9).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        file.set_len(3).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"xy2");
    });
}

#[test]
fn vectored_calls_fill_and_take_one_buffer_after_the_other() {
    let folder = TempPath::folder("fs");
    let path = folder.join("vectored");
    everywhere(move || {
        let mut file = File::create(&path).unwrap();
        let parts = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
        assert_eq!(file.write_vectored(&parts).unwrap(), 5);
        let (mut a, mut b) = ([0; 1], [0; 9]);
        let mut parts = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
        assert_eq!(File::open(&path).unwrap().read_vectored(&mut parts).unwrap(), 5);
        assert_eq!((&a, &b[..4]), (b"a", &b"bcde"[..]));
        // More parts than the kernel takes at once.
        let many = vec![IoSlice::new(b"z"); 3000];
        assert!(File::create(&path).unwrap().write_vectored(&many).unwrap() > 0);
        assert_eq!(file.write(&[]).unwrap(), 0);
    });
}

#[test]
fn files_of_the_kernel_have_no_size_and_are_read_all_the_same() {
    everywhere(|| {
        assert!(fs::read_to_string("/proc/self/status").unwrap().contains("VmRSS"));
        assert!(!fs::read_to_string("/proc/cpuinfo").unwrap().is_empty());
        let mut zeros = [1; 100];
        File::open("/dev/zero").unwrap().read_exact(&mut zeros).unwrap();
        assert_eq!(zeros, [0; 100]);
        assert!(fs::read("/dev/null").unwrap().is_empty());
        fs::write("/dev/null", b"gone").unwrap();
    });
}

#[test]
fn what_is_read_was_longer_or_shorter_than_it_was_said_to_be() {
    let folder = TempPath::folder("fs");
    let path = folder.join("grows");
    std::fs::write(&path, pattern(1, 10_000)).unwrap();
    let writer = {
        let path = path.clone();
        std::thread::spawn(move || {
            for n in 0..500 {
                let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
                file.set_len(if n % 2 == 0 { 100 } else { 20_000 }).unwrap();
            }
        })
    };
    let reader = coroutine::spawn(move || {
        for _ in 0..500 {
            let bytes = fs::read(&path).unwrap();
            assert!(bytes[..100] == pattern(1, 100));
        }
    });
    reader.join().unwrap();
    writer.join().unwrap();
}

#[test]
fn copies_are_whole_and_keep_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempPath::folder("fs");
    let (from, to) = (folder.join("from"), folder.join("to"));
    // More than one piece.
    let bytes = pattern(3, (8 << 20) + 12_345);
    std::fs::write(&from, &bytes).unwrap();
    std::fs::set_permissions(&from, PermissionsExt::from_mode(0o642)).unwrap();
    everywhere(move || {
        assert_eq!(fs::copy(&from, &to).unwrap(), bytes.len() as u64);
        assert!(std::fs::read(&to).unwrap() == bytes);
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o642);
        assert_eq!(fs::copy(&from, "/dev/null").unwrap(), bytes.len() as u64);
    });
}

/// Makes the kernel drop its cache of a file, as far as it can.
fn forget(path: &std::path::Path) {
    let file = std::fs::File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

#[test]
fn what_no_cache_holds_is_read_whatever_is_cancelled() {
    let folder = TempPath::folder("fs");
    let whole = pattern(9, 600_000);
    let path = folder.join("cold");
    std::fs::write(&path, &whole).unwrap();
    for round in 0..60 {
        forget(&path);
        let file = path.clone();
        let cancelled = coroutine::spawn(move || {
            let mut bytes = vec![0; 300_000];
            File::open(&file)?.read_at(&mut bytes, 1000)?;
            fs::read(&file)
        });
        for _ in 0..round * 200 {
            std::hint::spin_loop();
        }
        cancelled.cancel();
        if let Ok(Ok(read)) = cancelled.join() {
            assert!(read == whole);
        }
        forget(&path);
        let file = path.clone();
        let read = coroutine::spawn(move || fs::read(file)).join().unwrap().unwrap();
        assert!(read == whole);
        forget(&path);
        let file = File::open(&path).unwrap();
        let part = coroutine::spawn(move || {
            let mut bytes = vec![0; 100_000];
            file.read_exact_at(&mut bytes, 77_777).unwrap();
            bytes
        });
        assert!(part.join().unwrap() == whole[77_777..177_777]);
    }
}
