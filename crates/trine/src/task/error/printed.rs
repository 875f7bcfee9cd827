//! The end of a task's output, in its error.

/// The last bytes of both streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Printed {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// The most letters of a line that an error shows.
const MOST: usize = 200;

impl Printed {
    /// Returns the last line on standard error with a content, for the error's text.
    pub(crate) fn last_line(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.stderr);
        let line = without_backtraces(&text).rfind(|line| !line.is_empty())?;
        let mut shown: String = line.chars().take(MOST).filter(|c| !c.is_control()).collect();
        if line.chars().nth(MOST).is_some() {
            shown.push('…');
        }
        Some(shown)
    }
}

/// Returns the lines of a text, trimmed, without std's backtraces and its advice about them: these
/// follow the line of interest.
fn without_backtraces(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    let is_advice = |line: &str| {
        line.starts_with("note: run with `RUST_BACKTRACE")
            || line.starts_with("note: Some details are omitted, run with `RUST_BACKTRACE")
    };
    let is_frame = |line: &str| {
        let number = line.split_once(": ").map_or("", |(number, _)| number);
        line.starts_with("at ")
            || (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    let lines = || text.lines().map(str::trim);
    // True at first for the end of a backtrace whose beginning was not kept.
    let mut within = lines().any(is_advice) && !lines().any(|line| line == "stack backtrace:");
    let mut kept = Vec::new();
    for line in lines() {
        let begins = line == "stack backtrace:";
        within = begins || (within && is_frame(line));
        if !within && !is_advice(line) {
            kept.push(line);
        }
    }
    kept.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_with_a_content_is_shown() {
        let last =
            |stderr: &[u8]| Printed { stdout: Vec::new(), stderr: stderr.to_owned() }.last_line();
        assert_eq!(last(b""), None);
        assert_eq!(last(b" \n\n"), None);
        assert_eq!(last(b"one\ntwo\n \n").as_deref(), Some("two"));
        assert_eq!(last(b"\x1b[31mred\xff").as_deref(), Some("[31mred\u{fffd}"));
        let note = b"cause\nnote: run with `RUST_BACKTRACE=1` environment variable to display\n";
        assert_eq!(last(note).as_deref(), Some("cause"));
        let backtrace = "   9: main\n             at ./main.rs:1:2\n\
                         note: Some details are omitted, run with `RUST_BACKTRACE=full`\n";
        let whole = format!("1: cause\nstack backtrace:\n   0: abort\n{backtrace}");
        assert_eq!(last(whole.as_bytes()).as_deref(), Some("1: cause"));
        assert_eq!(last((whole + "at the end\n").as_bytes()).as_deref(), Some("at the end"));
        assert_eq!(last(backtrace.as_bytes()), None);
        let long = last("ä".repeat(300).as_bytes()).unwrap();
        assert_eq!(long, "ä".repeat(200) + "…");
    }
}
