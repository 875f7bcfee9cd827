//! Descriptors that are no end of a channel, and a lack of descriptors.

use std::os::fd::OwnedFd;

use rustix::process::Resource;
use trine::ipc::channel::{AttachError, Receiver, Sender};
use trine::{coroutine, ipc};

use super::descriptor;
use crate::common::limits::limit_for_now;
use crate::common::processes::descriptors;
use crate::common::{again, role, run};

#[test]
fn what_is_no_end_is_told() {
    let refused = |descriptor: OwnedFd| match Sender::<u32>::try_from(descriptor) {
        Err(AttachError::NotAChannel(_)) => {}
        other => panic!("{other:?}"),
    };
    refused(std::fs::File::open("/dev/null").unwrap().into());
    let (reader, writer) = std::io::pipe().unwrap();
    refused(reader.into());
    refused(writer.into());
    let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
    refused(one.into());
    refused(other.into());
    let (sender, receiver) = ipc::channel::<u32>(1).unwrap();
    let end = descriptor(sender);
    let copy = end.try_clone().unwrap();
    drop(Sender::<u32>::try_from(end).unwrap());
    refused(copy);
    let other_side = Sender::<u32>::try_from(descriptor(receiver.clone()));
    assert!(matches!(other_side, Err(AttachError::OtherSide)));
    let other_type = Receiver::<i32>::try_from(descriptor(receiver));
    assert!(matches!(other_type, Err(AttachError::OtherType)));
    for (capacity, bytes) in [(0, 10), (usize::MAX, 10), (1, usize::MAX), (1 << 20, 1 << 31)] {
        let error = ipc::channel_with::<u32>(capacity, bytes).unwrap_err();
        assert!(error.to_string().contains("1048576") || error.raw_os_error().is_some(), "{error}");
    }
}

#[test]
fn without_descriptors_it_is_an_error_and_nothing_is_left() {
    if role().is_none() {
        run(again("exhausted"));
        return;
    }
    let (sender, receiver) = ipc::channel::<u32>(4).unwrap();
    let end = descriptor(sender.clone());
    let before = descriptors();
    for more in 0..7 {
        limit_for_now(Resource::Nofile, (before + more) as u64);
        match ipc::channel::<u32>(4) {
            Ok(_) => assert!(more > 4, "{more}"),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{more}: {error}"),
        }
    }
    limit_for_now(Resource::Nofile, 3);
    assert!(Sender::<u32>::try_from(end).is_err());
    // The channel still works, also if a wait would need a descriptor.
    let task = coroutine::spawn(move || receiver.recv());
    sender.send(1).unwrap();
    assert_eq!(task.join().unwrap().unwrap(), 1);
    limit_for_now(Resource::Nofile, 1024);
    assert!(descriptors() <= before);
}
