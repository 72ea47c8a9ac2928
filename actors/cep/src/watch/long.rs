//! What is looked at once a minute, or once in five: jumps, shifts, bursts of trades, surges of volume, pumps, washed sizes.

use std::collections::VecDeque;

use kimera_numerics::{RankedWindow, decay_of_half_life, ln};
use kimera_protocol::{Detector, Nanos, Phase, Severity, Status};

use super::bars::{Bar, SECOND};
use super::{Alerts, Finding, WatchConfig};
use crate::detectors::conduct::{BENFORD_LIMIT, FirstDigits, hill_index, looks_washed, round_size_z};
use crate::detectors::jumps::LeeMykland;
use crate::detectors::pump::{Pump, PumpEvent};
use crate::detectors::robust::{log_volume, poisson_tail, volume_surge};
use crate::detectors::shift::{Cusum, Shift};

/// Minutes of a day, and K = ⌈√(365 · minutes)⌉ of them for the volatility before a return.
const MINUTES: u64 = 1_440;
const JUMP_WINDOW: usize = 725;
/// Silent minutes behind which what follows is not compared with what was before.
const GAP: i64 = 5;
/// Half-life of the trades' rate and of the returns' variance, minutes.
const HALF_LIFE: f64 = 60.0;
/// Minutes before they are used.
const MINUTES_MIN: u64 = 30;
/// Spans of five minutes in a day.
const SLOTS: usize = 288;
/// Sizes the tail is judged by, and how many of them are the tail.
const SIZES: usize = 1_024;
const TAIL: usize = 102;
/// Units of a size in one of the base asset.
const UNITS: f64 = 1e8;

/// A market's minutes.
pub struct Minutes {
    minute: Bar,
    five: Bar,
    last: Bar,
    jump: LeeMykland,
    shift: Cusum,
    shift_slack: f64,
    shift_limit: f64,
    burst_probability: f64,
    /// Decayed mean square of returns; mean of trades a minute, and mean square of their distance from it.
    variance: f64,
    trades: f64,
    trades_spread: f64,
    count: u64,
    step: f64,
    surge_z: f64,
    surge_days_min: usize,
    profile: Box<[RankedWindow]>,
    pump: Pump,
    pump_span: Bar,
    pub(super) sizes: Sizes,
}

kimera_protocol::state!(Minutes {
    minute, five, last, jump, shift, variance, trades, trades_spread, count, profile, pump, pump_span, sizes
} fixed { shift_slack, shift_limit, burst_probability, step, surge_z, surge_days_min });

impl Minutes {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(config: &WatchConfig) -> Self {
        let slot = || RankedWindow::new(config.surge_days);
        Self {
            minute: Bar::default(),
            five: Bar::default(),
            last: Bar::default(),
            jump: LeeMykland::new(JUMP_WINDOW, MINUTES, config.jump_level),
            shift: Cusum::new(config.shift_slack, config.shift_limit),
            shift_slack: config.shift_slack,
            shift_limit: config.shift_limit,
            burst_probability: config.burst_probability,
            variance: 0.0,
            trades: 0.0,
            trades_spread: 0.0,
            count: 0,
            step: 1.0 - decay_of_half_life(HALF_LIFE),
            surge_z: config.surge_z,
            surge_days_min: config.surge_days_min,
            profile: (0..SLOTS).map(|_| slot()).collect(),
            pump: Pump::new(config.pump),
            pump_span: Bar::default(),
            sizes: Sizes::new(config.washing),
        }
    }

    /// Standard deviation of a move over a time, as a fraction; 0 while it is not known.
    #[must_use]
    pub fn deviation(&self, over: Nanos) -> f64 {
        let minutes = over as f64 / (60 * SECOND) as f64;
        if self.count >= MINUTES_MIN { (self.variance * minutes).sqrt() } else { 0.0 }
    }

    pub(super) fn forget(&mut self) {
        (self.minute, self.five, self.last) = (Bar::default(), Bar::default(), Bar::default());
    }

    /// A second that something happened in; the minute before it may have ended.
    pub(super) fn second_ended(&mut self, second: &Bar, alerts: &mut Alerts) {
        let index = second.index.div_euclid(60);
        if self.minute.messages > 0 && index != self.minute.index {
            let ended = self.minute;
            self.minute = Bar::default();
            self.ended(&ended, alerts);
        }
        if self.minute.messages == 0 {
            self.minute = Bar { index, ..*second };
        } else {
            self.minute.extend(second);
        }
    }

    /// A whole minute, for those who have nothing finer.
    pub fn ended(&mut self, minute: &Bar, alerts: &mut Alerts) {
        let index = minute.index.div_euclid(5);
        if self.five.messages > 0 && index != self.five.index {
            let ended = self.five;
            self.five = Bar::default();
            self.five_ended(&ended, alerts);
        }
        if self.five.messages == 0 {
            self.five = Bar { index, ..*minute };
        } else {
            self.five.extend(minute);
        }
        self.minute_ended(minute, alerts);
    }

    fn minute_ended(&mut self, minute: &Bar, alerts: &mut Alerts) {
        if minute.close <= 0.0 {
            return;
        }
        let last = std::mem::replace(&mut self.last, *minute);
        if last.close <= 0.0 || minute.index - last.index > GAP {
            return;
        }
        let log_return = ln(minute.close / last.close);
        let mut seen = |detector, severity, score, limit| {
            alerts.say(Finding { detector, severity, phase: Phase::Seen, score, limit }, minute);
        };
        if let Some((size, true)) = self.jump.add(log_return) {
            seen(Detector::PriceJump, Severity::Warning, size, self.jump.threshold());
        }
        let is_known = self.count >= MINUTES_MIN;
        if is_known && self.variance > 0.0 {
            let sums = self.shift.sums();
            let standardised = log_return / self.variance.sqrt();
            if let Some(shift) = self.shift.add(standardised) {
                let score = match shift {
                    Shift::Up => sums.0 + standardised - self.shift_slack,
                    Shift::Down => standardised + self.shift_slack - sums.1,
                };
                seen(Detector::MomentumShift, Severity::Notice, score, self.shift_limit);
            }
        }
        // The tail is not looked at where the number is nothing out of the ordinary.
        let trades = minute.trades as f64;
        if is_known && self.trades > 0.0 && trades > self.trades + 3.0 * self.trades.sqrt() {
            // Trades come in bunches: as many bunches as make their spread a Poisson law's.
            let bunch = (self.trades_spread / self.trades).max(1.0);
            let probability = poisson_tail(self.trades / bunch, (trades / bunch) as u64);
            if probability < self.burst_probability {
                seen(Detector::TradeBurst, Severity::Notice, probability, self.burst_probability);
            }
        }
        self.count += 1;
        let weight = self.step.max(1.0 / self.count as f64);
        self.variance += weight * (log_return * log_return - self.variance);
        let distance = trades - self.trades;
        self.trades += weight * distance;
        self.trades_spread += weight * (distance * distance - self.trades_spread);
    }

    fn five_ended(&mut self, five: &Bar, alerts: &mut Alerts) {
        let slot = five.index.rem_euclid(SLOTS as i64) as usize;
        let seen = |detector, score, limit| Finding {
            detector,
            severity: Severity::Notice,
            phase: Phase::Seen,
            score,
            limit,
        };
        if let Some(profile) = self.profile.get_mut(slot) {
            let surge = volume_surge(profile, five.volume);
            let is_known = profile.len() >= self.surge_days_min.max(1);
            if is_known && surge.status == Status::Ok && surge.value > self.surge_z {
                alerts.say(seen(Detector::VolumeSurge, surge.value, self.surge_z), five);
            }
            profile.push(log_volume(five.volume));
        }
        if let Some(event) = self.pump.add(five.high, five.close, five.volume) {
            let (severity, phase) = match event {
                PumpEvent::InProgress => (Severity::Warning, Phase::Begun),
                PumpEvent::Confirmed => (Severity::Warning, Phase::Confirmed),
                PumpEvent::Held => (Severity::Notice, Phase::Dismissed),
            };
            if event == PumpEvent::InProgress {
                self.pump_span = *five;
            }
            let span = Bar { last: five.last, end: five.end, ..self.pump_span };
            // How far it has risen above the mean; of its end, how far the last price lies from the first high.
            let (score, limit) =
                self.pump.rise().map_or((five.close / self.pump_span.high.max(1.0) - 1.0, 0.0), |rise| {
                    (rise, self.pump.limit())
                });
            alerts.say(Finding { detector: Detector::PumpAndDump, severity, phase, score, limit }, &span);
        }
        if five.index.rem_euclid(12) == 11
            && let Some(chi_square) = self.sizes.judge()
        {
            alerts.say(seen(Detector::WashTrading, chi_square, BENFORD_LIMIT), five);
        }
    }
}

/// Sizes of a market's trades.
pub(super) struct Sizes {
    is_on: bool,
    digits: FirstDigits,
    trades: u64,
    round: u64,
    newest: VecDeque<f64>,
    scratch: Vec<f64>,
}

kimera_protocol::state!(Sizes { digits, trades, round, newest } fixed { is_on, scratch });

impl Sizes {
    fn new(is_on: bool) -> Self {
        let room = if is_on { SIZES } else { 0 };
        Self {
            is_on,
            digits: FirstDigits::default(),
            trades: 0,
            round: 0,
            newest: VecDeque::with_capacity(room),
            scratch: Vec::with_capacity(room),
        }
    }

    #[inline]
    pub(super) fn traded(&mut self, size: f64) {
        if self.is_on {
            self.take(size);
        }
    }

    fn take(&mut self, size: f64) {
        let units = (size * UNITS).round() as u64;
        self.digits.add(units);
        self.trades += 1;
        // Two digits at most, the rest are zeros.
        let two = (0..12).fold(units, |rest, _| if rest >= 100 && rest % 10 == 0 { rest / 10 } else { rest });
        self.round += u64::from(units > 0 && two < 100);
        if self.newest.len() == SIZES {
            self.newest.pop_front();
        }
        self.newest.push_back(size);
    }

    /// χ² of the first digits, where two of three say that the sizes are washed; the counting begins anew.
    fn judge(&mut self) -> Option<f64> {
        if !self.is_on {
            return None;
        }
        let digits = self.digits.chi_square();
        if digits.status != Status::Ok {
            return None;
        }
        self.scratch.clear();
        self.scratch.extend(self.newest.iter().copied());
        // Sizes that are all alike have no tail at all.
        let hill = hill_index(&mut self.scratch, TAIL).unwrap_or(f64::INFINITY);
        // Of sizes with many digits one in a hundred has two.
        let round = round_size_z(self.trades, self.round, 0.01)?;
        (self.digits, self.trades, self.round) = (FirstDigits::default(), 0, 0);
        looks_washed(digits.value, round, hill).then_some(digits.value)
    }
}
