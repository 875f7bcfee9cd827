//! FIFOs, pipes and terminals: no thread is blocked by a wait for them.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, mkfifoat};
use trine::fs::{self, File, OpenOptions};
use trine::{coroutine, thread};

use super::{TempPath, until_it_waits};

fn fifo(folder: &TempPath, name: &str) -> PathBuf {
    let path = folder.join(name);
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    path
}

#[test]
fn a_hundred_fifos_are_waited_for_by_readers() {
    let _turn = crate::hundreds_of_descriptors();
    let folder = TempPath::folder("fs");
    let paths: Vec<_> = (0..100).map(|n| fifo(&folder, &n.to_string())).collect();
    let readers: Vec<_> = paths
        .iter()
        .cloned()
        .map(|path| coroutine::spawn(move || fs::read_to_string(path).unwrap()))
        .collect();
    readers.iter().for_each(until_it_waits);
    // More than the pool has threads, and none of them is blocked.
    coroutine::spawn(move || fs::canonicalize("/").unwrap()).join().unwrap();
    for (n, path) in paths.iter().enumerate() {
        let mut writer = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        writer.write_all(b"begin ").unwrap();
        write!(writer, "{n}").unwrap();
    }
    for (n, reader) in readers.into_iter().enumerate() {
        assert_eq!(reader.join().unwrap(), format!("begin {n}"));
    }
}

#[test]
fn forty_fifos_are_waited_for_by_writers() {
    let _turn = crate::hundreds_of_descriptors();
    let folder = TempPath::folder("fs");
    let paths: Vec<_> = (0..40).map(|n| fifo(&folder, &n.to_string())).collect();
    let writers: Vec<_> = paths
        .iter()
        .cloned()
        .map(|path| coroutine::spawn(move || fs::write(path, vec![7; 200_000]).unwrap()))
        .collect();
    writers.iter().for_each(until_it_waits);
    coroutine::spawn(move || fs::canonicalize("/").unwrap()).join().unwrap();
    for path in &paths {
        assert!(std::fs::read(path).unwrap() == vec![7; 200_000]);
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}

#[test]
fn both_ends_may_be_ours_and_a_writer_that_says_nothing_is_an_end() {
    let folder = TempPath::folder("fs");
    for round in 0..20 {
        let path = fifo(&folder, &round.to_string());
        let reader = path.clone();
        let reader = coroutine::spawn(move || fs::read(reader).unwrap());
        let writer = move || drop(OpenOptions::new().write(true).open(path).unwrap());
        let writer = if round % 2 == 0 { coroutine::spawn(writer) } else { thread::spawn(writer) };
        writer.join().unwrap();
        assert!(reader.join().unwrap().is_empty());
    }
}

#[test]
fn waiting_for_the_other_end_can_be_cancelled() {
    let folder = TempPath::folder("fs");
    for round in 0..50 {
        // An open that was left to a thread of the pool may be the other end of the next round for
        // a moment.
        let path = fifo(&folder, &round.to_string());
        let task = coroutine::spawn(move || {
            if round % 2 == 0 { fs::read(path).map(drop) } else { fs::write(path, "text") }
        });
        until_it_waits(&task);
        task.cancel();
        assert_eq!(task.join().unwrap().unwrap_err().to_string(), "cancelled");
    }
}

#[test]
fn who_asks_for_would_block_gets_it() {
    let folder = TempPath::folder("fs");
    let path = fifo(&folder, "fifo");
    let task = coroutine::spawn(move || {
        let nonblocking = 0o4000;
        let writer = OpenOptions::new().write(true).custom_flags(nonblocking).open(&path);
        assert_eq!(writer.unwrap_err().raw_os_error(), Some(6));
        let mut reader =
            OpenOptions::new().read(true).custom_flags(nonblocking).open(&path).unwrap();
        assert_eq!(reader.read(&mut [0; 4]).unwrap(), 0);
        let writer = OpenOptions::new().write(true).open(&path).unwrap();
        assert_eq!(reader.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(writer);
        let reader = std::fs::File::from(reader);
        let mut reader = File::from(reader);
        // A child that another test starts just now may have the writing end for a moment.
        let end = loop {
            match reader.read(&mut [0; 4]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => coroutine::yield_now(),
                end => break end,
            }
        };
        assert_eq!(end.unwrap(), 0);
    });
    task.join().unwrap();
}

#[test]
fn a_pipe_that_others_have_made_is_waited_for() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut reader = File::from(OwnedFd::from(reader));
    let task = coroutine::spawn(move || {
        let mut word = [0; 4];
        reader.read_exact(&mut word).unwrap();
        assert_eq!(reader.read_at(&mut [0; 4], 0).unwrap_err().kind(), ErrorKind::NotSeekable);
        word
    });
    until_it_waits(&task);
    writer.write_all(b"text").unwrap();
    assert_eq!(&task.join().unwrap(), b"text");

    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut writer = File::from(OwnedFd::from(writer));
    let task = coroutine::spawn(move || writer.write_all(&[1; 300_000]).unwrap());
    until_it_waits(&task);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 300_000);
    task.join().unwrap();
}

#[test]
fn a_file_that_a_coroutine_has_opened_blocks_again_elsewhere() {
    let folder = TempPath::folder("fs");
    let path = fifo(&folder, "fifo");
    let task = {
        let path = path.clone();
        coroutine::spawn(move || File::open(path).unwrap())
    };
    let mut reader = task.join().unwrap();
    let mut clone = std::fs::File::from(reader.try_clone().unwrap());
    let writer = std::thread::spawn(move || {
        let mut writer = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        writer.write_all(b"12345678").unwrap();
    });
    let mut half = [0; 4];
    reader.read_exact(&mut half).unwrap();
    assert_eq!(&half, b"1234");
    clone.read_exact(&mut half).unwrap();
    assert_eq!(&half, b"5678");
    writer.join().unwrap();
}

#[test]
fn a_terminal_is_waited_for_and_cancelled() {
    let open = || OpenOptions::new().read(true).write(true).open("/dev/ptmx");
    if open().is_err() {
        eprintln!("not run: there are no pseudo-terminals here");
        return;
    }
    let mut terminal = coroutine::spawn(move || open().unwrap()).join().unwrap();
    let mut other = terminal.try_clone().unwrap();
    let reader = coroutine::spawn(move || {
        let mut echo = [0; 4];
        other.read_exact(&mut echo).unwrap();
        (echo, other)
    });
    until_it_waits(&reader);
    coroutine::spawn(move || terminal.write_all(b"hi\n").unwrap()).join().unwrap();
    let (echo, mut other) = reader.join().unwrap();
    assert_eq!(&echo, b"hi\r\n");
    let reader = coroutine::spawn(move || other.read(&mut [0; 4]));
    until_it_waits(&reader);
    reader.cancel();
    assert_eq!(reader.join().unwrap().unwrap_err().to_string(), "cancelled");
}
