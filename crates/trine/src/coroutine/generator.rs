//! Generators: functions that yield values, and go on where they were.
//!
//! ```text
//!      the caller's stack                       the generator's own stack
//!   ┌──────────────────────┐  send(r): switch  ┌──────────────────────────┐
//!   │ generator.send(r)    │ ────────────────► │ … = yielder.yield_(y)    │
//!   │   = Yielded(y)       │ ◄──────────────── │                          │
//!   └──────────────────────┘     switch back   └──────────────────────────┘
//! ```
//!
//! A generator is no task. It runs as part of the caller of `send`, and a wait in it is a wait of
//! that coroutine or thread. Then the coroutine is suspended on the *generator's* stack: the
//! registers are saved there, and the carrier comes back there. The generator's way back to the
//! stack of `send` is not touched by that.

use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::mem;
use std::panic::{self, AssertUnwindSafe};

use corosensei::{Coroutine, CoroutineResult};

use super::stack::{CoStack, thread};
use crate::sys::thread_end;
use crate::task::cancel;

type Context<R, Y, T> = Coroutine<R, Y, T, CoStack>;

/// The largest function that is not boxed. A context copies the function to its stack in one piece,
/// without a check that it fits.
const LARGEST_INLINE: usize = 512;

/// The result of [`Generator::send`].
///
/// ```
/// use trine::coroutine::{Generator, Step};
///
/// let mut greeting = Generator::new(|yielder, name: &str| {
///     yielder.yield_(format!("hello, {name}"));
///     "done"
/// });
/// assert_eq!(greeting.send("you"), Step::Yielded(String::from("hello, you")));
/// assert_eq!(greeting.send("again"), Step::Complete("done"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step<Y, T> {
    /// The generator handed out a value and waits for the next `send`.
    Yielded(Y),
    /// The generator's function has returned.
    Complete(T),
}

/// A function on a stack of its own that hands out values of `Y`, takes an `R` back for each, and
/// ends with a `T`.
///
/// With `R = ()` it is an [`Iterator`] of the yielded values. Its function may yield from any depth
/// of calls, which no plain iterator can do:
///
/// ```
/// use trine::coroutine::{Generator, Yielder};
///
/// struct Tree(u32, Vec<Tree>);
///
/// fn visit(tree: &Tree, yielder: &Yielder<(), u32>) {
///     yielder.yield_(tree.0);
///     for child in &tree.1 {
///         visit(child, yielder);
///     }
/// }
///
/// let tree = Tree(1, vec![Tree(2, vec![Tree(3, vec![])]), Tree(4, vec![])]);
/// let numbers = Generator::new(move |yielder, ()| visit(&tree, yielder));
/// assert_eq!(numbers.collect::<Vec<_>>(), [1, 2, 3, 4]);
/// ```
///
/// With another `R` caller and function exchange values. The first `send` starts the function,
/// which gets the value as its argument; `yield_` returns the value of each later one:
///
/// ```
/// use trine::coroutine::{Generator, Step};
///
/// let mut mean = Generator::new(|yielder, first: Option<f64>| {
///     let (mut sum, mut count, mut next) = (0.0, 0, first);
///     while let Some(number) = next {
///         sum += number;
///         count += 1;
///         next = yielder.yield_(sum / f64::from(count));
///     }
///     count
/// });
/// assert_eq!(mean.send(Some(10.0)), Step::Yielded(10.0));
/// assert_eq!(mean.send(Some(20.0)), Step::Yielded(15.0));
/// assert_eq!(mean.send(None), Step::Complete(2));
/// ```
///
/// A generator needs no coroutine and no carrier; on a plain thread it works the same. A wait in it
/// makes its caller wait.
///
/// # Dropping
///
/// A generator that is dropped half-way is unwound: `yield_` does not return, and the destructors
/// on its stack run, as at a panic but without a message. That takes a microsecond or two. If it
/// catches the unwinding and yields again, the value is dropped and it is unwound again, until its
/// function has ended. The first panic of a destructor then continues in the caller of `drop`. A
/// destructor that yields aborts the program, as every panic in a destructor during an unwinding
/// does. A program that is built with `panic = "abort"` cannot unwind: there, the values on the
/// stack are leaked.
///
/// # Threads and lifetimes
///
/// A generator stays on its thread, since values that are bound to the thread may live on its
/// stack:
///
/// ```compile_fail,E0277
/// use trine::coroutine::Generator;
///
/// let shared = std::rc::Rc::new(1);
/// let mut generator = Generator::new(move |yielder, ()| {
///     let mine = shared.clone();
///     yielder.yield_(*mine);
/// });
/// generator.next();
/// // Would count down without a lock, while another thread may have a clone.
/// std::thread::spawn(move || drop(generator));
/// ```
///
/// A generator that is kept in a thread-local cannot go on when its thread has ended. The
/// destructors of thread-locals run one after the other, and its stack may borrow from a value that
/// was already dropped. So `send` panics there, and the drop of a generator that has started leaks
/// the values on its stack, and the stack. A generator that such a destructor makes for itself
/// works.
///
/// Its function borrows nothing, and neither do `R`, `Y` and `T`. A generator can be forgotten
/// half-way. Then frames that rely on being returned to, such as that of [`std::thread::scope`],
/// stay suspended forever, while the values that they have borrowed are dropped:
///
/// ```compile_fail,E0597
/// use trine::coroutine::Generator;
///
/// let numbers = vec![1, 2, 3];
/// let borrowed = &numbers;
/// let mut generator = Generator::new(move |yielder, ()| {
///     std::thread::scope(|scope| {
///         scope.spawn(|| loop { std::hint::black_box(borrowed); });
///         yielder.yield_(());
///     });
/// });
/// generator.next();
/// std::mem::forget(generator);
/// drop(numbers); // Would be read by the thread of the scope.
/// ```
///
/// Its stack has the size of [`Config::stack_size`](crate::Config::stack_size), with a guard page
/// below. A finished generator leaves its stack to the next one, still warm.
#[must_use = "a generator does nothing until send or next"]
pub struct Generator<R, Y, T> {
    /// `None` once the function has ended.
    context: Option<Context<R, Y, T>>,
    /// The era of its thread's storage in which it was made, and its stack taken.
    era: u32,
    /// Not `Send`: see above.
    _stays: PhantomData<*mut ()>,
}

/// The means by which a generator's function hands out values; see [`Generator::new`].
///
/// ```
/// use trine::coroutine::{Generator, Yielder};
///
/// fn countdown(yielder: &Yielder<(), u32>, (): ()) {
///     (1..=3).rev().for_each(|n| yielder.yield_(n));
/// }
/// assert!(Generator::new(countdown).eq([3, 2, 1]));
/// ```
#[repr(transparent)]
pub struct Yielder<R, Y> {
    inner: corosensei::Yielder<R, Y>,
}

impl<R, Y> Yielder<R, Y> {
    fn new(inner: &corosensei::Yielder<R, Y>) -> &Yielder<R, Y> {
        // SAFETY: `repr(transparent)`: the same layout, and the same lifetime here.
        unsafe { &*std::ptr::from_ref(inner).cast() }
    }

    /// Hands `value` to the caller of `send` or `next`, and returns the value that is sent next.
    ///
    /// Does not return if the generator is dropped: the stack is unwound.
    ///
    /// ```
    /// use trine::coroutine::{Generator, Step};
    ///
    /// let mut sum = Generator::new(|yielder, a: u32| {
    ///     let b = yielder.yield_("and?");
    ///     a + b
    /// });
    /// assert_eq!(sum.send(1), Step::Yielded("and?"));
    /// assert_eq!(sum.send(2), Step::Complete(3));
    /// ```
    #[inline]
    pub fn yield_(&self, value: Y) -> R {
        self.inner.suspend(value)
    }
}

impl<R, Y> fmt::Debug for Yielder<R, Y> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Yielder").finish_non_exhaustive()
    }
}

impl<R: 'static, Y: 'static, T: 'static> Generator<R, Y, T> {
    /// Makes a generator that will run `f`, with the first value that is sent.
    ///
    /// ```
    /// let squares = trine::coroutine::Generator::new(|yielder, ()| {
    ///     for n in 1_u32.. {
    ///         yielder.yield_(n * n);
    ///     }
    /// });
    /// assert_eq!(squares.take(3).collect::<Vec<_>>(), [1, 4, 9]);
    /// ```
    ///
    /// # Panics
    ///
    /// If there is no memory for a stack; the message names the limit and the remedy.
    #[track_caller]
    pub fn new<F>(f: F) -> Generator<R, Y, T>
    where
        F: FnOnce(&Yielder<R, Y>, R) -> T + 'static,
    {
        let stack = match thread::take() {
            Ok(stack) => stack,
            Err(reason) => panic!("no stack for a generator: {reason}"),
        };
        let context = if size_of::<F>() <= LARGEST_INLINE {
            Context::with_stack(stack, move |yielder, first| f(Yielder::new(yielder), first))
        } else {
            let f = Box::new(f);
            Context::with_stack(stack, move |yielder, first| f(Yielder::new(yielder), first))
        };
        Generator { context: Some(context), era: thread_end::era(), _stays: PhantomData }
    }
}

impl<R, Y, T> Generator<R, Y, T> {
    /// Lets the function run until it yields or returns. `value` is its argument the first time,
    /// and the result of its `yield_` after that.
    ///
    /// ```
    /// use trine::coroutine::{Generator, Step};
    ///
    /// let mut echo = Generator::new(|yielder, first: u8| {
    ///     yielder.yield_(first);
    /// });
    /// assert_eq!(echo.send(7), Step::Yielded(7));
    /// assert_eq!(echo.send(8), Step::Complete(()));
    /// ```
    ///
    /// # Panics
    ///
    /// - If the function panics, with its panic. The generator has ended then.
    /// - If the generator has ended before.
    /// - In the destructor of a thread-local, if the generator was made before: see
    ///   [above](Generator#threads-and-lifetimes).
    /// - If the function yields in a call of [`time::timeout`](crate::time::timeout) or
    ///   [`shield`](crate::shield), which would hold for its caller from then on. The function is
    ///   unwound first.
    #[inline]
    #[track_caller]
    pub fn send(&mut self, value: R) -> Step<Y, T> {
        if self.era != thread_end::era() && !self.is_done() {
            is_too_late()
        }
        let ended = RetireIfDone(&mut self.context);
        let Some(context) = ended.0 else { has_ended() };
        let guards = cancel::guards();
        match resume(context, value) {
            CoroutineResult::Yield(value) if guards == cancel::guards() => {
                // Its stack may borrow from a thread-local that was made in this turn.
                thread_end::guard();
                Step::Yielded(value)
            }
            CoroutineResult::Yield(value) => {
                // The function's guards are undone first, in its order.
                let unwound = unwind_all(context, value);
                drop(ended);
                if let Err(payload) = unwound {
                    panic::resume_unwind(payload);
                }
                has_yielded_inside()
            }
            CoroutineResult::Return(value) => Step::Complete(value),
        }
    }

    /// Returns true if the function has returned or panicked, so that it takes no more values.
    ///
    /// ```
    /// let mut once = trine::coroutine::Generator::new(|yielder, ()| yielder.yield_(1));
    /// assert_eq!(once.next(), Some(1));
    /// assert!(!once.is_done());
    /// assert_eq!(once.next(), None);
    /// assert!(once.is_done());
    /// ```
    #[inline]
    pub fn is_done(&self) -> bool {
        self.context.is_none()
    }
}

/// Switches to the function. Never inlined, as `sys/cleanup.rs` demands: the panic of the function
/// goes on from here, and the table of the caller's frame has an entry for this call, but not for
/// the switch.
#[inline(never)]
fn resume<R, Y, T>(context: &mut Context<R, Y, T>, value: R) -> CoroutineResult<Y, T> {
    context.resume(value)
}

#[cold]
#[track_caller]
fn has_ended() -> ! {
    panic!("a value was sent to a generator that has ended; ask `is_done` before `send`")
}

#[cold]
#[track_caller]
fn is_too_late() -> ! {
    panic!(
        "a generator was resumed in the destructor of a thread-local: it may borrow from another \
         one, which was destroyed before; drop it before its thread ends"
    )
}

#[cold]
#[track_caller]
fn has_yielded_inside() -> ! {
    panic!(
        "a generator has yielded in a call of `timeout` or `shield`, which would hold for its \
         caller; yield before or after the call, or put it around `send`"
    )
}

/// Takes back the stack of a context that has returned or panicked, when dropped.
struct RetireIfDone<'a, R, Y, T>(&'a mut Option<Context<R, Y, T>>);

impl<R, Y, T> Drop for RetireIfDone<'_, R, Y, T> {
    #[inline]
    fn drop(&mut self) {
        if self.0.as_ref().is_some_and(Coroutine::done) {
            retire(self.0);
        }
    }
}

#[cold]
fn retire<R, Y, T>(context: &mut Option<Context<R, Y, T>>) {
    let context = context.take().expect("only a context that is there is done");
    thread::release(context.into_stack());
}

/// Drops `before` and unwinds the context until its function has ended. The error is the first
/// panic of a destructor.
///
/// A panic may interrupt the unwinding: that of `before`, of the function, or of a value that the
/// function yields meanwhile. In the last case the function has *not* ended, and others may still
/// borrow from its stack, such as the threads of a [`std::thread::scope`]. So it is unwound again.
///
/// Never inlined, for the same reason as [`resume`].
#[inline(never)]
fn unwind_all<R, Y, T, B>(context: &mut Context<R, Y, T>, before: B) -> std::thread::Result<()> {
    let mut first = panic::catch_unwind(AssertUnwindSafe(|| drop(before)));
    while !context.done() {
        let begun = context.started();
        let step = panic::catch_unwind(AssertUnwindSafe(|| context.force_unwind()));
        if let Err(payload) = step {
            match first {
                Ok(()) => first = Err(payload),
                // The payload's own destructor could panic again.
                Err(_) => mem::forget(payload),
            }
            if !begun {
                // SAFETY: nothing is left on the stack of a context that had not started: a
                // destructor of its function's captures has panicked, after which the other
                // captures were dropped too.
                unsafe { context.force_reset() };
            }
        }
    }
    first
}

impl<R, Y, T> Drop for Generator<R, Y, T> {
    fn drop(&mut self) {
        let Some(context) = &mut self.context else { return };
        let is_late = self.era != thread_end::era();
        if context.started() && (is_late || !cfg!(panic = "unwind")) {
            return mem::forget(self.context.take());
        }
        let unwound = unwind_all(context, ());
        if is_late {
            // The cache of its stack has another thread by now.
            mem::forget(self.context.take().map(Context::into_stack));
        } else {
            retire(&mut self.context);
        }
        if let Err(payload) = unwound {
            panic::resume_unwind(payload);
        }
    }
}

/// Iterates over the yielded values; the result is dropped. Ends with the function.
impl<Y, T> Iterator for Generator<(), Y, T> {
    type Item = Y;

    #[inline]
    fn next(&mut self) -> Option<Y> {
        if self.is_done() {
            return None;
        }
        match self.send(()) {
            Step::Yielded(value) => Some(value),
            Step::Complete(_) => None,
        }
    }
}

impl<Y, T> FusedIterator for Generator<(), Y, T> {}

impl<R, Y, T> fmt::Debug for Generator<R, Y, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator").field("done", &self.is_done()).finish_non_exhaustive()
    }
}
