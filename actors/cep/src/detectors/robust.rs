//! Distances in robust standard deviations (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993).

use kimera_numerics::RankedWindow;
use kimera_numerics::estimate::Estimate;
use kimera_protocol::Status;

/// Makes the median absolute deviation of normal data its standard deviation.
const TO_DEVIATION: f64 = 1.4826;
/// The same the other way round, as the modified z has it.
const MODIFIED: f64 = 0.6745;
/// Where the median deviation is 0: the mean absolute deviation of normal data is its standard deviation divided by this.
const MEAN_TO_DEVIATION: f64 = 1.253_314;

/// `0.6745 (x − median) / MAD` (model book 2.1a); beyond 3.5 it is an outlier. Where half of the window is one value, the mean absolute
/// deviation stands in; where all of it is, there is no answer.
#[must_use]
pub fn modified_z(window: &RankedWindow, x: f64) -> Estimate {
    let standard = |mad: f64| mad / MODIFIED;
    distance_in_deviations(window, x, standard)
}

/// How far `ln(volume)` lies above a profile of the same time of day, in robust standard deviations (model book 2.2); beyond 4 it is a
/// surge. The profile holds the [`log_volume`] of its days.
#[must_use]
pub fn volume_surge(profile: &RankedWindow, volume: f64) -> Estimate {
    distance_in_deviations(profile, log_volume(volume), |mad| TO_DEVIATION * mad)
}

/// Logarithm of a volume in the smallest units there are, 1e-8, with none at all as one of them: distances are those of `ln(volume)`,
/// and a time without any trade has one, too.
#[must_use]
pub fn log_volume(volume: f64) -> f64 {
    kimera_numerics::ln((volume * 1e8).max(1.0))
}

/// `(x − median) / deviation`, the deviation made of the median distance as `standard` says.
fn distance_in_deviations(window: &RankedWindow, x: f64, standard: impl Fn(f64) -> f64) -> Estimate {
    let n = window.len() as u64;
    let Some(middle) = window.median().filter(|_| x.is_finite()) else { return Estimate::warmup(n) };
    let deviation = match window.median_distance(middle) {
        Some(mad) if mad > 0.0 => standard(mad),
        _ => MEAN_TO_DEVIATION * window.mean_distance(middle).unwrap_or(0.0),
    };
    if deviation > 0.0 {
        Estimate::ok((x - middle) / deviation, n)
    } else {
        Estimate::degenerate(Status::ZeroVariance, n)
    }
}

/// Probability of `count` events or more where `rate` are expected (Poisson).
#[must_use]
pub fn poisson_tail(rate: f64, count: u64) -> f64 {
    if count == 0 || rate <= 0.0 {
        return if count == 0 { 1.0 } else { 0.0 };
    }
    // From the first term on, which is the largest where count is above the rate; else by what lies below.
    let term = |k: u64| {
        kimera_numerics::exp(
            k as f64 * kimera_numerics::ln(rate) - rate - kimera_numerics::ln_gamma(k as f64 + 1.0),
        )
    };
    if (count as f64) < rate {
        return (1.0 - (0..count).map(term).sum::<f64>()).clamp(0.0, 1.0);
    }
    let (mut sum, mut next, mut k) = (0.0, term(count), count);
    while next > sum * 1e-17 && next > 0.0 {
        sum += next;
        k += 1;
        next *= rate / k as f64;
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(values: &[f64]) -> RankedWindow {
        let mut window = RankedWindow::new(values.len());
        values.iter().for_each(|x| window.push(*x));
        window
    }

    fn days(volumes: &[f64]) -> RankedWindow {
        window(&volumes.iter().map(|v| log_volume(*v)).collect::<Vec<_>>())
    }

    #[test]
    fn published_values() {
        assert!((modified_z(&window(&[1.0, 2.0, 3.0, 4.0, 100.0]), 100.0).value - 65.4265).abs() < 1e-9);
        let surge = volume_surge(&days(&[100.0, 110.0, 90.0, 105.0, 95.0, 100.0]), 900.0).value;
        assert!((surge / 29.6154 - 1.0).abs() < 1e-5, "{surge}");
        assert!((poisson_tail(100.0, 150) / 1.884_21e-6 - 1.0).abs() < 1e-5, "{}", poisson_tail(100.0, 150));
    }

    #[test]
    fn half_of_one_value_and_all_of_one_value() {
        let half = modified_z(&window(&[1.0, 1.0, 1.0, 1.0, 6.0]), 6.0);
        assert!((half.value - 5.0 / 1.253_314).abs() < 1e-9);
        assert_eq!(modified_z(&window(&[2.0; 9]), 5.0).status, Status::ZeroVariance);
        assert_eq!(modified_z(&window(&[]), 5.0).status, Status::Warmup);
        assert_eq!(volume_surge(&days(&[7.0; 9]), 5.0).status, Status::ZeroVariance);
        assert!((poisson_tail(3.0, 1) - (1.0 - kimera_numerics::exp(-3.0))).abs() < 1e-12);
        assert!((poisson_tail(3.0, 0), poisson_tail(0.0, 2)) == (1.0, 0.0));
    }
}
