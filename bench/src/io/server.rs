//! A server in a process of its own, seen from outside.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Signal, set_parent_process_death_signal};

use super::cores::{LOAD, SERVER, pin};
use crate::foreign::absent::Absent;

/// Killed when dropped.
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
        // Whatever stands before it is talk.
        let address = line.split_whitespace().last().and_then(|word| word.parse().ok());
        match address {
            Some(address) => Ok(Server { child, address }),
            None => Err(end(child).context(format!("no server: it printed {:?}", line.trim()))),
        }
    }

    /// The same with a server that was told its address, and is there when it can be reached.
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

    /// The processor time of all its threads.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let mut clock = 0;
        // SAFETY: the clock's id is written to a variable that lives.
        let error = unsafe { libc::clock_getcpuclockid(self.child.id().cast_signed(), &mut clock) };
        anyhow::ensure!(error == 0, "the server is gone");
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the time is written to a variable that lives.
        let read = unsafe { libc::clock_gettime(clock, &mut time) };
        anyhow::ensure!(read == 0, "the server is gone");
        Ok(Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32))
    }

    /// A figure of its `/proc/PID/status`, in kilobytes.
    pub fn kilobytes(&self, field: &str) -> anyhow::Result<usize> {
        crate::procfs::kilobytes(&format!("/proc/{}/status", self.child.id()), field)
    }

    /// How many descriptors it holds.
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
    // What it prints later is kept in the pipe, which nobody closes.
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

/// Makes an end of a server that did not begin; why it did not is on its stderr, which is ours.
fn end(mut child: Child) -> anyhow::Error {
    let _ = child.kill();
    match child.wait() {
        Ok(status) => anyhow::anyhow!("it ended with {status}"),
        Err(error) => error.into(),
    }
}
