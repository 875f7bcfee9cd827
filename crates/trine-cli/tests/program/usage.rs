//! Help, usage and a reader that closes the output.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::{run, succeed, trine};

#[test]
fn help_shows_the_commands_examples_and_exit_codes() {
    for (arguments, parts) in [
        (&["--help"][..], ["measure", "doctor", "trine measure --quick", "Exit codes"]),
        (&["measure", "--help"], ["--only", "workload", "trine measure --quick", "Exit codes"]),
        (&["doctor", "--help"], ["--json", "trine doctor", "ulimit -n 64", "Exit codes"]),
    ] {
        let ran = succeed(&mut trine(arguments));
        for part in parts {
            assert!(ran.stdout().contains(part), "`{part}` is missing in:\n{}", ran.stdout());
        }
        assert!(!ran.stdout().contains("part "), "the hidden subcommand shows");
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [
        &[][..],
        &["measur"],
        &["measure", "--fast"],
        &["measure", "--input"],
        &["measure", "--only", "cost"],
        &["doctor", "--quick"],
    ] {
        let ran = run(&mut trine(arguments));
        assert_eq!(ran.code(), Some(2), "{arguments:?}");
        assert_eq!(ran.stdout(), "");
        assert!(ran.stderr().contains("--help"), "{}", ran.stderr());
    }
}

#[test]
fn a_reader_that_closes_the_output_ends_the_program_without_an_error() {
    let tree = tempfile::tempdir().unwrap();
    std::fs::write(tree.path().join("one"), "a file").unwrap();
    let mut command = trine(&["measure", "--quick", "--input"]);
    let mut child =
        command.arg(tree.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    // The pipe closes with the reader, at the end of the statement.
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("Linux"), "{line}");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
