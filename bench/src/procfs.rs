//! Figures from the kernel's files below `/proc`.

use anyhow::Context;

/// Reads a field of one of the kernel's files, in kilobytes.
pub fn kilobytes(file: &str, field: &str) -> anyhow::Result<usize> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|n| n.parse().ok()).with_context(|| format!("{file} has no {field}"))
}
