//! Inside a folder: no circle of files, and no file that its module's table leaves out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::sources::Sources;

/// Circles that stay, each with its reason.
const PERMITTED: &[Circle] = &[Circle {
    files: &["coroutine/fiber.rs", "coroutine/future/mod.rs", "coroutine/remote.rs"],
    reason: "a started task holds the inbox of its home carrier, which holds tasks; an \
             indirection between them would be on the path of every wake-up",
}];

struct Circle {
    files: &'static [&'static str],
    reason: &'static str,
}

/// The crates whose rooms are looked at.
fn crates() -> [PathBuf; 3] {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    [own.join("src"), own.join("../trine-cli/src"), own.join("../../bench/src")]
}

/// Groups of files that reach each other.
fn circles<'a>(arrows: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<BTreeSet<&'a str>> {
    let reach: BTreeMap<_, _> =
        arrows.keys().map(|file| (*file, reachable(arrows, file))).collect();
    let circle = |file: &'a str| {
        let back = |other: &&str| reach[*other].contains(file);
        reach[file].iter().copied().filter(back).collect::<BTreeSet<_>>()
    };
    arrows.keys().map(|file| circle(file)).filter(|circle| circle.len() > 1).collect()
}

fn reachable<'a>(arrows: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<_> = arrows[from].iter().copied().collect();
    while let Some(file) = next.pop() {
        if reached.insert(file) {
            next.extend(&arrows[file]);
        }
    }
    reached
}

/// The arrows inside `circle`, for the message.
fn describe(circle: &BTreeSet<&str>, arrows: &BTreeMap<&str, BTreeSet<&str>>) -> String {
    let mut text = String::from("a circle of files:\n");
    for file in circle {
        let used: Vec<_> = arrows[file].intersection(circle).copied().collect();
        text += &format!("  {file} uses {}\n", used.join(", "));
    }
    text
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let permitted: BTreeSet<BTreeSet<_>> =
        PERMITTED.iter().map(|circle| circle.files.iter().copied().collect()).collect();
    let (mut wrong, mut met) = (Vec::new(), BTreeSet::new());
    for root in crates() {
        let sources = Sources::read(&root);
        let arrows = sources.arrows();
        assert!(arrows.len() > 10, "no sources in {}", root.display());
        for circle in circles(&arrows) {
            if permitted.contains(&circle) {
                met.extend(circle.iter().map(|file| (*file).to_owned()));
            } else {
                wrong.push(describe(&circle, &arrows));
            }
        }
    }
    for circle in PERMITTED {
        if !circle.files.iter().all(|file| met.contains(*file)) {
            wrong.push(format!("no circle any more, take it off the list: {:?}", circle.files));
        }
        assert!(!circle.reason.is_empty());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A row of a table; a module with a public page has its table in plain comments.
fn row(line: &str) -> Option<&str> {
    line.strip_prefix("//! |").or_else(|| line.strip_prefix("// |"))
}

/// Returns the `names` of a folder that the table in its `mod.rs` leaves out.
fn left_out<'a>(header: &str, names: &BTreeSet<&'a str>) -> Vec<&'a str> {
    let rows = header.lines().filter_map(row);
    let table: String = rows.collect::<Vec<_>>().join("\n");
    let named = |name: &str| table.contains(&format!("`{name}`"));
    names.iter().copied().filter(|name| !named(name)).collect()
}

/// A folder with fewer files needs no table.
const SMALL_FOLDER: usize = 4;

#[test]
fn module_tables_name_every_file() {
    let mut wrong = Vec::new();
    for root in crates() {
        let sources = Sources::read(&root);
        let mut folders: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for (_, source) in sources.iter() {
            let mut folder = String::new();
            for part in source.path.split_inclusive('/') {
                folders.entry(folder.clone()).or_default().insert(part);
                folder += part;
            }
        }
        for (_, source) in sources.iter() {
            let Some(folder) = source.path.strip_suffix("mod.rs") else { continue };
            let mut names = folders[folder].clone();
            // A file of unit tests needs no entry.
            names.retain(|name| !["mod.rs", "tests.rs"].contains(name));
            let heads = [" file |", " room |", " folder |"];
            let is_head = |row: &str| heads.iter().any(|head| row.starts_with(head));
            let has_table = source.text.lines().filter_map(row).any(is_head);
            if has_table || names.len() >= SMALL_FOLDER {
                for name in left_out(&source.text, &names) {
                    wrong.push(format!("the table in {} leaves out `{name}`", source.path));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The modules of the library whose documentation is a public page.
fn has_a_page(path: &str) -> bool {
    let module = path.strip_suffix("/mod.rs").unwrap_or_default();
    let modules = "coroutine fs future ipc ipc/channel net process signal sync sync/channel task";
    modules.split(' ').any(|page| page == module)
}

#[test]
fn public_pages_show_no_table_of_files() {
    let sources = Sources::read(&crates()[0]);
    let mut seen = 0;
    for (_, source) in sources.iter().filter(|(_, source)| has_a_page(&source.path)) {
        let shows = |line: &str| line.starts_with("//! | `") && line.contains(".rs` |");
        assert!(!source.text.lines().any(shows), "{} shows its files", source.path);
        seen += 1;
    }
    assert_eq!(seen, 11);
}

#[test]
fn both_checks_can_fail() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    let sources = Sources::of([
        file("lib.rs", "mod a; mod b; mod c;"),
        file("a.rs", "use crate::b::{self, Deep}; // not crate::c"),
        file("b/mod.rs", "mod inner; pub use inner::Deep;"),
        file("b/inner.rs", "pub struct Deep; fn f() { super::super::c::g(\"crate::a::x\") }"),
        file("c.rs", "use crate::a; pub fn g() { a::h() } \nmod tests { use crate::b::Deep; }"),
    ]);
    let arrows = sources.arrows();
    assert_eq!(Vec::from_iter(&arrows["a.rs"]), [&"b/inner.rs"]);
    assert_eq!(Vec::from_iter(&arrows["c.rs"]), [&"a.rs"]);
    let circle = BTreeSet::from(["a.rs", "b/inner.rs", "c.rs"]);
    assert_eq!(circles(&arrows), BTreeSet::from([circle.clone()]));
    assert!(describe(&circle, &arrows).contains("a.rs uses b/inner.rs"));

    let table = "//! | file | contents |\n//! |---|---|\n//! | `a.rs`, `b/` | all |\n";
    let names = BTreeSet::from(["a.rs", "b/", "c.rs"]);
    assert_eq!(left_out(table, &names), ["c.rs"]);
    assert_eq!(left_out(&table.replace("//!", "//"), &names), ["c.rs"]);
}
