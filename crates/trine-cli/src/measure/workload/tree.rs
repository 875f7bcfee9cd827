//! The files to digest.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use crate::bad_input::BadInput;

/// The regular files below a directory.
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    /// The files in the order of their names, so that every run has the same sequence. They are
    /// `OsString`s, because serde rejects a `PathBuf` that is not UTF-8.
    pub(crate) files: Vec<OsString>,
    /// Paths that could not be listed, and the reasons: directories without permission, mostly.
    pub(crate) unlisted: Vec<(PathBuf, String)>,
}

/// Lists the files below `input`, or below trine's own source tree.
///
/// # Errors
///
/// A [`BadInput`] if the directory cannot be read or holds no regular file.
pub(crate) fn find(input: Option<&Path>, all: bool) -> anyhow::Result<Tree> {
    let root = match input {
        Some(input) => input.to_owned(),
        None => own_source().ok_or_else(|| {
            BadInput("found no source tree to measure with; name a directory: --input DIR".into())
        })?,
    };
    // Check the root first, because a walk merely skips a root that it cannot read.
    if let Err(error) = fs::read_dir(&root) {
        return Err(explain(&root, &error).into());
    }
    let tree = walk(root, all);
    if tree.files.is_empty() {
        let mut why = format!("--input {}: found no regular file", tree.root.display());
        if !all {
            why += " (`target` and `.git` are left out, --all takes them in)";
        }
        if let Some((path, error)) = tree.unlisted.first() {
            why += &format!("; could not look into {}: {error}", path.display());
        }
        return Err(BadInput(why + "; name a directory that holds some").into());
    }
    Ok(tree)
}

fn walk(root: PathBuf, all: bool) -> Tree {
    let left_out = |entry: &DirEntry| {
        !all && entry.depth() > 0
            && entry.file_type().is_dir()
            && (entry.file_name() == "target" || entry.file_name() == ".git")
    };
    let mut tree = Tree { root, files: Vec::new(), unlisted: Vec::new() };
    let entries = WalkDir::new(&tree.root).sort_by_file_name().into_iter();
    for entry in entries.filter_entry(|entry| !left_out(entry)) {
        match entry {
            Ok(entry) if entry.file_type().is_file() => {
                tree.files.push(entry.into_path().into_os_string());
            }
            Ok(_) => {}
            Err(error) => {
                let path = error.path().unwrap_or(&tree.root).to_owned();
                let why = error.io_error().map_or_else(|| error.to_string(), ToString::to_string);
                tree.unlisted.push((path, why));
            }
        }
    }
    tree
}

/// Returns the source tree in the current directory, or else the one that this program was built
/// from.
fn own_source() -> Option<PathBuf> {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    [Path::new("."), built_from]
        .into_iter()
        .find(|root| root.join("crates/trine-cli/Cargo.toml").is_file())
        .map(Path::to_owned)
}

/// Makes an error that names the cause and the remedy.
fn explain(root: &Path, error: &std::io::Error) -> BadInput {
    use std::io::ErrorKind;
    let remedy = match error.kind() {
        ErrorKind::NotFound => "check the spelling, or leave --input out for trine's own source",
        ErrorKind::NotADirectory => "name the directory that holds the file",
        ErrorKind::PermissionDenied => {
            "get permission to read it (`ls -ld` shows who has it), or name another directory"
        }
        _ => "name a directory that can be read",
    };
    BadInput(format!("--input {}: {error}; {remedy}", root.display()))
}
