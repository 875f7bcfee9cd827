//! Channels between processes. The tests run themselves as a child, which gets an end as its
//! standard input.

mod hostile;
mod messages;
mod processes;
mod refused;

use std::os::fd::OwnedFd;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use trine::ipc::channel::{AttachError, Sender};

fn descriptor<E: TryInto<OwnedFd, Error = AttachError>>(end: E) -> OwnedFd {
    end.try_into().unwrap()
}

/// Sends until there is no receiver. A process that another test starts may hold a copy of the last
/// end until it runs its program.
fn until_refused<T: From<u8> + Serialize + DeserializeOwned>(sender: &Sender<T>) {
    loop {
        if let Err(error) = sender.send_timeout(T::from(1), LONG) {
            return assert!(error.is_disconnected(), "{error}");
        }
    }
}

const LONG: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Message {
    Number(u64),
    Text { name: String, lines: Vec<String> },
    Bytes(#[serde(with = "bytes")] Vec<u8>),
    Nothing,
}

/// Serializes bytes as `serde_bytes` does.
mod bytes {
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        from.deserialize_byte_buf(Bytes)
    }
}
