//! Reads frames from a stream of bytes, however the stream is cut.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;

use super::{Frame, FrameKind, HEAD, Head, LONGEST, MAGIC, u32_at, u64_at};
use crate::sys::io::Blocking;
use crate::sys::io::arrived::Arrived;
use crate::sys::io::socket::{self, MOST_BEHIND, Part};

/// The fault of a stream with descriptors in the wrong place.
const NO_FRAME: &str = "descriptors that belong to no frame";

/// Assembles frames from a stream of bytes.
#[derive(Debug, Default)]
pub(in crate::process) struct FrameReader {
    /// Whole frames, in order.
    pub(in crate::process) ready: VecDeque<Frame>,
    /// The part of a head that has arrived.
    head: Vec<u8>,
    /// The frame whose body is arriving, and the number of bytes still missing from it.
    open: Option<(Frame, usize)>,
    /// Descriptors that have arrived, for each frame that has some; they come with its first byte.
    arrived: VecDeque<Arrived>,
    /// The head of a frame for which there was no memory.
    pub(in crate::process) too_large: Option<Head>,
}

/// The state of a stream after [`FrameReader::receive`].
#[derive(Debug, PartialEq, Eq)]
pub(in crate::process) enum Stream {
    /// All room was filled, so there are probably more bytes.
    More,
    /// Some room is left, so there are probably no more bytes for now.
    Drained,
    /// No bytes for now.
    WouldBlock,
    /// The peer sends no more.
    Ended,
    /// The bytes are no frame, for this reason.
    Broken(String),
}

/// The decision about a frame of which the head has arrived: its head, the length of its body, and
/// the number of its descriptors. The error is the fault of the stream.
type Admit<'a> = &'a mut dyn FnMut(&Head, u64, usize) -> Result<(), String>;

impl FrameReader {
    /// Receives once, and moves the frames that are whole now to `ready`. The peer is trusted: its
    /// frames have any length.
    pub(in crate::process) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        scratch: &mut [u8],
        blocking: Blocking,
    ) -> Stream {
        self.receive_admitted(socket, scratch, blocking, &mut |_, _, _| Ok(()))
    }

    /// Like [`receive`](FrameReader::receive), from a peer that is not trusted: `admit` decides
    /// about each frame before its body is received.
    pub(in crate::process) fn receive_admitted(
        &mut self,
        socket: BorrowedFd<'_>,
        scratch: &mut [u8],
        blocking: Blocking,
        admit: Admit<'_>,
    ) -> Stream {
        let mut room = scratch.len();
        let received = match &mut self.open {
            // The rest of a long body is received without a copy.
            Some((frame, missing)) if *missing > scratch.len() => {
                // At most doubles the bytes that have arrived: the stated length is untrusted.
                let more = (*missing).min(frame.body.len().max(scratch.len()));
                if frame.body.try_reserve(more).is_err() {
                    self.too_large = Some(frame.head);
                    return Stream::Broken(format!(
                        "no memory for a frame of {} bytes",
                        frame.body.len() + *missing
                    ));
                }
                let most = *missing;
                room = most.min(frame.body.capacity() - frame.body.len()).min(MOST_BEHIND);
                match socket::receive_behind(socket, &mut frame.body, most, blocking) {
                    // Those of a frame come with its first byte.
                    Ok(Part { descriptors: Some(_), .. }) => {
                        return Stream::Broken(NO_FRAME.to_owned());
                    }
                    Ok(received) => {
                        *missing -= received.len;
                        self.close_full();
                        Ok(received.len)
                    }
                    Err(error) => Err(error),
                }
            }
            _ => match socket::receive_with(socket, scratch, blocking) {
                Ok(received) => {
                    self.arrived.extend(received.descriptors);
                    if let Err(reason) = self.push(&scratch[..received.len], admit) {
                        return Stream::Broken(reason);
                    }
                    Ok(received.len)
                }
                Err(error) => Err(error),
            },
        };
        match received {
            Ok(0) => Stream::Ended,
            Ok(count) if count < room => Stream::Drained,
            Ok(_) => Stream::More,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Stream::WouldBlock,
            // The peer died with unread bytes in its socket.
            Err(_) => Stream::Ended,
        }
    }

    fn push(&mut self, mut bytes: &[u8], admit: Admit<'_>) -> Result<(), String> {
        if self.arrived.len() > 2 {
            return Err(NO_FRAME.to_owned());
        }
        while !bytes.is_empty() {
            if let Some((frame, missing)) = &mut self.open {
                let count = bytes.len().min(*missing);
                frame.body.extend_from_slice(&bytes[..count]);
                *missing -= count;
                bytes = &bytes[count..];
            } else {
                let count = bytes.len().min(HEAD - self.head.len());
                self.head.extend_from_slice(&bytes[..count]);
                bytes = &bytes[count..];
                if self.head.len() < HEAD {
                    return Ok(());
                }
                let (mut frame, missing) = open(&self.head)?;
                admit(&frame.head, missing as u64, frame.sent_descriptors)?;
                self.head.clear();
                if frame.sent_descriptors > 0 {
                    frame.descriptors = self.arrived.pop_front().unwrap_or_default();
                }
                self.open = Some((frame, missing));
            }
            self.close_full();
        }
        Ok(())
    }

    fn close_full(&mut self) {
        if let Some((frame, _)) = self.open.take_if(|(_, missing)| *missing == 0) {
            self.ready.push_back(frame);
        }
    }
}

/// Starts the frame of a whole head; also returns the length of its body.
fn open(head: &[u8]) -> Result<(Frame, usize), String> {
    let (task, len) = (u64_at(head, 8), u64_at(head, 16));
    let (item, nanos, descriptors) = (u32_at(head, 24), u32_at(head, 28), u32_at(head, 32));
    match FrameKind::from_raw(u32_at(head, 4)) {
        Some(kind) if u32_at(head, 0) == MAGIC && len <= LONGEST => {
            let frame = Frame {
                head: Head { kind, task, item, nanos },
                body: Vec::new(),
                descriptors: Arrived::default(),
                sent_descriptors: descriptors as usize,
            };
            Ok((frame, len as usize))
        }
        _ => Err(format!("these bytes begin no frame: {head:02x?}")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::process::wire::{begin, frame, head};

    fn fed(bytes: &[u8], step: usize) -> Result<Vec<Frame>, String> {
        let mut reader = FrameReader::default();
        for part in bytes.chunks(step) {
            reader.push(part, &mut |_, _, _| Ok(()))?;
        }
        Ok(reader.ready.into())
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_are_cut() {
        let mut bytes = frame(FrameKind::Value, 7, &"seven");
        bytes.extend(head(FrameKind::Bell, 0, 0));
        bytes.extend(frame(FrameKind::Refused, 9, &vec![1_u8; 300]));
        for step in 1..bytes.len() + 1 {
            let frames = fed(&bytes, step).unwrap();
            let kinds: Vec<_> =
                frames.iter().map(|frame| (frame.head.kind, frame.head.task)).collect();
            assert_eq!(
                kinds,
                [(FrameKind::Value, 7), (FrameKind::Bell, 0), (FrameKind::Refused, 9)]
            );
            assert_eq!(postcard::from_bytes::<String>(&frames[0].body).unwrap(), "seven");
            assert_eq!(postcard::from_bytes::<Vec<u8>>(&frames[2].body).unwrap(), [1; 300]);
        }
    }

    #[test]
    fn invalid_heads_are_refused_and_take_no_memory() {
        let good = head(FrameKind::Value, 1, u64::MAX);
        assert!(fed(&good, HEAD).is_err(), "an absurd length");
        let mut other_kind = head(FrameKind::Value, 1, 0);
        other_kind[4] = 99;
        assert!(fed(&other_kind, HEAD).is_err());
        assert!(fed(&[0x20; 64], 64).is_err());
        // A long body is valid, but its memory is allocated only as it arrives.
        let mut reader = FrameReader::default();
        let long = head(FrameKind::Value, 1, LONGEST);
        reader.push(&long, &mut |_, _, _| Ok(())).unwrap();
        assert_eq!(reader.open.unwrap().0.body.capacity(), 0);
        // The receiver may refuse it.
        let mut seen = None;
        let mut refuse = |head: &Head, len, descriptors| {
            seen = Some((head.kind, len, descriptors));
            Err("too long".to_owned())
        };
        assert_eq!(FrameReader::default().push(&long, &mut refuse), Err("too long".to_owned()));
        assert_eq!(seen, Some((FrameKind::Value, LONGEST, 0)));
    }

    #[test]
    fn descriptors_come_with_their_frames_however_the_bytes_are_cut() {
        let (ours, theirs) = socket::stream_pair().unwrap();
        let mut seed = 88172645463325252_u64;
        let mut below = |end: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 20) as usize % end
        };
        let (mut reader, mut sent) = (FrameReader::default(), VecDeque::new());
        for task in 0..2000 {
            let most = [90, 9_000][below(2)];
            let (len, count) = (below(most), below(4));
            let mut frame = begin(FrameKind::Value, task);
            frame.resize(HEAD + len, task as u8);
            Head::of(FrameKind::Value, task).write(&mut frame, count);
            let mut written = 0;
            while written < frame.len() {
                let piece = &frame[written..(written + 1 + below(3_000)).min(frame.len())];
                let own = if written == 0 { count } else { 0 };
                let own = vec![theirs.as_fd(); own];
                written += socket::send_with(&theirs, piece, &own, Blocking::No).unwrap();
                if below(3) == 0 {
                    let mut scratch = vec![0; 1 + below(5_000)];
                    let stream = reader.receive(ours.as_fd(), &mut scratch, Blocking::No);
                    assert!(!matches!(stream, Stream::Ended | Stream::Broken(_)), "{stream:?}");
                }
            }
            sent.push_back((task, len, count));
            // Receives before the socket is full.
            while sent.len() > 5 && reader.ready.is_empty() {
                reader.receive(ours.as_fd(), &mut [0; 700], Blocking::No);
            }
            for frame in reader.ready.drain(..) {
                let came = (frame.head.task, frame.body.len(), frame.descriptors.len());
                assert_eq!(Some(came), sent.pop_front());
                assert!(frame.body.iter().all(|byte| *byte == came.0 as u8));
            }
        }
        assert!(sent.len() < 10);
    }
}
