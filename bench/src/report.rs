//! The table in Markdown: medians, spreads and ratios.

use std::path::Path;

use anyhow::Context;

use crate::row::{Better, Column, Row, Sample, median};
use crate::series::Results;

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// Formats a row: its heading, its description and its table.
pub fn section(row: &Row, all: &[Results]) -> String {
    let (main, others) = row.columns.split_first().expect("a row has a column");
    let mut head = vec!["", main.heading];
    head.extend(main.competes().then_some(["min–max", "ratio"]).into_iter().flatten());
    for column in others {
        head.push(column.heading);
        head.extend(column.competes().then_some("ratio"));
    }
    head.push("remarks");
    let head: Vec<_> = head.into_iter().map(str::to_owned).collect();

    let lines = all.iter().map(|results| {
        let mut cells = vec![results.peer.name.to_owned()];
        for (i, column) in row.columns.iter().enumerate() {
            let (ours, theirs) = (median_of(&all[0], column), median_of(results, column));
            cells.push(cell(theirs));
            if column.competes() {
                cells.extend((i == 0).then(|| spread(results, column)));
                cells.push(ratio(column, ours, theirs));
            }
        }
        cells.push(remarks(results));
        line(&cells)
    });
    let rule = format!("|---|{}", "---:|".repeat(head.len() - 2) + "---|");
    let lines: Vec<_> = [line(&head), rule].into_iter().chain(lines).collect();
    format!("### `{}`\n\n{}\n\n{}", row.name, row.about, lines.join("\n"))
}

fn line(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
}

/// Returns the column's numbers, the smallest first.
fn sorted_values(results: &Results, column: &Column) -> Vec<f64> {
    let value = |sample: &Sample| sample.values.get(column.key).copied();
    let mut values: Vec<f64> = results.samples.iter().filter_map(value).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median_of(results: &Results, column: &Column) -> Option<f64> {
    let values = sorted_values(results, column);
    (!values.is_empty()).then(|| median(values))
}

fn spread(results: &Results, column: &Column) -> String {
    match sorted_values(results, column)[..] {
        [] => "—".into(),
        [least, .., most] => format!("{}–{}", number(least), number(most)),
        [only] => number(only),
    }
}

/// Formats how many times better trine is: the peer's cost over ours, or our rate over the peer's.
fn ratio(column: &Column, ours: Option<f64>, peers: Option<f64>) -> String {
    let (Some(ours), Some(peers)) = (ours, peers) else { return "—".into() };
    let ratio = if column.better == Better::More { ours / peers } else { peers / ours };
    if ratio.is_finite() { format!("{} ×", number(ratio)) } else { "—".into() }
}

fn cell(value: Option<f64>) -> String {
    value.map_or_else(|| "—".into(), number)
}

/// Formats a number with three significant digits, and commas between the thousands.
fn number(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude == magnitude.trunc() && magnitude < 10.0 {
        return format!("{value:.0}");
    } else if magnitude < 0.1 {
        // Two significant digits.
        let places = 1.0 - magnitude.log10().floor();
        return format!("{value:.*}", places.min(9.0) as usize);
    } else if magnitude < 10.0 {
        return format!("{value:.2}");
    } else if magnitude < 100.0 && magnitude != magnitude.trunc() {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Joins the notes of the samples, each note once, and the reasons for missing samples.
fn remarks(results: &Results) -> String {
    let mut remarks: Vec<String> = vec![];
    let mut add = |remark: String| {
        if !remarks.contains(&remark) {
            remarks.push(remark);
        }
    };
    // Two different notes are enough to show that the notes vary.
    let mut notes: Vec<_> = results.samples.iter().filter_map(|s| s.note.clone()).collect();
    notes.sort();
    notes.dedup();
    notes.into_iter().take(2).for_each(&mut add);
    let failed = results.failures.len();
    if let Some(first) = results.failures.first() {
        match results.samples.len() {
            0 => add(first.clone()),
            n => add(format!("failed {failed} times of {}: {first}", n + failed)),
        }
    }
    remarks.join("; ").replace('|', "\\|").replace('\n', " ")
}

/// Checks that a table can be written to `file`, before the measurements take their time.
pub fn check(file: &Path) -> anyhow::Result<()> {
    splice(&read(file)?, "").with_context(|| format!("{}", file.display())).map(drop)
}

/// Puts the table between the markers of `file`.
pub fn write(file: &Path, table: &str) -> anyhow::Result<()> {
    let text = splice(&read(file)?, &wrapped(table))?;
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Wraps prose at 100 columns; tables and headings stay as they are.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let is_prose = !line.starts_with('|') && !line.starts_with('#');
        let mut width = 0;
        for word in line.split_inclusive(' ') {
            let length = word.trim_end().chars().count();
            if is_prose && width > 0 && width + length > 100 {
                out.truncate(out.trim_end().len());
                out.push('\n');
                width = 0;
            }
            out.push_str(word);
            width += word.chars().count();
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn splice(text: &str, table: &str) -> anyhow::Result<String> {
    let (head, rest) = text.split_once(BEGIN).with_context(|| format!("has no line {BEGIN}"))?;
    let (_, tail) = rest.split_once(END).with_context(|| format!("has no {END} after {BEGIN}"))?;
    Ok(format!("{head}{BEGIN}\n{table}\n{END}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        let shown = [0.0, 0.000_357, 3.0, 1.23456, 42.42, 118.4, 4_264.0, 2_700_000.0].map(number);
        assert_eq!(shown, ["0", "0.00036", "3", "1.23", "42.4", "118", "4,264", "2,700,000"]);
    }

    #[test]
    fn a_table_replaces_the_text_between_the_markers() {
        let text = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let once = splice(&text, "new").unwrap();
        assert_eq!(once, format!("before\n{BEGIN}\nnew\n{END}\nafter\n"));
        assert_eq!(splice(&once, "new").unwrap(), once);
    }

    #[test]
    fn a_file_without_markers_is_refused() {
        assert!(splice("text", "").is_err());
        assert!(splice(&format!("{END}{BEGIN}"), "").is_err());
    }
}
