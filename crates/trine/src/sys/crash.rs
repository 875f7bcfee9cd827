//! Crash points: a process is killed at a labelled step, for tests of what it leaves behind.
//!
//! The variable `TRINE_CRASH_POINT` holds `label@side:n`: a process of that side (`master`,
//! `template`, `worker`) that reaches the step for the n-th time is killed by SIGKILL. This happens
//! once in a whole run: the process that makes the file `fired` in the folder `TRINE_CRASH_DIR`
//! dies.

use std::env;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU32};

use rustix::process::{self, Signal};

/// The role of the calling process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Side {
    Master,
    Template,
    Worker,
}

struct Armed {
    label: String,
    side: u8,
    passage: u32,
    mark: PathBuf,
}

static SIDE: AtomicU8 = AtomicU8::new(Side::Master as u8);
static PASSED: AtomicU32 = AtomicU32::new(0);

/// Sets the role of the calling process, and its number of passages to 0.
pub(crate) fn set_side(side: Side) {
    SIDE.store(side as u8, Relaxed);
    PASSED.store(0, Relaxed);
}

/// Marks a step that the calling process reaches.
pub(crate) fn point(label: &str) {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    let Some(armed) = ARMED.get_or_init(read) else { return };
    let is_meant = armed.label == label && armed.side == SIDE.load(Relaxed);
    if is_meant
        && PASSED.fetch_add(1, Relaxed) + 1 == armed.passage
        && OpenOptions::new().write(true).create_new(true).open(&armed.mark).is_ok()
    {
        let _ = process::kill_process(process::getpid(), Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

fn read() -> Option<Armed> {
    let point = env::var("TRINE_CRASH_POINT").ok()?;
    let (label, rest) = point.split_once('@')?;
    let (side, passage) = rest.split_once(':')?;
    let side = match side {
        "master" => Side::Master,
        "template" => Side::Template,
        "worker" => Side::Worker,
        _ => return None,
    };
    let mark = PathBuf::from(env::var_os("TRINE_CRASH_DIR")?).join("fired");
    let passage = passage.parse().ok()?;
    Some(Armed { label: label.to_owned(), side: side as u8, passage, mark })
}
