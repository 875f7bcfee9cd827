//! The entry before `main`, which decides between the program and its template.
//!
//! The loader calls [`enter`] with the other initialisers of the program. Almost always it finds no
//! variable and returns. It never sleeps, and does not touch variables and descriptors of other
//! code. If it finds the variable, it checks that the variable is genuine:
//!
//! 1. the variable names this very entry: another copy of trine in the same process (in a plug-in,
//!    or a second version) leaves it alone,
//! 2. the variable names a descriptor that is one end of a Unix packet socket pair,
//! 3. the first packet in it is a handshake with the variable's token.
//!
//! If one of these fails, the variable is stale or forged: it is removed, one line reports it, and
//! the program starts normally. If all hold, the process was started to be a template, so it never
//! runs `main`: that would be the program a second time. It goes on as a template if
//!
//! 4. the program has no more rights than its parent (otherwise the parent is not trusted),
//! 5. the pair was made by this process's parent, with this process's user,
//! 6. the handshake holds the fingerprint of this build,
//!
//! and exits otherwise; silently if the master has died in the meantime. A process that fulfils 1
//! to 6 is the parent and runs this very program as this very user; it could as well attach a
//! debugger.

use std::env;
use std::ffi::{c_char, c_int};
use std::io::{self, Write};
use std::os::fd::RawFd;
use std::process;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};

use super::template;
use crate::process::wire::{Handshake, PACKET};
use crate::sys::io::unix_socket::Credentials;
use crate::sys::io::{poll, socket};
use crate::sys::process::image::{self, Initialiser};
use crate::sys::process::{current, descriptors};

/// Name of the variable. Its value is `<descriptor>:<token>:<offset of the entry in the program>`,
/// the latter two in hexadecimal digits.
pub(in crate::process) const VARIABLE: &str = "TRINE_TEMPLATE";

/// The descriptor of a template's socket at its start.
pub(in crate::process) const DESCRIPTOR: RawFd = 3;

/// The loader's entry. `used` keeps it in its object file, [`state`] keeps that file in the
/// program.
#[used]
#[unsafe(link_section = ".init_array")]
static ENTRY: Initialiser = enter;

static RAN: AtomicBool = AtomicBool::new(false);

/// True while the initialisers behind the entry run in a template.
static INITIALISES: AtomicBool = AtomicBool::new(false);

/// The process id of the template that this process is, or was forked from; 0 in a program.
static TEMPLATE: AtomicU32 = AtomicU32::new(0);

/// The result of looking for the entry: the program can be its own template, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The program can be its own template.
    Ready,
    /// trine is in a shared library, so the executable is another program.
    InSharedLibrary,
    /// The loader has not called the entry.
    NotCalled,
}

/// Makes sure that this process may have process tasks.
///
/// # Errors
///
/// Names the cause.
pub(in crate::process) fn check() -> Result<(), String> {
    if INITIALISES.load(Relaxed) {
        return Err(
            "an initialiser that runs before `main` spawned a process task, and runs just \
                    now in the process that only forks workers; spawn it in `main`"
                .into(),
        );
    }
    match state() {
        State::Ready => Ok(()),
        State::InSharedLibrary => Err(
            "process tasks need trine linked into the executable itself; here it is in a shared \
             library, and the program that runs is another one"
                .into(),
        ),
        State::NotCalled => Err(
            "process tasks need the initialisers of the executable (.init_array), and whatever \
             started this program has not run them, or runs them just now: spawn in `main`"
                .into(),
        ),
    }
}

/// Returns true if this process is a template.
pub(in crate::process) fn is_template() -> bool {
    TEMPLATE.load(Relaxed) == process::id()
}

/// Returns the state of the entry. The call makes the linker keep it.
fn state() -> State {
    // SAFETY: reads a static through a reference. No optimiser removes a volatile read, so the
    // linker sees this file used wherever process tasks are.
    let entry = unsafe { std::ptr::read_volatile(&raw const ENTRY) };
    if !image::contains(entry as usize) {
        State::InSharedLibrary
    } else if !RAN.load(Relaxed) {
        State::NotCalled
    } else {
        State::Ready
    }
}

extern "C" fn enter(
    count: c_int,
    arguments: *const *const c_char,
    environment: *const *const c_char,
) {
    RAN.store(true, Relaxed);
    let Some(variable) = env::var_os(VARIABLE) else { return };
    let parsed = variable.to_str().and_then(parse);
    let is_ours = parsed.as_ref().is_none_or(Variable::is_for_this_entry);
    if !is_ours || !image::contains(ENTRY as usize) {
        return;
    }
    // SAFETY: `main` has not run, so there is one thread, unless another initialiser has started
    // one. A thread that reads the environment at this moment would do so through the C library,
    // whose `environ` this changes as `unsetenv` in any initialiser does.
    unsafe { env::remove_var(VARIABLE) };
    let Some(parsed) = parsed else { return warn_stale("it is not of the form that trine writes") };
    match find_handshake(&parsed) {
        Ok(found) => become_template(found, |initialiser| {
            initialiser(count, arguments, environment);
        }),
        Err(reason) => warn_stale(&reason),
    }
}

fn warn_stale(reason: &str) {
    print(&format!("ignoring a stale {VARIABLE} variable: {reason}; the program starts normally"));
}

/// Prints a line to standard error; ignores an error of it.
fn print(text: &str) {
    let _ = writeln!(io::stderr(), "trine: {text}");
}

/// A handshake that waits for this process, and the maker of its socket.
struct Found {
    number: RawFd,
    maker: Credentials,
    handshake: Handshake,
}

/// Checks that the process is meant to be a template. Leaves the handshake in the socket.
fn find_handshake(variable: &Variable) -> Result<Found, String> {
    let number = variable.number;
    // SAFETY: only inspected; the first call refuses a closed number.
    let socket = unsafe { descriptors::inherited(number) };
    let maker = socket::packet_pair_maker(socket)
        .map_err(|error| format!("descriptor {number} is not a template's socket: {error}"))?;
    let mut packet = [0; PACKET];
    let len = socket::peek(socket, &mut packet)
        .map_err(|error| format!("no handshake waits at descriptor {number}: {error}"))?;
    let handshake: Handshake = postcard::from_bytes(&packet[..len])
        .map_err(|_| format!("the packet at descriptor {number} is no handshake"))?;
    if handshake.token != variable.token {
        return Err("its token is not that of the handshake".into());
    }
    Ok(Found { number, maker, handshake })
}

/// Serves as the template, or exits.
fn become_template(found: Found, call: impl Fn(Initialiser)) -> ! {
    let Found { number, maker, handshake } = found;
    // SAFETY: the process that has written the token into both places left the descriptor to this
    // one.
    let socket = unsafe { descriptors::take_inherited(number) };
    let is_parent = maker.pid != 0 && maker.pid == current::parent();
    let refusal = if current::has_raised_rights() {
        "this program runs with more rights than its parent"
    } else if !is_parent && poll::is_hung_up(&socket) {
        // The master has died since then. A template would have ended with it.
        current::exit_now(0)
    } else if !is_parent || maker.user != current::effective_user() {
        "its socket is not of this process's parent"
    } else if handshake.fingerprint != image::fingerprint() {
        "its parent runs another build of this program"
    } else if descriptors::fill_streams().is_err() {
        "a standard stream is closed, and there is no /dev/null to put in its place"
    } else {
        TEMPLATE.store(process::id(), Relaxed);
        // The initialisers after this one (of C++ libraries, of crates that register things before
        // `main`) would otherwise never run in the workers.
        INITIALISES.store(true, Relaxed);
        for initialiser in image::initialisers_behind(ENTRY) {
            call(*initialiser);
        }
        INITIALISES.store(false, Relaxed);
        template::serve(socket, &handshake)
    };
    print(&format!("this process was started to serve process tasks, and cannot: {refusal}"));
    current::exit_now(1)
}

/// The parsed value of the variable.
#[derive(Debug, PartialEq, Eq)]
struct Variable {
    number: RawFd,
    token: u128,
    entry: u64,
}

impl Variable {
    fn is_for_this_entry(&self) -> bool {
        self.entry == own_offset()
    }
}

fn own_offset() -> u64 {
    (ENTRY as usize).wrapping_sub(image::base()) as u64
}

fn parse(variable: &str) -> Option<Variable> {
    let mut parts = variable.split(':');
    let number = parts.next()?.parse().ok().filter(|number| *number > 2)?;
    let (token, entry) = (parts.next()?, parts.next()?);
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if parts.next().is_some() || token.len() != 32 || !digits(token) || !digits(entry) {
        return None;
    }
    let token = u128::from_str_radix(token, 16).ok()?;
    Some(Variable { number, token, entry: u64::from_str_radix(entry, 16).ok()? })
}

/// Formats the value of the variable, for [`parse`].
pub(in crate::process) fn format(token: u128) -> String {
    format!("{DESCRIPTOR}:{token:032x}:{:x}", own_offset())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_value_that_format_writes_is_parsed() {
        let read = parse(&format(77)).unwrap();
        assert!(read.is_for_this_entry());
        assert_eq!((read.number, read.token), (DESCRIPTOR, 77));
        let zeroes = "0".repeat(32);
        assert!(!parse(&format!("3:{zeroes}:1")).unwrap().is_for_this_entry());
        for wrong in [
            "",
            ":",
            "3",
            "3:",
            "3:12",
            "3:12:1",
            "x:Z:1",
            "-1:Z:1",
            "1:Z:1",
            "3:Z:",
            "3:Z",
            "3:+Z:1",
            "99999999999:Z:1",
            "3:Z:1:1",
            "3:Z:10000000000000000",
        ] {
            let wrong = &*wrong.replace('Z', &zeroes);
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_loader_has_called_the_entry() {
        assert_eq!(state(), State::Ready);
    }
}
