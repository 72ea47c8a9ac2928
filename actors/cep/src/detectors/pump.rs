//! Price and volume that leap together, and a price that falls back (Kamps and Kleinberg, Crime Science 7, 2018; Xu and Livshits 2019).

use std::collections::VecDeque;

/// When an interval is out of the ordinary, and when it was a pump (model book 2.10; the thresholds are ours).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PumpConfig {
    /// Intervals of the mean, 12 hours of five minutes.
    pub intervals: usize,
    /// The high above the mean price, as a fraction.
    pub price_share: f64,
    /// The volume above the mean volume, as a fraction.
    pub volume_share: f64,
    /// Part of the rise that has to be lost.
    pub return_share: f64,
    /// Intervals for that, 6 hours.
    pub return_intervals: u32,
}

impl Default for PumpConfig {
    fn default() -> Self {
        Self { intervals: 144, price_share: 0.1, volume_share: 3.0, return_share: 0.5, return_intervals: 72 }
    }
}

/// What an interval says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PumpEvent {
    /// Price and volume have leapt.
    InProgress,
    /// The price has fallen back: it was one.
    Confirmed,
    /// It has not: a listing, news, a new owner.
    Held,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rise {
    from: f64,
    high: f64,
    intervals: u32,
}

kimera_protocol::state!(Rise { from, high, intervals });

/// One market's intervals.
#[derive(Clone, Debug)]
pub struct Pump {
    config: PumpConfig,
    window: VecDeque<(f64, f64)>,
    rise: Option<Rise>,
}

kimera_protocol::state!(Pump { window, rise } fixed { config });

impl Pump {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(config: PumpConfig) -> Self {
        Self { config, window: VecDeque::with_capacity(config.intervals.max(1)), rise: None }
    }

    /// How far the rise that is followed lies above the mean before it, as a fraction.
    #[must_use]
    pub fn rise(&self) -> Option<f64> {
        self.rise.map(|rise| rise.high / rise.from - 1.0)
    }

    /// From which fraction on it is one.
    #[must_use]
    pub fn limit(&self) -> f64 {
        self.config.price_share
    }

    /// An interval that has ended, judged by those before it: its highest and last price, and its volume.
    pub fn add(&mut self, high: f64, close: f64, volume: f64) -> Option<PumpEvent> {
        if !(high.is_finite() && close.is_finite() && volume.is_finite() && close > 0.0 && volume >= 0.0) {
            return None;
        }
        let event = match self.rise {
            Some(rise) => self.follow(rise, high, close),
            None => self.judge(high, volume),
        };
        if self.window.len() == self.config.intervals.max(1) {
            self.window.pop_front();
        }
        self.window.push_back((close, volume));
        event
    }

    fn judge(&mut self, high: f64, volume: f64) -> Option<PumpEvent> {
        if self.window.len() < self.config.intervals.max(1) {
            return None; // less history than the mean needs
        }
        let n = self.window.len() as f64;
        let (prices, volumes) = self.window.iter().fold((0.0, 0.0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        let (price, usual) = (prices / n, volumes / n);
        let volume_leaps = if usual > 0.0 {
            volume > (1.0 + self.config.volume_share) * usual
        } else {
            volume > 0.0 // a market without any trade until now
        };
        if !(high > (1.0 + self.config.price_share) * price && volume_leaps) {
            return None;
        }
        self.rise = Some(Rise { from: price, high, intervals: 0 });
        Some(PumpEvent::InProgress)
    }

    fn follow(&mut self, mut rise: Rise, high: f64, close: f64) -> Option<PumpEvent> {
        rise.high = rise.high.max(high);
        rise.intervals += 1;
        let lost = rise.high - close >= self.config.return_share * (rise.high - rise.from);
        let ended = lost || rise.intervals >= self.config.return_intervals;
        self.rise = (!ended).then_some(rise);
        ended.then_some(if lost { PumpEvent::Confirmed } else { PumpEvent::Held })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flat at 1.00 with a volume of 100, then what comes.
    fn events(behind: &[(f64, f64, f64)]) -> Vec<PumpEvent> {
        let mut pump = Pump::new(PumpConfig::default());
        let flat = vec![(1.0, 1.0, 100.0); 144];
        flat.iter().chain(behind).filter_map(|&(high, close, volume)| pump.add(high, close, volume)).collect()
    }

    #[test]
    fn published_values() {
        assert_eq!(events(&[(1.12, 1.11, 500.0)]), [PumpEvent::InProgress]);
        assert_eq!(events(&[(1.08, 1.07, 500.0)]), []);
        assert_eq!(events(&[(1.12, 1.11, 350.0)]), [], "the price alone");
        assert_eq!(
            events(&[(1.12, 1.11, 500.0), (1.1, 1.05, 200.0)]),
            [PumpEvent::InProgress, PumpEvent::Confirmed]
        );
        let listing = [vec![(1.5, 1.5, 5_000.0)], vec![(1.5, 1.5, 900.0); 100]].concat();
        assert_eq!(
            events(&listing)[..2],
            [PumpEvent::InProgress, PumpEvent::Held],
            "a level that holds is never confirmed"
        );
        assert!(!events(&listing).contains(&PumpEvent::Confirmed));
    }

    #[test]
    fn too_little_history_and_nonsense_say_nothing() {
        let mut pump = Pump::new(PumpConfig::default());
        assert_eq!(pump.add(9.0, 9.0, 9e9), None);
        assert_eq!(events(&[(f64::NAN, 1.0, 1.0), (2.0, -1.0, 900.0)]), []);
    }
}
