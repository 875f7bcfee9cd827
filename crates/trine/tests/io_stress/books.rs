//! The accounts: counts of all that moves, and the equations that they must satisfy. An error in
//! them ends the program at once.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::process;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

macro_rules! books {
    ($($count:ident),* $(,)?) => {
        #[derive(Default)]
        pub struct Books {
            $(pub $count: AtomicU64,)*
        }

        pub static BOOKS: Books = Books { $($count: AtomicU64::new(0),)* };

        impl fmt::Display for Books {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(write!(f, "{} {}  ", stringify!($count), self.$count.load(Acquire))?;)*
                Ok(())
            }
        }
    };
}

books! {
    steps, connections, storms, given_up_in_queue, sent, checked, lost_to_resets, resets,
    read_timeouts, write_timeouts, cancellations, words, packets, packets_sent_again, exhaustions,
    most_in_flight,
}

pub fn count(counter: &AtomicU64) {
    add(counter, 1);
}

pub fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, AcqRel);
    BOOKS.steps.fetch_add(1, AcqRel);
}

/// Prints the accounts and aborts the program. Bypasses the test harness, which would capture the
/// text.
pub fn fail(what: fmt::Arguments<'_>) -> ! {
    let seed = crate::seeds::seed();
    let mut text = format!("io_stress: {what}\nseed {seed}, {}\n{BOOKS}\n", trine::reactor());
    let tasks = trine::task::list();
    let _ = writeln!(text, "{} tasks in the registry", tasks.len());
    for info in tasks.iter().take(200) {
        let _ = writeln!(text, "  {info} {} of {:?}", info.state, info.parent);
    }
    let _ = std::io::stdout().write_all(text.as_bytes());
    process::abort();
}
