//! The template: a fresh, single-threaded copy of the program that does nothing but fork.
//!
//! It has run the program's initialisers and not its `main`. Whatever size, threads and locks
//! the master has, a fork of the template is small and clean. It never starts a thread and never calls
//! code of the user, so that the child of each fork finds every lock free.
//!
//! The template must not draw on randomness before it forks (a `HashMap`'s keys, for one): all
//! workers would share it.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use super::wire::{ForkReply, ForkRequest, GREETING, Handshake, PACKET};
use super::{board, cancel, overflow, worker};
use crate::sys::child;
use crate::sys::clone::{self, Side};
use crate::sys::descriptors;
use crate::sys::limits;
use crate::sys::shared::Shared;
use crate::sys::socket::{self, Patience};
use crate::task::failure;

/// What `ps` shows.
pub(super) const SHORT_NAME: &CStr = c"trine-template";

/// Forks workers until the master is gone.
pub(super) fn serve(socket: OwnedFd, handshake: &Handshake) -> ! {
    child::die_with_parent(handshake.master);
    child::set_short_name(SHORT_NAME);
    child::ignore_broken_pipes();
    // SAFETY: nothing of the program has run but its initialisers; a descriptor that one of them
    // has opened for later use is closed in the workers, which the documentation says.
    unsafe { descriptors::close_all_but(socket.as_fd()) };
    failure::install_hook();
    overflow::install();
    cancel::install();
    let Some(board) = attach_board(&socket) else { child::exit_now(1) };
    if socket::send_packet(&socket, GREETING, &[], Patience::Wait).is_err() {
        child::exit_now(0);
    }
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
        let received_all = received.descriptors.len() == 1 + usize::from(request.has_lines);
        let mut descriptors = received.descriptors.drain(..);
        let (Some(theirs), memory, true) = (descriptors.next(), descriptors.next(), received_all)
        else {
            // The limit for descriptors lies below the handful that a template needs.
            let refusal = limits::error_number(&limits::out_of_descriptors());
            reply(&socket, request.request, Err(refusal), None);
            continue;
        };
        // SAFETY: the template has one thread (see above), and the new side turns into a worker,
        // which closes all that is the template's.
        match unsafe { clone::fork_sibling() } {
            Ok(Side::New) => {
                worker::become_worker((theirs, memory), board, &request, handshake.master)
            }
            Ok(Side::Caller { pid, pidfd }) => {
                reply(&socket, request.request, Ok(pid), Some(pidfd));
            }
            Err(error) => {
                reply(&socket, request.request, Err(limits::error_number(&error)), None);
            }
        }
    }
}

/// The board comes along with the handshake, which is taken now.
fn attach_board(socket: &OwnedFd) -> Option<Shared> {
    let mut packet = [0; PACKET];
    let received = socket::receive_packet(socket, &mut packet, Patience::Now).ok()?;
    board::attach(received.descriptors.first()?).ok()
}

fn reply(socket: &OwnedFd, request: u64, forked: Result<u32, i32>, pidfd: Option<OwnedFd>) {
    let reply = postcard::to_stdvec(&ForkReply { request, forked }).expect("numbers only");
    let pidfd = pidfd.as_ref().map(AsFd::as_fd);
    if socket::send_packet(socket, &reply, pidfd.as_slice(), Patience::Wait).is_err() {
        child::exit_now(0);
    }
}
