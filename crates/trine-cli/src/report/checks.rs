//! The findings of the doctor, for people.

use std::fmt::Write;

use super::table;
use crate::doctor::check::{Report, State};

/// Formats the checks, each with its remedy, and a verdict.
pub(crate) fn show(report: &Report) -> String {
    let mut text = table::machine(&report.machine) + "\n";
    let width = report.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in &report.checks {
        let state = word(check.state);
        let name = check.name;
        let _ = writeln!(text, "{state:<7}  {name:<width$}  {}", check.found);
        if let Some(remedy) = &check.remedy {
            let _ = writeln!(text, "{:<7}  {:<width$}  remedy: {remedy}", "", "");
        }
    }
    let count = |state| report.checks.iter().filter(|check| check.state == state).count();
    let (works, limited, missing) =
        (count(State::Works), count(State::Limited), count(State::Missing));
    let tasks = if report.ok {
        "Tasks of all three kinds run here"
    } else {
        "A KIND OF TASKS DOES NOT RUN HERE"
    };
    let checks = report.checks.len();
    let _ = writeln!(
        text,
        "\n{tasks}. Of {checks} checks, {works} found all well, {limited} something limited, \
         {missing} something missing."
    );
    text
}

fn word(state: State) -> &'static str {
    match state {
        State::Works => "works",
        State::Limited => "limited",
        State::Missing => "MISSING",
    }
}
