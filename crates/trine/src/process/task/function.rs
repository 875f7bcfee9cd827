//! How a function crosses to another process: as the offset of code that both have.
//!
//! Master and worker run the same file, so a function is at the same offset from the load address
//! in both. The function's *value* does not cross at all: its type is zero-sized, so there is
//! nothing to carry, and the worker makes a value from nothing.
//!
//! # Why that is sound
//!
//! A zero-sized value has no bytes that could be wrong. Only its existence could be wrong: a type
//! may be a proof (a token that only its module makes). The caller of [`Function::of`] has a
//! value, and the type is `Copy + Send + 'static`: the caller could have made any number of
//! copies, given them to any thread, and kept them forever. The worker's value is one such copy,
//! on the far side of a fork.
//!
//! Not covered is a `Copy` token that proves something about *this process's*
//! state ("the library has been initialised here") and is captured by the closure. A closure that
//! captures only zero-sized values is zero-sized as well, and crosses, but the worker has not run
//! the initialisation. Such a token is as wrong after a plain `fork` and `exec`; SOUNDNESS.md
//! lists it as a limit.

use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::panic::Location;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::value::{self, CodecError};
use crate::sys::io::arrived::Arrived;
use crate::sys::process::image;
use crate::task::CodecStage;

/// Decodes the argument with the descriptors that it needs, calls the function, and appends the
/// encoded result to `reply`. Returns the descriptors that belong to the result.
pub(in crate::process) type Trampoline = fn(
    argument: &[u8],
    descriptors: &mut Arrived,
    reply: &mut Vec<u8>,
) -> Result<Vec<OwnedFd>, CodecError>;

/// A function as it crosses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) struct Function {
    pub(in crate::process) offset: u64,
}

/// Proof that an `F` has no size, and so captures nothing.
pub(crate) struct CapturesNothing<F>(PhantomData<fn() -> F>);

impl<F> CapturesNothing<F> {
    /// Fails to compile for a function that has a size. The public functions call it themselves, so
    /// that the compiler names the line that called them.
    pub(crate) const fn check() -> CapturesNothing<F> {
        assert!(
            size_of::<F>() == 0,
            "the function given to a process task captures variables (or is a function pointer); a \
             process shares no memory with its caller: pass them in the argument, e.g. \
             `process::spawn((a, b), |(a, b)| ...)`"
        );
        CapturesNothing(PhantomData)
    }

    /// Like [`check`](CapturesNothing::check), for functions without an argument.
    pub(crate) const fn check_hook() -> CapturesNothing<F> {
        assert!(
            size_of::<F>() == 0,
            "the function given to `preload` or `initializer` captures variables (or is a function \
             pointer); it runs in another process, which shares no memory with its caller: pass \
             what it needs in the environment, e.g. `.env(\"MODEL\", path)`"
        );
        CapturesNothing(PhantomData)
    }
}

impl Function {
    /// Returns the function behind `F`.
    pub(in crate::process) fn of<A, R, F>(_: F, _: CapturesNothing<F>) -> Function
    where
        A: DeserializeOwned,
        R: Serialize,
        F: Fn(A) -> R + Copy + Send + 'static,
    {
        let trampoline: Trampoline = call::<A, R, F>;
        Function { offset: (trampoline as usize).wrapping_sub(image::base()) as u64 }
    }

    /// Returns the code in this process; `None` if the offset is outside of the program's image.
    ///
    /// # Safety
    ///
    /// The offset was made by [`of`](Function::of) in a process that runs the same build.
    pub(in crate::process) unsafe fn trampoline(self) -> Option<Trampoline> {
        let address = image::base().checked_add(usize::try_from(self.offset).ok()?)?;
        if !image::contains(address) {
            return None;
        }
        // SAFETY: the caller's promise: an instance of `call`, which has this type, is at this
        // offset of the same build.
        Some(unsafe { std::mem::transmute::<usize, Trampoline>(address) })
    }
}

fn call<A, R, F>(
    argument: &[u8],
    descriptors: &mut Arrived,
    reply: &mut Vec<u8>,
) -> Result<Vec<OwnedFd>, CodecError>
where
    A: DeserializeOwned,
    R: Serialize,
    F: Fn(A) -> R + Copy + Send + 'static,
{
    let argument: A = value::decode(argument, descriptors, CodecStage::DecodeArgument)?;
    // SAFETY: `F` is zero-sized (`of` has seen the proof), so any aligned address holds its
    // value, and a value is known to exist: see the argument above.
    let function: F = unsafe { std::ptr::NonNull::<F>::dangling().read() };
    let result = function(argument);
    value::encode(reply, &result, CodecStage::EncodeResult)
}

/// Returns the offset of a `Location` in the program's image; `None` if it is in a shared library.
pub(super) fn location_offset(location: &'static Location<'static>) -> Option<u64> {
    let address = std::ptr::from_ref(location) as usize;
    image::contains(address).then(|| (address - image::base()) as u64)
}

/// Returns the `Location` at an offset in this process.
///
/// # Safety
///
/// The offset was made by [`location_offset`] in a process that runs the same build.
pub(in crate::process) unsafe fn location_at(offset: u64) -> Option<&'static Location<'static>> {
    let address = image::base().checked_add(usize::try_from(offset).ok()?)?;
    if !image::contains(address) || !address.is_multiple_of(align_of::<Location<'static>>()) {
        return None;
    }
    // SAFETY: the caller's promise: in the same build a constant `Location` is at this offset; the
    // loader has relocated the text it points to.
    Some(unsafe { &*(address as *const Location<'static>) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn double(n: u32) -> u32 {
        n * 2
    }

    #[test]
    fn a_function_is_found_again_and_called() {
        fn of<F: Fn(u32) -> u32 + Copy + Send + 'static>(function: F) -> Function {
            Function::of(function, const { CapturesNothing::check() })
        }
        for function in [of(double), of(|n: u32| n * 2)] {
            // SAFETY: made above, in this very process.
            let trampoline = unsafe { function.trampoline() }.unwrap();
            let mut argument = Vec::new();
            value::encode(&mut argument, &21_u32, CodecStage::EncodeArgument).unwrap();
            let mut reply = vec![7];
            let stage = CodecStage::DecodeResult;
            let none = &mut Arrived::default();
            trampoline(&argument, none, &mut reply).unwrap();
            assert_eq!(value::decode::<u32>(&reply[1..], none, stage).unwrap(), 42);
            let error = trampoline(&[], none, &mut reply).unwrap_err();
            assert_eq!(error.stage, CodecStage::DecodeArgument);
        }
        // SAFETY: never called, as it is refused.
        assert!(unsafe { Function { offset: u64::MAX }.trampoline() }.is_none());
    }

    #[test]
    fn a_location_is_found_again() {
        let here = Location::caller();
        let offset = location_offset(here).unwrap();
        // SAFETY: made above, in this very process.
        assert_eq!(unsafe { location_at(offset) }, Some(here));
    }
}
