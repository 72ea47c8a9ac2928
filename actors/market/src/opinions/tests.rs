use super::*;
use kimera_numerics::vpin::Vpin;
use kimera_protocol::{Body, Flags, Header, Level, Price, Quantity, Seq, Status};

const ID: InstrumentId = InstrumentId(0);

fn message<B: Body>(seq: Seq, time: Nanos, body: B) -> Message {
    let mut header = Header::unsequenced(B::KIND, ID);
    (header.seq, header.time, header.flags) = (seq, time, Flags::FRAME_END);
    Message::new(header, body)
}

fn config() -> AnalystConfig {
    AnalystConfig {
        ticks: Box::new([1_000_000]),
        volume_span: 60 * SECOND,
        buckets: (1_440, 5),
        refit: 600 * SECOND,
        ..AnalystConfig::default()
    }
}

/// A market in which takers come in runs, and the price goes on their way: who makes for them loses.
struct Tape {
    word: u64,
    seq: Seq,
    time: Nanos,
    mid: i64,
    side: i64,
}

impl Tape {
    fn new() -> Self {
        Self { word: 0x9E37_79B9_7F4A_7C15, seq: 0, time: 1_700_000_000 * SECOND, mid: 10_000, side: 1 }
    }

    fn unit(&mut self) -> f64 {
        self.word ^= self.word << 13;
        self.word ^= self.word >> 7;
        self.word ^= self.word << 17;
        (self.word >> 11) as f64 / (1u64 << 53) as f64
    }

    fn ticker(&mut self, is_crossed: bool) -> Message {
        self.seq += 1;
        self.time += 1_000;
        // More stands on the side that the price goes away from.
        let (bids, asks) = if self.side > 0 { (9i64, 3i64) } else { (3, 9) };
        let level = |price, size: i64| Level { price: Price(price), size: Quantity(size * 100_000_000) };
        let (bid, ask) = (self.mid - 1, if is_crossed { self.mid - 1 } else { self.mid + 1 });
        let ticker = Ticker { bid: level(bid, bids), ask: level(ask, asks), ..Ticker::default() };
        message(self.seq, self.time, ticker)
    }

    fn trade(&mut self) -> Message {
        self.seq += 1;
        self.time += (self.unit() * 0.8e9) as i64 + 1;
        if self.unit() < 0.05 {
            self.side = -self.side;
        }
        let aggressor = if self.unit() < 0.85 { self.side } else { -self.side };
        let price = Price(self.mid + aggressor);
        if self.unit() < 0.3 {
            self.mid += self.side;
        }
        let size = Quantity(1_000_000 * (1 + (self.unit() * 9.0) as i64));
        message(self.seq, self.time, Trade { price, size, aggressor, ..Trade::default() })
    }

    fn play(&mut self, trades: usize) -> Vec<Message> {
        (0..trades).flat_map(|_| [self.ticker(false), self.trade()]).collect()
    }
}

fn opinions(analyst: &mut Analyst, messages: &[Message]) -> Vec<(InstrumentId, Opinion)> {
    let mut said = Vec::new();
    messages.iter().for_each(|message| analyst.hear(message, |about, opinion| said.push((about, opinion))));
    said
}

fn last(said: &[(InstrumentId, Opinion)], topic: Topic) -> Opinion {
    said.iter().rev().find(|(_, o)| o.topic == topic as u64).map(|(_, o)| *o).unwrap()
}

#[test]
fn each_topic_is_said_from_what_was_heard_before() {
    let tape = Tape::new().play(12_000);
    let said = opinions(&mut Analyst::new(config()), &tape);
    // Those of members' slow parts are said elsewhere.
    for topic in Topic::ALL.into_iter().filter(|topic| (*topic as u8) < Topic::ChangePoint as u8) {
        let o = last(&said, topic);
        let is_daily = matches!(topic, Topic::Illiquidity | Topic::InformedTrading);
        let status = Status::from_code(o.status as u8).unwrap();
        assert_eq!(status.is_usable(), !is_daily, "{topic:?} {o:?}");
        assert!(o.value.is_finite() && o.basis > 0 && o.valid_until > 0);
    }
    // Takers' runs: what was just bought is bought again, and trades bring trades of their side.
    let of = |topic| last(&said, topic).value;
    assert!((0.0..=1.0).contains(&of(Topic::Vpin)) && of(Topic::Vpin) > 0.05, "{}", of(Topic::Vpin));
    assert!(of(Topic::Branching) > 0.3 && of(Topic::TradeRate) > 0.5, "{}", of(Topic::Branching));
    let parts = of(Topic::RealisedSpread) + of(Topic::PriceImpact);
    assert!((of(Topic::EffectiveSpread) - parts).abs() < 1e-9 && of(Topic::PriceImpact) > 0.0);
    let roll = of(Topic::RollSpread);
    assert!((0.5..3.0).contains(&roll), "some take the other side: {roll}");
    // Each rests on what was heard before it, and no later input.
    let bases: Vec<_> = said.iter().map(|(_, o)| o.basis).collect();
    assert!(bases.is_sorted() && *bases.last().unwrap() < tape.last().unwrap().header.seq);
}

/// The maker against whom the market runs is in more danger than the other one, and both probabilities are those of what happened.
#[test]
fn makers_in_the_way_are_told_so() {
    let mut tape = Tape::new();
    let mut analyst = Analyst::new(config());
    opinions(&mut analyst, &tape.play(10_000));
    let (mut with, mut against) = (Vec::new(), Vec::new());
    for _ in 0..2_000 {
        let side = tape.side;
        let messages = tape.play(1);
        for (_, o) in opinions(&mut analyst, &messages) {
            let is_bid = o.topic == Topic::ToxicBid as u64;
            if is_bid || o.topic == Topic::ToxicAsk as u64 {
                // Buyers come: who sells to them is in the way.
                if (side > 0) == is_bid { with.push(o.value) } else { against.push(o.value) }
            }
        }
    }
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    let (with, against) = (mean(&with), mean(&against));
    assert!(against > with + 0.2, "{against} against {with}");
}

#[test]
fn buckets_are_those_of_the_tape() {
    let tape = Tape::new().play(6_000);
    let said = opinions(&mut Analyst::new(config()), &tape);
    // By hand: volume until the span is over, buckets of a minute's share behind it.
    let trades: Vec<_> =
        tape.iter().filter_map(|m| Some((m.header.time, *m.body::<Trade>()?, m.header.seq))).collect();
    let first = trades[0].0;
    let end = trades.iter().position(|t| t.0 - first >= 60 * SECOND).unwrap();
    let volume: i64 = trades[..=end].iter().map(|t| t.1.size.0).sum();
    let a_day = i128::from(volume) * 86_400_000_000_000 / i128::from(trades[end].0 - first);
    let mut vpin = Vpin::new((a_day / 1_440) as i64, 5);
    let basis = last(&said, Topic::Vpin).basis;
    let counted = trades[end + 1..].iter().filter(|t| t.2 <= basis);
    counted.for_each(|t| vpin.add(t.1.size.0, t.1.aggressor > 0));
    assert_eq!(last(&said, Topic::Vpin).value.to_bits(), vpin.get().value.to_bits());
}

#[test]
fn the_same_messages_give_the_same_opinions_and_statuses_are_said_once() {
    let tape = Tape::new().play(3_000);
    let [a, b] = [(); 2].map(|()| opinions(&mut Analyst::new(config()), &tape));
    assert_eq!(a, b);
    let unusable = |topic: Topic| {
        a.iter().filter(|(_, o)| o.topic == topic as u64 && o.status == Status::Warmup as u64).count()
    };
    assert_eq!((unusable(Topic::InformedTrading), unusable(Topic::Vpin)), (1, 1));
    let every = a.iter().filter(|(_, o)| o.topic == Topic::ToxicAsk as u64 && o.status == Status::Ok as u64);
    let bases: Vec<_> = every.map(|(_, o)| o.valid_until).collect();
    assert!(bases.windows(2).all(|w| w[1] > w[0]), "one a second");
}

#[test]
fn a_hole_in_the_stream_is_not_bridged_and_nonsense_is_left_out() {
    let mut tape = Tape::new();
    let mut analyst = Analyst::new(config());
    opinions(&mut analyst, &tape.play(4_000));
    tape.seq += 1;
    let lost = FeedStatus { state: FeedState::Disconnected as u64, ..FeedStatus::default() };
    let gap = message(tape.seq, tape.time, lost);
    tape.mid += 5_000;
    let mut messages = vec![gap];
    messages.extend(tape.play(200));
    let crossed = tape.ticker(true);
    messages.push(crossed);
    let nothing = Trade { price: Price(0), size: Quantity(-1), aggressor: 1, ..Trade::default() };
    messages.push(message(tape.seq + 1, tape.time + 1, nothing));
    let mut elsewhere = message(tape.seq + 2, tape.time + 2, Trade::default());
    elsewhere.header.instrument = 99;
    messages.push(elsewhere);
    let said = opinions(&mut analyst, &messages);
    assert!(said.iter().all(|(_, o)| o.value.is_finite()));
    let impact = said.iter().filter(|(_, o)| o.topic == Topic::PriceImpact as u64).map(|(_, o)| o.value);
    assert!(impact.into_iter().all(|bps| bps.abs() < 50.0), "a leap across the hole is no impact");
    assert_eq!(last(&said, Topic::VarianceRatio2).status, Status::Warmup as u64, "returns begin anew");
    let roll = last(&said, Topic::RollSpread);
    assert!(roll.value < 5.0, "a leap across the hole is no bounce: {roll:?}");
}

/// Without best prices nobody says how toxic a fill would be, and a new start has nothing to say of what was before it.
#[test]
fn without_a_book_and_behind_a_start_nothing_is_said_of_fills() {
    let mut tape = Tape::new();
    let mut analyst = Analyst::new(config());
    let said = opinions(&mut analyst, &tape.play(8_000));
    assert_eq!(last(&said, Topic::ToxicAsk).status, Status::Ok as u64);
    let crossed = tape.ticker(true);
    tape.time += 2 * SECOND;
    let later = tape.ticker(true);
    let said = opinions(&mut analyst, &[crossed, later]);
    assert_eq!(last(&said, Topic::ToxicAsk).status, Status::Stale as u64);
    let mut started = message(tape.seq + 1, tape.time + 5 * SECOND, kimera_protocol::Started::default());
    started.header.instrument = 0;
    assert!(opinions(&mut analyst, &[started]).is_empty());
}
