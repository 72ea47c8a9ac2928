//! 3.15 Advice of experts: weights with a bound on regret, in the shadow of those that decide (Freund and Schapire 1997; Cesa-Bianchi and Lugosi
//! 2006, theorem 2.2; Herbster and Warmuth 1998).

use crate::{exp, ln};

/// How weights follow losses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// w ∝ w e^(−ηℓ): regret to the best expert of at most √(T ln N / 2) with the right η, for losses in [0, 1].
    Hedge {
        /// η.
        rate: f64,
    },
    /// Hedge, then a share of all weight is dealt evenly: it follows where the best expert changes.
    FixedShare {
        /// η.
        rate: f64,
        /// Share that is dealt, in [0, 1].
        share: f64,
    },
}

/// η = √(8 ln N / T), for `n` experts and `t` updates.
#[must_use]
pub fn rate(n: usize, t: u64) -> f64 {
    (8.0 * ln(n.max(1) as f64) / t.max(1) as f64).sqrt()
}

/// √(T ln N / 2): what Hedge loses more than the best of `n` experts at most, in `t` updates with the rate of [`rate`].
#[must_use]
pub fn regret_bound(n: usize, t: u64) -> f64 {
    (t as f64 * ln(n.max(1) as f64) / 2.0).sqrt()
}

/// Weights of up to `N` experts and what followed from them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Experts<const N: usize> {
    rule: Rule,
    n: usize,
    weights: [f64; N],
    /// What following the weights has lost, and each expert on its own.
    lost: f64,
    losses: [f64; N],
    updates: u64,
}

kimera_protocol::state!(Experts<8> { weights, lost, losses, updates } fixed { rule, n });

impl<const N: usize> Experts<N> {
    /// The first `n` of `N`, with even weights.
    #[must_use]
    pub fn new(rule: Rule, n: usize) -> Self {
        let n = n.clamp(1, N);
        let weights = std::array::from_fn(|i| if i < n { 1.0 / n as f64 } else { 0.0 });
        Self { rule, n, weights, lost: 0.0, losses: [0.0; N], updates: 0 }
    }

    /// Takes each expert's loss, in [0, 1]; where one is not, nothing changes.
    pub fn update(&mut self, losses: &[f64; N]) {
        if losses[..self.n].iter().any(|l| !(0.0..=1.0).contains(l)) {
            return;
        }
        let (rate, share) = match self.rule {
            Rule::Hedge { rate } => (rate, 0.0),
            Rule::FixedShare { rate, share } => (rate, share),
        };
        let mut sum = 0.0;
        for (i, loss) in losses.iter().enumerate().take(self.n) {
            self.lost += self.weights[i] * loss;
            self.losses[i] += loss;
        }
        for (weight, loss) in self.weights.iter_mut().zip(losses).take(self.n) {
            *weight *= exp(-rate * loss);
            sum += *weight;
        }
        let even = share / self.n as f64;
        for weight in self.weights.iter_mut().take(self.n) {
            *weight = (1.0 - share) * *weight / sum + even;
        }
        self.updates += 1;
    }

    /// Weights; they sum to 1.
    #[must_use]
    pub fn weights(&self) -> &[f64; N] {
        &self.weights
    }

    /// What was lost by following the weights more than by following the best expert alone; below 0 where no one did as well.
    #[must_use]
    pub fn regret(&self) -> f64 {
        self.lost - best(&self.losses[..self.n])
    }

    /// What following the weights has lost so far.
    #[must_use]
    pub fn lost(&self) -> f64 {
        self.lost
    }

    /// Losses of each expert so far.
    #[must_use]
    pub fn losses(&self) -> &[f64; N] {
        &self.losses
    }

    /// Updates so far.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.updates
    }
}

/// The least of these losses.
#[must_use]
pub fn best(losses: &[f64]) -> f64 {
    losses.iter().fold(f64::INFINITY, |least, l| least.min(*l))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn published_values() {
        assert!((rate(5, 1_000) - 0.113_470).abs() < 1e-6 && (regret_bound(5, 1_000) - 28.3676).abs() < 1e-4);
        let mut of = Experts::<2>::new(Rule::Hedge { rate: 0.5 }, 2);
        for (losses, expected) in [([0.0, 1.0], 0.622_459), ([0.0, 1.0], 0.731_059), ([1.0, 0.0], 0.622_459)]
        {
            of.update(&losses);
            assert!((of.weights()[0] / expected - 1.0).abs() < 1e-5, "{:?}", of.weights());
        }
        assert_eq!(of.updates(), 3);
    }

    /// Shares in proportion are not without regret: with losses .4 and .6 they keep paying .08 a step, Hedge does not.
    #[test]
    fn it_ends_where_proportional_shares_keep_paying() {
        let mut of = Experts::<2>::new(Rule::Hedge { rate: rate(2, 1_000) }, 2);
        (0..1_000).for_each(|_| of.update(&[0.4, 0.6]));
        assert!(of.regret() < regret_bound(2, 1_000) && of.regret() > 0.0, "{}", of.regret());
        assert!(1_000.0 * (0.6 * 0.4 + 0.4 * 0.6 - 0.4) > 5.0 * of.regret());
    }

    #[test]
    fn a_share_that_is_dealt_follows_who_is_best_now() {
        let rate = 0.5;
        let mut hedge = Experts::<2>::new(Rule::Hedge { rate }, 2);
        let mut share = Experts::<2>::new(Rule::FixedShare { rate, share: 0.02 }, 2);
        for i in 0..400 {
            let losses = if i < 200 { [0.0, 1.0] } else { [1.0, 0.0] };
            hedge.update(&losses);
            share.update(&losses);
        }
        assert!(share.weights()[1] > 0.95 && hedge.weights()[1] < 0.6);
        assert!(share.regret() < 0.0 && hedge.regret() > 0.0, "{} {}", share.regret(), hedge.regret());
        assert!(share.weights().iter().all(|w| *w >= 0.01 - 1e-12), "a floor");
        let before = share;
        share.update(&[f64::NAN, 0.5]);
        share.update(&[1.5, 0.5]);
        assert_eq!(share, before, "what is no loss in [0, 1] changes nothing");
    }

    proptest! {
        /// Whatever the losses, Hedge stays within its bound.
        #[test]
        fn regret_is_bounded(losses in proptest::collection::vec(proptest::array::uniform5(0.0f64..=1.0), 1..300)) {
            let t = losses.len() as u64;
            let mut of = Experts::<5>::new(Rule::Hedge { rate: rate(5, t) }, 5);
            losses.iter().for_each(|l| of.update(l));
            prop_assert!(of.regret() <= regret_bound(5, t) + 1e-9);
            prop_assert!((of.weights().iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
    }
}
