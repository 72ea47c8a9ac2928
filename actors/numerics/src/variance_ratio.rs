//! Do variances grow as a random walk's would (Lo and MacKinlay, Review of Financial Studies 1, 1988, section 1)?

use kimera_protocol::Status;

use crate::estimate::Estimate;

/// Variance of sums of `q` returns over `q` times the variance of one, both without bias (model book 1.15): 1 for a random walk,
/// less where moves are taken back.
#[must_use]
pub fn variance_ratio(returns: &[f64], q: usize) -> Estimate {
    let n = returns.len();
    if q < 2 || n < 4 * q {
        return Estimate::warmup(n as u64);
    }
    if returns.iter().any(|r| !r.is_finite()) {
        return Estimate::degenerate(Status::ZeroVariance, n as u64);
    }
    let mean = returns.iter().sum::<f64>() / n as f64;
    let one = returns.iter().map(|r| (r - mean) * (r - mean)).sum::<f64>() / (n - 1) as f64;
    if one <= 0.0 {
        return Estimate::degenerate(Status::ZeroVariance, n as u64);
    }
    let drift = q as f64 * mean;
    let squares = returns.windows(q).map(|window| {
        let sum: f64 = window.iter().sum();
        (sum - drift) * (sum - drift)
    });
    let scale = q as f64 * (n - q + 1) as f64 * (1.0 - q as f64 / n as f64);
    Estimate::ok(squares.sum::<f64>() / scale / one, n as u64)
}

/// Steps until half of a gap is closed, where each step leaves `persistence` of it (a regression of a gap on the one before).
#[must_use]
pub fn half_life_steps(persistence: f64) -> Estimate {
    if persistence > 0.0 && persistence < 1.0 {
        Estimate::ok(-std::f64::consts::LN_2 / crate::ln(persistence), 0)
    } else {
        Estimate::degenerate(Status::ZeroVariance, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values() {
        let returns = [0.01, -0.01, 0.02, -0.01, 0.015, -0.02, 0.01, 0.005];
        assert!((variance_ratio(&returns, 2).value - 0.238_095).abs() < 1e-6);
        assert!((half_life_steps(0.5).value - 1.0).abs() < 1e-12);
    }

    #[test]
    fn what_is_taken_back_and_what_is_not() {
        let mut word = 0x9E37_79B9_7F4A_7C15u64;
        let mut noise = || {
            // A sum of twelve is near enough to normal.
            (0..12).fold(-6.0, |sum, _| {
                word ^= word << 13;
                word ^= word >> 7;
                word ^= word << 17;
                sum + (word >> 11) as f64 / (1u64 << 53) as f64
            })
        };
        let walk: Vec<f64> = (0..100_000).map(|_| noise()).collect();
        assert!((variance_ratio(&walk, 2).value - 1.0).abs() < 0.02);
        let mut last = 0.0;
        let returning: Vec<f64> = (0..100_000)
            .map(|_| {
                last = -0.3 * last + noise();
                last
            })
            .collect();
        assert!((variance_ratio(&returning, 2).value - 0.7).abs() < 0.02, "1 + ρ");
    }

    #[test]
    fn degenerate_input_has_its_name() {
        assert_eq!(variance_ratio(&[0.0; 100], 2).status, Status::ZeroVariance);
        assert_eq!(variance_ratio(&[1.0; 7], 2).status, Status::Warmup);
        assert_eq!(variance_ratio(&[f64::NAN; 100], 2).status, Status::ZeroVariance);
        assert_eq!(half_life_steps(1.0).status, Status::ZeroVariance);
    }
}
