//! What followed windows like this one (model book 3.6): embeddings with what became of them, the nearest of a question, and who has to go when
//! there is no room.

use kimera_numerics::ln;
use kimera_protocol::Nanos;

use super::embedding::{Embedding, VALUES, dot};
use super::graph::{Graph, Near, Nearness};
use crate::pool::Forecast;

/// Most embeddings; 32 MiB of them.
pub const MEMORY_MAX: usize = 65_536;
/// Neighbours that are asked.
pub const NEIGHBOURS: usize = 16;
/// Neighbours that speak for anything at all, at least.
pub const SUPPORT_MIN: usize = 10;
/// Cosine at which a neighbour begins to count.
const LIKE: f32 = 0.5;
/// Weight of each class before any neighbour.
const PRIOR: f64 = 1.0;
/// Up to so many every one is looked at.
const EXACT_MAX: usize = 4_096;
/// Questions between two at which the graph's answer is compared with the exact one.
const CHECK_EVERY: u64 = 64;
/// Share of the exact answer that the graph must find.
const RECALL_MIN: f64 = 0.95;
/// Age at which an embedding is worth half: a day.
const HALF_LIFE: f64 = 86_400e9;

/// What became of windows that are like one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Answer {
    /// Those that count: sixteen at most.
    pub support: usize,
    /// Cosine of the one that is most like it; 0 where none counts.
    pub likest: f32,
    /// Weight of down, flat and up among them: each counts its cosine less 0.5.
    pub mass: Forecast,
}

impl Answer {
    /// Probabilities of down, flat and up: (Σ w of a class + 1) / (Σ w + 3); none with fewer than ten neighbours.
    #[must_use]
    pub fn outcome(&self) -> Option<Forecast> {
        (self.support >= SUPPORT_MIN).then(|| {
            let mass = self.mass.map(|m| m + PRIOR);
            mass.map(|m| m / mass.iter().fold(0.0, |sum, m| sum + m))
        })
    }
}

/// What is known of an embedding beside its direction.
#[derive(Clone, Copy, Debug)]
struct Entry {
    time: Nanos,
    class: u8,
    /// Starts at 1, and grows by what it counts whenever it is asked.
    weight: f32,
    /// ln weight.
    ln_weight: f32,
}

#[derive(Clone, Debug)]
struct Vectors {
    values: Vec<i8>,
    scales: Vec<f32>,
}

impl Vectors {
    fn row(&self, place: u32) -> &[i8] {
        &self.values[place as usize * VALUES..][..VALUES]
    }

    fn cosine(&self, of: &Embedding, place: u32) -> f32 {
        dot(&of.values, self.row(place)) as f32 * of.scale * self.scales[place as usize]
    }
}

impl Nearness for Vectors {
    fn between(&self, a: u32, b: u32) -> f32 {
        dot(self.row(a), self.row(b)) as f32 * self.scales[a as usize] * self.scales[b as usize]
    }
}

/// The memory.
#[derive(Clone, Debug)]
pub struct Memory {
    most: usize,
    exact_max: usize,
    vectors: Vectors,
    entries: Vec<Entry>,
    /// Of everybody, from the first on: it is asked when there are many.
    graph: Graph,
    questions: u64,
    /// Decayed share of exact neighbours that the graph has found; none before the first comparison.
    recall: Option<f64>,
    evicted: u64,
}

impl Memory {
    /// Room for so many (65,536 at most): taken at once.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let most = most.clamp(1, MEMORY_MAX);
        let vectors = Vectors { values: Vec::with_capacity(most * VALUES), scales: Vec::with_capacity(most) };
        let entries = Vec::with_capacity(most);
        Self {
            most,
            exact_max: EXACT_MAX,
            vectors,
            entries,
            graph: Graph::default(),
            questions: 0,
            recall: None,
            evicted: 0,
        }
    }

    /// Embeddings held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True where nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Those that had to go.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Share of the exact answer that the graph finds, lately; none while every one is looked at.
    #[must_use]
    pub fn recall(&self) -> Option<f64> {
        self.recall
    }

    /// True where every one is looked at: there are few, or the graph finds too little.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.len() <= self.exact_max || self.recall.is_some_and(|share| share < RECALL_MIN)
    }

    /// Remembers a window that ended at a time, and what followed: 0 down, 1 flat, 2 up. Where there is no room, who is worth least goes:
    /// what one is worth is how much it was asked, halved with each day of its age.
    pub fn remember(&mut self, of: &Embedding, time: Nanos, class: usize) {
        let entry = Entry { time, class: class.min(2) as u8, weight: 1.0, ln_weight: 0.0 };
        if self.entries.len() < self.most {
            self.vectors.values.extend_from_slice(&of.values);
            self.vectors.scales.push(of.scale);
            self.entries.push(entry);
            let place = self.entries.len() as u32 - 1;
            self.graph.insert(place, &self.vectors);
            return;
        }
        let worth = |e: &Entry| {
            let age = time.saturating_sub(e.time).max(0) as f64 / HALF_LIFE;
            f64::from(e.ln_weight) - age * std::f64::consts::LN_2
        };
        let least = (0..self.entries.len())
            .min_by(|&a, &b| worth(&self.entries[a]).total_cmp(&worth(&self.entries[b])));
        let Some(place) = least else { return };
        self.evicted += 1;
        self.vectors.values[place * VALUES..][..VALUES].copy_from_slice(&of.values);
        self.vectors.scales[place] = of.scale;
        self.entries[place] = entry;
        self.graph.replace(place as u32, &self.vectors);
    }

    fn exact(&self, of: &Embedding) -> Vec<Near> {
        let mut nearest: Vec<Near> = Vec::with_capacity(NEIGHBOURS + 1);
        for node in 0..self.entries.len() as u32 {
            let near = Near { nearness: self.vectors.cosine(of, node), node };
            if nearest.len() < NEIGHBOURS || nearest.last().is_some_and(|last| near > *last) {
                let place = nearest.partition_point(|other| *other > near);
                nearest.insert(place, near);
                nearest.truncate(NEIGHBOURS);
            }
        }
        nearest
    }

    /// The sixteen windows that are most like this one, of those that are like it at all.
    pub fn ask(&mut self, of: &Embedding) -> Answer {
        self.questions += 1;
        let is_due = self.questions.is_multiple_of(CHECK_EVERY);
        let vectors = &self.vectors;
        let is_many = self.entries.len() > self.exact_max;
        let by_graph = (is_many && (is_due || self.recall.is_none_or(|share| share >= RECALL_MIN)))
            .then(|| self.graph.nearest(NEIGHBOURS, |node| vectors.cosine(of, node)));
        let nearest = match by_graph {
            Some(found) if is_due || self.recall.is_none() => {
                let exact = self.exact(of);
                let right = exact.iter().filter(|near| found.contains(near)).count();
                let share = right as f64 / exact.len().max(1) as f64;
                self.recall = Some(self.recall.map_or(share, |before| before + 0.1 * (share - before)));
                exact
            }
            Some(found) => found,
            None => self.exact(of),
        };
        let mut answer = Answer::default();
        for near in nearest.iter().filter(|near| near.nearness > LIKE) {
            let (counts, entry) = (near.nearness - LIKE, &mut self.entries[near.node as usize]);
            answer.support += 1;
            answer.likest = answer.likest.max(near.nearness);
            answer.mass[usize::from(entry.class)] += f64::from(counts);
            entry.weight += counts;
            entry.ln_weight = ln(f64::from(entry.weight)) as f32;
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::super::embedding::embed;
    use super::*;
    use crate::slow::bars::Bar;
    use kimera_numerics::seeded::SeededNormals;

    fn window(seed: u64) -> Vec<Bar> {
        let mut normals = SeededNormals::new(seed);
        (0..super::super::embedding::WINDOW).map(|_| std::array::from_fn(|_| normals.normal())).collect()
    }

    /// A window of a family: much alike within it, not alike between two.
    fn relative(family: u64, seed: u64) -> Embedding {
        let bars: Vec<Bar> = window(1_000 + family)
            .iter()
            .zip(window(seed))
            .map(|(a, b)| std::array::from_fn(|c| a[c] + 0.4 * b[c]))
            .collect();
        embed(&bars).unwrap()
    }

    #[test]
    fn what_followed_windows_of_its_kind_is_what_is_said() {
        let mut memory = Memory::new(4_096);
        for i in 0..60u64 {
            memory.remember(&relative(i % 3, i), i as Nanos, (i % 3) as usize);
        }
        for family in 0..3u64 {
            let answer = memory.ask(&relative(family, 500 + family));
            assert!(answer.support == 16 && answer.likest > 0.7);
            let p = answer.outcome().unwrap();
            assert!(p[family as usize] > 0.6 && (p.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{p:?}");
        }
        let stranger = memory.ask(&embed(&window(77)).unwrap());
        assert_eq!((stranger, stranger.outcome()), (Answer::default(), None), "like nothing known");
    }

    /// Seven of ten that are the window itself: each counts ½, so (7/2 + 1) of (10/2 + 3).
    #[test]
    fn published_values() {
        let mut memory = Memory::new(64);
        let of = relative(0, 1);
        (0..10).for_each(|i| memory.remember(&of, i, if i < 7 { 2 } else { 0 }));
        let answer = memory.ask(&of);
        assert!((answer.outcome().unwrap()[2] - 4.5 / 8.0).abs() < 1e-4);
        // Each counts a whole one and nobody was flat: 8/12 of what is not flat's own prior.
        let whole = Answer { support: 10, likest: 1.0, mass: [3.0, 0.0, 7.0] };
        let p = whole.outcome().unwrap();
        assert!((p[2] / (p[0] + p[2]) - 0.666_667).abs() < 1e-6);
    }

    #[test]
    fn who_is_worth_least_goes_first() {
        let (mut memory, day) = (Memory::new(20), HALF_LIFE as Nanos);
        (0..20u64).for_each(|i| memory.remember(&relative(i, i), 10 * day, 0));
        // Place 3 was asked; place 5 is old.
        assert_eq!(memory.ask(&relative(3, 999)).support, 1);
        memory.entries[5].time = 0;
        memory.remember(&relative(90, 90), 10 * day, 1);
        assert_eq!((memory.entries[5].class, memory.entries[5].time, memory.evicted()), (1, 10 * day, 1));
        memory.entries.iter_mut().for_each(|e| e.time = 11 * day);
        memory.entries[3].time = 11 * day - day / 8;
        memory.entries[9].time = 11 * day - day / 16;
        memory.remember(&relative(91, 91), 11 * day, 1);
        assert_eq!((memory.entries[3].class, memory.entries[9].class), (0, 1), "what was asked stays longer");
    }

    /// Windows as a market gives them: each is the one before, a bar further.
    #[test]
    fn behind_the_first_few_the_graph_answers_or_everybody_is_asked() {
        let mut normals = SeededNormals::new(4);
        let mut bars: Vec<Bar> = Vec::new();
        let mut memory = Memory { exact_max: 300, ..Memory::new(400) };
        for i in 0..600 {
            bars.push(std::array::from_fn(|_| normals.normal()));
            let Some(from) = bars.len().checked_sub(super::super::embedding::WINDOW) else { continue };
            let of = embed(&bars[from..]).unwrap();
            let answer = memory.ask(&of);
            assert!(answer.support <= NEIGHBOURS && answer.likest <= 1.001);
            memory.remember(&of, i, (i % 3) as usize);
            assert!(memory.recall().is_none() || memory.len() > 300);
        }
        assert_eq!((memory.len(), memory.evicted()), (400, 137));
        let recall = memory.recall().unwrap();
        assert!(recall > 0.9, "{recall}");
        assert!(!memory.is_exact() || recall < RECALL_MIN);
        // A graph that finds nothing is noticed, and everybody is asked.
        memory.graph = Graph::default();
        let of = embed(&bars[300..364]).unwrap();
        (0..20 * CHECK_EVERY).for_each(|_| assert!(memory.ask(&of).support <= NEIGHBOURS));
        assert!(memory.is_exact() && memory.ask(&of).likest > 0.99);
    }
}
