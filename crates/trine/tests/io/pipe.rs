//! Pipes: within the process, and to children.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use crate::common::places::{PLACES, ends_from_outside, every_byte_crosses, everywhere, pattern};
use crate::common::starts::{no_child_starts, start};
use crate::common::waiting::until_waiting;
use crate::common::{again, role, run};
use rustix::pipe::{PipeFlags, pipe_with};
use trine::coroutine;
use trine::ipc::{self, PipeReader, PipeWriter};

#[test]
fn every_byte_arrives_in_order_while_reader_and_writer_wait_for_each_other() {
    every_byte_crosses(|| ipc::pipe().unwrap());
}

#[test]
fn many_write_and_many_read_one_pipe() {
    let (reader, writer) = ipc::pipe().unwrap();
    let writers: Vec<_> = (0..40_u64)
        .map(|n| {
            let mut writer = writer.try_clone().unwrap();
            PLACES[usize::from(n % 10 == 9)].spawn(move || {
                for k in 0..500 {
                    writer.write_all(&(n * 500 + k).to_le_bytes()).unwrap();
                }
            })
        })
        .collect();
    drop(writer);
    let readers: Vec<_> = (0..10)
        .map(|n| {
            let reader = reader.try_clone().unwrap();
            PLACES[usize::from(n == 9)].spawn(move || {
                let (mut seen, mut buffer) = (Vec::new(), [0; 80]);
                // A write of this size is atomic, so each read has whole numbers.
                loop {
                    let count = (&reader).read(&mut buffer).unwrap();
                    if count == 0 {
                        return seen;
                    }
                    let numbers = buffer[..count].chunks_exact(8);
                    assert!(numbers.remainder().is_empty());
                    seen.extend(numbers.map(|it| u64::from_le_bytes(it.try_into().unwrap())));
                }
            })
        })
        .collect();
    drop(reader);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let mut seen: Vec<u64> =
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..20_000));
}

#[test]
fn ends_and_empty_calls_are_as_in_std() {
    let _alone = no_child_starts();
    everywhere(|| {
        let (mut reader, mut writer) = ipc::pipe().unwrap();
        let parts = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
        assert_eq!(writer.write_vectored(&parts).unwrap(), 5);
        let (mut one, mut two) = ([0; 1], [0; 9]);
        let mut into = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
        assert_eq!(reader.read_vectored(&mut into).unwrap(), 5);
        assert_eq!((&one[..], &two[..4]), (&b"a"[..], &b"bcde"[..]));
        assert_eq!(reader.read(&mut []).unwrap(), 0);
        assert_eq!(reader.read_vectored(&mut []).unwrap(), 0);
        writer.write_all(b"rest").unwrap();
        writer.flush().unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "rest");
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);

        let (reader, mut writer) = ipc::pipe().unwrap();
        drop(reader);
        assert_eq!(writer.write(&[]).unwrap(), 0);
        assert_eq!(writer.write_vectored(&[IoSlice::new(b"")]).unwrap(), 0);
        assert_eq!(writer.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        // The wrong end of a pipe returns an error.
        let (reader, _writer) = io::pipe().unwrap();
        PipeWriter::from(OwnedFd::from(reader)).write(b"x").unwrap_err();
    });
}

#[test]
fn a_writer_that_waits_hears_that_the_reader_is_gone() {
    for place in PLACES {
        let (reader, mut writer) = ipc::pipe().unwrap();
        let task = place.spawn(move || writer.write_all(&vec![0; 10 << 20]).unwrap_err().kind());
        until_waiting(&task);
        drop(reader);
        assert_eq!(task.join().unwrap(), ErrorKind::BrokenPipe);
    }
}

#[test]
fn reading_and_writing_end_from_outside() {
    ends_from_outside(|| {
        let (mut reader, _writer) = ipc::pipe()?;
        reader.read(&mut [0]).map(drop)
    });
    ends_from_outside(|| {
        let (_reader, mut writer) = ipc::pipe()?;
        writer.write_all(&vec![0; 10 << 20])
    });
}

#[test]
fn a_pipe_of_packets_is_read_packet_by_packet() {
    everywhere(|| {
        let flags = PipeFlags::DIRECT | PipeFlags::CLOEXEC;
        let Ok((reader, writer)) = pipe_with(flags) else { return };
        let (mut reader, mut writer) = (PipeReader::from(reader), PipeWriter::from(writer));
        let mut buffer = [0; 100];
        let mut late = writer.try_clone().unwrap();
        let first = coroutine::spawn(move || late.write_all(b"first").unwrap());
        assert_eq!(reader.read(&mut buffer).unwrap(), 5);
        first.join().unwrap();
        for _ in 0..50 {
            writer.write_all(b"one").unwrap();
            writer.write_all(b"another").unwrap();
            assert_eq!(reader.read(&mut buffer).unwrap(), 3);
            assert_eq!(reader.read(&mut buffer).unwrap(), 7);
        }
    });
}

#[test]
fn to_std_and_back() {
    everywhere(|| {
        let (reader, writer) = ipc::pipe().unwrap();
        assert_ne!(reader.as_raw_fd(), writer.as_raw_fd());
        let (mut reader, writer) = (io::PipeReader::from(reader), io::PipeWriter::from(writer));
        // Both block, or one of them would return `WouldBlock`.
        let std_s = std::thread::spawn(move || {
            (&writer).write_all(&pattern(0, 300_000)).unwrap();
            writer
        });
        let mut bytes = vec![0; 300_000];
        reader.read_exact(&mut bytes).unwrap();
        assert!(bytes == pattern(0, 300_000));
        let mut writer = PipeWriter::from(std_s.join().unwrap());
        let reader = PipeReader::from(reader);
        let waits = coroutine::spawn(move || {
            let count = (&reader).read(&mut [0; 9]).unwrap();
            (count, reader)
        });
        until_waiting(&waits);
        writer.write_all(b"abc").unwrap();
        let (count, reader) = waits.join().unwrap();
        assert_eq!(count, 3);
        let mut reader = PipeReader::from(OwnedFd::from(reader));
        let mut writer = PipeWriter::from(OwnedFd::from(writer));
        writer.write_all(b"x").unwrap();
        reader.read_exact(&mut [0]).unwrap();
    });
}

#[test]
fn the_standard_streams_of_children() {
    everywhere(|| {
        let (mut output, writer) = ipc::pipe().unwrap();
        let mut command = Command::new("cat");
        let mut child = start(command.stdin(Stdio::piped()).stdout(writer)).unwrap();
        // The command holds an end of the pipe.
        drop(command);
        let mut input = PipeWriter::from(OwnedFd::from(child.stdin.take().unwrap()));
        let feeder = coroutine::spawn(move || input.write_all(&pattern(0, 1 << 20)).unwrap());
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes).unwrap();
        assert!(bytes == pattern(0, 1 << 20));
        feeder.join().unwrap();
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn a_program_that_wants_sigpipe_gets_it() {
    if role().is_none() {
        run(again("ignores"));
        let status = start(&mut again("default")).unwrap().wait().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGPIPE));
        return;
    }
    if role().as_deref() == Some("default") {
        // SAFETY: no handler, and a signal that nothing else here relies on.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    }
    // A socket never raises it.
    let (mut one, other) = trine::net::UnixStream::pair().unwrap();
    drop(other);
    assert_eq!(one.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(
        one.write_vectored(&[IoSlice::new(b"x")]).unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
    let (reader, mut writer) = ipc::pipe().unwrap();
    drop(reader);
    assert_eq!(writer.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
}
