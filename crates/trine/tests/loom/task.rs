//! Stands in for what the locks use of `crate::task`.

/// Waiting: a token for each thread of a model.
pub(crate) mod park {
    use std::sync::Arc;
    use std::task::{Wake, Waker};
    use std::time::Instant;

    struct Token(loom::sync::Notify);

    impl Wake for Token {
        fn wake(self: Arc<Self>) {
            self.0.notify();
        }
    }

    loom::thread_local! {
        static TOKEN: Arc<Token> = Arc::new(Token(loom::sync::Notify::new()));
    }

    pub(crate) fn waker() -> Waker {
        TOKEN.with(|token| Waker::from(Arc::clone(token)))
    }

    /// Waits for a wake-up; may return early. A deadline is always over.
    pub(crate) fn wait_or_unwind(deadline: Option<Instant>) {
        if deadline.is_none() {
            TOKEN.with(|token| token.0.wait());
        }
    }
}

/// Who calls.
pub(crate) mod registry {
    loom::thread_local! {
        static HERE: Box<u8> = Box::new(0);
    }

    pub(crate) fn caller() -> usize {
        HERE.with(|here| std::ptr::from_ref(&**here).addr())
    }
}
