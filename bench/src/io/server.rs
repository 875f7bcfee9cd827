//! A server's process, as its load sees it.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Signal, set_parent_process_death_signal};

use super::cores::{LOAD, SERVER, pin};
use crate::foreign::absent::Absent;

/// A running server, killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    /// Starts a server that prints its address, and moves this process to the load's core.
    pub fn start(command: Command) -> anyhow::Result<Server> {
        let mut child = spawn(command)?;
        let stdout = child.stdout.as_mut().context("the server has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        // Examples print "listening at" before the address.
        let address = line.split_whitespace().last().and_then(|word| word.parse().ok());
        match address {
            Some(address) => Ok(Server { child, address }),
            None => Err(end(child).context(format!("no server: it printed {:?}", line.trim()))),
        }
    }

    /// Starts a server that is given its address, and waits until it accepts connections there.
    pub fn start_at(command: Command, address: SocketAddr) -> anyhow::Result<Server> {
        let mut child = spawn(command)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            if child.try_wait()?.is_some() || Instant::now() > deadline {
                return Err(end(child).context(format!("no server at {address}")));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Server { child, address })
    }

    /// Returns the processor time of all threads of the server.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let mut clock = 0;
        // SAFETY: the clock's id is written to a variable that lives.
        let error = unsafe { libc::clock_getcpuclockid(self.child.id().cast_signed(), &mut clock) };
        anyhow::ensure!(error == 0, "the server has exited");
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the time is written to a variable that lives.
        let read = unsafe { libc::clock_gettime(clock, &mut time) };
        anyhow::ensure!(read == 0, "the server has exited");
        Ok(Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32))
    }

    /// Reads a field of the server's `/proc/PID/status`, in kilobytes.
    pub fn kilobytes(&self, field: &str) -> anyhow::Result<usize> {
        crate::procfs::kilobytes(&format!("/proc/{}/status", self.child.id()), field)
    }

    /// Counts the open descriptors of the server.
    pub fn descriptors(&self) -> anyhow::Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(mut command: Command) -> anyhow::Result<Child> {
    // The pipe stays open and holds everything that the server prints later.
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    // SAFETY: between fork and exec it makes two system calls and touches no lock or memory.
    unsafe {
        command.pre_exec(|| {
            pin(SERVER)?;
            Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
        });
    }
    pin(LOAD).context("the load has no core of its own")?;
    let name = command.get_program().to_string_lossy().into_owned();
    command.spawn().map_err(|error| Absent(format!("{name} does not start: {error}")).into())
}

/// Kills and reaps a server that did not start. Its standard error is ours, and shows the reason.
fn end(mut child: Child) -> anyhow::Error {
    let _ = child.kill();
    match child.wait() {
        Ok(status) => anyhow::anyhow!("its process ended with {status}"),
        Err(error) => error.into(),
    }
}
