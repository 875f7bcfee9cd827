//! The guards of a part of a lock's value.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::lock::{ALL, RwLockReadGuard, RwLockWriteGuard};
use crate::sync::hold::Hold;

/// Holds an [`RwLock`](super::RwLock) for reading, and gives access to a part of its value; made by
/// [`RwLockReadGuard::map`]. Like [`std::sync::MappedRwLockReadGuard`].
///
/// ```
/// use trine::sync::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
///
/// /// Lends the first word; the list stays locked for reading as long.
/// fn first(words: &RwLock<Vec<String>>) -> MappedRwLockReadGuard<'_, str> {
///     RwLockReadGuard::map(words.read(), |words| &*words[0])
/// }
///
/// let words = RwLock::new(vec!["one".to_string()]);
/// assert_eq!(&*first(&words), "one");
/// ```
#[must_use = "a guard that is not kept unlocks at once"]
pub struct MappedRwLockReadGuard<'a, T: ?Sized> {
    value: NonNull<T>,
    hold: Hold<'a>,
    _value: PhantomData<&'a T>,
}

/// Holds an [`RwLock`](super::RwLock) for writing, and gives access to a part of its value; made by
/// [`RwLockWriteGuard::map`]. Like [`std::sync::MappedRwLockWriteGuard`].
///
/// ```
/// use trine::sync::{MappedRwLockWriteGuard, RwLock, RwLockWriteGuard};
///
/// /// Lends the first number; the list stays locked for writing as long.
/// fn first(numbers: &RwLock<Vec<u32>>) -> MappedRwLockWriteGuard<'_, u32> {
///     RwLockWriteGuard::map(numbers.write(), |numbers| &mut numbers[0])
/// }
///
/// let numbers = RwLock::new(vec![1, 5]);
/// *first(&numbers) += 1;
/// assert_eq!(*numbers.read(), [2, 5]);
/// ```
#[must_use = "a guard that is not kept unlocks at once"]
pub struct MappedRwLockWriteGuard<'a, T: ?Sized> {
    value: NonNull<T>,
    hold: Hold<'a>,
    /// Variant, and unsafe to unwind with, like the reference that `value` stands for.
    _value: PhantomData<&'a mut T>,
}

// SAFETY: a shared guard gives `&T` only.
unsafe impl<T: ?Sized + Sync> Sync for MappedRwLockReadGuard<'_, T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for MappedRwLockWriteGuard<'_, T> {}

impl<'a, T: ?Sized> RwLockReadGuard<'a, T> {
    /// Makes a guard of the part of the value that `f` chooses. The lock stays held for reading.
    ///
    /// An associated function, since a method would hide one of the value's.
    ///
    /// ```
    /// use trine::sync::{RwLock, RwLockReadGuard};
    ///
    /// let pair = RwLock::new((1, "one"));
    /// let number = RwLockReadGuard::map(pair.read(), |pair| &pair.0);
    /// assert_eq!(*number, 1);
    /// # drop(number);
    /// ```
    ///
    /// # Panics
    ///
    /// If `f` panics. The lock is given back then.
    pub fn map<U: ?Sized, F>(orig: Self, f: F) -> MappedRwLockReadGuard<'a, U>
    where
        F: FnOnce(&T) -> &U,
    {
        let value = NonNull::from(f(&*orig));
        MappedRwLockReadGuard { value, hold: orig.into_hold(), _value: PhantomData }
    }

    /// Makes a guard of the part of the value that `f` chooses, if there is one.
    ///
    /// ```
    /// use trine::sync::{RwLock, RwLockReadGuard};
    ///
    /// let words = RwLock::new(vec!["a", "b"]);
    /// assert!(RwLockReadGuard::filter_map(words.read(), |words| words.get(2)).is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// Gives the guard back if `f` returns `None`.
    ///
    /// # Panics
    ///
    /// If `f` panics. The lock is given back then.
    pub fn filter_map<U: ?Sized, F>(orig: Self, f: F) -> Result<MappedRwLockReadGuard<'a, U>, Self>
    where
        F: FnOnce(&T) -> Option<&U>,
    {
        match f(&*orig).map(NonNull::from) {
            Some(value) => {
                Ok(MappedRwLockReadGuard { value, hold: orig.into_hold(), _value: PhantomData })
            }
            None => Err(orig),
        }
    }

    /// Passes the lock on to a mapped guard.
    fn into_hold(self) -> Hold<'a> {
        let guard = ManuallyDrop::new(self);
        Hold::new(&guard.lock.permits, 1, None)
    }
}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Makes a guard of the part of the value that `f` chooses. The lock stays held for writing.
    ///
    /// An associated function, since a method would hide one of the value's.
    ///
    /// ```
    /// use trine::sync::{RwLock, RwLockWriteGuard};
    ///
    /// let pair = RwLock::new((1, "one"));
    /// let mut number = RwLockWriteGuard::map(pair.write(), |pair| &mut pair.0);
    /// *number = 2;
    /// drop(number);
    /// assert_eq!(*pair.read(), (2, "one"));
    /// ```
    ///
    /// # Panics
    ///
    /// If `f` panics. The lock is given back then.
    pub fn map<U: ?Sized, F>(mut orig: Self, f: F) -> MappedRwLockWriteGuard<'a, U>
    where
        F: FnOnce(&mut T) -> &mut U,
    {
        let value = NonNull::from(f(&mut *orig));
        MappedRwLockWriteGuard { value, hold: orig.into_hold(), _value: PhantomData }
    }

    /// Makes a guard of the part of the value that `f` chooses, if there is one.
    ///
    /// ```
    /// use trine::sync::{RwLock, RwLockWriteGuard};
    ///
    /// let words = RwLock::new(vec!["a", "b"]);
    /// let found = RwLockWriteGuard::filter_map(words.write(), |words| words.get_mut(1));
    /// *found.unwrap() = "c";
    /// assert_eq!(*words.read(), ["a", "c"]);
    /// ```
    ///
    /// # Errors
    ///
    /// Gives the guard back if `f` returns `None`.
    ///
    /// # Panics
    ///
    /// If `f` panics. The lock is given back then.
    pub fn filter_map<U: ?Sized, F>(
        mut orig: Self,
        f: F,
    ) -> Result<MappedRwLockWriteGuard<'a, U>, Self>
    where
        F: FnOnce(&mut T) -> Option<&mut U>,
    {
        match f(&mut *orig).map(NonNull::from) {
            Some(value) => {
                Ok(MappedRwLockWriteGuard { value, hold: orig.into_hold(), _value: PhantomData })
            }
            None => Err(orig),
        }
    }

    /// Passes the lock on to a mapped guard.
    fn into_hold(self) -> Hold<'a> {
        let guard = ManuallyDrop::new(self);
        Hold::new(&guard.lock.permits, ALL, Some(&guard.lock.owner))
    }
}

impl<'a, T: ?Sized> MappedRwLockReadGuard<'a, T> {
    /// Makes a guard of a part of the part; see [`RwLockReadGuard::map`].
    ///
    /// # Panics
    ///
    /// If `f` panics. The lock is given back then.
    pub fn map<U: ?Sized, F>(orig: Self, f: F) -> MappedRwLockReadGuard<'a, U>
    where
        F: FnOnce(&T) -> &U,
    {
        let value = NonNull::from(f(&*orig));
        MappedRwLockReadGuard { value, hold: orig.hold, _value: PhantomData }
    }

    /// Makes a guard of a part of the part, if there is one; see [`RwLockReadGuard::filter_map`].
    ///
    /// # Errors
    ///
    /// Gives the guard back if `f` returns `None`.
    ///
    /// # Panics
    ///
    /// If `f` panics. The lock is given back then.
    pub fn filter_map<U: ?Sized, F>(orig: Self, f: F) -> Result<MappedRwLockReadGuard<'a, U>, Self>
    where
        F: FnOnce(&T) -> Option<&U>,
    {
        match f(&*orig).map(NonNull::from) {
            Some(value) => {
                Ok(MappedRwLockReadGuard { value, hold: orig.hold, _value: PhantomData })
            }
            None => Err(orig),
        }
    }
}

impl<'a, T: ?Sized> MappedRwLockWriteGuard<'a, T> {
    /// Makes a guard of a part of the part; see [`RwLockWriteGuard::map`].
    ///
    /// # Panics
    ///
    /// If `f` panics. The lock is given back then.
    pub fn map<U: ?Sized, F>(mut orig: Self, f: F) -> MappedRwLockWriteGuard<'a, U>
    where
        F: FnOnce(&mut T) -> &mut U,
    {
        let value = NonNull::from(f(&mut *orig));
        MappedRwLockWriteGuard { value, hold: orig.hold, _value: PhantomData }
    }

    /// Makes a guard of a part of the part, if there is one; see [`RwLockWriteGuard::filter_map`].
    ///
    /// # Errors
    ///
    /// Gives the guard back if `f` returns `None`.
    ///
    /// # Panics
    ///
    /// If `f` panics. The lock is given back then.
    pub fn filter_map<U: ?Sized, F>(
        mut orig: Self,
        f: F,
    ) -> Result<MappedRwLockWriteGuard<'a, U>, Self>
    where
        F: FnOnce(&mut T) -> Option<&mut U>,
    {
        match f(&mut *orig).map(NonNull::from) {
            Some(value) => {
                Ok(MappedRwLockWriteGuard { value, hold: orig.hold, _value: PhantomData })
            }
            None => Err(orig),
        }
    }
}

impl<T: ?Sized> Deref for MappedRwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `value` was made of the borrow of a guard, and leads to a part of the lock's
        // value, which is borrowed for the guard's lifetime. `hold` has a permit, so there is no
        // writer, which would hold all.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized> Deref for MappedRwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: as for the reader, of an exclusive borrow. `hold` has all permits, so there is no
        // other guard.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized> DerefMut for MappedRwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and this guard is borrowed exclusively.
        unsafe { self.value.as_mut() }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MappedRwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MappedRwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MappedRwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MappedRwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
