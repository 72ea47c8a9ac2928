//! What the venue demands of orders for the feed's instrument: asked for at the start and from time to time, told to the line where it is news.

use std::net::SocketAddr;
use std::time::Duration;

use kimera_protocol::{Definition, FrameRef};
use kimera_runtime::clock::monotonic_ns;
use kimera_runtime::net::http::Exchange;
use kimera_runtime::net::tcp::Backoff;
use kimera_runtime::{Counter, Counters};
use kimera_venues::binance::MarketDecoder;

/// Largest answer: USD-M describes every symbol it has.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Looks between two at the clock.
const LOOKS_PER_CLOCK: u32 = 1_024;
/// Where orders are rejected the venue is asked again at once, but no more often than this, ns.
const LEAST_INTERVAL: u64 = 1_000_000_000;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing to do, or the answer is on its way.
    Waits,
    /// The venue said what it had said before, or something new.
    Heard,
    /// It did not answer, or with what cannot be read.
    Failed,
}

/// Orders that a gateway has seen rejected for the venue's rules: those are others than are known.
pub struct Rejections {
    counters: Counters,
    label: String,
    counter: Counter,
    seen: u64,
}

impl Rejections {
    /// Those of a gateway, whether it counts already or not.
    #[must_use]
    pub fn of(gateway: &str, counters: &Counters) -> Self {
        let label = format!("{gateway}.off_rules");
        Self { counter: counters.counter_of(&label), counters: counters.clone(), label, seen: 0 }
    }

    /// True where there are new ones.
    fn any(&mut self) -> bool {
        if !self.counter.is_attached() {
            self.counter = self.counters.counter_of(&self.label);
        }
        let count = self.counter.get();
        count != std::mem::replace(&mut self.seen, count)
    }
}

/// The questions and the last answer.
pub struct Definitions {
    interval: u64,
    rejections: Option<Rejections>,
    asked: u64,
    /// Looks since the last one at the clock.
    looks: u32,
    not_before: u64,
    asking: Option<Exchange>,
    told: Option<Definition>,
    to_tell: Option<Definition>,
    backoff: Backoff,
}

impl Definitions {
    /// Asks at once, and then so long behind each answer, or soon behind a rejection.
    #[must_use]
    pub fn new(interval: Duration, rejections: Option<Rejections>) -> Self {
        Self {
            rejections,
            asked: 0,
            interval: u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX),
            looks: 0,
            not_before: 0,
            asking: None,
            told: None,
            to_tell: None,
            backoff: Backoff::new(Duration::from_millis(50), Duration::from_secs(60)),
        }
    }

    /// Takes an answer, or asks where it is time.
    pub fn look(&mut self, rest: SocketAddr, decoder: &MarketDecoder) -> Look {
        if let Some(exchange) = &mut self.asking {
            let answer = match exchange.poll() {
                Ok(None) => return Look::Waits,
                Ok(Some(response)) => (response.status == 200).then_some(response.body),
                Err(_) => None,
            };
            self.asking = None;
            let definition = answer.and_then(|body| decoder.decode_definition(&body).ok());
            return self.settle(definition, monotonic_ns());
        }
        self.looks = self.looks.wrapping_add(1);
        if self.looks % LOOKS_PER_CLOCK != 1 {
            return Look::Waits;
        }
        let now = monotonic_ns();
        if self.rejections.as_mut().is_some_and(Rejections::any) {
            self.not_before = self.not_before.min(self.asked.saturating_add(LEAST_INTERVAL));
        }
        if now < self.not_before {
            return Look::Waits;
        }
        self.asked = now;
        let path = decoder.market().definition_path(&decoder.instrument().symbol);
        match Exchange::start(rest, "GET", &path, &[], b"", ANSWER_BYTES_MAX, ANSWER_TIMEOUT) {
            Ok(exchange) => {
                self.asking = Some(exchange);
                Look::Waits
            }
            Err(_) => self.settle(None, now),
        }
    }

    fn settle(&mut self, definition: Option<Definition>, now: u64) -> Look {
        let Some(definition) = definition else {
            self.not_before = self.backoff.fail();
            return Look::Failed;
        };
        self.backoff.succeed();
        self.not_before = now.saturating_add(self.interval);
        self.to_tell = Some(definition).filter(|d| !self.told.is_some_and(|told| told.agrees(d)));
        Look::Heard
    }

    /// What the line has not been told, as read on this connection.
    #[must_use]
    pub fn news(&self, frame: FrameRef) -> Option<Definition> {
        self.to_tell.map(|definition| Definition { frame, ..definition })
    }

    /// The line has been told.
    pub fn told(&mut self) {
        self.told = self.to_tell.take().or(self.told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_news_are_told() {
        let mut definitions = Definitions::new(Duration::from_secs(60), None);
        let frame = FrameRef { epoch: 2, number: 7 };
        let rules = |tick_units| Definition { tick_units, lot_units: 5, ..Definition::default() };
        assert_eq!(definitions.news(frame), None);
        assert_eq!(definitions.settle(Some(rules(10)), 1_000), Look::Heard);
        assert_eq!(definitions.news(frame), Some(Definition { frame, ..rules(10) }));
        assert_eq!(definitions.not_before, 60_000_001_000);
        definitions.told();
        definitions.settle(Some(rules(10)), 2_000);
        assert_eq!(definitions.news(frame), None, "the same again");
        // There was no room to tell it before it changed back.
        definitions.settle(Some(rules(20)), 3_000);
        definitions.settle(Some(rules(10)), 4_000);
        assert_eq!(definitions.news(frame), None);
        definitions.settle(Some(rules(30)), 5_000);
        assert_eq!(definitions.settle(None, 6_000), Look::Failed);
        assert_eq!(
            definitions.news(frame),
            Some(Definition { frame, ..rules(30) }),
            "a failure takes nothing back"
        );
    }
}
