//! Pipes with many readers and writers, and datagrams.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use trine::ipc::{PipeReader, PipeWriter, pipe};
use trine::net::{UdpSocket, UnixDatagram};
use trine::time;

use crate::books::{BOOKS, add, count};
use crate::link::{Started, is_cancelled, magnitude, start};
use crate::must;
use crate::seeds::Rng;

const WORD: usize = 8;
/// The size up to which a write to a pipe is atomic.
const ATOMIC: usize = 4096;

/// Several tasks write numbers into one pipe, and several read them: each number arrives once. Some
/// of the tasks are cancelled.
pub fn pipe_of_many(rng: &mut Rng) {
    let (reader, writer) = pipe().unwrap();
    let (reader, writer) = (Arc::new(reader), Arc::new(writer));
    let (sent, received) = (Arc::<Mutex<Vec<u64>>>::default(), Arc::<Mutex<Vec<u64>>>::default());
    let writers: Vec<_> = (0..1 + rng.below(4) as u64)
        .map(|own| {
            let (writer, sent, numbers) = (Arc::clone(&writer), Arc::clone(&sent), rng.number());
            start(rng, move || write_numbers(&writer, own, &sent, Rng(numbers)))
        })
        .collect();
    drop(writer);
    let readers: Vec<_> = (0..1 + rng.below(4))
        .map(|_| {
            let (reader, received) = (Arc::clone(&reader), Arc::clone(&received));
            let numbers = Rng(rng.number());
            start(rng, move || read_numbers(&reader, &received, numbers))
        })
        .collect();
    end_some(rng, writers);
    end_some(rng, readers);
    // Cancelled readers may have left some.
    read_numbers(&reader, &received, Rng(rng.number()));
    let (mut sent, mut received) = (taken(&sent), taken(&received));
    sent.sort_unstable();
    received.sort_unstable();
    must!(sent == received, "{} numbers were sent, others came: {}", sent.len(), received.len());
    add(&BOOKS.words, sent.len() as u64);
}

fn taken(numbers: &Mutex<Vec<u64>>) -> Vec<u64> {
    std::mem::take(&mut *numbers.lock().unwrap())
}

/// Cancels some of the tasks after a while, and waits for all.
fn end_some(rng: &mut Rng, tasks: Vec<Started<()>>) {
    for task in tasks {
        if rng.one_in(4) {
            time::sleep(Duration::from_micros(rng.below(500) as u64));
            let _ = task.cancel();
        } else {
            task.join();
        }
    }
}

fn write_numbers(mut writer: &PipeWriter, own: u64, sent: &Mutex<Vec<u64>>, mut rng: Rng) {
    let mut next = own << 32;
    for _ in 0..rng.below(40) {
        let numbers: Vec<u64> = (next..=next + rng.below(ATOMIC / WORD) as u64).collect();
        next += numbers.len() as u64;
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        match writer.write(&bytes) {
            Ok(written) => must!(written == bytes.len(), "{written} bytes of {}", bytes.len()),
            // All readers were cancelled, or the writer was.
            Err(error) => {
                must!(is_cancelled(&error), "a pipe: {error}");
                return;
            }
        }
        sent.lock().unwrap().extend(numbers);
        count(&BOOKS.steps);
    }
}

fn read_numbers(mut reader: &PipeReader, received: &Mutex<Vec<u64>>, mut rng: Rng) {
    loop {
        let mut buffer = vec![0; WORD * (1 + magnitude(&mut rng, 12))];
        let read = match reader.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) => {
                must!(is_cancelled(&error), "a pipe: {error}");
                return;
            }
        };
        must!(read % WORD == 0, "a piece of {read} bytes, where only whole numbers are");
        let words = buffer[..read].chunks_exact(WORD);
        let numbers = words.map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        received.lock().unwrap().extend(numbers);
        count(&BOOKS.steps);
        if rng.one_in(8) {
            time::sleep(Duration::from_micros(rng.below(200) as u64));
        }
    }
}

/// Messages of a Unix socket arrive in order, and none is lost: the sender waits for room.
pub fn messages(rng: &mut Rng) {
    let (one, other) = UnixDatagram::pair().unwrap();
    let total = rng.below(400) as u64;
    let mut numbers = Rng(rng.number());
    let sender = start(rng, move || {
        let mut number = 0;
        while number < total {
            let message = message(number);
            let limit = Duration::from_micros(1 + numbers.below(500) as u64);
            one.set_write_timeout(numbers.one_in(3).then_some(limit)).unwrap();
            match one.send(&message) {
                Ok(sent) => {
                    must!(sent == message.len(), "{sent} bytes of {}", message.len());
                    number += 1;
                }
                Err(error) => {
                    must!(error.kind() == ErrorKind::TimedOut, "a message: {error}");
                    count(&BOOKS.write_timeouts);
                }
            }
        }
    });
    let mut buffer = [0; 8192];
    let mut number = 0;
    while number < total {
        let limit = Duration::from_micros(rng.below(500) as u64);
        let received = if rng.one_in(3) {
            time::timeout(limit, || other.recv(&mut buffer)).unwrap_or_else(|late| Err(late.into()))
        } else {
            other.recv(&mut buffer)
        };
        match received {
            Ok(length) => {
                must!(buffer[..length] == message(number), "message {number} is another");
                number += 1;
                count(&BOOKS.packets);
            }
            Err(error) => {
                must!(error.kind() == ErrorKind::TimedOut, "a message: {error}");
                count(&BOOKS.read_timeouts);
            }
        }
    }
    sender.join();
}

/// Makes a message that contains its number, and whose length follows from the number.
fn message(number: u64) -> Vec<u8> {
    let length = WORD + (number.wrapping_mul(2_654_435_761) % 1200) as usize;
    number.to_le_bytes().into_iter().cycle().take(length).collect()
}

/// Packets go there and back, a few at a time. A packet that does not return is sent again; every
/// packet that returns is whole.
pub fn packets(rng: &mut Rng) {
    const AT_ONCE: u64 = 16;
    let local = |_| UdpSocket::bind("127.0.0.1:0").unwrap();
    let [client, server] = [(), ()].map(local);
    server.connect(client.local_addr().unwrap()).unwrap();
    client.connect(server.local_addr().unwrap()).unwrap();
    let server = start(rng, move || -> io::Result<()> {
        let mut buffer = [0; 2048];
        loop {
            let length = server.recv(&mut buffer)?;
            server.send(&buffer[..length])?;
        }
    });
    // Shorter than some round trips, so that some packets are sent again needlessly.
    client.set_read_timeout(Some(Duration::from_millis(1 + rng.below(200) as u64))).unwrap();
    let mut buffer = [0; 2048];
    for first in (0..1 + rng.below(300) as u64).step_by(AT_ONCE as usize) {
        let mut missing: Vec<u64> = (first..first + AT_ONCE).collect();
        while !missing.is_empty() {
            for &number in &missing {
                client.send(&message(number)).unwrap();
            }
            while !missing.is_empty() {
                match client.recv(&mut buffer) {
                    Ok(length) => {
                        let number = u64::from_le_bytes(buffer[..WORD].try_into().unwrap());
                        must!(buffer[..length] == message(number), "packet {number} is another");
                        must!(number < first + AT_ONCE, "packet {number} comes before it is sent");
                        missing.retain(|missing| *missing != number);
                        count(&BOOKS.packets);
                    }
                    Err(error) => {
                        must!(error.kind() == ErrorKind::TimedOut, "a packet: {error}");
                        add(&BOOKS.packets_sent_again, missing.len() as u64);
                        break;
                    }
                }
            }
        }
    }
    if let Some(ended) = server.cancel() {
        let error = ended.expect_err("it serves for ever");
        must!(is_cancelled(&error), "a server of packets: {error}");
    }
}
