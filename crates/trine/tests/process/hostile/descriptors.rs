//! A hostile worker sends descriptors whose closing takes long: no thread of the master that serves
//! others closes them.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::path::PathBuf;
use std::process::exit;
use std::sync::mpsc;
use std::thread;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use trine::ipc::channel::Receiver;
use trine::ipc::{Semaphore, Shared};
use trine::process::{self, Pool};
use trine::{Cause, Executor, Task, TaskError};

use super::{PROGRESS, VALUE, head, own_socket, send, wait_for};
use crate::common::processes::stay_for_ever;
use crate::common::temporary::TempPath;
use crate::common::waiting::{TIMEOUT, until_or};

/// Makes a connection whose last close lasts until the other side is closed, which is returned too.
fn lingering() -> (i32, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    while stream.write(&[0; 65536]).is_ok() {}
    stream.set_nonblocking(false).unwrap();
    let linger = libc::linger { l_onoff: 1, l_linger: 10_000 };
    let len = size_of_val(&linger) as u32;
    let option = (&raw const linger).cast();
    // SAFETY: a valid option of that length.
    let set = unsafe {
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, option, len)
    };
    assert_eq!(set, 0);
    (stream.into_raw_fd(), other)
}

/// The place of the descriptor.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Place {
    /// With a frame that has none.
    Frame,
    /// With a byte that is sent as urgent.
    Urgent,
    /// Behind bytes that are no frame.
    BehindNonsense,
    /// With a result that has none.
    Result,
    /// In the middle of a long result.
    InBody,
}

/// Returns the number of bytes that the other side has not received.
fn unread(socket: i32) -> i32 {
    let mut count = 0_i32;
    // SAFETY: the call writes one number.
    assert_eq!(unsafe { libc::ioctl(socket, libc::TIOCOUTQ, &raw mut count) }, 0);
    count
}

/// Sends a descriptor, and has no copy of it when the master has it. Exits when the test is done.
fn hand_over((place, done): (Place, PathBuf)) -> u8 {
    let (descriptor, _other) = lingering();
    let frame = match place {
        Place::Frame | Place::Urgent => [head(PROGRESS, 8, 1), vec![0; 8]].concat(),
        Place::Result => [head(VALUE, 2, 1), vec![0, 7]].concat(),
        Place::BehindNonsense => vec![0; 100_000],
        Place::InBody => [head(VALUE, 400_000, 0), vec![0; 400_000]].concat(),
    };
    let (first, rest) = frame.split_at(match place {
        Place::BehindNonsense => 90_000,
        Place::InBody => 1_000,
        _ => 1,
    });
    let flags = if matches!(place, Place::Urgent) { libc::MSG_OOB } else { 0 };
    let socket = own_socket();
    match place {
        // The master begins to read only now, and finds the descriptor behind the nonsense.
        Place::BehindNonsense => {
            send(socket, first, &[], 0);
            send(socket, rest, &[descriptor], 0);
        }
        // The master receives all of these bytes into the body.
        Place::InBody => {
            send(socket, first, &[], 0);
            until_or("the master to receive the head", || unread(socket) == 0);
            send(socket, &rest[..100_000], &[descriptor], 0);
        }
        _ => assert_eq!(send(socket, first, &[descriptor], flags), 1),
    }
    // The other copy is in flight, or the master's. Without linger for this moment, as the master
    // may have closed its copy.
    // SAFETY: the number belongs to this function.
    unsafe { libc::close(descriptor) };
    if !matches!(place, Place::BehindNonsense | Place::InBody) {
        send(socket, rest, &[], 0);
    }
    wait_for(done);
    exit(0)
}

/// Attacks, and returns the end of the hostile task after the others have gone on.
fn attack(place: Place) -> Option<Result<u8, TaskError>> {
    let (hostile, honest) = (Pool::new(1), Pool::new(1));
    let done = TempPath::new("done");
    let join = |task: Task<u8>| task.join_timeout(TIMEOUT / 4);
    let ended = join(hostile.spawn((place, done.owned()), hand_over));
    for task in [honest.spawn(20, |n: u8| n + 1), process::spawn(20, |n: u8| n + 1)] {
        let ended = join(task).expect("the service thread sleeps");
        assert_eq!(ended.unwrap(), 21, "{place:?}");
    }
    fs::write(&done, []).unwrap();
    ended.ok()
}

#[test]
fn a_descriptor_that_a_frame_does_not_have_is_closed_elsewhere() {
    for place in [Place::Frame, Place::Urgent, Place::BehindNonsense, Place::InBody] {
        let ended = attack(place).expect("its worker is ended");
        assert!(ended.unwrap_err().is_crash(), "{place:?}");
    }
}

#[test]
fn a_descriptor_that_a_result_does_not_have_is_closed_elsewhere() {
    assert_eq!(attack(Place::Result).expect("it is joined").unwrap(), 7);
}

/// Sends a value with a descriptor, as [`hand_over`] does.
fn hand_over_value<T>((body, done): (Vec<u8>, PathBuf)) -> T {
    let (descriptor, _other) = lingering();
    let (frame, socket) = (head(VALUE, body.len() as u64, 1), own_socket());
    assert_eq!(send(socket, &frame[..1], &[descriptor], 0), 1);
    // SAFETY: the number belongs to this function.
    unsafe { libc::close(descriptor) };
    send(socket, &[&frame[1..], &body].concat(), &[], 0);
    wait_for(done);
    exit(0)
}

/// Asserts that the joiner of a task with this encoded result gets an error, and does not close the
/// descriptor that came with it.
fn is_refused_at_once<T: Serialize + DeserializeOwned + Send + 'static>(body: &[u8]) {
    let (pool, done) = (Pool::new(1), TempPath::new("done"));
    let task = pool.spawn((body.to_vec(), done.owned()), hand_over_value::<T>);
    let (sender, joined) = mpsc::channel();
    thread::spawn(move || sender.send(task.join().map(drop)));
    let joined = joined.recv_timeout(TIMEOUT / 4);
    fs::write(&done, []).unwrap();
    let error = joined.expect("the joiner sleeps").unwrap_err();
    assert!(matches!(error.cause(), Cause::Codec { .. }), "{error}");
}

#[test]
fn a_descriptor_that_is_unfit_for_its_value_is_closed_elsewhere() {
    // A value in the memory of the last descriptor.
    is_refused_at_once::<u8>(&[1]);
    // The place of the descriptor, the size, and the type of the memory.
    is_refused_at_once::<Shared<[u8]>>(&[0, 0, 1, 0]);
    is_refused_at_once::<Semaphore>(&[0, 0]);
    // The places of three descriptors, of which one has come.
    is_refused_at_once::<Receiver<u8>>(&[0, 0, 1, 2, 0]);
    // One descriptor for one of two values.
    is_refused_at_once::<(Semaphore, Semaphore)>(&[0, 0, 1]);
}

/// Answers all items of its chunk, each with a wrong value and 200 descriptors.
fn answer_all(item: u32) -> u32 {
    if item == 0 {
        let file = fs::File::open("/dev/null").unwrap();
        for item in 0..3_u8 {
            let mut frame = [head(VALUE, 2, 200), vec![0, 70 + item]].concat();
            frame[24] = item;
            send(own_socket(), &frame, &[file.as_raw_fd(); 200], 0);
        }
        stay_for_ever();
    }
    item
}

#[test]
fn the_results_of_a_chunk_have_no_more_descriptors_than_one_result_may_have() {
    let pool = Pool::new(1);
    let ends: Vec<_> = pool.map(0..3, answer_all).chunk(3).map(Result::unwrap).collect();
    // The second answer ended that worker, and the rest ran in another.
    assert_eq!(ends, [70, 1, 2]);
}

#[test]
fn long_results_of_a_large_chunk_arrive_with_few_descriptors() {
    let pool = Pool::new(1);
    let results = pool.map(0..300, |n: u32| vec![n as u8; 200_000]).chunk(300);
    for (n, result) in (0..).zip(results) {
        assert!(result.unwrap().iter().all(|byte| *byte == n as u8));
    }
}

#[test]
fn results_for_whose_descriptors_a_chunk_has_no_room_are_errors() {
    let pool = Pool::new(1);
    let share = |n: u32| [(); 3].map(|()| Shared::new(n).unwrap());
    let results: Vec<_> = pool.map(0..100, share).chunk(100).collect();
    for (n, result) in (0..).zip(&results) {
        match result {
            Ok(all) => assert!(n < 84 && all.iter().all(|one| **one == n)),
            Err(error) => assert!(n >= 84 && error.to_string().contains("chunk of 1"), "{error}"),
        }
    }
}
