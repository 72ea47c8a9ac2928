//! The patterns' seat: behind the line, so that nothing waits for it. It hears every input as the sequencer said it, and behind each
//! what the line has sent because of it.

use std::collections::VecDeque;

use kimera_protocol::pattern::PatternMatch;
use kimera_protocol::{InstrumentId, Kind, Message, Seq};
use kimera_runtime::{Actor, Counter, Counters, Input, Outbox, Port};

use crate::events::Events;
use crate::language::Program;
use crate::matcher::{Bounds, Found, Matcher};
use crate::schema::{Event, Value};

/// Most outputs of one input; matches beyond them are said with the next one.
pub const OUTPUTS_MAX: usize = 4;
/// Matches that wait to be said, at most; what comes then is counted.
const WAITING_MAX: usize = 256;

/// How much a pattern keeps on the line: less than over what is recorded, for it is part of every snapshot.
pub const BOUNDS: Bounds = Bounds { runs_per_key: 64, runs: 256, events_per_run: 64, events: 1_024 };

/// What the seat counts for those who watch.
#[derive(Clone)]
pub struct PatternsMeters {
    matches: Box<[Counter]>,
    given_up: Counter,
    dropped: Counter,
}

kimera_protocol::state!(PatternsMeters { matches, given_up, dropped });

impl PatternsMeters {
    /// Counters `patterns.matches.<name>`, `patterns.given_up` (runs and events there was no place for) and `patterns.dropped`.
    #[must_use]
    pub fn new(counters: &Counters, programs: &[Program]) -> Self {
        let matches = programs.iter().map(|p| counters.counter(&format!("patterns.matches.{}", p.name)));
        Self {
            matches: matches.collect(),
            given_up: counters.counter("patterns.given_up"),
            dropped: counters.counter("patterns.dropped"),
        }
    }
}

/// Matches that are to be said, oldest first.
struct Waiting {
    matches: VecDeque<(u16, Message)>,
    dropped: u64,
}

kimera_protocol::state!(Waiting { matches, dropped });

/// Every pattern of the configuration.
pub struct Patterns {
    events: Events,
    matchers: Box<[Matcher]>,
    /// The newest input: the line passes inputs on, and each is an event once.
    last: Seq,
    waiting: Waiting,
    said: u64,
    meters: PatternsMeters,
}

kimera_protocol::state!(Patterns { events, matchers, last, waiting, said, meters });

impl Patterns {
    /// Patterns at rest.
    #[must_use]
    pub fn new(events: Events, programs: Vec<Program>, meters: PatternsMeters) -> Self {
        Self {
            events,
            matchers: programs.into_iter().map(|program| Matcher::new(program, BOUNDS)).collect(),
            last: 0,
            waiting: Waiting { matches: VecDeque::with_capacity(WAITING_MAX), dropped: 0 },
            said: 0,
            meters,
        }
    }

    fn hear(&mut self, message: &Message) {
        let event = self.events.of(message);
        let Self { matchers, waiting, .. } = self;
        for (index, matcher) in matchers.iter_mut().enumerate() {
            let mut found = |found: &Found<'_>| waiting.take(index, found, message);
            match &event {
                Some(event) => matcher.event(event, &mut found),
                None => matcher.pass(message.header.time, &mut found),
            }
        }
    }

    #[cold]
    fn say(&mut self, out: &mut Outbox) {
        for _ in 0..OUTPUTS_MAX {
            let Some((instrument, message)) = self.waiting.matches.pop_front() else { break };
            let Some(found) = message.body::<PatternMatch>() else { continue };
            if let Some(counter) = self.meters.matches.get(usize::from(found.pattern)) {
                counter.add(1);
            }
            self.said += 1;
            out.send_unmarked(Port::Record, InstrumentId(instrument), *found);
        }
        let given_up = self.matchers.iter().map(|m| m.overflows().runs + m.overflows().events).sum();
        self.meters.given_up.set(given_up);
        self.meters.dropped.set(self.waiting.dropped);
    }
}

/// Code of a value's type, as [`PatternMatch::types`] has it.
fn code(value: Value) -> u8 {
    match value {
        Value::Int(_) => 1,
        Value::Float(_) => 2,
        Value::Bool(_) => 3,
        Value::Symbol(_) => 4,
    }
}

impl Waiting {
    fn take(&mut self, pattern: usize, found: &Found<'_>, cause: &Message) {
        if self.matches.len() == WAITING_MAX {
            self.dropped += 1;
            return;
        }
        let seq = |of: Option<&(u8, Event)>| of.map_or(0, |(_, event)| event.seq);
        let mut body = PatternMatch {
            pattern: pattern as u16,
            first: seq(found.events.first()),
            last: seq(found.events.last()),
            time: found.time,
            ..PatternMatch::named(&found.program.name)
        };
        for value in found.values {
            let (ty, word) = value.map_or((0, 0), |value| (code(value), value.to_word()));
            if !body.push(ty, word) {
                break;
            }
        }
        self.matches.push_back((cause.header.instrument, Message::new(cause.header, body)));
    }
}

impl Actor for Patterns {
    fn handle(&mut self, input: Input<'_>, out: &mut Outbox) {
        let message = input.message;
        let is_input = message.kind().is_some_and(Kind::is_input);
        // What the line passes on was heard ahead of it.
        let is_new = is_input && message.header.seq > self.last;
        if !is_input || is_new {
            self.last = self.last.max(message.header.seq);
            self.hear(message);
        }
        // Once an input: what is found behind the line's own messages is said with the next one.
        if is_new && !self.waiting.matches.is_empty() {
            self.say(out);
        }
    }

    fn digest(&self) -> u64 {
        let of = |m: &Matcher| {
            m.overflows().runs.rotate_left(7) ^ m.overflows().events ^ m.under_way().rotate_left(21)
        };
        self.matchers
            .iter()
            .fold(self.said ^ self.last.rotate_left(40), |digest, m| digest.rotate_left(17) ^ of(m))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile;
    use crate::rates::tape::{Happening, Mood, play};
    use kimera_protocol::{
        Header, Instrument, Level, Loader, Price, Quantity, Saver, Ticker, Trade, VenueId,
    };
    use proptest::prelude::*;

    const TEXT: &str = include_str!("../../../config/patterns/market.cep");

    fn seat() -> Patterns {
        let instrument =
            Instrument::new(InstrumentId(0), VenueId(0), "BTCUSDT", 10_000_000, 100_000).unwrap();
        let events = Events::new(vec![instrument], &["usdm_btcusdt".to_owned()]);
        let programs = compile(TEXT, events.schema()).unwrap();
        let meters = PatternsMeters::new(&Counters::detached(), &programs);
        Patterns::new(events, programs, meters)
    }

    fn messages(seed: u64) -> Vec<Message> {
        let (mut all, mut seq) = (Vec::new(), 0);
        let mood = |second: i64, _: &mut _| Mood {
            quotes: 20.0,
            trades: 10.0,
            spread: if second % 50 == 0 { 900.0 } else { 100.0 },
            ..Mood::quiet()
        };
        play(seed, 60, mood, |time, what| {
            seq += 1;
            let header = Header { seq, time, ..Header::default() };
            let level = |price: f64| Level { price: Price(price as i64), size: Quantity(100_000_000) };
            all.push(match what {
                Happening::Quote { bid, ask } => {
                    Message::new(header, Ticker { bid: level(bid), ask: level(ask), ..Ticker::default() })
                }
                Happening::Trade { price, size, is_buy } => {
                    let aggressor = if is_buy { 1 } else { -1 };
                    let size = Quantity((size * 1e8) as i64 + 1);
                    Message::new(
                        header,
                        Trade { price: Price(price as i64), size, aggressor, ..Trade::default() },
                    )
                }
            });
        });
        all
    }

    fn hear(seat: &mut Patterns, messages: &[Message], said: &mut Vec<PatternMatch>) {
        let mut out = Outbox::new(OUTPUTS_MAX);
        for message in messages {
            out.begin(message);
            seat.handle(Input { message, joined: &[] }, &mut out);
            said.extend(out.staged().filter_map(|(_, m)| m.body::<PatternMatch>().copied()));
        }
    }

    #[test]
    fn an_input_is_an_event_once_also_where_the_line_passes_it_on() {
        let (all, mut once, mut twice) = (messages(3), Vec::new(), Vec::new());
        hear(&mut seat(), &all, &mut once);
        let doubled: Vec<_> = all.iter().flat_map(|m| [*m, *m]).collect();
        hear(&mut seat(), &doubled, &mut twice);
        assert!(once.len() > 10, "{}", once.len());
        assert_eq!(once, twice);
        assert!(once.iter().all(|found| found.values > 0 && found.first <= found.last));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10))]

        /// Taken down in bytes anywhere and put up again, it finds the same.
        #[test]
        fn it_goes_on_from_its_state(seed in 1u64..500, cut in 0.0f64..1.0) {
            let all = messages(seed);
            let (before, behind) = all.split_at((all.len() as f64 * cut) as usize);
            let (mut whole, mut first) = (seat(), seat());
            let mut expected = Vec::new();
            hear(&mut whole, &all, &mut expected);
            let mut said = Vec::new();
            hear(&mut first, before, &mut said);
            let mut second = seat();
            Loader::new(&Saver::of(&first)).into_state(&mut second).unwrap();
            hear(&mut second, behind, &mut said);
            prop_assert_eq!(said, expected);
            prop_assert_eq!(second.digest(), whole.digest());
        }
    }
}
