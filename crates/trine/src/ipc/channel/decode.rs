//! Decoding of long messages in place, in memory that another process may write to.
//!
//! Each byte is read once, and byte strings are copied straight into the value that owns them.
//! postcard's own decoder cannot do this, because it borrows its input.
//!
//! The format is postcard's: <https://postcard.jamesmunns.com/wire-format>.

use postcard::Error;
use serde::de::value::U32Deserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use crate::sys::memory::shared::SharedMemory;

/// The unread part of an encoded message.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    region: &'a SharedMemory,
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    /// Reads the `len` bytes at offset `at`.
    pub(super) fn new(region: &'a SharedMemory, at: usize, len: usize) -> Reader<'a> {
        Reader { region, at, end: at + len }
    }

    pub(super) fn left(&self) -> usize {
        self.end - self.at
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Error> {
        if self.at == self.end {
            return Err(Error::DeserializeUnexpectedEnd);
        }
        let byte = self.region.byte(self.at);
        self.at += 1;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        if self.left() < N {
            return Err(Error::DeserializeUnexpectedEnd);
        }
        let mut bytes = [0; N];
        self.region.read_exact(self.at, &mut bytes);
        self.at += N;
        Ok(bytes)
    }

    fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        let len = self.len()?;
        if self.left() < len {
            return Err(Error::DeserializeUnexpectedEnd);
        }
        let mut bytes = Vec::new();
        self.region.read(self.at, len, &mut bytes);
        self.at += len;
        Ok(bytes)
    }

    fn text(&mut self) -> Result<String, Error> {
        String::from_utf8(self.bytes()?).map_err(|_| Error::DeserializeBadUtf8)
    }

    /// Reads a varint of at most `bits` bits: seven in each byte, the lowest first.
    fn number(&mut self, bits: u32) -> Result<u128, Error> {
        let mut number = 0_u128;
        for at in 0..bits.div_ceil(7) {
            let byte = self.byte()?;
            let part = u128::from(byte & 0x7f);
            let room = bits - 7 * at;
            if room < 7 && part >> room != 0 {
                return Err(Error::DeserializeBadVarint);
            }
            number |= part << (7 * at);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Error::DeserializeBadVarint)
    }

    fn signed(&mut self, bits: u32) -> Result<i128, Error> {
        let number = self.number(bits)?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    fn len(&mut self) -> Result<usize, Error> {
        usize::try_from(self.number(usize::BITS)?).map_err(|_| Error::DeserializeBadVarint)
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'_> {
    type Error = Error;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::WontImplement)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.byte()? {
            0 => visitor.visit_bool(false),
            1 => visitor.visit_bool(true),
            _ => Err(Error::DeserializeBadBool),
        }
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i8(self.byte()?.cast_signed())
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i16(self.signed(16)? as i16)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i32(self.signed(32)? as i32)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i64(self.signed(64)? as i64)
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i128(self.signed(128)?)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u8(self.byte()?)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u16(self.number(16)? as u16)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u32(self.number(32)? as u32)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u64(self.number(64)? as u64)
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u128(self.number(128)?)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f32(f32::from_le_bytes(self.array()?))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(f64::from_le_bytes(self.array()?))
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.text()?;
        let mut letters = text.chars();
        match (letters.next(), letters.next()) {
            (Some(letter), None) => visitor.visit_char(letter),
            _ => Err(Error::DeserializeBadChar),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_byte_buf(self.bytes()?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_byte_buf(self.bytes()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.byte()? {
            0 => visitor.visit_none(),
            1 => visitor.visit_some(self),
            _ => Err(Error::DeserializeBadOption),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let left = self.len()?;
        visitor.visit_seq(Items { reader: self, left })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Items { reader: self, left: len })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let left = self.len()?;
        visitor.visit_map(Items { reader: self, left })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::WontImplement)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::WontImplement)
    }
}

/// The items that a sequence, tuple, struct or map still has.
struct Items<'r, 'a> {
    reader: &'r mut Reader<'a>,
    left: usize,
}

impl Items<'_, '_> {
    fn take_one(&mut self) -> bool {
        let some = self.left > 0;
        self.left -= usize::from(some);
        some
    }

    /// Never more than the remaining bytes allow: the encoded length is untrusted.
    fn hint(&self) -> Option<usize> {
        Some(self.left.min(self.reader.left()))
    }
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = Error;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if !self.take_one() {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

impl<'de> MapAccess<'de> for Items<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

impl<'de> EnumAccess<'de> for &mut Reader<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let variant = u32::try_from(self.number(32)?).map_err(|_| Error::DeserializeBadEnum)?;
        let variant: U32Deserializer<Error> = variant.into_deserializer();
        Ok((seed.deserialize(variant)?, self))
    }
}

impl<'de> VariantAccess<'de> for &mut Reader<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(fields.len(), visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Variant {
        Unit,
        New(i16),
        Tuple(u8, char),
        Struct { a: Option<bool>, b: Vec<String> },
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Wrapped((), Unit);

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Unit;

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), Error> {
        let (region, _memory) = SharedMemory::create(c"trine-channel", 8192).unwrap();
        region.write(100, bytes);
        let mut reader = Reader::new(&region, 100, bytes.len());
        let value = T::deserialize(&mut reader)?;
        Ok((value, reader.left()))
    }

    /// Asserts that `value` decodes, that its prefixes fail, and that corrupted bytes decode as
    /// with postcard.
    fn as_postcard<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
        let mut bytes = postcard::to_stdvec(value).unwrap();
        assert_eq!(decode::<T>(&bytes).unwrap(), (postcard::from_bytes(&bytes).unwrap(), 0));
        for at in 0..bytes.len() {
            assert!(decode::<T>(&bytes[..at]).is_err());
            for wrong in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let right = std::mem::replace(&mut bytes[at], wrong);
                let ours = decode::<T>(&bytes);
                let theirs = postcard::take_from_bytes::<T>(&bytes);
                assert_eq!(ours.is_ok(), theirs.is_ok(), "{bytes:?}");
                if let (Ok((ours, _)), Ok((theirs, _))) = (ours, theirs) {
                    // NaN is not equal to itself.
                    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
                }
                bytes[at] = right;
            }
        }
    }

    #[test]
    fn every_kind_of_value_is_decoded_as_postcard_does() {
        as_postcard(&(true, false, u8::MAX, i8::MIN, 0_u16, u16::MAX, i16::MIN, i16::MAX));
        as_postcard(&(u32::MAX, i32::MIN, 300_u32, u64::MAX, i64::MIN, i64::MAX, 1_i64 << 40));
        as_postcard(&(u128::MAX, i128::MIN, i128::MAX, 1.5_f32, -2.25_f64, '√', "text".to_owned()));
        as_postcard(&vec![
            Variant::Unit,
            Variant::New(-7),
            Variant::Tuple(9, 'x'),
            Variant::Struct { a: Some(true), b: vec!["one".into(), String::new()] },
        ]);
        let map: BTreeMap<String, Vec<u8>> =
            [("a".into(), vec![1, 2]), ("b".into(), vec![])].into();
        as_postcard(&(map, Wrapped((), Unit), [1_u8, 2, 3], Option::<u32>::None, Some(())));
    }
}
