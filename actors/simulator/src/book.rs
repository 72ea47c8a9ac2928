//! The venue's own book, put together from its own recording with a plain map and a general JSON parser.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::matching::{Depth, OrderSide};

/// A level as the wire has it: price text and size text.
type TextLevel = (String, String);

#[derive(Deserialize)]
struct Snapshot {
    #[serde(rename = "lastUpdateId")]
    last_id: u64,
    bids: Vec<TextLevel>,
    asks: Vec<TextLevel>,
}

/// A depth event.
#[derive(Clone, Deserialize)]
pub struct Delta {
    #[serde(rename = "u")]
    last_id: u64,
    #[serde(rename = "b")]
    bids: Vec<TextLevel>,
    #[serde(rename = "a")]
    asks: Vec<TextLevel>,
}

/// Price and size in units of 1e-8.
#[derive(Clone, Debug, Default)]
pub struct VenueBook {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
    last_id: u64,
    known: bool,
}

/// A decimal of at most eight places in units of 1e-8.
pub(crate) fn units(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let padded = format!("{fraction:0<8}");
    let (kept, rest) = padded.split_at_checked(8)?;
    if rest.bytes().any(|b| b != b'0') {
        return None;
    }
    whole.parse::<i64>().ok()?.checked_mul(100_000_000)?.checked_add(kept.parse().ok()?)
}

pub(crate) fn text(units: i64, decimals: u32) -> String {
    let full = format!("{}.{:08}", units / 100_000_000, units % 100_000_000);
    let cut = full.len() - (8 - decimals.min(8) as usize);
    full[..cut].to_owned()
}

impl VenueBook {
    /// True once the recorded snapshot has been played.
    #[must_use]
    pub fn known(&self) -> bool {
        self.known
    }

    /// Takes the recorded snapshot and the deltas that came before it and are newer.
    pub fn snapshot(&mut self, json: &str, waiting: &mut Vec<Delta>) {
        let Ok(snapshot) = serde_json::from_str::<Snapshot>(json) else { return };
        self.bids.clear();
        self.asks.clear();
        self.last_id = snapshot.last_id;
        self.known = true;
        apply(&mut self.bids, &snapshot.bids);
        apply(&mut self.asks, &snapshot.asks);
        for delta in waiting.drain(..) {
            self.delta(&delta);
        }
    }

    /// Takes a delta; one the book already holds changes nothing.
    pub fn delta(&mut self, delta: &Delta) {
        if delta.last_id > self.last_id {
            self.last_id = delta.last_id;
            apply(&mut self.bids, &delta.bids);
            apply(&mut self.asks, &delta.asks);
        }
    }

    /// Best bid and ask in units of 1e-8.
    #[must_use]
    pub fn best(&self) -> (Option<i64>, Option<i64>) {
        (self.bids.last_key_value().map(|(p, _)| *p), self.asks.first_key_value().map(|(p, _)| *p))
    }

    /// A REST answer with `limit` levels a side; `event_ms` for the markets that send a time.
    #[must_use]
    pub fn to_json(
        &self,
        limit: usize,
        price_decimals: u32,
        size_decimals: u32,
        event_ms: Option<i64>,
    ) -> String {
        let level = |(price, size): (&i64, &i64)| {
            format!("[\"{}\",\"{}\"]", text(*price, price_decimals), text(*size, size_decimals))
        };
        let bids: Vec<_> = self.bids.iter().rev().take(limit).map(level).collect();
        let asks: Vec<_> = self.asks.iter().take(limit).map(level).collect();
        let time = event_ms.map_or_else(String::new, |ms| format!("\"E\":{ms},\"T\":{ms},"));
        format!(
            "{{\"lastUpdateId\":{},{time}\"bids\":[{}],\"asks\":[{}]}}",
            self.last_id,
            bids.join(","),
            asks.join(",")
        )
    }
}

fn apply(side: &mut BTreeMap<i64, i64>, levels: &[TextLevel]) {
    for (price, size) in levels {
        match (units(price), units(size)) {
            (Some(price), Some(0)) => {
                side.remove(&price);
            }
            (Some(price), Some(size)) => {
                side.insert(price, size);
            }
            _ => {}
        }
    }
}

impl Depth for VenueBook {
    fn opposite(&self, side: OrderSide) -> Box<dyn Iterator<Item = (i64, i64)> + '_> {
        match side {
            OrderSide::Buy => Box::new(self.asks.iter().map(|(p, s)| (*p, *s))),
            OrderSide::Sell => Box::new(self.bids.iter().rev().map(|(p, s)| (*p, *s))),
        }
    }

    fn standing(&self, side: OrderSide, price: i64) -> i64 {
        if !self.known {
            return i64::MAX; // nobody knows how much: last in the queue until the book says otherwise
        }
        let levels = if side == OrderSide::Buy { &self.bids } else { &self.asks };
        levels.get(&price).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_units() {
        assert_eq!(units("61837.63000000"), Some(6_183_763_000_000));
        assert_eq!(
            (text(6_183_763_000_000, 8), text(6_183_763_000_000, 2)),
            ("61837.63000000".into(), "61837.63".into())
        );
        assert_eq!((units("0.001"), units("1.000000001"), units("x")), (Some(100_000), None, None));
    }

    #[test]
    fn waiting_deltas_bridge_the_snapshot() {
        let delta =
            |u: u64, size: &str| Delta { last_id: u, bids: vec![("10.0".into(), size.into())], asks: vec![] };
        let mut book = VenueBook::default();
        let mut waiting = vec![delta(4, "9"), delta(6, "7")];
        book.snapshot(
            r#"{"lastUpdateId":5,"bids":[["10.00","1.000"]],"asks":[["11.00","2.000"]]}"#,
            &mut waiting,
        );
        assert_eq!(
            book.to_json(5, 2, 3, None),
            r#"{"lastUpdateId":6,"bids":[["10.00","7.000"]],"asks":[["11.00","2.000"]]}"#
        );
    }
}
