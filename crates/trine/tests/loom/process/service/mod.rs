//! Stand-ins for the service thread.

pub(in crate::process) struct Service;

pub(super) mod capture {
    use crate::task::Printed;

    pub(in crate::process) struct Capture;

    impl Capture {
        pub(in crate::process) fn take(&self) -> Printed {
            Printed
        }
    }
}
