//! The load of `echo`: each connection sends 64 bytes, waits for their echo, and sends the next 64.
//!
//! One thread and one epoll, edge-triggered. Every byte that comes back is checked: the echo of
//! another connection, or of an older message, is an error.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;

use super::latency::Latency;
use crate::io::server::Server;

/// Bytes of a message.
pub const MESSAGE: usize = 64;

/// The time without any answer after which the load gives up.
const SILENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// The result of a load.
pub struct Measured {
    pub per_second: f64,
    pub p99: Duration,
    /// The server's processor time for each answer.
    pub cpu: Duration,
    /// Connections that got no answer during the measurement.
    pub starved: usize,
}

/// A connection with one message in flight.
struct Connection {
    stream: TcpStream,
    /// The number of the message.
    number: u64,
    /// The time at which it was sent.
    sent: Instant,
    /// Bytes of it that have come back.
    back: usize,
    /// Answers since the measurement began.
    answers: u64,
}

/// Loads the server over `n` connections, and measures for `window` after `warm_up`.
pub fn run(
    server: &Server,
    n: usize,
    warm_up: Duration,
    window: Duration,
) -> anyhow::Result<Measured> {
    let mut crowd = Crowd::connect(server, n)?;
    crowd.begin()?;
    let begin = Instant::now();
    while begin.elapsed() < warm_up {
        crowd.turn(|_| ())?;
    }

    crowd.connections.iter_mut().for_each(|connection| connection.answers = 0);
    let mut latency = Latency::new();
    let (start, cpu) = (Instant::now(), server.cpu()?);
    while start.elapsed() < window {
        crowd.turn(|took| latency.add(took))?;
    }
    let (elapsed, cpu) = (start.elapsed(), server.cpu()? - cpu);

    anyhow::ensure!(latency.count() > 0, "no answer in {window:?}");
    Ok(Measured {
        per_second: latency.count() as f64 / elapsed.as_secs_f64(),
        p99: latency.quantile(0.99),
        cpu: cpu.div_f64(latency.count() as f64),
        starved: crowd.connections.iter().filter(|connection| connection.answers == 0).count(),
    })
}

struct Crowd {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    events: Vec<Event>,
}

impl Crowd {
    fn connect(server: &Server, n: usize) -> anyhow::Result<Crowd> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let open = |i| {
            let stream = TcpStream::connect(server.address).context("cannot connect")?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let events = EventFlags::IN | EventFlags::ET;
            epoll::add(&epoll, &stream, EventData::new_u64(i as u64), events)?;
            Ok(Connection { stream, number: 0, sent: Instant::now(), back: 0, answers: 0 })
        };
        let connections = (0..n).map(open).collect::<anyhow::Result<_>>()?;
        Ok(Crowd { epoll, connections, events: Vec::with_capacity(256) })
    }

    /// Sends the first message of each connection.
    fn begin(&mut self) -> anyhow::Result<()> {
        let mut connections = self.connections.iter_mut().enumerate();
        connections.try_for_each(|(i, connection)| connection.send(i, Instant::now()))
    }

    /// Receives all arrived echoes, reports the time of each, and sends the next messages.
    fn turn(&mut self, mut report: impl FnMut(Duration)) -> anyhow::Result<()> {
        self.events.clear();
        epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&SILENCE))?;
        anyhow::ensure!(!self.events.is_empty(), "no connection was answered for 5 s");
        for event in &self.events {
            let i = event.data.u64() as usize;
            let connection = &mut self.connections[i];
            let now = Instant::now();
            if connection.receive(i)? {
                report(now - connection.sent);
                connection.send(i, now)?;
            }
        }
        Ok(())
    }
}

impl Connection {
    fn send(&mut self, index: usize, now: Instant) -> anyhow::Result<()> {
        self.number += 1;
        self.back = 0;
        self.sent = now;
        // Never blocks: the socket's buffer has room for more than one message.
        self.stream.write_all(&message(index, self.number)).context("cannot send")
    }

    /// Receives bytes of the echo, and returns true once the echo is complete.
    fn receive(&mut self, index: usize) -> anyhow::Result<bool> {
        let mut buffer = [0; MESSAGE];
        let received = match self.stream.read(&mut buffer[self.back..]) {
            Ok(0) => anyhow::bail!("the server has closed a connection"),
            Ok(count) => self.back..self.back + count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("cannot receive"),
        };
        self.back = received.end;
        let sent = message(index, self.number);
        anyhow::ensure!(
            buffer[received.clone()] == sent[received],
            "the echo differs from the message"
        );
        let complete = self.back == MESSAGE;
        self.answers += u64::from(complete);
        Ok(complete)
    }
}

/// Makes the `number`th message of a connection. All messages of all connections differ.
fn message(connection: usize, number: u64) -> [u8; MESSAGE] {
    let seed = ((connection as u64) << 40 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut bytes = [0; MESSAGE];
    for (i, word) in bytes.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&seed.rotate_left(i as u32 * 7).to_ne_bytes());
    }
    bytes
}
