//! Backtraces that are cheap to take and can cross to another process of the same program.
//!
//! Capturing one walks the stack and notes addresses (microseconds). Names and lines are looked up
//! when it is printed (milliseconds, once). An address within the program travels as its offset
//! from the load address, so the process that prints a worker's backtrace can resolve it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::sys::process::image;

/// The most frames noted: deep recursion repeats itself, and a record has to stay small.
const MOST: usize = 128;

/// The stack of calls that led to a panic, innermost first. Print it with `{}`.
///
/// ```
/// use trine::{Cause, thread};
///
/// let error = thread::spawn(|| panic!("no luck")).join().unwrap_err();
/// let Cause::Panicked { backtrace, .. } = error.cause() else { panic!("{error}") };
/// println!("{backtrace}"); // "   0: program::main::{closure#0}\n   at src/main.rs:3:31\n…"
/// assert!(!backtrace.is_empty());
/// ```
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Backtrace {
    frames: Vec<Frame>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Frame {
    /// In the program's own image: the same offset in every process of the program.
    Own(usize),
    /// In a shared library of the process `pid`: resolved only there.
    Foreign { pid: u32, address: usize },
}

impl Frame {
    fn new(pid: u32, address: usize) -> Frame {
        if image::contains(address) {
            Frame::Own(address - image::base())
        } else {
            Frame::Foreign { pid, address }
        }
    }
}

impl Backtrace {
    /// Captures the stack of the caller.
    pub(crate) fn capture() -> Backtrace {
        let pid = std::process::id();
        let mut frames = Vec::with_capacity(32);
        backtrace::trace(|frame| {
            frames.push(Frame::new(pid, frame.ip() as usize));
            frames.len() < MOST
        });
        Backtrace { frames }
    }

    /// Makes a backtrace of return addresses that were found in another way, innermost first.
    pub(crate) fn from_addresses(addresses: &[usize]) -> Backtrace {
        let pid = std::process::id();
        Backtrace { frames: addresses.iter().take(MOST).map(|&at| Frame::new(pid, at)).collect() }
    }

    /// Cuts the backtrace to the frames that a capture notes at most. Another process may have sent
    /// any number of them, and each takes time to print.
    pub(crate) fn bounded(mut self) -> Backtrace {
        self.frames.truncate(MOST);
        self
    }

    /// Returns true if no frame could be noted.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

/// One line of a printed backtrace.
struct Line {
    function: String,
    place: Option<String>,
}

/// Appends the lines of a frame: several if functions were inlined.
fn resolve(frame: Frame, lines: &mut Vec<Line>) {
    let address = match frame {
        // Another process may have sent any offset.
        Frame::Own(offset) => image::base().wrapping_add(offset),
        Frame::Foreign { pid, address } if pid == std::process::id() => address,
        Frame::Foreign { address, .. } => {
            let function = format!("<{address:#x} in a shared library of the worker>");
            return lines.push(Line { function, place: None });
        }
    };
    let before = lines.len();
    backtrace::resolve(address as *mut _, |symbol| {
        let place = symbol.filename().map(|file| match symbol.lineno() {
            Some(line) => format!("{}:{line}", file.display()),
            None => file.display().to_string(),
        });
        let function = symbol.name().map_or_else(|| "<unknown>".into(), |name| format!("{name:#}"));
        lines.push(Line { function, place });
    });
    if lines.len() == before {
        lines.push(Line { function: format!("<{address:#x}>"), place: None });
    }
}

/// Returns true for a function of the panic machinery, between the panic and this crate's hook.
fn is_machinery(function: &str) -> bool {
    [
        "rust_begin_unwind",
        "core::panicking::panic",
        "std::panicking::begin_panic",
        "rust_panic_with_hook",
    ]
    .iter()
    .any(|part| function.contains(part))
}

/// Returns true for a function in which tasks begin. Its callers belong to the runtime.
fn is_task_entry(function: &str) -> bool {
    [
        "trine::task::failure::catch",
        "trine::process::task::function::call",
        "trine::process::worker::",
    ]
    .iter()
    .any(|entry| function.contains(entry))
}

impl fmt::Display for Backtrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        for &frame in &self.frames {
            resolve(frame, &mut lines);
        }
        // Begin behind the panic machinery, which calls our hook.
        let first = lines
            .iter()
            .take(24)
            .rposition(|line| is_machinery(&line.function))
            .map_or(0, |at| at + 1);
        // The innermost frame is always shown: the task's function may be inlined into its entry.
        let rest = lines.get(first + 1..).unwrap_or_default();
        let own = rest.iter().take_while(|line| !is_task_entry(&line.function));
        for (number, line) in lines.get(first).into_iter().chain(own).enumerate() {
            writeln!(f, "{number:4}: {}", line.function)?;
            if let Some(place) = &line.place {
                writeln!(f, "             at {place}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Backtrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backtrace({} frames)", self.frames.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backtrace_names_its_caller_after_a_trip_over_the_wire() {
        let bytes = postcard::to_stdvec(&Backtrace::capture()).unwrap();
        let back: Backtrace = postcard::from_bytes(&bytes).unwrap();
        let text = back.to_string();
        assert!(text.contains("a_backtrace_names_its_caller"), "{text}");
    }

    #[test]
    fn a_backtrace_of_another_process_is_bounded_and_prints() {
        let frames = vec![Frame::Own(usize::MAX); 1000];
        let bytes = postcard::to_stdvec(&Backtrace { frames }).unwrap();
        let back = postcard::from_bytes::<Backtrace>(&bytes).unwrap().bounded();
        assert_eq!(back.frames.len(), MOST);
        assert!(!back.to_string().is_empty());
    }
}
