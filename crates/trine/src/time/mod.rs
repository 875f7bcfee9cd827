//! Time: sleeping, ticking and limits for calls that wait.

mod interval;
mod sleep;
mod timeout;

pub use interval::{Interval, MissedTicks, interval, interval_at};
pub use sleep::{sleep, sleep_until};
pub use timeout::{TimedOut, timeout};
