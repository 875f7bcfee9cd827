//! The template: a fresh, single-threaded copy of the program that only forks workers.
//!
//! It has run the program's initialisers but not its `main`. So its forks are small and clean,
//! however many threads and locks and however much memory the master has. It never starts a thread,
//! and the one function of the user that it calls, a pool's `preload`, must leave none behind.
//! Hence the child of each fork finds every lock free.
//!
//! The template must not use randomness before it forks (a `HashMap`'s keys, for example): all
//! workers would share it.

use std::ffi::CStr;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

use super::setup::{Preload, Setup};
use super::{HandedOver, Inherited};
use super::{cancel, limits as worker_limits, overflow};
use crate::process::wire::{ForkReply, ForkRequest, Handshake, LONG_PACKET, PACKET, TemplateReply};
use crate::sys::io::{Blocking, socket};
use crate::sys::limits;
use crate::sys::memory::sealed;
use crate::sys::observe;
use crate::sys::process::clone::{self, Forked};
use crate::sys::process::current;
use crate::sys::process::descriptors;
use crate::sys::signal::{mask, terminal};
use crate::task::{failure, park};

/// Name of a template in `ps`.
pub(in crate::process) const SHORT_NAME: &CStr = c"trine-template";

/// Time for threads that a preload has ended to leave the kernel's list: a joined thread is listed
/// for a moment, one of `thread::scope` for a little longer.
const THREAD_EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves as the template: forks workers until the master exits.
pub(super) fn serve(socket: OwnedFd, handshake: &Handshake) -> ! {
    crash_side!(Template);
    crash_point!("template: started, not bound to its master");
    current::die_with_parent(handshake.master);
    current::set_short_name(SHORT_NAME);
    mask::ignore_broken_pipes();
    terminal::outlast();
    // SAFETY: only the program's initialisers have run. The documentation says that a descriptor
    // which one of them has opened for later use is closed in the workers.
    unsafe { descriptors::close_all_but(vec![socket.as_raw_fd()]) };
    failure::install_hook();
    overflow::install();
    cancel::install();
    worker_limits::install();
    let Some((lifeline, preload)) = take_handshake(&socket) else { current::exit_now(1) };
    let alone = wait_for_other_threads("an initialiser that runs before `main`");
    let inherited = alone.and_then(|()| Inherited::new(handshake.master, lifeline));
    let inherited = inherited.and_then(|mut inherited| {
        inherited.bind_to_master()?;
        if let Some(preload) = preload {
            inherited.keep_open(run_preload(&socket, &preload)?);
            // It may have changed the user.
            inherited.bind_to_master()?;
        }
        Ok(inherited)
    });
    let inherited = match inherited {
        Ok(inherited) => inherited,
        Err(reason) => {
            send(&socket, &TemplateReply::Unfit(truncate(reason)));
            current::exit_now(1)
        }
    };
    crash_point!("template: about to be ready");
    send(&socket, &TemplateReply::Ready);
    fork_on_request(&socket, inherited)
}

/// Forks a worker for each request; exits when the master has exited.
fn fork_on_request(socket: &OwnedFd, inherited: Inherited) -> ! {
    loop {
        let mut packet = [0; PACKET];
        let Ok(mut received) = socket::receive_packet(socket, &mut packet, Blocking::Yes) else {
            current::exit_now(1);
        };
        if received.len == 0 {
            current::exit_now(0);
        }
        let Ok(request) = postcard::from_bytes::<ForkRequest>(&packet[..received.len]) else {
            current::exit_now(1);
        };
        let captures = usize::from(request.captures);
        let has_lifeline = request.has_lifeline.into();
        let received_all = received.descriptors.len() == 3 + has_lifeline + 2 * captures;
        let mut descriptors = received.descriptors.take().into_iter();
        let (Some(theirs), Some(directory), Some(memory), true) =
            (descriptors.next(), descriptors.next(), descriptors.next(), received_all)
        else {
            // The limit for open descriptors is below the handful that a template needs.
            let refusal = limits::error_number(&limits::out_of_descriptors());
            reply(socket, request.request, Err(refusal), None);
            continue;
        };
        let lifeline = descriptors.by_ref().take(has_lifeline).next();
        let outputs: Vec<OwnedFd> = descriptors.collect();
        let handed = HandedOver { socket: theirs, directory, memory, lifeline, outputs };
        crash_point!("template: fork requested");
        // SAFETY: the template has one thread (see above), and the new side turns into a worker,
        // which closes all descriptors of the template.
        match unsafe { clone::fork_sibling() } {
            Ok(Forked::New) => super::become_worker(handed, &request, inherited),
            Ok(Forked::Caller { pid, pidfd }) => {
                crash_point!("template: worker forked, master not notified");
                reply(socket, request.request, Ok(pid), Some(pidfd));
                crash_point!("template: worker forked, master notified");
            }
            Err(error) => {
                reply(socket, request.request, Err(limits::error_number(&error)), None);
            }
        }
    }
}

/// Takes the handshake that `entry` has checked; returns the lifeline and the preload that came
/// with it, if any.
fn take_handshake(socket: &OwnedFd) -> Option<(Option<OwnedFd>, Option<Preload>)> {
    let mut packet = [0; PACKET];
    let mut received = socket::receive_packet(socket, &mut packet, Blocking::No).ok()?;
    let (_, preload) =
        postcard::from_bytes::<(Handshake, Option<Preload>)>(&packet[..received.len]).ok()?;
    Some((received.descriptors.take().into_iter().next(), preload))
}

/// Runs the preload; returns the descriptors that are open after it, without the socket.
///
/// # Errors
///
/// No worker can be forked, for this reason.
fn run_preload(socket: &OwnedFd, preload: &Preload) -> Result<Vec<RawFd>, String> {
    let mut packet = vec![0; preload.setup];
    let received = socket::receive_packet(socket, &mut packet, Blocking::No)
        .map_err(|error| format!("the settings for preload did not come: {error}"))?;
    let setup: Setup = postcard::from_bytes(&packet[..received.len])
        .map_err(|error| format!("the settings for preload cannot be read: {error}"))?;
    setup.apply(&|| Ok(()))?;
    let label = "preload of a process pool".to_owned();
    overflow::with_label(&label, || {
        // SAFETY: the offset comes from the master, which runs the same build: `entry` has checked
        // the fingerprint.
        unsafe { preload.function.run("preload") }
    })?;
    // Each worker would print bytes that are left in a buffer.
    let _ = io::stdout().flush();
    current::flush_streams();
    if park::has_neighbours() {
        return Err(
            "preload used coroutines of its own thread (`coroutine::spawn_local`), whose queues \
                    and rings workers cannot share; use them in `initializer` instead, which runs \
                    in each worker"
                .into(),
        );
    }
    if sealed::drafts() > 0 {
        return Err(
            "preload left a `Shared` half built, in a suspended generator; all workers would \
                    fill the same memory: let `Shared::build` return before preload does"
                .into(),
        );
    }
    wait_for_other_threads("preload")?;
    park::drop_bell();
    let mut open = descriptors::open()
        .map_err(|error| format!("cannot see which descriptors preload has opened: {error}"))?;
    open.retain(|number| *number != socket.as_raw_fd());
    Ok(open)
}

/// Waits until the template has one thread.
///
/// # Errors
///
/// A thread does not end; the text names it, and `starter`, which has started it.
fn wait_for_other_threads(starter: &str) -> Result<(), String> {
    let until = Instant::now() + THREAD_EXIT_TIMEOUT;
    loop {
        let count = observe::thread_count().map_err(|error| {
            format!("cannot count the threads that {starter} has started: {error}")
        })?;
        if count == 1 {
            return Ok(());
        }
        if Instant::now() >= until {
            let others = current::other_threads().unwrap_or_default();
            return Err(format!(
                "{starter} started a thread that still runs ({}); the template, from which workers \
                 are forked, has {count} threads, and a fork has one only: join it there, or start \
                 it in `initializer` or in a task, which run in a worker",
                others.join(", ")
            ));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Truncates a text to the room of a packet.
fn truncate(mut text: String) -> String {
    let most = LONG_PACKET - 64;
    if text.len() > most {
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Replies to a request for a fork. Does not write to the heap: the worker shares its pages now, so
/// a write would copy one.
fn reply(socket: &OwnedFd, request: u64, forked: Result<u32, i32>, pidfd: Option<OwnedFd>) {
    let mut packet = [0; PACKET];
    let reply = TemplateReply::Forked(ForkReply { request, forked });
    send_packet(socket, postcard::to_slice(&reply, &mut packet).expect("numbers only"), pidfd);
}

fn send(socket: &OwnedFd, reply: &TemplateReply) {
    send_packet(socket, &postcard::to_stdvec(reply).expect("numbers and a text"), None);
}

fn send_packet(socket: &OwnedFd, packet: &[u8], pidfd: Option<OwnedFd>) {
    let pidfd = pidfd.as_ref().map(AsFd::as_fd);
    if socket::send_packet(socket, packet, pidfd.as_slice(), Blocking::Yes).is_err() {
        current::exit_now(0);
    }
}
