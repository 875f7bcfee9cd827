//! The worker: forked from the template, runs one task after the other, exits when its master hangs
//! up.
//!
//! | file | contents |
//! |---|---|
//! | `mod.rs` | [`become_worker`] and the loop over its orders |
//! | `entry.rs` | before `main`: decides between the program and its template |
//! | `template.rs` | the template, which forks workers |
//! | `setup.rs` | settings of one worker, applied before its first task |
//! | `inbox.rs` | receives orders and sends answers |
//! | `run.rs` | runs one task |
//! | `limits.rs` | limits of a worker, and its notes for the master |
//! | `cancel.rs` | the signal that ends a task |
//! | `capture.rs` | standard output and error into the master's pipes |
//! | `overflow.rs` | the report of a stack overflow |

pub(super) mod cancel;
mod capture;
pub(super) mod entry;
pub(super) mod inbox;
pub(super) mod limits;
pub(super) mod overflow;
mod run;
pub(super) mod setup;
pub(super) mod template;

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::panic::Location;
use std::process;
use std::sync::Arc;
use std::time::Instant;

use super::task::value;
use super::wire::board::OwnSlot;
use super::wire::rings;
use super::wire::{self, ForkRequest, Frame, FrameKind};
use crate::sys::io::socket;
use crate::sys::process::{current, descriptors, fork_detect, lifeline};
use crate::task::registry::Entry;
use crate::task::{CodecStage, Kind, park};
use inbox::{Inbox, Outbox};
use setup::Setup;

/// Name of a worker in `ps`.
pub(super) const SHORT_NAME: &CStr = c"trine-worker";

/// Descriptor of the worker's socket, far above those that a task opens and closes.
const SOCKET: RawFd = 200;

/// State that a worker inherits from its template: made once, in memory that each fork copies.
pub(super) struct Inherited {
    /// The master's process id.
    master: u32,
    /// The template's own lifeline, if it has one.
    lifeline: Option<OwnedFd>,
    /// The buffer of the worker's inbox.
    scratch: Box<[u8]>,
    /// Descriptors that the preload has opened, which a worker keeps; has room for its socket.
    descriptors: Vec<RawFd>,
}

impl Inherited {
    /// Prepares the state of a template whose preload has not run.
    ///
    /// # Errors
    ///
    /// No worker can be forked, for this reason.
    fn new(master: u32, lifeline: Option<OwnedFd>) -> Result<Inherited, String> {
        fork_detect::prepare_worker_mark().map_err(|error| {
            format!("no page for workers to detect their forks by (MADV_WIPEONFORK): {error}")
        })?;
        let scratch = inbox::scratch();
        warm_up();
        Ok(Inherited { master, lifeline, scratch, descriptors: Vec::with_capacity(2) })
    }

    /// Has the template end with its master, also after a change of user.
    ///
    /// # Errors
    ///
    /// The kernel refuses; the text says so.
    fn bind_to_master(&self) -> Result<(), String> {
        bind(self.master, self.lifeline.as_ref())
    }

    /// Keeps the descriptors `open`, which the preload has opened.
    fn keep_open(&mut self, mut open: Vec<RawFd>) {
        let lifeline = self.lifeline.as_ref().map(AsRawFd::as_raw_fd);
        open.retain(|number| Some(*number) != lifeline);
        open.reserve(2);
        self.descriptors = open;
    }
}

/// Does in the template what each worker would do first: takes a task's slot, the thread's waker
/// and the time, and encodes an answer. A fork copies the memory that this touches for less than
/// the page faults that each worker would take.
fn warm_up() {
    // Adopts a number of the master's, so that no number of this process is used up.
    let entry = Entry::adopt(1, Kind::Process, None, Location::caller());
    let _ = (park::waker(), Instant::now());
    let _ = value::encode(&mut Vec::new(), &(), CodecStage::EncodeResult);
    drop(entry);
}

/// Has the calling process end with its master. A change of user takes the parent-death signal
/// away, and each side's right to send the other a signal; the lifeline needs none.
///
/// # Errors
///
/// The kernel refuses; the text says so.
fn bind(master: u32, lifeline: Option<&OwnedFd>) -> Result<(), String> {
    current::die_with_parent(master);
    lifeline.map_or(Ok(()), |lifeline| {
        lifeline::hold_on(lifeline.as_fd())
            .map_err(|error| format!("cannot be bound to its master (F_SETOWN): {error}"))
    })
}

/// The descriptors that a worker gets from its master.
struct HandedOver {
    /// The worker's end of the socket.
    socket: OwnedFd,
    /// The master's current directory.
    directory: OwnedFd,
    /// The memory that it shares with its master.
    memory: OwnedFd,
    /// Its end of its lifeline, if it has one.
    lifeline: Option<OwnedFd>,
    /// Its standard output and error, if those are captured.
    outputs: Vec<OwnedFd>,
}

/// Turns the calling process, just forked, into a worker.
fn become_worker(
    HandedOver { socket: theirs, directory, memory, lifeline, outputs }: HandedOver,
    request: &ForkRequest,
    inherited: Inherited,
) -> ! {
    crash_side!(Worker);
    crash_point!("worker: forked, not bound to its master");
    current::die_with_parent(inherited.master);
    current::set_short_name(SHORT_NAME);
    if capture::attach(&outputs).is_err() {
        current::exit_now(1);
    }
    let Ok(socket) = descriptors::copy_high(theirs.as_fd(), SOCKET) else { current::exit_now(1) };
    // Beside the socket, for the same reason.
    let own_lifeline = lifeline.as_ref().map(|end| {
        let own = descriptors::copy_high(end.as_fd(), SOCKET + 1)?;
        lifeline::hold_on(own.as_fd()).map(|()| own)
    });
    let Ok(own_lifeline) = own_lifeline.transpose() else { current::exit_now(1) };
    let Ok(rings) = rings::attach(&memory) else { current::exit_now(1) };
    let board = OwnSlot::new(Arc::clone(rings.words.memory()));
    let rings = request.has_rings.then_some(rings);
    if let Err(error) = current::enter(directory.as_fd()) {
        refuse(&socket, &format!("cannot work in the directory of this program: {error}"));
    }
    let Inherited { master, lifeline: templates, scratch, descriptors: mut kept } = inherited;
    kept.push(socket.as_raw_fd());
    kept.extend(own_lifeline.as_ref().map(AsRawFd::as_raw_fd));
    // SAFETY: these descriptors and the template's socket are closed here while they have owners.
    // Those never run again in this process: this function does not return, and all but the
    // socket's are forgotten.
    unsafe {
        std::mem::forget((theirs, directory, memory, lifeline, outputs, templates));
        descriptors::close_all_but(kept);
    }
    overflow::report_to(socket.as_raw_fd());
    fork_detect::mark_worker();
    // Threads that the preload has used have ended.
    fork_detect::begin_anew();
    let board = cancel::keep(board);
    limits::keep(board, run::own_id());
    crash_point!("worker: arranged, not set up");
    let mut inbox = Inbox::new(socket, rings, scratch);
    if request.awaits_setup {
        let frame = inbox.frame();
        set_up(&frame, &inbox.outbox, &|| bind(master, own_lifeline.as_ref()));
    }
    crash_point!("worker: set up, not ready");
    board.set_ready();
    crash_point!("worker: ready");
    loop {
        let mut order = inbox.next();
        match order.head.kind {
            FrameKind::Setup => {
                set_up(&order, &inbox.outbox, &|| bind(master, own_lifeline.as_ref()));
            }
            FrameKind::Run => {
                run::run(&mut order, board, &mut inbox.outbox);
                inbox.reuse(order.body);
            }
            _ => process::exit(1),
        }
    }
}

/// Sends the master the reason for which this worker cannot run tasks, and exits.
fn refuse(socket: &OwnedFd, reason: &str) -> ! {
    let mut refused = wire::begin(FrameKind::Refused, 0);
    refused.extend_from_slice(reason.as_bytes());
    wire::finish(&mut refused);
    let _ = socket::send_all(socket, &refused);
    current::exit_now(0)
}

/// Applies the settings in a SETUP; `bind` binds the worker to its master again. If that fails,
/// reports the reason and exits.
fn set_up(frame: &Frame, outbox: &Outbox, bind: &dyn Fn() -> Result<(), String>) {
    let setup = match postcard::from_bytes::<Setup>(&frame.body) {
        Ok(setup) if frame.head.kind == FrameKind::Setup => setup,
        _ => process::exit(1),
    };
    if let Err(mut reason) = setup.apply(bind) {
        wire::cut(&mut reason);
        let mut refused = wire::begin(FrameKind::Refused, frame.head.task);
        refused.extend_from_slice(reason.as_bytes());
        wire::finish(&mut refused);
        outbox.send(&refused, &[]);
        process::exit(0);
    }
}
