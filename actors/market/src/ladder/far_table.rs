//! Levels outside the window of a ladder.

use kimera_protocol::Side;

/// Levels kept outside the window.
pub const FAR_LEVELS: usize = 8_192;
pub(super) const FAR_SLOTS: usize = FAR_LEVELS * 2;

/// Tick → size, open addressing with backward-shift removal: no tombstones, no growth.
pub(super) struct FarTable {
    ticks: Box<[i64]>,
    sizes: Box<[i64]>,
    used: usize,
}

kimera_protocol::state!(FarTable { ticks, sizes, used });

impl FarTable {
    pub(super) fn new() -> Self {
        Self { ticks: vec![0; FAR_SLOTS].into(), sizes: vec![0; FAR_SLOTS].into(), used: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.sizes.fill(0);
        self.used = 0;
    }

    fn home(tick: i64) -> usize {
        ((tick as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 50) as usize & (FAR_SLOTS - 1)
    }

    /// The slot that holds `tick`, or the empty one where it would go.
    fn find(&self, tick: i64) -> usize {
        let mut slot = Self::home(tick);
        while self.sizes[slot] != 0 && self.ticks[slot] != tick {
            slot = (slot + 1) & (FAR_SLOTS - 1);
        }
        slot
    }

    pub(super) fn get(&self, tick: i64) -> i64 {
        self.sizes[self.find(tick)]
    }

    /// Tick and size of a slot, where it holds a level.
    pub(super) fn slot(&self, slot: usize) -> Option<(i64, i64)> {
        (self.sizes[slot] != 0).then(|| (self.ticks[slot], self.sizes[slot]))
    }

    /// Sets or removes; false where the table is full.
    pub(super) fn set(&mut self, tick: i64, size: i64) -> bool {
        let slot = self.find(tick);
        if size == 0 {
            if self.sizes[slot] != 0 {
                self.remove(slot);
            }
            return true;
        }
        if self.sizes[slot] == 0 {
            if self.used == FAR_LEVELS {
                return false;
            }
            self.used += 1;
        }
        self.ticks[slot] = tick;
        self.sizes[slot] = size;
        true
    }

    fn remove(&mut self, mut hole: usize) {
        self.used -= 1;
        self.sizes[hole] = 0;
        let mut next = (hole + 1) & (FAR_SLOTS - 1);
        while self.sizes[next] != 0 {
            let home = Self::home(self.ticks[next]);
            let to_hole = hole.wrapping_sub(home) & (FAR_SLOTS - 1);
            let to_next = next.wrapping_sub(home) & (FAR_SLOTS - 1);
            if to_hole < to_next {
                self.ticks[hole] = self.ticks[next];
                self.sizes[hole] = self.sizes[next];
                self.sizes[next] = 0;
                hole = next;
            }
            next = (next + 1) & (FAR_SLOTS - 1);
        }
    }

    pub(super) fn best(&self, side: Side) -> Option<i64> {
        let found = (0..FAR_SLOTS).filter_map(|s| self.slot(s)).map(|(tick, _)| tick);
        match side {
            Side::Bid => found.max(),
            Side::Ask => found.min(),
        }
    }
}
