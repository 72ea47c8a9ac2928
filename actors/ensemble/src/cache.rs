//! The decision cache (model book 3.16): what votes come to, by what members have found. It is asked before any vote is read out of a sketch; what it
//! answers is what would be computed, bit for bit, because votes and their pool are functions of the key alone. Where it was empty, full or switched off
//! can be seen in its counts and in nothing else: it is no part of any state.
//!
//! Four places a set, so that a question reads the tags of its set and one entry; who was not asked for since the hand passed by has to go (CLOCK).

use kimera_protocol::{Loader, MEMBERS_MAX, Nanos, Saver, State, StateError};

/// Places.
pub const ENTRIES: usize = 10_000;
/// Age up to which an answer is given again.
pub const TTL: Nanos = 250_000_000;
const WAYS: usize = 4;

/// What an answer is of: the members' sketches, and which weights they are pooled with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// Words of the sketches by member; 0 where it abstains.
    pub sketches: [u64; MEMBERS_MAX],
    /// Times the weights have changed.
    pub weight_epoch: u64,
}

impl Key {
    /// Two lanes that do not wait for each other.
    #[inline]
    fn hash(&self) -> u64 {
        const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
        let mix = |h: u64, word: u64| (h.rotate_left(29) ^ word).wrapping_mul(ODD);
        let (mut even, mut odd) = (self.weight_epoch, ODD);
        for pair in self.sketches.chunks_exact(2) {
            even = mix(even, pair[0]);
            odd = mix(odd, pair[1]);
        }
        let h = (even ^ odd.rotate_left(32)).wrapping_mul(ODD);
        h ^ (h >> 32)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Set {
    /// Low halves of the hashes; 0 where there is nothing.
    tags: [u32; WAYS],
    /// Asked for since the hand passed by, a bit each.
    asked: u8,
    hand: u8,
}

#[repr(align(64))]
#[derive(Clone, Copy, Debug)]
struct Entry<V> {
    key: Key,
    time: Nanos,
    value: V,
}

/// How questions ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The answer was there.
    Hit,
    /// It was not.
    Miss,
    /// It was there, right, and too old: computed anew.
    Expired,
}

/// The cache, of values `V`.
#[derive(Clone, Debug)]
pub struct DecisionCache<V> {
    sets: Box<[Set]>,
    entries: Box<[Entry<V>]>,
}

impl<V: Copy + Default> DecisionCache<V> {
    /// Of so many places, to the next multiple of four; with 0 everything is computed always.
    #[must_use]
    pub fn new(entries: usize) -> Self {
        let sets = entries.div_ceil(WAYS);
        let nothing = Entry { key: Key::default(), time: 0, value: V::default() };
        Self { sets: vec![Set::default(); sets].into(), entries: vec![nothing; sets * WAYS].into() }
    }

    /// The value of a key at this time: as it is remembered, or as it is computed, which is then remembered. What has no value is not.
    #[inline]
    pub fn get(
        &mut self,
        key: &Key,
        time: Nanos,
        compute: impl FnOnce() -> Option<V>,
    ) -> (Option<V>, Answer) {
        if self.sets.is_empty() {
            return (compute(), Answer::Miss);
        }
        let hash = key.hash();
        let tag = hash as u32 | 1;
        let at = (((hash >> 32) * self.sets.len() as u64) >> 32) as usize;
        let set = &mut self.sets[at];
        for way in 0..WAYS {
            let entry = &mut self.entries[at * WAYS + way];
            if set.tags[way] == tag && entry.key == *key {
                if (0..=TTL).contains(&time.saturating_sub(entry.time)) {
                    set.asked |= 1 << way;
                    return (Some(entry.value), Answer::Hit);
                }
                let value = compute();
                match value {
                    Some(value) => (entry.value, entry.time) = (value, time),
                    None => set.tags[way] = 0,
                }
                return (value, Answer::Expired);
            }
        }
        let value = compute();
        if let Some(value) = value {
            let way = set.give_up();
            set.tags[way] = tag;
            self.entries[at * WAYS + way] = Entry { key: *key, time, value };
        }
        (value, Answer::Miss)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.sets.fill(Set::default());
    }
}

impl Set {
    /// A place that is free, or the first from the hand on that was not asked for since it passed.
    fn give_up(&mut self) -> usize {
        if let Some(free) = self.tags.iter().position(|tag| *tag == 0) {
            return free;
        }
        loop {
            let way = usize::from(self.hand);
            self.hand = (self.hand + 1) % WAYS as u8;
            if self.asked & 1 << way == 0 {
                return way;
            }
            self.asked &= !(1 << way);
        }
    }
}

/// Nothing of it is saved, and nothing of it is left after loading.
impl<V: Copy + Default> State for DecisionCache<V> {
    fn save(&self, _out: &mut Saver) {}

    fn load(&mut self, _from: &mut Loader<'_>) -> Result<(), StateError> {
        self.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(sketch: u64, weight_epoch: u64) -> Key {
        let mut key = Key { weight_epoch, ..Key::default() };
        (key.sketches[0], key.sketches[3]) = (sketch, sketch << 20);
        key
    }

    #[test]
    fn an_answer_is_given_again_until_it_is_too_old_or_the_weights_have_changed() {
        let mut cache = DecisionCache::new(ENTRIES);
        let mut ask = |k, time, value| cache.get(&key(k, 1), time, || Some(value));
        assert_eq!(ask(5, 0, 50), (Some(50), Answer::Miss));
        assert_eq!(ask(5, TTL, 51), (Some(50), Answer::Hit));
        assert_eq!(ask(5, TTL + 1, 52), (Some(52), Answer::Expired), "and it is as young as its answer");
        assert_eq!(ask(5, 2 * TTL + 1, 53), (Some(52), Answer::Hit));
        assert_eq!(ask(6, 0, 60), (Some(60), Answer::Miss));
        assert_eq!(cache.get(&key(5, 2), 2 * TTL, || Some(54)), (Some(54), Answer::Miss));
        assert_eq!(cache.get(&key(9, 2), 0, || None::<u64>), (None, Answer::Miss));
        assert_eq!(
            cache.get(&key(9, 2), 0, || Some(1)),
            (Some(1), Answer::Miss),
            "nothing is not remembered"
        );
        cache.clear();
        assert_eq!(cache.get(&key(5, 2), 0, || Some(55)), (Some(55), Answer::Miss));
    }

    #[test]
    fn switched_off_it_computes_always() {
        let mut cache = DecisionCache::new(0);
        for value in 0..3 {
            assert_eq!(cache.get(&key(1, 1), 0, || Some(value)), (Some(value), Answer::Miss));
        }
    }

    #[test]
    fn who_was_asked_for_stays_where_there_is_no_room() {
        let mut cache = DecisionCache::new(WAYS); // one set
        for k in 1..=4 {
            cache.get(&key(k, 0), 0, || Some(k));
        }
        assert_eq!(cache.get(&key(2, 0), 0, || None), (Some(2), Answer::Hit));
        for k in 5..=7 {
            assert_eq!(cache.get(&key(k, 0), 0, || Some(k)).1, Answer::Miss);
        }
        assert_eq!(
            cache.get(&key(2, 0), 0, || None),
            (Some(2), Answer::Hit),
            "three have gone, not this one"
        );
        assert_eq!(cache.get(&key(1, 0), 0, || None).0, None);
    }

    proptest! {
        /// Whatever was asked before, an answer is the one of its key: collisions of tags and of sets included.
        #[test]
        fn an_answer_is_always_of_its_key(asked in proptest::collection::vec((0u64..60, 0u64..3, 0i64..3_000_000), 1..400), places in 0usize..40) {
            let (mut cache, mut time) = (DecisionCache::new(places), 0);
            for (sketch, epoch, later) in asked {
                time += later;
                let value = sketch * 1_000 + epoch;
                prop_assert_eq!(cache.get(&key(sketch, epoch), time, || Some(value)).0, Some(value));
            }
        }
    }
}
