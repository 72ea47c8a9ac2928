//! Guéant, Lehalle and Fernandez-Tapia: "Dealing with the inventory risk" (2013, arXiv:1105.3115), sections 4 and 5, the
//! closed-form approximation of the stationary optimum.
//!
//! `c1 = (1/γ)·ln(1 + γ/k)`, `c2 = √(σ²γ / (2kA) · (1 + γ/k)^(1 + k/γ))`,
//! `δ_bid(q) = c1 + (2q + 1)/2 · c2`, `δ_ask(q) = c1 − (2q − 1)/2 · c2`.
//!
//! Prices in any unit as long as σ (per square root of the time unit), 1/k and 1/γ use the same; A counts fills a time
//! unit at distance 0; q counts inventory in quote sizes.

use kimera_numerics::{exp, ln};

/// Why there are no distances: the maker does not quote then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlftError {
    /// A parameter is not positive or not finite: the fill model is not fitted, or the volatility is unknown.
    Unfit,
}

/// What risk aversion and fill model alone decide: it is computed once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GlftModel {
    risk_aversion: f64,
    fill_rate: f64,
    fill_decay: f64,
    c1: f64,
    power: f64,
}

/// The two constants of a parameter set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Glft {
    c1: f64,
    c2: f64,
}

/// Distances from the fair value; a side may be negative with much inventory on it, and is then taken, not quoted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distances {
    /// Below the fair value.
    pub bid: f64,
    /// Above the fair value.
    pub ask: f64,
}

fn fit(x: f64) -> bool {
    x.is_finite() && x > 0.0
}

impl GlftModel {
    /// From risk aversion γ and the fill model `A·e^(−k·δ)`.
    ///
    /// # Errors
    /// [`GlftError::Unfit`].
    pub fn new(risk_aversion: f64, fill_rate: f64, fill_decay: f64) -> Result<Self, GlftError> {
        if ![risk_aversion, fill_rate, fill_decay].into_iter().all(fit) {
            return Err(GlftError::Unfit);
        }
        let ratio = risk_aversion / fill_decay;
        let log = ln(1.0 + ratio);
        let power = exp(log * (1.0 + 1.0 / ratio));
        Ok(Self { risk_aversion, fill_rate, fill_decay, c1: log / risk_aversion, power })
    }

    /// The constants at a volatility σ.
    ///
    /// # Errors
    /// [`GlftError::Unfit`].
    pub fn at(&self, volatility: f64) -> Result<Glft, GlftError> {
        if !fit(volatility) {
            return Err(GlftError::Unfit);
        }
        let (gamma, a, k) = (self.risk_aversion, self.fill_rate, self.fill_decay);
        let c2 = (volatility * volatility * gamma / (2.0 * k * a) * self.power).sqrt();
        if fit(self.c1) && fit(c2) { Ok(Glft { c1: self.c1, c2 }) } else { Err(GlftError::Unfit) }
    }
}

impl Glft {
    /// From volatility σ, risk aversion γ and the fill model `A·e^(−k·δ)`, once: [`GlftModel`].
    ///
    /// # Errors
    /// [`GlftError::Unfit`].
    pub fn new(
        volatility: f64,
        risk_aversion: f64,
        fill_rate: f64,
        fill_decay: f64,
    ) -> Result<Self, GlftError> {
        GlftModel::new(risk_aversion, fill_rate, fill_decay)?.at(volatility)
    }

    /// Distances at an inventory of `q` quote sizes.
    #[must_use]
    pub fn distances(&self, q: f64) -> Distances {
        Distances {
            bid: self.c1 + (2.0 * q + 1.0) / 2.0 * self.c2,
            ask: self.c1 - (2.0 * q - 1.0) / 2.0 * self.c2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 1e-5, "{value} is not {expected}");
    }

    #[test]
    fn published_values() {
        // Model book 6.6: σ = 0.3, A = 0.9, k = 0.3, γ = 0.01.
        let glft = Glft::new(0.3, 0.01, 0.9, 0.3).unwrap();
        near(glft.c1, 3.278_98);
        near(glft.c2, 0.067_865_8);
        near(glft.distances(0.0).bid, 3.312_92);
        near(glft.distances(0.0).ask, 3.312_92);
        near(glft.distances(2.0).bid, 3.448_65);
        near(glft.distances(2.0).ask, 3.177_18);
    }

    #[test]
    fn nothing_is_quoted_without_a_fit() {
        for (s, g, a, k) in
            [(0.0, 0.01, 0.9, 0.3), (0.3, 0.01, 0.9, 0.0), (0.3, 0.01, 0.9, -1.0), (f64::NAN, 1.0, 1.0, 1.0)]
        {
            assert_eq!(Glft::new(s, g, a, k), Err(GlftError::Unfit));
        }
        assert_eq!(Glft::new(0.3, 1e300, 0.9, 1e-300), Err(GlftError::Unfit), "overflow is no fit");
    }

    proptest! {
        /// Inventory turned round turns the sides round; more of it moves both quotes the way that sheds it.
        #[test]
        fn it_mirrors_and_leans(q in -20.0f64..20.0, s in 0.01f64..5.0, g in 0.001f64..1.0, a in 0.1f64..5.0, k in 0.05f64..3.0) {
            let glft = Glft::new(s, g, a, k).unwrap();
            let (plus, minus) = (glft.distances(q), glft.distances(-q));
            prop_assert!((plus.bid - minus.ask).abs() < 1e-9 * plus.bid.abs().max(1.0));
            let more = glft.distances(q + 1.0);
            prop_assert!(more.bid > plus.bid && more.ask < plus.ask);
            prop_assert!((more.bid + more.ask - plus.bid - plus.ask).abs() < 1e-9 * (plus.bid + plus.ask).abs().max(1.0));
        }
    }
}
