//! What does not compile, and what it says.

#[test]
fn functions_that_cannot_cross_do_not_compile() {
    let cases = trybuild::TestCases::new();
    // The check comes after type checking, so the cases are really built; a passing one asks for that.
    cases.pass("tests/process_ui/captures_nothing.rs");
    cases.compile_fail("tests/process_ui/captures.rs");
    cases.compile_fail("tests/process_ui/function_pointer.rs");
    cases.compile_fail("tests/process_ui/not_serde.rs");
}
