//! 1.1 Fair price between the best prices: the imbalance-weighted mid, and Stoikov's micro-price as an offline fit.

use kimera_numerics::{Matrix, SingularMatrix};
use kimera_protocol::Level;

use super::base_units;

/// `I·Pa + (1 − I)·Pb` with `I = Qb / (Qb + Qa)`, in ticks (Gatheral and Oomen 2010).
///
/// Both sizes must be positive; the result lies between the prices.
#[must_use]
pub fn weighted_mid(bid: Level, ask: Level) -> f64 {
    let (qb, qa) = (base_units(bid.size.0), base_units(ask.size.0));
    let share = qb / (qb + qa);
    let (pb, pa) = (bid.price.0 as f64, ask.price.0 as f64);
    // Written as an offset from the bid so that it cannot leave [Pb, Pa] by rounding.
    (pb + share * (pa - pb)).min(pa).max(pb)
}

/// Stoikov's adjustment `G*` in ticks for each (imbalance, spread) state (Stoikov 2018, sections 2–3).
///
/// `stay` = transitions that leave the mid, `jump` = expected mid move of the transition that moves it (a column),
/// `after` = state after a move. `G¹ = (1 − stay)⁻¹·jump`, `B = (1 − stay)⁻¹·after`, `G* = Σ Bᵏ·G¹`, summed until a
/// term adds less than 1e-12 or `terms_max` are added.
///
/// # Errors
/// [`SingularMatrix`] where some state never leaves.
pub fn stoikov_adjustment(
    stay: &Matrix,
    jump: &Matrix,
    after: &Matrix,
    terms_max: usize,
) -> Result<Vec<f64>, SingularMatrix> {
    let first = stay.solve_one_minus(jump)?;
    let next = stay.solve_one_minus(after)?;
    let mut term = first.clone();
    let mut total: Vec<f64> = (0..first.rows()).map(|row| first.at(row, 0)).collect();
    for _ in 0..terms_max {
        term = next.times(&term);
        let mut largest = 0.0f64;
        for (row, sum) in total.iter_mut().enumerate() {
            *sum += term.at(row, 0);
            largest = largest.max(term.at(row, 0).abs());
        }
        if largest < 1e-12 {
            break;
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::{Price, Quantity};
    use proptest::prelude::*;

    fn level(price: i64, size: i64) -> Level {
        Level { price: Price(price), size: Quantity(size) }
    }

    #[test]
    fn published_values() {
        // Model book 1.1: 100.00 × 300 against 100.02 × 100 → 100.015, in ticks of 0.01.
        assert!((weighted_mid(level(10_000, 300), level(10_002, 100)) - 10_001.5).abs() < 1e-9);
        let stay = Matrix::from_rows(&[&[0.6, 0.2], &[0.2, 0.6]]);
        let jump = Matrix::from_rows(&[&[-0.05], &[0.05]]);
        let after = Matrix::from_rows(&[&[0.15, 0.05], &[0.05, 0.15]]);
        let first = stoikov_adjustment(&stay, &jump, &after, 0).unwrap();
        assert!((first[0] + 0.083_333_3).abs() < 1e-6 && (first[1] - 0.083_333_3).abs() < 1e-6);
        let all = stoikov_adjustment(&stay, &jump, &after, 1_000).unwrap();
        assert!((all[0] + 0.1).abs() < 1e-9 && (all[1] - 0.1).abs() < 1e-9);
        let never = Matrix::from_rows(&[&[1.0, 0.0], &[0.0, 1.0]]);
        assert_eq!(stoikov_adjustment(&never, &jump, &after, 1), Err(SingularMatrix));
    }

    proptest! {
        #[test]
        fn it_lies_between_the_prices_and_mirrors(b in 1i64..1_000_000, s in 1i64..500, qb in 1i64..i64::MAX / 4, qa in 1i64..i64::MAX / 4) {
            let fair = weighted_mid(level(b, qb), level(b + s, qa));
            prop_assert!(fair >= b as f64 && fair <= (b + s) as f64);
            let mirrored = weighted_mid(level(b, qa), level(b + s, qb));
            prop_assert!((fair - b as f64 - ((b + s) as f64 - mirrored)).abs() < 1e-6 * (b + s) as f64);
        }
    }
}
