//! Programs that must not compile: the compiler names the cause, the remedy and the user's line.
//!
//! The cases are checked, not built, in a package of their own: an editor sees what a build does.
//! The tests compare only a few of the compiler's words, which change from version to version.

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

/// Checks one case. Returns the compiler's output if it fails, or `None`.
fn complaint(package: &Path, case: &str) -> Option<String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(package)
        .args(["check", "--quiet", "--offline", "--target-dir", "target", "--bin", case])
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (!output.status.success()).then_some(text)
}

#[test]
fn functions_that_cannot_cross_do_not_compile() {
    let package = package();
    for case in ["captures_nothing", "function_pointer"] {
        assert_eq!(complaint(&package, case), None);
    }
    let cases = [
        ("captures", "factor"),
        ("captures_token", "token"),
        ("map_captures", "factor"),
        ("preload_captures", "size"),
    ];
    for (case, captured) in cases {
        let text = complaint(&package, case).expect("a closure that captures does not compile");
        let captured = format!("`{captured}` captured here");
        for part in ["do not capture any variables", &captured, &format!("{case}.rs:")] {
            assert!(text.contains(part), "{case}: no `{part}` in:\n{text}");
        }
    }
    let text = complaint(&package, "borrowed").expect("a borrowed argument does not compile");
    for part in ["`&String` cannot cross", "have to be owned", "pass `String`", "borrowed.rs:"] {
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
