//! 1.3 Order-flow imbalance of the best prices and its impact (Cont, Kukanov and Stoikov 2014, section 2).

use kimera_numerics::{DecayedSlope, Estimate, decay_of_half_life};
use kimera_protocol::{Level, Nanos};

use super::{Buckets, base_units};

/// Sums `e_n` over a bucket and regresses the bucket's price change on it.
pub struct OrderFlow {
    buckets: Buckets,
    /// What the regression says: it is asked at every mark, and hears of something when a bucket is closed.
    impact: Estimate,
    previous: Option<(Level, Level)>,
    current: Option<Bucket>,
    regression: DecayedSlope,
    events: u64,
}

kimera_protocol::state!(OrderFlow { impact, previous, current, regression, events } fixed { buckets });

#[derive(Clone, Copy, Default)]
struct Bucket {
    index: i64,
    flow: f64,
    start_mid: f64,
    last_mid: f64,
}

kimera_protocol::state!(Bucket { index, flow, start_mid, last_mid });

/// The contribution of one change of the best prices, in units of 1e-8: exact.
#[must_use]
pub fn contribution(before: (Level, Level), after: (Level, Level)) -> i64 {
    let ((b0, a0), (b1, a1)) = (before, after);
    let mut e = 0i64;
    if b1.price >= b0.price {
        e = e.saturating_add(b1.size.0);
    }
    if b1.price <= b0.price {
        e = e.saturating_sub(b0.size.0);
    }
    if a1.price <= a0.price {
        e = e.saturating_sub(a1.size.0);
    }
    if a1.price >= a0.price {
        e = e.saturating_add(a0.size.0);
    }
    e
}

impl OrderFlow {
    /// Buckets of `length`, a regression whose half-life is counted in buckets.
    #[must_use]
    pub fn new(length: Nanos, half_life: f64) -> Self {
        Self {
            buckets: Buckets::new(length),
            impact: Estimate::warmup(0),
            previous: None,
            current: None,
            regression: DecayedSlope::new(decay_of_half_life(half_life)),
            events: 0,
        }
    }

    /// New best prices of a two-sided book; `mid` in ticks.
    pub fn quote(&mut self, bid: Level, ask: Level, mid: f64, time: Nanos) {
        let index = self.buckets.of(time);
        let mut open = match self.current {
            Some(open) if open.index == index => open,
            closed => {
                if let Some(done) = closed {
                    self.regression.add(done.flow, done.last_mid - done.start_mid);
                    self.impact = impact(&self.regression);
                }
                let start_mid = closed.map_or(mid, |done| done.last_mid);
                Bucket { index, flow: 0.0, start_mid, last_mid: mid }
            }
        };
        if let Some(before) = self.previous {
            let e = contribution(before, (bid, ask));
            if e != 0 {
                open.flow += base_units(e);
                self.events += 1;
            }
        }
        open.last_mid = mid;
        self.current = Some(open);
        self.previous = Some((bid, ask));
    }

    /// A side is missing or the book is crossed: the next quote has nothing to compare with.
    pub fn skip(&mut self) {
        self.previous = None;
    }

    /// A snapshot or gap: the running bucket is dropped as well.
    pub fn reset(&mut self) {
        self.previous = None;
        self.current = None;
    }

    /// The running bucket's sum in base units.
    #[must_use]
    pub fn flow(&self) -> Estimate {
        match (self.current, self.events) {
            (Some(open), 1..) => Estimate::ok(open.flow, self.events),
            _ => Estimate::warmup(self.events),
        }
    }

    /// Price change per unit of flow, ticks per base unit, over the closed buckets.
    #[must_use]
    pub fn impact(&self) -> Estimate {
        self.impact
    }
}

fn impact(regression: &DecayedSlope) -> Estimate {
    match regression.slope() {
        Some(slope) if regression.n() >= 10 => Estimate::ok(slope, regression.n()),
        _ => Estimate::warmup(regression.n()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::{Price, Quantity};
    use proptest::prelude::*;

    const UNIT: i64 = 100_000_000;

    fn top(pb: i64, qb: i64, pa: i64, qa: i64) -> (Level, Level) {
        let level = |p, q: i64| Level { price: Price(p), size: Quantity(q * UNIT) };
        (level(pb, qb), level(pa, qa))
    }

    #[test]
    fn published_values() {
        // Model book 1.3.
        let path = [
            top(100, 10, 101, 8),
            top(100, 15, 101, 8),
            top(100, 15, 101, 3),
            top(101, 4, 102, 9),
            top(100, 12, 102, 9),
        ];
        let e: Vec<i64> = path.windows(2).map(|w| contribution(w[0], w[1]) / UNIT).collect();
        assert_eq!(e, [5, 5, 7, -4]);
        let mut flow = OrderFlow::new(1_000_000_000, 1_800.0);
        for (bid, ask) in path {
            flow.quote(bid, ask, 0.0, 5);
        }
        assert!((flow.flow().value - 13.0).abs() < 1e-12);
    }

    #[test]
    fn a_book_of_constant_depth_has_impact_of_half_its_inverse() {
        // The stylised book of the paper: depth D at every tick; flow f moves both best prices by f / 2D ticks.
        let depth = 4i64;
        let mut flow = OrderFlow::new(1_000, 1e9);
        let mut price = 1_000;
        for step in 0..200 {
            let time = step * 1_000 + 1;
            price += if step % 3 == 0 { 1 } else { -1 };
            let (bid, ask) = top(price, depth, price + 1, depth);
            flow.quote(bid, ask, price as f64 + 0.5, time);
        }
        let impact = flow.impact();
        assert!((impact.value - 1.0 / (2.0 * depth as f64)).abs() < 1e-9, "{impact:?}");
    }

    proptest! {
        #[test]
        fn swapping_sides_changes_the_sign(a in (1i64..50, 1i64..9, 1i64..9), b in (1i64..50, 1i64..9, 1i64..9)) {
            let plain = |(p, qb, qa): (i64, i64, i64)| top(p, qb, p + 1, qa);
            let mirrored = |(p, qb, qa): (i64, i64, i64)| top(-p - 1, qa, -p, qb);
            prop_assert_eq!(contribution(plain(a), plain(b)), -contribution(mirrored(a), mirrored(b)));
        }
    }
}
