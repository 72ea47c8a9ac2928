//! What an order moves the price by before it is done (Tóth and others, Physical Review X 1, 2011; Almgren, Thum, Hauptmann, Li, Risk 18,
//! 2005), and what the auctioneer of one auction makes of it (Kyle, Econometrica 53, 1985, theorem 1).

use kimera_protocol::Status;

use crate::estimate::Estimate;
use crate::{exp, ln};

/// Bounds of the factor `Y` of [`square_root`], as fitted to one's own orders.
pub const FACTOR: (f64, f64) = (0.3, 3.0);

/// `Y σ √(Q / V)`: the move as a fraction, where an order of `quantity` is worked on a day of volatility `deviation` (a fraction) and volume
/// `day_volume` (model book 1.14). Nothing for no order; without volume there is no answer, and the order is not to be sent.
#[must_use]
pub fn square_root(factor: f64, deviation: f64, quantity: f64, day_volume: f64) -> Estimate {
    if quantity <= 0.0 {
        return Estimate::ok(0.0, 0);
    }
    if day_volume.is_nan() || day_volume <= 0.0 || !deviation.is_finite() {
        return Estimate::degenerate(Status::ZeroVariance, 0);
    }
    let held = Estimate::clamped(factor, FACTOR.0, FACTOR.1, 0);
    Estimate {
        status: held.status,
        ..Estimate::ok(held.value * deviation * (quantity / day_volume).sqrt(), 0)
    }
}

/// Almgren's temporary impact `0.142 σ |Q / (V T)|^0.6`, a fraction: of an order worked over `days`.
#[must_use]
pub fn temporary(deviation: f64, quantity: f64, day_volume: f64, days: f64) -> Estimate {
    let share = quantity.abs() / (day_volume * days);
    if share.is_nan() || share.is_infinite() {
        return Estimate::degenerate(Status::ZeroVariance, 0);
    }
    Estimate::ok(if share > 0.0 { 0.142 * deviation * exp(0.6 * ln(share)) } else { 0.0 }, 0)
}

/// `½ √(Σ₀ / σ_u²)`: price per size in one auction, from the variance of the value and the deviation of the noise traders' size.
#[must_use]
pub fn one_auction(value_variance: f64, noise_deviation: f64) -> Estimate {
    if noise_deviation > 0.0 && value_variance >= 0.0 {
        Estimate::ok(0.5 * value_variance.sqrt() / noise_deviation, 0)
    } else {
        Estimate::degenerate(Status::ZeroVariance, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values() {
        assert!((square_root(1.0, 0.02, 1.0, 100.0).value - 0.002).abs() < 1e-12, "20 basis points");
        let of = |quantity| square_root(1.0, 0.02, quantity, 100.0).value;
        assert!((of(4.0) / of(1.0) - 2.0).abs() < 1e-12, "four times the order, twice the move");
        assert!((one_auction(4.0, 100.0).value - 0.01).abs() < 1e-12);
        assert!((temporary(0.02, 1.0, 10.0, 1.0).value / (0.142 * 0.02 * 0.251_188_643) - 1.0).abs() < 1e-8);
    }

    #[test]
    fn bounds_and_what_has_no_answer() {
        assert_eq!(square_root(9.0, 0.02, 1.0, 100.0).status, Status::Clamped);
        assert_eq!(square_root(1.0, 0.02, 1.0, 0.0).status, Status::ZeroVariance);
        assert_eq!(square_root(1.0, 0.02, -1.0, 0.0), Estimate::ok(0.0, 0));
        assert_eq!(temporary(0.02, 1.0, 0.0, 1.0).status, Status::ZeroVariance);
        assert_eq!(one_auction(4.0, 0.0).status, Status::ZeroVariance);
    }
}
