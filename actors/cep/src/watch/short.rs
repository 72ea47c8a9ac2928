//! What is looked at once a second: spikes, falls and rises, messages.

use kimera_numerics::{RankedWindow, decay_of_half_life};
use kimera_protocol::{Detector, Nanos, Phase, Severity, Status};

use super::bars::{Bar, SECOND};
use super::falls::Falls;
use super::{Alerts, Finding, WatchConfig};
use crate::detectors::conduct::message_rate_z;
use crate::detectors::robust::modified_z;

/// Silent seconds behind which what follows is not compared with what was before.
const GAP: i64 = 5;
/// Seconds behind such a gap that are not judged.
const SETTLING: u32 = 10;
/// Half-life of volatility and of the message rate, seconds.
const HALF_LIFE: f64 = 1_800.0;
/// Seconds before volatility and message rate are used.
const SECONDS_MIN: u64 = 60;

/// A market's seconds.
pub(super) struct Seconds {
    spike_z: f64,
    stuffing_z: f64,
    last: Bar,
    /// Seconds since the last gap that were not judged.
    settled: u32,
    /// Moves of the mid from second to second, ticks.
    moves: RankedWindow,
    spreads: RankedWindow,
    /// Decayed mean square of returns, and of messages a second.
    variance: f64,
    messages: f64,
    count: u64,
    falls: Falls,
    step: f64,
}

kimera_protocol::state!(Seconds {
    last, settled, moves, spreads, variance, messages, count, falls
} fixed { spike_z, stuffing_z, step });

impl Seconds {
    pub(super) fn new(config: &WatchConfig) -> Self {
        Self {
            spike_z: config.spike_z,
            stuffing_z: config.stuffing_z,
            last: Bar::default(),
            settled: 0,
            moves: RankedWindow::new(config.spike_window),
            spreads: RankedWindow::new(config.spike_window),
            variance: 0.0,
            messages: 0.0,
            count: 0,
            falls: Falls::new(config),
            step: 1.0 - decay_of_half_life(HALF_LIFE),
        }
    }

    /// Standard deviation of a move over a time, as a fraction; none while it is not known.
    #[inline]
    pub(super) fn deviation(&self, over: Nanos) -> Option<f64> {
        (self.count >= SECONDS_MIN).then(|| (self.variance * (over as f64 / SECOND as f64)).sqrt())
    }

    pub(super) fn forget(&mut self) {
        self.last = Bar::default();
        self.settled = 0;
        self.falls.forget();
    }

    pub(super) fn digest(&self) -> u64 {
        self.variance.to_bits() ^ self.count.rotate_left(32) ^ self.last.close.to_bits().rotate_left(11)
    }

    pub(super) fn ended(&mut self, second: &Bar, alerts: &mut Alerts) {
        if second.close <= 0.0 {
            return; // it had no price
        }
        if self.last.close > 0.0 && second.index - self.last.index > GAP {
            self.forget();
        }
        let last = std::mem::replace(&mut self.last, *second);
        self.settled = (self.settled + 1).min(SETTLING + 1);
        let is_judged = self.settled > SETTLING;
        self.heard(second, is_judged, alerts);
        if last.close > 0.0 {
            self.returned(last.close, second, is_judged, alerts);
        }
        if is_judged {
            self.moved(second, alerts);
        }
        self.spreads.push(second.spread);
    }

    /// Mean of a quantity that starts as an ordinary one.
    fn weight(&self) -> f64 {
        self.step.max(1.0 / self.count.max(1) as f64)
    }

    /// A spike is judged in ticks, in which moves of one size are alike to the last bit, and has to leave the usual spread.
    fn returned(&mut self, before: f64, second: &Bar, is_judged: bool, alerts: &mut Alerts) {
        let ticks = second.close - before;
        let leaves = self.spreads.median().is_some_and(|spread| ticks.abs() > spread);
        if is_judged && leaves && self.moves.is_full() {
            let z = modified_z(&self.moves, ticks);
            if z.status == Status::Ok && z.value.abs() > self.spike_z {
                let (detector, severity, phase) = (Detector::PriceSpike, Severity::Notice, Phase::Seen);
                alerts
                    .say(Finding { detector, severity, phase, score: z.value, limit: self.spike_z }, second);
            }
        }
        self.moves.push(ticks);
        self.count += 1;
        let (weight, x) = (self.weight(), ticks / before);
        self.variance += weight * (x * x - self.variance);
    }

    fn heard(&mut self, second: &Bar, is_judged: bool, alerts: &mut Alerts) {
        let messages = second.messages as f64;
        let z = message_rate_z(self.messages, second.messages).unwrap_or(0.0);
        if is_judged && self.count >= SECONDS_MIN && z > self.stuffing_z {
            let (detector, severity, phase) = (Detector::QuoteStuffing, Severity::Notice, Phase::Seen);
            alerts.say(Finding { detector, severity, phase, score: z, limit: self.stuffing_z }, second);
        }
        let weight = self.weight();
        self.messages += weight * (messages - self.messages);
    }

    fn moved(&mut self, second: &Bar, alerts: &mut Alerts) {
        let usual = self.spreads.median().filter(|usual| *usual > 0.0 && self.spreads.is_full());
        let Some(deviation) = self.deviation(self.falls.window()) else { return };
        self.falls.ended(second, deviation, usual.map(|usual| second.spread / usual), alerts);
    }
}
