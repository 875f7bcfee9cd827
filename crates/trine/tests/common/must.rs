//! Assertions of stress tests, whose program has accounts in `books`.

/// Asserts as `assert!` does, but cannot be caught.
#[macro_export]
macro_rules! must {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            $crate::books::fail(format_args!($($what)+));
        }
    };
}
