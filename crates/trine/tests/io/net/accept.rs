//! Accepting without a free descriptor, in a child, so that the limit does not affect other tests.

use std::fs::File;
use std::io::ErrorKind;
use std::time::Duration;

use rustix::process::Resource;
use trine::net::{TcpListener, TcpStream};
use trine::{coroutine, time};

use super::{ANY, KINDS, SHORT, spawn, until_it_waits};
use crate::common::limits::limit_for_now;
use crate::common::processes::processor_time;
use crate::common::{again, role, run};

/// Opens files until no descriptor is left.
fn exhaust() -> Vec<File> {
    let mut files = Vec::new();
    let error = loop {
        match File::open("/dev/null") {
            Ok(file) => files.push(file),
            Err(error) => break error,
        }
    };
    assert_eq!(error.raw_os_error(), Some(24), "{error}");
    files
}

#[test]
fn without_descriptors_accepting_pauses_and_goes_on() {
    if role().is_none() {
        let text = run(again("child"));
        let warnings: Vec<_> = text.lines().filter(|line| line.starts_with("trine:")).collect();
        assert_eq!(warnings.len(), 1, "{text}");
        assert!(warnings[0].contains("Too many open files"), "{text}");
        assert!(warnings[0].contains("ulimit -n"), "{text}");
        return;
    }
    limit_for_now(Resource::Nofile, 200);
    for kind in KINDS {
        let listener = TcpListener::bind(ANY).unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
        let files = exhaust();
        let task = spawn(kind, move || {
            let late = time::timeout(SHORT, || listener.accept()).unwrap().unwrap_err();
            assert_eq!(late.kind(), ErrorKind::TimedOut);
            let mut accepted = Vec::new();
            while accepted.len() < 5 {
                accepted.push(listener.accept().unwrap());
            }
            (listener, accepted)
        });
        // It rests most of the time, and others run meanwhile.
        let before = processor_time();
        let meanwhile = coroutine::spawn(|| time::sleep(Duration::from_millis(500)));
        meanwhile.join().unwrap();
        assert!(processor_time() - before < Duration::from_millis(250));
        assert!(!task.is_finished());
        drop(files);
        let (listener, accepted) = task.join().unwrap();
        for client in &clients {
            let own = client.local_addr().unwrap();
            assert!(accepted.iter().any(|(_, from)| *from == own));
        }
        // A pause can be cancelled.
        let waiting = TcpStream::connect(address).unwrap();
        let files = exhaust();
        let task = spawn(kind, move || listener.accept().map(drop));
        until_it_waits(&task);
        task.cancel();
        assert_eq!(task.join().unwrap().unwrap_err().to_string(), "cancelled");
        drop((files, waiting));
    }
}
