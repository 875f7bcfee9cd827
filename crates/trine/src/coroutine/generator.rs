//! Generators: functions that hand out values on the way, and go on where they were.
//!
//! ```text
//!      the caller's stack                       the generator's own stack
//!   ┌──────────────────────┐  send(r): switch  ┌──────────────────────────┐
//!   │ generator.send(r)    │ ────────────────► │ … = yielder.yield_(y)    │
//!   │   = Yielded(y)       │ ◄──────────────── │                          │
//!   └──────────────────────┘     switch back   └──────────────────────────┘
//! ```
//!
//! A generator is no task: it runs as part of whoever calls `send`, and a wait in it is a wait of
//! that coroutine or thread. Then the coroutine is suspended on the *generator's* stack: the
//! registers are saved there, and the carrier comes back there; the generator's way back to the
//! stack of `send` is not touched by it.

use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::mem;

use corosensei::{Coroutine, CoroutineResult};

use super::stack::{CoStack, thread};
use crate::task::cancel;

type Context<R, Y, T> = Coroutine<R, Y, T, CoStack>;

/// Larger functions are boxed: what a context is made with is copied to its stack in one piece,
/// without looking whether it fits.
const LARGEST_INLINE: usize = 512;

/// What [`Generator::send`] has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step<Y, T> {
    /// The generator handed out a value and waits for the next `send`.
    Yielded(Y),
    /// The generator's function has returned.
    Complete(T),
}

/// A function on a stack of its own that hands out values of `Y`, takes an `R` back for each, and ends
/// with a `T`.
///
/// With `R = ()` it is an [`Iterator`] of what it yields. Its function may yield from any depth of calls,
/// which is what a plain iterator cannot do:
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
/// With another `R` the two talk to each other. The first `send` begins the function, which gets its
/// value as an argument; each later one is what `yield_` returns:
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
/// It needs no coroutine and no carrier; on a plain thread it works the same. What waits in it makes
/// its caller wait.
///
/// # Dropping
///
/// A generator that is dropped half-way is unwound: `yield_` does not return, and the destructors on its
/// stack run, as at a panic but without a message. That takes a microsecond or two. If it catches it
/// and yields again, it is unwound again; a destructor that yields then aborts the program, as every
/// panic in a destructor during an unwinding does. A program that is built with `panic = "abort"`
/// cannot unwind: there, what stands on the stack is leaked.
///
/// # Threads and lifetimes
///
/// It stays on its thread, since values that are bound to the thread may live on its stack:
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
/// Its function borrows nothing, and neither do `R`, `Y` and `T`: a generator can be forgotten half-way,
/// and then frames that count on being returned to, such as that of
/// [`std::thread::scope`], stand still for good while what they have borrowed is gone:
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
/// below. A finished one leaves it to the next, still warm.
#[must_use = "a generator does nothing until send or next"]
pub struct Generator<R, Y, T> {
    /// `None` once the function has ended.
    context: Option<Context<R, Y, T>>,
    /// Not `Send`: see above.
    _stays: PhantomData<*mut ()>,
}

/// Through which a generator's function hands out values.
#[repr(transparent)]
pub struct Yielder<R, Y> {
    inner: corosensei::Yielder<R, Y>,
}

impl<R, Y> Yielder<R, Y> {
    fn new(inner: &corosensei::Yielder<R, Y>) -> &Yielder<R, Y> {
        // SAFETY: `repr(transparent)`: the same layout, and the same lifetime here.
        unsafe { &*std::ptr::from_ref(inner).cast() }
    }

    /// Hands `value` to the caller of `send` or `next`, and returns what is sent next.
    ///
    /// Does not return if the generator is dropped: the stack is unwound.
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
    /// A generator that will run `f`, with the first value that is sent.
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
        Generator { context: Some(context), _stays: PhantomData }
    }
}

impl<R, Y, T> Generator<R, Y, T> {
    /// Lets the function run until it yields or returns. `value` is its argument the first time, and
    /// what its `yield_` returns after that.
    ///
    /// # Panics
    ///
    /// If the function panics, with its panic; the generator has ended then. If it had ended before. If
    /// it yields in a call of [`time::timeout`](crate::time::timeout) or [`shield`](crate::shield), which would
    /// hold for its caller from then on; it is unwound first.
    #[inline]
    #[track_caller]
    pub fn send(&mut self, value: R) -> Step<Y, T> {
        let ended = RetireIfDone(&mut self.context);
        let Some(context) = ended.0 else { has_ended() };
        let guards = cancel::guards();
        match context.resume(value) {
            CoroutineResult::Yield(value) if guards == cancel::guards() => Step::Yielded(value),
            CoroutineResult::Yield(_) => {
                // What it has set up is undone first, in its order.
                cancel::while_unwinding(|| context.force_unwind());
                drop(ended);
                has_yielded_inside()
            }
            CoroutineResult::Return(value) => Step::Complete(value),
        }
    }

    /// Whether the function has returned or panicked, so that there is nothing to send to.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.context.is_none()
    }
}

#[cold]
#[track_caller]
fn has_ended() -> ! {
    panic!("a value was sent to a generator that has ended; ask `is_done` before `send`")
}

#[cold]
#[track_caller]
fn has_yielded_inside() -> ! {
    panic!(
        "a generator has yielded in a call of `timeout` or `shield`, which would hold for its caller; \
         yield before or after the call, or put it around `send`"
    )
}

/// Gives the stack of a context back that has returned or panicked, on the way out.
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

impl<R, Y, T> Drop for Generator<R, Y, T> {
    fn drop(&mut self) {
        /// Ends the context whether or not a destructor has panicked.
        struct Retire<'a, R, Y, T>(&'a mut Option<Context<R, Y, T>>);

        impl<R, Y, T> Drop for Retire<'_, R, Y, T> {
            fn drop(&mut self) {
                if let Some(context) = self.0 {
                    // SAFETY: it was unwound, which a context marks itself; or it had not started and a
                    // destructor of what its function had captured has panicked, after which the
                    // others were dropped too. Either way nothing is left on its stack.
                    unsafe { context.force_reset() };
                    retire(self.0);
                }
            }
        }

        if self.context.as_ref().is_some_and(Coroutine::started) && !cfg!(panic = "unwind") {
            return mem::forget(self.context.take());
        }
        let retire = Retire(&mut self.context);
        if let Some(context) = &mut *retire.0 {
            cancel::while_unwinding(|| context.force_unwind());
        }
    }
}

/// What the function yields; what it returns is dropped. Ends with the function.
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
