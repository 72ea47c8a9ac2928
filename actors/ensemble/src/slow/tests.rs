use super::*;
use crate::slow::pattern::memory::MEMORY_MAX;
use kimera_numerics::VolatilityConfig;
use kimera_numerics::seeded::SeededNormals;
use kimera_protocol::{Header, Level, Price, Quantity, Status};
use std::collections::BTreeMap;

const SECOND: Nanos = 1_000_000_000;

fn config() -> SlowConfig {
    let volatility = VolatilityConfig { bar: SECOND, half_life_bars: 60.0, bars_min: 5 };
    let pattern = PatternConfig { memory: 2_000, horizon: 5 * SECOND, barrier_sigmas: 0.5, volatility };
    let (traded, other) = (InstrumentId(1), Some(InstrumentId(0)));
    SlowConfig { instruments: 2, traded, tick: 0.1, other, bar: SECOND, pattern }
}

struct Market {
    of: SlowMembers,
    seq: u64,
    said: Vec<(u16, Opinion)>,
}

impl Market {
    fn new(config: SlowConfig) -> Self {
        Self { of: SlowMembers::new(config), seq: 0, said: Vec::new() }
    }

    fn hear<B: kimera_protocol::Body>(&mut self, instrument: u16, time: Nanos, body: B) {
        self.seq += 1;
        let header = Header { seq: self.seq, time, instrument, ..Header::default() };
        let (of, said) = (&mut self.of, &mut self.said);
        of.hear(&Message::new(header, body), |about, opinion| said.push((about.0, opinion)));
    }

    fn quote(&mut self, instrument: u16, time: Nanos, mid: i64, imbalance: i64) {
        let level = |price, size| Level { price: Price(price), size: Quantity(size) };
        let (bid, ask) = (level(mid - 1, 100 + imbalance), level(mid + 1, 100 - imbalance));
        self.hear(instrument, time, Ticker { bid, ask, ..Ticker::default() });
    }

    fn newest(&self, topic: Topic) -> Option<Opinion> {
        self.said.iter().rev().find(|(about, o)| *about == 1 && o.topic == topic as u64).map(|(_, o)| *o)
    }

    fn usable(&self, topic: Topic) -> Vec<f64> {
        let its = self.said.iter().filter(|(about, o)| *about == 1 && o.topic == topic as u64);
        its.filter(|(_, o)| o.status == Status::Ok as u64).map(|(_, o)| o.value).collect()
    }
}

/// Minutes of seconds in which `step` says where the mid goes, with noise in everything else.
fn minutes(market: &mut Market, seconds: i64, seed: u64, mut step: impl FnMut(i64, f64) -> i64) {
    let mut normals = SeededNormals::new(seed);
    let (mut spot, mut perp) = (100_000i64, 100_000i64);
    for second in 0..seconds {
        let move_ = step(second, normals.normal());
        (spot, perp) = (spot + move_, perp + move_);
        let imbalance = (normals.normal() * 30.0).clamp(-90.0, 90.0) as i64;
        market.quote(0, second * SECOND + 100, spot, 0);
        market.quote(1, second * SECOND + 200, perp, imbalance);
        let trade = Trade {
            price: Price(perp),
            size: Quantity(10_000_000),
            aggressor: if imbalance > 0 { 1 } else { -1 },
            ..Trade::default()
        };
        market.hear(1, second * SECOND + 300, trade);
    }
}

#[test]
fn everybody_speaks_of_every_bar_when_they_can_and_says_so_before() {
    let mut market = Market::new(config());
    minutes(&mut market, 1_200, 1, |_, noise| (5.0 * noise) as i64);
    let mut first: BTreeMap<u64, u64> = BTreeMap::new();
    for (about, o) in &market.said {
        assert!(o.value.is_finite() && o.basis > 0 && o.artefact != 0, "{o:?}");
        assert!(*about == 1 || o.topic == Topic::FieldVelocity as u64);
        first.entry(o.topic).or_insert(o.status);
    }
    for topic in [Topic::ChangePoint, Topic::CalmRegime] {
        assert_eq!(first[&(topic as u64)], Status::Warmup as u64, "{}", topic.name());
        assert!(market.usable(topic).iter().all(|p| (0.0..=1.0).contains(p)));
        assert!(market.usable(topic).len() > 500);
    }
    assert!(
        market.usable(Topic::FieldVelocity).iter().all(|v| *v >= 0.0)
            && market.usable(Topic::FieldVelocity).len() > 1_000
    );
    assert!(market.usable(Topic::FieldTension).iter().all(|t| (0.0..=1.0).contains(t)));
    assert!(market.usable(Topic::PatternNovelty).iter().all(|t| (0.0..=1.0).contains(t)));
    // The same inputs, the same opinions.
    let mut again = Market::new(config());
    minutes(&mut again, 1_200, 1, |_, noise| (5.0 * noise) as i64);
    assert!(market.said == again.said);
    const { assert!(MEMORY_MAX == 65_536) }
}

/// Every 80 seconds the same shape of returns, then up: after a while it is known. With the outcomes dealt by chance it is not.
fn planted(seconds: i64, outcome: impl Fn(i64) -> i64) -> (f64, u64) {
    let mut shape = SeededNormals::new(99);
    let shape: Vec<i64> = (0..64).map(|_| (20.0 * shape.normal()) as i64).collect();
    let mut market = Market::new(config());
    let (mut right, mut asked) = (0.0, 0u64);
    let mut normals = SeededNormals::new(5);
    let mut mid = 1_000_000i64;
    for second in 0..seconds {
        let (round, place) = (second / 80, second % 80);
        let way = outcome(round);
        mid += match place {
            0..64 => shape[place as usize] + normals.normal() as i64,
            64..72 => 60 * way,
            _ => -60 * way + (5.0 * normals.normal()) as i64,
        };
        let imbalance = if place < 64 { shape[place as usize].clamp(-60, 60) } else { 0 };
        market.quote(0, second * SECOND + 100, mid, 0);
        market.quote(1, second * SECOND + 200, mid, imbalance);
        if place == 64
            && second > seconds / 2
            && let (Some(up), Some(down)) =
                (market.newest(Topic::PatternUp), market.newest(Topic::PatternDown))
            && up.status == Status::Ok as u64
        {
            asked += 1;
            right += f64::from(u8::from((up.value > down.value) == (way > 0)));
        }
    }
    (right / asked.max(1) as f64, asked)
}

#[test]
fn a_planted_pattern_is_found_and_chance_is_not() {
    let (right, asked) = planted(6_000, |_| 1);
    assert!(asked > 30 && right > 0.95, "{right} of {asked}");
    let coin = |round: i64| if (round.wrapping_mul(0x9E37_79B9) >> 7) & 1 == 0 { 1 } else { -1 };
    let (right, asked) = planted(10_000, coin);
    // Tosses within three deviations of half.
    assert!(asked > 50 && (right - 0.5).abs() < 3.0 * (0.25 / asked as f64).sqrt(), "{right} of {asked}");
}

/// The price climbs through each barrier within two seconds: what came is known then, and remembered five seconds behind the window, not before.
#[test]
fn a_label_is_remembered_only_behind_its_horizon() {
    let mut market = Market::new(config());
    let mut remembered = Vec::new();
    for second in 0..80i64 {
        market.quote(1, second * SECOND, 100_000 + 500 * second + 50 * (second % 2), (second % 5) * 10);
        remembered.push(market.of.patterns().memory().len());
    }
    // The first bar that is whole is second 1, the first whole window ends with second 65 on: its label is remembered at 70.
    let first = remembered.iter().position(|n| *n > 0).unwrap();
    assert_eq!((first, remembered[first], remembered[79]), (70, 1, 10), "{remembered:?}");
}

#[test]
fn a_market_that_turns_rough_is_noticed() {
    let mut market = Market::new(config());
    let mut seen = Vec::new();
    minutes(&mut market, 1_000, 7, |second, noise| (if second < 900 { 3.0 } else { 40.0 } * noise) as i64);
    for (about, o) in &market.said {
        if *about == 1 && o.status == Status::Ok as u64 {
            seen.push((o.topic, (o.valid_until / SECOND) - BARS_VALID, o.value));
        }
    }
    let of = |topic: Topic, from, to| {
        seen.iter()
            .filter(move |(t, at, _)| *t == topic as u64 && (from..to).contains(at))
            .map(|s| s.2)
            .collect::<Vec<f64>>()
    };
    let mean = |v: Vec<f64>| v.iter().sum::<f64>() / v.len().max(1) as f64;
    let most = |v: Vec<f64>| v.into_iter().fold(0.0, f64::max);
    assert!(mean(of(Topic::ChangePoint, 300, 900)) < 0.1);
    assert!(most(of(Topic::ChangePoint, 900, 910)) > 0.9);
    assert!(mean(of(Topic::CalmRegime, 920, 1_000)) < 0.2, "{}", mean(of(Topic::CalmRegime, 920, 1_000)));
}

#[test]
fn behind_a_hole_windows_begin_anew_and_what_was_learnt_stays() {
    let mut market = Market::new(config());
    minutes(&mut market, 400, 1, |_, noise| (5.0 * noise) as i64);
    let remembered = market.of.patterns().memory().len();
    assert!(remembered > 200);
    let lost = FeedStatus { state: FeedState::Connected as u64 + 1, ..FeedStatus::default() };
    market.hear(1, 400 * SECOND, lost);
    let said = market.said.len();
    for second in 401..430 {
        market.quote(1, second * SECOND, 100_000 + second % 3, 0);
    }
    let late = market.said[said..].iter().filter(|(_, o)| o.topic == Topic::PatternUp as u64);
    assert_eq!(late.count(), 0, "no whole window yet");
    assert_eq!(market.of.patterns().memory().len(), remembered);
    market.quote(1, 10_000 * SECOND, 100_000, 0);
    assert!(market.said.iter().all(|(_, o)| o.basis <= market.seq));
}

/// Two prices that part and come together again.
fn pair(market: &mut Market, seconds: i64) {
    let mut normals = SeededNormals::new(11);
    let (mut spot, mut apart) = (100_000.0, 0.0);
    for second in 0..seconds {
        spot += 30.0 * normals.normal();
        apart = 0.7 * apart + 5.0 * normals.normal();
        market.quote(0, second * SECOND + 100, spot as i64, 0);
        market.quote(1, second * SECOND + 200, (spot + apart) as i64, 0);
    }
}

#[test]
fn the_line_of_two_prices_is_said_of_the_traded_one() {
    let mut market = Market::new(config());
    pair(&mut market, 1_300);
    let line = market.newest(Topic::Cointegration).expect("it is thought of");
    assert_eq!(line.status, Status::Ok as u64, "{line:?}");
    assert!((line.value - 1.0).abs() < 0.1 && line.basis <= market.seq, "{line:?}");
    // ln 100,000 is the same of both where the slope is one.
    assert!((line.second - (1.0 - line.value) * kimera_numerics::ln(100_000.0)).abs() < 0.01, "{line:?}");
    assert!(line.valid_until > 1_260 * SECOND, "{line:?}");
    let mut alone = Market::new(SlowConfig { other: None, ..config() });
    pair(&mut alone, 1_300);
    assert!(alone.newest(Topic::Cointegration).is_none());
}

#[test]
fn hours_of_an_earlier_start_are_known_however_old_and_nothing_is_said_before_an_input() {
    const MINUTE: Nanos = 60 * SECOND;
    let start = Message::new(Header::default(), kimera_protocol::Started::default());
    let run = |is_far: bool, is_told: bool| {
        let mut of_minutes = SlowConfig { bar: MINUTE, ..config() };
        of_minutes.pattern.horizon = 5 * MINUTE;
        of_minutes.pattern.volatility.bar = MINUTE;
        let mut market = Market::new(of_minutes);
        let mut normals = SeededNormals::new(3);
        let hours = 200;
        for minute in 0..hours * 60 {
            market.seq += 1;
            let mid = 100_000 + (50.0 * normals.normal()) as i64;
            let level = |price| Level { price: Price(price), size: Quantity(100) };
            let ticker = Ticker { bid: level(mid - 1), ask: level(mid + 1), ..Ticker::default() };
            let header =
                Header { seq: market.seq, time: minute * MINUTE, instrument: 1, ..Header::default() };
            if is_told {
                market.of.recall(&Message::new(header, ticker), is_far);
            }
        }
        let remembered = market.of.patterns().memory().len();
        market.of.hear(&start, |_, o| panic!("{o:?}"));
        for minute in 0..55 {
            market.quote(1, (hours * 60 + minute) * MINUTE, 100_000 + minute, 0);
        }
        assert!(market.said.iter().all(|(_, o)| o.basis > 0));
        (market.newest(Topic::Temperature).map(|o| (o.status, o.observations)), remembered)
    };
    let ok = Status::Ok as u64;
    let (far, remembered) = run(true, true);
    assert!(
        far.is_some_and(|(status, n)| status == ok && n > 190) && remembered == 0,
        "{far:?} {remembered}"
    );
    let (near, remembered) = run(false, true);
    assert!(near == far && remembered > 100, "{near:?} {remembered}");
    let (none, _) = run(true, false);
    assert_eq!(none, Some((Status::Warmup as u64, 0)));
}
