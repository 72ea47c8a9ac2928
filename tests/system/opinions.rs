//! What slow estimators think is an input: a run says it, its journal has it, and from the same journal it is computed again.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn kimera(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kimera"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("kimera-opinions-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The shipped profile with buckets that are full within seconds.
fn profile(folder: &Path, more: &str) -> String {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/profiles/paper.toml");
    let text = std::fs::read_to_string(shipped).unwrap();
    let path = folder.join("profile.toml");
    std::fs::write(&path, format!("{text}\n[opinions]\n{more}\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

fn supervise(config: &str, state: &str) -> Value {
    let ran = kimera(&[
        "supervise",
        "--config",
        config,
        "--state",
        state,
        "--for",
        "60s",
        "--speed",
        "10",
        "--json",
    ]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

#[test]
fn what_is_thought_is_an_input_and_can_be_computed_again() {
    let folder = folder("run");
    let config = profile(&folder, "volume_span_ms = 5000\nbuckets_a_day = 86400\nbuckets = 5");
    let state = folder.join("state");
    let state = state.to_str().unwrap();
    let summary = supervise(&config, state);
    assert_eq!(summary["sealed_allocations"], 0, "{summary}");
    let shown = kimera(&["opinions", "--on", state, "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let counted = kimera(&["stat", state, "--json"]);
    let counted: Value = serde_json::from_slice(&counted.stdout).unwrap();
    let shed = counted["counters"]["opinions.shed"].as_u64().unwrap() > 0;
    let said = shown["said"].as_u64().unwrap();
    // On a machine that has no time for it, it has not heard everything, and that is counted.
    assert!(said > 100 && (shed || shown["as_computed"] == said), "{shown}");
    let vpin = |v: &&Value| v["topic"] == "vpin" && v["feed"] == "feed.usdm";
    let vpin = shown["newest"].as_array().unwrap().iter().find(vpin).unwrap();
    assert!(vpin["status"] == "ok" && (0.0..=1.0).contains(&vpin["value"].as_f64().unwrap()), "{vpin}");
    // It rests on what was there before it.
    let cat = String::from_utf8(kimera(&["journal", "cat", state]).stdout).unwrap();
    let records = cat.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let opinions: Vec<Value> = records.filter(|r| r["kind"] == "opinion").collect();
    assert_eq!(opinions.len() as u64, said);
    assert!(opinions.iter().all(|r| r["body"]["basis"].as_u64() < r["seq"].as_u64()));
    let replay = kimera(&["replay", state]);
    let replayed = String::from_utf8_lossy(&replay.stdout).into_owned();
    assert!(replayed.starts_with("identical"), "{replayed}");
    std::fs::remove_dir_all(folder).unwrap();
}

/// A start that follows another one goes on with what was thought before: it hears the journal first.
#[test]
fn a_later_start_goes_on() {
    let folder = folder("killed");
    let config = profile(&folder, "volume_span_ms = 5000\nbuckets_a_day = 86400\nbuckets = 5");
    let state = folder.join("state");
    let state = state.to_str().unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_kimera"));
    run.args([
        "supervise",
        "--config",
        &config,
        "--state",
        state,
        "--for",
        "100s",
        "--speed",
        "10",
        "--json",
    ]);
    run.current_dir(env!("CARGO_MANIFEST_DIR")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = run.spawn().unwrap();
    let counter = |name: &str| {
        let stat = serde_json::from_slice::<Value>(&kimera(&["stat", state, "--json"]).stdout).ok()?;
        stat["counters"][name].as_u64()
    };
    // The first one is to have filled buckets.
    let has_filled = || {
        let shown = kimera(&["opinions", "--on", state, "--json"]).stdout;
        let shown = serde_json::from_slice::<Value>(&shown).unwrap_or_default();
        let newest = shown["newest"].as_array().cloned().unwrap_or_default();
        newest.iter().any(|o| o["topic"] == "vpin" && o["feed"] == "feed.usdm" && o["status"] == "ok")
    };
    while counter("opinions.said").is_none_or(|said| said < 120) || !has_filled() {
        assert!(running.try_wait().unwrap().is_none(), "the run has ended");
        std::thread::yield_now();
    }
    // Each start counts anew.
    let shed_before = counter("opinions.shed").unwrap_or(0) > 0;
    assert!(kimera(&["ctl", "actor.restart", "engine", "--state", state]).status.success());
    let ended = running.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let summary: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(summary["incarnation"], 2, "{summary}");
    let shown: Value =
        serde_json::from_slice(&kimera(&["opinions", "--on", state, "--json"]).stdout).unwrap();
    let shed = shed_before || counter("opinions.shed").unwrap() > 0;
    assert!(shed || shown["as_computed"] == shown["said"], "{shown}");
    // The volume of a day was measured before, so there are buckets at once.
    let cat = String::from_utf8(kimera(&["journal", "cat", state]).stdout).unwrap();
    let records: Vec<Value> = cat.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let again = records.iter().rposition(|r| r["kind"] == "started").unwrap();
    let of_vpin = |r: &&Value| r["body"]["topic"] == "vpin" && r["instrument"] == 1;
    let before = records[..again].iter().rfind(of_vpin);
    let first = records[again..].iter().find(of_vpin);
    let (before, first) = (before.unwrap(), first.unwrap());
    let is_same = first["body"]["artefact"] == before["body"]["artefact"];
    assert!(shed || (before["body"]["status"] == "ok" && is_same), "{first} {before}");
    let replay = kimera(&["replay", state]);
    let replayed = String::from_utf8_lossy(&replay.stdout).into_owned();
    assert!(replayed.starts_with("identical"), "{replayed}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn without_them_there_is_no_seat_and_nonsense_is_refused() {
    let folder = folder("none");
    let config = profile(&folder, "enabled = false");
    let seats = |config: &str| {
        String::from_utf8(kimera(&["topology", "--config", config]).stdout).unwrap().contains("opinions")
    };
    assert!(!seats(&config) && seats(&profile(&folder, "every_ms = 500")));
    let wrong = profile(&folder, "every_ms = 5");
    let output = kimera(&["supervise", "--config", &wrong, "--dry-run"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(3) && said.contains("opinions.every_ms"), "{said}");
    // A recording has none: they are computed.
    let shown = kimera(&["opinions", "--on", "data/binance-20240808", "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert!(shown["said"] == 0 && shown["computed"].as_u64().unwrap() > 1_000, "{shown}");
    let toxic = shown["newest"]
        .as_array()
        .unwrap()
        .iter()
        .find(|v| v["topic"] == "toxic-bid" && v["feed"] == "feed.usdm");
    assert!(toxic.is_some_and(|v| v["status"] == "ok"), "{shown}");
    std::fs::remove_dir_all(folder).unwrap();
}
