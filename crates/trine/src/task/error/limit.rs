//! The limits of a process that can end its task.

use std::fmt;
use std::time::Duration;

/// A limit that ended a process; see [`process::Builder`](crate::process::Builder).
///
/// ```
/// use std::time::Duration;
/// use trine::process::Builder;
/// use trine::{Cause, Limit};
///
/// let task = Builder::new()
///     .cpu_limit(Duration::from_millis(20))
///     .spawn((), |()| -> () { loop { std::hint::spin_loop() } });
/// let error = task.join().unwrap_err();
/// let Cause::Signaled { limit: Some(limit), .. } = error.cause() else { panic!("{error}") };
/// assert_eq!(*limit, Limit::CpuTime(Duration::from_millis(20)));
/// assert_eq!(limit.to_string(), "processor time of 20ms");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// The memory, in bytes.
    Memory(u64),
    /// The processor time.
    CpuTime(Duration),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Memory(most) => write!(f, "memory limit of {}", bytes(*most)),
            Limit::CpuTime(most) => write!(f, "processor time of {most:?}"),
        }
    }
}

/// Formats a number of bytes for people: exact where it is a whole number of MiB or KiB.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["bytes", "KiB", "MiB", "GiB"];
    let unit = (1..UNITS.len()).rev().find(|unit| count >> (10 * unit) != 0).unwrap_or(0);
    let size = 1_u64 << (10 * unit);
    if count.is_multiple_of(size) {
        format!("{} {}", count / size, UNITS[unit])
    } else {
        format!("{:.1} {}", count as f64 / size as f64, UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_the_unit_that_suits_them() {
        let texts = [0, 1023, 1 << 10, 1_500, 512 << 20, (1 << 30) + (1 << 29), 1 << 45].map(bytes);
        let expected =
            ["0 bytes", "1023 bytes", "1 KiB", "1.5 KiB", "512 MiB", "1.5 GiB", "32768 GiB"];
        assert_eq!(texts, expected);
    }
}
