//! The load of `echo`: connections that each send 64 bytes, wait for them, and send the next 64.
//!
//! One thread and one epoll, edge-triggered. Every byte that comes back is looked at: an echo of
//! another connection's, or of an older message, is an error.

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

/// What is said at a time.
pub const MESSAGE: usize = 64;

/// Silence after which the server is given up.
const SILENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// What became of a load.
pub struct Heard {
    pub per_second: f64,
    pub p99: Duration,
    /// The server's processor time for each answer.
    pub cpu: Duration,
    /// Connections that got no answer while it was measured.
    pub starved: usize,
}

/// One connection.
struct Talk {
    stream: TcpStream,
    /// Which message is under way.
    number: u64,
    /// When it was sent.
    sent: Instant,
    /// How much of it has come back.
    back: usize,
    /// Answers since measuring began.
    answers: u64,
}

/// Talks over `n` connections, and measures for `window` after `warm_up`.
pub fn run(
    server: &Server,
    n: usize,
    warm_up: Duration,
    window: Duration,
) -> anyhow::Result<Heard> {
    let mut crowd = Crowd::connect(server, n)?;
    crowd.begin()?;
    let begin = Instant::now();
    while begin.elapsed() < warm_up {
        crowd.turn(|_| ())?;
    }

    crowd.talks.iter_mut().for_each(|talk| talk.answers = 0);
    let mut latency = Latency::new();
    let (start, cpu) = (Instant::now(), server.cpu()?);
    while start.elapsed() < window {
        crowd.turn(|took| latency.add(took))?;
    }
    let (elapsed, cpu) = (start.elapsed(), server.cpu()? - cpu);

    anyhow::ensure!(latency.count() > 0, "no answer in {window:?}");
    Ok(Heard {
        per_second: latency.count() as f64 / elapsed.as_secs_f64(),
        p99: latency.quantile(0.99),
        cpu: cpu.div_f64(latency.count() as f64),
        starved: crowd.talks.iter().filter(|talk| talk.answers == 0).count(),
    })
}

struct Crowd {
    epoll: OwnedFd,
    talks: Vec<Talk>,
    events: Vec<Event>,
}

impl Crowd {
    fn connect(server: &Server, n: usize) -> anyhow::Result<Crowd> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let talk = |i| {
            let stream = TcpStream::connect(server.address).context("cannot connect")?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let events = EventFlags::IN | EventFlags::ET;
            epoll::add(&epoll, &stream, EventData::new_u64(i as u64), events)?;
            Ok(Talk { stream, number: 0, sent: Instant::now(), back: 0, answers: 0 })
        };
        let talks = (0..n).map(talk).collect::<anyhow::Result<_>>()?;
        Ok(Crowd { epoll, talks, events: Vec::with_capacity(256) })
    }

    /// The first message of each.
    fn begin(&mut self) -> anyhow::Result<()> {
        self.talks.iter_mut().enumerate().try_for_each(|(i, talk)| talk.send(i, Instant::now()))
    }

    /// Hears what has come, and answers it; says how long each took.
    fn turn(&mut self, mut heard: impl FnMut(Duration)) -> anyhow::Result<()> {
        self.events.clear();
        epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&SILENCE))?;
        anyhow::ensure!(!self.events.is_empty(), "no connection was answered for 5 s");
        for event in &self.events {
            let i = event.data.u64() as usize;
            let talk = &mut self.talks[i];
            let now = Instant::now();
            if talk.hear(i)? {
                heard(now - talk.sent);
                talk.send(i, now)?;
            }
        }
        Ok(())
    }
}

impl Talk {
    fn send(&mut self, connection: usize, now: Instant) -> anyhow::Result<()> {
        self.number += 1;
        self.back = 0;
        self.sent = now;
        // It goes out whole: the connection has room for more than one.
        self.stream.write_all(&message(connection, self.number)).context("cannot send")
    }

    /// Hears what has come; whether the message is whole.
    fn hear(&mut self, connection: usize) -> anyhow::Result<bool> {
        let mut buffer = [0; MESSAGE];
        let come = match self.stream.read(&mut buffer[self.back..]) {
            Ok(0) => anyhow::bail!("the server has hung up"),
            Ok(count) => self.back..self.back + count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("cannot hear"),
        };
        self.back = come.end;
        let sent = message(connection, self.number);
        anyhow::ensure!(buffer[come.clone()] == sent[come], "what came back is not what was sent");
        let whole = self.back == MESSAGE;
        self.answers += u64::from(whole);
        Ok(whole)
    }
}

/// No two connections say the same, and none says the same twice.
fn message(connection: usize, number: u64) -> [u8; MESSAGE] {
    let seed = ((connection as u64) << 40 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut bytes = [0; MESSAGE];
    for (i, word) in bytes.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&seed.rotate_left(i as u32 * 7).to_ne_bytes());
    }
    bytes
}
