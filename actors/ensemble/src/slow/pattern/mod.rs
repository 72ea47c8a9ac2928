//! 3.6 Pattern recogniser and 3.7 emergent patterns, their slow part: what followed windows like the present one, and whether there was ever one of
//! its shape. The member's seat on the line votes what was last said here.
//!
//! * [`embedding`]: a window of bars as a point on a sphere
//! * [`memory`]: embeddings with what became of them; [`graph`]: the nearest among very many

pub mod embedding;
pub mod graph;
pub mod memory;

use std::collections::VecDeque;

use kimera_numerics::matrix_profile::MatrixProfile;
use kimera_numerics::{Estimate, Volatility, VolatilityConfig};
use kimera_protocol::{Nanos, Status, Topic};

use super::Thought;
use super::bars::{Bar, RETURN};
use crate::outcomes::{Barriers, Open};
use embedding::{Embedding, WINDOW, embed};
use memory::Memory;

/// Bars of a stretch whose shape is looked for, and returns it is looked for in.
const SHAPE: (usize, usize) = (64, 4_096);

/// Parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PatternConfig {
    /// Most windows remembered, 65,536 at most.
    pub memory: usize,
    /// How far ahead an outcome is waited for.
    pub horizon: Nanos,
    /// Distance of its barriers, as a multiple of the volatility over the horizon.
    pub barrier_sigmas: f64,
    /// Volatility, for the barriers.
    pub volatility: VolatilityConfig,
}

/// The slow part.
pub struct Patterns {
    config: PatternConfig,
    bars: VecDeque<Bar>,
    memory: Memory,
    waiting: Barriers<Embedding>,
    /// Decided, and remembered when their horizon is over: a barrier that is touched early would say more of directions than of what stays.
    decided: Vec<(Nanos, Embedding, usize)>,
    volatility: Volatility,
    shapes: Option<MatrixProfile>,
}

impl Patterns {
    /// Remembers nothing yet.
    #[must_use]
    pub fn new(config: PatternConfig) -> Self {
        Self {
            bars: VecDeque::with_capacity(WINDOW),
            memory: Memory::new(config.memory),
            waiting: Barriers::new(config.horizon),
            decided: Vec::new(),
            volatility: Volatility::new(config.volatility),
            shapes: MatrixProfile::new(SHAPE.0, SHAPE.1),
            config,
        }
    }

    /// What is remembered.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The mid, in ticks: outcomes are decided by it. A label enters the memory only here, when its time is over.
    pub(super) fn moved(&mut self, mid: f64, time: Nanos) {
        self.volatility.moved(mid, time);
        let (decided, horizon) = (&mut self.decided, self.config.horizon);
        self.waiting.moved(mid, time, |open, class| decided.push((open.time, open.of, class)));
        let over = |at: Nanos| time.saturating_sub(at) >= horizon;
        if decided.iter().any(|(at, ..)| over(*at)) {
            // In the order of their windows, whichever was decided first.
            decided.sort_by_key(|(at, ..)| *at);
            let ready = decided.partition_point(|(at, ..)| over(*at));
            for (at, embedding, class) in decided.drain(..ready) {
                self.memory.remember(&embedding, at, class);
            }
        }
    }

    /// The stream has a hole: windows begin anew, and nobody knows what was touched. What is remembered stays.
    pub(super) fn forget(&mut self) {
        self.bars.clear();
        self.waiting.clear();
        self.decided.clear();
        self.volatility = Volatility::new(self.config.volatility);
        self.shapes = MatrixProfile::new(SHAPE.0, SHAPE.1);
    }

    /// A bar has ended, at a time and with the mid there; what is thought behind it.
    pub(super) fn ended(&mut self, bar: Bar, mid: f64, time: Nanos, say: &mut Vec<Thought>) {
        let novelty = self.shapes.as_mut().and_then(|shapes| shapes.add(bar[RETURN]));
        if self.bars.len() == WINDOW {
            self.bars.pop_front();
        }
        self.bars.push_back(bar);
        if self.bars.len() < WINDOW {
            return;
        }
        if let Some(nearest) = novelty {
            // At most 2√m: 0 is a copy, √½ what chance gives.
            let value = nearest.distance / (2.0 * (SHAPE.0 as f64).sqrt());
            say.push(Thought::new(Topic::PatternNovelty, Estimate::ok(value, nearest.at)));
        }
        let Some(embedding) = embed(self.bars.make_contiguous()) else {
            let nothing = Estimate::degenerate(Status::ZeroVariance, 0);
            say.extend([Topic::PatternDown, Topic::PatternUp].map(|topic| Thought::new(topic, nothing)));
            return;
        };
        let answer = self.memory.ask(&embedding);
        let support = answer.support as u64;
        let p = answer.outcome();
        for (topic, class) in [(Topic::PatternDown, 0), (Topic::PatternUp, 2)] {
            let estimate = p.map_or_else(|| Estimate::warmup(support), |p| Estimate::ok(p[class], support));
            say.push(Thought::new(topic, estimate));
        }
        if let Some(sigma) = self.volatility.per_root_second() {
            let seconds = self.config.horizon as f64 * 1e-9;
            let barrier = self.config.barrier_sigmas * sigma * seconds.sqrt();
            self.waiting.open(Open { time, mid, barrier, of: embedding });
        }
    }
}
