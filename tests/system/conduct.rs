//! Our own orders under surveillance, in a whole run: a maker that moves its quotes all the time is no manipulator.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn kimera(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kimera"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

/// The shipped profile with a maker that trades and moves its quotes all the time, limits under which every one of them is large, and feeds that often ask
/// what the venue demands.
pub fn profile(folder: &Path) -> String {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/profiles/paper.toml");
    let mut text = std::fs::read_to_string(shipped).unwrap();
    for (before, after) in [
        ("maker_fee_bps = 2.0", "maker_fee_bps = 0.0"),
        ("risk_aversion = 0.001", "risk_aversion = 0.002"),
        ("fill_decay_per_tick = 0.015", "fill_decay_per_tick = 0.15"),
        ("requote_ticks = 20", "requote_ticks = 2"),
        ("requote_interval_ms = 1000", "requote_interval_ms = 100"),
        ("messages_max = 240", "messages_max = 2400"),
        ("orders_free = 1000", "orders_free = 100000\nconduct_large = 1e-6"),
        ("snapshot_levels = 1000", "snapshot_levels = 1000\ndefinition_interval_s = 1"),
    ] {
        assert!(text.contains(before), "{before}");
        text = text.replace(before, after);
    }
    let path = folder.join("profile.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_maker_that_moves_its_quotes_all_the_time_is_none() {
    let folder = std::env::temp_dir().join(format!("kimera-conduct-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let (config, state) = (profile(&folder), folder.join("state"));
    let state = state.to_str().unwrap();
    let ran = kimera(&[
        "supervise",
        "--config",
        &config,
        "--state",
        state,
        "--for",
        "100s",
        "--speed",
        "20",
        "--json",
    ]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let summary: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let of = |part: &str, what: &str| summary[part][what].as_u64().unwrap_or(0);
    assert_eq!(
        (of("alerts", "spoofing"), of("alerts", "layering"), of("refused", "conduct")),
        (0, 0, 0),
        "{summary}"
    );
    assert!(summary["orders"].as_u64() > Some(20) && summary["sealed_allocations"] == 0, "{summary}");
    let cat = String::from_utf8(kimera(&["journal", "cat", state]).stdout).unwrap();
    let records = cat.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let orders: Vec<Value> = records.filter(|r| r["kind"] == "new-order").collect();
    // The first ones open a position, whatever side they are on.
    assert_eq!(orders[0]["body"]["flags"], 0, "{}", orders[0]);
    let replay = kimera(&["replay", state]);
    let replayed = String::from_utf8_lossy(&replay.stdout).into_owned();
    assert!(replayed.starts_with("identical"), "{replayed}");
    std::fs::remove_dir_all(folder).unwrap();
}
