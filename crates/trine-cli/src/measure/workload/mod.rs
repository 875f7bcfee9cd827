//! The real work: every file of a tree, digested as coroutines, on threads and in processes.
//!
//! A plain loop goes first. Its digests are the expected ones, and it brings the files into the
//! page cache, so all three kinds read them from there. Then the loop and the kinds take turns,
//! round after round, so a machine that gets slower or faster meanwhile does so for all of them.
//!
//! | file | contents |
//! |---|---|
//! | `tree.rs` | the list of the files |
//! | `digest.rs` | the function that runs three ways |
//! | `cpu.rs` | CPU time of this program and its children |

mod cpu;
pub(super) mod digest;
pub(crate) mod tree;

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde::Serialize;
use trine::{Executor, Kind, TaskError};

use self::digest::{Outcome, digest};
use self::tree::Tree;
use super::by_kind::{ByKind, kind_as_word};
use super::sample::{Limits, Spread, nanoseconds};

/// The result of the workload.
#[derive(Serialize)]
pub(crate) struct Workload {
    /// The directory.
    pub(crate) input: String,
    /// The number of regular files in it, readable or not.
    pub(crate) files: usize,
    /// Bytes read in one round.
    pub(crate) bytes: u64,
    /// Words counted in one round.
    pub(crate) words: u64,
    /// The files and directories that could not be read.
    pub(crate) unreadable: Vec<Unreadable>,
    /// The same work in a plain loop, without trine.
    pub(crate) plain_loop: Run,
    pub(crate) kinds: ByKind<Run>,
    /// True if every kind had the plain loop's outcome for every file in every round.
    pub(crate) agree: bool,
    /// The number of outcomes that differed, over all kinds and rounds.
    pub(crate) differing: usize,
    /// The first differences.
    pub(crate) differences: Vec<Difference>,
}

#[derive(Serialize)]
pub(crate) struct Unreadable {
    pub(crate) path: String,
    pub(crate) error: String,
}

/// The workload, run one way for a number of rounds.
#[derive(Serialize)]
pub(crate) struct Run {
    /// Wall time of a round, in nanoseconds; a sample is one round.
    pub(crate) wall: Spread,
    /// CPU time of a round in nanoseconds, user and system, of this program and its workers.
    pub(crate) cpu: Spread,
    /// Bytes a second, by the median of the wall time.
    pub(crate) bytes_per_second: f64,
}

/// A file whose outcome differed.
#[derive(Serialize)]
pub(crate) struct Difference {
    #[serde(with = "kind_as_word")]
    pub(crate) kind: Kind,
    pub(crate) path: String,
    /// The outcome of the plain loop.
    pub(crate) expected: String,
    /// The outcome of this kind.
    pub(crate) got: String,
}

/// The number of differences that are kept.
const DIFFERENCES_SHOWN: usize = 20;

/// Returns the steps of progress that [`measure`] makes.
pub(crate) fn steps(limits: &Limits) -> u64 {
    (1 + 4 * limits.rounds) as u64
}

/// The times of the rounds of one way to run the workload.
#[derive(Clone, Default)]
struct Times {
    wall: Vec<f64>,
    cpu: Vec<f64>,
}

impl Times {
    /// Times one round.
    fn round<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (cpu, wall) = (cpu::Stopwatch::start(), Instant::now());
        let result = work();
        self.wall.push(nanoseconds(wall.elapsed()));
        self.cpu.push(nanoseconds(cpu.elapsed()));
        result
    }

    fn into_run(self, bytes: u64) -> Run {
        let (wall, cpu) = (Spread::of(self.wall, 1), Spread::of(self.cpu, 1));
        Run { wall, cpu, bytes_per_second: bytes as f64 / (wall.median / 1e9) }
    }
}

/// Runs the workload all four ways, in turns.
pub(crate) fn measure(tree: &Tree, limits: &Limits, progress: &ProgressBar) -> Workload {
    progress.set_message("workload: reading the files for the first time");
    let expected: Vec<Outcome> = tree.files.iter().cloned().map(digest).collect();
    progress.inc(1);
    let mut found = Comparison { tree, expected: &expected, differing: 0, differences: Vec::new() };
    let mut plain_loop = Times::default();
    let mut kinds = ByKind::<Times>::default();

    let start = Instant::now();
    for round in 0..limits.rounds {
        if round > 0 && over_budget(start.elapsed(), round, limits) {
            progress.inc(4 * (limits.rounds - round) as u64);
            break;
        }
        progress.set_message(format!("workload, round {}: plain loop", round + 1));
        let paths = tree.files.clone();
        plain_loop.round(|| paths.into_iter().map(digest).for_each(drop));
        progress.inc(1);
        for kind in Kind::ALL {
            progress.set_message(format!("workload, round {}: {kind}", round + 1));
            let paths = tree.files.clone();
            let outcomes: Vec<_> = kinds.get_mut(kind).round(|| kind.map(paths, digest).collect());
            found.compare(kind, outcomes);
            progress.inc(1);
        }
    }

    let digests = expected.iter().flatten();
    let (bytes, words) = digests.fold((0, 0), |(b, w), d| (b + d.bytes, w + d.words));
    Workload {
        input: std::path::absolute(&tree.root).unwrap_or(tree.root.clone()).display().to_string(),
        files: tree.files.len(),
        bytes,
        words,
        unreadable: unreadable(tree, &expected),
        plain_loop: plain_loop.into_run(bytes),
        kinds: kinds.map(|times| times.into_run(bytes)),
        agree: found.differing == 0,
        differing: found.differing,
        differences: found.differences,
    }
}

/// Returns true if one more round like those before would exceed the budget.
fn over_budget(elapsed: Duration, rounds: usize, limits: &Limits) -> bool {
    elapsed + elapsed / rounds as u32 > limits.workload_budget
}

fn unreadable(tree: &Tree, expected: &[Outcome]) -> Vec<Unreadable> {
    let directories =
        tree.unlisted.iter().map(|(path, error)| (path.display().to_string(), error.clone()));
    let files = tree.files.iter().zip(expected).filter_map(|(path, outcome)| {
        let error = outcome.as_ref().err()?.clone();
        Some((path.display().to_string(), error))
    });
    directories.chain(files).map(|(path, error)| Unreadable { path, error }).collect()
}

/// A comparison of the outcomes of the kinds with those of the plain loop.
struct Comparison<'a> {
    tree: &'a Tree,
    expected: &'a [Outcome],
    differing: usize,
    differences: Vec<Difference>,
}

impl Comparison<'_> {
    fn compare(&mut self, kind: Kind, outcomes: Vec<Result<Outcome, TaskError>>) {
        let mut outcomes = outcomes.into_iter();
        for (path, expected) in self.tree.files.iter().zip(self.expected) {
            let got = match outcomes.next() {
                Some(Ok(outcome)) if outcome == *expected => continue,
                Some(Ok(outcome)) => text(&outcome),
                Some(Err(error)) => error.to_string(),
                None => "no result at all".into(),
            };
            let path = path.display().to_string();
            self.note(Difference { kind, path, expected: text(expected), got });
        }
        for surplus in outcomes {
            let got = surplus.map_or_else(|error| error.to_string(), |outcome| text(&outcome));
            let expected = "no further result".into();
            self.note(Difference { kind, path: String::new(), expected, got });
        }
    }

    fn note(&mut self, difference: Difference) {
        self.differing += 1;
        if self.differences.len() < DIFFERENCES_SHOWN {
            self.differences.push(difference);
        }
    }
}

fn text(outcome: &Outcome) -> String {
    match outcome {
        Ok(digest) => digest.to_string(),
        Err(error) => error.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_a_wrong_and_a_surplus_result_are_reported() {
        let tree =
            Tree { root: "/".into(), files: vec!["/a".into(), "/b".into()], unlisted: Vec::new() };
        let digest = |words| Ok(digest::Digest { bytes: 1, words, sha256: [0; 32] });
        let expected = [digest(1), digest(2)];
        let mut found =
            Comparison { tree: &tree, expected: &expected, differing: 0, differences: Vec::new() };

        found.compare(Kind::Thread, vec![Ok(digest(1)), Ok(digest(2))]);
        assert_eq!(found.differing, 0);
        found.compare(Kind::Thread, vec![Ok(digest(1)), Ok(digest(3))]);
        found.compare(Kind::Process, vec![Ok(digest(1))]);
        found.compare(Kind::Coroutine, vec![Ok(digest(1)), Ok(digest(2)), Ok(digest(2))]);
        let differences: Vec<_> =
            found.differences.iter().map(|d| (d.kind, d.path.as_str())).collect();
        assert_eq!(
            differences,
            [(Kind::Thread, "/b"), (Kind::Process, "/b"), (Kind::Coroutine, "")]
        );
    }
}
