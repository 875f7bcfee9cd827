//! Between folders: a module uses only what stands below it, and only `sys` talks to the kernel.

use std::path::Path;

use crate::sources::Sources;

/// The floors, from the ground up; modules of one floor do not use each other.
const FLOORS: &[&[&str]] = &[
    &["sys", "config"],
    &["task"],
    &["reactor"],
    &["sync"],
    &["net", "fs", "signal", "ipc", "time"],
    &["coroutine", "thread", "process"],
    &["executor", "future"],
    &["scope", "hyper"],
    &["supervisor"],
    &["lib"],
];

/// Crates and words that reach the kernel.
const KERNEL: &[&str] = &["libc::", "rustix::", "use landlock::", "seccompiler::", "asm!"];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// The rules that the files of `sources` break.
fn violations(sources: &Sources) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, source) in sources.iter() {
        let module = path.first().map_or("lib", String::as_str);
        let own = floor(module)
            .unwrap_or_else(|| panic!("module `{module}` has no floor: add it to layers.rs"));
        for used in source.crate_paths() {
            // A name that is no module is a re-export of `lib.rs`, the top floor.
            if used != module && floor(used).is_none_or(|used| used >= own) {
                wrong.push(format!("{} uses `crate::{used}`, which is not below it", source.path));
            }
        }
        for line in source.code.lines().filter(|_| module != "sys") {
            for word in KERNEL.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("{} talks to the kernel (`{word}`)", source.path));
            }
        }
    }
    wrong
}

#[test]
fn no_module_uses_what_stands_above_it() {
    let sources = Sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(sources.iter().count() > 100, "the sources were not found");
    let wrong = violations(&sources);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_check_can_fail() {
    let count = |module: &str, text: &str| {
        violations(&Sources::of([(format!("{module}.rs"), text.to_owned())])).len()
    };
    assert_eq!(count("task", "use crate::sys::futex;"), 0);
    assert_eq!(count("task", "use crate::coroutine::spawn;"), 1);
    assert_eq!(count("task", "// see crate::coroutine"), 0);
    assert_eq!(count("thread", "use crate::{sys, task::{self, Kind}, process};"), 1);
    assert_eq!(count("coroutine", "let k: crate::Kind = todo();"), 1);
    assert_eq!(count("coroutine", "unsafe { libc::fork() };"), 1);
    assert_eq!(count("sys", "unsafe { libc::fork() };"), 0);
}
