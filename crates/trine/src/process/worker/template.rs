//! The template: a fresh, single-threaded copy of the program that does nothing but fork.
//!
//! It has run the program's initialisers and not its `main`. Whatever size, threads and locks
//! the master has, a fork of the template is small and clean. It never starts a thread, and the one
//! function of the user that it calls, a pool's `preload`, may leave none behind: so the child of
//! each fork finds every lock free.
//!
//! The template itself must not draw on randomness before it forks (a `HashMap`'s keys, for one): all
//! workers would share it.

use std::ffi::CStr;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

use super::Inherited;
use super::setup::{Preload, Setup};
use super::{cancel, limits as worker_limits, overflow};
use crate::process::wire::board::Slots;
use crate::process::wire::{ForkReply, ForkRequest, Handshake, LONG_PACKET, PACKET, TemplateSays};
use crate::sys::io::socket::{self, Patience};
use crate::sys::limits;
use crate::sys::process::child;
use crate::sys::process::clone::{self, Side};
use crate::sys::process::descriptors;
use crate::task::{failure, park};

/// What `ps` shows.
pub(in crate::process) const SHORT_NAME: &CStr = c"trine-template";

/// How long threads that a preload has ended may take to be gone: a joined one is still listed for
/// a moment, one of `thread::scope` for a little longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Spawner workers until the master is gone.
pub(in crate::process) fn serve(socket: OwnedFd, handshake: &Handshake) -> ! {
    crash_side!(Template);
    crash_point!("template: started, not bound to its master");
    child::die_with_parent(handshake.master);
    child::set_short_name(SHORT_NAME);
    child::ignore_broken_pipes();
    // SAFETY: nothing of the program has run but its initialisers; a descriptor that one of them
    // has opened for later use is closed in the workers, which the documentation says.
    unsafe { descriptors::close_all_but(vec![socket.as_raw_fd()]) };
    failure::install_hook();
    overflow::install();
    cancel::install();
    worker_limits::install();
    let Some((places, preload)) = take_handshake(&socket) else { child::exit_now(1) };
    let estate = Inherited::new(handshake.master, places).and_then(|mut estate| {
        if let Some(preload) = preload {
            estate.leave(prepare(&socket, &estate, &preload)?);
        }
        Ok(estate)
    });
    let estate = match estate {
        Ok(estate) => estate,
        Err(reason) => {
            say(&socket, &TemplateSays::Unfit(cut(reason)));
            child::exit_now(1)
        }
    };
    crash_point!("template: about to be ready");
    say(&socket, &TemplateSays::Ready);
    loop {
        let mut packet = [0; PACKET];
        let Ok(mut received) = socket::receive_packet(&socket, &mut packet, Patience::Wait) else {
            child::exit_now(1);
        };
        if received.len == 0 {
            child::exit_now(0);
        }
        let Ok(request) = postcard::from_bytes::<ForkRequest>(&packet[..received.len]) else {
            child::exit_now(1);
        };
        let (has_lines, captures) = (request.has_lines.into(), usize::from(request.captures));
        let received_all = received.descriptors.len() == 1 + has_lines + 2 * captures;
        let mut descriptors = received.descriptors.drain(..);
        let (Some(theirs), true) = (descriptors.next(), received_all) else {
            // The limit for descriptors lies below the handful that a template needs.
            let refusal = limits::error_number(&limits::out_of_descriptors());
            reply(&socket, request.request, Err(refusal), None);
            continue;
        };
        let memory = descriptors.by_ref().take(has_lines).next();
        let outputs: Vec<OwnedFd> = descriptors.collect();
        crash_point!("template: fork asked for");
        // SAFETY: the template has one thread (see above), and the new side turns into a worker,
        // which closes all that is the template's.
        match unsafe { clone::fork_sibling() } {
            Ok(Side::New) => super::become_worker((theirs, memory, outputs), &request, estate),
            Ok(Side::Caller { pid, pidfd }) => {
                crash_point!("template: worker forked, master not told");
                reply(&socket, request.request, Ok(pid), Some(pidfd));
                crash_point!("template: worker forked, master told");
            }
            Err(error) => {
                reply(&socket, request.request, Err(limits::error_number(&error)), None);
            }
        }
    }
}

/// Takes the handshake that `entry` has seen; the board comes along with it.
fn take_handshake(socket: &OwnedFd) -> Option<(Slots, Option<Preload>)> {
    let mut packet = [0; PACKET];
    let received = socket::receive_packet(socket, &mut packet, Patience::Now).ok()?;
    let places = Slots::attach(received.descriptors.into_iter().next()?).ok()?;
    let (_, preload) =
        postcard::from_bytes::<(Handshake, Option<Preload>)>(&packet[..received.len]).ok()?;
    Some((places, preload))
}

/// Runs the preload; the descriptors that are open after it, but for the socket.
///
/// # Errors
///
/// Says why no worker can be forked.
fn prepare(socket: &OwnedFd, estate: &Inherited, preload: &Preload) -> Result<Vec<RawFd>, String> {
    let mut packet = vec![0; preload.setup];
    let received = socket::receive_packet(socket, &mut packet, Patience::Now)
        .map_err(|error| format!("the settings for preload did not come: {error}"))?;
    let setup: Setup = postcard::from_bytes(&packet[..received.len])
        .map_err(|error| format!("the settings for preload cannot be read: {error}"))?;
    estate.follow_master();
    setup.apply()?;
    let label = "preload of a process pool".to_owned();
    overflow::labelled(&label, || {
        // SAFETY: the offset comes from the master, which runs the same build: `entry` has checked
        // the fingerprint.
        unsafe { preload.function.run("preload") }
    })?;
    // What waits in a buffer would be printed by each worker.
    let _ = io::stdout().flush();
    child::flush_streams();
    if park::has_neighbours() {
        return Err(
            "preload used coroutines of its own thread (`coroutine::spawn_local`), whose queues \
                    and rings workers cannot share; use them in `initializer` instead, which runs \
                    in each worker"
                .into(),
        );
    }
    wait_for_other_threads()?;
    park::drop_bell();
    let mut open = descriptors::open()
        .map_err(|error| format!("cannot see which descriptors preload has opened: {error}"))?;
    open.retain(|number| *number != socket.as_raw_fd());
    Ok(open)
}

/// # Errors
///
/// Names the threads that do not end.
fn wait_for_other_threads() -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let others = child::other_threads()
            .map_err(|error| format!("cannot see whether preload has started threads: {error}"))?;
        if others.is_empty() {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(format!(
                "preload started a thread that still runs ({}); workers are forked from its process, and \
                 a fork has one thread only: join it before preload returns, or start it in \
                 `initializer`, which runs in each worker",
                others.join(", ")
            ));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// As much of a text as a packet has room for.
fn cut(mut text: String) -> String {
    let most = LONG_PACKET - 64;
    if text.len() > most {
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Without memory of the heap, whose pages the worker has now, too, so that writing to one copies it.
fn reply(socket: &OwnedFd, request: u64, forked: Result<u32, i32>, pidfd: Option<OwnedFd>) {
    let mut packet = [0; PACKET];
    let says = TemplateSays::Forked(ForkReply { request, forked });
    send(socket, postcard::to_slice(&says, &mut packet).expect("numbers only"), pidfd);
}

fn say(socket: &OwnedFd, what: &TemplateSays) {
    send(socket, &postcard::to_stdvec(what).expect("numbers and a text"), None);
}

fn send(socket: &OwnedFd, packet: &[u8], pidfd: Option<OwnedFd>) {
    let pidfd = pidfd.as_ref().map(AsFd::as_fd);
    if socket::send_packet(socket, packet, pidfd.as_slice(), Patience::Wait).is_err() {
        child::exit_now(0);
    }
}
