//! Patterns over the shipped recording, from the command line.

use std::path::Path;
use std::process::{Command, Output};

use kimera_simulator::Tape;
use serde_json::Value;

fn cep(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kimera"));
    command.arg("cep").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

/// Lines of JSON; the last sums up.
fn run(file: &str, on: &str) -> Vec<Value> {
    let output = cep(&["run", file, "--on", on, "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn with_file(text: &str, then: impl FnOnce(&str)) {
    let folder = tempfile();
    let file = folder.join("p.cep");
    std::fs::write(&file, text).unwrap();
    then(file.to_str().unwrap());
    std::fs::remove_dir_all(folder).unwrap();
}

fn tempfile() -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!(
        "kimera-patterns-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn what_ships_is_good_and_finds_what_it_says() {
    let output = cep(&["check", "config/patterns/market.cep", "config/patterns/orders.cep", "--json"]);
    let checked: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(checked["files"][0]["patterns"].as_array().unwrap().len(), 5);
    let lines = run("config/patterns/market.cep", "data/binance-20240808");
    let (last, matches) = lines.split_last().unwrap();
    for pattern in last["patterns"].as_array().unwrap() {
        let of_it = matches.iter().filter(|m| m["pattern"] == pattern["name"]).count();
        assert_eq!(pattern["matches"], of_it, "{last}");
        assert!(pattern["runs_given_up"] == 0 && pattern["events_left_out"] == 0, "{last}");
    }
    // Looked at again, by hand: five takers on one side in half a second, none below the first.
    let runs: Vec<_> = matches.iter().filter(|m| m["pattern"] == "run_of_buys").collect();
    assert!(runs.len() > 1_000, "{last}");
    for m in runs {
        let inputs: Vec<_> = m["inputs"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
        assert!(inputs.len() == 5 && inputs.is_sorted_by(|a, b| a < b), "{m}");
        let values = m["values"].as_array().unwrap();
        assert!(values[2].as_f64() >= values[1].as_f64(), "{m}");
    }
}

#[test]
fn every_trade_and_every_best_price_is_an_event() {
    let tape = Tape::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("data/binance-20240808")).unwrap();
    let of = |stream: &str| {
        let frames = tape.recordings.iter().flat_map(|r| r.frames.iter().map(move |f| (r, f)));
        frames.filter(|(r, f)| f.stream.is_some_and(|s| r.streams[s].ends_with(stream))).count()
    };
    with_file("pattern t on trade: t:Trade\npattern q on quote: q:Quote\npattern g on feed: g:Gap", |file| {
        let lines = run(file, "data/binance-20240808");
        let counts: Vec<_> = lines.last().unwrap()["patterns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["matches"].as_u64())
            .collect();
        assert_eq!(lines.last().unwrap()["frames_unread"], 0);
        assert_eq!(counts, [Some(of("@trade") as u64), Some(of("@bookTicker") as u64), Some(0)]);
    });
}

#[test]
fn what_is_wrong_is_shown_where_it_is() {
    with_file("pattern p on trade:\n  a:Trade[pirce > 1]", |file| {
        let output = cep(&["check", file]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(
            said.contains("p.cep:2:11: Trade has no field \"pirce\"; it has instrument, price"),
            "{said}"
        );
        assert!(said.contains("\n    a:Trade[pirce > 1]\n            ^"), "{said}");
        let output = cep(&["run", "config/patterns/market.cep", "--on", "/nowhere"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(7) && said.contains("neither"), "{said}");
    });
    with_file("# nothing", |file| assert_eq!(cep(&["check", file]).status.code(), Some(3)));
}

fn profile_with(patterns: &str) -> String {
    let profile = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/profiles/paper.toml");
    format!("{}\n[patterns]\n{patterns}\n", std::fs::read_to_string(profile).unwrap())
}

fn kimera(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kimera"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

/// What a run says while it runs is what is found in its journal afterwards, match by match; and its replay says it again.
#[test]
fn patterns_run_beside_the_line() {
    let files = "files = [\"config/patterns/market.cep\", \"config/patterns/orders.cep\"]";
    with_file(&profile_with(files), |config| {
        let state = tempfile().join("state");
        let state = state.to_str().unwrap();
        let ran = kimera(&[
            "supervise",
            "--config",
            config,
            "--state",
            state,
            "--for",
            "40s",
            "--speed",
            "20",
            "--json",
        ]);
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let cat = String::from_utf8(kimera(&["journal", "cat", state]).stdout).unwrap();
        let records = cat.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let said: Vec<_> = records.filter(|r| r["kind"] == "match").map(|r| r["body"].clone()).collect();
        let found: Vec<Value> = ["market", "orders"]
            .into_iter()
            .flat_map(|file| run(&format!("config/patterns/{file}.cep"), state))
            .filter(|line| line["pattern"].is_string())
            .collect();
        assert!(said.len() > 100 && said.len() == found.len(), "{} {}", said.len(), found.len());
        for found in found {
            let name: String = found["pattern"].as_str().unwrap().chars().take(16).collect();
            let last = found["inputs"].as_array().unwrap().last().unwrap();
            assert!(said.iter().any(|s| s["pattern"] == name && s["last"] == *last), "{found}");
        }
        let replay = kimera(&["replay", state]);
        let replayed = String::from_utf8_lossy(&replay.stdout).into_owned();
        assert!(replayed.starts_with("identical"), "{replayed}");
        let threaded = kimera(&["replay", state, "--executor", "threaded", "--plan", "cores-2"]);
        let replayed = String::from_utf8_lossy(&threaded.stdout).into_owned();
        assert!(
            replayed.starts_with("identical"),
            "{replayed} {}",
            String::from_utf8_lossy(&threaded.stderr)
        );
    });
    let wrong = profile_with("text = [\"pattern p on trade:\\n  a:Trade[pirce > 1]\"]");
    with_file(&wrong, |config| {
        let output = kimera(&["supervise", "--config", config, "--dry-run"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("patterns.text[1]:2:11: Trade has no field \"pirce\""), "{said}");
    });
}
