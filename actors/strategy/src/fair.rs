//! The fair price of the traded instrument, from its own book and from another market's.
//!
//! The other market's price is brought to ours by the basis, the decayed mean of the difference between the two
//! (model book 0: α = 1 − 2^(−Δt/h)). Both prices are in units of 1e-8, so that ticks of different sizes compare.

use kimera_numerics::DecayedMean;
use kimera_protocol::Nanos;

/// Parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FairConfig {
    /// Share of the other market's price, 0 to 1.
    pub other_weight: f64,
    /// Half-life of the basis.
    pub basis_half_life: Nanos,
    /// Age at which a price is not used any more.
    pub stale_after: Nanos,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    price: f64,
    time: Nanos,
}

kimera_protocol::state!(Seen { price, time });

/// Keeps both prices and the basis.
#[derive(Clone, Debug)]
pub struct FairPrice {
    config: FairConfig,
    own: Option<Seen>,
    other: Option<Seen>,
    basis: DecayedMean,
}

kimera_protocol::state!(FairPrice { own, other, basis } fixed { config });

impl FairPrice {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(config: FairConfig) -> Self {
        Self { config, own: None, other: None, basis: DecayedMean::new(config.basis_half_life) }
    }

    /// The traded instrument's own price (units of 1e-8).
    pub fn own(&mut self, price: f64, time: Nanos) {
        if price.is_finite() && price > 0.0 {
            self.own = Some(Seen { price, time });
            self.compare(time);
        }
    }

    /// The other market's price (units of 1e-8).
    pub fn other(&mut self, price: f64, time: Nanos) {
        if price.is_finite() && price > 0.0 {
            self.other = Some(Seen { price, time });
            self.compare(time);
        }
    }

    fn fresh(&self, seen: Option<Seen>, time: Nanos) -> Option<f64> {
        seen.filter(|s| time.saturating_sub(s.time) <= self.config.stale_after).map(|s| s.price)
    }

    fn compare(&mut self, time: Nanos) {
        let (Some(own), Some(other)) = (self.fresh(self.own, time), self.fresh(self.other, time)) else {
            return;
        };
        self.basis.add(own - other, time);
    }

    /// The fair price (units of 1e-8); `None` while our own book has no fresh one. Without a fresh price of the other
    /// market it is our own alone.
    #[must_use]
    pub fn at(&self, time: Nanos) -> Option<f64> {
        let own = self.fresh(self.own, time)?;
        let (Some(other), Some(basis)) = (self.fresh(self.other, time), self.basis.get()) else {
            return Some(own);
        };
        let weight = self.config.other_weight.clamp(0.0, 1.0);
        Some(own + weight * (other + basis - own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn fair() -> FairPrice {
        FairPrice::new(FairConfig { other_weight: 0.5, basis_half_life: 60 * SECOND, stale_after: SECOND })
    }

    #[test]
    fn the_other_market_leads_by_its_weight() {
        let mut f = fair();
        assert_eq!(f.at(0), None);
        f.own(100.0, 0);
        assert_eq!(f.at(0), Some(100.0), "alone, it is its own fair price");
        f.other(90.0, 0);
        assert_eq!(f.at(0), Some(100.0), "the basis is 10");
        // The other market moves by 4 at the same moment: half of it is believed.
        f.other(94.0, 0);
        assert_eq!(f.at(0), Some(102.0));
        assert_eq!(f.at(SECOND + 1), None, "too old");
    }

    #[test]
    fn the_basis_follows_with_its_half_life() {
        let mut f = fair();
        f.own(100.0, 0);
        f.other(90.0, 0);
        // A minute later the difference has been 20 instead of 10: half the way.
        f.other(80.0, 60 * SECOND);
        f.own(100.0, 60 * SECOND);
        assert!((f.basis.get().unwrap() - 15.0).abs() < 1e-9);
        f.own(f64::NAN, 60 * SECOND);
        f.other(-1.0, 60 * SECOND);
        assert!((f.at(60 * SECOND).unwrap() - (100.0 + 0.5 * (80.0 + 15.0 - 100.0))).abs() < 1e-9);
    }
}
