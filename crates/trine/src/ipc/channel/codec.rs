//! Encoding and decoding of messages (postcard), directly into and out of the shared memory.

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::block::Held;
use super::decode::Reader;
use super::error::Reason;
use super::layout::{self, INLINE, MessageHeader, Position};
use super::ring::Ring;

/// An encoded message that has no position in the queue yet.
#[derive(Debug)]
pub(super) struct Packed<'a> {
    ring: &'a Ring,
    short: [u8; INLINE],
    len: usize,
    /// The block that holds the whole message if it is too long for a slot, and the padding before
    /// it.
    block: Option<(Held<'a>, usize)>,
}

/// The reason why there is no encoded message.
#[derive(Debug)]
pub(super) enum PackError {
    /// All blocks are in use; retry when a message has been received.
    NoBlock,
    Failed(Reason),
}

/// Encodes `value` for `ring`; a long message goes into a block.
#[inline]
pub(super) fn pack<'a, T: Serialize>(ring: &'a Ring, value: &T) -> Result<Packed<'a>, PackError> {
    let mut packed = Packed { ring, short: [0; INLINE], len: 0, block: None };
    let mut failure = None;
    let writer = Writer { packed: &mut packed, failure: &mut failure };
    match postcard::serialize_with_flavor(value, writer) {
        Ok(()) => Ok(packed),
        Err(error) => Err(failure.unwrap_or_else(|| {
            let text = match error {
                // postcard drops the encoder's own message.
                postcard::Error::SerdeSerCustom => {
                    "its own encoder refused. A value that holds a descriptor (`Shared`, the end \
                     of a channel) travels as the argument or result of a process task, not in a \
                     message"
                        .into()
                }
                error => error.to_string(),
            };
            PackError::Failed(Reason::Codec(text))
        })),
    }
}

/// The output that postcard writes to.
struct Writer<'p, 'a> {
    packed: &'p mut Packed<'a>,
    failure: &'p mut Option<PackError>,
}

impl Flavor for Writer<'_, '_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        let packed = &mut *self.packed;
        let end = packed.len.saturating_add(bytes.len());
        if packed.block.is_none()
            && end <= packed.ring.layout.max_message
            && let Some(place) = packed.short.get_mut(packed.len..end)
        {
            place.copy_from_slice(bytes);
            packed.len = end;
            return Ok(());
        }
        packed.extend_block(bytes, end).map_err(|failure| {
            *self.failure = Some(failure);
            postcard::Error::SerializeBufferFull
        })
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

impl Packed<'_> {
    fn extend_block(&mut self, bytes: &[u8], end: usize) -> Result<(), PackError> {
        let most = self.ring.layout.max_message;
        if end > most {
            return Err(PackError::Failed(Reason::TooLarge { most }));
        }
        let (block, padding) = match &self.block {
            Some(block) => block,
            None => {
                let block = self.ring.take_block().ok_or(PackError::NoBlock)?;
                // Long messages mostly consist of one string of bytes, which begins here.
                let padding = layout::padding(self.len);
                self.ring.region.write(block.offset() + padding, &self.short[..self.len]);
                self.block.insert((block, padding))
            }
        };
        self.ring.region.write(block.offset() + padding + self.len, bytes);
        self.len = end;
        Ok(())
    }

    /// Writes the message into the slot at `position`, which the caller has claimed, and publishes
    /// it.
    #[inline]
    pub(super) fn put(self, position: Position) {
        let ring = self.ring;
        self.write_to(position);
        ring.publish(position);
    }

    /// Writes the message into the slot at `position`, without publishing it.
    #[inline]
    pub(super) fn write_to(self, position: Position) {
        let ring = self.ring;
        match self.block {
            None => {
                ring.write_header(position, MessageHeader { len: self.len, block: None });
                ring.region.write(ring.inline(position), &self.short[..self.len]);
            }
            Some((block, padding)) => {
                let header = MessageHeader { len: self.len, block: Some((block.block, padding)) };
                ring.write_header(position, header);
                block.hand_to(position);
            }
        }
    }
}

/// Takes the message at `position`, which the caller has claimed, out of the queue and decodes it.
///
/// No byte is read twice, because another process may still write to the memory.
#[inline]
pub(super) fn unpack<T: DeserializeOwned>(ring: &Ring, position: Position) -> Result<T, Reason> {
    const CORRUPTED: Reason = Reason::Broken("a message with an impossible length or block");
    match ring.read_header(position) {
        Some(MessageHeader { len, block: None }) => {
            let mut short = [0; INLINE];
            ring.region.read_exact(ring.inline(position), &mut short[..len]);
            ring.release(position);
            decode(&short[..len])
        }
        Some(MessageHeader { len, block: Some((block, padding)) }) => {
            let held = ring.block_of(position, block);
            ring.release(position);
            let held = held.ok_or(CORRUPTED)?;
            let mut reader = Reader::new(&ring.region, held.offset() + padding, len);
            finish(T::deserialize(&mut reader).map(|value| (value, reader.left())))
        }
        None => {
            ring.release(position);
            Err(CORRUPTED)
        }
    }
}

#[inline]
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Reason> {
    finish(postcard::take_from_bytes(bytes).map(|(value, rest)| (value, rest.len())))
}

#[inline]
fn finish<T>(decoded: postcard::Result<(T, usize)>) -> Result<T, Reason> {
    match decoded {
        Ok((value, 0)) => Ok(value),
        Ok(_) => Err(Reason::Codec("bytes follow the value".into())),
        Err(error) => Err(Reason::Codec(error.to_string())),
    }
}
