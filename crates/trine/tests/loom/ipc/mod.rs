//! Models of the memory that unrelated processes share.

#[allow(dead_code, reason = "the models do not use all of it")]
mod channel {
    #[path = "../../../../src/ipc/channel/block.rs"]
    mod block;
    mod deaths;
    #[path = "../../../../src/ipc/channel/layout.rs"]
    mod layout;
    mod messages;
    #[path = "../../../../src/ipc/channel/ring.rs"]
    mod ring;
}

#[allow(dead_code, reason = "as above")]
mod mutex {
    mod holders;
    #[path = "../../../../src/ipc/mutex/state.rs"]
    mod state;
}

mod semaphore {
    mod permits;
    #[allow(dead_code, reason = "as above")]
    #[path = "../../../../src/ipc/semaphore/state.rs"]
    mod state;
}

#[path = "../../../src/ipc/fingerprint.rs"]
mod fingerprint;

mod shared {
    /// Stands for the errors of shared memory, which do not occur in a model.
    #[allow(dead_code, reason = "no model makes one")]
    #[derive(Debug)]
    pub(crate) enum SharedError {
        TooLarge,
        Size { expected: usize, found: usize },
        Content,
    }

    impl SharedError {
        pub(crate) fn of_new(_: usize) -> impl Fn(std::convert::Infallible) -> SharedError {
            |error| match error {}
        }
    }
}
