//! The sentences below the tables: what the figures say, and which of them say little.

use std::fmt::Write;

use trine::Kind;

use super::unit;
use crate::measure::by_kind::ByKind;
use crate::measure::costs::{Figure, Row, Unit};
use crate::measure::poison::Scene;
use crate::measure::request::Poison;
use crate::measure::sample::Spread;
use crate::measure::workload::Workload;

/// The row by which the kinds are compared.
const COMPARED: &str = "create_join";

/// Compares the kinds by the cost of a task, and names the figures that are unsteady.
pub(crate) fn costs(rows: &[Row]) -> String {
    let compared = rows.iter().find(|row| row.name == COMPARED);
    let mut text = compared.and_then(|row| compare(&row.kinds)).unwrap_or_default();
    let mut unsteady = Vec::new();
    for row in rows.iter().filter(|row| matches!(row.unit, Unit::Nanoseconds)) {
        for (kind, cell) in row.kinds.each() {
            if let Figure::Measured(spread) = &cell.figure {
                unsteady.extend(tenfold(&format!("{}, {kind}", row.title), spread));
            }
        }
    }
    text += &warning(&unsteady);
    text
}

fn compare(kinds: &ByKind<crate::measure::costs::Cell>) -> Option<String> {
    let median = |kind: Kind| match &kinds.each().into_iter().find(|it| it.0 == kind)?.1.figure {
        Figure::Measured(spread) => Some(spread.median),
        Figure::Failed { .. } => None,
    };
    let coroutine = median(Kind::Coroutine)?;
    Some(format!(
        "A coroutine is created and joined in {}; a thread takes {} that time, a process {}.\n",
        unit::TIME.show(coroutine),
        unit::times(median(Kind::Thread)? / coroutine),
        unit::times(median(Kind::Process)? / coroutine),
    ))
}

/// Names a figure that says little: its samples differ by a factor of ten.
fn tenfold(what: &str, spread: &Spread) -> Option<String> {
    let (min, p95) = (unit::TIME.show(spread.min), unit::TIME.show(spread.p95));
    spread.is_unsteady().then(|| format!("{what} ({min} … {p95})"))
}

/// Warns of the figures that say little, if there are any.
fn warning(unsteady: &[String]) -> String {
    if unsteady.is_empty() {
        return String::new();
    }
    format!(
        "UNSTEADY, tenfold and more: {}. Measure again on an idle machine, without --quick.\n",
        unsteady.join("; ")
    )
}

/// Names the fastest way to run the workload, and compares it to the plain loop.
pub(crate) fn workload(workload: &Workload) -> String {
    let plain = &workload.plain_loop.wall;
    let mut runs = workload.kinds.each().map(|(kind, run)| (kind, &run.wall));
    runs.sort_by(|one, other| one.1.median.total_cmp(&other.1.median));
    let (kind, fastest) = runs[0];
    let mut text = if fastest.median < plain.median {
        format!(
            "Fastest: {kind}, {} as fast as the plain loop.\n",
            unit::times(plain.median / fastest.median)
        )
    } else {
        "No kind is faster than the plain loop: to distribute this work costs more than it saves.\n"
            .into()
    };
    let kinds = runs.iter().filter_map(|(kind, wall)| tenfold(&kind.to_string(), wall));
    let unsteady: Vec<_> = tenfold("plain loop", plain).into_iter().chain(kinds).collect();
    text += &warning(&unsteady);
    text
}

/// Says what a panic and a crash cost.
pub(crate) fn poison(scenes: &[Scene]) -> String {
    let mut text = String::new();
    for scene in scenes.iter().filter(|scene| !scene.as_expected) {
        let what = match scene.poison {
            Poison::Panic => "a panic",
            Poison::Crash => "a crash",
        };
        let _ = writeln!(text, "NOT AS EXPECTED: {what}, run as {}.", scene.kind);
    }
    if text.is_empty() {
        text += "A panic costs one task, with every kind. A crash costs one task if it is a \
                 process, and otherwise the program.\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::costs::Cell;

    fn row(times: [f64; 3]) -> Row {
        let mut times = times.into_iter();
        let kinds = ByKind::from_fn(|_| {
            let time = times.next().unwrap();
            Cell { how: "", figure: Figure::Measured(Spread::of(vec![time; 3], 1)) }
        });
        Row { name: COMPARED, title: "create + join", unit: Unit::Nanoseconds, kinds }
    }

    #[test]
    fn the_kinds_are_compared_to_a_coroutine() {
        assert_eq!(
            costs(&[row([1000.0, 6500.0, 900_000.0])]),
            "A coroutine is created and joined in 1.00 µs; a thread takes 6.50 × that time, a \
             process 900 ×.\n"
        );
    }

    #[test]
    fn a_tenfold_spread_is_named() {
        let mut unsteady = row([1.0, 1.0, 1.0]);
        let spread = Spread::of(vec![500.0, 600.0, 9000.0], 1);
        unsteady.kinds.thread.figure = Figure::Measured(spread);
        let text = costs(&[unsteady]);
        assert_eq!(text.matches("UNSTEADY").count(), 1, "{text}");
        assert!(text.contains("create + join, thread (500 ns … 9.00 µs)."), "{text}");
    }

    #[test]
    fn no_comparison_is_made_with_what_failed() {
        let mut failed = row([1.0, 1.0, 1.0]);
        failed.kinds.process.figure = Figure::Failed { error: "no".into() };
        assert_eq!(costs(&[failed]), "");
    }
}
