//! What becomes of makers' fills (model book 1.11): every public trade was one for somebody, ours among them. One in a second and side is
//! learned from, so that a burst is not a hundred observations.

use std::collections::VecDeque;

use kimera_numerics::Estimate;
use kimera_numerics::toxic_flow::{INPUTS, LABELS_MIN, ToxicFlow, is_toxic};
use kimera_protocol::{Nanos, Side};

use super::{SECOND, artefact};

/// Fills that wait for the price behind them, at most.
const PENDING_MAX: usize = 256;
/// Probability of a fill's loss where nothing is known.
const PRIOR: f64 = 0.5;

/// The market as a maker on a side sees it.
#[derive(Clone, Copy)]
pub(super) struct View {
    pub(super) maker: Side,
    pub(super) inputs: [f64; INPUTS],
}

struct Pending {
    due: Nanos,
    view: View,
    price: f64,
}

pub(super) struct Toxicity {
    horizon: Nanos,
    learned: ToxicFlow,
    pending: VecDeque<Pending>,
    /// When a fill of each side was last taken.
    taken: [Nanos; 2],
    refit_at: Nanos,
}

impl Toxicity {
    pub(super) fn new(horizon: Nanos) -> Self {
        Self {
            horizon,
            learned: ToxicFlow::new(PRIOR),
            pending: VecDeque::with_capacity(PENDING_MAX),
            taken: [Nanos::MIN; 2],
            refit_at: Nanos::MIN,
        }
    }

    /// A maker's fill at a price, in the market as it was seen before.
    pub(super) fn filled(&mut self, view: &View, price: f64, time: Nanos) {
        let taken = &mut self.taken[view.maker as usize];
        if time.saturating_sub(*taken) < SECOND || self.pending.len() == PENDING_MAX {
            return;
        }
        *taken = time;
        self.pending.push_back(Pending { due: time.saturating_add(self.horizon), view: *view, price });
    }

    /// Fills whose time has come are judged by the mid that was known then; none where there was none.
    pub(super) fn judge(&mut self, now: Nanos, mid: Option<f64>) {
        while self.pending.front().is_some_and(|first| first.due <= now)
            && let Some(fill) = self.pending.pop_front()
        {
            if let Some(mid) = mid {
                // Rebates differ from maker to maker: judged is what is lost beyond the spread.
                self.learned
                    .add(fill.view.inputs, is_toxic(fill.view.maker == Side::Bid, fill.price, mid, 0.0));
            }
        }
    }

    pub(super) fn refit(&mut self, now: Nanos, every: Nanos) {
        if self.learned.labels() >= LABELS_MIN && now >= self.refit_at {
            // Where it cannot be done what was stays.
            let _ = self.learned.fit();
            self.refit_at = now.saturating_add(every);
        }
    }

    pub(super) fn probability(&self, view: &View) -> Estimate {
        self.learned.probability(&view.inputs)
    }

    /// What the probabilities are computed with.
    pub(super) fn artefact(&self) -> u64 {
        artefact(std::iter::once(self.horizon as u64).chain(self.learned.parameters().map(f64::to_bits)))
    }

    /// What waits is not judged across a hole.
    pub(super) fn forget(&mut self) {
        self.pending.clear();
    }
}
