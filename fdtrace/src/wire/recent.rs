//! Recent: a map of bounded size. When it is full, the value that came first is forgotten.
//!
//! A trace may last for days, and what is waited for may never come: a record was lost, or the end has
//! no hook.

use std::{borrow::Borrow, hash::Hash};

use foldhash::fast::RandomState;
use hashlink::{LinkedHashMap, linked_hash_map::Entry};

/// Values in the order in which they came. It depends on no hash: the same calls forget the same.
pub(crate) struct Recent<K, V> {
    values: LinkedHashMap<K, V, RandomState>,
    room: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    pub(crate) fn new(room: usize) -> Self {
        let values = LinkedHashMap::default();
        Self { values, room }
    }

    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.values.get(key)
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.values.contains_key(key)
    }

    /// Puts a value in the place of what is there, as the latest to come. Gives what is forgotten for it.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.values.insert(key, value);
        self.excess()
    }

    /// What is there, or else what `value` makes, as the latest to come.
    pub(crate) fn get_or_insert(&mut self, key: K, value: impl FnOnce() -> V) -> &mut V {
        if !self.values.contains_key(&key) && self.values.len() >= self.room {
            self.values.pop_front();
        }
        match self.values.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(value()),
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        // Mostly nothing is waited for.
        if self.values.is_empty() {
            return None;
        }
        self.values.remove(key)
    }

    /// Takes out what came first, if this is true of it.
    pub(crate) fn take_first(&mut self, is_meant: impl Fn(&V) -> bool) -> Option<V> {
        let (_, first) = self.values.front()?;
        is_meant(first)
            .then(|| self.values.pop_front())
            .flatten()
            .map(|(_, value)| value)
    }

    /// What is there, the first to come first.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.values.values()
    }

    pub(crate) fn clear(&mut self) {
        self.values.clear();
    }

    fn excess(&mut self) -> Option<V> {
        let is_full = self.values.len() > self.room;
        is_full
            .then(|| self.values.pop_front())
            .flatten()
            .map(|(_, value)| value)
    }
}
