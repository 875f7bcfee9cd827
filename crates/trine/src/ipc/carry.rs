//! Descriptors that travel with an encoded value.
//!
//! serde encodes bytes only. A value that owns a descriptor (shared memory, the end of a channel)
//! is encoded as an index into a list of descriptors that is sent beside the bytes. The sender
//! opens that list while it encodes ([`packing`]); the receiver provides the list that has arrived
//! while it decodes ([`unpacking`]).
//!
//! ```text
//!   sender:   packing(|| encode(value)) ──► bytes, descriptors ──► socket
//!                          └► put(fd) = 0
//!   receiver: socket ──► unpacking(descriptors, || decode(bytes))
//!                                                    └► take(0) = fd
//! ```
//!
//! A decoder closes a descriptor that is unfit, and the sender may have chosen one whose last close
//! takes long. So the list keeps a copy of each that is taken, and closes it elsewhere
//! (`sys/io/arrived.rs`) if the decoder fails.
//!
//! A list belongs to the coroutine or thread that opened it: an encoder may wait, and other
//! coroutines of its thread may encode meanwhile. Not to the current task, which is another one
//! while an encoder runs for a task that is spawned, but not behind a wait of that encoder.

use std::cell::RefCell;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::sys::io::arrived::Arrived;
use crate::task::park;

/// A list of descriptors.
struct List {
    /// The [number](park::caller_number) of the coroutine that it belongs to.
    owner: usize,
    packing: bool,
    descriptors: Vec<Option<OwnedFd>>,
    /// Copies of those that were taken. `None` if their sender is trusted.
    kept: Option<Vec<OwnedFd>>,
}

thread_local! {
    static LISTS: RefCell<Vec<List>> = const { RefCell::new(Vec::new()) };
}

/// Returns true if the calling thread can encode values: its thread-local storage exists. Handlers
/// of `atexit` and late thread-local destructors run without.
pub(crate) fn is_available() -> bool {
    LISTS.try_with(|_| ()).is_ok()
}

/// Removes its list when dropped, so also when the encoder or decoder unwinds.
struct ListGuard {
    owner: usize,
}

impl ListGuard {
    #[inline]
    fn new(
        packing: bool,
        descriptors: Vec<Option<OwnedFd>>,
        kept: Option<Vec<OwnedFd>>,
    ) -> ListGuard {
        let owner = park::caller_number();
        LISTS.with_borrow_mut(|lists| lists.push(List { owner, packing, descriptors, kept }));
        ListGuard { owner }
    }

    #[inline]
    fn close(&self) -> Option<List> {
        LISTS.with_borrow_mut(|lists| {
            lists.pop_if(|list| list.owner == self.owner).or_else(|| {
                // Another coroutine of this thread has a list open, too.
                let last = lists.iter().rposition(|list| list.owner == self.owner);
                last.map(|last| lists.remove(last))
            })
        })
    }
}

impl Drop for ListGuard {
    fn drop(&mut self) {
        // Those that no decoder took were sent by mistake, or by a hostile process.
        if let Some(list) = self.close()
            && let Some(mut left) = list.kept
        {
            left.extend(list.descriptors.into_iter().flatten());
            drop(Arrived::from(left));
        }
    }
}

/// Calls `encode`, and returns its result with the descriptors that it has [`put`], in order.
pub(crate) fn packing<T>(encode: impl FnOnce() -> T) -> (T, Vec<OwnedFd>) {
    let open = ListGuard::new(true, Vec::new(), None);
    let encoded = encode();
    let descriptors = open.close().map_or_else(Vec::new, |list| list.descriptors);
    std::mem::forget(open);
    // Nearly every message has none; this path is much shorter.
    let none = descriptors.is_empty();
    (encoded, if none { Vec::new() } else { descriptors.into_iter().flatten().collect() })
}

/// Calls `decode`, which may [`take`] each of `descriptors` once, and closes the others.
pub(crate) fn unpacking<T, E>(
    descriptors: impl Into<Arrived>,
    decode: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let mut descriptors = descriptors.into();
    if descriptors.is_empty() {
        return decode();
    }
    let kept = (!descriptors.is_trusted()).then(Vec::new);
    let descriptors = descriptors.take().into_iter().map(Some).collect();
    let _open = ListGuard::new(false, descriptors, kept);
    let decoded = decode();
    if decoded.is_ok() {
        // The value has them: these are not the last copies.
        with_list(false, |list| list.kept.iter_mut().for_each(Vec::clear));
    }
    decoded
}

/// Adds a copy of `descriptor` to the list, and returns its index, which is what gets encoded.
///
/// # Errors
///
/// Fails if no list is open, because the bytes are not for another process of this program, and if
/// no descriptor is left for the copy.
pub(crate) fn put<E: serde::ser::Error>(descriptor: BorrowedFd<'_>) -> Result<u32, E> {
    with_list(true, |list| {
        let copy = descriptor.try_clone_to_owned().map_err(E::custom)?;
        list.descriptors.push(Some(copy));
        Ok(list.descriptors.len() as u32 - 1)
    })
    .unwrap_or_else(|| {
        Err(E::custom(
            "it holds a descriptor, so it travels only as the argument or result of a process task",
        ))
    })
}

/// Takes the descriptor at `index` from the list.
///
/// # Errors
///
/// Fails if it is not there: taken before, or the bytes did not come from a process task.
pub(crate) fn take<E: serde::de::Error>(index: u32) -> Result<OwnedFd, E> {
    let take = |list: &mut List| {
        let taken = list.descriptors.get_mut(index as usize)?.take()?;
        // Without a descriptor for the copy, an unfit one is closed by the decoder.
        list.kept.iter_mut().for_each(|kept| kept.extend(taken.try_clone()));
        Some(taken)
    };
    with_list(false, take)
        .flatten()
        .ok_or_else(|| E::custom("its descriptor has not arrived with it"))
}

fn with_list<T>(packing: bool, f: impl FnOnce(&mut List) -> T) -> Option<T> {
    let owner = park::caller_number();
    LISTS.with_borrow_mut(|lists| {
        lists
            .iter_mut()
            .rfind(|list| list.owner == owner)
            .filter(|list| list.packing == packing)
            .map(f)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::value::Error;
    use std::os::fd::{AsFd, AsRawFd};

    #[test]
    fn what_is_put_is_taken_once_and_only_inside() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(put::<Error>(file.as_fd()).is_err(), "no list is open");
        let (places, descriptors) = packing(|| {
            let first = put::<Error>(file.as_fd()).unwrap();
            let (inner, inside) = packing(|| put::<Error>(file.as_fd()).unwrap());
            assert_eq!((inner, inside.len()), (0, 1));
            [first, put::<Error>(file.as_fd()).unwrap()]
        });
        assert_eq!((places, descriptors.len()), ([0, 1], 2));
        let number = descriptors[1].as_raw_fd();
        unpacking(descriptors, || {
            assert_eq!(take::<Error>(1).unwrap().as_raw_fd(), number);
            assert!(take::<Error>(1).is_err(), "once");
            assert!(take::<Error>(7).is_err());
            assert!(put::<Error>(file.as_fd()).is_err(), "nothing is sent from here");
            Ok::<(), Error>(())
        })
        .unwrap();
        assert!(take::<Error>(0).is_err());
        let unwound = std::panic::catch_unwind(|| packing(|| panic!()));
        assert!(unwound.is_err());
        assert!(put::<Error>(file.as_fd()).is_err(), "the list is closed");
    }
}
