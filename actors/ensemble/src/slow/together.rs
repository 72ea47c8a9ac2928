//! 3.9, the slow part that looks at all markets: do they move as one, and more so when they move far?

use std::collections::VecDeque;

use kimera_numerics::synchronisation::{absorption_ratio, herding};
use kimera_numerics::{Estimate, ln};
use kimera_protocol::{MINUTE, Nanos, Topic};

use super::Thought;

/// Returns are of five minutes, of the last six hours.
const STEP: Nanos = 5 * MINUTE;
const ROWS: usize = 72;
/// Fewest returns that dispersion is looked at in: two hours.
const HERDING_MIN: usize = 24;
/// How long what is said may be used.
const VALID: Nanos = 2 * STEP;

/// The slow part.
pub struct Together {
    /// The newest price of each market, and that at the last step's end.
    prices: Box<[Option<f64>]>,
    before: Box<[Option<f64>]>,
    step: Option<i64>,
    /// Returns of each market, with the number of their step.
    rows: VecDeque<(i64, Vec<f64>)>,
}

impl Together {
    pub(super) fn new(markets: usize) -> Self {
        Self {
            prices: vec![None; markets].into(),
            before: vec![None; markets].into(),
            step: None,
            rows: VecDeque::with_capacity(ROWS),
        }
    }

    /// A market's stream has a hole: its next return is none.
    pub(super) fn forget(&mut self, market: usize) {
        for of in [&mut self.prices, &mut self.before] {
            if let Some(price) = of.get_mut(market) {
                *price = None;
            }
        }
    }

    /// A market's bar has ended with a price.
    pub(super) fn priced(&mut self, market: usize, price: f64) {
        if let Some(of) = self.prices.get_mut(market) {
            *of = Some(price);
        }
    }

    /// Every bar that ends at a time has; what is thought where a step ends with it.
    pub(super) fn ended(&mut self, time: Nanos, say: &mut Vec<Thought>) {
        let step = time.div_euclid(STEP);
        let Some(before) = self.step.replace(step) else {
            self.before.clone_from(&self.prices);
            return;
        };
        if before >= step {
            return;
        }
        let returns: Option<Vec<f64>> = self
            .before
            .iter()
            .zip(&self.prices)
            .map(|(before, price)| Some(ln((*price)? / (*before)?)))
            .collect();
        self.before.clone_from(&self.prices);
        // A step that was left out leaves returns of more than one.
        if let Some(returns) = returns.filter(|_| step == before + 1) {
            self.rows.push_back((step, returns));
        }
        while self.rows.front().is_some_and(|(of, _)| *of <= step - ROWS as i64) {
            self.rows.pop_front();
        }
        let rows: Vec<&[f64]> = self.rows.iter().map(|(_, row)| row.as_slice()).collect();
        say.push(Thought::new(Topic::Synchronisation, absorption_ratio(&rows)).valid_for(VALID));
        say.push(Thought::new(Topic::Herding, herding_of(&rows)).valid_for(VALID));
    }
}

/// t of the curvature of dispersion over the market's mean return.
fn herding_of(rows: &[&[f64]]) -> Estimate {
    let n = rows.len() as u64;
    if rows.len() < HERDING_MIN || rows.first().is_none_or(|row| row.len() < 3) {
        return Estimate::warmup(n);
    }
    let mean = |row: &&[f64]| row.iter().fold(0.0, |sum, r| sum + r) / row.len() as f64;
    let market: Vec<f64> = rows.iter().map(mean).collect();
    let dispersion: Vec<f64> = rows
        .iter()
        .zip(&market)
        .map(|(row, m)| row.iter().fold(0.0, |sum, r| sum + (r - m).abs()) / row.len() as f64)
        .collect();
    let found = herding(&market, &dispersion);
    found.map_or(Estimate::degenerate(kimera_protocol::Status::ZeroVariance, n), |h| Estimate::ok(h.t, n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_numerics::seeded::SeededNormals;
    use kimera_protocol::Status;

    /// Steps of markets with a common factor; far moves bring them together where they herd.
    fn after(markets: usize, steps: i64, load: f64, herds: bool) -> (Estimate, Estimate) {
        let (mut of, mut normals) = (Together::new(markets), SeededNormals::new(9));
        let mut prices = vec![100.0; markets];
        let mut said = Vec::new();
        for step in 0..=steps {
            let factor = normals.normal();
            let rest = (1.0 - load * load).sqrt()
                * if herds { (1.0 + factor.abs() - 0.6 * factor * factor).max(0.05) } else { 1.0 };
            for (market, price) in prices.iter_mut().enumerate() {
                *price *= 1.0 + 1e-3 * (load * factor + rest * normals.normal());
                of.priced(market, *price);
            }
            said.clear();
            of.ended(step * STEP, &mut said);
        }
        (said[0].estimate, said[1].estimate)
    }

    #[test]
    fn markets_that_move_as_one_are_seen_and_two_are_too_few() {
        let (one, _) = after(6, 80, 0.95, false);
        let (each, _) = after(6, 80, 0.0, false);
        assert!(one.value > 0.8 && each.value < 0.4 && one.n == 72, "{one:?} {each:?}");
        let (two, herd) = after(2, 80, 0.95, false);
        assert_eq!((two.status, herd.status), (Status::Warmup, Status::Warmup));
        let (_, herd) = after(12, 72, 0.8, true);
        let (_, none) = after(12, 72, 0.8, false);
        assert!(herd.value < -1.96 && none.value > -1.96, "{herd:?} {none:?}");
    }

    #[test]
    fn a_hole_leaves_its_returns_out() {
        let mut of = Together::new(3);
        let mut say = Vec::new();
        for step in 0..4 {
            (0..3).for_each(|market| of.priced(market, 100.0 + step as f64));
            of.ended(step * STEP, &mut say);
        }
        assert_eq!(of.rows.len(), 3);
        of.forget(1);
        of.priced(1, 50.0);
        of.ended(4 * STEP, &mut say);
        assert_eq!(of.rows.len(), 3, "one of them has no return");
        of.ended(6 * STEP, &mut say);
        assert_eq!(of.rows.len(), 3, "two steps are no step");
        of.ended(7 * STEP, &mut say);
        assert_eq!(of.rows.len(), 4);
        of.ended(70 * STEP, &mut say);
        assert_eq!(of.rows.len(), 4);
        of.ended(74 * STEP, &mut say);
        assert_eq!(of.rows.len(), 2, "what is older than six hours goes");
    }
}
