//! Replays a crash capsule, in place of the program's `main`.
//!
//! Like the entry of templates, an initialiser of the program looks for a variable before `main`.
//! A process that finds it becomes an ordinary master: it starts a pool of one worker with the
//! recorded settings, and runs the one task. With `here:`, it runs the task by itself.

use std::env;
use std::ffi::{OsStr, OsString, c_char, c_int};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process;

use super::capsule::contents::{Argument, Call, Contents, Program};
use super::capsule::settings::Settings;
use super::capsule::{Capsule, Replay, VARIABLE};
use super::pool::builder::PoolBuilder;
use super::task::value::CodecError;
use super::worker::setup;
use crate::sys::process::current;
use crate::sys::process::image::{self, Initialiser};
use crate::task::registry::{self, Entry};
use crate::task::slot::RUNNABLE;
use crate::task::{Kind, TaskError, failure};

/// The loader's entry for replays. `used` keeps it in its object file; [`link`] keeps that file in
/// each program whose pools keep capsules.
#[used]
#[unsafe(link_section = ".init_array")]
static ENTRY: Initialiser = enter;

/// Makes the linker keep the entry.
pub(super) fn link() {
    // SAFETY: reads a static through a reference. No optimiser removes a volatile read.
    let _ = unsafe { std::ptr::read_volatile(&raw const ENTRY) };
}

extern "C" fn enter(
    count: c_int,
    arguments: *const *const c_char,
    environment: *const *const c_char,
) {
    let Some(variable) = env::var_os(VARIABLE) else { return };
    if !image::contains(ENTRY as usize) {
        return;
    }
    // SAFETY: `main` has not run, so there is one thread, unless another initialiser has started
    // one. A thread that reads the environment at this moment would do so through the C library,
    // whose `environ` this changes as `unsetenv` in any initialiser does.
    unsafe { env::remove_var(VARIABLE) };
    // The process never returns to the loader, and the task may need them.
    for initialiser in image::initialisers_behind(ENTRY) {
        initialiser(count, arguments, environment);
    }
    let code = match replay(&variable) {
        Ok(code) => code,
        Err(reason) => {
            print(&format!("cannot replay {VARIABLE}={}: {reason}", variable.display()));
            Capsule::REFUSED
        }
    };
    process::exit(code);
}

/// Prints a line to standard error; ignores an error of it.
fn print(text: &str) {
    let _ = writeln!(io::stderr(), "trine: {text}");
}

/// Returns the exit code.
///
/// # Errors
///
/// Describes why the capsule cannot be replayed.
fn replay(variable: &OsStr) -> Result<i32, String> {
    let (replay, file) = parse(variable).ok_or("it is not `worker:FILE` or `here:FILE`")?;
    if current::has_raised_rights() {
        return Err("this program has more rights than its parent, which chose the file".into());
    }
    let contents = Contents::read(file).map_err(|error| error.to_string())?;
    if contents.program.fingerprint != image::fingerprint() {
        let path = Path::new(&contents.program.path).display();
        return Err(format!("it needs the very build that recorded it, which was {path}"));
    }
    let settings = Settings::decode(&contents.settings)?;
    let Contents { program, call, end, .. } = contents;
    let missing = |reason| format!("it does not hold the task's argument: {reason}");
    let argument = call.argument.clone().map_err(missing)?;
    restore(&program)?;
    failure::install_hook();
    let outcome = match replay {
        Replay::Worker => in_worker(settings, &call, argument)?,
        Replay::Here => here(settings, &call, argument, Path::new(&program.directory))?,
    };
    match &outcome {
        Ok(()) => print("the task returned a value this time"),
        Err(error) if error.cause().to_string() == end.cause => {
            print(&format!("{error} (as recorded)"));
        }
        Err(error) => print(&format!("{error} (recorded: it {})", end.cause)),
    }
    Ok(if outcome.is_ok() { 0 } else { Capsule::FAILED })
}

/// Parses the value of the variable.
fn parse(variable: &OsStr) -> Option<(Replay, &Path)> {
    let bytes = variable.as_bytes();
    let (replay, file) = match bytes.strip_prefix(b"worker:") {
        Some(file) => (Replay::Worker, file),
        None => (Replay::Here, bytes.strip_prefix(b"here:")?),
    };
    Some((replay, Path::new(OsStr::from_bytes(file))))
}

/// Restores the directory and the environment of the program.
///
/// # Errors
///
/// The directory cannot be entered.
fn restore(program: &Program) -> Result<(), String> {
    enter_directory(Path::new(&program.directory))?;
    let is_variable = |(key, value): &(OsString, OsString)| setup::is_variable(key, value);
    for (key, _) in env::vars_os().filter(is_variable) {
        // SAFETY: as in `enter`: `main` has not run.
        unsafe { env::remove_var(key) };
    }
    for (key, value) in program.environment.iter().filter(|pair| is_variable(pair)) {
        // SAFETY: as above.
        unsafe { env::set_var(key, value) };
    }
    Ok(())
}

fn enter_directory(directory: &Path) -> Result<(), String> {
    let refused = |error| format!("cannot enter the directory {}: {error}", directory.display());
    env::set_current_dir(directory).map_err(refused)
}

/// Runs the task in the worker of a pool.
///
/// # Errors
///
/// There is no memory for its argument.
fn in_worker(
    settings: Settings,
    call: &Call,
    argument: Argument,
) -> Result<Result<(), TaskError>, String> {
    let pool = PoolBuilder::of_capsule(settings, call.limit).build();
    Ok(pool.replay(call, argument)?.join())
}

/// Runs the task in this process, on this thread.
///
/// # Errors
///
/// A setting cannot be applied; the text says why.
fn here(
    settings: Settings,
    call: &Call,
    argument: Argument,
    directory: &Path,
) -> Result<Result<(), TaskError>, String> {
    // SAFETY: the offsets were recorded by the same build; `replay` has compared the fingerprints.
    let function =
        unsafe { call.function.resolve() }.ok_or("its function is not in this program")?;
    if let Some(preload) = settings.preload {
        settings.setup.for_template().apply(&|| Ok(()))?;
        // SAFETY: as above.
        unsafe { preload.run("preload") }?;
        // Workers begin in the program's directory, whatever the preload has done.
        enter_directory(directory)?;
    }
    settings.setup.apply(&|| Ok(()))?;
    let name = call.name.as_deref().map(Into::into);
    let entry = Entry::new(Kind::Process, name, call.place());
    entry.slot.set_os_id(process::id());
    entry.slot.set_state(RUNNABLE);
    let (bytes, descriptors) = argument.unpack()?;
    registry::set_current(Some(entry.slot));
    let info = || entry.slot.info();
    let outcome =
        failure::catch(info, || function.call(&bytes, &mut descriptors.into(), &mut Vec::new()));
    registry::set_current(None);
    let error = |error: CodecError| TaskError::new(error.into_cause(), entry.slot.info());
    Ok(outcome.and_then(|called| called.map(drop).map_err(error)))
}
