//! Connections that live to their end.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use trine::net::Shutdown;
use trine::time;

use crate::books::{BOOKS, count};
use crate::link::{Course, Link, Started, magnitude, start};
use crate::must;
use crate::seeds::Rng;

/// Returns a length from 1 byte to 256 KiB, of all orders of magnitude.
fn size(rng: &mut Rng) -> u64 {
    1 + magnitude(rng, 18) as u64
}

/// Sends some payloads to a server, which echoes them.
pub fn echo(rng: &mut Rng) {
    let (client, server) = Link::pair(rng);
    let mut numbers = Rng(rng.number());
    let server = start(rng, move || {
        loop {
            let mut buffer = vec![0; 1 + magnitude(&mut numbers, 16)];
            let read = (&server).read(&mut buffer).unwrap();
            if read == 0 {
                return;
            }
            (&server).write_all(&buffer[..read]).unwrap();
        }
    });
    let client = Arc::new(client);
    for _ in 0..=rng.below(8) {
        let size = size(rng);
        let (mut there, mut back) = twice(Course::new(rng, size));
        if size <= 16_384 {
            there.send_all(rng, &*client).unwrap();
            back.receive_all(rng, &*client).unwrap();
        } else {
            let writer = writer(rng, &client, there);
            back.receive_all(rng, &*client).unwrap();
            writer.join();
        }
    }
    client.shutdown(Shutdown::Write).unwrap();
    must!((&*client).read(&mut [0]).unwrap() == 0, "an echo of nothing");
    server.join();
}

fn twice(course: Course) -> (Course, Course) {
    (course, course)
}

/// Starts a task that sends all of `course`.
fn writer(rng: &mut Rng, link: &Arc<Link>, mut course: Course) -> Started<()> {
    let (link, mut numbers) = (Arc::clone(link), Rng(rng.number()));
    start(rng, move || course.send_all(&mut numbers, &*link).unwrap())
}

/// Both ends write and read at once, with four tasks on two sockets.
pub fn both_ways(rng: &mut Rng) {
    let (one, other) = Link::pair(rng);
    let (one, other) = (Arc::new(one), Arc::new(other));
    let (length, back_length) = (4 * size(rng), 4 * size(rng));
    let there = Course::new(rng, length);
    let back = Course::new(rng, back_length);
    let writers = [writer(rng, &one, there), writer(rng, &other, back)];
    let readers = [(other, there), (one, back)].map(|(link, mut course)| {
        let mut numbers = Rng(rng.number());
        start(rng, move || course.receive_all(&mut numbers, &*link).unwrap())
    });
    readers.into_iter().chain(writers).for_each(Started::join);
}

/// One end sends everything and shuts its direction down. Only then the other end reports how much
/// came, and sends its own bytes.
pub fn half_close(rng: &mut Rng) {
    let (one, other) = Link::pair(rng);
    let (length, back_length) = (size(rng), size(rng));
    let (mut there, mut expected_there) = twice(Course::new(rng, length));
    let (mut back, mut expected_back) = twice(Course::new(rng, back_length));
    let mut numbers = Rng(rng.number());
    let other = start(rng, move || {
        expected_there.receive_to_end(&mut numbers, &other).unwrap();
        (&other).write_all(&expected_there.at.to_le_bytes()).unwrap();
        back.send_all(&mut numbers, &other).unwrap();
        other.shutdown(Shutdown::Write).unwrap();
        // The end stays the end.
        must!((&other).read(&mut [0; 8]).unwrap() == 0, "bytes after the end");
    });
    there.send_all(rng, &one).unwrap();
    one.shutdown(Shutdown::Write).unwrap();
    let mut arrived = [0; 8];
    (&one).read_exact(&mut arrived).unwrap();
    must!(u64::from_le_bytes(arrived) == length, "{arrived:?} of {length} have arrived");
    expected_back.receive_to_end(rng, &one).unwrap();
    other.join();
}

/// Far more than two sockets hold, so a writer has to wait for the reader. TCP's buffers grow.
const MOST_IN_FLIGHT: u64 = 24 << 20;

/// Sends MiBs to a slow reader. The writer times out now and then, and goes on where it was.
pub fn slow_reader(rng: &mut Rng) {
    let (one, other) = Link::pair(rng);
    let length = (1 + rng.below(4 << 20)) as u64;
    let (mut course, mut expected) = twice(Course::new(rng, length));
    let (sent, mut numbers) = (Arc::new(AtomicU64::new(0)), Rng(rng.number()));
    let written = Arc::clone(&sent);
    let impatient = rng.one_in(2);
    let writer = start(rng, move || {
        while !course.is_over() {
            if impatient {
                let limit = Duration::from_micros(1 + numbers.below(2000) as u64);
                one.set_write_timeout(Some(limit));
            }
            match course.send(&mut numbers, &one) {
                Ok(()) => written.store(course.at, SeqCst),
                Err(error) => {
                    let expected = impatient && error.kind() == std::io::ErrorKind::TimedOut;
                    must!(expected, "{error}");
                    count(&BOOKS.write_timeouts);
                }
            }
        }
    });
    let mut until_rest = 0;
    loop {
        if until_rest == 0 {
            time::sleep(Duration::from_micros(rng.below(4000) as u64));
            until_rest = rng.below(8);
        } else {
            until_rest -= 1;
        }
        // Bytes are counted after they were sent, so this is never too much.
        let in_flight = sent.load(SeqCst).saturating_sub(expected.at);
        BOOKS.most_in_flight.fetch_max(in_flight, SeqCst);
        must!(in_flight < MOST_IN_FLIGHT, "{in_flight} bytes are on their way");
        if expected.receive(rng, &other).unwrap() == 0 {
            break;
        }
    }
    must!(expected.is_over(), "the end comes after {} bytes of {length}", expected.at);
    writer.join();
}
