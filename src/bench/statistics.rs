//! Numbers of rounds beside one another: medians, and how far their ratio may be from one by chance.

/// The middle of some numbers; 0 of none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// A quantile, between two neighbours where it falls there; 0 of none.
#[must_use]
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = q.clamp(0.0, 1.0) * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

/// A ratio and the interval it lies in.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Ratio {
    /// The median of the rounds' ratios.
    pub ratio: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Resamples of the bootstrap.
const RESAMPLES: usize = 4_000;
/// Chance, on each side, that the interval misses.
const MISS: f64 = 0.005;

/// The median of the rounds' ratios with a 99 % interval: percentile bootstrap over the rounds (Efron 1979).
#[must_use]
pub fn interval(ratios: &[f64], seed: u64) -> Ratio {
    if ratios.is_empty() {
        return Ratio { ratio: 1.0, low: 1.0, high: 1.0 };
    }
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move || {
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        random.wrapping_mul(0x2545_F491_4F6C_DD1D)
    };
    let mut resampled = vec![0.0; ratios.len()];
    let medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            for value in &mut resampled {
                *value = ratios[(next() % ratios.len() as u64) as usize];
            }
            median(&resampled)
        })
        .collect();
    Ratio { ratio: median(ratios), low: quantile(&medians, MISS), high: quantile(&medians, 1.0 - MISS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_few_numbers() {
        assert_eq!((median(&[]), median(&[3.0]), median(&[1.0, 2.0])), (0.0, 3.0, 1.5));
        assert_eq!(quantile(&[4.0, 1.0, 3.0, 2.0, 5.0], 0.25), 2.0);
    }

    #[test]
    fn what_differs_by_chance_alone_has_one_in_its_interval() {
        // Every round is off by up to 2 %.
        let round = |i: usize, factor: f64| factor * (1.0 + 0.02 * ((i * 7 % 11) as f64 / 5.0 - 1.0));
        let of = |factor: f64| (0..22).map(|i| round(i, factor)).collect::<Vec<_>>();
        let (same, slower) = (interval(&of(1.0), 1), interval(&of(1.05), 1));
        assert!(same.low <= 1.0 && same.high >= 1.0, "{same:?}");
        assert!(slower.low > 1.0 && (slower.ratio - 1.05).abs() < 0.01, "{slower:?}");
    }
}
