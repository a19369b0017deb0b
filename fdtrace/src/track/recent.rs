//! Recent: a map of bounded weight that forgets what came first.
//!
//! A trace may last for days, and what it waits for may never come: a record was lost, or the end
//! has no hook. Whoever owns the map asks for the excess and says what becomes of it.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    hash::Hash,
};

/// Values in the order in which they came. It depends on no hash: the same calls forget the same.
pub(super) struct Recent<K, V> {
    values: HashMap<K, (u64, V)>,
    /// Keys with the numbers under which they came; those that have gone since are passed over.
    order: VecDeque<(u64, K)>,
    came: u64,
    weight: usize,
    room: usize,
    /// Too much has come, and more than that has to go.
    full: bool,
    weigh: fn(&V) -> usize,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    /// Room for `room` values.
    pub(super) fn new(room: usize) -> Self {
        Self::weighing(room, |_| 1)
    }

    /// Room for values of this weight in all. A value's weight never changes.
    pub(super) fn weighing(room: usize, weigh: fn(&V) -> usize) -> Self {
        Self {
            values: HashMap::new(),
            order: VecDeque::new(),
            came: 0,
            weight: 0,
            room,
            full: false,
            weigh,
        }
    }

    pub(super) fn get(&self, key: K) -> Option<&V> {
        self.values.get(&key).map(|(_, value)| value)
    }

    pub(super) fn contains(&self, key: K) -> bool {
        self.values.contains_key(&key)
    }

    /// Puts a value in the place of what is there, as the latest to come.
    pub(super) fn insert(&mut self, key: K, value: V) {
        self.remove(key);
        self.get_or_insert(key, || value);
    }

    /// What is there, or else what `value` makes, as the latest to come.
    pub(super) fn get_or_insert(&mut self, key: K, value: impl FnOnce() -> V) -> &mut V {
        // What has gone must not take more room in the order than what is there.
        if self.order.len() >= 2 * self.values.len() + 64 {
            let values = &self.values;
            self.order
                .retain(|(came, key)| values.get(key).is_some_and(|(is, _)| is == came));
        }
        match self.values.entry(key) {
            Entry::Occupied(entry) => &mut entry.into_mut().1,
            Entry::Vacant(entry) => {
                let value = value();
                self.came += 1;
                self.weight += (self.weigh)(&value);
                self.order.push_back((self.came, key));
                &mut entry.insert((self.came, value)).1
            }
        }
    }

    pub(super) fn remove(&mut self, key: K) -> Option<V> {
        let (_, value) = self.values.remove(&key)?;
        self.weight -= (self.weigh)(&value);
        Some(value)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.values.values().map(|(_, value)| value)
    }

    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.order.clear();
        self.weight = 0;
    }

    /// Takes out what came first, if there is more than room for, and then at once an eighth of the
    /// room, so that this is rare. The latest one always stays.
    pub(super) fn excess(&mut self) -> Option<V> {
        self.full |= self.weight > self.room;
        let enough = if self.full {
            self.room - self.room / 8
        } else {
            self.room
        };
        while self.weight > enough && self.values.len() > 1 {
            let (came, key) = self.order.pop_front()?;
            if self.values.get(&key).is_some_and(|(is, _)| *is == came) {
                return self.remove(key);
            }
        }
        self.full = false;
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_came_first_is_forgotten_first() {
        let mut map = Recent::new(3);
        for key in 0..5 {
            map.insert(key, key * 10);
        }
        // The first one came again.
        map.insert(0, 1);
        assert_eq!(map.excess(), Some(10));
        assert_eq!(map.excess(), Some(20));
        assert_eq!(map.excess(), None);
        assert_eq!([3, 4, 0].map(|key| map.remove(key)), [30, 40, 1].map(Some));
        assert_eq!((map.weight, map.get(3)), (0, None));
    }

    #[test]
    fn one_that_outweighs_all_room_stays_alone() {
        let mut map = Recent::weighing(10, |weight: &usize| *weight);
        map.insert('a', 4);
        map.insert('b', 50);
        assert_eq!(map.excess(), Some(4));
        assert_eq!(map.excess(), None);
        assert_eq!(map.get('b'), Some(&50));
    }

    proptest! {
        #[test]
        fn it_is_a_map_and_stays_within_its_room(steps in prop::collection::vec((0..40_u8, any::<bool>()), 0..2000)) {
            const ROOM: usize = 16;
            let mut map = Recent::new(ROOM);
            // What is there, the first one first.
            let mut model: Vec<(u8, usize)> = Vec::new();
            for (at, (key, goes)) in steps.into_iter().enumerate() {
                let there = model.iter().position(|(is, _)| *is == key);
                let there = there.map(|place| model.remove(place).1);
                if goes {
                    prop_assert_eq!(map.remove(key), there);
                } else {
                    map.insert(key, at);
                    model.push((key, at));
                }
                let goes = if model.len() > ROOM { 1 + ROOM / 8 } else { 0 };
                for (_, value) in model.drain(..goes) {
                    prop_assert_eq!(map.excess(), Some(value));
                }
                prop_assert_eq!(map.excess(), None);
                prop_assert!(map.order.len() <= 2 * ROOM + 66);
                prop_assert_eq!(map.weight, model.len());
            }
        }
    }
}
