//! Encoding of shared memory: the index of its descriptor, its size, and its type.

use std::os::fd::{AsFd, OwnedFd};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::atomics::{Atomics, SharedMut};
use super::content::{Content, Sealed};
use super::{Shared, SharedError};
use crate::ipc::carry;
use crate::ipc::fingerprint::fingerprint;

/// The encoded form.
#[derive(Serialize, Deserialize)]
struct Encoded {
    index: u32,
    bytes: u64,
    fingerprint: u64,
}

fn encode<S: Serializer>(
    serializer: S,
    memory: impl AsFd,
    bytes: usize,
    fingerprint: u64,
) -> Result<S::Ok, S::Error> {
    let index = carry::put(memory.as_fd())?;
    Encoded { index, bytes: bytes as u64, fingerprint }.serialize(serializer)
}

/// Attaches to the memory. It must have the type `fingerprint` and the encoded size, and be as its
/// type demands.
fn decode<'de, D, M>(
    deserializer: D,
    fingerprint: u64,
    size: impl Fn(&M) -> usize,
) -> Result<M, D::Error>
where
    D: Deserializer<'de>,
    M: TryFrom<OwnedFd, Error = SharedError>,
{
    let encoded = Encoded::deserialize(deserializer)?;
    let descriptor = carry::take(encoded.index)?;
    if encoded.fingerprint != fingerprint {
        return Err(D::Error::custom(SharedError::Content));
    }
    let memory = M::try_from(descriptor).map_err(D::Error::custom)?;
    let found = size(&memory);
    match encoded.bytes == found as u64 {
        true => Ok(memory),
        false => Err(D::Error::custom(format!(
            "the memory has {found} bytes instead of {}",
            encoded.bytes
        ))),
    }
}

impl<T: ?Sized + Content> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fingerprint = fingerprint::<T>(size_of::<T::Element>());
        encode(serializer, self, self.memory.bytes().len(), fingerprint)
    }
}

impl<'de, T: ?Sized + Content> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shared<T>, D::Error> {
        let fingerprint = fingerprint::<T>(size_of::<<T as Sealed>::Element>());
        decode(deserializer, fingerprint, |it: &Shared<T>| it.memory.bytes().len())
    }
}

impl<T: ?Sized + Atomics> Serialize for SharedMut<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        encode(serializer, self, self.memory.len(), fingerprint::<T>(T::ELEMENT))
    }
}

impl<'de, T: ?Sized + Atomics> Deserialize<'de> for SharedMut<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SharedMut<T>, D::Error> {
        let fingerprint = fingerprint::<T>(T::ELEMENT);
        decode(deserializer, fingerprint, |it: &SharedMut<T>| it.memory.len())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    use serde::de::DeserializeOwned;

    use super::*;

    fn crossed<A: Serialize, B: DeserializeOwned>(value: &A) -> postcard::Result<B> {
        let (bytes, descriptors) = carry::packing(|| postcard::to_allocvec(value).unwrap());
        carry::unpacking(descriptors, || postcard::from_bytes(&bytes))
    }

    #[test]
    fn shared_memory_crosses_as_a_descriptor() {
        let numbers = Shared::from_slice(&[1_u32, 2, 3]).unwrap();
        let (one, many): (Shared<f64>, Shared<[u32]>) =
            crossed(&(Shared::new(0.5).unwrap(), &numbers)).unwrap();
        assert_eq!((*one, &many[..]), (0.5, &[1, 2, 3][..]));
        assert!(!Shared::ptr_eq(&numbers, &many));
        assert_ne!(numbers.as_fd().as_raw_fd(), many.as_fd().as_raw_fd());
        let again: Shared<[u32]> = crossed(&many).unwrap();
        drop((numbers, many));
        assert_eq!(again[..], [1, 2, 3]);
        let empty: Shared<[u64]> = crossed(&Shared::<[u64]>::zeroed(0).unwrap()).unwrap();
        assert!(empty.is_empty());
    }

    #[test]
    fn what_one_writes_the_other_reads() {
        let counts = SharedMut::<[AtomicU64]>::zeroed(1000).unwrap();
        let same: SharedMut<[AtomicU64]> = crossed(&counts).unwrap();
        same[999].store(7, Relaxed);
        assert_eq!((counts.len(), counts[999].load(Relaxed)), (1000, 7));
    }

    #[test]
    fn another_type_or_size_is_told() {
        let numbers = Shared::from_slice(&[1_u32, 2]).unwrap();
        assert!(crossed::<_, Shared<[i32]>>(&numbers).is_err());
        assert!(crossed::<_, Shared<u64>>(&numbers).is_err());
        assert!(crossed::<_, SharedMut<[AtomicU64]>>(&numbers).is_err());
        let fingerprint = fingerprint::<[u32]>(4);
        let forged = |bytes, descriptor: &dyn Fn() -> OwnedFd| {
            let bytes = postcard::to_allocvec(&Encoded { index: 0, bytes, fingerprint }).unwrap();
            carry::unpacking(vec![descriptor()], || postcard::from_bytes::<Shared<[u32]>>(&bytes))
        };
        let own = || numbers.as_fd().try_clone_to_owned().unwrap();
        assert!(forged(8, &own).is_ok());
        assert!(forged(12, &own).is_err());
        assert!(forged(u64::MAX, &own).is_err());
        assert!(forged(0, &|| std::fs::File::open("/dev/null").unwrap().into()).is_err());
        assert!(
            forged(8, &|| SharedMut::<AtomicU64>::zero().unwrap().memory_descriptor()).is_err()
        );
    }

    impl<T: ?Sized> SharedMut<T> {
        fn memory_descriptor(&self) -> OwnedFd {
            self.as_fd().try_clone_to_owned().unwrap()
        }
    }

    #[test]
    fn nothing_crosses_as_plain_bytes() {
        let error = postcard::to_allocvec(&Shared::new(1_u8).unwrap()).unwrap_err();
        assert_eq!(error, postcard::Error::SerdeSerCustom);
    }
}
