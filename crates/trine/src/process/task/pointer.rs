//! A function that crosses inside of an argument, as the function of a supervisor's child does: its
//! offset, as in `function.rs`.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{encode, function};
use crate::task::Cause;

/// A pointer to a function of a reference and a value.
///
/// It must be a part only of arguments that this crate makes, and is therefore private to it: a
/// program that decodes one from bytes of its own could call any code.
pub(crate) struct Pointer<C, A, R>(fn(&C, A) -> R);

impl<C, A, R> Pointer<C, A, R> {
    /// Returns the pointer to a function.
    ///
    /// # Errors
    ///
    /// The function is not code of the program, so another process may have it elsewhere.
    pub(crate) fn of(function: fn(&C, A) -> R) -> Result<Self, Cause> {
        match function::address(function::offset(function as usize)) {
            Some(_) => Ok(Pointer(function)),
            None => Err(encode::foreign_code()),
        }
    }

    pub(crate) fn call(self, context: &C, arg: A) -> R {
        (self.0)(context, arg)
    }
}

impl<C, A, R> Serialize for Pointer<C, A, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(function::offset(self.0 as usize))
    }
}

impl<'de, C, A, R> Deserialize<'de> for Pointer<C, A, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let address = function::address(u64::deserialize(deserializer)?)
            .ok_or_else(|| D::Error::custom("the offset of its function is outside of the code"))?;
        // SAFETY: the offset was made above, from a pointer of this type, in a process of the same
        // build: an argument arrives from the sender of the `Function` that decodes it, whose
        // types are those of the encoding.
        Ok(Pointer(unsafe { std::mem::transmute::<usize, fn(&C, A) -> R>(address) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(a: &u32, b: u32) -> u32 {
        a + b
    }

    #[test]
    fn a_pointer_is_found_again_and_one_outside_of_the_code_is_refused() {
        let bytes = postcard::to_allocvec(&Pointer::of(add).unwrap()).unwrap();
        let same: Pointer<u32, u32, u32> = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(same.call(&20, 22), 42);
        for forged in [0_u64, u64::MAX] {
            let bytes = postcard::to_allocvec(&forged).unwrap();
            assert!(postcard::from_bytes::<Pointer<u32, u32, u32>>(&bytes).is_err());
        }
        let address = libc::getpid as *const () as usize;
        // SAFETY: never called, as it is refused.
        let foreign = unsafe { std::mem::transmute::<usize, fn(&u32, u32) -> u32>(address) };
        assert!(matches!(Pointer::of(foreign), Err(Cause::NotSpawned { .. })));
    }
}
