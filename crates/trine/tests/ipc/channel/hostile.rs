//! Channels with a hostile peer, which takes its end apart and abuses its descriptors.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use rustix::fs::OFlags;
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::process::Uid;
use trine::coroutine;
use trine::ipc::channel::{AttachError, Receiver, Sender};
use trine::ipc::{self, Shared};

use super::{LONG, until_refused};

/// The contents of an end.
struct Parts {
    packet: Vec<u8>,
    memory: OwnedFd,
    peers: OwnedFd,
    bell: OwnedFd,
}

impl Parts {
    /// Takes an end out of its socket.
    fn of<E: TryInto<OwnedFd, Error = AttachError>>(end: E) -> Parts {
        let socket = end.try_into().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut packet = vec![0; 64];
        let mut into = [IoSliceMut::new(&mut packet)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = rustix::net::recvmsg(&socket, &mut into, &mut control, flags).unwrap();
        packet.truncate(received.bytes);
        let mut descriptors = control.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect::<Vec<_>>(),
            _ => vec![],
        });
        let mut next = || descriptors.next().unwrap();
        Parts { memory: next(), peers: next(), bell: next(), packet }
    }

    /// Makes the same end again.
    fn put_together(&self) -> OwnedFd {
        let (inside, outside) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let descriptors = [self.memory.as_fd(), self.peers.as_fd(), self.bell.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        let from = [IoSlice::new(&self.packet)];
        rustix::net::sendmsg(&inside, &from, &mut control, SendFlags::empty()).unwrap();
        outside
    }
}

fn set_blocking(descriptor: &OwnedFd, blocking: bool) {
    let flags = rustix::fs::fcntl_getfl(descriptor).unwrap();
    let flags = if blocking { flags - OFlags::NONBLOCK } else { flags | OFlags::NONBLOCK };
    rustix::fs::fcntl_setfl(descriptor, flags).unwrap();
}

/// Writes until there is no room.
fn fill(descriptor: &OwnedFd) {
    set_blocking(descriptor, false);
    for piece in [vec![0; 4096], vec![0; 1]] {
        while rustix::io::write(descriptor, &piece) != Err(Errno::AGAIN) {}
    }
    set_blocking(descriptor, true);
}

/// Makes calls of honest ends on both channels' descriptors block, until `over`.
fn abuse(parts: &[Parts], over: &AtomicBool) {
    while !over.load(Relaxed) {
        for parts in parts {
            fill(&parts.bell);
            fill(&parts.peers);
            set_blocking(&parts.memory, true);
        }
        std::thread::yield_now();
    }
}

#[test]
fn descriptors_that_a_peer_has_filled_and_made_block_hang_nobody() {
    let (there, far_from) = ipc::channel::<u32>(1).unwrap();
    let (far_to, back) = ipc::channel::<u32>(1).unwrap();
    let ends = [
        Parts::of(there.clone()),
        Parts::of(far_from.clone()),
        Parts::of(far_to.clone()),
        Parts::of(back.clone()),
    ];
    let over = AtomicBool::new(false);
    std::thread::scope(|s| {
        ends.iter().for_each(|parts| fill(&parts.bell));
        let abuser = s.spawn(|| abuse(&ends, &over));
        let answers = coroutine::spawn(move || {
            for n in 0..300 {
                assert_eq!(far_from.recv_timeout(LONG).unwrap(), n);
                far_to.send_timeout(n, LONG).unwrap();
            }
        });
        let asks = coroutine::spawn(move || {
            for n in 0..300 {
                there.send_timeout(n, LONG).unwrap();
                assert_eq!(back.recv_timeout(LONG).unwrap(), n);
            }
        });
        asks.join().unwrap();
        answers.join().unwrap();
        over.store(true, Relaxed);
        abuser.join().unwrap();
    });
}

#[test]
fn an_end_is_put_together_again_and_works() {
    let (sender, receiver) = ipc::channel::<u32>(4).unwrap();
    let parts = Parts::of(receiver.clone());
    drop(receiver);
    let receiver = Receiver::<u32>::try_from(parts.put_together()).unwrap();
    sender.send(7).unwrap();
    assert_eq!(receiver.recv().unwrap(), 7);
    drop((receiver, parts));
    until_refused(&sender);
}

#[test]
fn a_channel_of_another_build_is_told_and_not_used() {
    let (sender, receiver) = ipc::channel::<u32>(4).unwrap();
    let (sending, receiving) = (Parts::of(sender.clone()), Parts::of(receiver.clone()));
    // The last byte of the first word is the version of the layout.
    rustix::io::pwrite(&sending.memory, &[0xee], 7).unwrap();
    let error = Sender::<u32>::try_from(sending.put_together()).unwrap_err();
    assert!(matches!(error, AttachError::OtherBuild), "{error}");
    assert!(error.to_string().contains("another build"), "{error}");
    let error = Receiver::<u32>::try_from(receiving.put_together()).unwrap_err();
    assert!(matches!(error, AttachError::OtherBuild), "{error}");
    // Ends that were attached before have read the header already.
    sender.send(7).unwrap();
    assert_eq!(receiver.recv().unwrap(), 7);
}

#[test]
fn a_hint_that_lies_about_free_blocks_costs_no_room() {
    const CAPACITY: u8 = 50;
    let (sender, receiver) = ipc::channel_with::<Vec<u8>>(CAPACITY.into(), 300).unwrap();
    let parts = Parts::of(sender.clone());
    for hint in [0, 16, 57, 58, 59, u64::MAX] {
        rustix::io::pwrite(&parts.memory, &hint.to_ne_bytes(), 768).unwrap();
        for n in 0..CAPACITY {
            sender.try_send(vec![n; 200]).unwrap();
        }
        assert!(sender.try_send(vec![0; 200]).unwrap_err().is_full());
        for n in 0..CAPACITY {
            assert_eq!(receiver.try_recv().unwrap(), [n; 200]);
        }
    }
}

#[test]
fn descriptors_in_the_wrong_places_are_told() {
    let (sender, _receiver) = ipc::channel::<u32>(4).unwrap();
    let swap = [
        |parts: &mut Parts| std::mem::swap(&mut parts.memory, &mut parts.bell),
        |parts: &mut Parts| std::mem::swap(&mut parts.memory, &mut parts.peers),
        |parts: &mut Parts| std::mem::swap(&mut parts.peers, &mut parts.bell),
    ];
    for swap in swap {
        let mut parts = Parts::of(sender.clone());
        swap(&mut parts);
        let error = Sender::<u32>::try_from(parts.put_together()).unwrap_err();
        assert!(matches!(error, AttachError::NotAChannel(_)), "{error}");
    }
}

#[test]
fn a_message_that_holds_a_descriptor_is_refused_and_told_how_it_travels() {
    let (sender, receiver) = ipc::channel::<(u32, Shared<[u8]>)>(4).unwrap();
    let table = Shared::from_slice(&[1, 2, 3]).unwrap();
    let error = sender.send((1, table)).unwrap_err();
    assert!(error.to_string().contains("result of a process task"), "{error}");
    assert_eq!(error.into_inner().1[2], 3);
    assert!(receiver.try_recv().unwrap_err().is_empty());
}

#[test]
fn ends_are_handed_on_and_taken_by_another_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (sender, receiver) = ipc::channel::<u32>(4).unwrap();
    // The kernel keeps the user of each thread.
    let other = std::thread::spawn(move || {
        let nobody = Uid::from_raw(65534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        let sender = Sender::<u32>::try_from(OwnedFd::try_from(sender).unwrap()).unwrap();
        sender.send(7).unwrap();
    });
    other.join().unwrap();
    assert_eq!(receiver.recv().unwrap(), 7);
    assert!(receiver.recv().unwrap_err().is_disconnected());
}
