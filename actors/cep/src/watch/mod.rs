//! One market under every detector that public data allows: events become seconds, seconds minutes, minutes five of them, and
//! each detector looks at the span that it is made for. An event costs a comparison and a few additions; what costs more comes
//! once a second.

mod bars;
mod falls;
mod long;
mod short;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use kimera_protocol::{Alert, Detector, Nanos, Phase, Seq, Severity};

pub use self::bars::{Bar, SECOND};
pub use self::falls::Falls;
pub use self::long::Minutes;
use self::short::Seconds;
use crate::detectors::crash::CrashConfig;
use crate::detectors::ignition::{Ignition, IgnitionConfig, IgnitionEvent, Taken};
use crate::detectors::pump::PumpConfig;

/// Alerts that wait to be said, at most; what comes then is counted.
const ALERTS_MAX: usize = 64;

/// Parameters; the defaults are the model book's, section 2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WatchConfig {
    /// Robust z beyond which a return of a second is a spike.
    pub spike_z: f64,
    /// Seconds that it is judged by.
    pub spike_window: usize,
    /// Share of false alarms among the jumps of a day's minutes.
    pub jump_level: f64,
    /// Robust z beyond which a volume of five minutes is a surge.
    pub surge_z: f64,
    /// Days of its profile, and how many it needs.
    pub surge_days: usize,
    /// Days before it is used.
    pub surge_days_min: usize,
    /// Probability below which a number of trades in a minute is a burst.
    pub burst_probability: f64,
    /// Slack of the cumulative sums of minutes' returns, in deviations.
    pub shift_slack: f64,
    /// Their limit.
    pub shift_limit: f64,
    /// Falls and rises.
    pub crash: CrashConfig,
    /// Bursts that are taken back.
    pub ignition: IgnitionConfig,
    /// Price and volume that leap together.
    pub pump: PumpConfig,
    /// Deviations beyond which a number of messages in a second is out of the ordinary.
    pub stuffing_z: f64,
    /// Sizes of trades are judged: not where a venue has few of them.
    pub washing: bool,
    /// Between two alerts of a detector that looks at one span only.
    pub quiet: Nanos,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            spike_z: 3.5,
            spike_window: 256,
            jump_level: 0.01,
            surge_z: 4.0,
            surge_days: 14,
            surge_days_min: 14,
            burst_probability: 1e-6,
            shift_slack: 0.5,
            shift_limit: 5.0,
            crash: CrashConfig::default(),
            ignition: IgnitionConfig::default(),
            pump: PumpConfig::default(),
            stuffing_z: 10.0,
            washing: false,
            quiet: 10 * SECOND,
        }
    }
}

/// Alerts that are to be said, oldest first.
pub struct Alerts {
    waiting: VecDeque<(u16, Alert)>,
    /// Instrument that findings are about now.
    about: u16,
    dropped: u64,
    quiet: Nanos,
    /// When each detector that looks at one span last said something.
    said: Box<[[Nanos; 16]]>,
}

kimera_protocol::state!(Alerts { waiting, about, dropped, said } fixed { quiet });

/// What a detector has found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finding {
    pub(crate) detector: Detector,
    pub(crate) severity: Severity,
    pub(crate) phase: Phase,
    pub(crate) score: f64,
    pub(crate) limit: f64,
}

impl Alerts {
    /// None yet, of so many instruments.
    #[must_use]
    pub fn new(quiet: Nanos, instruments: usize) -> Self {
        Self {
            waiting: VecDeque::with_capacity(ALERTS_MAX),
            about: 0,
            dropped: 0,
            quiet,
            said: vec![[Nanos::MIN; 16]; instruments.max(1)].into(),
        }
    }

    /// What is found from here on is about this instrument.
    #[inline]
    pub fn about(&mut self, instrument: u16) {
        self.about = instrument;
    }

    /// The oldest one that waits, with its instrument.
    pub fn pop(&mut self) -> Option<(u16, Alert)> {
        self.waiting.pop_front()
    }

    /// True where none waits.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Those that there was no place for.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// A finding about a span. One observation is said once in a while only.
    pub(crate) fn say(&mut self, found: Finding, span: &Bar) {
        let Some(said) = self.said.get_mut(usize::from(self.about)) else { return };
        let last = &mut said[found.detector as usize % 16];
        if found.phase == Phase::Seen {
            if *last != Nanos::MIN && span.end.saturating_sub(*last) < self.quiet {
                return;
            }
            *last = span.end;
        }
        if self.waiting.len() == ALERTS_MAX {
            self.dropped += 1;
            return;
        }
        let alert = Alert {
            detector: found.detector as u64,
            severity: found.severity as u64,
            phase: found.phase as u64,
            begin: span.begin,
            end: span.end,
            first: span.first,
            last: span.last,
            score: found.score,
            limit: found.limit,
            reserved: [0; 3],
        };
        self.waiting.push_back((self.about, alert));
    }
}

/// One market.
pub struct Watch {
    second: Bar,
    seconds: Seconds,
    minutes: Minutes,
    ignition: Ignition,
    /// Span of the burst that is followed.
    burst: Bar,
}

kimera_protocol::state!(Watch { second, seconds, minutes, ignition, burst });

impl Watch {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(config: &WatchConfig) -> Self {
        Self {
            second: Bar::default(),
            seconds: Seconds::new(config),
            minutes: Minutes::new(config),
            ignition: Ignition::new(config.ignition),
            burst: Bar::default(),
        }
    }

    /// A message about the market, whatever it says; the second before it may have ended.
    #[inline]
    pub fn heard(&mut self, seq: Seq, time: Nanos, alerts: &mut Alerts) {
        let index = time.div_euclid(SECOND);
        if index != self.second.index {
            self.turn(index, seq, time, alerts);
        }
        self.second.heard(seq, time);
    }

    /// Best prices, ticks; behind [`Watch::heard`]. Those of a book that is crossed or one-sided are left out.
    #[inline]
    pub fn quoted(&mut self, bid: f64, ask: f64) {
        if bid > 0.0 && bid < ask {
            self.second.quoted(0.5 * (bid + ask), ask - bid);
        }
    }

    /// A trade; behind [`Watch::heard`].
    #[inline]
    pub fn traded(&mut self, price: f64, size: f64, is_buy: bool, alerts: &mut Alerts) {
        self.second.traded(size);
        self.minutes.sizes.traded(size);
        let taken = Taken {
            time: self.second.end,
            price,
            is_buy,
            deviation: self.seconds.deviation(self.ignition.window()),
            has_news: false,
        };
        if let Some(event) = self.ignition.add(&taken) {
            self.ignited(event, price, alerts);
        }
    }

    #[cold]
    fn ignited(&mut self, event: IgnitionEvent, price: f64, alerts: &mut Alerts) {
        let (severity, phase) = match event {
            IgnitionEvent::Ignited => (Severity::Notice, Phase::Begun),
            IgnitionEvent::Suspected => (Severity::Warning, Phase::Confirmed),
            IgnitionEvent::Explained | IgnitionEvent::Held => (Severity::Notice, Phase::Dismissed),
        };
        // The move of the burst; of its end, the move since.
        let (score, limit) = match self.ignition.burst() {
            Some((moved, limit)) => {
                self.burst = Bar { close: price, ..self.second };
                (moved, limit)
            }
            None => (if self.burst.close > 0.0 { price / self.burst.close - 1.0 } else { 0.0 }, 0.0),
        };
        let span = Bar { last: self.second.last, end: self.second.end, ..self.burst };
        alerts.say(Finding { detector: Detector::MomentumIgnition, severity, phase, score, limit }, &span);
    }

    /// A second has ended, and maybe a minute with it.
    #[cold]
    #[inline(never)]
    fn turn(&mut self, index: i64, seq: Seq, time: Nanos, alerts: &mut Alerts) {
        let ended = self.second;
        self.second = Bar::begun(index, seq, time);
        if ended.messages > 0 {
            self.seconds.ended(&ended, alerts);
            self.minutes.second_ended(&ended, alerts);
        }
    }

    /// The stream has a hole: what follows is not compared with what was before.
    pub fn forget(&mut self) {
        self.second = Bar::default();
        self.seconds.forget();
        self.minutes.forget();
        self.ignition.forget();
    }

    /// A word that tells two states apart that differ.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.second.volume.to_bits().rotate_left(7)
            ^ self.second.messages
            ^ self.seconds.digest().rotate_left(19)
    }
}
