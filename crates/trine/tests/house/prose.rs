//! How the sources are written: words, widths and lengths that CONTRIBUTING.md asks for.

use std::path::{Path, PathBuf};
use std::{fs, iter};

use crate::docs::{self, DOCUMENTS};
use crate::sources::{rust_files, without_comments};

/// The most columns of a line, in characters.
const COLUMNS: usize = 100;
/// The most lines of a function.
const FUNCTION: usize = 70;
/// The most lines of a file.
const FILE: usize = 500;
/// The most files of one folder of sources: a dozen beside its `mod.rs`.
const FOLDER: usize = 13;

/// Words that a doc comment does not begin with: a verb or a noun says at once what the item is.
const RIDDLES: &[&str] = &[
    "What", "Who", "Whoever", "Whatever", "Whom", "Whose", "Where", "That", "Of", "As", "Whether",
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All Rust files of the repository, with their texts.
fn sources() -> Vec<(String, String)> {
    let root = repository();
    let mut paths = Vec::new();
    for folder in ["crates/trine", "crates/trine-cli", "bench"] {
        rust_files(&root.join(folder), &mut paths);
    }
    assert!(paths.len() > 300, "the sources were not found");
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    };
    paths.into_iter().map(read).collect()
}

/// The lines, by number, whose doc comment begins with one of the [`RIDDLES`].
fn riddles(text: &str) -> Vec<usize> {
    let doc = |line: &str| {
        let line = line.trim_start();
        let text = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))?;
        Some(text.trim_start_matches(['*', ' ']).to_owned())
    };
    let mut before = None;
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let now = doc(line);
        let first = now.as_deref().and_then(|doc| doc.split([' ', ',']).next());
        let begins = before.as_deref().is_none_or(str::is_empty);
        if begins && first.is_some_and(|word| RIDDLES.contains(&word)) {
            found.push(number + 1);
        }
        before = now;
    }
    found
}

/// The lines, by number, that are too wide. A link or a row of a table cannot be broken.
fn wide_lines(text: &str) -> Vec<usize> {
    let is_wide = |line: &str| {
        let comment = line.trim_start().trim_start_matches(['/', '!']).trim_start();
        let may_be_wide = ["](", "://"].iter().any(|link| line.contains(link));
        line.chars().count() > COLUMNS && !may_be_wide && !comment.starts_with('|')
    };
    (1..).zip(text.lines()).filter(|(_, line)| is_wide(line)).map(|(number, _)| number).collect()
}

/// The functions that are too long, by the number of their first line.
fn long_functions(text: &str) -> Vec<usize> {
    let code = without_comments(text);
    let lines: Vec<_> = code.lines().collect();
    let is_function = |line: &str| line.split_whitespace().any(|word| word == "fn");
    let length = |start: usize| {
        let indent = lines[start].len() - lines[start].trim_start().len();
        let close = format!("{}}}", " ".repeat(indent));
        let ends =
            |line: &&&str| **line == close || (line.ends_with(';') && !line.starts_with(' '));
        lines[start..].iter().position(|line| ends(&line)).map_or(1, |end| end + 1)
    };
    let begins =
        (0..lines.len()).filter(|at| is_function(lines[*at]) && !lines[*at].ends_with(';'));
    begins.filter(|at| length(*at) > FUNCTION).map(|at| at + 1).collect()
}

/// Lists `file:line` for each line that `find` returns.
fn places(what: &str, find: impl Fn(&str) -> Vec<usize>) -> Vec<String> {
    let texts = sources().into_iter();
    let lines = texts.flat_map(|(name, text)| iter::repeat(name).zip(find(&text)));
    lines.map(|(name, line)| format!("{name}:{line}: {what}")).collect()
}

#[test]
fn doc_comments_begin_with_a_verb_or_a_noun() {
    let wrong = places("begins like a riddle", riddles);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn lines_have_at_most_100_columns() {
    let mut wrong = places("too wide", wide_lines);
    for document in DOCUMENTS {
        let lines = wide_lines(&docs::read(document)).into_iter();
        wrong.extend(lines.map(|line| format!("{document}:{line}: too wide")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn functions_have_at_most_70_lines() {
    let wrong = places("too long a function", long_functions);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_and_folders_stay_small() {
    let texts = sources();
    let mut wrong = Vec::new();
    for (name, text) in &texts {
        let lines = text.lines().count();
        if lines > FILE {
            wrong.push(format!("{name} has {lines} lines"));
        }
    }
    let folder = |name: &str| Path::new(name).parent().unwrap().to_owned();
    for (name, _) in &texts {
        let own = folder(name);
        let files = texts.iter().filter(|(other, _)| folder(other) == own).count();
        if files > FOLDER {
            wrong.push(format!("{} has {files} files", own.display()));
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_of_these_checks_can_fail() {
    assert_eq!(riddles("/// Whether it is so.\nfn f() {}"), [1]);
    assert_eq!(riddles("//! # How\n//!\n//! Where it goes."), [3]);
    assert_eq!(riddles("/// Returns true\n/// where that is so."), [0; 0]);
    assert_eq!(wide_lines(&"x".repeat(101)), [1]);
    assert_eq!(wide_lines(&"x".repeat(100)), [0; 0]);
    let function = |lines| format!("    fn f() {{\n{}    }}\n", "        g();\n".repeat(lines));
    assert_eq!(long_functions(&function(69)), [1]);
    assert_eq!(long_functions(&function(68)), [0; 0]);
}
