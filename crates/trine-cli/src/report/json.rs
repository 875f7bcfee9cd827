//! The report as one JSON document on standard output.

use std::io::{self, Write};

use serde::Serialize;

/// Prints the document and a newline, and nothing else.
pub(crate) fn print(document: &impl Serialize) -> io::Result<()> {
    // In one write: a closed output then shows as an error of `write`, not of serde.
    let mut text = serde_json::to_vec_pretty(document)?;
    text.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&text)?;
    stdout.flush()
}
