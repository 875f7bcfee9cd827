use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self as std_net, SocketAddr};
use std::path::Path;

use rustix::process::{Resource, setrlimit};
use trine::coroutine;
use trine::net::{UnixListener, UnixStream};

use super::place;
use crate::common::limits::limit_for_now;
use crate::common::places::{PLACES, ends_from_outside, everywhere};
use crate::common::starts::no_child_starts;
use crate::common::temporary::TempPath;
use crate::common::waiting::until_waiting;
use crate::common::{again, role, run};

fn echo(stream: UnixStream) {
    std::io::copy(&mut &stream, &mut &stream).unwrap();
}

fn ask(mut stream: UnixStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, text);
}

#[test]
fn hundreds_are_served_at_once() {
    let _turn = crate::hundreds_of_descriptors();
    let place = place();
    let listener = UnixListener::bind(&place).unwrap();
    let second = listener.try_clone().unwrap();
    assert_eq!(listener.local_addr().unwrap().as_pathname(), Some(place.as_ref()));
    let servers = [listener, second].map(|listener| {
        coroutine::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                drop(coroutine::spawn(move || echo(stream)));
            }
        })
    });
    let clients: Vec<_> = (0..300)
        .map(|n: usize| {
            let path = place.0.clone();
            let client = move || ask(UnixStream::connect(&path).unwrap(), &format!("number {n}"));
            PLACES[n % 16 / 15].spawn(client)
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    for server in servers {
        server.cancel();
        server.join().unwrap();
    }
}

#[test]
fn it_is_used_everywhere_and_with_std() {
    everywhere(|| {
        let place = place();
        let listener = UnixListener::bind(&place).unwrap();
        let path = place.0.clone();
        let client = coroutine::spawn(move || ask(UnixStream::connect(path).unwrap(), "trine"));
        let (stream, from) = listener.accept().unwrap();
        assert!(from.is_unnamed() && stream.peer_addr().unwrap().is_unnamed());
        assert_eq!(stream.local_addr().unwrap().as_pathname(), Some(place.as_ref()));
        echo(stream);
        client.join().unwrap();

        // Through std, where it blocks, and back.
        let listener = std_net::UnixListener::from(listener);
        let stream = std_net::UnixStream::connect(&place).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let server = coroutine::spawn(move || echo(accepted.into()));
        ask(stream.into(), "std");
        server.join().unwrap();
        let listener = UnixListener::from(OwnedFd::from(UnixListener::from(listener)));
        let path = place.0.clone();
        let client = coroutine::spawn(move || ask(UnixStream::connect(path).unwrap(), "again"));
        let stream = (&listener).into_iter().next().unwrap().unwrap();
        echo(stream);
        client.join().unwrap();
        assert!(listener.take_error().unwrap().is_none());
    });
}

#[test]
fn a_loop_that_passes_over_errors_ends_with_its_task() {
    for kind in PLACES {
        let place = place();
        let listener = UnixListener::bind(&place).unwrap();
        let task = kind.spawn(move || listener.incoming().flatten().count());
        until_waiting(&task);
        task.cancel();
        assert_eq!(task.join().unwrap(), 0);
    }
}

#[test]
fn an_address_without_a_file() {
    everywhere(|| {
        let name = place().0.clone().into_os_string().into_encoded_bytes();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let second = UnixListener::bind_addr(&address).unwrap_err();
        assert_eq!(second.kind(), ErrorKind::AddrInUse);
        let at = address.clone();
        let client = coroutine::spawn(move || ask(UnixStream::connect_addr(&at).unwrap(), "x"));
        let (stream, _) = listener.accept().unwrap();
        assert_eq!(stream.local_addr().unwrap().as_abstract_name(), Some(&name[..]));
        echo(stream);
        client.join().unwrap();
    });
}

#[test]
fn bad_paths_are_std_s_errors() {
    let _alone = no_child_starts();
    everywhere(|| {
        let bind = |path: &Path| UnixListener::bind(path).unwrap_err().kind();
        let connect = |path: &Path| UnixStream::connect(path).unwrap_err().kind();
        for path in ["x".repeat(108), "a\0b".into()] {
            assert_eq!(bind(path.as_ref()), ErrorKind::InvalidInput);
            assert_eq!(connect(path.as_ref()), ErrorKind::InvalidInput);
        }
        assert_eq!(bind("/nowhere/socket".as_ref()), ErrorKind::NotFound);
        assert_eq!(connect("/nowhere/socket".as_ref()), ErrorKind::NotFound);
        assert_eq!(connect("/dev/null/socket".as_ref()), ErrorKind::NotADirectory);
        let place = place();
        let listener = UnixListener::bind(&place).unwrap();
        assert_eq!(bind(place.as_ref()), ErrorKind::AddrInUse);
        drop(listener);
        assert_eq!(connect(place.as_ref()), ErrorKind::ConnectionRefused);
        fs::remove_file(&place).unwrap();
        assert_eq!(connect(place.as_ref()), ErrorKind::NotFound);
        // A descriptor that is no listener returns an error, and no call panics.
        let file = UnixListener::from(OwnedFd::from(File::open("/dev/null").unwrap()));
        file.accept().unwrap_err();
        file.local_addr().unwrap_err();
        let unnamed = UnixStream::pair().unwrap().0.local_addr().unwrap();
        UnixStream::connect_addr(&unnamed).unwrap_err();
    });
}

/// Makes a listener with a full backlog. Returns it with its path and the connections in the
/// backlog.
fn full() -> (TempPath, UnixListener, Vec<std_net::UnixStream>) {
    let place = place();
    let listener = UnixListener::bind(&place).unwrap();
    // A second call changes the backlog.
    rustix::net::listen(&listener, 1).unwrap();
    let waiting = (0..2).map(|_| std_net::UnixStream::connect(&place).unwrap()).collect();
    (place, listener, waiting)
}

#[test]
fn who_connects_to_a_full_listener_waits_for_room() {
    for client in PLACES {
        let (place, listener, waiting) = full();
        let path = place.0.clone();
        let late = client.spawn(move || ask(UnixStream::connect(path).unwrap(), "late"));
        until_waiting(&late);
        drop(waiting);
        for _ in 0..3 {
            let (stream, _) = listener.accept().unwrap();
            echo(stream);
        }
        late.join().unwrap();
    }
}

#[test]
fn accepting_and_connecting_end_from_outside() {
    ends_from_outside(|| UnixListener::bind(place())?.accept().map(drop));
    ends_from_outside(|| {
        let (place, _listener, _waiting) = full();
        UnixStream::connect(&place).map(drop)
    });
}

#[test]
fn accepting_goes_on_when_there_are_descriptors_again() {
    if role().is_none() {
        let said = run(again("starve"));
        assert_eq!(said.matches("no connection can be accepted").count(), 1, "{said}");
        return;
    }
    for place in PLACES {
        let at = super::place();
        let listener = UnixListener::bind(&at).unwrap();
        let begin = UnixStream::connect(&at).unwrap();
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let server = place.spawn(move || {
            // The first one makes the descriptors that a wait needs.
            for _ in 0..2 {
                echo(listener.accept().unwrap().0);
                if place_is_thread(place) {
                    gate.recv().unwrap();
                } else {
                    while gate.try_recv().is_err() {
                        coroutine::yield_now();
                    }
                }
            }
        });
        ask(begin, "first");
        let late = UnixStream::connect(&at).unwrap();
        let limit = limit_for_now(Resource::Nofile, 64);
        let mut taken = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            taken.push(file);
        }
        go.send(()).unwrap();
        // The connection exists; the server waits for a free descriptor.
        until_waiting(&server);
        drop(taken);
        ask(late, "second");
        go.send(()).unwrap();
        server.join().unwrap();
        setrlimit(Resource::Nofile, limit).unwrap();
    }
}

fn place_is_thread(place: crate::common::places::Place) -> bool {
    matches!(place, crate::common::places::Place::Thread)
}
