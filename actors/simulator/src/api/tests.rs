//! The venue's checks against published vectors, its codes, and an order's whole life.

use super::*;
use crate::book::VenueBook;
use crate::matching::{Fees, Matching};
use crate::tape::{RulesProfile, TradingProfile};

const SECRET: &[u8] = b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";
const KEY: &str = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A";

fn api() -> (OrderApi, VenueBook) {
    let rules = RulesProfile { tick: "0.10".into(), lot: "0.001".into(), min_notional: "100".into() };
    let profile = RecordingProfile {
        market: "usdm".into(),
        symbol: "BTCUSDT".into(),
        file: String::new(),
        sha256: String::new(),
        price_decimals: 2,
        size_decimals: 3,
        rules,
        trading: Some(TradingProfile { balance: "1000".into() }),
    };
    let mut book = VenueBook::default();
    book.snapshot(
        r#"{"lastUpdateId":5,"bids":[["50000.00","1.000"]],"asks":[["50000.10","2.000"]]}"#,
        &mut Vec::new(),
    );
    let account = Account::open(None, 100_000_000_000, Matching::new(Fees::default()), &book).unwrap();
    (OrderApi::new(&profile, Rules::of(&profile).unwrap(), KEY, SECRET, account).unwrap(), book)
}

fn signed(api: &OrderApi, method: &str, parameters: &[(&str, &str)]) -> String {
    let mut sorted: Parameters = parameters.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    sorted.insert("apiKey".into(), KEY.into());
    sorted.insert("timestamp".into(), "1000".into());
    let payload: Vec<_> = sorted.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let mut mac = api.keyed.clone();
    mac.update(payload.join("&").as_bytes());
    let signature: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
    sorted.insert("signature".into(), signature);
    json!({"id": "1", "method": method, "params": sorted}).to_string()
}

fn order<'a>(id: &'a str, price: &'a str, quantity: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("symbol", "BTCUSDT"),
        ("side", "BUY"),
        ("type", "LIMIT"),
        ("timeInForce", "GTC"),
        ("price", price),
        ("quantity", quantity),
        ("newClientOrderId", id),
    ]
}

fn code(answer: &str) -> i64 {
    serde_json::from_str::<Value>(answer).unwrap()["error"]["code"].as_i64().unwrap_or(0)
}

#[test]
fn the_published_request_passes_the_signature_check_and_its_neighbours_do_not() {
    let (mut api, book) = api();
    let published = |signature: &str, now: i64, api: &mut OrderApi| {
        let frame = format!(
            r#"{{"id":"x","method":"order.place","params":{{"symbol":"BTCUSDT","side":"SELL","type":"LIMIT","timeInForce":"GTC","quantity":"0.01000000","price":"52000.00","newOrderRespType":"ACK","recvWindow":100,"timestamp":1645423376532,"apiKey":"{KEY}","signature":"{signature}"}}}}"#
        );
        code(&api.frame(&frame, &book, now).0)
    };
    let good = "cc15477742bd704c29492d96c7ead9414dfd8e0ec4a00f947bb5bb454ddbd08a";
    assert_eq!(
        published(good, 1_645_423_376_532, &mut api),
        -1102,
        "past the signature: it has no client order id"
    );
    assert_eq!(published(&good.replace("cc15", "cc16"), 1_645_423_376_532, &mut api), -1022);
    assert_eq!(published("zz", 1_645_423_376_532, &mut api), -1022);
    assert_eq!(published(good, 1_645_423_376_632, &mut api), -1102, "at the end of the window");
    assert_eq!(published(good, 1_645_423_376_633, &mut api), -1021);
    assert_eq!(published(good, 1_645_423_375_532, &mut api), -1021, "a second ahead of the venue");
}

#[test]
fn each_mistake_has_the_venues_code() {
    let (mut api, book) = api();
    let mut place = |change: (&str, &str)| {
        let mut parameters = order("a", "50000.00", "0.010");
        parameters.retain(|(k, _)| *k != change.0);
        parameters.push((change.0, change.1));
        let frame = signed(&api, "order.place", &parameters);
        code(&api.frame(&frame, &book, 1_000).0)
    };
    let cases = [
        (("symbol", "ETHUSDT"), -1121),
        (("side", "LONG"), -1117),
        (("type", "MARKET"), -1116),
        (("timeInForce", "GTD"), -1115),
        (("price", "50000.05"), -4014),
        (("price", "0"), -1111),
        (("quantity", "0.0005"), -1111),
        (("quantity", "0.001"), -4164),
        (("newClientOrderId", "with blank"), -4015),
        (("reduceOnly", "true"), -2022),
    ];
    for (change, expected) in cases {
        assert_eq!(place(change), expected, "{change:?}");
    }
    assert_eq!(place(("price", "50000.00")), 0);
    assert_eq!(code(&api.frame("nonsense", &book, 1).0), -1000);
    assert_eq!(code(&api.frame(r#"{"id":1}"#, &book, 1).0), -1102);
    assert_eq!(
        code(&api.frame(r#"{"id":1,"method":"order.place","params":{"apiKey":"other"}}"#, &book, 1).0),
        -2015
    );
}

#[test]
fn an_orders_life_over_frames_http_and_the_private_stream() {
    let (mut api, book) = api();
    let frame = signed(&api, "order.place", &order("k1-2-0", "50000.10", "0.010"));
    let (answer, happenings) = api.frame(&frame, &book, 1_000);
    assert!(answer.contains("\"status\":\"NEW\"") && answer.contains("\"orderId\":1"), "{answer}");
    let events: Vec<_> = happenings.iter().filter_map(|h| api.event(h, 1_001)).collect();
    assert!(events[0].contains("\"x\":\"NEW\"") && events[0].contains("\"X\":\"NEW\""), "{}", events[0]);
    // 0.05 % of 500.001, rounded up.
    assert!(
        events[1].contains("\"x\":\"TRADE\"") && events[1].contains("\"n\":\"0.25000050\""),
        "{}",
        events[1]
    );
    let frame = signed(&api, "order.place", &order("k1-3-0", "49000.00", "0.010"));
    api.frame(&frame, &book, 1_000);
    let status = signed(&api, "order.status", &[("symbol", "BTCUSDT"), ("origClientOrderId", "k1-2-0")]);
    assert!(api.frame(&status, &book, 1_000).0.contains("\"status\":\"FILLED\""));

    let query = |api: &OrderApi, text: &str| {
        let mut mac = api.keyed.clone();
        mac.update(text.as_bytes());
        let signature: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
        format!("{text}&signature={signature}")
    };
    let plain = query(&api, "timestamp=1000");
    let open = api.http("GET", "/fapi/v1/openOrders", Some(KEY), &plain, 1_000).0;
    assert!(open.body.contains("k1-3-0") && !open.body.contains("k1-2-0"));
    assert_eq!(api.http("GET", "/fapi/v1/openOrders", None, &plain, 1_000).0.status, 401);
    let account = api.http("GET", "/fapi/v2/account", Some(KEY), &plain, 1_000).0.body;
    assert!(
        account.contains("\"positionAmt\":\"0.010\"") && account.contains("\"cashBalance\":\"499.74899950\""),
        "{account}"
    );
    let all = query(&api, "symbol=BTCUSDT&timestamp=1000");
    let (answer, happenings) = api.http("DELETE", "/fapi/v1/allOpenOrders", Some(KEY), &all, 1_000);
    assert_eq!((answer.status, happenings.len()), (200, 1));
    let key = api.http("POST", "/fapi/v1/listenKey", Some(KEY), "", 1_000).0.body;
    let key: Value = serde_json::from_str(&key).unwrap();
    assert!(api.is_listen_key(key["listenKey"].as_str().unwrap()) && !api.is_listen_key(""));
}
