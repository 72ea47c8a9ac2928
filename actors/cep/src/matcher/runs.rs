//! Runs under way: oldest first, by partition.

use kimera_protocol::{Loader, Nanos, Saver, StateError};

use super::store::NONE;
use crate::language::KEYS_MAX;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It waits for the first event of the step that an edge leads to, or for its time to pass where it leads to the end.
    Wait(u16),
    /// It has taken so many events of a step and may take more.
    Loop(u8, u16),
}

impl Default for State {
    fn default() -> Self {
        Self::Wait(0)
    }
}

impl kimera_protocol::State for State {
    fn save(&self, out: &mut Saver) {
        let (code, place, count) = match *self {
            Self::Wait(edge) => (0u8, 0u8, edge),
            Self::Loop(step, count) => (1, step, count),
        };
        code.save(out);
        place.save(out);
        count.save(out);
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        let (mut code, mut place, mut count) = (0u8, 0u8, 0u16);
        code.load(from)?;
        place.load(from)?;
        count.load(from)?;
        *self = match code {
            0 => Self::Wait(count),
            1 => Self::Loop(place, count),
            _ => return Err(from.impossible("place of a run")),
        };
        Ok(())
    }
}

/// A run of a pattern.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Run {
    /// In the order in which they began.
    pub(super) id: u64,
    pub(super) state: State,
    /// End of the chain of what it has taken.
    pub(super) end: u32,
    /// Place and time of its first event.
    pub(super) first: u64,
    pub(super) first_time: Nanos,
    /// The run that stayed in a greedy step when this one left it: if that one goes on, this one ends.
    pub(super) rival: u64,
    /// It has seen an event since it took the last one.
    pub(super) has_waited: bool,
    partition: u32,
    older: u32,
    newer: u32,
}

kimera_protocol::state!(Run {
    id,
    state,
    end,
    first,
    first_time,
    rival,
    has_waited,
    partition,
    older,
    newer
});

impl Run {
    /// The run of its partition that began next.
    pub(super) fn newer(&self) -> u32 {
        self.newer
    }
}

/// Runs with the same key.
#[derive(Default)]
struct Partition {
    key: [u64; KEYS_MAX],
    oldest: u32,
    newest: u32,
    count: u32,
    /// An event is being shown to it: it stays, with runs or without.
    is_open: bool,
}

kimera_protocol::state!(Partition { key, oldest, newest, count, is_open });

/// Runs of fixed number. A partition is there as long as it has runs, or is open.
pub(super) struct Runs {
    runs: Vec<Run>,
    free: Vec<u32>,
    partitions: Vec<Partition>,
    free_partitions: Vec<u32>,
    /// Open addressing, at most half full; backward shifts instead of tombstones.
    table: Vec<u32>,
    next_id: u64,
    /// Places from here on are free.
    top: usize,
    /// Runs there are.
    count: usize,
    /// Words of a key; the others are zero.
    words: usize,
}

kimera_protocol::state!(Runs { runs, free, partitions, free_partitions, table, next_id, top, count } fixed { words });

impl Runs {
    pub(super) fn new(capacity: usize, words: usize) -> Self {
        let run = Self::draft(State::Wait(0), NONE, 0, 0);
        let partition =
            || Partition { key: [0; KEYS_MAX], oldest: NONE, newest: NONE, count: 0, is_open: false };
        // As many as there may be runs, and the open one.
        let partitions = capacity + 1;
        Self {
            runs: vec![run; capacity],
            free: (0..capacity as u32).rev().collect(),
            partitions: (0..partitions).map(|_| partition()).collect(),
            free_partitions: (0..partitions as u32).rev().collect(),
            table: vec![NONE; (partitions * 2).next_power_of_two()],
            next_id: 1,
            top: 0,
            count: 0,
            words: words.min(KEYS_MAX),
        }
    }

    fn home(&self, key: &[u64; KEYS_MAX]) -> usize {
        let mixed = key[..self.words].iter().fold(0x9E37_79B9_7F4A_7C15u64, |hash, &word| {
            let wide = u128::from(hash ^ word).wrapping_mul(0xD1B5_4A32_D192_ED03);
            (wide as u64) ^ ((wide >> 64) as u64)
        });
        mixed as usize & (self.table.len() - 1)
    }

    /// Place in the table: of the partition with a key, or of where it would be.
    fn place(&self, key: &[u64; KEYS_MAX]) -> usize {
        let mut at = self.home(key);
        while self.table[at] != NONE && self.partitions[self.table[at] as usize].key != *key {
            at = (at + 1) & (self.table.len() - 1);
        }
        at
    }

    /// The partition with a key: there until it is closed, whatever becomes of its runs. One at a time is open.
    pub(super) fn open(&mut self, key: &[u64; KEYS_MAX]) -> Option<u32> {
        let place = self.place(key);
        if self.table[place] == NONE {
            let fresh = self.free_partitions.pop()?;
            let partition = &mut self.partitions[fresh as usize];
            *partition = Partition { key: *key, oldest: NONE, newest: NONE, count: 0, is_open: false };
            self.table[place] = fresh;
        }
        let index = self.table[place];
        self.partitions[index as usize].is_open = true;
        Some(index)
    }

    /// It goes where it has no runs.
    pub(super) fn close(&mut self, partition: u32) {
        let this = &mut self.partitions[partition as usize];
        this.is_open = false;
        if this.count == 0 {
            self.remove(partition);
        }
    }

    /// Runs of a partition.
    pub(super) fn count(&self, partition: u32) -> usize {
        self.partitions[partition as usize].count as usize
    }

    pub(super) fn key(&self, partition: u32) -> &[u64; KEYS_MAX] {
        &self.partitions[partition as usize].key
    }

    pub(super) fn key_of(&self, run: u32) -> [u64; KEYS_MAX] {
        *self.key(self.runs[run as usize].partition)
    }

    /// The oldest run of a partition.
    pub(super) fn oldest(&self, partition: u32) -> u32 {
        self.partitions[partition as usize].oldest
    }

    /// The oldest run of all.
    pub(super) fn oldest_of_all(&self) -> Option<u32> {
        self.all().min_by_key(|&(_, run)| run.id).map(|(at, _)| at)
    }

    pub(super) fn get(&self, at: u32) -> &Run {
        &self.runs[at as usize]
    }

    pub(super) fn get_mut(&mut self, at: u32) -> &mut Run {
        &mut self.runs[at as usize]
    }

    /// True where the run of this number is still at its place.
    pub(super) fn is(&self, at: u32, id: u64) -> bool {
        self.runs[at as usize].id == id
    }

    /// Runs there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// True where there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The partition of a key that has runs.
    pub(super) fn find(&self, key: &[u64; KEYS_MAX]) -> Option<u32> {
        Some(self.table[self.place(key)]).filter(|partition| *partition != NONE)
    }

    /// The run of a partition that has no other.
    pub(super) fn only(&self, partition: u32) -> Option<(u32, &Run)> {
        let Partition { count, oldest, .. } = self.partitions[partition as usize];
        (count == 1).then(|| (oldest, self.get(oldest)))
    }

    /// A run ends, and another begins in its place with one event at the same place of the pattern.
    pub(super) fn begin_anew(&mut self, at: u32, first: u64, first_time: Nanos) {
        let run = &mut self.runs[at as usize];
        *run = Run { id: self.next_id, first, first_time, rival: 0, has_waited: false, ..*run };
        self.next_id += 1;
    }

    /// A run ends, and the one that goes on from it begins in its place: the newest of the partition.
    pub(super) fn go_on(&mut self, at: u32, state: State, end: u32) {
        let Run { partition, older, newer, .. } = self.runs[at as usize];
        let run = &mut self.runs[at as usize];
        (run.id, run.state, run.end) = (self.next_id, state, end);
        (run.rival, run.has_waited) = (0, false);
        self.next_id += 1;
        if newer == NONE {
            return;
        }
        let partition = &mut self.partitions[partition as usize];
        let newest = std::mem::replace(&mut partition.newest, at);
        if older == NONE {
            partition.oldest = newer;
        } else {
            self.runs[older as usize].newer = newer;
        }
        self.runs[newer as usize].older = older;
        self.runs[newest as usize].newer = at;
        let run = &mut self.runs[at as usize];
        (run.older, run.newer) = (newest, NONE);
    }

    /// Places behind the last run are not looked through any more.
    pub(super) fn settle(&mut self) {
        while self.top > 0 && self.runs[self.top - 1].id == 0 {
            self.top -= 1;
        }
    }

    /// Every run, in no order that means anything.
    pub(super) fn all(&self) -> impl Iterator<Item = (u32, &Run)> {
        self.runs[..self.top]
            .iter()
            .enumerate()
            .filter(|(_, run)| run.id != 0)
            .map(|(at, run)| (at as u32, run))
    }

    /// Runs of a partition, the oldest first.
    pub(super) fn of(&self, partition: u32) -> impl Iterator<Item = (u32, u64)> {
        let mut at = self.oldest(partition);
        std::iter::from_fn(move || {
            let run = self.runs.get(at as usize)?;
            let this = (at, run.id);
            at = run.newer;
            Some(this)
        })
    }

    /// A new run, the newest of an open partition; none where there is no place.
    pub(super) fn begin(&mut self, index: u32, run: Run) -> Option<u64> {
        let at = self.free.pop()?;
        self.top = self.top.max(at as usize + 1);
        self.count += 1;
        let partition = &mut self.partitions[index as usize];
        let older = std::mem::replace(&mut partition.newest, at);
        partition.count += 1;
        if older == NONE {
            partition.oldest = at;
        } else {
            self.runs[older as usize].newer = at;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.runs[at as usize] = Run { id, partition: index, older, newer: NONE, ..run };
        Some(id)
    }

    /// A run as [`Runs::begin`] takes it.
    pub(super) fn draft(state: State, end: u32, first: u64, first_time: Nanos) -> Run {
        Run {
            id: 0,
            state,
            end,
            first,
            first_time,
            rival: 0,
            has_waited: false,
            partition: NONE,
            older: NONE,
            newer: NONE,
        }
    }

    /// Ends a run; gives the chain it held.
    pub(super) fn end(&mut self, at: u32) -> u32 {
        let Run { end, partition: index, older, newer, .. } = self.runs[at as usize];
        self.runs[at as usize].id = 0;
        self.free.push(at);
        self.count -= 1;
        if self.count == 0 {
            self.top = 0; // the places that are taken next may be anywhere, but what is looked through begins anew
        }
        let partition = &mut self.partitions[index as usize];
        partition.count -= 1;
        if older == NONE {
            partition.oldest = newer;
        } else {
            self.runs[older as usize].newer = newer;
        }
        if newer == NONE {
            partition.newest = older;
        } else {
            self.runs[newer as usize].older = older;
        }
        if partition.count == 0 && !partition.is_open {
            self.remove(index);
        }
        end
    }

    fn remove(&mut self, partition: u32) {
        let mask = self.table.len() - 1;
        let mut hole = self.place(&self.partitions[partition as usize].key);
        self.free_partitions.push(partition);
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let next = self.table[at];
            if next == NONE {
                break;
            }
            let home = self.home(&self.partitions[next as usize].key);
            // What lies behind the hole moves up, unless that would put it before its home.
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.table[hole] = next;
                hole = at;
            }
        }
        self.table[hole] = NONE;
    }
}
