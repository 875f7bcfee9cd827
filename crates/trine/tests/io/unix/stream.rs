use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net as std_net;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use trine::coroutine;
use trine::net::UnixStream;

use crate::common::places::{PLACES, ends_from_outside, every_byte_crosses, everywhere, pattern};
use crate::common::starts::no_child_starts;
use crate::common::waiting::until_waiting;

#[test]
fn every_byte_arrives_in_order_while_reader_and_writer_wait_for_each_other() {
    every_byte_crosses(|| UnixStream::pair().unwrap());
}

#[test]
fn many_pairs_ping_and_pong_at_once() {
    let _turn = crate::hundreds_of_descriptors();
    let tasks: Vec<_> = (0..100)
        .map(|n: usize| {
            let (mut here, mut there) = UnixStream::pair().unwrap();
            let ping = PLACES[n % 16 / 15].spawn(move || {
                for round in 0..50_u64 {
                    here.write_all(&round.to_le_bytes()).unwrap();
                    let mut answer = [0; 8];
                    here.read_exact(&mut answer).unwrap();
                    assert_eq!(u64::from_le_bytes(answer), round + 1);
                }
            });
            let pong = coroutine::spawn(move || {
                let mut number = [0; 8];
                while there.read_exact(&mut number).is_ok() {
                    let next = u64::from_le_bytes(number) + 1;
                    there.write_all(&next.to_le_bytes()).unwrap();
                }
            });
            (ping, pong)
        })
        .collect();
    for (ping, pong) in tasks {
        ping.join().unwrap();
        pong.join().unwrap();
    }
}

#[test]
fn one_direction_ends_and_the_other_goes_on() {
    let _alone = no_child_starts();
    everywhere(|| {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        here.write_all(b"question").unwrap();
        here.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        there.read_to_string(&mut text).unwrap();
        assert_eq!(text, "question");
        there.write_all(b"answer").unwrap();
        drop(there);
        text.clear();
        here.read_to_string(&mut text).unwrap();
        assert_eq!(text, "answer");
        assert_eq!(here.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(
            here.write_vectored(&[IoSlice::new(b"x")]).unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
        assert_eq!(here.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn a_shutdown_by_another_ends_a_read_that_waits() {
    for place in PLACES {
        let (here, _there) = UnixStream::pair().unwrap();
        let handle = here.try_clone().unwrap();
        let reader = place.spawn(move || (&here).read(&mut [0; 8]).unwrap());
        until_waiting(&reader);
        handle.shutdown(Shutdown::Both).unwrap();
        assert_eq!(reader.join().unwrap(), 0);
    }
}

#[test]
fn what_comes_with_a_descriptor_does_not_hide_what_comes_behind_it() {
    everywhere(|| {
        let (mut here, there) = UnixStream::pair().unwrap();
        let mut buffer = [0; 100];
        // The first wait registers the reader's socket with its back end.
        let later = there.try_clone().unwrap();
        let first = coroutine::spawn(move || (&later).write_all(b"a").unwrap());
        assert_eq!(here.read(&mut buffer).unwrap(), 1);
        first.join().unwrap();
        for _ in 0..50 {
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let travels = [there.as_fd()];
            assert!(control.push(SendAncillaryMessage::ScmRights(&travels)));
            let bytes = [IoSlice::new(b"with one")];
            sendmsg(&there, &bytes, &mut control, SendFlags::empty()).unwrap();
            (&there).write_all(b"without").unwrap();
            let mut text = Vec::new();
            while text.len() < 15 {
                let count = here.read(&mut buffer).unwrap();
                text.extend_from_slice(&buffer[..count]);
            }
            assert_eq!(text, b"with onewithout");
        }
    });
}

#[test]
fn several_buffers_are_read_and_written_in_one_call() {
    everywhere(|| {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        let parts = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
        assert_eq!(here.write_vectored(&parts).unwrap(), 5);
        let (mut one, mut two) = ([0; 1], [0; 9]);
        let mut into = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
        assert_eq!(there.read_vectored(&mut into).unwrap(), 5);
        assert_eq!((&one[..], &two[..4]), (&b"a"[..], &b"bcde"[..]));
        // More than the kernel takes at once.
        let many: Vec<_> = (0..5000).map(|_| IoSlice::new(b"x")).collect();
        assert_eq!(here.write_vectored(&many).unwrap(), 1024);
        let mut room = [[0; 1]; 1500];
        let mut into: Vec<_> = room.iter_mut().map(|byte| IoSliceMut::new(byte)).collect();
        assert_eq!(there.read_vectored(&mut into).unwrap(), 1024);
    });
}

#[test]
fn of_nothing_nothing_is_read_or_written_at_once() {
    everywhere(|| {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        here.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        // Both directions are known not to be ready.
        here.read(&mut [0]).unwrap_err();
        here.set_write_timeout(Some(Duration::from_millis(1))).unwrap();
        while here.write(&[0; 10_000]).is_ok() {}
        here.set_read_timeout(None).unwrap();
        here.set_write_timeout(None).unwrap();
        assert_eq!(here.read(&mut []).unwrap(), 0);
        assert_eq!(here.read_vectored(&mut [IoSliceMut::new(&mut [])]).unwrap(), 0);
        assert_eq!(here.write(&[]).unwrap(), 0);
        assert_eq!(here.write_vectored(&[]).unwrap(), 0);
        here.flush().unwrap();
        drop(here);
        assert!(there.read_to_end(&mut Vec::new()).unwrap() > 0);
    });
}

#[test]
fn a_timeout_ends_a_call_and_loses_nothing() {
    everywhere(|| {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        let limit = Duration::from_millis(2);
        for set in [UnixStream::set_read_timeout, UnixStream::set_write_timeout] {
            let error = set(&here, Some(Duration::ZERO)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            set(&here, Some(limit)).unwrap();
        }
        assert_eq!(here.read_timeout().unwrap(), Some(limit));
        assert_eq!(here.write_timeout().unwrap(), Some(limit));
        assert_eq!(here.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        there.write_all(b"late").unwrap();
        let mut text = [0; 4];
        here.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"late");
        let mut sent = 0;
        let error = loop {
            match here.write(&pattern(sent, 10_000)) {
                Ok(count) => sent += count,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop(here);
        let mut received = Vec::new();
        there.read_to_end(&mut received).unwrap();
        assert!(received == pattern(0, sent));
    });
}

#[test]
fn what_is_there_is_read_however_short_the_timeout() {
    everywhere(|| {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        here.set_read_timeout(Some(Duration::from_nanos(1))).unwrap();
        here.set_write_timeout(Some(Duration::from_nanos(1))).unwrap();
        for _ in 0..100 {
            assert_eq!(here.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
            here.write_all(b"x").unwrap();
            there.read_exact(&mut [0]).unwrap();
            there.write_all(b"y").unwrap();
            here.read_exact(&mut [0]).unwrap();
        }
    });
}

#[test]
fn reading_and_writing_end_from_outside() {
    ends_from_outside(|| {
        let (mut here, _there) = UnixStream::pair().unwrap();
        here.read(&mut [0]).map(drop)
    });
    ends_from_outside(|| {
        let (mut here, _there) = UnixStream::pair().unwrap();
        here.write_all(&vec![0; 10 << 20])
    });
}

#[test]
fn clones_share_the_connection() {
    everywhere(|| {
        let (one, mut other) = UnixStream::pair().unwrap();
        one.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let clone = one.try_clone().unwrap();
        assert_ne!(one.as_raw_fd(), clone.as_raw_fd());
        assert_eq!(clone.read_timeout().unwrap(), Some(Duration::from_secs(60)));
        let reader = coroutine::spawn(move || {
            let mut text = [0; 5];
            (&clone).read_exact(&mut text).unwrap();
            text
        });
        other.write_all(b"hello").unwrap();
        assert_eq!(&reader.join().unwrap(), b"hello");
        (&one).write_all(b"!").unwrap();
        drop(one);
        let mut text = String::new();
        other.read_to_string(&mut text).unwrap();
        assert_eq!(text, "!");
    });
}

#[test]
fn to_std_and_back() {
    everywhere(|| {
        let (one, mut other) = UnixStream::pair().unwrap();
        one.set_read_timeout(Some(Duration::from_millis(8))).unwrap();
        let clone = one.try_clone().unwrap();
        let mut one = std_net::UnixStream::from(one);
        // It blocks: std returns its error only after that time.
        let begin = std::time::Instant::now();
        assert_eq!(one.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(begin.elapsed() >= Duration::from_millis(8));
        other.write_all(b"ab").unwrap();
        one.read_exact(&mut [0]).unwrap();
        // A clone that stayed with trine parks as before.
        clone.set_read_timeout(None).unwrap();
        (&clone).read_exact(&mut [0]).unwrap();
        let waits = coroutine::spawn(move || (&clone).read(&mut [0]).unwrap());
        until_waiting(&waits);
        other.write_all(b"c").unwrap();
        assert_eq!(waits.join().unwrap(), 1);

        let one = UnixStream::from(one);
        assert!(one.read_timeout().unwrap().is_some_and(|limit| limit >= Duration::from_millis(8)));
        assert_eq!((&one).read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        let one = UnixStream::from(OwnedFd::from(one));
        other.write_all(b"d").unwrap();
        (&one).read_exact(&mut [0]).unwrap();
        assert!(one.take_error().unwrap().is_none());
        assert!(one.peer_addr().unwrap().is_unnamed() && one.local_addr().unwrap().is_unnamed());
    });
}

#[test]
fn who_is_at_the_other_end() {
    let (one, _other) = UnixStream::pair().unwrap();
    let peer = one.peer_cred().unwrap();
    assert_eq!(peer.pid, Some(std::process::id()));
    assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
    assert_eq!(peer.gid, rustix::process::getegid().as_raw());
    let file = std::fs::File::open("/dev/null").unwrap();
    UnixStream::from(OwnedFd::from(file)).peer_cred().unwrap_err();
}
