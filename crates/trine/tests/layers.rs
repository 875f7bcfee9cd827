//! The house's rule: a module uses only what stands below it, and only `sys` talks to the kernel.
//!
//! Reads the sources as text: every `crate::…` path outside comments, and the crates that make
//! system calls.

use std::fs;
use std::path::{Path, PathBuf};

/// The floors, from the ground up; modules of one floor do not use each other.
const FLOORS: &[&[&str]] = &[
    &["sys", "config"],
    &["task"],
    &["reactor"],
    &["sync"],
    &["net", "fs", "signal", "ipc", "time"],
    &["coroutine", "thread", "process"],
    &["serve"],
    &["executor", "future"],
    &["scope", "hyper"],
    &["lib"],
];

/// Crates and words that reach the kernel.
const KERNEL: &[&str] = &["libc::", "rustix::", "use landlock::", "seccompiler::", "asm!"];

fn floor(module: &str) -> usize {
    FLOORS
        .iter()
        .position(|floor| floor.contains(&module))
        .unwrap_or_else(|| panic!("module `{module}` has no floor: add it to tests/layers.rs"))
}

/// The code of a line, without a comment at its end or the whole of it.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// The modules of this crate that a text names by `crate::` paths.
fn used_modules(text: &str) -> Vec<String> {
    let code: String = text.lines().map(|line| code(line).to_owned() + "\n").collect();
    let mut used = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with('$') {
            // In a macro, for the program that uses it.
            continue;
        }
        let path = &code[at + "crate::".len()..];
        match path.strip_prefix('{') {
            None => used.push(first_word(path)),
            Some(group) => {
                let (mut depth, mut item) = (0, String::new());
                for letter in group.chars() {
                    match letter {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => used.push(first_word(&std::mem::take(&mut item))),
                        _ if depth == 0 => item.push(letter),
                        _ => {}
                    }
                }
                used.push(first_word(&item));
            }
        }
    }
    // A capital or a lower-case function at the root is a re-export: it stands at the top floor.
    used.into_iter().filter(|word| !word.is_empty()).collect()
}

fn first_word(path: &str) -> String {
    path.trim().chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

/// What is wrong with the text of a file that belongs to `module`.
fn violations(module: &str, text: &str) -> Vec<String> {
    let own = floor(module);
    let mut wrong = Vec::new();
    for used in used_modules(text) {
        let is_module = FLOORS.iter().any(|floor| floor.contains(&used.as_str()));
        let below = is_module && floor(&used) < own;
        if used != module && !below {
            wrong.push(format!("`{module}` uses `crate::{used}`, which does not stand below it"));
        }
    }
    if module != "sys" {
        for line in text.lines().map(code) {
            for word in KERNEL.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("`{module}` talks to the kernel (`{word}`): {}", line.trim()));
            }
        }
    }
    wrong
}

fn source_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source_files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_module_uses_what_stands_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&root, &mut files);
    assert!(files.len() > 20, "the sources were not found");
    let mut wrong = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = first.strip_suffix(".rs").unwrap_or(first);
        let text = fs::read_to_string(&file).unwrap();
        wrong.extend(violations(module, &text).iter().map(|what| format!("{inside:?}: {what}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_check_can_fail() {
    assert_eq!(violations("task", "use crate::sys::futex;").len(), 0);
    assert_eq!(violations("task", "use crate::coroutine::spawn;").len(), 1);
    assert_eq!(violations("task", "// see crate::coroutine").len(), 0);
    assert_eq!(violations("thread", "use crate::{sys, task::{self, Kind}, process};").len(), 1);
    assert_eq!(violations("coroutine", "let k: crate::Kind = todo();").len(), 1);
    assert_eq!(violations("coroutine", "unsafe { libc::fork() };").len(), 1);
    assert_eq!(violations("sys", "unsafe { libc::fork() };").len(), 0);
}
