//! Programs with `panic = "abort"`: a wait that would unwind says so and ends the program. It does
//! not wait for ever.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the program in a package of its own, with its own profile. Returns its path.
fn build() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("panic_abort");
    fs::create_dir_all(package.join("src")).unwrap();
    fs::copy(here.join("tests/panic_abort/program.rs"), package.join("src/main.rs")).unwrap();
    let manifest = format!(
        "[package]\nname = \"panic_abort\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [dependencies]\ntrine = {{ path = {here:?} }}\n[workspace]\n\
         [profile.dev]\npanic = \"abort\"\ndebug = false\n"
    );
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    // Uses the versions of the workspace, so that nothing has to be fetched.
    fs::copy(here.join("../../Cargo.lock"), package.join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .current_dir(&package)
        .args(["build", "--quiet", "--offline", "--target-dir", "target"])
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    package.join("target/debug/panic_abort")
}

#[test]
fn an_interruption_that_cannot_unwind_says_so_and_ends_the_program() {
    let program = build();
    for case in ["coroutine", "thread", "timeout", "event", "loop", "scope", "race"] {
        let output = Command::new(&program).arg(case).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{case}: {text}");
        for part in ["in a wait that cannot fail", "panic = \"abort\"", "return a Result"] {
            assert!(text.contains(part), "{case}: no `{part}` in {text}");
        }
        let is_named = text.contains("`sleeper`");
        assert_eq!(is_named, matches!(case, "coroutine" | "thread"), "{case}: {text}");
    }
    let output = Command::new(&program).arg("others").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {text}", output.status);
}
