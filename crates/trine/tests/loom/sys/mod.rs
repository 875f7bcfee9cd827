//! Stands in for `crate::sys` below the protocols between processes: the processes of a model are
//! threads, and their memory is loom's atomics.

pub(crate) mod atomic;
pub(crate) mod futex;
pub(crate) mod io {
    /// No descriptors arrive in a model.
    pub(crate) mod arrived {
        pub(crate) type Arrived = Vec<std::os::fd::OwnedFd>;
    }
    pub(crate) mod poll {
        pub(crate) struct Poll;
    }
    pub(crate) mod reopen;
    pub(crate) mod socket;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Blocking {
        Yes,
        No,
    }
}
pub(crate) mod life;
pub(crate) mod memory {
    pub(crate) mod sealed;
    pub(crate) mod shared;
}
pub(crate) mod presence;
pub(crate) mod semaphore;
pub(crate) mod time;

pub(crate) fn eprint(text: impl std::fmt::Display) {
    eprint!("{text}");
}

/// The size of the first page, which holds words to sleep on, 128 bytes apart.
pub(crate) fn page_size() -> usize {
    256
}

pub(crate) mod process {
    /// No model kills a worker other than its own.
    pub(crate) mod child {
        pub(crate) fn kill<D: std::fmt::Debug>(pidfd: &D) -> std::io::Result<()> {
            panic!("{pidfd:?} has written nonsense");
        }

        pub(crate) fn user_of(_: u32) -> Option<u32> {
            None
        }
    }

    /// No model changes its user.
    pub(crate) mod lifeline {
        #[derive(Debug)]
        pub(crate) enum Lifeline {}

        impl Lifeline {
            pub(crate) fn cut(&self) {
                match *self {}
            }
        }
    }
}

pub(crate) mod signal {
    pub(crate) mod sigterm {
        pub(crate) fn request<D>(_: &D) {}
    }
}
