//! Reads a crate's sources as text and finds which file uses which.
//!
//! A path such as `super::wire::Frame` is followed through the imports of the modules that it names
//! to the file that defines its item, so a re-export counts as a use of that file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module's path below the crate's root: `["process", "wire", "ring"]`.
pub type Module = Vec<String>;

/// The files of one crate.
pub struct Sources {
    files: BTreeMap<Module, Source>,
}

/// One file.
pub struct Source {
    /// Its path below the crate's `src`.
    pub path: String,
    /// Its text.
    pub text: String,
    /// The text without comments, literals and test modules.
    pub code: String,
    paths: Vec<Vec<String>>,
    imports: BTreeMap<String, Vec<String>>,
}

impl Source {
    /// The first word behind each `crate::`.
    pub fn crate_paths(&self) -> impl Iterator<Item = &str> {
        let from_root = self.paths.iter().filter(|path| path.len() > 1 && path[0] == "crate");
        from_root.map(|path| path[1].as_str())
    }
}

impl Sources {
    /// Reads all files below `root`, a crate's `src` folder.
    pub fn read(root: &Path) -> Sources {
        let mut paths = Vec::new();
        rust_files(root, &mut paths);
        let texts = paths.iter().map(|path| {
            let inside = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            (inside, fs::read_to_string(path).unwrap())
        });
        Sources::of(texts)
    }

    /// Takes files by path and text.
    pub fn of(texts: impl IntoIterator<Item = (String, String)>) -> Sources {
        let files = texts.into_iter().map(|(path, text)| {
            let code = without_tests(&without_comments(&text));
            let (paths, imports) = Reader::new(&code).read();
            (module_of(&path), Source { path, text, code, paths, imports })
        });
        Sources { files: files.collect() }
    }

    /// All files, by module.
    pub fn iter(&self) -> impl Iterator<Item = (&Module, &Source)> {
        self.files.iter()
    }

    /// The files that each file uses, itself excluded.
    pub fn arrows(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut arrows = BTreeMap::new();
        for (module, source) in &self.files {
            let mut used = BTreeSet::new();
            for path in &source.paths {
                let target = self.absolute(module, path).and_then(|path| self.home(&path, 0));
                used.extend(target.filter(|target| *target != source.path));
            }
            arrows.insert(source.path.as_str(), used);
        }
        arrows
    }

    /// The path from the crate's root, if it stays inside the crate.
    fn absolute(&self, module: &Module, path: &[String]) -> Option<Vec<String>> {
        let mut base = module.clone();
        let mut rest = path;
        match path[0].as_str() {
            "crate" => (base, rest) = (Vec::new(), &path[1..]),
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|word| word == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            first => {
                base.push(first.to_owned());
                if self.files.contains_key(&base) {
                    rest = &path[1..];
                } else {
                    let import = self.files[module].imports.get(first)?;
                    // An import of the very name that it brings in, from another crate.
                    if import[0] == first {
                        return None;
                    }
                    base = self.absolute(module, import)?;
                    rest = &path[1..];
                }
            }
        }
        base.extend_from_slice(rest);
        Some(base)
    }

    /// The file that defines the item at `path`; none for a module, which defines nothing itself.
    fn home(&self, path: &[String], depth: usize) -> Option<&str> {
        let length = (0..=path.len()).rev().find(|n| self.files.contains_key(&path[..*n]))?;
        let (module, item) = path.split_at(length);
        let source = &self.files[module];
        let first = item.first()?;
        if depth < 8
            && let Some(import) = source.imports.get(first)
            && let Some(mut target) = self.absolute(&module.to_vec(), import)
        {
            target.extend_from_slice(&item[1..]);
            return self.home(&target, depth + 1);
        }
        Some(&source.path)
    }
}

fn module_of(path: &str) -> Module {
    let mut module: Module = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if ["mod", "lib", "main"].contains(&module.last().unwrap().as_str()) {
        module.pop();
    }
    module
}

/// All `.rs` files below `folder`.
pub fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The text with comments and the contents of literals blanked out, lines kept.
pub fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let length = literal_or_comment(rest);
        if length == 0 {
            code.push(letter);
            rest = &rest[letter.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().filter(|letter| *letter == '\n'));
            code.push(' ');
            rest = &rest[length..];
        }
    }
    code
}

/// The length of the comment or literal that `text` begins with, or 0.
fn literal_or_comment(text: &str) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return text.find("*/").map_or(text.len(), |end| end + 2);
    }
    if text.starts_with("r\"") || text.starts_with("r#") {
        let hashes = text[1..].chars().take_while(|letter| *letter == '#').count();
        if text[1 + hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = 2 + hashes;
            return text[body..].find(&close).map_or(text.len(), |end| body + end + close.len());
        }
        return 0;
    }
    if text.starts_with('"') {
        return quoted(text, '"');
    }
    // A letter between quotes; a lifetime has no second quote.
    let mut letters = text.chars();
    match (letters.next(), letters.next(), letters.next()) {
        (Some('\''), Some('\\'), _) => quoted(text, '\''),
        (Some('\''), Some(letter), Some('\'')) => 2 + letter.len_utf8(),
        _ => 0,
    }
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The code before its test module, which stands at the end of a file.
fn without_tests(code: &str) -> String {
    code.split("\nmod tests {").next().unwrap_or_default().to_owned()
}

/// Finds the paths and the imports in a file's code.
struct Reader<'a> {
    tokens: Vec<&'a str>,
    at: usize,
    paths: Vec<Vec<String>>,
    imports: BTreeMap<String, Vec<String>>,
}

impl<'a> Reader<'a> {
    fn new(code: &'a str) -> Reader<'a> {
        Reader { tokens: tokens(code), at: 0, paths: Vec::new(), imports: BTreeMap::new() }
    }

    fn read(mut self) -> (Vec<Vec<String>>, BTreeMap<String, Vec<String>>) {
        while let Some(token) = self.peek() {
            let before = self.at.checked_sub(1).map(|at| self.tokens[at]);
            if token == "use" && before != Some("::") {
                self.at += 1;
                self.tree(&[], true);
            } else if is_word(token) && !matches!(before, Some("::" | "." | "$")) {
                self.tree(&[], false);
            } else {
                self.at += 1;
            }
        }
        (self.paths, self.imports)
    }

    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.at).copied()
    }

    /// Reads a path, with the groups of an import.
    fn tree(&mut self, prefix: &[String], import: bool) {
        let mut path = prefix.to_vec();
        while let Some(token) = self.peek() {
            match token {
                "::" => self.at += 1,
                "{" if import => {
                    self.at += 1;
                    while self.peek().is_some_and(|token| token != "}") {
                        self.tree(&path, true);
                        if self.peek() == Some(",") {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "*" if import => {
                    self.at += 1;
                    path.push("*".to_owned());
                    break;
                }
                word if is_word(word) && word != "as" => {
                    self.at += 1;
                    path.push(word.to_owned());
                    if self.peek() != Some("::") {
                        break;
                    }
                }
                _ => break,
            }
        }
        if import {
            self.import(path);
        } else if path.len() > 1 {
            self.paths.push(path);
        } else if path.is_empty() {
            self.at += 1;
        }
    }

    fn import(&mut self, mut path: Vec<String>) {
        let is_self = path.len() > 1 && path.last().is_some_and(|word| word == "self");
        if is_self {
            path.pop();
        }
        let mut name = path.last().cloned();
        if self.peek() == Some("as") {
            name = self.tokens.get(self.at + 1).map(|word| (*word).to_owned());
            self.at += 2;
        }
        if path.is_empty() {
            self.at += 1;
            return;
        }
        self.imports.extend(name.map(|name| (name, path.clone())));
        self.paths.push(path);
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|letter: char| letter.is_alphabetic() || letter == '_')
}

/// Words, `::` and single signs.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(letter) = rest.chars().next() {
        let length = if letter.is_alphanumeric() || letter == '_' {
            rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_')
                .unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            letter.len_utf8()
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}
