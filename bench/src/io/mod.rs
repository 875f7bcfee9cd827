//! Servers and what is laid on them: two processes, each with a core of its own.
//!
//! ```text
//!   core 0                                         core 1
//!   ┌───────────────────────────┐      TCP         ┌─────────────────────────────┐
//!   │ the server                │ ◄──────────────► │ the measurement: the load   │
//!   │ `trine-bench serve NAME`, │   127.0.0.1      │ (load.rs, idle.rs), or wrk, │
//!   │ Go, nginx, an example     │                  │ which it starts             │
//!   └───────────────────────────┘                  └─────────────────────────────┘
//!        prints its address, serves until it is killed
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `server.rs` | a server's process: its start, its memory and processor time, its end |
//! | `load.rs`, `latency.rs` | the load of `echo`, and how long its answers took |
//! | `idle.rs` | many connections of which none says anything |
//! | `wrk.rs` | the load of `http` |
//! | `epoll.rs`, `ring.rs` | echo by a bare loop: the least that each of the kernel's ways costs |
//! | `echo.rs` | echo by the runtimes |
//! | `http.rs`, `nginx.rs` | HTTP by the runtimes, and by nginx |
//! | `example.rs` | trine's own examples, built for a run |

mod echo;
mod epoll;
pub mod example;
mod http;
pub mod idle;
mod latency;
pub mod load;
pub mod nginx;
mod ring;
pub mod server;
pub mod wrk;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::process::Command;

use clap::ValueEnum;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Where the server runs.
pub const SERVER: usize = 0;

/// Where the load runs.
pub const LOAD: usize = 1;

/// The servers that are functions of this program.
#[derive(Clone, Copy, ValueEnum)]
pub enum Served {
    EchoEpoll,
    EchoRing,
    EchoRingPoll,
    EchoTrine,
    EchoTokio,
    EchoTokioMulti,
    EchoMonoio,
    EchoMay,
    HttpTokio,
    HttpMay,
}

impl Served {
    /// The process that serves it.
    pub fn command(self) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        let name = self.to_possible_value().expect("none is skipped");
        command.args(["serve", name.get_name()]);
        Ok(command)
    }

    /// Serves, in this process, until it is killed.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Served::EchoEpoll => epoll::serve(),
            Served::EchoRing => ring::serve(ring::Way::Receive),
            Served::EchoRingPoll => ring::serve(ring::Way::Poll),
            Served::EchoTrine => echo::trine(),
            Served::EchoTokio => echo::tokio(http::current()?),
            Served::EchoTokioMulti => echo::tokio(echo::one_worker()?),
            Served::EchoMonoio => echo::monoio(),
            Served::EchoMay => echo::may(),
            Served::HttpTokio => http::tokio(),
            Served::HttpMay => http::may(),
        }
    }
}

/// The room that every echo server has for what it reads.
const BUFFER: usize = 2_048;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4_096;

/// A listener on the loopback with a long backlog, announced.
fn listener() -> anyhow::Result<TcpListener> {
    let family = AddressFamily::INET;
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    listen(&socket, BACKLOG)?;
    let listener = TcpListener::from(socket);
    announce(&listener.local_addr()?.to_string())?;
    Ok(listener)
}

/// Tells the measurement where the server is.
fn announce(address: &str) -> anyhow::Result<()> {
    println!("{address}");
    Ok(std::io::stdout().flush()?)
}

/// An address that is free now, for servers that cannot say which one they were given.
fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// Keeps this thread, and what it starts, on one core.
pub fn pin(core: usize) -> rustix::io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores)
}

/// Lets this process, and those it starts, have `wanted` descriptors, or as many as it may. How many it may.
pub fn descriptors(wanted: u64) -> anyhow::Result<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Beyond the hard limit only with privilege.
    let more = Rlimit { current: Some(wanted), maximum: maximum.map(|hard| hard.max(wanted)) };
    if setrlimit(Resource::Nofile, more).is_ok() {
        return Ok(wanted);
    }
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum.unwrap_or(wanted))
}
