//! Calls that are cancelled or time out, wherever they wait.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use trine::coroutine::spawn_local;
use trine::net::{TcpListener, TcpStream, UdpSocket};
use trine::{Interrupted, State, time};

use super::{ANY, KINDS, SHORT, pair, spawn, until, until_it_waits};
use crate::common::processes::descriptors;
use crate::common::{again, role, run};

/// A call that would wait forever. Returns the error that ends it.
type Call = Box<dyn FnOnce() -> io::Error + Send>;

/// Makes a listener with a full backlog. Returns it with its address and the connections in the
/// backlog.
fn full() -> (TcpListener, SocketAddr, Vec<TcpStream>) {
    let listener = TcpListener::bind(ANY).unwrap();
    let address = listener.local_addr().unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    // The kernel takes one more than the backlog, and drops later ones.
    let held = [(); 8].map(|()| TcpStream::connect_timeout(&address, Duration::from_millis(50)));
    (listener, address, held.into_iter().flatten().collect())
}

/// Makes one of each call that waits.
fn calls() -> Vec<Call> {
    let (listener, address, held) = full();
    let clear = TcpListener::bind(ANY).unwrap();
    let [(mut r, r2), (mut w, w2), (p, p2), (mut v, v2)] = [(); 4].map(|()| pair());
    let [u, uf] = [(); 2].map(|()| UdpSocket::bind(ANY).unwrap());
    vec![
        Box::new(move || clear.accept().unwrap_err()),
        Box::new(move || {
            let error = TcpStream::connect(&[address, address][..]).unwrap_err();
            drop((listener, held));
            error
        }),
        Box::new(move || (r.read(&mut [0; 8]).unwrap_err(), r2).0),
        Box::new(move || (w.write_all(&vec![0; 32 << 20]).unwrap_err(), w2).0),
        Box::new(move || (p.peek(&mut [0; 8]).unwrap_err(), p2).0),
        Box::new(move || {
            let error = v.read_vectored(&mut [io::IoSliceMut::new(&mut [0; 8])]).unwrap_err();
            (error, v2).0
        }),
        Box::new(move || u.recv(&mut [0; 8]).unwrap_err()),
        Box::new(move || uf.recv_from(&mut [0; 8]).unwrap_err()),
    ]
}

fn interruption(error: &io::Error) -> &Interrupted {
    crate::common::interruption(error).unwrap_or_else(|| panic!("{error:?}"))
}

#[test]
fn each_call_ends_when_its_task_is_cancelled() {
    for kind in KINDS {
        for call in calls() {
            let task = spawn(kind, call);
            until_it_waits(&task);
            task.cancel_because("enough");
            let error = task.join().unwrap();
            assert_eq!(interruption(&error).reason(), Some("enough"));
        }
    }
}

#[test]
fn each_call_of_a_local_coroutine_ends_when_it_is_cancelled() {
    for call in calls() {
        let task = spawn_local(call);
        until(|| task.state() == State::Waiting);
        task.cancel();
        assert!(interruption(&task.join().unwrap()).is_cancelled());
    }
}

#[test]
fn each_call_ends_when_the_time_around_it_is_up() {
    fn in_time(call: Call) {
        let error = time::timeout(SHORT, call).expect("it returns an error, and is not unwound");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(interruption(&error).is_timeout());
    }
    for kind in KINDS {
        calls().into_iter().for_each(|call| spawn(kind, || in_time(call)).join().unwrap());
    }
    calls().into_iter().for_each(|call| spawn_local(|| in_time(call)).join().unwrap());
    calls().into_iter().for_each(in_time);
}

#[test]
fn a_scope_that_fails_ends_the_calls_in_it() {
    let listener = TcpListener::bind(ANY).unwrap();
    let (one, _other) = pair();
    let errors = Mutex::new(Vec::new());
    // Not while the lock is held: the carrier would wait for it.
    let note = |error| errors.lock().unwrap().push(error);
    let failed = trine::scope(|s| {
        s.coroutine(|| {
            let error = listener.accept().unwrap_err();
            note(error);
        });
        s.thread(|| {
            let error = (&one).read(&mut [0]).unwrap_err();
            note(error);
        });
        s.coroutine(|| {
            time::sleep(SHORT);
            std::panic::resume_unwind(Box::new("it fails"));
        });
    });
    assert!(failed.unwrap_err().is_panic());
    let errors = errors.into_inner().unwrap();
    assert!(errors.len() <= 2 && errors.iter().all(|error| interruption(error).is_cancelled()));
}

#[test]
fn the_connections_end_with_the_task_that_accepts_them() {
    for kind in KINDS {
        let listener = TcpListener::bind(ANY).unwrap();
        let task = spawn(kind, move || listener.incoming().map(|next| next.is_ok()).collect());
        until_it_waits(&task);
        task.cancel();
        let seen: Vec<bool> = task.join().unwrap();
        assert!(seen.is_empty());
    }
}

#[test]
fn a_stream_goes_on_after_a_read_that_was_given_up() {
    for kind in KINDS {
        let (one, mut other) = pair();
        let one = Arc::new(one);
        for n in 0..100 {
            let reader = Arc::clone(&one);
            let task = spawn(kind, move || (&*reader).read(&mut [0]));
            if n % 2 == 0 {
                until_it_waits(&task);
            }
            task.cancel();
            // A task that was cancelled before it began has no value.
            assert!(task.join().is_ok_and(|read| read.is_err()) || n % 2 == 1);
            other.write_all(&[n]).unwrap();
            let mut byte = [0];
            (&*one).read_exact(&mut byte).unwrap();
            assert_eq!(byte, [n]);
        }
    }
}

#[test]
fn a_connection_that_takes_too_long_is_given_up() {
    let (_listener, address, _held) = full();
    let slow = move || TcpStream::connect_timeout(&address, SHORT).unwrap_err().kind();
    for kind in KINDS {
        assert_eq!(spawn(kind, slow).join().unwrap(), io::ErrorKind::TimedOut);
    }
    assert_eq!(spawn_local(slow).join().unwrap(), io::ErrorKind::TimedOut);
    assert_eq!(slow(), io::ErrorKind::TimedOut);
}

#[test]
fn a_connection_that_is_given_up_leaves_no_descriptor() {
    if role().is_none() {
        let mut child = again("child");
        // A second carrier would open descriptors of its own.
        child.env("TRINE_CARRIERS", "1");
        return drop(run(child));
    }
    let (_listener, address, _held) = full();
    let give_up = || {
        for kind in KINDS {
            let task = spawn(kind, move || TcpStream::connect(address).unwrap_err());
            until_it_waits(&task);
            task.cancel();
            assert!(interruption(&task.join().unwrap()).is_cancelled());
            let slow = spawn(kind, move || TcpStream::connect_timeout(&address, SHORT).is_err());
            assert!(slow.join().unwrap());
        }
    };
    // The program's own descriptors are open after the first round. A thread may still be closing
    // its own.
    give_up();
    let before = descriptors();
    (0..10).for_each(|_| give_up());
    until(|| descriptors() <= before);
}
