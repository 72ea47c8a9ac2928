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
    /// The mean of the rounds' ratios.
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

/// The rounds' mean ratio with a 99 % interval: studentised bootstrap over the logarithms of the rounds' ratios (Efron and
/// Tibshirani 1993, 12.5). Plain percentiles of ten rounds miss three times in a hundred, not once.
#[must_use]
pub fn interval(ratios: &[f64], seed: u64) -> Ratio {
    let logs: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
    let (mean, error) = mean_and_error(&logs);
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move || {
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        random.wrapping_mul(0x2545_F491_4F6C_DD1D)
    };
    let mut resampled = vec![0.0; logs.len()];
    let mut studentised = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        for value in &mut resampled {
            *value = logs[(next() % logs.len() as u64) as usize];
        }
        let (of, its_error) = mean_and_error(&resampled);
        if its_error > 0.0 {
            studentised.push((of - mean) / its_error);
        }
    }
    let end = |q: f64| (mean - quantile(&studentised, q) * error).exp();
    Ratio { ratio: mean.exp(), low: end(1.0 - MISS), high: end(MISS) }
}

/// Mean of some numbers and its standard error; 0 and 0 of none, an error of 0 of one.
fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    if values.len() < 2 {
        return (values.first().copied().unwrap_or(0.0), 0.0);
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0) / n).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of intervals of ten rounds that differ by chance alone, the share that does not hold one is near what it is said to
    /// be: the bench is believed by it.
    #[test]
    fn few_rounds_do_not_make_it_too_narrow() {
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        let mut uniform = move || {
            random ^= random >> 12;
            random ^= random << 25;
            random ^= random >> 27;
            (random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
        };
        let missed = (0..400)
            .filter(|series| {
                // Twelve uniform numbers are a normal one, near enough.
                let rounds: Vec<f64> =
                    (0..10).map(|_| 1.0 + 0.01 * ((0..12).map(|_| uniform()).sum::<f64>() - 6.0)).collect();
                let found = interval(&rounds, *series);
                found.low > 1.0 || found.high < 1.0
            })
            .count();
        assert!(missed <= 10, "{missed} of 400");
    }

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
