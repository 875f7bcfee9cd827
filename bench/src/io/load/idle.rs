//! The load of `connections`: many silent connections, then one message on each.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use super::echo::MESSAGE;
use crate::io::server::Server;

/// Connections from one address. Each uses a port, and an address has about 28,000.
const PORTS: usize = 2_500;

/// The longest wait for a step of the server.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Connections to a server.
pub struct Crowd(Vec<TcpStream>);

impl Crowd {
    /// Connects `n` times, and waits until the server has accepted all of them and is idle.
    pub fn connect(server: &Server, n: usize) -> anyhow::Result<Crowd> {
        let std::net::SocketAddr::V4(to) = server.address else {
            anyhow::bail!("{} is no address of IPv4", server.address);
        };
        let before = server.descriptors()?;
        let streams = (0..n).map(|i| stream(i, to)).collect::<anyhow::Result<_>>()?;
        let start = Instant::now();
        while server.descriptors()? < before + n {
            anyhow::ensure!(start.elapsed() < TIMEOUT, "not all connections were accepted");
            std::thread::sleep(Duration::from_millis(10));
        }
        settle(server)?;
        Ok(Crowd(streams))
    }

    /// Sends one message on each connection, waits for all echoes, and returns the time that took.
    pub fn speak(&mut self) -> anyhow::Result<Duration> {
        let message = [7; MESSAGE];
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        for (i, stream) in self.0.iter().enumerate() {
            epoll::add(&epoll, stream, EventData::new_u64(i as u64), EventFlags::IN)?;
        }
        let silence = Timespec { tv_sec: TIMEOUT.as_secs() as i64, tv_nsec: 0 };
        let mut events = Vec::with_capacity(1_024);
        let mut left: Vec<_> = self.0.iter().map(|_| MESSAGE).collect();
        let mut waiting = self.0.len();

        let start = Instant::now();
        for stream in &mut self.0 {
            stream.write_all(&message).context("cannot send")?;
        }
        while waiting > 0 {
            events.clear();
            epoll::wait(&epoll, spare_capacity(&mut events), Some(&silence))?;
            anyhow::ensure!(!events.is_empty(), "{waiting} connections were not answered");
            for event in &events {
                let i = event.data.u64() as usize;
                let mut buffer = [0; MESSAGE];
                let count = self.0[i].read(&mut buffer[..left[i]]).context("cannot receive")?;
                anyhow::ensure!(count > 0, "the server has closed a connection");
                left[i] -= count;
                if left[i] == 0 {
                    waiting -= 1;
                    epoll::delete(&epoll, &self.0[i])?;
                }
            }
        }
        Ok(start.elapsed())
    }
}

/// Opens the `i`th connection, from an address of the loopback that has ports left.
fn stream(i: usize, to: SocketAddrV4) -> anyhow::Result<TcpStream> {
    let from = Ipv4Addr::new(127, 0, 0, 2 + (i / PORTS) as u8);
    let family = AddressFamily::INET;
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrV4::new(from, 0)).context("cannot bind")?;
    connect(&socket, &to).with_context(|| format!("cannot connect from {from}"))?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Waits until the server uses no more processor time.
pub fn settle(server: &Server) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut before = server.cpu()?;
    loop {
        std::thread::sleep(Duration::from_millis(100));
        let now = server.cpu()?;
        // Less than a millisecond may be a timer of the runtime itself.
        if now - before < Duration::from_millis(1) {
            return Ok(());
        }
        anyhow::ensure!(start.elapsed() < TIMEOUT, "the server does not become idle");
        before = now;
    }
}
