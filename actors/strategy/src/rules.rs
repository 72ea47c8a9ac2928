//! How large a position may be: the rules of cognitive pressure (model book 4.9) and the modified Kelly size (4.10).

use kimera_protocol::Consensus;

/// Pressure beyond which positions shrink.
pub const PRESSURE: f64 = 0.7;
/// Contradiction beyond which there is an opportunity.
pub const CONTRADICTION: f32 = 0.6;
/// Temperatures beyond which momentum is not followed any more, and below which only who waits gets more.
pub const TEMPERATURES: (f32, f32) = (0.8, 0.2);

/// The first of the specification's rules that holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// The forecast is hardly better than saying the commoner direction: this factor of the size is left.
    Shrink(f64),
    /// The sources of the price contradict each other: what trades on that may.
    Opportunity,
    /// A hot market: nobody follows momentum anew, and everything is half as large.
    Hot,
    /// A cold one: positions grow by waiting only.
    Cold,
    /// None of them.
    Usual,
}

impl Rule {
    /// Of what the ensemble says. A forecast that nobody has made leaves nothing; a level that nobody has said is no reason.
    #[must_use]
    pub fn of(consensus: &Consensus) -> Self {
        let pressure = if consensus.voted == 0 { 1.0 } else { consensus.pressure };
        // No number is the worst one: nothing is left.
        let is_bearable = pressure <= PRESSURE;
        if !is_bearable {
            return Self::Shrink(((1.0 - pressure) / (1.0 - PRESSURE)).max(0.0));
        }
        let above = |level: Option<f32>, limit: f32| level.is_some_and(|level| level > limit);
        if above(consensus.contradiction(), CONTRADICTION) {
            Self::Opportunity
        } else if above(consensus.temperature(), TEMPERATURES.0) {
            Self::Hot
        } else if consensus.temperature().is_some_and(|level| level < TEMPERATURES.1) {
            Self::Cold
        } else {
            Self::Usual
        }
    }

    /// Factor of the size of a position that is entered.
    #[must_use]
    pub fn factor(self) -> f64 {
        match self {
            Self::Shrink(factor) => factor,
            Self::Hot => 0.5,
            Self::Opportunity | Self::Cold | Self::Usual => 1.0,
        }
    }
}

/// Parameters of sizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizing {
    /// Share of the capital that is risked at full confidence without any volatility.
    pub base_risk: f64,
    /// Annualised volatility up to which a position is not made smaller on its account; 0: there is none.
    pub volatility_target: f64,
}

impl Default for Sizing {
    fn default() -> Self {
        Self { base_risk: 0.02, volatility_target: 0.0 }
    }
}

impl Sizing {
    /// The share of the capital that a position takes: `base_risk · confidence / (1 + volatility)`, scaled by
    /// `min(1, target / volatility)`; none for a confidence outside [0, 1], or a volatility that is none.
    #[must_use]
    pub fn share(&self, confidence: f64, volatility: f64) -> Option<f64> {
        let sensible = (0.0..=1.0).contains(&confidence) && volatility.is_finite() && volatility >= 0.0;
        let scale = if self.volatility_target > 0.0 && volatility > self.volatility_target {
            self.volatility_target / volatility
        } else {
            1.0
        };
        sensible.then(|| self.base_risk * confidence / (1.0 + volatility) * scale)
    }
}

/// Kelly's share for a bet that wins `odds` times the stake with probability `p`: `p − (1 − p)/odds`; 0 or less is no bet (Kelly
/// 1956).
#[must_use]
pub fn kelly(p: f64, odds: f64) -> f64 {
    p - (1.0 - p) / odds
}

/// Kelly's share of something with this drift and volatility over one time: `(μ − r)/σ²` (Thorp 2006).
#[must_use]
pub fn kelly_continuous(excess_return: f64, volatility: f64) -> f64 {
    excess_return / (volatility * volatility)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_numerics::ln;
    use proptest::prelude::*;

    fn said(pressure: f64, contradiction: f32, temperature: f32) -> Consensus {
        Consensus { voted: 1, pressure, levels: [contradiction, temperature], ..Consensus::default() }
    }

    #[test]
    fn every_branch_and_its_boundary() {
        // Model book 4.9: strict inequalities, the first that holds.
        for (pressure, contradiction, temperature, rule) in [
            (0.85, 0.9, 0.9, Rule::Shrink((1.0 - 0.85) / (1.0 - 0.7))),
            (1.0, 0.9, 0.9, Rule::Shrink(0.0)),
            (0.7, 0.61, 0.9, Rule::Opportunity),
            (0.7, 0.6, 0.9, Rule::Hot),
            (0.7, 0.6, 0.8, Rule::Usual),
            (0.0, 0.0, 0.2, Rule::Usual),
            (0.0, 0.0, 0.199, Rule::Cold),
            (0.0, -1.0, -1.0, Rule::Usual),
            (f64::NAN, 0.0, 0.5, Rule::Shrink(0.0)),
        ] {
            let found = Rule::of(&said(pressure, contradiction, temperature));
            let same = match (found, rule) {
                (Rule::Shrink(a), Rule::Shrink(b)) => (a - b).abs() < 1e-12,
                (a, b) => a == b,
            };
            assert!(same, "{pressure} {contradiction} {temperature}: {found:?} is not {rule:?}");
        }
        assert!((Rule::Shrink(0.5).factor() - Rule::Hot.factor()).abs() < 1e-12);
        let nobody = Consensus { voted: 0, pressure: 0.0, ..Consensus::default() };
        assert_eq!(Rule::of(&nobody), Rule::Shrink(0.0), "nobody has said anything");
    }

    #[test]
    fn published_sizes() {
        // Model book 4.10.
        let sizing = Sizing::default();
        let near =
            |found: Option<f64>, value: f64| assert!((found.unwrap() - value).abs() < 1e-7, "{found:?}");
        near(sizing.share(0.8, 0.04), 0.015_384_6);
        near(sizing.share(0.8, 0.6), 0.01);
        near(sizing.share(0.6, 0.8), 0.006_666_67);
        near(Sizing { volatility_target: 0.3, ..sizing }.share(0.8, 0.6), 0.005);
        near(Some(kelly(0.55, 1.0)), 0.1);
        near(Some(kelly(0.4, 2.0)), 0.1);
        near(Some(kelly_continuous(0.1, 0.6)), 0.277_777_78);
        let growth = |f: f64| 0.55 * ln(1.0 + f) + 0.45 * ln(1.0 - f);
        near(Some(growth(0.1)), 0.005_008_37);
        assert!(growth(0.1) > growth(0.09) && growth(0.1) > growth(0.11), "Kelly's is the best");
        for (confidence, volatility) in
            [(-0.1, 0.5), (1.1, 0.5), (0.5, -1.0), (0.5, f64::NAN), (f64::NAN, 0.5)]
        {
            assert_eq!(sizing.share(confidence, volatility), None);
        }
    }

    proptest! {
        /// More confidence never makes a position smaller, more volatility never larger.
        #[test]
        fn sizes_are_monotone(c in 0.0f64..1.0, d in 0.0f64..1.0, v in 0.0f64..5.0, w in 0.0f64..5.0, target in 0.0f64..1.0) {
            let sizing = Sizing { volatility_target: target, ..Sizing::default() };
            let share = |c, v| sizing.share(c, v).unwrap();
            prop_assert!(share(c.max(d), v) >= share(c.min(d), v));
            prop_assert!(share(c, v.max(w)) <= share(c, v.min(w)));
        }
    }
}
