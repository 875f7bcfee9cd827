//! Checks what the documents name: tests, files and links exist.

use std::fs;
use std::path::{Path, PathBuf};

pub const DOCUMENTS: &[&str] = &[
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "crates/trine-cli/README.md",
    "docs/ARCHITECTURE.md",
    "docs/GUIDE.md",
    "docs/IPC.md",
    "docs/PERFORMANCE.md",
    "docs/SOUNDNESS.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap()
}

/// The code of a document: everything between two backticks.
fn code_marks(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Appends all Rust code below a folder to `text`.
fn code_below(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            code_below(&path, text);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_test_that_soundness_names_exists() {
    let document = read("docs/SOUNDNESS.md");
    let mut code = String::new();
    code_below(&root().join("crates/trine"), &mut code);
    // A test's name is a sentence: at least three underscores.
    let names: Vec<&str> = code_marks(&document)
        .filter(|name| name.matches('_').count() >= 3)
        .filter(|name| {
            name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        })
        .collect();
    assert!(names.len() > 40, "the document names {} tests only", names.len());
    for name in names {
        assert!(code.contains(&format!("fn {name}(")), "SOUNDNESS.md names `{name}`: no such test");
    }
}

#[test]
fn every_source_file_that_a_document_names_exists() {
    let library = root().join("crates/trine");
    let folders = [root(), library.join("src"), library];
    let mut named = 0;
    for document in DOCUMENTS {
        let text = read(document);
        let paths = code_marks(&text).filter(|path| {
            let is_path = path.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
            let is_source = path.contains('/') && path.ends_with(".rs");
            is_path && (is_source || path.starts_with("tests/"))
        });
        for path in paths {
            let exists = folders.iter().any(|folder| folder.join(path).exists());
            assert!(exists, "{document} names `{path}`: no such file or folder");
            named += 1;
        }
    }
    assert!(named > 50, "the documents name {named} files only");
}

#[test]
fn every_file_that_a_document_links_to_exists() {
    for document in DOCUMENTS {
        let text = read(document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let own = root().join(document);
            let target = if file.is_empty() { own } else { own.parent().unwrap().join(file) };
            assert!(target.exists(), "{document} links to {file}: no such file");
            let anchors = || headings(&fs::read_to_string(&target).unwrap());
            assert!(
                anchor.is_empty() || anchors().contains(&anchor.to_owned()),
                "{document} links to {link}: no such heading"
            );
        }
    }
}

#[test]
fn the_guide_shows_the_http_clients_of_the_example() {
    let guide = read("docs/GUIDE.md");
    let example = read("bench/examples/http_clients.rs");
    let shown = guide.split("```rust,ignore\n").skip(1);
    let shown: Vec<_> = shown.filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(shown.len(), 3, "every other program of the guide is a doctest");
    for function in shown {
        assert!(example.contains(function), "not in the example:\n{function}");
    }
}

/// The anchors of a document's headings, as GitHub makes them.
fn headings(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let kept = line.trim_start_matches('#').trim().to_lowercase();
            let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}
