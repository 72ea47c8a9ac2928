//! Fast against slow against a foreign parser, over every recorded frame and over broken ones.

use std::io::{BufRead, BufReader};

use kimera_protocol::fixed::parse_decimal;
use kimera_protocol::{InstrumentId, Level, Levels, Message, Price, Quantity, Ticker, Trade, VenueId};
use proptest::prelude::*;
use sonic_rs::{JsonContainerTrait, JsonValueTrait, Value};

use super::*;

fn decoder(market: Market) -> MarketDecoder {
    let tick = if market == Market::Spot { 1_000_000 } else { 10_000_000 };
    let instrument = Instrument::new(InstrumentId(3), VenueId(0), "BTCUSDT", tick, 1_000).unwrap();
    MarketDecoder::new(market, instrument)
}

fn recorded(market: Market) -> impl Iterator<Item = String> {
    let name = if market == Market::Spot { "spot" } else { "usdm" };
    let path =
        format!("{}/../../data/binance-20240808/{name}_btcusdt_20240808.gz", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::File::open(path).unwrap();
    let lines = BufReader::new(flate2::read::GzDecoder::new(file)).lines();
    lines.map(|line| line.unwrap().split_once(' ').unwrap().1.to_owned())
}

fn read(decoder: &MarketDecoder, frame: &[u8], fast: bool) -> (Option<Decoded>, Vec<Message>) {
    let mut out = FrameBuffer::new();
    out.begin(FrameRef { epoch: 1, number: 9 }, 77);
    let decoded = if fast {
        fast::decode(decoder.market, &decoder.instrument, &decoder.stream_prefix, frame, &mut out)
    } else {
        decoder.decode_generic(frame, &mut out).ok()
    };
    let messages = if decoded.is_some() { out.messages().to_vec() } else { Vec::new() };
    (decoded, messages)
}

fn units(value: &Value) -> i64 {
    parse_decimal(value.as_str().unwrap().as_bytes(), 8).unwrap()
}

fn level(instrument: &Instrument, price: &Value, size: &Value) -> Level {
    assert_eq!(units(price) % instrument.tick_units, 0);
    Level { price: Price(units(price) / instrument.tick_units), size: Quantity(units(size)) }
}

/// What a foreign parser makes of the frame.
fn check_against_foreign(instrument: &Instrument, frame: &str, messages: &[Message]) {
    let value: Value = sonic_rs::from_str(frame).unwrap();
    let data = &value["data"];
    let number = |key: &str| data[key].as_u64().unwrap();
    let first = messages[0];
    assert!(messages.iter().all(|m| m.header.instrument == 3 && m.header.ingress == 77));
    if let Some(t) = first.body::<Ticker>() {
        assert_eq!(t.update_id, number("u"));
        assert_eq!(t.venue_time, data["E"].as_i64().unwrap_or(0) * MILLISECOND);
        assert_eq!(t.bid, level(instrument, &data["b"], &data["B"]));
        assert_eq!(t.ask, level(instrument, &data["a"], &data["A"]));
    } else if let Some(t) = first.body::<Trade>() {
        assert_eq!((t.trade_id, t.trade_time), (number("t"), number("T") as i64 * MILLISECOND));
        assert_eq!(Level { price: t.price, size: t.size }, level(instrument, &data["p"], &data["q"]));
        assert_eq!(t.aggressor == -1, data["m"].as_bool().unwrap());
    } else {
        let begin = first.body::<DepthBegin>().unwrap();
        assert_eq!((begin.first_id, begin.last_id), (number("U"), number("u")));
        assert_eq!(begin.previous_id, data["pu"].as_u64().unwrap_or(number("U") - 1));
        assert_eq!(begin.messages as usize, messages.len());
        let mut expected = Vec::new();
        for (key, count) in [("b", begin.bid_levels), ("a", begin.ask_levels)] {
            let side = data[key].as_array().unwrap();
            assert_eq!(side.len(), count as usize);
            expected.extend(side.iter().map(|pair| (key == "b", level(instrument, &pair[0], &pair[1]))));
        }
        let mut got = Vec::new();
        for message in &messages[1..] {
            let levels = message.body::<Levels>().unwrap();
            for i in 0..message.header.count {
                got.push((i < message.header.bids, levels.levels[usize::from(i)]));
            }
        }
        assert_eq!(got, expected);
    }
}

fn every_recorded_frame(market: Market) {
    let decoder = decoder(market);
    let mut frames = 0;
    for (i, frame) in recorded(market).enumerate() {
        if frame.starts_with("{\"lastUpdateId\"") {
            continue;
        }
        let (fast, messages) = read(&decoder, frame.as_bytes(), true);
        assert!(fast.is_some(), "the fast path does not know {frame}");
        // The slow path and the foreign parser are ten times slower: every frame of a kind first, then a sample.
        if i < 5_000 || i % 7 == 0 {
            assert_eq!(read(&decoder, frame.as_bytes(), false), (fast, messages.clone()));
            check_against_foreign(&decoder.instrument, &frame, &messages);
        }
        frames += 1;
    }
    assert!(frames > 40_000);
}

#[test]
fn every_recorded_spot_frame() {
    every_recorded_frame(Market::Spot);
}

#[test]
fn every_recorded_usdm_frame() {
    every_recorded_frame(Market::UsdM);
}

#[test]
fn recorded_snapshots() {
    for market in [Market::Spot, Market::UsdM] {
        let decoder = decoder(market);
        let body = recorded(market).find(|f| f.starts_with("{\"lastUpdateId\"")).unwrap();
        let mut out = FrameBuffer::new();
        decoder.decode_snapshot(body.as_bytes(), FrameRef::default(), &mut out).unwrap();
        let begin = depth_of(&out).unwrap();
        assert_eq!((begin.bid_levels, begin.ask_levels, begin.snapshot), (1000, 1000, 1));
        assert_eq!(out.messages().len(), 335);
        assert!(
            decoder
                .decode_snapshot(&body.as_bytes()[..body.len() - 1], FrameRef::default(), &mut out)
                .is_err()
        );
        assert!(out.messages().is_empty());
    }
}

#[test]
fn a_field_more_or_another_order_costs_speed_not_correctness() {
    let mut decoder = decoder(Market::UsdM);
    let mut out = FrameBuffer::new();
    out.begin(FrameRef::default(), 0);
    let moved = br#" { "data":{"E":5,"new":[{"x":1}],"A":"2.0","a":"61800.30","B":"1.5","b":"61800.20","s":"BTCUSDT","u":9,"e":"bookTicker","T":4},"stream":"btcusdt@bookTicker"}"#;
    assert_eq!(decoder.decode(moved, &mut out), Ok(Decoded::Ticker));
    let ticker = *out.messages()[0].body::<Ticker>().unwrap();
    assert_eq!(
        (ticker.update_id, ticker.bid.price, ticker.ask.size),
        (9, Price(618_002), Quantity(200_000_000))
    );
    assert_eq!(decoder.slow_frames(), 1);
    let answer = br#"{"result":null,"id":1}"#;
    out.begin(FrameRef::default(), 0);
    assert_eq!(decoder.decode(answer, &mut out), Ok(Decoded::Ignored));
    let insurance = br#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1,"T":1,"s":"BTCUSDT","t":1,"p":"0","q":"0","X":"INSURANCE_FUND","m":false}}"#;
    out.begin(FrameRef::default(), 0);
    assert_eq!(decoder.decode(insurance, &mut out), Ok(Decoded::Ignored));
    let foreign = br#"{"stream":"ethusdt@bookTicker","data":{"e":"bookTicker","u":1,"s":"ETHUSDT","b":"1","B":"1","a":"2","A":"1"}}"#;
    out.begin(FrameRef::default(), 0);
    assert_eq!(decoder.decode(foreign, &mut out), Err(DecodeError::UnknownStream));
}

#[test]
fn what_does_not_fit_is_refused_with_its_field() {
    let mut decoder = decoder(Market::UsdM);
    let mut out = FrameBuffer::new();
    let mut refuse = |price: &str, size: &str| {
        let frame = format!(
            r#"{{"stream":"btcusdt@depth@0ms","data":{{"e":"depthUpdate","E":1,"T":1,"s":"BTCUSDT","U":1,"u":2,"pu":0,"b":[["{price}","{size}"]],"a":[]}}}}"#
        );
        out.begin(FrameRef::default(), 0);
        let result = decoder.decode(frame.as_bytes(), &mut out);
        assert!(result.is_err() == out.messages().is_empty());
        result.err()
    };
    assert_eq!(refuse("61800.2", "0.00000001"), None, "finer than any lot, and still a level");
    assert!(matches!(refuse("61800.25", "1"), Some(DecodeError::Number("price", _))));
    assert!(matches!(refuse("61800.2", "-1"), Some(DecodeError::Number("size", _))));
    assert!(matches!(refuse("61800.2", "99999999999999"), Some(DecodeError::Number("size", _))));
    assert!(matches!(refuse("", "1"), Some(DecodeError::Number("price", _))));
    for absurd in ["0", "-61800.2", "922337203685477580.7", "450359962737050.0"] {
        assert!(matches!(refuse(absurd, "1"), Some(DecodeError::Number("price", _))), "{absurd}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever is done to a recorded frame, both paths agree or only the slow one speaks; nothing panics.
    #[test]
    fn broken_frames(which in 0usize..60, at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        static FRAMES: std::sync::OnceLock<Vec<(Market, String)>> = std::sync::OnceLock::new();
        let frames = FRAMES.get_or_init(|| {
            let of = |m| recorded(m).filter(|f| f.len() < 2_000).take(30).map(move |f| (m, f));
            of(Market::Spot).chain(of(Market::UsdM)).collect()
        });
        let (market, frame) = &frames[which];
        let mut bytes = frame.clone().into_bytes();
        let place = at.index(bytes.len());
        if cut { bytes.truncate(place) } else { bytes[place] = byte }
        let decoder = decoder(*market);
        let (fast, fast_messages) = read(&decoder, &bytes, true);
        let (slow, slow_messages) = read(&decoder, &bytes, false);
        if fast.is_some() {
            prop_assert_eq!((fast, fast_messages), (slow, slow_messages));
        }
    }
}
