//! A fall, a book that empties in it, and whether the price comes back (after CFTC and SEC, Findings Regarding the Market Events of
//! May 6, 2010; the thresholds are ours).

use std::collections::VecDeque;

use kimera_protocol::Nanos;

/// When a move is a fall, when a fall is a crash, and how long a return may take (model book 2.4).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrashConfig {
    /// Time in which the fall is looked for.
    pub window: Nanos,
    /// Least fall from the highest price of the window, as a fraction.
    pub fall_min: f64,
    /// Least fall in standard deviations of a window's move.
    pub fall_deviations: f64,
    /// Depth near the mid against what is usual: at or below it the book has emptied.
    pub depth_ratio: f64,
    /// Spread against its median: at or above it the book has emptied, too.
    pub spread_ratio: f64,
    /// Part of the fall that has to be taken back.
    pub return_share: f64,
    /// Time for that.
    pub return_time: Nanos,
}

impl Default for CrashConfig {
    fn default() -> Self {
        let minute = 60_000_000_000;
        Self {
            window: 5 * minute,
            fall_min: 0.03,
            fall_deviations: 6.0,
            depth_ratio: 0.2,
            spread_ratio: 5.0,
            return_share: 0.5,
            return_time: 30 * minute,
        }
    }
}

/// What is seen of a market at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrashInput {
    /// When.
    pub time: Nanos,
    /// Price.
    pub price: f64,
    /// Standard deviation of a move over the window, as a fraction.
    pub deviation: f64,
    /// Depth near the mid over its usual size; none where it is not known.
    pub depth_ratio: Option<f64>,
    /// Spread over its median; none where it is not known.
    pub spread_ratio: Option<f64>,
}

/// Where a market is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashState {
    /// Nothing out of the ordinary.
    Normal,
    /// It has fallen far enough; the book holds, or is not known.
    Drop,
    /// It has fallen, and the book has emptied.
    Collapse,
}

/// What became of a fall, or that it is one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CrashEvent {
    /// It has fallen so far, as a fraction, at so many basis points a second.
    Dropped {
        /// Fraction.
        fall: f64,
        /// Basis points a second.
        velocity: f64,
    },
    /// The book has emptied in it.
    Collapsed,
    /// Enough of it was taken back in time.
    Recovered,
    /// It was not.
    Persisted,
}

kimera_protocol::coded_state! { CrashState: "state of a fall" [Normal, Drop, Collapse]; }

/// Prices that may be the highest of the window, at most; where there are more, the one before the last goes.
const HIGHS_MAX: usize = 1_024;

/// Falls of one market; rises are falls of its mirror image ([`Crash::rising`]).
#[derive(Clone, Debug)]
pub struct Crash {
    config: CrashConfig,
    /// 1 for falls, −1 for rises.
    sign: f64,
    state: CrashState,
    /// Candidates for the highest price of the window: later ones lower.
    highs: VecDeque<(Nanos, f64)>,
    last: Option<Nanos>,
    /// The fall under way: from where, lowest since, when it was noticed.
    from: f64,
    low: f64,
    noticed: Nanos,
}

kimera_protocol::state!(Crash { state, highs, last, from, low, noticed } fixed { config, sign });

impl Crash {
    /// For falls.
    #[must_use]
    pub fn falling(config: CrashConfig) -> Self {
        Self {
            config,
            sign: 1.0,
            state: CrashState::Normal,
            highs: VecDeque::with_capacity(HIGHS_MAX),
            last: None,
            from: 0.0,
            low: 0.0,
            noticed: 0,
        }
    }

    /// For rises.
    #[must_use]
    pub fn rising(config: CrashConfig) -> Self {
        Self { sign: -1.0, ..Self::falling(config) }
    }

    /// Where the market is.
    #[must_use]
    pub fn state(&self) -> CrashState {
        self.state
    }

    /// What is seen now; a clock that goes back begins anew, and a price that is none is left out.
    pub fn add(&mut self, input: &CrashInput) -> Option<CrashEvent> {
        if !(input.price.is_finite() && input.price > 0.0) {
            return None;
        }
        if self.last.is_some_and(|last| input.time < last) {
            self.forget();
        }
        self.last = Some(input.time);
        // Falls of the logarithm's mirror image are rises.
        let price = if self.sign > 0.0 { input.price } else { 1.0 / input.price };
        match self.state {
            CrashState::Normal => self.watch(input, price),
            CrashState::Drop | CrashState::Collapse => self.follow(input, price),
        }
    }

    /// Nothing of what was seen counts any more.
    pub fn forget(&mut self) {
        self.state = CrashState::Normal;
        self.highs.clear();
        self.last = None;
    }

    fn watch(&mut self, input: &CrashInput, price: f64) -> Option<CrashEvent> {
        let old = input.time.saturating_sub(self.config.window);
        while self.highs.front().is_some_and(|(time, _)| *time < old) {
            self.highs.pop_front();
        }
        while self.highs.back().is_some_and(|(_, high)| *high <= price) {
            self.highs.pop_back();
        }
        if self.highs.len() == HIGHS_MAX {
            self.highs.pop_back();
        }
        self.highs.push_back((input.time, price));
        let (since, high) = *self.highs.front()?;
        let fall = 1.0 - price / high;
        let deviation = if input.deviation.is_finite() { input.deviation.max(0.0) } else { 0.0 };
        if fall < self.config.fall_min.max(self.config.fall_deviations * deviation) {
            return None;
        }
        (self.from, self.low, self.noticed) = (high, price, input.time);
        self.state = CrashState::Drop;
        let seconds = (input.time.saturating_sub(since) as f64 / 1e9).max(1e-9);
        Some(CrashEvent::Dropped { fall, velocity: 1e4 * fall / seconds })
    }

    fn follow(&mut self, input: &CrashInput, price: f64) -> Option<CrashEvent> {
        self.low = self.low.min(price);
        let returned = price - self.low >= self.config.return_share * (self.from - self.low);
        if returned {
            self.begin_anew(input.time, price);
            return Some(CrashEvent::Recovered);
        }
        if input.time.saturating_sub(self.noticed) > self.config.return_time {
            self.begin_anew(input.time, price);
            return Some(CrashEvent::Persisted);
        }
        let emptied = input.depth_ratio.is_some_and(|ratio| ratio <= self.config.depth_ratio)
            || input.spread_ratio.is_some_and(|ratio| ratio >= self.config.spread_ratio);
        if self.state == CrashState::Drop && emptied {
            self.state = CrashState::Collapse;
            return Some(CrashEvent::Collapsed);
        }
        None
    }

    fn begin_anew(&mut self, time: Nanos, price: f64) {
        self.state = CrashState::Normal;
        self.highs.clear();
        self.highs.push_back((time, price));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    /// Prices at seconds, with the book's depth.
    fn tape(crash: &mut Crash, points: &[(i64, f64, f64)]) -> Vec<CrashEvent> {
        let input = |&(second, price, depth): &(i64, f64, f64)| CrashInput {
            time: second * SECOND,
            price,
            deviation: 0.002,
            depth_ratio: Some(depth),
            spread_ratio: None,
        };
        points.iter().filter_map(|point| crash.add(&input(point))).collect()
    }

    fn falling() -> Crash {
        Crash::falling(CrashConfig::default())
    }

    #[test]
    fn published_values() {
        let events = tape(&mut falling(), &[(0, 100.0, 1.0), (60, 98.0, 1.0), (120, 95.0, 1.0)]);
        let [CrashEvent::Dropped { fall, velocity }] = events[..] else { panic!("{events:?}") };
        assert!((fall - 0.05).abs() < 1e-12 && (velocity / 4.166_67 - 1.0).abs() < 1e-5, "{velocity}");
    }

    #[test]
    fn every_end_there_is() {
        let drop = [(0, 100.0, 1.0), (120, 95.0, 1.0)];
        let ends = |rest: &[(i64, f64, f64)]| tape(&mut falling(), &[&drop[..], rest].concat())[1..].to_vec();
        use CrashEvent::{Collapsed, Persisted, Recovered};
        assert_eq!(ends(&[(200, 97.6, 1.0)]), [Recovered], "the book held");
        assert_eq!(ends(&[(130, 90.0, 0.1), (400, 95.1, 0.5)]), [Collapsed, Recovered]);
        assert_eq!(ends(&[(130, 90.0, 0.1), (1_900, 91.0, 1.0), (1_921, 92.0, 1.0)]), [Collapsed, Persisted]);
        assert_eq!(ends(&[(1_921, 94.0, 1.0)]), [Persisted]);
        assert_eq!(ends(&[(130, 94.0, 0.21), (140, 94.5, 1.0)]), [], "still under way");
    }

    #[test]
    fn a_slow_fall_is_none_and_a_rise_is_the_mirror_s() {
        let slow: Vec<_> =
            (0..=240).map(|minute| (minute * 60, 100.0 - 5.0 * minute as f64 / 240.0, 0.1)).collect();
        assert!(tape(&mut falling(), &slow).is_empty(), "five per cent in four hours");
        let wild =
            CrashInput { time: 0, price: 100.0, deviation: 0.02, depth_ratio: None, spread_ratio: None };
        let mut crash = falling();
        crash.add(&wild);
        assert_eq!(
            crash.add(&CrashInput { time: SECOND, price: 95.0, ..wild }),
            None,
            "less than six deviations"
        );
        let mut rising = Crash::rising(CrashConfig::default());
        let events = tape(&mut rising, &[(0, 100.0, 1.0), (120, 106.0, 0.1), (130, 106.0, 0.1)]);
        assert!(matches!(events[..], [CrashEvent::Dropped { .. }, CrashEvent::Collapsed]), "{events:?}");
        assert!(tape(&mut falling(), &[(0, 100.0, 1.0), (120, 106.0, 0.1)]).is_empty());
        let mut back = falling();
        assert!(
            tape(&mut back, &[(100, 100.0, 1.0), (50, 90.0, 1.0), (51, f64::NAN, 1.0)]).is_empty(),
            "the clock went back"
        );
    }
}
