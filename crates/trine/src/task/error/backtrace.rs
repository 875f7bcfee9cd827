//! Backtraces that are cheap to take and can cross to another process of the same program.
//!
//! Taking one walks the stack and notes addresses (microseconds); names and lines are looked up when
//! it is printed (milliseconds, once). An address within the program travels as its offset from the
//! load address, so a worker's backtrace is resolved by whoever prints it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::sys::process::image;

/// Frames noted at the most: deep recursion repeats itself, and a record has to stay small.
const MOST: usize = 128;

/// Where a panic came from: the stack of calls, innermost first. Print it with `{}`.
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
    /// Notes the stack of the caller.
    pub(crate) fn capture() -> Backtrace {
        let pid = std::process::id();
        let mut frames = Vec::with_capacity(32);
        backtrace::trace(|frame| {
            frames.push(Frame::new(pid, frame.ip() as usize));
            frames.len() < MOST
        });
        Backtrace { frames }
    }

    /// A stack that was found in another way, innermost first; the addresses are return addresses.
    pub(crate) fn from_addresses(addresses: &[usize]) -> Backtrace {
        let pid = std::process::id();
        Backtrace { frames: addresses.iter().take(MOST).map(|&at| Frame::new(pid, at)).collect() }
    }

    /// Whether no frame could be noted.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

/// One line of a printed backtrace.
struct Line {
    function: String,
    place: Option<String>,
}

fn resolve(frame: Frame, lines: &mut Vec<Line>) {
    let address = match frame {
        Frame::Own(offset) => image::base() + offset,
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

/// The panic machinery that stands between the panic and this crate's hook.
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

/// The frames in which tasks begin; what called them is the runtime's own business.
fn is_task_entry(function: &str) -> bool {
    ["trine::task::failure::catch", "trine::process::function::call", "trine::process::worker::"]
        .iter()
        .any(|entry| function.contains(entry))
}

impl fmt::Display for Backtrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        for &frame in &self.frames {
            resolve(frame, &mut lines);
        }
        // Begin behind the panic machinery, which our hook stands in.
        let first = lines
            .iter()
            .take(24)
            .rposition(|line| is_machinery(&line.function))
            .map_or(0, |at| at + 1);
        // The innermost is shown in any case: the task's function may be inlined into its entry.
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
}
