//! How likely it is by chance that so many of so many are so.

use crate::estimate::Estimate;
use crate::{exp, ln, ln_gamma};

/// Probability of `k` or more of `n`, each with probability `p` (binomial): how likely so many cancellations behind fills are, where
/// somebody cancels at rate `p` anyway (model book 2.5; an alarm below 1e-4 with five orders at least).
#[must_use]
pub fn binomial_tail(n: u64, p: f64, k: u64) -> f64 {
    if k == 0 || p >= 1.0 {
        return 1.0;
    }
    if p <= 0.0 || k > n {
        return 0.0;
    }
    let choose =
        |i: u64| ln_gamma(n as f64 + 1.0) - ln_gamma(i as f64 + 1.0) - ln_gamma((n - i) as f64 + 1.0);
    let term = |i: u64| exp(choose(i) + i as f64 * ln(p) + (n - i) as f64 * ln(1.0 - p));
    let odds = p / (1.0 - p);
    // From the middle outwards, each term from the one before: what is left out is too small to be seen.
    if k as f64 > n as f64 * p {
        let (mut tail, mut of) = (0.0, term(k));
        for i in k..=n {
            tail += of;
            of *= odds * (n - i) as f64 / (i + 1) as f64;
        }
        return tail.min(1.0);
    }
    let (mut below, mut of) = (0.0, term(k - 1));
    for i in (0..k).rev() {
        below += of;
        of *= i as f64 / (odds * (n - i + 1) as f64);
    }
    (1.0 - below).max(0.0)
}

/// Orders a lift needs before it is judged.
pub const ORDERS_MIN: u64 = 5;

/// `1 − p` of [`binomial_tail`] as a score in [0, 1]: how far cancellations go together with fills on the other side.
#[must_use]
pub fn cancel_lift(large_orders: u64, cancelled_behind_fills: u64, base_rate: f64) -> Estimate {
    if large_orders < ORDERS_MIN {
        return Estimate::warmup(large_orders);
    }
    Estimate::ok(1.0 - binomial_tail(large_orders, base_rate, cancelled_behind_fills), large_orders)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kimera_protocol::Status;

    #[test]
    fn published_values() {
        assert!((binomial_tail(20, 0.3, 18) / 3.773_09e-8 - 1.0).abs() < 1e-5);
    }

    /// By every term on its own.
    #[test]
    fn it_is_the_sum_of_its_terms() {
        for (n, p) in [(7u64, 0.5), (40, 0.3), (60, 0.02), (256, 0.9)] {
            for k in 1..=n {
                let choose = |i: u64| {
                    ln_gamma(n as f64 + 1.0) - ln_gamma(i as f64 + 1.0) - ln_gamma((n - i) as f64 + 1.0)
                };
                let term = |i: u64| exp(choose(i) + i as f64 * ln(p) + (n - i) as f64 * ln(1.0 - p));
                let sum: f64 = (k..=n).map(term).sum();
                let found = binomial_tail(n, p, k);
                assert!(
                    (found - sum).abs() < 1e-9
                        && (!(1e-280..=0.5).contains(&sum) || (found / sum - 1.0).abs() < 1e-6),
                    "{n} {p} {k}: {found} {sum}"
                );
            }
        }
    }

    #[test]
    fn a_lift_is_seen_and_none_is_not() {
        assert!(cancel_lift(20, 18, 0.3).value > 0.999_9);
        assert!(cancel_lift(20, 6, 0.3).value < 0.9, "as often as ever");
        assert_eq!(cancel_lift(4, 4, 0.3).status, Status::Warmup);
        assert_eq!(
            (binomial_tail(5, 0.0, 1), binomial_tail(5, 0.3, 6), binomial_tail(5, 1.0, 5)),
            (0.0, 0.0, 1.0)
        );
    }
}
