//! A venue that changes what it demands of orders while the line trades.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;

use crate::conduct::profile;
use crate::trading::Run;

/// Makes the venue demand something else from now on.
fn demand(run: &Run, query: &str) {
    let text = std::fs::read(run.state.join("endpoints.json")).unwrap();
    let endpoints: Value = serde_json::from_slice(&text).unwrap();
    let mut stream = TcpStream::connect(endpoints["markets"][1][1].as_str().unwrap()).unwrap();
    let request = format!("POST /kimera/v1/rules?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A definition (none), or an order: price in ticks of 0.10, size in 0.001, and whether it says that it is a way out.
type Told = Option<(i64, i64, bool)>;

/// Every definition and order of the perpetual, with its seq.
fn told(run: &Run) -> Vec<(Told, u64)> {
    let cat = Command::new(env!("CARGO_BIN_EXE_kimera")).args(["journal", "cat"]).arg(&run.state).output();
    let cat = String::from_utf8(cat.unwrap().stdout).unwrap();
    let records = cat.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_perpetual = records.filter(|r| r["instrument"] == 1);
    let thousandths = |v: &Value| (v.as_str().unwrap().parse::<f64>().unwrap() * 1_000.0).round() as i64;
    of_perpetual
        .filter_map(|r| match r["kind"].as_str() {
            Some("definition") => Some((None, r["seq"].as_u64()?)),
            Some("new-order") => {
                let body = &r["body"];
                let is_way_out = body["flags"].as_u64()? & 1 != 0;
                let order = (body["price"].as_i64()?, thousandths(&body["quantity"]), is_way_out);
                Some((Some(order), r["seq"].as_u64()?))
            }
            _ => None,
        })
        .collect()
}

/// An order is explained with the rules that bound it.
fn explains(state: &std::path::Path, order: u64, version: u64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kimera"));
    let output = command.arg("explain").arg(state).arg(order.to_string()).arg("--json").output().unwrap();
    let explained: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rules = &explained["routes"][0]["rules"];
    assert_eq!(
        (&rules["since"], &rules["body"]["tick"]),
        (&Value::from(version), &Value::from("0.50000000"))
    );
}

#[test]
fn a_venue_that_changes_its_rules_is_followed() {
    let folder = std::env::temp_dir().join(format!("kimera-rules-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let config = profile(&folder);
    let mut run = Run::start("rules", &["--speed", "20", "--config", &config]);
    let known = |n: u64| move |s: &Value| s["definitions"].as_u64() == Some(n);
    let some_more = |run: &mut Run| {
        let (mut before, count) = (None, |s: &Value| s["orders"]["sent"].as_u64().unwrap_or(0));
        run.until(|s| count(s) >= *before.get_or_insert(count(s)) + 12);
    };
    // Both instruments have said what they demand: least notionals, which the configuration does not know.
    run.until(known(2));
    some_more(&mut run);
    demand(&run, "tick=0.50&lot=0.003");
    run.until(known(3));
    some_more(&mut run);
    demand(&run, "status=BREAK");
    run.until(known(4));
    demand(&run, "tick=0.10&lot=0.001&status=TRADING");
    run.until(known(5));
    some_more(&mut run);
    let summary = run.close();
    assert_eq!(summary["ledger"]["venue_match"], true, "{summary}");
    for reason in ["off-step", "below-least", "not-tradable"] {
        assert_eq!(
            summary["refused"][reason],
            Value::Null,
            "execution keeps to the rules by itself: {summary}"
        );
    }
    assert_eq!(summary["sealed_allocations"], 0);

    let told = told(&run);
    let versions: Vec<u64> = told.iter().filter(|t| t.0.is_none()).map(|t| t.1).collect();
    assert_eq!(versions.len(), 4, "{versions:?}");
    let orders = |from: u64, until: u64| {
        let these = told.iter().filter(move |(_, seq)| (from..until).contains(seq));
        these.filter_map(|(told, seq)| Some((told.as_ref()?, *seq)))
    };
    explains(&run.state, orders(versions[1], u64::MAX).next().unwrap().1, versions[1]);
    let on_step = |(price, size, _): &(i64, i64, bool)| price % 5 == 0 && size % 3 == 0;
    assert!(orders(0, versions[1]).any(|(o, _)| !on_step(o)), "before the change other steps were used");
    let coarse: Vec<_> = orders(versions[1], versions[2]).map(|(o, _)| o).collect();
    assert!(coarse.len() >= 10 && coarse.iter().all(|o| on_step(o) && o.1 == 9), "{coarse:?}");
    assert!(
        orders(versions[2], versions[3]).all(|(o, _)| o.2),
        "only what says that it is a way out is tried"
    );
    assert!(orders(versions[3], u64::MAX).any(|(o, _)| !on_step(o)), "the steps are fine again");
    std::fs::remove_dir_all(folder).unwrap();
}
