//! Momentum that somebody may have lit: a burst of takers on one side moves the price, and it falls back (Regulation (EU) 596/2014, Annex I A
//! (a) and (d); SEC Concept Release 34-61358, directional strategies).

use std::collections::VecDeque;

use kimera_protocol::Nanos;

/// When a burst is one, and how soon it has to be taken back (model book 2.9).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IgnitionConfig {
    /// Trades of one side in a row, at least; at most 1,024 of the window are looked at.
    pub trades: usize,
    /// Time for them.
    pub window: Nanos,
    /// Least move of the price, in standard deviations.
    pub deviations: f64,
    /// Part of the move that has to be taken back.
    pub return_share: f64,
    /// Time for that.
    pub return_time: Nanos,
}

impl Default for IgnitionConfig {
    fn default() -> Self {
        let second = 1_000_000_000;
        Self { trades: 5, window: 10 * second, deviations: 2.0, return_share: 0.5, return_time: 60 * second }
    }
}

/// What a trade says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IgnitionEvent {
    /// A burst has moved the price.
    Ignited,
    /// And it was taken back: suspected.
    Suspected,
    /// It was taken back, but there was news.
    Explained,
    /// It was not taken back in time.
    Held,
}

/// A trade as this looks at it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Taken {
    /// When.
    pub time: Nanos,
    /// Its price.
    pub price: f64,
    /// Who took.
    pub is_buy: bool,
    /// Standard deviation of a move over the window, as a fraction; none while it is not known.
    pub deviation: Option<f64>,
    /// There is news: a headline with a jump.
    pub has_news: bool,
}

/// Trades of a run that are kept, at most: where there are more, the oldest go.
const RUN_MAX: usize = 1_024;

#[derive(Clone, Copy, Debug, Default)]
struct Burst {
    from: f64,
    furthest: f64,
    sign: f64,
    /// Least move of a burst, then.
    limit: f64,
    until: Nanos,
    has_news: bool,
}

kimera_protocol::state!(Burst { from, furthest, sign, limit, until, has_news });

/// One market's bursts.
#[derive(Clone, Debug)]
pub struct Ignition {
    config: IgnitionConfig,
    run: VecDeque<(Nanos, f64)>,
    run_is_buy: bool,
    burst: Option<Burst>,
}

kimera_protocol::state!(Ignition { run, run_is_buy, burst } fixed { config });

impl Ignition {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(config: IgnitionConfig) -> Self {
        let run = VecDeque::with_capacity(RUN_MAX.max(config.trades));
        Self {
            config: IgnitionConfig { trades: config.trades.max(2), ..config },
            run,
            run_is_buy: true,
            burst: None,
        }
    }

    /// The burst that is followed: its move so far, and the least one that would have been one, as fractions.
    #[must_use]
    pub fn burst(&self) -> Option<(f64, f64)> {
        self.burst.map(|burst| (burst.furthest / burst.from - 1.0, burst.limit))
    }

    /// What was seen does not count any more.
    pub fn forget(&mut self) {
        self.run.clear();
        self.burst = None;
    }

    /// Time in which a burst is looked for.
    #[inline]
    #[must_use]
    pub fn window(&self) -> Nanos {
        self.config.window
    }

    /// A trade.
    pub fn add(&mut self, trade: &Taken) -> Option<IgnitionEvent> {
        if !(trade.price.is_finite() && trade.price > 0.0) {
            return None;
        }
        match self.burst {
            Some(burst) => self.follow(burst, trade),
            None => self.judge(trade),
        }
    }

    fn judge(&mut self, trade: &Taken) -> Option<IgnitionEvent> {
        if self.run_is_buy != trade.is_buy {
            self.run.clear();
            self.run_is_buy = trade.is_buy;
        }
        let old = trade.time.saturating_sub(self.config.window);
        let is_full = |run: &VecDeque<_>| run.len() == RUN_MAX.max(self.config.trades);
        while is_full(&self.run) || self.run.front().is_some_and(|(time, _)| *time < old) {
            self.run.pop_front();
        }
        self.run.push_back((trade.time, trade.price));
        let (_, from) = *self.run.front()?;
        let deviation = trade.deviation.filter(|d| d.is_finite() && *d > 0.0)?;
        let sign = if trade.is_buy { 1.0 } else { -1.0 };
        let moved = sign * (trade.price / from - 1.0);
        let is_burst = self.run.len() >= self.config.trades && moved >= self.config.deviations * deviation;
        if !is_burst {
            return None;
        }
        let until = trade.time.saturating_add(self.config.return_time);
        let limit = self.config.deviations * deviation;
        let has_news = trade.has_news;
        self.burst = Some(Burst { from, furthest: trade.price, sign, limit, until, has_news });
        self.run.clear();
        Some(IgnitionEvent::Ignited)
    }

    fn follow(&mut self, mut burst: Burst, trade: &Taken) -> Option<IgnitionEvent> {
        if trade.time > burst.until {
            self.burst = None;
            return Some(IgnitionEvent::Held);
        }
        burst.has_news |= trade.has_news;
        if burst.sign * (trade.price - burst.furthest) > 0.0 {
            burst.furthest = trade.price;
        }
        let taken_back = burst.sign * (burst.furthest - trade.price);
        if taken_back >= self.config.return_share * burst.sign * (burst.furthest - burst.from) {
            self.burst = None;
            return Some(if burst.has_news { IgnitionEvent::Explained } else { IgnitionEvent::Suspected });
        }
        self.burst = Some(burst);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds, prices, sides; a deviation of a thousandth.
    fn events(trades: &[(i64, f64, bool)], has_news: bool) -> Vec<IgnitionEvent> {
        let mut ignition = Ignition::new(IgnitionConfig::default());
        let taken = |&(second, price, is_buy): &(i64, f64, bool)| Taken {
            time: second * 1_000_000_000,
            price,
            is_buy,
            deviation: Some(0.001),
            has_news,
        };
        trades.iter().filter_map(|trade| ignition.add(&taken(trade))).collect()
    }

    #[test]
    fn a_burst_that_is_taken_back_is_suspected_and_the_rest_is_not() {
        use IgnitionEvent::{Explained, Held, Ignited, Suspected};
        let burst =
            [(0, 100.0, true), (1, 100.1, true), (2, 100.15, true), (3, 100.2, true), (4, 100.3, true)];
        let with = |rest: &[(i64, f64, bool)]| [&burst[..], rest].concat();
        assert_eq!(events(&with(&[(10, 100.4, true), (30, 100.2, false)]), false), [Ignited, Suspected]);
        assert_eq!(events(&with(&[(30, 100.1, false)]), true), [Ignited, Explained], "news");
        let trend: Vec<_> = (5..80).map(|s| (s, 100.3 + 0.01 * s as f64, true)).collect();
        assert_eq!(events(&with(&trend), false)[..2], [Ignited, Held], "a trend");
        assert!(!events(&with(&trend), false).contains(&Suspected));
        assert_eq!(events(&with(&[(65, 100.0, false)]), false), [Ignited, Held], "too late");
    }

    #[test]
    fn near_misses_and_both_sides() {
        let four =
            [(0, 100.0, true), (1, 100.1, true), (2, 100.2, true), (3, 100.3, true), (4, 100.3, false)];
        assert_eq!(events(&four, false), [], "four in a row");
        let slow: Vec<_> = (0..5).map(|i| (i * 3, 100.0 + 0.1 * i as f64, true)).collect();
        assert_eq!(events(&slow, false), [], "twelve seconds");
        let fast: Vec<_> = (0..40).map(|i| (i / 5, 100.0 + 0.01 * i as f64, true)).collect();
        assert_eq!(
            events(&fast, false),
            [IgnitionEvent::Ignited],
            "more than five within ten seconds count together"
        );
        let still: Vec<_> = (0..9).map(|i| (i, 100.0 + 0.01 * i as f64, true)).collect();
        assert_eq!(events(&still, false), [], "less than two deviations");
        let down: Vec<_> =
            (0..5).map(|i| (i, 100.0 - 0.1 * i as f64, false)).chain([(9, 99.9, true)]).collect();
        assert_eq!(events(&down, false), [IgnitionEvent::Ignited, IgnitionEvent::Suspected]);
        let mut cold = Ignition::new(IgnitionConfig::default());
        let unknown = Taken { time: 0, price: 100.0, is_buy: true, deviation: None, has_news: false };
        assert!(
            (0..20).all(|i| cold.add(&Taken { price: 100.0 + f64::from(i), ..unknown }).is_none()),
            "no deviation yet"
        );
    }
}
