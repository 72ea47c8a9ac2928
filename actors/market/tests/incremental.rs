//! What is kept from event to event is, a million events later, what whoever has every event would compute.

#![allow(missing_docs, clippy::unwrap_used)]

use kimera_market::book::Book;
use kimera_market::features::{FeatureConfig, FeatureSet};
use kimera_protocol::{DepthBegin, Features, Level, Levels, Nanos, Price, Quantity, Side, Status, Trade};

const EVENTS: u64 = 1_000_000;
const SECOND: Nanos = 1_000_000_000;
/// Prices are near this many ticks, so that a tick is a return of a thousandth.
const MIDDLE: i64 = 1_000;

fn config() -> FeatureConfig {
    FeatureConfig {
        kyle_bucket: SECOND,
        kyle_half_life: 200.0,
        kyle_t_min: 0.0,
        order_flow_half_life: 300.0,
        variance_window: 600,
        variance_scale: 30,
        ..FeatureConfig::default()
    }
}

/// Best prices as they were, with the signed volume since those before.
struct Seen {
    time: Nanos,
    bid: Level,
    ask: Level,
    volume: f64,
}

struct Market {
    book: Book,
    features: FeatureSet,
    seen: Vec<Seen>,
    last: Features,
    word: u64,
}

impl Market {
    fn random(&mut self, below: u64) -> i64 {
        self.word ^= self.word << 13;
        self.word ^= self.word >> 7;
        self.word ^= self.word << 17;
        (self.word % below) as i64
    }

    fn frame(&mut self, id: u64, snapshot: bool, bids: &[Level], asks: &[Level]) {
        let begin = DepthBegin {
            last_id: id,
            previous_id: id - 1,
            snapshot: snapshot.into(),
            ..DepthBegin::default()
        };
        assert!(self.book.begin(&begin));
        for (levels, is_bid) in [(bids, true), (asks, false)] {
            for chunk in levels.chunks(6) {
                let mut body = Levels::default();
                body.levels[..chunk.len()].copy_from_slice(chunk);
                let count = if is_bid { chunk.len() } else { 0 };
                let features = &mut self.features;
                self.book.apply(&body, chunk.len(), count, |change| features.level_changed(change));
            }
        }
    }

    fn play() -> Self {
        let features = FeatureSet::new(config());
        let mut market =
            Self { book: Book::new(), features, seen: Vec::new(), last: Features::default(), word: 11 };
        let level = |price, size| Level { price: Price(price), size: Quantity(size * 10_000_000) };
        let side = |sign: i64| (1..=40).map(|i| level(MIDDLE + sign * i, 5 + i)).collect::<Vec<_>>();
        market.frame(1, true, &side(-1), &side(1));
        let (mut time, mut volume, mut middle) = (0, 0.0, MIDDLE);
        for id in 2..EVENTS + 2 {
            time += 1 + market.random(2 * 1_000_000);
            if market.random(10) == 0 {
                let (aggressor, size) = (1 - 2 * market.random(2), (1 + market.random(90)) * 1_000_000);
                let price = Price(middle + aggressor);
                let trade = Trade { price, size: Quantity(size), aggressor, ..Trade::default() };
                market.features.traded(&trade);
                volume += aggressor as f64 * size as f64 * 1e-8;
            }
            // Mostly a size, now and then the middle moves: what it passes goes, what it leaves comes.
            let step = if market.random(40) == 0 { 1 - 2 * market.random(2) } else { 0 };
            let step = if (middle + step - MIDDLE).abs() > 60 { 0 } else { step };
            middle += step;
            let size = 1 + market.random(60);
            let at = 1 + market.random(20);
            let (mut bids, mut asks) = (vec![level(middle - at, size)], vec![level(middle + at, size + 1)]);
            if step != 0 {
                bids.extend([level(middle, 0), level(middle - 1, 7)]);
                asks.extend([level(middle, 0), level(middle + 1, 7)]);
            }
            market.frame(id, false, &bids, &asks);
            market.features.book_moved(&market.book, time);
            if let (Some(bid), Some(ask)) = market.book.best() {
                assert!(bid.price < ask.price);
                market.seen.push(Seen { time, bid, ask, volume: std::mem::take(&mut volume) });
            }
        }
        market.last = market.features.evaluate(&market.book, time);
        market
    }
}

fn near(name: &str, incremental: f64, batch: f64) {
    let distance = (incremental - batch).abs() / batch.abs().max(1e-12);
    assert!(distance < 1e-9, "{name}: kept {incremental}, computed {batch}");
}

fn mid(seen: &Seen) -> f64 {
    (seen.bid.price.0 + seen.ask.price.0) as f64 / 2.0
}

fn bucket(seen: &Seen) -> i64 {
    seen.time.div_euclid(SECOND)
}

/// e of Cont, Kukanov and Stoikov, written down once more.
fn flow(before: &Seen, after: &Seen) -> f64 {
    let size = |level: Level| level.size.0 as f64 * 1e-8;
    let is = |yes: bool| f64::from(u8::from(yes));
    is(after.bid.price >= before.bid.price) * size(after.bid)
        - is(after.bid.price <= before.bid.price) * size(before.bid)
        - is(after.ask.price <= before.ask.price) * size(after.ask)
        + is(after.ask.price >= before.ask.price) * size(before.ask)
}

/// Slope through the origin; the newest weighs 1, each before it less by the half-life. Summed from the oldest, each weight by itself.
fn slope(pairs: &[(f64, f64)], half_life: f64) -> f64 {
    let n = pairs.len();
    let weight = |i: usize| 0.5f64.powf((n - 1 - i) as f64 / half_life); // the expected value of a test
    let (xy, xx) = pairs
        .iter()
        .enumerate()
        .fold((0.0, 0.0), |(xy, xx), (i, (x, y))| (xy + weight(i) * x * y, xx + weight(i) * x * x));
    xy / xx
}

#[test]
fn a_million_events_later_nothing_has_drifted() {
    let market = Market::play();
    let (seen, last) = (&market.seen, &market.last);
    assert!(seen.len() as u64 == EVENTS && bucket(seen.last().unwrap()) > 900);
    // Buckets: the flow within each, its volume, and the move from the last mid of the one before.
    let (mut flows, mut volumes) = (Vec::new(), Vec::new());
    let (mut x, mut v, mut start) = (0.0, 0.0, mid(&seen[0]));
    for (i, now) in seen.iter().enumerate() {
        // A trade between two best prices belongs to the bucket of the first of them.
        v += if i == 0 { 0.0 } else { now.volume };
        if i > 0 && bucket(now) != bucket(&seen[i - 1]) {
            let moved = mid(&seen[i - 1]) - start;
            flows.push((x, moved));
            volumes.push((v, moved));
            (x, v, start) = (0.0, 0.0, mid(&seen[i - 1]));
        }
        if i > 0 {
            x += flow(&seen[i - 1], now);
        }
    }
    near("order flow", last.order_flow, x);
    near("impact of order flow", last.order_flow_impact, slope(&flows, config().order_flow_half_life));
    let lambda = slope(&volumes, config().kyle_half_life);
    assert_eq!(last.status(5), if lambda < 0.0 { Status::Clamped } else { Status::Ok });
    near("Kyle's lambda", last.kyle_lambda, lambda.max(0.0));
    // Closing mids of the seconds.
    let closes: Vec<_> =
        seen.chunk_by(|a, b| bucket(a) == bucket(b)).map(|c| mid(c.last().unwrap())).collect();
    // Log returns are kept in units of 1e-12, as their estimator says.
    let returns: Vec<f64> = closes.windows(2).map(|c| ((c[1] / c[0]).ln() * 1e12).round() / 1e12).collect();
    let window = &returns[returns.len() - 1 - 600..returns.len() - 1]; // the last second is still open
    let (n, magnitudes) = (window.len() as f64, window.iter().map(|r| r.abs()).collect::<Vec<_>>());
    let realised: f64 = window.iter().map(|r| r * r).sum();
    let pairs: f64 = magnitudes.windows(2).map(|m| m[0] * m[1]).sum();
    let bipower = std::f64::consts::FRAC_PI_2 * n / (n - 1.0) * pairs;
    let middle = |m: &[f64]| m[0].max(m[1]).min(m[0].min(m[1]).max(m[2]));
    let medians: f64 = magnitudes.windows(3).map(|m| middle(m) * middle(m)).sum();
    let pi = std::f64::consts::PI;
    near("realised variance", last.realised_variance, realised);
    near("bipower variation", last.bipower_variation, bipower);
    near(
        "median variance",
        last.median_variance,
        pi / (6.0 - 4.0 * 3f64.sqrt() + pi) * n / (n - 2.0) * medians,
    );
    near("jump variance", last.jump_variance, (realised - bipower).max(0.0));
    let k = config().variance_scale;
    let levels: Vec<f64> = std::iter::once(0.0)
        .chain(window.iter().scan(0.0, |level, r| {
            *level += r;
            Some(*level)
        }))
        .collect();
    let slow: f64 = levels.windows(k + 1).map(|l| (l[k] - l[0]) * (l[k] - l[0])).sum::<f64>() / k as f64;
    let few = (n - k as f64 + 1.0) / k as f64;
    let two_scales = (slow - few / n * realised) / (1.0 - few / n);
    assert!(two_scales > 0.0);
    near("two-scales variance", last.two_scales_variance, two_scales);
    // What the book says by itself.
    let top = |side: Side| {
        let mut all: Vec<_> = market.book.side(side).levels().collect();
        all.sort_by_key(|l| if side == Side::Bid { -l.price.0 } else { l.price.0 });
        all.iter().take(5).map(|l| l.size.0 as f64 * 1e-8).collect::<Vec<_>>()
    };
    let (bids, asks) = (top(Side::Bid), top(Side::Ask));
    let weights = (0..5).map(|i| (-0.5 * f64::from(i)).exp());
    let (difference, sum) = weights
        .zip(bids.iter().zip(&asks))
        .fold((0.0, 0.0), |(d, s), (w, (b, a))| (d + w * (b - a), s + w * (b + a)));
    near("imbalance", last.imbalance, difference / sum);
    let now = seen.last().unwrap();
    let share = now.bid.size.0 as f64 / (now.bid.size.0 + now.ask.size.0) as f64;
    near(
        "microprice",
        last.microprice,
        share * now.ask.price.0 as f64 + (1.0 - share) * now.bid.price.0 as f64,
    );
    // Ten ticks from the mid, which is rounded away from the side.
    let sum = now.bid.price.0 + now.ask.price.0;
    for (side, from, to) in
        [(Side::Bid, sum.div_euclid(2) - 9, i64::MAX), (Side::Ask, i64::MIN, (sum + 1).div_euclid(2) + 9)]
    {
        let within = |l: &Level| (from..=to).contains(&l.price.0);
        let all: i64 = market.book.side(side).levels().filter(within).map(|l| l.size.0).sum();
        assert_eq!(market.features.depth(side), all, "depth near the mid, exactly");
    }
}
