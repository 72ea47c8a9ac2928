//! The probability that a trade comes from somebody who knows (Easley, Kiefer, O'Hara, Paperman, Journal of Finance 51, 1996; Easley,
//! Hvidkjaer, O'Hara 2002), its likelihood as Lin and Ke (Journal of Financial Markets 14, 2011) keep it from overflowing.

use kimera_protocol::Status;

use crate::estimate::Estimate;
use crate::{exp, ln, ln_gamma};

/// Days below which there is no fit.
pub const DAYS_MIN: usize = 20;
/// Steps of a fit from one start, at most.
const STEPS_MAX: usize = 500;
/// A fit ends where a step gains less than this.
const GAIN_MIN: f64 = 1e-10;

/// A day has news with probability `event`, bad ones with `bad` among those; whoever knows trades `informed` times on such a day, the
/// others `buys` and `sells` times on any (model book 1.10).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InformedTrading {
    /// α: probability of news.
    pub event: f64,
    /// δ: probability that news are bad.
    pub bad: f64,
    /// μ: trades a day of those who know.
    pub informed: f64,
    /// ε_b: purchases a day of the others.
    pub buys: f64,
    /// ε_s: sales a day of the others.
    pub sells: f64,
}

/// What a day was, judged by its trades; the three add up to one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DayPosterior {
    /// Bad news.
    pub bad: f64,
    /// Good news.
    pub good: f64,
    /// None.
    pub none: f64,
}

impl InformedTrading {
    /// The probability that a trade is from somebody who knows.
    #[must_use]
    pub fn pin(&self) -> f64 {
        let informed = self.event * self.informed;
        let all = informed + self.buys + self.sells;
        if all > 0.0 { informed / all } else { 0.0 }
    }

    /// Logarithms of the three weights of a day without what is common to them, and that.
    fn weights(&self, buys: f64, sells: f64) -> ([f64; 3], f64) {
        // Terms relative to a day on which those who know trade on both sides: none of the exponents is large and positive.
        let buying = buys * ln(1.0 + self.informed / self.buys);
        let selling = sells * ln(1.0 + self.informed / self.sells);
        let weight = |probability: f64, exponent: f64| {
            if probability > 0.0 { ln(probability) + exponent } else { f64::NEG_INFINITY }
        };
        let bad = weight(self.event * self.bad, -self.informed - buying);
        let good = weight(self.event * (1.0 - self.bad), -self.informed - selling);
        let none = weight(1.0 - self.event, -buying - selling);
        let common = buys * ln(self.buys + self.informed) + sells * ln(self.sells + self.informed)
            - (self.buys + self.sells)
            - ln_gamma(buys + 1.0)
            - ln_gamma(sells + 1.0);
        ([bad, good, none], common)
    }

    /// What a day with so many purchases and sales was (Bayes).
    #[must_use]
    pub fn posterior(&self, buys: u64, sells: u64) -> DayPosterior {
        let (weights, _) = self.weights(buys as f64, sells as f64);
        let largest = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let [bad, good, none] = weights.map(|w| exp(w - largest));
        let all = bad + good + none;
        DayPosterior { bad: bad / all, good: good / all, none: none / all }
    }

    /// Log likelihood of days, each with its purchases and sales.
    #[must_use]
    pub fn log_likelihood(&self, days: &[(u64, u64)]) -> f64 {
        let of = |&(buys, sells): &(u64, u64)| {
            let (weights, common) = self.weights(buys as f64, sells as f64);
            let largest = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            largest + ln(weights.iter().map(|w| exp(w - largest)).sum()) + common
        };
        days.iter().map(of).sum()
    }

    /// One step of expectation and maximisation: with news, each trade of the likelier side is partly of those who know.
    fn improved(&self, days: &[(u64, u64)]) -> Self {
        let (mut news, mut bad_news) = (0.0, 0.0);
        let (mut informed, mut buys, mut sells) = (0.0, 0.0, 0.0);
        for &(bought, sold) in days {
            let DayPosterior { bad, good, none: _ } = self.posterior(bought, sold);
            news += bad + good;
            bad_news += bad;
            let knowing_buys = good * bought as f64 * self.informed / (self.buys + self.informed);
            let knowing_sells = bad * sold as f64 * self.informed / (self.sells + self.informed);
            informed += knowing_buys + knowing_sells;
            buys += bought as f64 - knowing_buys;
            sells += sold as f64 - knowing_sells;
        }
        let n = days.len() as f64;
        let share = |part: f64, of: f64| if of > 0.0 { part / of } else { 0.0 };
        // A rate of exactly nothing would have no logarithm.
        let positive = |rate: f64| rate.max(1e-9);
        Self {
            event: news / n,
            bad: share(bad_news, news),
            informed: positive(share(informed, news)),
            buys: positive(buys / n),
            sells: positive(sells / n),
        }
    }
}

/// A fit, and what there is to say of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InformedFit {
    /// The likeliest parameters.
    pub parameters: InformedTrading,
    /// Their log likelihood.
    pub log_likelihood: f64,
    /// PIN, held where a probability lies at its bound.
    pub pin: Estimate,
}

/// Maximum likelihood over a grid of starts after Yan and Zhang (Journal of Banking and Finance 36, 2012): probabilities of 0.1 to 0.9, and
/// shares of purchases that are of the uninformed. Days without trade are dropped; none with fewer than `days_min`.
#[must_use]
pub fn fit(days: &[(u64, u64)], days_min: usize) -> Option<InformedFit> {
    let days: Vec<_> = days.iter().copied().filter(|&(buys, sells)| buys + sells > 0).collect();
    if days.len() < days_min.max(1) {
        return None;
    }
    let n = days.len() as f64;
    let mean = |of: fn(&(u64, u64)) -> u64| days.iter().map(|day| of(day) as f64).sum::<f64>() / n;
    let (bought, sold) = (mean(|day| day.0), mean(|day| day.1));
    let grid = [0.1, 0.3, 0.5, 0.7, 0.9];
    let mut best: Option<(InformedTrading, f64)> = None;
    for event in grid {
        for bad in grid {
            for share in grid {
                let buys = (share * bought).max(1e-3);
                let start = InformedTrading {
                    event,
                    bad,
                    informed: ((bought - buys) / (event * (1.0 - bad))).max(1e-3),
                    buys,
                    sells: (sold - (bought - buys) * bad / (1.0 - bad)).max(1e-3),
                };
                let found = climb(start, &days);
                if best.is_none_or(|(_, likelihood)| found.1 > likelihood) {
                    best = Some(found);
                }
            }
        }
    }
    best.map(|(parameters, log_likelihood)| {
        let at_bound = |p: f64| !(1e-6..=1.0 - 1e-6).contains(&p);
        let bound = at_bound(parameters.event) || at_bound(parameters.bad);
        let status = if bound { Status::Clamped } else { Status::Ok };
        let pin = Estimate { status, ..Estimate::ok(parameters.pin(), days.len() as u64) };
        InformedFit { parameters, log_likelihood, pin }
    })
}

fn climb(start: InformedTrading, days: &[(u64, u64)]) -> (InformedTrading, f64) {
    let (mut at, mut likelihood) = (start, start.log_likelihood(days));
    for _ in 0..STEPS_MAX {
        let next = at.improved(days);
        let reached = next.log_likelihood(days);
        let gain = reached - likelihood;
        if !reached.is_finite() {
            break;
        }
        (at, likelihood) = (next, reached);
        if gain < GAIN_MIN {
            break;
        }
    }
    (at, likelihood)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUYS: [u64; 10] = [350, 250, 500, 552, 163, 345, 847, 923, 123, 349];
    const SELLS: [u64; 10] = [382, 500, 463, 550, 200, 323, 456, 342, 578, 455];

    fn days() -> Vec<(u64, u64)> {
        BUYS.into_iter().zip(SELLS).collect()
    }

    fn near(a: f64, b: f64) -> bool {
        (a / b - 1.0).abs() < 1e-5
    }

    #[test]
    fn published_values() {
        let of = |event, bad, informed, buys, sells| InformedTrading { event, bad, informed, buys, sells };
        let there = of(0.480_277, 0.830_850, 315.259_805, 296.862_318, 434.304_6);
        assert!(near(there.log_likelihood(&days()), -482.939), "{}", there.log_likelihood(&days()));
        assert!(near(of(0.4, 0.5, 50.0, 40.0, 40.0).pin(), 0.2));
        let posterior = of(0.4, 0.5, 50.0, 40.0, 40.0).posterior(60, 40);
        assert!((posterior.bad / 7.23e-9 - 1.0).abs() < 1e-3, "{posterior:?}");
        assert!(near(posterior.good, 0.079_966_7) && near(posterior.none, 0.920_033), "{posterior:?}");
        assert!(of(0.4, 0.5, 50.0, 40.0, 40.0).posterior(90, 40).good > 0.999_999);
    }

    #[test]
    fn the_fit_finds_the_published_optimum_at_its_bound() {
        let InformedFit { parameters: p, log_likelihood, pin } = fit(&days(), 10).unwrap();
        assert!(near(log_likelihood, -436.372), "{log_likelihood} {p:?}");
        assert!(near(p.event, 0.4) && p.bad < 1e-6, "{p:?}");
        assert!(near(p.informed, 442.167) && near(p.buys, 263.333) && near(p.sells, 424.9), "{p:?}");
        assert!(near(pin.value, 0.204_446) && pin.status == Status::Clamped, "{pin:?}");
        assert_eq!(fit(&days(), DAYS_MIN), None, "ten days are not enough");
        assert_eq!(fit(&[(0, 0); 60], 1), None, "days without trade are none");
    }

    /// By direct sums of Poisson probabilities, over counts that are small enough for them.
    #[test]
    fn the_stable_form_is_the_plain_one() {
        let p = InformedTrading { event: 0.3, bad: 0.6, informed: 8.0, buys: 5.0, sells: 7.0 };
        let poisson = |k: u64, rate: f64| (1..=k).fold(exp(-rate), |product, i| product * rate / i as f64);
        for day in [(0, 3), (5, 7), (14, 6), (4, 17)] {
            let (b, s) = day;
            let plain = p.event * p.bad * poisson(b, p.buys) * poisson(s, p.sells + p.informed)
                + p.event * (1.0 - p.bad) * poisson(b, p.buys + p.informed) * poisson(s, p.sells)
                + (1.0 - p.event) * poisson(b, p.buys) * poisson(s, p.sells);
            assert!((p.log_likelihood(&[day]) - ln(plain)).abs() < 1e-10);
        }
        let busy = p.log_likelihood(&[(100_000, 90_000)]);
        assert!(busy.is_finite(), "{busy}");
    }
}
