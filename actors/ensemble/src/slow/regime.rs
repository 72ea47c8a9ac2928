//! 3.5 Phase transition, the slow part: has the market just changed, and is it calm?

use kimera_numerics::Estimate;
use kimera_numerics::change_points::{ChangePoints, Prior};
use kimera_numerics::regimes::{REGIMES, Regimes};
use kimera_protocol::Topic;

use super::Thought;

/// One change in so many bars is expected.
const HAZARD: f64 = 1.0 / 250.0;
/// Bars that the prior is taken from.
const PRIOR_BARS: usize = 100;
/// Bars within which a change is new.
const NEW: u64 = 3;
/// Returns that the chain is fitted to, and bars between two fits.
const FIT: (usize, u64) = (1_000, 500);
/// Returns before the first fit.
const FIT_MIN: usize = 200;

/// The slow part.
#[derive(Default)]
pub struct Regime {
    returns: Vec<f64>,
    bars: u64,
    changes: Option<ChangePoints>,
    chain: Option<(Regimes, [f64; REGIMES])>,
}

impl Regime {
    /// The stream has a hole: what follows is not compared with what was before. The fitted chain stays, nothing is known of where it is.
    pub(super) fn forget(&mut self) {
        self.returns.clear();
        self.bars = 0;
        self.changes = None;
        if let Some((chain, at)) = &mut self.chain {
            *at = chain.stationary();
        }
    }

    /// A bar has ended with a return; what is thought behind it.
    pub(super) fn ended(&mut self, of: f64, say: &mut Vec<Thought>) {
        if self.returns.len() == FIT.0 {
            self.returns.remove(0);
        }
        self.returns.push(of);
        self.bars += 1;
        match &mut self.changes {
            Some(changes) => changes.add(of),
            None if self.returns.len() >= PRIOR_BARS => {
                self.changes = Prior::of(&self.returns).map(|prior| ChangePoints::new(HAZARD, prior));
            }
            None => {}
        }
        if let Some((chain, at)) = &mut self.chain {
            *at = chain.filter(*at, of);
        }
        let is_first = self.chain.is_none() && self.returns.len() >= FIT_MIN;
        if is_first || (self.bars.is_multiple_of(FIT.1) && self.returns.len() >= FIT_MIN) {
            self.fit();
        }
        let changed = self.changes.as_ref().map_or(Estimate::warmup(self.bars), |changes| {
            // A run that has hardly begun has always just changed.
            let n = changes.n();
            if n > 10 * NEW { Estimate::ok(changes.changed_within(NEW), n) } else { Estimate::warmup(n) }
        });
        let calm = self.chain.as_ref();
        let calm =
            calm.map_or(Estimate::warmup(self.bars), |(_, at)| Estimate::clamped(at[0], 0.0, 1.0, self.bars));
        say.push(Thought::new(Topic::ChangePoint, changed));
        say.push(Thought::new(Topic::CalmRegime, calm));
    }

    fn fit(&mut self) {
        if let Some(chain) = Regimes::fit(&self.returns) {
            let start = chain.stationary();
            let at = self.returns.iter().fold(start, |at, &of| chain.filter(at, of));
            self.chain = Some((chain, at));
        }
    }
}
