//! Avellaneda and Stoikov: "High-frequency trading in a limit order book" (Quantitative Finance 8:217, 2008), section 3.
//!
//! Reservation price `r = s − q·γ·σ²·τ`, spread `γ·σ²·τ + (2/γ)·ln(1 + γ/k)`, with τ the time that is left. A market that never
//! closes has no such end: τ is a horizon that moves along with the time.

use kimera_numerics::ln;

use crate::glft::{Distances, GlftError};

/// What risk aversion, fill model and horizon decide once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stoikov {
    risk_aversion: f64,
    horizon: f64,
    /// (1/γ)·ln(1 + γ/k): half the spread that the fill model asks for.
    fill_half: f64,
}

impl Stoikov {
    /// From γ, the decay `k` of the fill rate, and the time τ that is left.
    ///
    /// # Errors
    /// [`GlftError::Unfit`].
    pub fn new(risk_aversion: f64, fill_decay: f64, horizon: f64) -> Result<Self, GlftError> {
        let fit = |x: f64| x.is_finite() && x > 0.0;
        if !fit(risk_aversion) || !fit(fill_decay) || !horizon.is_finite() || horizon < 0.0 {
            return Err(GlftError::Unfit);
        }
        let fill_half = ln(1.0 + risk_aversion / fill_decay) / risk_aversion;
        if fit(fill_half) { Ok(Self { risk_aversion, horizon, fill_half }) } else { Err(GlftError::Unfit) }
    }

    /// Distances from the fair value at a volatility σ and an inventory of `q` quote sizes.
    ///
    /// # Errors
    /// [`GlftError::Unfit`].
    pub fn distances(&self, volatility: f64, q: f64) -> Result<Distances, GlftError> {
        if !(volatility.is_finite() && volatility > 0.0) {
            return Err(GlftError::Unfit);
        }
        let risk = self.risk_aversion * volatility * volatility * self.horizon;
        let half = risk / 2.0 + self.fill_half;
        let shift = q * risk;
        if (half + shift).is_finite() && (half - shift).is_finite() {
            Ok(Distances { bid: half + shift, ask: half - shift })
        } else {
            Err(GlftError::Unfit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values() {
        // Model book 6.6: s = 100, σ = 2, γ = 0.1, k = 1.5; T = 1, and the mean over the time up to it.
        let at = |horizon: f64, q: f64| Stoikov::new(0.1, 1.5, horizon).unwrap().distances(2.0, q).unwrap();
        let spread = |d: Distances| d.bid + d.ask;
        assert!((spread(at(1.0, 0.0)) - 1.690_77).abs() < 1e-5);
        let mean = (0..1_000).map(|i| spread(at((f64::from(i) + 0.5) / 1_000.0, 0.0))).sum::<f64>() / 1_000.0;
        assert!((mean - 1.490_77).abs() < 1e-5, "{mean}");
        let reservation = |d: Distances| 100.0 + (d.ask - d.bid) / 2.0;
        assert!((reservation(at(1.0, 3.0)) - 98.8).abs() < 1e-9);
        assert!((reservation(at(1.0, 0.0)) - 100.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_is_quoted_without_a_fit() {
        for (gamma, k, tau) in [(0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, -1.0), (f64::NAN, 1.0, 1.0)] {
            assert_eq!(Stoikov::new(gamma, k, tau), Err(GlftError::Unfit));
        }
        let fit = Stoikov::new(0.1, 1.5, 1.0).unwrap();
        assert!(fit.distances(0.0, 0.0).is_err() && fit.distances(1e300, 1.0).is_err());
    }
}
