//! Our own orders under surveillance: what looks like manipulation is said, and for a while only ways out leave.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn kimera(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kimera"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

/// The shipped profile with a maker that trades and moves its quotes all the time, and limits under which every one of them is large.
fn profile(folder: &Path) -> String {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/profiles/paper.toml");
    let mut text = std::fs::read_to_string(shipped).unwrap();
    for (before, after) in [
        ("maker_fee_bps = 2.0", "maker_fee_bps = 0.0"),
        ("risk_aversion = 0.001", "risk_aversion = 0.002"),
        ("fill_decay_per_tick = 0.015", "fill_decay_per_tick = 0.15"),
        ("requote_ticks = 20", "requote_ticks = 2"),
        ("requote_interval_ms = 1000", "requote_interval_ms = 100"),
        ("messages_max = 240", "messages_max = 2400"),
        (
            "orders_free = 1000",
            "orders_free = 100000\nconduct_large = 1e-6\nconduct_base_rate = 0.01\nconduct_hold_ms = 5000",
        ),
    ] {
        assert!(text.contains(before), "{before}");
        text = text.replace(before, after);
    }
    let path = folder.join("profile.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn what_looks_like_manipulation_is_said_and_only_ways_out_leave() {
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
        "240s",
        "--speed",
        "20",
        "--json",
    ]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let summary: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let cat = String::from_utf8(kimera(&["journal", "cat", state]).stdout).unwrap();
    let records: Vec<Value> = cat.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said = |r: &&Value| {
        r["kind"] == "alert" && ["spoofing", "layering"].iter().any(|d| r["body"]["detector"] == *d)
    };
    let alerts: Vec<&Value> = records.iter().filter(said).collect();
    let counted = ["spoofing", "layering"].map(|d| summary["alerts"][d].as_u64().unwrap_or(0));
    assert!(!alerts.is_empty() && counted.iter().sum::<u64>() == alerts.len() as u64, "{summary}");
    assert!(
        summary["refused"]["conduct"].as_u64() > Some(0) && summary["sealed_allocations"] == 0,
        "{summary}"
    );
    // Behind each nothing leaves that could make a position larger; cancels do.
    let orders = records.iter().filter(|r| r["kind"] == "new-order");
    for order in orders {
        let time = |r: &Value| r["time"].as_i64().unwrap();
        let is_held = alerts.iter().any(|a| {
            (0..5_000_000_000).contains(&(time(order) - time(a))) && order["seq"].as_u64() > a["seq"].as_u64()
        });
        let reduces = order["body"]["flags"].as_u64().unwrap() & 1 != 0;
        assert!(!is_held || reduces, "{order}");
    }
    let replay = kimera(&["replay", state]);
    let replayed = String::from_utf8_lossy(&replay.stdout).into_owned();
    assert!(replayed.starts_with("identical"), "{replayed}");
    std::fs::remove_dir_all(folder).unwrap();
}
