//! How a function crosses to another process: as the offset of code that both have.
//!
//! Master and worker run the same file, so a function is at the same offset from the load address
//! in both. A function is given as a pointer, `fn(A) -> R`: a function item, or a closure that
//! captures nothing, becomes one. A closure that captures does not, not even if it captures only
//! values without a size, so no value has to cross beside the code. See ARCHITECTURE.md for the
//! alternative.
//!
//! Two offsets cross: that of the function, and that of the instance of [`call`] for its types,
//! which decodes its argument and encodes its result.

use std::os::fd::OwnedFd;
use std::panic::Location;

use serde::{Deserialize, Serialize};

use super::value::{self, CodecError};
use crate::process::portable::Portable;
use crate::sys::io::arrived::Arrived;
use crate::sys::process::image;
use crate::task::CodecStage;

/// Decodes the argument with the descriptors that it needs, calls the function at `code`, and
/// appends the encoded result to `reply`. Returns the descriptors that belong to the result.
type Trampoline = unsafe fn(
    code: usize,
    argument: &[u8],
    descriptors: &mut Arrived,
    reply: &mut Vec<u8>,
) -> Result<Vec<OwnedFd>, CodecError>;

/// A function as it crosses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::process) struct Function {
    /// Offset of the instance of [`call`] for its types, in the program's image.
    trampoline: u64,
    /// Offset of its code.
    code: u64,
}

/// A function in the process that is to call it.
#[derive(Clone, Copy, Debug)]
pub(in crate::process) struct Callable {
    trampoline: Trampoline,
    code: usize,
}

impl Function {
    /// Returns the function at a pointer. One outside of the program's code cannot be called
    /// elsewhere.
    pub(in crate::process) fn of<A: Portable, R: Portable>(function: fn(A) -> R) -> Function {
        let trampoline: Trampoline = call::<A, R>;
        Function { trampoline: offset(trampoline as usize), code: offset(function as usize) }
    }

    /// Returns the code in this process; `None` if an offset is outside of the program's code.
    ///
    /// # Safety
    ///
    /// The offsets were made by [`of`](Function::of) in a process that runs the same build.
    pub(in crate::process) unsafe fn resolve(self) -> Option<Callable> {
        let [trampoline, code] = self.addresses()?;
        // SAFETY: the caller's promise: an instance of `call`, which has this type, is at this
        // offset of the same build.
        let trampoline = unsafe { std::mem::transmute::<usize, Trampoline>(trampoline) };
        Some(Callable { trampoline, code })
    }

    /// Returns true if the function is code of the program, so that each process of it has it.
    pub(in crate::process) fn can_cross(self) -> bool {
        self.addresses().is_some()
    }

    fn addresses(self) -> Option<[usize; 2]> {
        Some([address(self.trampoline)?, address(self.code)?])
    }
}

/// Returns the offset of an address in the program's image.
pub(super) fn offset(address: usize) -> u64 {
    address.wrapping_sub(image::base()) as u64
}

/// Returns the address at an offset; `None` if it is outside of the program's code.
pub(super) fn address(offset: u64) -> Option<usize> {
    let address = image::base().wrapping_add(offset as usize);
    image::is_code(address).then_some(address)
}

impl Callable {
    /// Decodes the argument with the descriptors that it needs, calls the function, and appends
    /// the encoded result to `reply`. Returns the descriptors that belong to the result.
    pub(in crate::process) fn call(
        self,
        argument: &[u8],
        descriptors: &mut Arrived,
        reply: &mut Vec<u8>,
    ) -> Result<Vec<OwnedFd>, CodecError> {
        // SAFETY: made by `resolve`, of the two offsets of one `Function`: the function has the
        // types of the trampoline.
        unsafe { (self.trampoline)(self.code, argument, descriptors, reply) }
    }
}

/// # Safety
///
/// `code` is the address of a `fn(A) -> R`.
unsafe fn call<A: Portable, R: Portable>(
    code: usize,
    argument: &[u8],
    descriptors: &mut Arrived,
    reply: &mut Vec<u8>,
) -> Result<Vec<OwnedFd>, CodecError> {
    let argument: A = value::decode(argument, descriptors, CodecStage::DecodeArgument)?;
    // SAFETY: the caller's promise.
    let function = unsafe { std::mem::transmute::<usize, fn(A) -> R>(code) };
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
    use std::sync::atomic::AtomicU32;

    use super::*;

    fn double(n: u32) -> u32 {
        n * 2
    }

    #[test]
    fn a_function_is_found_again_and_called() {
        for function in [Function::of(double), Function::of(|n: u32| n * 2)] {
            // SAFETY: made above, in this very process.
            let callable = unsafe { function.resolve() }.unwrap();
            let mut argument = Vec::new();
            value::encode(&mut argument, &21_u32, CodecStage::EncodeArgument).unwrap();
            let mut reply = vec![7];
            let stage = CodecStage::DecodeResult;
            let none = &mut Arrived::default();
            callable.call(&argument, none, &mut reply).unwrap();
            assert_eq!(value::decode::<u32>(&reply[1..], none, stage).unwrap(), 42);
            let error = callable.call(&[], none, &mut reply).unwrap_err();
            assert_eq!(error.stage, CodecStage::DecodeArgument);
        }
        static DATA: AtomicU32 = AtomicU32::new(0);
        let known = Function::of(double);
        let data = (&raw const DATA as usize - image::base()) as u64;
        for offset in [0, data, u64::MAX] {
            let (code, trampoline) = (offset, offset);
            for forged in [Function { code, ..known }, Function { trampoline, ..known }] {
                // SAFETY: never called, as it is refused.
                assert!(unsafe { forged.resolve() }.is_none());
            }
        }
    }

    #[test]
    fn a_location_is_found_again() {
        let here = Location::caller();
        let offset = location_offset(here).unwrap();
        // SAFETY: made above, in this very process.
        assert_eq!(unsafe { location_at(offset) }, Some(here));
    }
}
