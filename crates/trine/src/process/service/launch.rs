//! Starting the process of a template.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use super::spec::TemplateSpec;
use crate::process::wire::Handshake;
use crate::process::worker::entry;
use crate::process::worker::setup::Preload;
use crate::sys::io::{Blocking, socket};
use crate::sys::process::lifeline::Lifeline;
use crate::sys::process::{child, current, descriptors, image, spawn};
use crate::sys::{limits, random};

/// A running template process, as its master knows it.
pub(super) struct TemplateProcess {
    /// The master's own number of it.
    pub(super) id: u64,
    pub(super) pid: u32,
    pub(super) socket: OwnedFd,
    pub(super) pidfd: OwnedFd,
    /// Its lifeline, if it could change its user; its workers have theirs then.
    pub(super) lifeline: Option<Lifeline>,
    /// True if it has reported that it is ready.
    pub(super) greeted: bool,
    /// True if it has forked a worker.
    pub(super) has_forked: bool,
    /// The moment since which its master waits for a reply, if it does.
    pub(super) awaited: Option<Instant>,
    /// True if it was killed because a reply did not come in time.
    pub(super) overdue: bool,
    /// True if its master has ended it.
    pub(super) dismissed: bool,
}

impl TemplateProcess {
    /// Returns true if workers may be requested from it. A request before it is ready holds
    /// descriptors as long as the preload runs, so a template with a preload takes none until then.
    pub(super) fn takes_requests(&self, spec: &TemplateSpec) -> bool {
        !self.dismissed && !self.overdue && (self.greeted || spec.preload().is_none())
    }

    /// Kills it, and notes that its master has done so.
    pub(super) fn dismiss(&mut self) {
        self.dismissed = true;
        self.kill();
    }

    /// Kills it.
    pub(super) fn kill(&self) {
        if child::kill(&self.pidfd).is_err() {
            // Between requests it ends by itself then.
            socket::hang_up(&self.socket);
            self.lifeline.iter().for_each(Lifeline::cut);
        }
    }
}

/// Starts a template process. Called by the service thread only: the process dies with the thread
/// that started it.
///
/// # Errors
///
/// Names the cause and the remedy.
pub(super) fn start(id: u64, spec: &TemplateSpec) -> Result<TemplateProcess, String> {
    entry::check()?;
    if spec.preload().is_some() && entry::is_template() {
        // Its template would run a preload, and so on without end.
        return Err(
            "preload made a pool with a preload; make it in `initializer` or in a task".into()
        );
    }
    let program = own_program()?;
    let refused = |what| move |error: io::Error| limits::explain_missing(what, &error);
    let null = descriptors::null().map_err(|error| {
        let missing = limits::explain_missing("/dev/null", &error);
        format!("{missing}; it is the standard input of the processes in which tasks run")
    })?;
    let (ours, theirs) =
        socket::packet_pair().map_err(refused("socket for the template process"))?;
    let lifeline = current::may_change_user().then(Lifeline::new).transpose();
    let (lifeline, end) = lifeline.map_err(refused("lifeline for the template process"))?.unzip();
    let token = random::token().map_err(refused("random number for the template process"))?;
    let fingerprint = image::fingerprint();
    let setup = postcard::to_stdvec(spec.setup()).expect("strings only");
    let preload = spec.preload().map(|function| Preload { function, setup: setup.len() });
    let handshake = Handshake { token, fingerprint, master: std::process::id() };
    let packet = postcard::to_stdvec(&(handshake, &preload)).expect("numbers only");
    // Written before the process exists, so that it never has to wait for it.
    let descriptors: Vec<_> = end.iter().map(AsFd::as_fd).collect();
    socket::send_packet(&ours, &packet, &descriptors, Blocking::No)
        .map_err(refused("handshake with the template process"))?;
    if preload.is_some() {
        socket::send_packet(&ours, &setup, &[], Blocking::No)
            .map_err(refused("room for the environment of preload"))?;
    }
    crash_point!("master: handshake written, template not started");
    let variable = (entry::VARIABLE, &*entry::format(token));
    let started = spawn::run_again(&program, variable, null.as_fd(), (&theirs, entry::DESCRIPTOR));
    let pid = started.map_err(|error| {
        let what = format!("process (from {})", program.to_string_lossy());
        limits::explain_refused_task(&what, &error)
    })?;
    crash_point!("master: template started, not watched");
    let pidfd = child::open(pid).map_err(|error| {
        child::kill_and_wait(pid);
        limits::explain_missing("handle for the template process", &error)
    })?;
    Ok(TemplateProcess {
        id,
        pid,
        socket: ours,
        pidfd,
        lifeline,
        greeted: false,
        has_forked: false,
        awaited: Some(Instant::now()),
        overdue: false,
        dismissed: false,
    })
}

/// Returns a path of the file to start, which is this program. Anything else would run its `main` a
/// second time.
///
/// # Errors
///
/// Names the cause.
fn own_program() -> Result<CString, String> {
    if current::has_raised_rights() {
        return Err(
            "process tasks are refused to a program that runs with more rights than the user who \
                    started it (set-user-id, file capabilities): started again, it would have to \
                    trust the messages of a parent that any user may have started"
                .into(),
        );
    }
    let is_own = |file: &File| image::fingerprint_of(file).ok() == Some(image::fingerprint());
    match File::open(PROGRAM) {
        Ok(file) if is_own(&file) => Ok(c_path(PROGRAM)),
        Ok(_) => Err(format!(
            "process tasks need {PROGRAM} to be this program; it is another one, as when a program \
             is started through the dynamic loader (`ld.so PROGRAM`) or an emulator"
        )),
        // A program may be executable and not readable.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(c_path(PROGRAM)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // No `/proc`, or that of another namespace of processes.
            let path = image::started_as().unwrap_or_default();
            if File::open(OsStr::from_bytes(path.to_bytes())).is_ok_and(|file| is_own(&file)) {
                return Ok(path);
            }
            Err(format!(
                "no {PROGRAM} to start: {error}; mount /proc in this namespace of processes \
                 (`unshare --mount-proc`), or start the program by its absolute path: {} is not \
                 its file now",
                path.to_string_lossy()
            ))
        }
        Err(error) => Err(limits::explain_missing(&format!("{PROGRAM} to start"), &error)),
    }
}

/// The file that this process runs, even if its name was removed or leads to a newer file.
const PROGRAM: &str = "/proc/self/exe";

fn c_path(path: &str) -> CString {
    CString::new(path).expect("no byte is 0")
}
