//! The documents agree with the code about the names of tests and files.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Appends all Rust code below a folder to one text.
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
    let document = fs::read_to_string(root().join("docs/SOUNDNESS.md")).unwrap();
    let mut code = String::new();
    code_below(&root().join("crates/trine"), &mut code);
    // The name of a test is a sentence in code marks, with at least three underscores.
    let names: Vec<&str> = document
        .split('`')
        .skip(1)
        .step_by(2)
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
fn every_file_that_a_document_links_to_exists() {
    for document in [
        "README.md",
        "docs/ARCHITECTURE.md",
        "docs/IPC.md",
        "docs/PERFORMANCE.md",
        "docs/SOUNDNESS.md",
    ] {
        let path = root().join(document);
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap();
            if !file.is_empty() && !file.contains("://") {
                let target = path.parent().unwrap().join(file);
                assert!(target.exists(), "{document} links to {file}: no such file");
            }
        }
    }
}
