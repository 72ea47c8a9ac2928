//! A tape from a seed: two markets of one asset, in the venue's wire format. Prices jump, sweeps reach far into the book,
//! bursts come together: what makes a maker's life hard, for simulated firms. No statistics are claimed.

use std::collections::BTreeMap;
use std::fmt::Write;

use tungstenite::Utf8Bytes;

use crate::book::text;
use crate::tape::{Frame, Recording, RecordingProfile, RulesProfile, Tape, TradingProfile};

/// Market time at which a synthetic tape begins.
const START: i64 = 1_723_161_600_000_000_000;
/// Levels a side.
const LEVELS: i64 = 12;
/// Units of a price step of the derivative: 0.10.
const TICK: i64 = 10_000_000;

/// Source of chance: words of a seed's sequence.
pub type Chance<'a> = &'a mut dyn FnMut() -> u64;

struct Side {
    /// Price in ticks to size in lots.
    levels: BTreeMap<i64, i64>,
}

/// One market while it is written.
struct Maker {
    recording: Recording,
    spot: bool,
    sides: [Side; 2],
    /// Best bid in ticks of 0.10.
    best: i64,
    update: u64,
    last_update: u64,
    trade: u64,
    changed: [BTreeMap<i64, i64>; 2],
    snapshot_at: u32,
    depths: u32,
}

fn below(chance: Chance<'_>, n: u64) -> u64 {
    ((u128::from(chance()) * u128::from(n)) >> 64) as u64
}

impl Maker {
    fn new(spot: bool, best: i64, balance: &str, chance: Chance<'_>) -> Self {
        let profile = RecordingProfile {
            market: if spot { "spot" } else { "usdm" }.into(),
            symbol: "BTCUSDT".into(),
            file: String::new(),
            sha256: String::new(),
            price_decimals: if spot { 8 } else { 2 },
            size_decimals: if spot { 8 } else { 3 },
            rules: RulesProfile {
                tick: if spot { "0.01" } else { "0.10" }.into(),
                lot: if spot { "0.00001" } else { "0.001" }.into(),
                min_notional: if spot { "5" } else { "100" }.into(),
            },
            trading: (!spot).then(|| TradingProfile { balance: balance.into() }),
        };
        let depth = if spot { "btcusdt@depth@100ms" } else { "btcusdt@depth@0ms" };
        let streams = [depth, "btcusdt@bookTicker", "btcusdt@trade"].map(str::to_owned).to_vec();
        let mut maker = Self {
            recording: Recording { profile, streams, frames: Vec::new() },
            spot,
            sides: [Side { levels: BTreeMap::new() }, Side { levels: BTreeMap::new() }],
            best,
            update: 1_000,
            last_update: 1_000,
            trade: 1,
            changed: [BTreeMap::new(), BTreeMap::new()],
            snapshot_at: 2,
            depths: 0,
        };
        maker.fill_up(chance);
        maker
    }

    /// Every level within reach of the best has a size; those beyond go.
    fn fill_up(&mut self, chance: Chance<'_>) {
        let ranges = [(self.best - LEVELS, self.best), (self.best + 1, self.best + 1 + LEVELS)];
        for (side, (low, high)) in ranges.into_iter().enumerate() {
            let gone: Vec<i64> =
                self.sides[side].levels.keys().copied().filter(|p| !(low..=high).contains(p)).collect();
            for price in gone {
                self.set(side, price, 0);
            }
            for price in low..=high {
                if !self.sides[side].levels.contains_key(&price) {
                    self.set(side, price, 1 + below(chance, 400) as i64);
                }
            }
        }
    }

    fn set(&mut self, side: usize, price: i64, size: i64) {
        if size == 0 {
            self.sides[side].levels.remove(&price);
        } else {
            self.sides[side].levels.insert(price, size);
        }
        self.changed[side].insert(price, size);
    }

    fn price(&self, ticks: i64) -> String {
        text(ticks * TICK, self.recording.profile.price_decimals)
    }

    /// Lots of 0.001.
    fn size(&self, lots: i64) -> String {
        text(lots * 100_000, self.recording.profile.size_decimals)
    }

    fn push(&mut self, time: i64, stream: usize, event: String) {
        let name = &self.recording.streams[stream];
        let text = Utf8Bytes::from(format!("{{\"stream\":\"{name}\",\"data\":{event}}}"));
        self.recording.frames.push(Frame { time, text, stream: Some(stream), event: event.into() });
    }

    fn levels(&self, levels: &BTreeMap<i64, i64>) -> String {
        let mut out = String::from("[");
        for (i, (price, size)) in levels.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let _ = write!(out, "{comma}[\"{}\",\"{}\"]", self.price(*price), self.size(*size));
        }
        out.push(']');
        out
    }

    fn depth(&mut self, time: i64) {
        let (ms, first) = (time / 1_000_000, self.update + 1);
        self.update += 1 + self.changed.iter().map(BTreeMap::len).sum::<usize>() as u64;
        let changed = std::mem::take(&mut self.changed);
        let (bids, asks) = (self.levels(&changed[0]), self.levels(&changed[1]));
        let event = if self.spot {
            format!(
                "{{\"e\":\"depthUpdate\",\"E\":{ms},\"s\":\"BTCUSDT\",\"U\":{first},\"u\":{},\"b\":{bids},\"a\":{asks}}}",
                self.update
            )
        } else {
            format!(
                "{{\"e\":\"depthUpdate\",\"E\":{ms},\"T\":{ms},\"s\":\"BTCUSDT\",\"U\":{first},\"u\":{},\"pu\":{},\"b\":{bids},\"a\":{asks}}}",
                self.update, self.last_update
            )
        };
        self.last_update = self.update;
        self.push(time, 0, event);
        self.depths += 1;
        if self.depths == self.snapshot_at {
            let reversed: Vec<(i64, i64)> =
                self.sides[0].levels.iter().rev().map(|(p, s)| (*p, *s)).collect();
            let bids: Vec<String> = reversed
                .iter()
                .map(|(p, s)| format!("[\"{}\",\"{}\"]", self.price(*p), self.size(*s)))
                .collect();
            let extra = if self.spot { String::new() } else { format!("\"E\":{ms},\"T\":{ms},") };
            let body = format!(
                "{{\"lastUpdateId\":{},{extra}\"bids\":[{}],\"asks\":{}}}",
                self.update,
                bids.join(","),
                self.levels(&self.sides[1].levels)
            );
            let text = Utf8Bytes::from(body);
            self.recording.frames.push(Frame {
                time: time + 1,
                text: text.clone(),
                stream: None,
                event: text,
            });
        }
    }

    fn ticker(&mut self, time: i64) {
        let ms = time / 1_000_000;
        let (bid, ask) = (self.best, self.best + 1);
        let of = |side: usize, price: i64| self.sides[side].levels.get(&price).copied().unwrap_or(1);
        let (bids, asks) = (self.size(of(0, bid)), self.size(of(1, ask)));
        let (bid, ask) = (self.price(bid), self.price(ask));
        self.update += 1;
        let u = self.update;
        let event = if self.spot {
            format!(
                "{{\"u\":{u},\"s\":\"BTCUSDT\",\"b\":\"{bid}\",\"B\":\"{bids}\",\"a\":\"{ask}\",\"A\":\"{asks}\"}}"
            )
        } else {
            format!(
                "{{\"e\":\"bookTicker\",\"u\":{u},\"s\":\"BTCUSDT\",\"b\":\"{bid}\",\"B\":\"{bids}\",\"a\":\"{ask}\",\"A\":\"{asks}\",\"T\":{ms},\"E\":{ms}}}"
            )
        };
        self.push(time, 1, event);
    }

    fn trade(&mut self, time: i64, price: i64, lots: i64, seller: bool) {
        let ms = time / 1_000_000;
        let (t, p, q) = (self.trade, self.price(price), self.size(lots));
        self.trade += 1;
        let event = if self.spot {
            format!(
                "{{\"e\":\"trade\",\"E\":{ms},\"s\":\"BTCUSDT\",\"t\":{t},\"p\":\"{p}\",\"q\":\"{q}\",\"T\":{ms},\"m\":{seller},\"M\":true}}"
            )
        } else {
            format!(
                "{{\"e\":\"trade\",\"E\":{ms},\"T\":{ms},\"s\":\"BTCUSDT\",\"t\":{t},\"p\":\"{p}\",\"q\":\"{q}\",\"X\":\"MARKET\",\"m\":{seller}}}"
            )
        };
        self.push(time, 2, event);
    }

    /// Trades through some levels, and the best price follows.
    fn sweep(&mut self, time: i64, chance: Chance<'_>) {
        let (seller, depth) = (below(chance, 2) == 0, [0, 0, 0, 1, 2, 5, 30][below(chance, 7) as usize]);
        for level in 0..=depth.min(LEVELS) {
            let price = if seller { self.best - level } else { self.best + 1 + level };
            self.trade(time + level, price, 1 + below(chance, 60) as i64, seller);
        }
        self.move_to(if seller { self.best - depth } else { self.best + depth }, chance);
        if depth > 0 {
            self.depth(time + depth + 1);
            self.ticker(time + depth + 2);
        }
    }

    fn move_to(&mut self, best: i64, chance: Chance<'_>) {
        self.best = best.max(1_000);
        self.fill_up(chance);
    }

    fn flicker(&mut self, chance: Chance<'_>) {
        for _ in 0..=below(chance, 4) {
            let side = below(chance, 2) as usize;
            let reach = below(chance, LEVELS as u64) as i64;
            let price = if side == 0 { self.best - reach } else { self.best + 1 + reach };
            self.set(side, price, 1 + below(chance, 400) as i64);
        }
    }
}

impl Tape {
    /// A tape of `frames` events from a source of chance; the account begins with `balance`.
    #[must_use]
    pub fn synthetic(frames: u32, balance: &str, chance: Chance<'_>) -> Self {
        let mut time = START;
        let mut spot = Maker::new(true, 600_000, balance, chance);
        let mut usdm = Maker::new(false, 599_900, balance, chance);
        for market in [&mut spot, &mut usdm] {
            market.changed = [BTreeMap::new(), BTreeMap::new()];
            for _ in 0..3 {
                market.flicker(chance);
                market.depth(time);
                time += 1_000_000;
            }
        }
        for _ in 0..frames {
            // Bursts: most events come close behind one another.
            time += 10
                + [20_000, 200_000, 5_000_000, 40_000_000][below(chance, 4) as usize]
                    * (1 + below(chance, 9) as i64);
            let market = if below(chance, 3) == 0 { &mut spot } else { &mut usdm };
            match below(chance, 10) {
                0..=3 => market.ticker(time),
                4 | 5 => {
                    market.flicker(chance);
                    market.depth(time);
                }
                6 | 7 => market.sweep(time, chance),
                8 => {
                    let step = below(chance, 7) as i64 - 3;
                    market.move_to(market.best + step, chance);
                    market.depth(time);
                    market.ticker(time + 1);
                }
                _ => {
                    let (best, seller) = (market.best, below(chance, 2) == 0);
                    let price = if seller { best } else { best + 1 };
                    market.trade(time, price, 1 + below(chance, 200) as i64, seller);
                }
            }
            // The two prices stay near one another.
            let (near, far) = (spot.best - 100, usdm.best);
            if (near - far).abs() > 200 {
                usdm.move_to(far + (near - far) / 4, chance);
                usdm.depth(time + 100);
            }
            time += 200;
        }
        let mut recordings = vec![spot.recording, usdm.recording];
        recordings.iter_mut().for_each(|r| r.frames.sort_by_key(|f| f.time));
        let end = recordings.iter().flat_map(|r| &r.frames).map(|f| f.time).max().unwrap_or(START) + 1;
        Self { name: "synthetic".into(), recordings, start: START, end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::{Delta, VenueBook};

    #[test]
    fn a_synthetic_tape_is_one_unbroken_chain_with_a_book_that_never_crosses() {
        let mut word = 7u64;
        let mut chance = || {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            word ^ (word >> 29)
        };
        let tape = Tape::synthetic(2_000, "100000", &mut chance);
        for recording in &tape.recordings {
            let (mut book, mut waiting, mut last) = (VenueBook::default(), Vec::new(), None);
            assert!(recording.frames.windows(2).all(|w| w[0].time <= w[1].time));
            for frame in &recording.frames {
                match frame.stream {
                    None => book.snapshot(frame.text.as_str(), &mut waiting),
                    Some(0) => {
                        let delta: serde_json::Value = serde_json::from_str(frame.event.as_str()).unwrap();
                        let (first, u) = (delta["U"].as_u64().unwrap(), delta["u"].as_u64().unwrap());
                        assert!(first <= u && last.is_none_or(|l| first > l));
                        last = Some(u);
                        let delta: Delta = serde_json::from_value(delta).unwrap();
                        if book.known() {
                            book.delta(&delta)
                        } else {
                            waiting.push(delta)
                        }
                        if book.known() {
                            let (Some(bid), Some(ask)) = book.best() else { panic!("a side is empty") };
                            assert!(bid < ask, "{bid} {ask}");
                        }
                    }
                    Some(_) => {}
                }
            }
            assert!(book.known() && recording.frames.len() > 500);
        }
    }
}
