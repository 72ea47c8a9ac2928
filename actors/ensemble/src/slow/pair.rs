//! 6.9, the slow part that asks whether the traded price and the other market's belong together: the line that their logarithms keep to.

use std::collections::VecDeque;

use kimera_numerics::cointegration::EngleGranger;
use kimera_numerics::{Estimate, ln};
use kimera_protocol::{Status, Topic};

use super::Thought;

/// Bars that the line is fitted to, the fewest, and bars between two fits.
const WINDOW: usize = 1_000;
const MIN: usize = 300;
const EVERY: u64 = 60;

/// The slow part.
#[derive(Default)]
pub struct Pair {
    traded: VecDeque<f64>,
    other: VecDeque<f64>,
    bars: u64,
}

impl Pair {
    /// The stream has a hole: what follows is not compared with what was before.
    pub(super) fn forget(&mut self) {
        self.traded.clear();
        self.other.clear();
    }

    /// A bar has ended with both prices, in ticks; what is thought of them, for `bar` nanoseconds a bar.
    pub(super) fn ended(&mut self, traded: f64, other: f64, bar: i64, say: &mut Vec<Thought>) {
        if self.traded.len() == WINDOW {
            self.traded.pop_front();
            self.other.pop_front();
        }
        self.traded.push_back(ln(traded));
        self.other.push_back(ln(other));
        self.bars += 1;
        if !self.bars.is_multiple_of(EVERY) {
            return;
        }
        let n = self.traded.len();
        let (line, second) = if n < MIN {
            (Estimate::warmup(n as u64), 0.0)
        } else {
            match EngleGranger::fit(self.traded.make_contiguous(), self.other.make_contiguous()) {
                Some(fit) if fit.holds() => (Estimate::ok(fit.beta, n as u64), fit.alpha),
                Some(_) => (Estimate::degenerate(Status::Stale, n as u64), 0.0),
                None => (Estimate::degenerate(Status::ZeroVariance, n as u64), 0.0),
            }
        };
        // Until the next fit, and a little longer: it is said behind a bar's end.
        let valid = bar.saturating_mul(EVERY as i64 + 5);
        say.push(Thought::new(Topic::Cointegration, line).with_second(second).valid_for(valid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_numerics::seeded::SeededNormals;

    const SECOND: i64 = 1_000_000_000;

    fn last(of: &mut Pair, bars: usize, is_bound: bool) -> Thought {
        let mut normals = SeededNormals::new(5);
        let (mut walk, mut own, mut gap, mut last) = (0.0, 0.0, 0.0, None);
        for _ in 0..bars {
            walk += 1e-4 * normals.normal();
            own += 1e-4 * normals.normal();
            gap = 0.8 * gap + 1e-4 * normals.normal();
            let traded = if is_bound { 0.1 + 0.9 * walk + gap } else { own };
            let mut say = Vec::new();
            of.ended(1e5 * kimera_numerics::exp(traded), 1e6 * kimera_numerics::exp(walk), SECOND, &mut say);
            last = say.pop().or(last);
        }
        last.expect("it was said")
    }

    #[test]
    fn prices_that_belong_together_have_a_line_and_others_have_none() {
        let mut of = Pair::default();
        assert_eq!(last(&mut of, 240, true).estimate.status, Status::Warmup);
        let line = last(&mut of, 1_200, true);
        assert!(line.estimate.status.is_usable() && (line.estimate.value - 0.9).abs() < 0.1, "{line:?}");
        // What the constant says with the slope: ln of the traded price where the other is at its beginning.
        let at = line.second + line.estimate.value * ln(1e6);
        assert!((at - (ln(1e5) + 0.1)).abs() < 2e-3, "{at}");
        assert_eq!(line.valid, Some(65 * SECOND));
        of.forget();
        assert_eq!(last(&mut of, 240, true).estimate.status, Status::Warmup);
        assert_eq!(last(&mut Pair::default(), 960, false).estimate.status, Status::Stale);
    }
}
