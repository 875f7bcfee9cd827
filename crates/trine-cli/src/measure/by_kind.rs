//! One value for each kind.

use serde::Serialize;
use trine::Kind;

/// A value for coroutines, one for threads, one for processes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct ByKind<T> {
    pub(crate) coroutine: T,
    pub(crate) thread: T,
    pub(crate) process: T,
}

impl<T> ByKind<T> {
    /// Makes the three values in the order of [`Kind::ALL`].
    pub(crate) fn from_fn(mut value: impl FnMut(Kind) -> T) -> ByKind<T> {
        ByKind {
            coroutine: value(Kind::Coroutine),
            thread: value(Kind::Thread),
            process: value(Kind::Process),
        }
    }

    pub(crate) fn of(&self, kind: Kind) -> T
    where
        T: Copy,
    {
        match kind {
            Kind::Coroutine => self.coroutine,
            Kind::Thread => self.thread,
            Kind::Process => self.process,
        }
    }

    pub(crate) fn get_mut(&mut self, kind: Kind) -> &mut T {
        match kind {
            Kind::Coroutine => &mut self.coroutine,
            Kind::Thread => &mut self.thread,
            Kind::Process => &mut self.process,
        }
    }

    pub(crate) fn each(&self) -> [(Kind, &T); 3] {
        [
            (Kind::Coroutine, &self.coroutine),
            (Kind::Thread, &self.thread),
            (Kind::Process, &self.process),
        ]
    }

    pub(crate) fn map<U>(self, mut value: impl FnMut(T) -> U) -> ByKind<U> {
        ByKind {
            coroutine: value(self.coroutine),
            thread: value(self.thread),
            process: value(self.process),
        }
    }
}

/// A kind as the lower-case word that its `Display` writes; for `#[serde(with = …)]`.
pub(crate) mod kind_as_word {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use trine::Kind;

    pub(crate) fn serialize<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(kind)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(words: D) -> Result<Kind, D::Error> {
        let word = String::deserialize(words)?;
        Kind::ALL
            .into_iter()
            .find(|kind| kind.to_string() == word)
            .ok_or_else(|| D::Error::custom(format_args!("`{word}` is no kind of task")))
    }
}
