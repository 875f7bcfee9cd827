//! Connections that break, and calls that are interrupted.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use trine::net::Shutdown;
use trine::sync::Semaphore;
use trine::{Task, coroutine, time};

use crate::books::{BOOKS, add, count};
use crate::link::{Course, Door, Link, is_cancelled, magnitude, start};
use crate::must;
use crate::seeds::Rng;

/// One storm at a time, since many programs may have only 1024 descriptors.
static STORM: Semaphore = Semaphore::new(1);

/// Many clients connect at once, and some of them leave before they are accepted.
pub fn storm(rng: &mut Rng) {
    let Some(_alone) = STORM.try_acquire() else { return };
    count(&BOOKS.storms);
    let door = Arc::new(Door::new(rng));
    let handlers: Arc<Mutex<Vec<Task<bool>>>> = Arc::default();
    let clients: Vec<_> = (0..20 + rng.below(200) as u64)
        .map(|number| {
            let (faithful, resets) = (!rng.one_in(4), rng.one_in(2));
            let door = Arc::clone(&door);
            coroutine::spawn(move || {
                let link = door.enter();
                if faithful {
                    greet(&link, number);
                } else if resets {
                    link.reset();
                }
                faithful
            })
        })
        .collect();
    let acceptors: Vec<_> = (0..=rng.below(3))
        .map(|_| {
            let (door, handlers) = (Arc::clone(&door), Arc::clone(&handlers));
            start(rng, move || {
                loop {
                    match door.accept() {
                        Ok(link) => {
                            let handler = coroutine::spawn(move || answer(&link));
                            handlers.lock().unwrap().push(handler);
                        }
                        Err(error) => {
                            must!(is_cancelled(&error), "accept: {error}");
                            return;
                        }
                    }
                }
            })
        })
        .collect();
    let faithful = clients.into_iter().map(|client| client.join().unwrap());
    let faithful = faithful.filter(|faithful| *faithful).count();
    for acceptor in acceptors {
        let _ = acceptor.cancel();
    }
    let handlers = std::mem::take(&mut *handlers.lock().unwrap());
    let answered = handlers.into_iter().map(|handler| handler.join().unwrap());
    let answered = answered.filter(|answered| *answered).count();
    must!(answered == faithful, "{answered} of {faithful} were answered");
}

/// Sends a number, and receives it back.
fn greet(mut link: &Link, number: u64) {
    link.write_all(&number.to_le_bytes()).unwrap();
    let mut answer = [0; 8];
    link.read_exact(&mut answer).unwrap();
    must!(answer == number.to_le_bytes(), "{number} has the answer of {answer:?}");
}

/// Echoes a number. Returns true if there was one.
fn answer(mut link: &Link) -> bool {
    let mut number = [0; 8];
    match link.read_exact(&mut number) {
        Ok(()) => {
            link.write_all(&number).unwrap();
            true
        }
        Err(error) => {
            let expected = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
            must!(expected.contains(&error.kind()), "a connection that was given up: {error}");
            count(&BOOKS.given_up_in_queue);
            false
        }
    }
}

/// One end sends, the other confirms, and at some moment one of them resets the connection. Tasks
/// that wait at the other end get an error, and every confirmed byte has arrived.
pub fn reset(rng: &mut Rng) {
    let (sender, receiver) = Link::pair(rng);
    let length = 1 << 24;
    let course = Course::new(rng, length);
    let moment = magnitude(rng, 20) as u64;
    let receiver_resets = rng.one_in(2);
    let received = Arc::new(AtomicU64::new(0));
    let (confirmed, sent) = if receiver_resets {
        let counted = Arc::clone(&received);
        let mut numbers = Rng(rng.number());
        let receiver = start(rng, move || {
            while counted.load(SeqCst) < moment {
                receive_and_confirm(&receiver, course, &counted, &mut numbers).unwrap();
            }
            receiver.reset();
        });
        // Two tasks wait, for room and for a confirmation, and both must get the error.
        let sender = Arc::new(sender);
        let (writing, mut numbers) = (Arc::clone(&sender), Rng(rng.number()));
        let writer = start(rng, move || {
            let mut course = course;
            let error =
                course.send_all(&mut numbers, &*writing).expect_err("the receiver resets it");
            must!(is_gone(&error), "writing to a peer that has reset: {error}");
            course.at
        });
        let mut confirmed = 0;
        while let Ok(Some(more)) = confirmation(&sender) {
            confirmed = more;
        }
        receiver.join();
        (confirmed, writer.join())
    } else {
        let counted = Arc::clone(&received);
        let mut numbers = Rng(rng.number());
        let receiver = start(rng, move || {
            loop {
                match receive_and_confirm(&receiver, course, &counted, &mut numbers) {
                    Ok(0) => return,
                    Ok(_) => {}
                    Err(error) => {
                        must!(is_gone(&error), "reading from a peer that has reset: {error}");
                        return;
                    }
                }
            }
        });
        let (mut course, mut confirmed) = (course, 0);
        // It waits for each confirmation, so it always has room to send.
        while course.at < moment {
            course.send(rng, &sender).unwrap();
            while confirmed < course.at {
                confirmed = confirmation(&sender).unwrap().expect("the receiver stays");
            }
        }
        if rng.one_in(2) {
            course.send(rng, &sender).unwrap();
        }
        sender.reset();
        receiver.join();
        (confirmed, course.at)
    };
    let received = received.load(SeqCst);
    must!(confirmed <= received, "{confirmed} bytes are confirmed, {received} have come");
    must!(received <= sent, "{received} bytes have come of {sent}");
    add(&BOOKS.lost_to_resets, sent - received);
}

/// Returns true if the error is that of a connection which the peer has reset.
fn is_gone(error: &io::Error) -> bool {
    [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&error.kind())
}

/// Reads once, and reports to the sender how much has come so far.
fn receive_and_confirm(
    mut link: &Link,
    course: Course,
    received: &AtomicU64,
    rng: &mut Rng,
) -> io::Result<usize> {
    let mut course = Course { at: received.load(SeqCst), ..course };
    let count = course.receive(rng, link)?;
    received.store(course.at, SeqCst);
    link.write_all(&course.at.to_le_bytes())?;
    Ok(count)
}

/// Waits for the next confirmation; `None` at the end.
fn confirmation(mut link: &Link) -> io::Result<Option<u64>> {
    let mut number = [0; 8];
    match link.read_exact(&mut number) {
        Ok(()) => Ok(Some(u64::from_le_bytes(number))),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => {
            must!(is_gone(&error), "a confirmation: {error}");
            Err(error)
        }
    }
}

/// A writer and a reader are cancelled or time out all the time; their successors go on where they
/// were.
pub fn interrupted(rng: &mut Rng) {
    let (one, other) = Link::pair(rng);
    let length = 256 + magnitude(rng, 20) as u64;
    let course = Course::new(rng, length);
    let mut numbers = Rng(rng.number());
    let writer = start(rng, move || {
        let one = Arc::new(one);
        relay(&mut numbers, &one, course, |course, rng, link| course.send(rng, link));
        one.shutdown(Shutdown::Write).unwrap();
        // Here, so that it is closed after all bytes were read.
        must!((&*one).read(&mut [0]).unwrap() == 0, "bytes from an end that sends none");
    });
    let other = Arc::new(other);
    relay(rng, &other, course, |course, rng, link| {
        let left = course.end - course.at;
        match course.receive(rng, link.take(left))? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    });
    must!((&*other).read(&mut [0]).unwrap() == 0, "bytes after the end");
    other.shutdown(Shutdown::Write).unwrap();
    writer.join();
}

/// Takes `course` to its end by `step`, in tasks that are interrupted, one after another.
fn relay(
    rng: &mut Rng,
    link: &Arc<Link>,
    mut course: Course,
    step: fn(&mut Course, &mut Rng, &Link) -> io::Result<()>,
) {
    while !course.is_over() {
        let reached = Arc::new(AtomicU64::new(course.at));
        let (noted, link) = (Arc::clone(&reached), Arc::clone(link));
        let mut numbers = Rng(rng.number());
        let patience = Duration::from_micros(1 + rng.below(600) as u64);
        let ending = rng.below(4);
        let runner = start(rng, move || {
            let mut course = course;
            let limit = (ending == 0).then_some(patience);
            link.set_read_timeout(limit);
            link.set_write_timeout(limit);
            let mut go_on = || {
                while !course.is_over() {
                    let done = step(&mut course, &mut numbers, &link);
                    noted.store(course.at, SeqCst);
                    if let Err(error) = done {
                        return Some(error);
                    }
                    // A cancelled task unwinds here.
                    if numbers.one_in(3) {
                        time::sleep(Duration::from_micros(numbers.below(100) as u64));
                    }
                }
                None
            };
            match if ending == 1 { time::timeout(patience, go_on).unwrap_or(None) } else { go_on() }
            {
                None => {}
                Some(error) if ending < 2 && error.kind() == ErrorKind::TimedOut => {
                    count(&BOOKS.read_timeouts);
                }
                Some(error) => must!(ending == 2 && is_cancelled(&error), "{error}"),
            }
        });
        if ending == 2 {
            time::sleep(patience);
            let _ = runner.cancel();
        } else {
            runner.join();
        }
        course.at = reached.load(SeqCst);
    }
    link.set_read_timeout(None);
    link.set_write_timeout(None);
}

/// Connections wait to be accepted while no descriptor is left. The accepting task rests, and
/// accepts all of them when there is room again. No other task may need a descriptor meanwhile.
pub fn exhaust(rng: &mut Rng) {
    const CLIENTS: u64 = 20;
    count(&BOOKS.exhaustions);
    let door = Door::new(rng);
    // The kernel completes the connections before `accept`.
    let clients: Vec<_> = (0..CLIENTS).map(|_| door.enter()).collect();
    let spare = UnixDatagram::unbound().unwrap();
    let limits = getrlimit(Resource::Nofile);
    let lowered = Rlimit { current: Some(crate::descriptors() as u64), ..limits };
    setrlimit(Resource::Nofile, lowered).unwrap();
    let mut fillers = Vec::new();
    while let Ok(filler) = spare.try_clone() {
        fillers.push(filler);
    }
    let server = coroutine::spawn(move || accept_some(&door, CLIENTS));
    let (begin, _) = (crate::cpu_time(), time::sleep(Duration::from_millis(100)));
    let spent = crate::cpu_time() - begin;
    must!(!server.is_finished(), "connections were accepted without a descriptor");
    must!(spent < Duration::from_millis(60), "{spent:?} of 100 ms without a descriptor");
    setrlimit(Resource::Nofile, limits).unwrap();
    drop(fillers);
    for (number, client) in clients.iter().enumerate() {
        greet(client, number as u64);
    }
    server.join().unwrap();
}

fn accept_some(door: &Door, count: u64) {
    let accept = |_| {
        let link = door.accept().unwrap();
        coroutine::spawn(move || answer(&link))
    };
    let handlers: Vec<_> = (0..count).map(accept).collect();
    for handler in handlers {
        must!(handler.join().unwrap(), "an honest connection was given up");
    }
}
