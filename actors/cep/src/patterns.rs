//! The patterns' seat: behind the line, so that nothing waits for it. It hears every input as the sequencer said it, and behind each
//! what the line has sent because of it.

use std::collections::VecDeque;

use kimera_protocol::{
    ErrorKind, InstrumentId, Kind, Loader, Message, PatternMatch, PatternsLoaded, Saver, Seq, State,
    StateError,
};
use kimera_runtime::{Actor, Counter, Counters, Input, Outbox, Port, errors};

use crate::events::Events;
use crate::matcher::{Found, Matcher};
use crate::schema::{Event, Value};
use crate::sets::{PatternSet, PatternShelf};

/// Most outputs of one input; matches beyond them are said with the next one.
pub const OUTPUTS_MAX: usize = 4;
/// Matches that wait to be said, at most; what comes then is counted.
const WAITING_MAX: usize = 256;

/// What the seat counts for those who watch, beside each pattern's matches.
#[derive(Clone)]
pub struct PatternsMeters {
    given_up: Counter,
    dropped: Counter,
    loads: Counter,
}

kimera_protocol::state!(PatternsMeters { given_up, dropped, loads });

impl PatternsMeters {
    /// Counters `patterns.given_up` (runs and events there was no place for), `patterns.dropped` (matches that were found and
    /// not said) and `patterns.loads` (how often others took the place of those before).
    #[must_use]
    pub fn new(counters: &Counters) -> Self {
        let counter = |what: &str| counters.counter(&format!("patterns.{what}"));
        Self { given_up: counter("given_up"), dropped: counter("dropped"), loads: counter("loads") }
    }

    fn attach(&mut self, counters: &Counters) {
        let before = std::mem::replace(self, Self::new(counters));
        self.given_up.set(before.given_up.get());
        self.dropped.set(before.dropped.get());
        self.loads.set(before.loads.get());
    }
}

/// Matches that are to be said, oldest first.
struct Waiting {
    matches: VecDeque<(u16, Message)>,
    dropped: u64,
}

kimera_protocol::state!(Waiting { matches, dropped });

/// Every pattern at work: those of the configuration, until others are loaded.
pub struct Patterns {
    events: Events,
    set: PatternSet,
    shelf: Box<dyn PatternShelf>,
    /// The newest input: the line passes inputs on, and each is an event once.
    last: Seq,
    waiting: Waiting,
    said: u64,
    loads: u64,
    /// By sets that were there before.
    given_up: u64,
    meters: PatternsMeters,
}

/// Which patterns they are comes first: those have to be there before their state is.
impl State for Patterns {
    fn save(&self, out: &mut Saver) {
        let Self { events, set, shelf: _, last, waiting, said, loads, given_up, meters } = self;
        set.blob().save(out);
        set.save(out);
        events.save(out);
        last.save(out);
        waiting.save(out);
        said.save(out);
        loads.save(out);
        given_up.save(out);
        meters.save(out);
    }

    fn load(&mut self, from: &mut Loader<'_>) -> Result<(), StateError> {
        let mut blob = [0u8; 32];
        blob.load(from)?;
        if blob != *self.set.blob() {
            self.set = self.shelf.take(&blob).map_err(|_| StateError::Missing { blob })?;
        }
        let Self { events, set, shelf: _, last, waiting, said, loads, given_up, meters } = self;
        set.load(from)?;
        events.load(from)?;
        last.load(from)?;
        waiting.load(from)?;
        said.load(from)?;
        loads.load(from)?;
        given_up.load(from)?;
        meters.load(from)
    }
}

impl Patterns {
    /// Patterns at rest, and where others come from.
    #[must_use]
    pub fn new(
        events: Events,
        set: PatternSet,
        shelf: Box<dyn PatternShelf>,
        meters: PatternsMeters,
    ) -> Self {
        let waiting = Waiting { matches: VecDeque::with_capacity(WAITING_MAX), dropped: 0 };
        Self { events, set, shelf, last: 0, waiting, said: 0, loads: 0, given_up: 0, meters }
    }

    /// Others take the place of those that are there. Where there are none they stay: the digest tells such a line from one
    /// that has them.
    #[cold]
    fn exchange(&mut self, loaded: &PatternsLoaded) {
        match self.shelf.take(&loaded.blob) {
            Ok(set) => {
                self.given_up += given_up(&self.set);
                self.shelf.give_back(std::mem::replace(&mut self.set, set));
                self.loads += 1;
                self.meters.loads.set(self.loads);
            }
            Err(why) => errors::note(ErrorKind::Data, "patterns", &why),
        }
    }

    fn hear(&mut self, message: &Message) {
        if let Some(loaded) = message.body::<PatternsLoaded>() {
            self.exchange(loaded);
        }
        let event = self.events.of(message);
        let Self { set: PatternSet { matchers, matches, .. }, waiting, .. } = self;
        for (index, (matcher, matches)) in matchers.iter_mut().zip(matches).enumerate() {
            let mut found = |found: &Found<'_>| {
                matches.add(1);
                waiting.take(index, found, message);
            };
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
            self.said += 1;
            out.send_unmarked(Port::Record, InstrumentId(instrument), *found);
        }
        self.meters.given_up.set(self.given_up + given_up(&self.set));
        self.meters.dropped.set(self.waiting.dropped);
    }
}

/// Runs and events there was no place for.
fn given_up(set: &PatternSet) -> u64 {
    set.matchers.iter().map(|m| m.overflows().runs + m.overflows().events).sum()
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
        let blob = u64::from_le_bytes(std::array::from_fn(|i| self.set.blob()[i]));
        let begin = self.said ^ self.last.rotate_left(40) ^ blob ^ self.loads.rotate_left(52);
        self.set.matchers.iter().fold(begin, |digest, m| digest.rotate_left(17) ^ of(m))
    }

    fn attach(&mut self, counters: &Counters) {
        self.set.attach(counters);
        self.shelf.attach(counters);
        self.meters.attach(counters);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile;
    use crate::rates::tape::{Happening, Mood, play};
    use crate::sets::EmptyShelf;
    use kimera_protocol::{Header, Instrument, Level, Price, Quantity, Ticker, Trade, VenueId};
    use proptest::prelude::*;

    const TEXT: &str = include_str!("../../../config/patterns/market.cep");

    const OTHER: &str = "pattern pair on trade by side: a:Trade -> b:Trade[price > a.price] within 1s";

    fn events() -> Events {
        let instrument =
            Instrument::new(InstrumentId(0), VenueId(0), "BTCUSDT", 10_000_000, 100_000).unwrap();
        Events::new(vec![instrument], &["usdm_btcusdt".to_owned()])
    }

    fn set(blob: [u8; 32], text: &str) -> PatternSet {
        PatternSet::new(blob, compile(text, events().schema()).unwrap(), &Counters::detached())
    }

    fn seat_of(set: PatternSet, shelf: impl PatternShelf + 'static) -> Patterns {
        Patterns::new(events(), set, Box::new(shelf), PatternsMeters::new(&Counters::detached()))
    }

    fn seat() -> Patterns {
        seat_of(set([0; 32], TEXT), EmptyShelf)
    }

    /// Has [`OTHER`] under sevens.
    struct Sevens;

    impl PatternShelf for Sevens {
        fn take(&mut self, blob: &[u8; 32]) -> Result<PatternSet, String> {
            if *blob == [7; 32] { Ok(set(*blob, OTHER)) } else { Err("it has sevens only".into()) }
        }

        fn give_back(&mut self, _: PatternSet) {}

        fn attach(&mut self, _: &Counters) {}
    }

    /// The messages of a seed with a record of a load between them.
    fn loaded(seed: u64, at: usize, blob: u8) -> Vec<Message> {
        let mut all = messages(seed);
        let (seq, time) = (all[at].header.seq, all[at].header.time);
        let body = PatternsLoaded { blob: [blob; 32], patterns: 1, ..PatternsLoaded::default() };
        all.insert(at, Message::new(Header { seq, time, ..Header::default() }, body));
        all[at + 1..].iter_mut().for_each(|m| m.header.seq += 1);
        all
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

    #[test]
    fn others_take_the_place_of_those_that_are_there() {
        let all = loaded(3, 900, 7);
        let (mut changed, mut said) = (seat_of(set([0; 32], TEXT), Sevens), Vec::new());
        hear(&mut changed, &all, &mut said);
        let at = all[900].header.seq;
        let (before, behind): (Vec<PatternMatch>, Vec<PatternMatch>) =
            said.iter().partition(|found| found.last < at);
        assert!(before.len() > 5 && behind.len() > 5, "{} {}", before.len(), behind.len());
        assert!(before.iter().all(|found| found.name() != "pair"));
        // What comes behind is what a seat that has never had others finds there.
        let mut fresh = Vec::new();
        hear(&mut seat_of(set([7; 32], OTHER), EmptyShelf), &all[901..], &mut fresh);
        assert_eq!(behind, fresh);
        assert!(fresh.iter().all(|found| found.first > at), "what was under way is let go");
    }

    #[test]
    fn where_there_are_no_others_those_that_are_there_stay_and_it_shows() {
        let all = loaded(3, 900, 8);
        let (mut asked, mut never) = (seat_of(set([0; 32], TEXT), Sevens), seat());
        let (mut said, mut expected) = (Vec::new(), Vec::new());
        hear(&mut asked, &all, &mut said);
        hear(&mut never, &all[..900], &mut expected);
        hear(&mut never, &all[901..], &mut expected);
        assert_eq!(said, expected);
        let (mut has, mut lacks) = (seat_of(set([0; 32], TEXT), Sevens), seat());
        hear(&mut has, &loaded(3, 5, 7)[..6], &mut Vec::new());
        hear(&mut lacks, &loaded(3, 5, 7)[..6], &mut Vec::new());
        assert_ne!(has.digest(), lacks.digest());
        let state = Saver::of(&has);
        let error = Loader::new(&state).into_state(&mut lacks).unwrap_err().to_string();
        assert!(error.contains("missing or changed"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10))]

        /// Taken down in bytes anywhere and put up again, it finds the same.
        #[test]
        fn it_goes_on_from_its_state(seed in 1u64..500, cut in 0.0f64..1.0, at in 0.0f64..1.0) {
            let load = (messages(seed).len() as f64 * at) as usize;
            let all = loaded(seed, load, 7);
            let (before, behind) = all.split_at((all.len() as f64 * cut) as usize);
            let seat = || seat_of(set([0; 32], TEXT), Sevens);
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
