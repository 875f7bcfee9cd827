//! Two tasks that hand over to each other, in each kind's own way.
//!
//! | kind | the hand-over |
//! |---|---|
//! | coroutine | `yield_now`, both on the same carrier |
//! | thread | `unpark` the other, `park` until the turn comes back |
//! | process | write a byte to a socket, read until a byte comes back |
//!
//! All three return the nanoseconds of one hand-over. A round has two.

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::mpsc;
use std::thread::{self, Thread, ThreadId};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use trine::coroutine::yield_now;

use crate::measure::sample::{Limits, Spread, calibrated, nanoseconds};

/// Measures hand-overs between the calling coroutine and another one on the same carrier.
pub(crate) fn coroutines(limits: &Limits) -> anyhow::Result<Spread> {
    calibrated(limits, |rounds| {
        // An idle carrier may steal the partner before it has started.
        for _ in 0..1000 {
            if let Some(time) = yield_in_turn(rounds)? {
                return Ok(time);
            }
        }
        bail!("two coroutines never took turns on one carrier")
    })
}

/// Returns `None` if the two did not alternate strictly, as they do not on two carriers.
fn yield_in_turn(rounds: usize) -> anyhow::Result<Option<f64>> {
    #[derive(Default)]
    struct Pair {
        started: AtomicBool,
        ended: AtomicBool,
        /// True if the partner was the last to run.
        partner_ran: AtomicBool,
    }
    let pair = Arc::new(Pair::default());
    let shared = Arc::clone(&pair);
    let partner = trine::coroutine::spawn(move || -> ThreadId {
        shared.started.store(true, Relaxed);
        while !shared.ended.load(Relaxed) {
            shared.partner_ran.store(true, Relaxed);
            yield_now();
        }
        thread::current().id()
    });
    while !pair.started.load(Relaxed) {
        yield_now();
    }
    let mut turns = 0;
    let start = Instant::now();
    for _ in 0..rounds {
        pair.partner_ran.store(false, Relaxed);
        yield_now();
        turns += usize::from(pair.partner_ran.load(Relaxed));
    }
    let elapsed = nanoseconds(start.elapsed());
    pair.ended.store(true, Relaxed);
    let together = partner.join()? == thread::current().id();
    Ok((together && turns == rounds).then(|| elapsed / (2 * rounds) as f64))
}

/// Measures hand-overs between the calling thread and another one.
pub(crate) fn threads(limits: &Limits) -> anyhow::Result<Spread> {
    const MINE: u32 = 0;
    const YOURS: u32 = 1;
    const NOBODYS: u32 = 2;
    let turn = Arc::new(AtomicU32::new(MINE));
    let (introduce, partner) = mpsc::channel::<Thread>();
    let (me, shared) = (thread::current(), Arc::clone(&turn));
    let task = trine::thread::spawn(move || {
        // Fails only if the receiver has been dropped, and then the partner is not needed.
        let _ = introduce.send(thread::current());
        loop {
            match shared.load(Acquire) {
                MINE => thread::park(),
                YOURS => {
                    shared.store(MINE, Release);
                    me.unpark();
                }
                _ => break,
            }
        }
    });
    let Ok(partner) = partner.recv() else {
        task.join()?;
        bail!("the other thread ended early");
    };
    let spread = calibrated(limits, |rounds| {
        let start = Instant::now();
        for _ in 0..rounds {
            turn.store(YOURS, Release);
            partner.unpark();
            while turn.load(Acquire) != MINE {
                thread::park();
            }
        }
        anyhow::Ok(nanoseconds(start.elapsed()) / (2 * rounds) as f64)
    });
    turn.store(NOBODYS, Release);
    partner.unpark();
    task.join()?;
    spread
}

/// Measures hand-overs between this process and another one.
pub(crate) fn processes(limits: &Limits) -> anyhow::Result<Spread> {
    // An abstract name, so that no file is left behind.
    let name = format!("trine-measure-{}", std::process::id());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    // If the other process dies, the wait fails instead of lasting forever.
    let patience = Some(Duration::from_secs(10));
    rustix::net::sockopt::set_socket_timeout(
        &listener,
        rustix::net::sockopt::Timeout::Recv,
        patience,
    )?;
    let task = trine::process::spawn(name, give_back);
    let (mut socket, _) = listener.accept().context("the other process did not connect")?;
    socket.set_read_timeout(patience)?;
    let spread = calibrated(limits, |rounds| {
        let start = Instant::now();
        let mut byte = [0];
        for _ in 0..rounds {
            socket.write_all(&byte)?;
            socket.read_exact(&mut byte)?;
        }
        anyhow::Ok(nanoseconds(start.elapsed()) / (2 * rounds) as f64)
    });
    drop(socket);
    task.join()?.map_err(anyhow::Error::msg)?;
    spread
}

/// Sends every byte back until the other end closes; runs in the other process.
fn give_back(name: String) -> Result<(), String> {
    let serve = || -> std::io::Result<()> {
        let mut socket = UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
        let mut byte = [0];
        while socket.read(&mut byte)? == 1 {
            socket.write_all(&byte)?;
        }
        Ok(())
    };
    serve().map_err(|error| error.to_string())
}
