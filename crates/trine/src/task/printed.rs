//! The end of what a task has printed, in its error.

/// The last bytes of both streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Printed {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// Letters of a line that an error shows.
const MOST: usize = 200;

impl Printed {
    /// What an error shows: the last line on standard error that says something.
    pub(crate) fn last_line(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.stderr);
        // std's advice to set a variable, which stands behind what is of interest.
        let is_of_interest =
            |line: &&str| !line.is_empty() && !line.starts_with("note: run with `RUST_BACKTRACE");
        let line = text.lines().map(str::trim).rfind(is_of_interest)?;
        let mut shown: String = line.chars().take(MOST).filter(|c| !c.is_control()).collect();
        if line.chars().nth(MOST).is_some() {
            shown.push('…');
        }
        Some(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_says_something_is_shown() {
        let last =
            |stderr: &[u8]| Printed { stdout: Vec::new(), stderr: stderr.to_owned() }.last_line();
        assert_eq!(last(b""), None);
        assert_eq!(last(b" \n\n"), None);
        assert_eq!(last(b"one\ntwo\n \n").as_deref(), Some("two"));
        assert_eq!(last(b"\x1b[31mred\xff").as_deref(), Some("[31mred\u{fffd}"));
        let note = b"cause\nnote: run with `RUST_BACKTRACE=1` environment variable to display\n";
        assert_eq!(last(note).as_deref(), Some("cause"));
        let long = last("ä".repeat(300).as_bytes()).unwrap();
        assert_eq!(long, "ä".repeat(200) + "…");
    }
}
