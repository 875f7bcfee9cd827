//! An argument or a result as it crosses: encoded bytes, and descriptors beside them.
//!
//! A short value is a byte [`HERE`] and its bytes. A long one is in sealed memory of its own, whose
//! descriptor travels with the byte [`IN_MEMORY`].

use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ipc::carry;
use crate::sys::io::arrived::Arrived;
use crate::sys::io::socket::MOST_DESCRIPTORS;
use crate::sys::limits;
use crate::sys::memory::sealed::{Frozen, Unfit, Written};
use crate::task::{Cause, CodecStage, bytes as in_words};

/// The error of a value that could not be encoded or decoded.
#[derive(Debug)]
pub(in crate::process) struct CodecError {
    pub(in crate::process) stage: CodecStage,
    pub(in crate::process) message: String,
}

impl CodecError {
    pub(in crate::process) fn into_cause(self) -> Cause {
        Cause::Codec { stage: self.stage, message: self.message }
    }
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

/// The number of descriptors that the results of this worker's task may still have.
static ROOM: AtomicUsize = AtomicUsize::new(MOST_DESCRIPTORS);

/// Notes that the master has this many descriptors of the task's results. It accepts no more than
/// [`MOST_DESCRIPTORS`] in all.
pub(in crate::process) fn begin_results(descriptors: usize) {
    ROOM.store(MOST_DESCRIPTORS.saturating_sub(descriptors), Relaxed);
}

/// Appends an encoded value to `bytes` or, if it is long, puts it into memory of its own.
///
/// postcard moves the sink about, so its flavor is a reference to this.
struct Sink<'a> {
    bytes: &'a mut Vec<u8>,
    /// The beginning of the value, behind its [`HERE`].
    start: usize,
    /// The most bytes of the value that stay in `bytes`.
    most_here: usize,
    long: Long,
}

/// The part of a [`Sink`] for values that do not stay in the bytes of the message.
#[derive(Default)]
struct Long {
    memory: Option<Written>,
    /// The number of bytes in the memory.
    written: u64,
    /// True if memory of its own was refused, or its descriptor would be one too many.
    is_refused: bool,
    /// The reason why that memory could not be filled.
    failure: Option<io::Error>,
    /// The most bytes of the value.
    most: u64,
    is_too_long: bool,
}

impl Sink<'_> {
    /// Refuses a value that gets longer than it may be.
    fn check(&mut self, more: usize) -> postcard::Result<()> {
        let len = self.long.written + (self.bytes.len() - self.start + more) as u64;
        if len <= self.long.most {
            return Ok(());
        }
        self.long.is_too_long = true;
        Err(postcard::Error::SerializeBufferFull)
    }

    #[cold]
    fn extend_long(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.check(bytes.len())?;
        if self.long.memory.is_none() && !self.long.is_refused {
            self.long.memory = Written::new().ok();
            self.long.is_refused = self.long.memory.is_none();
        }
        let Some(memory) = &mut self.long.memory else {
            self.bytes.extend_from_slice(bytes);
            return Ok(());
        };
        self.most_here = PIECE;
        let written = memory.write(&self.bytes[self.start..]).and_then(|()| {
            self.long.written += (self.bytes.len() - self.start) as u64;
            self.bytes.truncate(self.start);
            if bytes.len() < PIECE {
                self.bytes.extend_from_slice(bytes);
                Ok(())
            } else {
                self.long.written += bytes.len() as u64;
                memory.write(bytes)
            }
        });
        self.noted(written)
    }

    /// Writes what is left of a long value, and seals its memory.
    #[cold]
    fn finalize_long(&mut self) -> postcard::Result<()> {
        self.check(0)?;
        let Some(memory) = &mut self.long.memory else { return Ok(()) };
        let written = memory.write(&self.bytes[self.start..]).and_then(|()| memory.seal());
        self.bytes.truncate(self.start);
        self.bytes[self.start - 1] = IN_MEMORY;
        self.noted(written)
    }

    /// Keeps an error of the system, which postcard's error cannot carry.
    fn noted(&mut self, written: io::Result<()>) -> postcard::Result<()> {
        written.map_err(|error| {
            self.long.failure = Some(error);
            postcard::Error::SerializeBufferFull
        })
    }
}

impl postcard::ser_flavors::Flavor for &mut Sink<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if self.bytes.len() - self.start + bytes.len() > self.most_here {
            return self.extend_long(bytes);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    fn finalize(self) -> postcard::Result<()> {
        if self.long.memory.is_some() { self.finalize_long() } else { Ok(()) }
    }
}

/// Appends an encoded value to `bytes`, and returns the descriptors that belong to it.
pub(in crate::process) fn encode<T: Serialize>(
    bytes: &mut Vec<u8>,
    value: &T,
    stage: CodecStage,
) -> Result<Vec<OwnedFd>, CodecError> {
    bytes.push(HERE);
    let is_result = matches!(stage, CodecStage::EncodeResult);
    let (most, room) = match is_result {
        true => (LIMIT.load(Relaxed), ROOM.load(Relaxed)),
        false => (u64::MAX, MOST_DESCRIPTORS),
    };
    let long = Long { most, is_refused: room == 0, ..Long::default() };
    let mut sink =
        Sink { start: bytes.len(), bytes, most_here: most.min(LONG as u64) as usize, long };
    let (encoded, mut descriptors) =
        carry::packing(|| postcard::serialize_with_flavor(value, &mut sink));
    if let Err(error) = encoded {
        return Err(CodecError { stage, message: why_not_sent(value, error, sink.long) });
    }
    if let Some(memory) = sink.long.memory {
        descriptors.push(memory.into_descriptor());
    }
    let count = descriptors.len();
    if count > room {
        return Err(CodecError { stage, message: too_many(count, room) });
    }
    if is_result && count > 0 {
        ROOM.store(room - count, Relaxed);
    }
    Ok(descriptors)
}

#[cold]
fn too_many(count: usize, room: usize) -> String {
    if count > MOST_DESCRIPTORS {
        return format!(
            "it holds {count} descriptors, and at most {MOST_DESCRIPTORS} travel together"
        );
    }
    format!(
        "it holds {count} descriptors, and there is room for {room} more among the results of its \
         chunk; use a chunk of 1"
    )
}

/// Returns the error text of a value that [`encode`] could not encode.
#[cold]
fn why_not_sent<T: Serialize>(value: &T, error: postcard::Error, long: Long) -> String {
    match error {
        _ if long.is_too_long => too_long(long.most),
        postcard::Error::SerializeBufferFull => long.failure.map_or_else(
            || "there is no memory left for it; see `free`".to_owned(),
            |error| limits::explain_missing("shared memory for it", &error),
        ),
        error => why_not_encoded(value, error),
    }
}

/// Returns the error text of a result that is longer than `most`.
pub(in crate::process) fn too_long(most: u64) -> String {
    format!(
        "it takes more than {}, the limit of its pool or process; return less, or raise the limit \
         (`max_result`)",
        in_words(most)
    )
}

/// Describes the fault of a worker that sends a result of more than `most` bytes. (A byte before
/// the value says where it is.)
pub(in crate::process) fn known_too_long(most: u64) -> String {
    format!("of the result that it sent is known: {}", too_long(most))
}

/// Decodes a value that [`encode`] has encoded, in a process that is trusted.
pub(in crate::process) fn decode<T: DeserializeOwned>(
    bytes: &[u8],
    descriptors: &mut Arrived,
    stage: CodecStage,
) -> Result<T, CodecError> {
    decode_within(u64::MAX, bytes, descriptors, stage)
}

/// Decodes a result of at most `most` bytes that a worker has sent. `bytes` were limited before.
pub(in crate::process) fn decode_result<T: DeserializeOwned>(
    most: u64,
    bytes: &[u8],
    descriptors: &mut Arrived,
) -> Result<T, CodecError> {
    decode_within(most, bytes, descriptors, CodecStage::DecodeResult)
}

#[inline]
fn decode_within<T: DeserializeOwned>(
    most: u64,
    bytes: &[u8],
    descriptors: &mut Arrived,
    stage: CodecStage,
) -> Result<T, CodecError> {
    let decoded = match bytes.split_first() {
        // Nearly every value is short and has no descriptors.
        Some((&HERE, bytes)) if descriptors.is_empty() => bare(bytes),
        _ => decode_with(most, bytes, descriptors),
    };
    decoded.map_err(|message| CodecError { stage, message })
}

/// Decodes a value without descriptors.
#[inline]
fn bare<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    postcard::from_bytes(bytes).map_err(|error| why_not_decoded::<T>(bytes, error))
}

/// Decodes a value that is long or has descriptors.
#[cold]
fn decode_with<T: DeserializeOwned>(
    most: u64,
    bytes: &[u8],
    descriptors: &mut Arrived,
) -> Result<T, String> {
    let memory;
    let bytes = match bytes.split_first() {
        Some((&HERE, bytes)) => bytes,
        Some((&IN_MEMORY, [])) => {
            memory = memory_of(descriptors, most)?;
            memory.bytes()
        }
        _ => return Err("it does not begin as an encoded value does".into()),
    };
    if descriptors.is_empty() {
        return bare(bytes);
    }
    let decode = || postcard::from_bytes(bytes);
    carry::unpacking(mem::take(descriptors), decode).map_err(|error| error.to_string())
}

/// Takes the memory of a long value, of at most `most` bytes.
#[cold]
fn memory_of(descriptors: &mut Arrived, most: u64) -> Result<Frozen, String> {
    let descriptor = descriptors
        .pop()
        .ok_or("the memory that it is in has not come along: no descriptor was left")?;
    if let Err(message) = check_memory(&descriptor, most) {
        descriptors.push(descriptor);
        return Err(message);
    }
    Frozen::attach(descriptor).map_err(|error| no_use(&error))
}

fn no_use(error: &Unfit) -> String {
    format!("the memory that it is in is of no use: {error:?}")
}

/// Checks memory that holds a value of at most `most` bytes. The error says why it does not.
fn check_memory(memory: &OwnedFd, most: u64) -> Result<(), String> {
    let found = Frozen::examine(memory).map_err(|error| no_use(&error))?;
    if found.len as u64 > most {
        return Err(too_long(most));
    }
    // An encoder writes each byte. Holes would cost the sender nothing, and this process as much
    // as they are long.
    if most < u64::MAX && found.has_holes {
        return Err("the memory that it is in was never written".into());
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: DeserializeOwned>(bytes: &[u8], sent: Vec<OwnedFd>) -> Result<T, CodecError> {
        decode(bytes, &mut sent.into(), CodecStage::DecodeResult)
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
            assert_eq!(value, read(&bytes[3..], descriptors).unwrap());
        }
        for wrong in [vec![], vec![IN_MEMORY], vec![IN_MEMORY, 1], vec![2, 3]] {
            assert!(read::<u8>(&wrong, Vec::new()).is_err());
        }
        let file = std::fs::File::open("/dev/null").unwrap().into();
        assert!(read::<u8>(&[IN_MEMORY], vec![file]).is_err());
    }
}
