//! FIFOs: their ends meet, within the process and between programs.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::places::{
    PLACES, Place, ends_from_outside, every_byte_crosses, everywhere, pattern,
};
use crate::common::starts::{no_child_starts, start};
use crate::common::temporary::TempPath;
use crate::common::waiting::until_waiting;
use crate::common::{again, kind_and_text, role, run};
use trine::coroutine;
use trine::ipc::Fifo;

fn new_fifo(path: &TempPath) -> Fifo {
    Fifo::create_new(&path.0, 0o600).unwrap()
}

/// Runs the test once more with the other back end.
fn also_with_epoll() {
    if role().is_none() && std::env::var_os("TRINE_REACTOR").is_none() {
        let mut command = again("epoll");
        command.env("TRINE_REACTOR", "epoll");
        run(command);
    }
}

#[test]
fn every_byte_crosses_between_two_openings() {
    every_byte_crosses(|| {
        let name = TempPath::new("fifo");
        let fifo = new_fifo(&name);
        let reader = fifo.try_open_reader().unwrap();
        (reader, fifo.open_writer().unwrap())
    });
}

#[test]
fn the_ends_wait_for_each_other() {
    also_with_epoll();
    for reading in PLACES {
        for writing in PLACES {
            for reader_first in [true, false] {
                let name = TempPath::new("fifo");
                let fifo = new_fifo(&name);
                let path = name.0.clone();
                let read = move || {
                    let mut text = String::new();
                    fifo.open_reader().unwrap().read_to_string(&mut text).unwrap();
                    text
                };
                let write = move || {
                    let mut writer = Fifo::open(path).unwrap().open_writer().unwrap();
                    writer.write_all(b"met").unwrap();
                };
                let (reader, writer);
                if reader_first {
                    reader = reading.spawn(read);
                    until_waiting(&reader);
                    writer = writing.spawn(write);
                } else {
                    writer = writing.spawn(write);
                    until_waiting(&writer);
                    reader = reading.spawn(read);
                }
                writer.join().unwrap();
                assert_eq!(reader.join().unwrap(), "met");
            }
        }
    }
}

#[test]
fn an_opening_waits_for_a_writer_that_says_nothing() {
    also_with_epoll();
    for place in PLACES {
        // Two FIFOs, both opened before anything is written: a usual start of a conversation.
        let (one, other) = (TempPath::new("fifo"), TempPath::new("fifo"));
        let (questions, answers) = (new_fifo(&one), new_fifo(&other));
        let server = place.spawn(move || {
            let mut questions = questions.open_reader().unwrap();
            let mut answers = answers.open_writer().unwrap();
            let mut bytes = [0; 4];
            questions.read_exact(&mut bytes).unwrap();
            answers.write_all(&bytes).unwrap();
        });
        let mut asks = Fifo::open(&one.0).unwrap().open_writer().unwrap();
        let mut hears = Fifo::open(&other.0).unwrap().open_reader().unwrap();
        asks.write_all(b"ping").unwrap();
        let mut answer = String::new();
        hears.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "ping");
        server.join().unwrap();
    }
}

#[test]
fn other_programs_open_as_they_like() {
    also_with_epoll();
    if role().is_some_and(|role| role.starts_with('/')) {
        // Acts as a program that does not use trine.
        let path = PathBuf::from(role().unwrap());
        let mut bytes = Vec::new();
        File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
        let mut back = File::options().write(true).open(path.with_extension("back")).unwrap();
        back.write_all(&bytes).unwrap();
        return;
    }
    for place in PLACES {
        let there = TempPath::new("fifo");
        let back = TempPath(there.0.with_extension("back"));
        let (writes, reads) = (new_fifo(&there), new_fifo(&back));
        let path = there.0.to_str().unwrap();
        let other = start(&mut again(path)).unwrap();
        let task = place.spawn(move || {
            writes.open_writer().unwrap().write_all(&pattern(0, 200_000)).unwrap();
            let mut bytes = Vec::new();
            reads.open_reader().unwrap().read_to_end(&mut bytes).unwrap();
            assert!(bytes == pattern(0, 200_000));
        });
        let output = other.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        task.join().unwrap();
    }
}

#[test]
fn openings_end_from_outside_and_by_their_timeout() {
    also_with_epoll();
    let _alone = no_child_starts();
    // Made outside: a coroutine waits for that, too.
    let fifo = Arc::new(new_fifo(&TempPath::new("fifo")));
    let same = Arc::clone(&fifo);
    ends_from_outside(move || same.open_reader().map(drop));
    let same = Arc::clone(&fifo);
    ends_from_outside(move || same.open_writer().map(drop));
    ends_from_outside(move || (&fifo.try_open_reader()?).read(&mut [0]).map(drop));
    everywhere(|| {
        let fifo = new_fifo(&TempPath::new("fifo"));
        let (begin, limit) = (Instant::now(), Duration::from_millis(3));
        assert_eq!(kind_and_text(fifo.open_reader_timeout(limit)).0, ErrorKind::TimedOut);
        assert!(begin.elapsed() >= limit);
        assert_eq!(kind_and_text(fifo.open_writer_timeout(limit)).0, ErrorKind::TimedOut);
        // Neither end was left open.
        assert_eq!(kind_and_text(fifo.try_open_writer()).0, ErrorKind::WouldBlock);
        let reader = fifo.try_open_reader().unwrap();
        let mut writer = fifo.open_writer_timeout(Duration::MAX).unwrap();
        writer.write_all(b"x").unwrap();
        drop(writer);
        let mut bytes = Vec::new();
        (&reader).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"x");
    });
}

#[test]
fn an_opening_that_is_cancelled_is_never_one_in_vain() {
    let _alone = no_child_starts();
    // A reader that a writer's opening lets in either reads the writer's bytes, or waits for a
    // writer.
    for place in PLACES {
        for round in 0..60_u32 {
            let name = TempPath::new("fifo");
            let (fifo, path) = (new_fifo(&name), name.0.clone());
            let writer = place.spawn(move || {
                let Ok(mut writer) = fifo.open_writer() else { return false };
                writer.write_all(b"it came").unwrap();
                true
            });
            let reader = Place::Thread.spawn(move || {
                let opened = Fifo::open(path).unwrap().open_reader();
                let Ok(mut reader) = opened else { return None };
                let mut text = String::new();
                let read =
                    trine::shield(Duration::from_secs(60), || reader.read_to_string(&mut text));
                read.unwrap();
                Some(text)
            });
            // Lets other threads of this processor run once, and then waits some more.
            std::thread::yield_now();
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_micros(u64::from(round % 16 * 20)) {}
            writer.cancel();
            // It has no result if it was cancelled before it began.
            let wrote = writer.join().unwrap_or(false);
            if !wrote {
                reader.cancel();
            }
            let read = reader.join().unwrap_or(None);
            assert_eq!(read.as_deref(), wrote.then_some("it came"));
        }
    }
}

#[test]
fn ends_come_and_go() {
    let _alone = no_child_starts();
    everywhere(|| {
        let fifo = new_fifo(&TempPath::new("fifo"));
        assert_eq!(kind_and_text(fifo.try_open_writer()).0, ErrorKind::WouldBlock);
        let mut reader = fifo.try_open_reader().unwrap();
        let clone = reader.try_clone().unwrap();
        let waits = coroutine::spawn(move || (&clone).read(&mut [0; 9]).unwrap());
        until_waiting(&waits);
        let mut writer = fifo.try_open_writer().unwrap();
        writer.write_all(b"first").unwrap();
        assert_eq!(waits.join().unwrap(), 5);
        // The last writer leaves: the reader sees the end repeatedly, and then another writer.
        drop(writer);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        let mut writer = fifo.open_writer().unwrap();
        writer.write_all(b"second").unwrap();
        let mut bytes = [0; 6];
        reader.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"second");
        // The last reader leaves, and another comes.
        drop(reader);
        assert_eq!(writer.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        let mut reader = fifo.open_reader().unwrap();
        writer.write_all(b"third").unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "third");
    });
}

#[test]
fn a_first_writer_that_says_nothing_is_an_end() {
    for place in PLACES {
        let fifo = new_fifo(&TempPath::new("fifo"));
        let reader = fifo.try_open_reader().unwrap();
        let task = place.spawn(move || (&reader).read(&mut [0]).unwrap());
        until_waiting(&task);
        drop(fifo.open_writer().unwrap());
        assert_eq!(task.join().unwrap(), 0);
    }
}

#[test]
fn many_openings_wait_at_once() {
    let _turn = crate::hundreds_of_descriptors();
    let fifos: Vec<_> =
        (0..100).map(|_| TempPath::new("fifo")).map(|name| (new_fifo(&name), name)).collect();
    let tasks: Vec<_> = fifos
        .iter()
        .enumerate()
        .map(|(n, (_, name))| {
            let fifo = Fifo::open(&name.0).unwrap();
            coroutine::spawn(move || match n % 2 {
                0 => fifo.open_reader().map(drop).unwrap(),
                _ => fifo.open_writer().map(drop).unwrap(),
            })
        })
        .collect();
    tasks.iter().for_each(until_waiting);
    for (n, (fifo, _)) in fifos.iter().enumerate() {
        match n % 2 {
            0 => drop(fifo.open_writer().unwrap()),
            _ => drop(fifo.open_reader().unwrap()),
        }
    }
    tasks.into_iter().for_each(|task| task.join().unwrap());
}

#[test]
fn what_is_no_fifo_is_said_and_not_touched() {
    everywhere(|| {
        let name = TempPath::new("fifo");
        std::fs::write(&name.0, "precious").unwrap();
        let before = std::fs::metadata(&name.0).unwrap();
        let refused = [
            (Fifo::open(&name.0), "is a regular file, not a FIFO"),
            (Fifo::create(&name.0, 0o600), "is a regular file, not a FIFO"),
            (Fifo::open("/tmp"), "/tmp is a directory, not a FIFO"),
            (Fifo::open("/dev/null"), "/dev/null is a device, not a FIFO"),
        ];
        for (refused, why) in refused {
            let (kind, text) = kind_and_text(refused);
            assert!(kind == ErrorKind::InvalidInput && text.ends_with(why), "{text}");
        }
        assert_eq!(kind_and_text(Fifo::create_new(&name.0, 0o600)).0, ErrorKind::AlreadyExists);
        let after = std::fs::metadata(&name.0).unwrap();
        let times = |of: &std::fs::Metadata| (of.mtime_nsec(), of.ctime_nsec(), of.atime_nsec());
        assert_eq!(times(&before), times(&after));
        assert_eq!(std::fs::read_to_string(&name.0).unwrap(), "precious");

        let none = TempPath::new("fifo");
        assert_eq!(kind_and_text(Fifo::open(&none.0)).0, ErrorKind::NotFound);
        assert_eq!(kind_and_text(Fifo::create(none.0.join("x"), 0o600)).0, ErrorKind::NotFound);
        assert_eq!(kind_and_text(Fifo::open("a\0b")).0, ErrorKind::InvalidInput);
        assert_eq!(kind_and_text(Fifo::create("a\0b", 0o600)).0, ErrorKind::InvalidInput);
    });
}

#[test]
fn what_was_looked_up_is_what_is_opened() {
    let name = TempPath::new("fifo");
    let fifo = new_fifo(&name);
    let metadata = std::fs::metadata(&name.0).unwrap();
    assert!(metadata.file_type().is_fifo() && metadata.permissions().mode() & 0o777 == 0o600);
    assert_eq!(kind_and_text(Fifo::create_new(&name.0, 0o600)).0, ErrorKind::AlreadyExists);
    let same = Fifo::create(&name.0, 0o600).unwrap();
    let link = TempPath::new("fifo");
    symlink(&name.0, &link.0).unwrap();
    let linked = Fifo::open(&link.0).unwrap();
    // Another file has the name now.
    std::fs::remove_file(&name.0).unwrap();
    std::fs::write(&name.0, "not this").unwrap();
    let mut reader = fifo.try_open_reader().unwrap();
    same.open_writer().unwrap().write_all(b"this").unwrap();
    linked.open_writer().unwrap().write_all(b" one").unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "this one");
}

#[test]
fn missing_rights_are_an_error_at_once() {
    let Some(path) = role() else {
        let name = TempPath::new("fifo");
        let _fifo = new_fifo(&name);
        run(again(name.0.to_str().unwrap()));
        return;
    };
    // SAFETY: the only thread that matters gives up its rights.
    if unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) } != 0 {
        return;
    }
    let fifo = Fifo::open(path).unwrap();
    assert_eq!(kind_and_text(fifo.open_reader()).0, ErrorKind::PermissionDenied);
    assert_eq!(kind_and_text(fifo.open_writer()).0, ErrorKind::PermissionDenied);
    assert_eq!(kind_and_text(fifo.try_open_reader()).0, ErrorKind::PermissionDenied);
    assert_eq!(kind_and_text(fifo.try_open_writer()).0, ErrorKind::PermissionDenied);
}

#[test]
fn a_reader_that_does_not_block_is_met_too() {
    let _alone = no_child_starts();
    for place in PLACES {
        let name = TempPath::new("fifo");
        let fifo = new_fifo(&name);
        let task = place.spawn(move || fifo.open_writer().unwrap().write_all(b"met").unwrap());
        until_waiting(&task);
        let mut flags = File::options();
        let mut reader = flags.read(true).custom_flags(libc::O_NONBLOCK).open(&name.0).unwrap();
        task.join().unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "met");
    }
}
