//! A poisoned item among good ones: an item that panics, then an item that crashes.
//!
//! Each scene runs in a program of its own, the same for all three kinds. The program maps
//! [`ITEMS`] items, one of them poisoned, and sends each result when it is ready. So the results
//! that a crash destroys are missing, and `measure` itself survives.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;

use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use trine::{Cause, Executor, Kind};

use super::by_kind::kind_as_word;
use super::part::{self, Ended};
use super::request::{Item, Poison, Request};
use super::workload::digest::{self, digest};
use super::workload::tree::Tree;

/// The result of an item, or its failure.
#[derive(Serialize, Deserialize)]
enum Answer {
    Result(digest::Outcome),
    Failed(Failure),
}

/// A `TaskError` in words.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// The index of the item, from 0.
    pub(crate) item: usize,
    /// `panicked`, `signaled`, `exited`, `stack_overflow`, `not_spawned`, `codec` or `other`.
    pub(crate) cause: String,
    /// The number of the signal, if a signal was the cause.
    pub(crate) signal: Option<i32>,
    pub(crate) text: String,
}

/// The outcome of a poisoned item with one kind.
#[derive(Serialize)]
pub(crate) struct Scene {
    pub(crate) poison: Poison,
    #[serde(with = "kind_as_word")]
    pub(crate) kind: Kind,
    /// The number of items, one of them poisoned.
    pub(crate) items: usize,
    /// The number of right results.
    pub(crate) results: usize,
    /// The number of wrong results.
    pub(crate) wrong: usize,
    pub(crate) failures: Vec<Failure>,
    /// True if the program that ran the tasks was successful.
    pub(crate) survived: bool,
    /// The signal that killed the program, if one did.
    pub(crate) signal: Option<i32>,
    /// The program's failure, if it was neither successful nor killed by a signal.
    pub(crate) error: Option<String>,
    /// True if the kind kept its promise.
    pub(crate) as_expected: bool,
}

/// The steps of progress that [`measure`] makes.
pub(crate) const STEPS: u64 = 6;

/// Items of a scene: files of the workload.
const ITEMS: usize = 64;
/// The index of the poisoned item.
const POISONED: usize = 32;

/// Runs all scenes.
pub(crate) fn measure(tree: &Tree, progress: &ProgressBar) -> Vec<Scene> {
    let scenes = [Poison::Panic, Poison::Crash]
        .into_iter()
        .flat_map(|poison| Kind::ALL.map(|kind| (poison, kind)));
    scenes
        .map(|(poison, kind)| {
            progress.set_message(format!("a poisoned item: {kind}"));
            let scene = run_scene(tree, poison, kind);
            progress.inc(1);
            scene
        })
        .collect()
}

/// Returns the first [`ITEMS`] files that are not large, so that a scene is short. If there are
/// fewer, the list repeats them.
fn some_files(tree: &Tree) -> Vec<OsString> {
    const LARGE: u64 = 1 << 20;
    let size = |path: &OsString| std::fs::metadata(path).map_or(u64::MAX, |found| found.len());
    let mut files: Vec<_> =
        tree.files.iter().filter(|path| size(path) <= LARGE).take(ITEMS).collect();
    if files.is_empty() {
        files.extend(tree.files.iter().min_by_key(|path| size(path)));
    }
    files.into_iter().cycle().take(ITEMS).cloned().collect()
}

fn run_scene(tree: &Tree, poison: Poison, kind: Kind) -> Scene {
    let files = some_files(tree);
    let expected: Vec<digest::Outcome> = files.iter().cloned().map(digest).collect();
    let mut items: Vec<Item> = files.into_iter().map(Item::File).collect();
    items[POISONED] = Item::Poisoned(poison);

    let mut scene = Scene {
        poison,
        kind,
        items: ITEMS,
        results: 0,
        wrong: 0,
        failures: Vec::new(),
        survived: false,
        signal: None,
        error: None,
        as_expected: false,
    };
    let mut item = 0;
    let ended = part::ask(&Request::Poison { kind, items }, |answer| {
        match answer {
            Answer::Result(outcome) if item != POISONED && expected.get(item) == Some(&outcome) => {
                scene.results += 1;
            }
            Answer::Result(_) => scene.wrong += 1,
            Answer::Failed(failure) => scene.failures.push(failure),
        }
        item += 1;
    });
    match ended {
        Ok(Ended { status, .. }) if status.success() => scene.survived = true,
        Ok(Ended { status, .. }) if status.signal().is_some() => scene.signal = status.signal(),
        Ok(ended) => scene.error = ended.check().err().map(|error| error.to_string()),
        Err(error) => scene.error = Some(error.to_string()),
    }
    scene.as_expected = scene.keeps_promise();
    scene
}

impl Scene {
    pub(crate) fn is_as_expected(&self) -> bool {
        self.as_expected
    }

    /// Returns true if the kind kept its promise. A panic fails only its own task, in every kind.
    /// A crash fails only its own task in a process; with coroutines and threads it kills the
    /// program.
    fn keeps_promise(&self) -> bool {
        let one_failed = |cause: &str, signal: Option<i32>| {
            let good_failure = matches!(
                self.failures.as_slice(),
                [only] if only.item == POISONED && only.cause == cause && only.signal == signal
            );
            self.survived && self.results == ITEMS - 1 && good_failure
        };
        self.wrong == 0
            && match (self.poison, self.kind) {
                (Poison::Panic, _) => one_failed("panicked", None),
                (Poison::Crash, Kind::Process) => one_failed("signaled", Some(SIGSEGV)),
                (Poison::Crash, Kind::Coroutine | Kind::Thread) => {
                    self.signal == Some(SIGSEGV) && self.failures.is_empty()
                }
            }
    }
}

const SIGSEGV: i32 = rustix::process::Signal::SEGV.as_raw();

/// Maps the items and sends the results: the work of a scene's program.
pub(crate) fn answer(kind: Kind, items: Vec<Item>) -> anyhow::Result<()> {
    for (item, result) in kind.map(items, digest_or_die).enumerate() {
        part::send(&match result {
            Ok(outcome) => Answer::Result(outcome),
            Err(error) => {
                let (cause, signal) = in_words(error.cause());
                Answer::Failed(Failure {
                    item,
                    cause: cause.into(),
                    signal,
                    text: error.to_string(),
                })
            }
        })?;
    }
    Ok(())
}

fn in_words(cause: &Cause) -> (&'static str, Option<i32>) {
    match cause {
        Cause::Panicked { .. } => ("panicked", None),
        Cause::Signaled { signal, .. } => ("signaled", Some(*signal)),
        Cause::Exited { .. } => ("exited", None),
        Cause::StackOverflow => ("stack_overflow", None),
        Cause::NotSpawned { .. } => ("not_spawned", None),
        Cause::Codec { .. } => ("codec", None),
        _ => ("other", None),
    }
}

fn digest_or_die(item: Item) -> digest::Outcome {
    match item {
        Item::File(path) => digest(path),
        Item::Poisoned(Poison::Panic) => panic!("this item is poisoned"),
        Item::Poisoned(Poison::Crash) => dereference_null(),
    }
}

/// Crashes on purpose: reads a field behind a null pointer, which ends the program with SIGSEGV.
fn dereference_null() -> ! {
    /// The address of a field of a structure at address 0. Not 0 itself, because debug assertions
    /// catch a null pointer before it is used.
    const FIELD: *const u8 = std::ptr::without_provenance(8);
    // SAFETY: the kernel maps nothing into the first page (`vm.mmap_min_addr`), so the only effect
    // of the read is the intended fault; `volatile` keeps the compiler from assuming otherwise.
    let byte = unsafe { FIELD.read_volatile() };
    unreachable!("address 8 could be read and holds {byte}")
}
