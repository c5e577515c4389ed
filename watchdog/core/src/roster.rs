//! A map for few entries: one sorted vector without spare room.
//!
//! A service has one instance or a handful, one revision or two, three signals at most. A node of a
//! `BTreeMap` has room for eleven, which for instances alone is ten kilobytes a service; ten
//! thousand services would pay a hundred megabytes for empty places.
//!
//! Invariant: keys are strictly ascending, so iteration has the order that a `BTreeMap` would have.

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Up to here every insertion makes room for itself alone; a longer one grows by half.
const TIGHT: usize = 8;

/// Entries in the order of their keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Roster<K, V> {
    entries: Vec<(K, V)>,
}

impl<K, V> Roster<K, V> {
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.iter().map(|(key, _)| key)
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    /// Keeps those that `wanted` accepts.
    pub fn retain(&mut self, mut wanted: impl FnMut(&K, &mut V) -> bool) {
        self.entries.retain_mut(|(key, value)| wanted(key, value));
    }
}

impl<K: Ord, V> Roster<K, V> {
    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.entries.binary_search_by(|(kept, _)| kept.borrow().cmp(key))
    }

    #[must_use]
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.place(key).is_ok()
    }

    #[must_use]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.place(key).ok().map(|place| &self.entries[place].1)
    }

    #[must_use]
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.place(key).ok().map(|place| &mut self.entries[place].1)
    }

    /// Puts `value` in, and gives what stood there before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(place) => Some(std::mem::replace(&mut self.entries[place].1, value)),
            Err(place) => {
                let room = if self.len() < TIGHT { 1 } else { self.len() / 2 };
                if self.len() == self.entries.capacity() {
                    self.entries.reserve_exact(room);
                }
                self.entries.insert(place, (key, value));
                None
            }
        }
    }

    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.place(key).ok().map(|place| self.entries.remove(place).1)
    }
}

impl<K, V> Default for Roster<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Roster<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Roster<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut roster = Self::new();
        for (key, value) in entries {
            roster.insert(key, value);
        }
        roster
    }
}

impl<K: Serialize, V: Serialize> Serialize for Roster<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de, K: Ord + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Roster<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

struct Entries<K, V>(PhantomData<(K, V)>);

impl<'de, K: Ord + Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for Entries<K, V> {
    type Value = Roster<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut roster = Roster::new();
        while let Some((key, value)) = map.next_entry()? {
            roster.insert(key, value);
        }
        Ok(roster)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};
    use proptest::{prop_assert, prop_assert_eq};

    use super::*;

    proptest! {
        #[test]
        fn it_does_what_a_tree_does(steps in vec((any::<bool>(), 0_u8..24, any::<u8>()), 0..200)) {
            let (mut roster, mut tree) = (Roster::new(), BTreeMap::new());
            for (puts, key, value) in steps {
                if puts {
                    prop_assert_eq!(roster.insert(key, value), tree.insert(key, value));
                } else {
                    prop_assert_eq!(roster.remove(&key), tree.remove(&key));
                }
                prop_assert_eq!(roster.get(&key), tree.get(&key));
                prop_assert!(roster.iter().eq(tree.iter()));
            }
            let text = serde_json::to_string(&roster).expect("JSON");
            prop_assert_eq!(&text, &serde_json::to_string(&tree).expect("JSON"));
            prop_assert!(serde_json::from_str::<Roster<u8, u8>>(&text).is_ok_and(|r| r == roster));
        }
    }

    #[test]
    fn few_entries_have_no_spare_room() {
        let mut roster = Roster::new();
        for key in 0..3_u8 {
            roster.insert(key, [0_u64; 8]);
            assert_eq!(roster.entries.capacity(), roster.len());
        }
    }
}
