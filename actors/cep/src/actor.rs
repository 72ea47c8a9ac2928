//! The detectors' seat: it reads what the sequencer says, beside the market stage, and what it suspects reaches the last gate
//! before any order of the same input does.

use kimera_protocol::{Detector, FeedState, FeedStatus, Flags, Kind, Message, Ticker, Trade};
use kimera_runtime::{Actor, Counter, Counters, Input, Outbox, Port};

use crate::watch::{Alerts, Watch, WatchConfig};

/// Most outputs of one input; alerts beyond them are said with the next one.
pub const OUTPUTS_MAX: usize = 4;
/// Units of a size in one of the base asset.
const UNITS: f64 = 1e8;

/// What the seat needs to know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectorsConfig {
    /// Instruments of the run.
    pub instruments: usize,
    /// Parameters.
    pub watch: WatchConfig,
}

/// What the seat counts for those who watch.
#[derive(Clone)]
pub struct DetectorsMeters {
    alerts: Box<[Counter]>,
    dropped: Counter,
}

kimera_protocol::state!(DetectorsMeters { alerts, dropped });

impl DetectorsMeters {
    /// Counters `cep.alerts.<detector>` and `cep.alerts_dropped`.
    #[must_use]
    pub fn new(counters: &Counters) -> Self {
        let alerts = Detector::ALL.iter().map(|d| counters.counter(&format!("cep.alerts.{}", d.name())));
        Self { alerts: alerts.collect(), dropped: counters.counter("cep.alerts_dropped") }
    }

    fn attach(&mut self, counters: &Counters) {
        let before = std::mem::replace(self, Self::new(counters));
        self.alerts.iter().zip(&before.alerts).for_each(|(now, before)| now.set(before.get()));
        self.dropped.set(before.dropped.get());
    }
}

/// Every instrument under every detector.
pub struct Detectors {
    watches: Box<[Watch]>,
    alerts: Alerts,
    said: u64,
    meters: DetectorsMeters,
}

kimera_protocol::state!(Detectors { watches, alerts, said, meters });

impl Detectors {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(config: &DetectorsConfig, meters: DetectorsMeters) -> Self {
        Self {
            watches: (0..config.instruments).map(|_| Watch::new(&config.watch)).collect(),
            alerts: Alerts::new(config.watch.quiet, config.instruments),
            said: 0,
            meters,
        }
    }

    /// Takes a message about the market.
    #[inline]
    fn hear(&mut self, kind: Kind, message: &Message) {
        let header = &message.header;
        let Some(watch) = self.watches.get_mut(usize::from(header.instrument)) else { return };
        self.alerts.about(header.instrument);
        match kind {
            Kind::Ticker => {
                watch.heard(header.seq, header.time, &mut self.alerts);
                if let Some(t) = message.body::<Ticker>().filter(|t| t.bid.size.0 > 0 && t.ask.size.0 > 0) {
                    watch.quoted(t.bid.price.0 as f64, t.ask.price.0 as f64);
                }
            }
            Kind::Trade => {
                watch.heard(header.seq, header.time, &mut self.alerts);
                if let Some(t) = message.body::<Trade>() {
                    let (price, size) = (t.price.0 as f64, t.size.0 as f64 / UNITS);
                    watch.traded(price, size, t.aggressor > 0, &mut self.alerts);
                }
            }
            Kind::DepthBegin | Kind::Levels if header.flags & Flags::FRAME_END != 0 => {
                watch.heard(header.seq, header.time, &mut self.alerts);
            }
            Kind::FeedStatus
                if message.body::<FeedStatus>().is_some_and(|s| s.state != FeedState::Connected as u64) =>
            {
                watch.forget();
            }
            _ => {}
        }
    }

    #[cold]
    fn say(&mut self, out: &mut Outbox) {
        for _ in 0..OUTPUTS_MAX {
            let Some((instrument, alert)) = self.alerts.pop() else { break };
            if let Some(counter) =
                (alert.detector as usize).checked_sub(1).and_then(|i| self.meters.alerts.get(i))
            {
                counter.add(1);
            }
            self.said += 1;
            out.send_unmarked(Port::Alert, kimera_protocol::InstrumentId(instrument), alert);
        }
        self.meters.dropped.set(self.alerts.dropped());
    }
}

impl Actor for Detectors {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        let message = input.message;
        match message.kind() {
            Some(
                kind @ (Kind::Ticker | Kind::Trade | Kind::DepthBegin | Kind::Levels | Kind::FeedStatus),
            ) => self.hear(kind, message),
            // Whatever was seen was seen by connections that are gone.
            Some(Kind::Started) => self.watches.iter_mut().for_each(Watch::forget),
            _ => {}
        }
        if !self.alerts.is_empty() {
            self.say(out);
        }
    }

    fn digest(&self) -> u64 {
        self.watches.iter().fold(self.said, |digest, watch| digest.rotate_left(17) ^ watch.digest())
    }

    fn attach(&mut self, counters: &Counters) {
        self.meters.attach(counters);
    }
}
