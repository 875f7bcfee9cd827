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

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::panic::Location;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ipc::carry;
use crate::sys::io::arrived::Arrived;
use crate::sys::io::socket::MOST_DESCRIPTORS;
use crate::sys::limits;
use crate::sys::memory::sealed::{Frozen, Written};
use crate::sys::process::image;
use crate::task::{Cause, CodecStage, bytes as in_words};

/// The error of a value that could not be encoded or decoded.
#[derive(Debug)]
pub(in crate::process) struct CodecError {
    pub(in crate::process) stage: CodecStage,
    pub(in crate::process) message: String,
}

/// Decodes the argument, calls the function, and appends the encoded result to `reply`. Returns the
/// descriptors that belong to the result.
pub(in crate::process) type Trampoline = fn(
    argument: &[u8],
    descriptors: Arrived,
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

impl CodecError {
    pub(in crate::process) fn into_cause(self) -> Cause {
        Cause::Codec { stage: self.stage, message: self.message }
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
    descriptors: Arrived,
    reply: &mut Vec<u8>,
) -> Result<Vec<OwnedFd>, CodecError>
where
    A: DeserializeOwned,
    R: Serialize,
    F: Fn(A) -> R + Copy + Send + 'static,
{
    let argument: A = decode(argument, descriptors, CodecStage::DecodeArgument)?;
    // SAFETY: `F` is zero-sized (`of` has seen the proof), so any aligned address holds its
    // value, and a value is known to exist: see the argument above.
    let function: F = unsafe { std::ptr::NonNull::<F>::dangling().read() };
    let result = function(argument);
    encode(reply, &result, CodecStage::EncodeResult)
}

/// The byte before an encoded value whose bytes follow.
const HERE: u8 = 0;
/// The byte in place of an encoded value in sealed memory. The memory's descriptor is the value's
/// last.
const IN_MEMORY: u8 = 1;

/// The length from which on a value goes into memory of its own. The writer and the reader copy
/// that once each; a socket takes two copies more, and wakes both sides for every 200 KiB.
const LONG: usize = 128 * 1024;
/// The bytes of a long value that are gathered before they are written.
const PIECE: usize = 64 * 1024;

/// The most bytes of an encoded result, unless the pool has another limit.
pub(in crate::process) const MAX_RESULT: u64 = 1 << 30;

/// The most bytes of a result that this worker sends.
static LIMIT: AtomicU64 = AtomicU64::new(MAX_RESULT);

/// Sets the most bytes of a result that this worker sends. Its master accepts no more.
pub(in crate::process) fn limit_results(bytes: u64) {
    LIMIT.store(bytes, Relaxed);
}

/// Appends an encoded value to `bytes` or, if it is long, puts it into memory of its own.
struct Sink<'a> {
    bytes: &'a mut Vec<u8>,
    /// The beginning of the value, behind its [`HERE`].
    start: usize,
    memory: Option<Written>,
    /// The number of bytes in the memory.
    written: u64,
    /// True if memory of its own was refused.
    refused: bool,
    /// The reason why that memory could not be filled.
    failure: &'a mut Option<io::Error>,
    /// The most bytes of the value that stay in `bytes`.
    short: usize,
    /// The most bytes of the value.
    most: u64,
    is_too_long: &'a Cell<bool>,
}

impl Sink<'_> {
    /// Refuses a value that gets longer than it may be.
    fn check(&self, more: usize) -> postcard::Result<()> {
        let len = self.written + (self.bytes.len() - self.start + more) as u64;
        if len <= self.most {
            return Ok(());
        }
        self.is_too_long.set(true);
        Err(postcard::Error::SerializeBufferFull)
    }

    #[cold]
    fn extend_long(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.check(bytes.len())?;
        if self.memory.is_none() && !self.refused {
            self.memory = Written::new().ok();
            self.refused = self.memory.is_none();
        }
        let Some(memory) = &mut self.memory else {
            self.bytes.extend_from_slice(bytes);
            return Ok(());
        };
        let written = memory.write(&self.bytes[self.start..]).and_then(|()| {
            self.written += (self.bytes.len() - self.start) as u64;
            self.bytes.truncate(self.start);
            if bytes.len() < PIECE {
                self.bytes.extend_from_slice(bytes);
                Ok(())
            } else {
                self.written += bytes.len() as u64;
                memory.write(bytes)
            }
        });
        written.map_err(|error| {
            *self.failure = Some(error);
            postcard::Error::SerializeBufferFull
        })
    }
}

impl postcard::ser_flavors::Flavor for Sink<'_> {
    type Output = Option<OwnedFd>;

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        let most = if self.memory.is_some() { PIECE } else { self.short };
        if self.bytes.len() - self.start + bytes.len() > most {
            return self.extend_long(bytes);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Option<OwnedFd>> {
        if self.memory.is_some() {
            self.check(0)?;
        }
        let Some(mut memory) = self.memory else { return Ok(None) };
        let written = memory.write(&self.bytes[self.start..]).and_then(|()| memory.seal());
        self.bytes.truncate(self.start);
        self.bytes[self.start - 1] = IN_MEMORY;
        written.map(Some).map_err(|error| {
            *self.failure = Some(error);
            postcard::Error::SerializeBufferFull
        })
    }
}

/// Appends an encoded value to `bytes`, and returns the descriptors that belong to it.
pub(in crate::process) fn encode<T: Serialize>(
    bytes: &mut Vec<u8>,
    value: &T,
    stage: CodecStage,
) -> Result<Vec<OwnedFd>, CodecError> {
    bytes.push(HERE);
    let most = match stage {
        CodecStage::EncodeResult => LIMIT.load(Relaxed),
        _ => u64::MAX,
    };
    let (is_too_long, mut failure) = (Cell::new(false), None);
    let sink = Sink {
        start: bytes.len(),
        bytes,
        memory: None,
        written: 0,
        refused: false,
        failure: &mut failure,
        short: most.min(LONG as u64) as usize,
        most,
        is_too_long: &is_too_long,
    };
    let (encoded, mut descriptors) =
        carry::packing(|| postcard::serialize_with_flavor(value, sink));
    let failed = |message| CodecError { stage, message };
    let memory = encoded.map_err(|error| match error {
        _ if is_too_long.get() => failed(too_long(most)),
        postcard::Error::SerializeBufferFull => failed(failure.map_or_else(
            || "there is no memory left for it; see `free`".to_owned(),
            |error| limits::explain_missing("shared memory for it", &error),
        )),
        error => failed(why_not_encoded(value, error)),
    })?;
    descriptors.extend(memory);
    if descriptors.len() > MOST_DESCRIPTORS {
        let count = descriptors.len();
        return Err(failed(format!(
            "it holds {count} descriptors, and at most {MOST_DESCRIPTORS} travel together"
        )));
    }
    Ok(descriptors)
}

/// Returns the error text of a result that is longer than `most`.
pub(in crate::process) fn too_long(most: u64) -> String {
    format!(
        "it takes more than {}, the limit of its pool or process; return less, or raise the limit \
         (`max_result`)",
        in_words(most)
    )
}

/// Decodes a value that [`encode`] has encoded, in a process that is trusted.
pub(in crate::process) fn decode<T: DeserializeOwned>(
    bytes: &[u8],
    descriptors: Arrived,
    stage: CodecStage,
) -> Result<T, CodecError> {
    decode_within(u64::MAX, bytes, descriptors, stage)
}

/// Decodes a result of at most `most` bytes that a worker has sent. `bytes` were limited before.
pub(in crate::process) fn decode_result<T: DeserializeOwned>(
    most: u64,
    bytes: &[u8],
    descriptors: Arrived,
) -> Result<T, CodecError> {
    decode_within(most, bytes, descriptors, CodecStage::DecodeResult)
}

fn decode_within<T: DeserializeOwned>(
    most: u64,
    bytes: &[u8],
    mut descriptors: Arrived,
    stage: CodecStage,
) -> Result<T, CodecError> {
    let failed = |message| CodecError { stage, message };
    let memory;
    let bytes = match bytes.split_first() {
        Some((&HERE, bytes)) => bytes,
        Some((&IN_MEMORY, [])) => {
            let descriptor = descriptors.pop().ok_or_else(|| {
                failed("the memory that it is in has not come along: no descriptor was left".into())
            })?;
            memory = Frozen::attach(descriptor).map_err(|error| {
                failed(format!("the memory that it is in is of no use: {error:?}"))
            })?;
            if memory.bytes().len() as u64 > most {
                return Err(failed(too_long(most)));
            }
            // An encoder writes each byte. Holes would cost the sender nothing, and this process
            // as much as they are long.
            if most < u64::MAX && memory.has_holes() {
                return Err(failed("the memory that it is in was never written".into()));
            }
            memory.bytes()
        }
        _ => return Err(failed("it does not begin as an encoded value does".into())),
    };
    let bare = descriptors.is_empty();
    carry::unpacking(descriptors.into_vec(), || postcard::from_bytes(bytes)).map_err(|error| {
        failed(if bare { why_not_decoded::<T>(bytes, error) } else { error.to_string() })
    })
}

/// Returns the error text of a type's own `Serialize`. Postcard drops such texts, so the value is
/// encoded again with an error type that keeps them.
#[cold]
fn why_not_encoded<T: Serialize>(value: &T, error: postcard::Error) -> String {
    let mut nowhere = postcard::Serializer { output: postcard::ser_flavors::Size::default() };
    let mut erased = <dyn erased_serde::Serializer>::erase(&mut nowhere);
    let again = || erased_serde::Serialize::erased_serialize(value, &mut erased);
    let said = match error {
        postcard::Error::SerdeSerCustom => carry::packing(again).0.err(),
        _ => None,
    };
    said.map_or_else(|| error.to_string(), |said| said.to_string())
}

/// Like [`why_not_encoded`], for a `Deserialize` and bytes without descriptors.
#[cold]
fn why_not_decoded<T: DeserializeOwned>(bytes: &[u8], error: postcard::Error) -> String {
    let mut again = postcard::Deserializer::from_bytes(bytes);
    let mut erased = <dyn erased_serde::Deserializer>::erase(&mut again);
    let said = match error {
        postcard::Error::SerdeDeCustom => erased_serde::deserialize::<T>(&mut erased).err(),
        _ => None,
    };
    said.map_or_else(|| error.to_string(), |said| said.to_string())
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
            encode(&mut argument, &21_u32, CodecStage::EncodeArgument).unwrap();
            let mut reply = vec![7];
            let stage = CodecStage::DecodeResult;
            trampoline(&argument, Arrived::default(), &mut reply).unwrap();
            assert_eq!(decode::<u32>(&reply[1..], Arrived::default(), stage).unwrap(), 42);
            let error = trampoline(&[], Arrived::default(), &mut reply).unwrap_err();
            assert_eq!(error.stage, CodecStage::DecodeArgument);
        }
        // SAFETY: never called, as it is refused.
        assert!(unsafe { Function { offset: u64::MAX }.trampoline() }.is_none());
    }

    #[test]
    fn values_of_all_lengths_are_what_they_were() {
        let pieces = |len: usize| (0..len).map(|n| (n * 7) as u8).collect::<Vec<u8>>();
        for len in [0, 1, LONG - 9, LONG, LONG + 1, 3 * LONG + 5] {
            let value = (pieces(len), String::from_utf8(vec![b'x'; len]).unwrap(), len as u64);
            let mut bytes = vec![9; 3];
            let descriptors = encode(&mut bytes, &value, CodecStage::EncodeResult).unwrap();
            assert_eq!(
                (descriptors.len(), bytes.len() > 4),
                ((2 * len + 12 > LONG).into(), 2 * len + 12 <= LONG)
            );
            let decoded =
                decode(&bytes[3..], descriptors.into(), CodecStage::DecodeResult).unwrap();
            assert_eq!(value, decoded);
        }
        for wrong in [vec![], vec![IN_MEMORY], vec![IN_MEMORY, 1], vec![2, 3]] {
            assert!(decode::<u8>(&wrong, Arrived::default(), CodecStage::DecodeResult).is_err());
        }
        let file = std::fs::File::open("/dev/null").unwrap().into();
        assert!(decode::<u8>(&[IN_MEMORY], vec![file].into(), CodecStage::DecodeResult).is_err());
    }

    #[test]
    fn a_location_is_found_again() {
        let here = Location::caller();
        let offset = location_offset(here).unwrap();
        // SAFETY: made above, in this very process.
        assert_eq!(unsafe { location_at(offset) }, Some(here));
    }
}
