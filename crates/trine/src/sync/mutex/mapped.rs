//! The guard of a part of a mutex's value.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::lock::MutexGuard;
use crate::sync::hold::Hold;

/// Holds a [`Mutex`](super::Mutex), and gives access to a part of its value; made by
/// [`MutexGuard::map`]. Like [`std::sync::MappedMutexGuard`].
///
/// It is not `Send`, for the reason that [`MutexGuard`] is not.
///
/// ```
/// use trine::sync::{MappedMutexGuard, Mutex, MutexGuard};
///
/// struct Account {
///     owner: String,
///     balance: u64,
/// }
///
/// /// Lends the balance alone; the account stays locked as long.
/// fn balance(account: &Mutex<Account>) -> MappedMutexGuard<'_, u64> {
///     MutexGuard::map(account.lock(), |account| &mut account.balance)
/// }
///
/// let account = Mutex::new(Account { owner: "Ada".into(), balance: 1 });
/// *balance(&account) += 2;
/// let account = account.lock();
/// assert_eq!((account.balance, &*account.owner), (3, "Ada"));
/// ```
#[must_use = "a guard that is not kept unlocks at once"]
pub struct MappedMutexGuard<'a, T: ?Sized> {
    value: NonNull<T>,
    hold: Hold<'a>,
    /// Variant, and unsafe to unwind with, like the reference that `value` stands for.
    _value: PhantomData<&'a mut T>,
}

// SAFETY: a shared guard gives `&T` only.
unsafe impl<T: ?Sized + Sync> Sync for MappedMutexGuard<'_, T> {}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// Makes a guard of the part of the value that `f` chooses. The mutex stays locked as a whole.
    ///
    /// An associated function, since a method would hide one of the value's.
    ///
    /// ```
    /// use trine::sync::{Mutex, MutexGuard};
    ///
    /// let pair = Mutex::new((1, "one"));
    /// let mut number = MutexGuard::map(pair.lock(), |pair| &mut pair.0);
    /// *number = 2;
    /// assert!(pair.is_locked());
    /// drop(number);
    /// assert_eq!(*pair.lock(), (2, "one"));
    /// ```
    ///
    /// # Panics
    ///
    /// If `f` panics. The mutex is unlocked then.
    pub fn map<U: ?Sized, F>(mut orig: Self, f: F) -> MappedMutexGuard<'a, U>
    where
        F: FnOnce(&mut T) -> &mut U,
    {
        let value = NonNull::from(f(&mut *orig));
        MappedMutexGuard { value, hold: orig.into_hold(), _value: PhantomData }
    }

    /// Makes a guard of the part of the value that `f` chooses, if there is one.
    ///
    /// ```
    /// use trine::sync::{Mutex, MutexGuard};
    ///
    /// let words = Mutex::new(vec!["a", "b"]);
    /// let second = MutexGuard::filter_map(words.lock(), |words| words.get_mut(1)).unwrap();
    /// assert_eq!(*second, "b");
    /// # drop(second);
    /// ```
    ///
    /// # Errors
    ///
    /// Gives the guard back if `f` returns `None`.
    ///
    /// # Panics
    ///
    /// If `f` panics. The mutex is unlocked then.
    pub fn filter_map<U: ?Sized, F>(mut orig: Self, f: F) -> Result<MappedMutexGuard<'a, U>, Self>
    where
        F: FnOnce(&mut T) -> Option<&mut U>,
    {
        match f(&mut *orig).map(NonNull::from) {
            Some(value) => {
                Ok(MappedMutexGuard { value, hold: orig.into_hold(), _value: PhantomData })
            }
            None => Err(orig),
        }
    }

    /// Passes the lock on to a mapped guard.
    fn into_hold(self) -> Hold<'a> {
        let guard = ManuallyDrop::new(self);
        Hold::new(&guard.mutex.permit, 1, Some(&guard.mutex.owner))
    }
}

impl<'a, T: ?Sized> MappedMutexGuard<'a, T> {
    /// Makes a guard of a part of the part; see [`MutexGuard::map`].
    ///
    /// # Panics
    ///
    /// If `f` panics. The mutex is unlocked then.
    pub fn map<U: ?Sized, F>(mut orig: Self, f: F) -> MappedMutexGuard<'a, U>
    where
        F: FnOnce(&mut T) -> &mut U,
    {
        let value = NonNull::from(f(&mut *orig));
        MappedMutexGuard { value, hold: orig.hold, _value: PhantomData }
    }

    /// Makes a guard of a part of the part, if there is one; see [`MutexGuard::filter_map`].
    ///
    /// # Errors
    ///
    /// Gives the guard back if `f` returns `None`.
    ///
    /// # Panics
    ///
    /// If `f` panics. The mutex is unlocked then.
    pub fn filter_map<U: ?Sized, F>(mut orig: Self, f: F) -> Result<MappedMutexGuard<'a, U>, Self>
    where
        F: FnOnce(&mut T) -> Option<&mut U>,
    {
        match f(&mut *orig).map(NonNull::from) {
            Some(value) => Ok(MappedMutexGuard { value, hold: orig.hold, _value: PhantomData }),
            None => Err(orig),
        }
    }
}

impl<T: ?Sized> Deref for MappedMutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: `value` was made of the exclusive borrow of a guard, and leads to a part of the
        // mutex's value, which is borrowed for the guard's lifetime. `hold` has the only permit, so
        // there is no other guard.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized> DerefMut for MappedMutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and this guard is borrowed exclusively.
        unsafe { self.value.as_mut() }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MappedMutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MappedMutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
