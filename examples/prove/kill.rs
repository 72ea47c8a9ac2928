//! A line that is held for two seconds with twenty orders open: the kill word stops everything all the same, and the venue's
//! own log says so.

use std::process::Command;
use std::time::Duration;

use kimera_runtime::MarketClock;
use kimera_runtime::clock::monotonic_ns;
use serde_json::{Value, json};

use crate::cases::Cases;
use crate::run::{Folder, Run, profile, program};

/// What the venue has written down, with its market time in nanoseconds.
struct Log(Vec<(i64, String)>);

impl Log {
    fn read(run: &Run) -> Self {
        let text = std::fs::read_to_string(run.state.join("venue-account.jsonl")).unwrap_or_default();
        let record = |line: &str| {
            let value: Value = serde_json::from_str(line).ok()?;
            let kind = value["happening"].as_object()?.keys().next()?.clone();
            Some((value["time_ms"].as_i64()? * 1_000_000, kind))
        };
        Self(text.lines().filter_map(record).collect())
    }

    /// Orders the venue has taken after a time.
    fn orders_after(&self, time: i64) -> usize {
        self.0.iter().filter(|(t, kind)| *t > time && kind == "Accepted").count()
    }
}

fn venue_clock(run: &Run) -> MarketClock {
    let text = std::fs::read_to_string(run.state.join("endpoints.json")).unwrap();
    let endpoints: Value = serde_json::from_str(&text).unwrap();
    let address = endpoints["markets"][0][1].as_str().unwrap().parse().unwrap();
    let body = kimera::handshake::ask(address, "GET", "/kimera/v1/clock", "/kimera/v1/clock", &[]).unwrap();
    let state: Value = serde_json::from_slice(&body).unwrap();
    serde_json::from_value(state["clock"].clone()).unwrap()
}

/// Market time at a monotonic instant.
fn market(clock: &MarketClock, instant: u64) -> i64 {
    clock.origin + (instant - clock.start) as i64 * i64::from(clock.speed)
}

pub fn prove(cases: &mut Cases) {
    let folder = Folder::new("kill");
    // Ten children a side, and limits that let them stand.
    let config = folder.join("twenty.toml");
    let changes = [
        ("size = \"0.010\"\nrisk", "size = \"0.100\"\nrisk"),
        ("orders_per_second = 20", "orders_per_second = 10000"),
        ("orders_burst = 50", "orders_burst = 10000"),
        ("messages_max = 240", "messages_max = 1000000"),
        ("orders_free = 1000", "orders_free = 1000000"),
    ];
    std::fs::write(&config, profile(&changes)).unwrap();
    let state = folder.join("state");
    let speed = 10i64;
    let mut run = Run::start(&state, &["--config", config.to_str().unwrap(), "--speed", "10", "--faults"]);
    let open = |n: u64| move |s: &Value| s["orders"]["working"].as_u64() >= Some(n);
    cases.is("twenty orders stand", true, run.wait(Duration::from_secs(30), open(20)));
    let clock = venue_clock(&run);

    // The control: without a kill orders go on.
    let control = market(&clock, monotonic_ns());
    let mut orders = 0;
    for _ in 0..60 {
        std::thread::sleep(Duration::from_millis(500));
        orders = Log::read(&run).orders_after(control);
        if orders > 0 {
            break;
        }
    }
    cases.holds(
        "control: without a kill the venue takes more orders",
        orders > 0,
        format!("{orders} orders"),
    );

    // Held while twenty stand: between the look and the hold some may have been replaced.
    let mut standing = 0;
    for _ in 0..20 {
        run.wait(Duration::from_secs(30), open(20));
        run.ask("faults.hold", &json!({"seat": "market", "ms": 2_000}));
        // What the line had asked for before it was held comes to its end first.
        let working = || run.status().and_then(|s| s["orders"]["working"].as_u64()).unwrap_or(0);
        std::thread::sleep(Duration::from_millis(350));
        standing = working();
        std::thread::sleep(Duration::from_millis(150));
        if standing >= 20 && working() == standing {
            break;
        }
        std::thread::sleep(Duration::from_millis(1_800));
    }
    cases.holds("the line is held with twenty orders open", standing >= 20, format!("{standing} orders"));
    let held_at = run.status().map(|s| s["seq"].clone());
    let before = market(&clock, monotonic_ns());
    let killed = Command::new(program()).args(["kill", "--state", state.to_str().unwrap()]).output().unwrap();
    let word_time = market(&clock, monotonic_ns());
    cases.is("kimera kill", true, killed.status.success());
    std::thread::sleep(Duration::from_millis(800));
    let still_at = run.status().map(|s| s["seq"].clone());
    cases.is("the line stood still meanwhile", true, held_at.is_some() && held_at == still_at);
    let log = Log::read(&run);
    cases.is("orders the venue took after the word", 0, log.orders_after(word_time));
    let cancels: Vec<i64> =
        log.0.iter().filter(|(t, kind)| kind == "Canceled" && *t >= before).map(|(t, _)| *t).collect();
    cases.is("cancels by the gateway alone, while the line was held", standing as usize, cancels.len());
    let last = cancels.iter().max().map_or(0, |t| (t - before).max(0) / speed / 1_000);
    cases.note(&format!(
        "the venue wrote its last cancel {last} us after `kimera kill` was started (goal 50,000; it syncs its disk for each)"
    ));

    let quiet = |s: &Value| s["orders"]["working"] == 0 && s["trading"] == "halted";
    cases.is("the line wakes, and halts too", true, run.wait(Duration::from_secs(10), quiet));
    std::thread::sleep(Duration::from_millis(500));
    cases.is("and nothing has left since", 0, Log::read(&run).orders_after(word_time));
    let resumed = run.ask("trading.resume", &json!({}));
    cases.is("trading resumes when it is told to", true, resumed.is_some());
    cases.is("and orders stand again", true, run.wait(Duration::from_secs(20), open(1)));
    let summary = run.finish().unwrap_or_default();
    let agree = summary["ledger"]["venue_match"] == true;
    let said = format!("{} {}", summary["ledger"], summary["degraded"]);
    cases.holds("the books agree with the venue", agree, said);
}
