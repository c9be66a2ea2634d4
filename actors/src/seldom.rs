//! What most threads have none of. There are many threads, and most of them rest: what only a thread at
//! work, or one in trouble, needs is a pointer in all the others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::ops::{Deref, DerefMut};

use coppicer_messages::TreeLimits;

/// A type with a value that says that there is nothing.
#[doc(hidden)]
pub trait Blank: Default + 'static {
    /// The value that says so: equal to the default.
    const BLANK: &'static Self;

    /// Whether this one says so.
    fn is_blank(&self) -> bool;
}

macro_rules! blank_lists {
    ($($list:ty [$($of:ident $(: $bound:ident)?),*];)*) => {
        $(impl<$($of: 'static $(+ $bound)?),*> Blank for $list {
            const BLANK: &'static Self = &<$list>::new();

            fn is_blank(&self) -> bool {
                self.is_empty()
            }
        })*
    };
}

blank_lists! {
    Vec<T> [T];
    VecDeque<T> [T];
    BTreeSet<T> [T];
    BTreeMap<K, V> [K, V];
}

impl Blank for TreeLimits {
    const BLANK: &'static Self = &Self::new();

    fn is_blank(&self) -> bool {
        self == Self::BLANK
    }
}

/// A value that takes a pointer until it is written to. Read, it is as if it were there; what is read
/// before then is blank.
#[doc(hidden)]
pub struct Seldom<T>(Option<Box<T>>);

impl<T> Seldom<T> {
    /// Nothing.
    pub const fn none() -> Self {
        Self(None)
    }

    /// What is there to be changed, if it was ever written to.
    pub fn there(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }

    /// Forgets it, with its memory.
    pub fn clear(&mut self) {
        self.0 = None;
    }
}

impl<T: Default> Seldom<T> {
    /// Takes it, and leaves nothing.
    pub fn take(&mut self) -> T {
        self.0.take().map_or_else(T::default, |value| *value)
    }
}

impl<T> Seldom<VecDeque<T>> {
    /// The first, taken out.
    pub fn pop_front(&mut self) -> Option<T> {
        self.0.as_mut()?.pop_front()
    }
}

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Self::none()
    }
}

impl<T: Blank> From<T> for Seldom<T> {
    fn from(value: T) -> Self {
        Self((!value.is_blank()).then(|| Box::new(value)))
    }
}

impl<T: Blank> Deref for Seldom<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::BLANK)
    }
}

impl<T: Blank> DerefMut for Seldom<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: IntoIterator + Default> IntoIterator for Seldom<T> {
    type Item = T::Item;
    type IntoIter = T::IntoIter;

    fn into_iter(mut self) -> T::IntoIter {
        self.take().into_iter()
    }
}

impl<T: Clone> Clone for Seldom<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// As what it stands for: blank is blank, written to or not.
impl<T: Blank + PartialEq> PartialEq for Seldom<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Blank + fmt::Debug> fmt::Debug for Seldom<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_pointer_until_it_is_written_to() {
        assert_eq!(size_of::<Seldom<VecDeque<u8>>>(), size_of::<usize>());
        let mut line: Seldom<VecDeque<u8>> = Seldom::none();
        assert!(line.is_empty() && line.there().is_none() && line.pop_front().is_none());
        line.push_back(1);
        assert_eq!((line.len(), line.there().map(|line| line.len())), (1, Some(1)));
        assert_eq!((line.pop_front(), line.take(), line.there()), (Some(1), VecDeque::new(), None));
    }

    #[test]
    fn blank_is_blank_written_to_or_not() {
        let mut written: Seldom<Vec<u8>> = Seldom::none();
        written.push(1);
        assert_ne!(written, Seldom::none());
        written.pop();
        assert_eq!(written, Seldom::none());
        assert!(Seldom::from(Vec::<u8>::new()).there().is_none(), "nothing is kept of nothing");
    }
}
