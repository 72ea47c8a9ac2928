//! Falls of a market and its rises, as alerts.

use kimera_protocol::{Detector, Nanos, Phase, Severity};

use super::bars::Bar;
use super::{Alerts, Finding, WatchConfig};
use crate::detectors::crash::{Crash, CrashConfig, CrashEvent, CrashInput};

/// Both ways, and where what is followed began.
pub struct Falls {
    fall: Crash,
    rise: Crash,
    fall_span: Bar,
    rise_span: Bar,
    config: CrashConfig,
}

kimera_protocol::state!(Falls { fall, rise, fall_span, rise_span } fixed { config });

impl Falls {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(config: &WatchConfig) -> Self {
        Self {
            fall: Crash::falling(config.crash),
            rise: Crash::rising(config.crash),
            fall_span: Bar::default(),
            rise_span: Bar::default(),
            config: config.crash,
        }
    }

    /// Time in which a fall is looked for.
    #[must_use]
    pub fn window(&self) -> Nanos {
        self.config.window
    }

    /// Nothing of what was seen counts any more.
    pub fn forget(&mut self) {
        self.fall.forget();
        self.rise.forget();
    }

    /// A span has ended: its last price, beside the deviation of a move over the window, and its spread over what is usual. Without a
    /// spread no collapse is seen.
    pub fn ended(&mut self, span: &Bar, deviation: f64, spread_ratio: Option<f64>, alerts: &mut Alerts) {
        let input = CrashInput {
            time: span.end,
            price: span.close,
            deviation,
            depth_ratio: None, // the levels are the market stage's
            spread_ratio,
        };
        let ways = [
            (&mut self.fall, &mut self.fall_span, Detector::FlashCrash),
            (&mut self.rise, &mut self.rise_span, Detector::FlashRise),
        ];
        for (way, since, detector) in ways {
            let Some(event) = way.add(&input) else { continue };
            let (severity, phase, score, limit) = match event {
                CrashEvent::Dropped { fall, .. } => {
                    *since = *span;
                    let limit = self.config.fall_min.max(self.config.fall_deviations * deviation);
                    (Severity::Warning, Phase::Begun, fall, limit)
                }
                CrashEvent::Collapsed => {
                    (Severity::Severe, Phase::Worse, spread_ratio.unwrap_or(0.0), self.config.spread_ratio)
                }
                CrashEvent::Recovered => (Severity::Notice, Phase::Confirmed, 0.0, 0.0),
                CrashEvent::Persisted => (Severity::Notice, Phase::Dismissed, 0.0, 0.0),
            };
            let over = Bar { last: span.last, end: span.end, ..*since };
            alerts.say(Finding { detector, severity, phase, score, limit }, &over);
        }
    }
}
