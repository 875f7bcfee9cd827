//! Sending a semaphore to another process, by its descriptor.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::handle::{Origin, Semaphore};
use crate::ipc::carry;
use crate::sys::semaphore::Memory;

/// Encodes an unnamed semaphore as part of an argument or result of a process task. Its descriptor
/// travels beside the bytes.
impl Serialize for Semaphore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.origin {
            Origin::Unnamed(descriptor) => {
                serializer.serialize_u32(carry::put::<S::Error>(descriptor.as_fd())?)
            }
            Origin::Named(name) => Err(S::Error::custom(format!(
                "the semaphore {name} has a name: send the name, and open the semaphore there"
            ))),
        }
    }
}

impl<'de> Deserialize<'de> for Semaphore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Semaphore, D::Error> {
        let place = u32::deserialize(deserializer)?;
        let descriptor = carry::take::<D::Error>(place)?;
        Semaphore::try_from(descriptor).map_err(D::Error::custom)
    }
}

/// Attaches to an unnamed semaphore by a descriptor that another process has sent.
///
/// # Errors
///
/// Fails with `InvalidData` if it is not sealed memory of a semaphore's size.
impl TryFrom<OwnedFd> for Semaphore {
    type Error = io::Error;

    fn try_from(descriptor: OwnedFd) -> io::Result<Semaphore> {
        Ok(Semaphore::unnamed(Memory::attach(&descriptor)?, descriptor))
    }
}

/// Duplicates the descriptor of an unnamed semaphore, to send it by other means. A C program maps
/// 32 bytes of it as a `sem_t`.
///
/// # Errors
///
/// Fails with `InvalidInput` for a named semaphore, and if no descriptor is left.
impl TryFrom<&Semaphore> for OwnedFd {
    type Error = io::Error;

    fn try_from(semaphore: &Semaphore) -> io::Result<OwnedFd> {
        match &semaphore.origin {
            Origin::Unnamed(descriptor) => descriptor.try_clone(),
            Origin::Named(name) => {
                let text =
                    format!("the semaphore {name} is opened by its name, not by a descriptor");
                Err(io::Error::new(io::ErrorKind::InvalidInput, text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unnamed_semaphore_travels_and_a_named_one_does_not() {
        let semaphore = Semaphore::new(3).unwrap();
        let (bytes, descriptors) = carry::packing(|| postcard::to_stdvec(&semaphore).unwrap());
        assert_eq!(descriptors.len(), 1);
        let same: Semaphore =
            carry::unpacking(descriptors, || postcard::from_bytes(&bytes)).unwrap();
        assert!(same.try_acquire());
        assert_eq!(semaphore.available(), 2);
        assert!(postcard::to_stdvec(&semaphore).is_err(), "no list takes its descriptor");
        let name = format!("trine-unit-{}", std::process::id());
        let named = Semaphore::create_new(&name, 0o600, 1).unwrap();
        Semaphore::unlink(&name).unwrap();
        let (bytes, descriptors) = carry::packing(|| postcard::to_stdvec(&named));
        assert!(bytes.is_err() && descriptors.is_empty());
        assert!(OwnedFd::try_from(&named).is_err());
    }
}
