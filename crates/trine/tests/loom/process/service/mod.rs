//! A stand-in for captured output, which no model has.

pub(super) mod capture {
    use crate::task::Printed;

    pub(in crate::process) struct Capture;

    impl Capture {
        pub(in crate::process) fn take(&self) -> Printed {
            Printed
        }
    }
}
