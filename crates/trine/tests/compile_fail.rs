//! Programs that must not compile: the compiler names the cause, the remedy and the user's line.
//!
//! The check of a capture comes after type checking, so the cases are really built, in a package of
//! their own. Only the library's own words are compared: the compiler's change from version to
//! version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes a package that has the cases as its programs and depends on this crate.
fn package() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile_fail");
    let programs = package.join("src/bin");
    fs::create_dir_all(&programs).unwrap();
    for case in fs::read_dir(here.join("tests/compile_fail")).unwrap() {
        let case = case.unwrap();
        fs::copy(case.path(), programs.join(case.file_name())).unwrap();
    }
    let manifest = format!(
        "[package]\nname = \"compile_fail\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [dependencies]\ntrine = {{ path = {here:?} }}\n[workspace]\n"
    );
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    // Uses the versions of the workspace, so that nothing has to be fetched.
    fs::copy(here.join("../../Cargo.lock"), package.join("Cargo.lock")).unwrap();
    package
}

/// Builds one case. Returns the compiler's output if it fails, or `None`.
fn complaint(package: &Path, case: &str) -> Option<String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(package)
        .args(["build", "--quiet", "--offline", "--target-dir", "target", "--bin", case])
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (!output.status.success()).then_some(text)
}

#[test]
fn functions_that_cannot_cross_do_not_compile() {
    let package = package();
    assert_eq!(complaint(&package, "captures_nothing"), None);
    for case in ["captures", "function_pointer", "map_captures"] {
        let text = complaint(&package, case).expect("a function with a size does not compile");
        for part in ["captures variables", "pass them in the argument", &format!("{case}.rs:")] {
            assert!(text.contains(part), "{case}: no `{part}` in:\n{text}");
        }
    }
    let text = complaint(&package, "preload_captures").expect("it does not compile either");
    for part in
        ["captures variables", "pass what it needs in the environment", "preload_captures.rs:"]
    {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    let text = complaint(&package, "not_serde").expect("a result without serde does not compile");
    assert!(text.contains("Plain: serde") && text.contains("not_serde.rs:"), "{text}");
}

#[test]
fn what_would_outlive_its_scope_does_not_compile() {
    let package = package();
    assert_eq!(complaint(&package, "scope_borrows"), None);
    let cases = [
        ("borrow_escapes", "E0373", "inner"),
        ("handle_outlives", "lifetime may not live long enough", "s.thread"),
        ("not_send", "E0277", "Rc<i32>"),
    ];
    for (case, error, place) in cases {
        let text = complaint(&package, case).expect("it would be unsound");
        for part in [error, place, &format!("{case}.rs:")] {
            assert!(text.contains(part), "{case}: no `{part}` in:\n{text}");
        }
    }
}
