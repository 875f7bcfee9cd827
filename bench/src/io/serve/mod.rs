//! The servers that are functions of this program.
//!
//! | file | contents |
//! |---|---|
//! | `echo.rs` | echo by the runtimes |
//! | `epoll.rs`, `ring.rs` | echo by a bare loop: the cost of each kernel interface alone |
//! | `http.rs` | HTTP by the runtimes |
//! | `socket.rs` | listeners, and how a server announces its address |

mod echo;
mod epoll;
mod http;
mod ring;
pub mod socket;

use std::process::Command;

use clap::ValueEnum;

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
    /// Makes the command that runs this server in a process of its own.
    pub fn command(self) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        let name = self.to_possible_value().expect("none is skipped");
        command.args(["serve", name.get_name()]);
        Ok(command)
    }

    /// Serves in this process until it is killed.
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
