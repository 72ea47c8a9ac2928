//! Number → place, by open addressing with backward shifts: no tombstones, no growth, no order that could matter.

/// No place.
const NONE: u32 = u32::MAX;

/// A table of fixed size, at most half full.
pub(crate) struct Index {
    keys: Box<[u64]>,
    places: Box<[u32]>,
    /// Bits of a hash that are not used.
    shift: u32,
}

impl Index {
    /// For so many numbers.
    pub(crate) fn new(capacity: usize) -> Self {
        let slots = (capacity * 2).next_power_of_two().max(2);
        Self {
            keys: vec![0; slots].into(),
            places: vec![NONE; slots].into(),
            shift: 64 - slots.trailing_zeros(),
        }
    }

    #[inline]
    fn home(&self, key: u64) -> usize {
        (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize
    }

    /// The slot that has a key, or the empty one where it would go.
    #[inline]
    fn slot(&self, key: u64) -> usize {
        let mut slot = self.home(key);
        while self.places[slot] != NONE && self.keys[slot] != key {
            slot = (slot + 1) & (self.keys.len() - 1);
        }
        slot
    }

    #[inline]
    pub(crate) fn get(&self, key: u64) -> Option<u32> {
        Some(self.places[self.slot(key)]).filter(|&place| place != NONE)
    }

    /// There is room: the caller has no more places than the table was made for.
    #[inline]
    pub(crate) fn insert(&mut self, key: u64, place: u32) {
        let slot = self.slot(key);
        self.keys[slot] = key;
        self.places[slot] = place;
    }

    pub(crate) fn remove(&mut self, key: u64) -> Option<u32> {
        let mask = self.keys.len() - 1;
        let mut hole = self.slot(key);
        let removed = Some(self.places[hole]).filter(|&place| place != NONE)?;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            if self.places[at] == NONE {
                break;
            }
            // What lies behind the hole moves up, unless that would put it before its home.
            if at.wrapping_sub(self.home(self.keys[at])) & mask >= at.wrapping_sub(hole) & mask {
                self.keys[hole] = self.keys[at];
                self.places[hole] = self.places[at];
                hole = at;
            }
        }
        self.places[hole] = NONE;
        Some(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn agrees_with_a_map(actions in proptest::collection::vec((any::<bool>(), 0u64..60), 0..200)) {
            let (mut index, mut map) = (Index::new(16), BTreeMap::new());
            for (n, (adds, key)) in actions.into_iter().enumerate() {
                // Keys that collide, as order numbers and prices do.
                let key = key.wrapping_mul(1 << 58);
                if adds && map.len() < 16 {
                    index.insert(key, n as u32);
                    map.insert(key, n as u32);
                } else {
                    prop_assert_eq!(index.remove(key), map.remove(&key));
                }
                for key in (0u64..60).map(|k| k.wrapping_mul(1 << 58)) {
                    prop_assert_eq!(index.get(key), map.get(&key).copied());
                }
            }
        }
    }
}
