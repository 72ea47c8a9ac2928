//! Patterns over the shipped recording, from the command line.

use std::path::Path;
use std::process::{Command, Output, Stdio};

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
        assert!(said.len() > 10 && said.len() == found.len(), "{} {}", said.len(), found.len());
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

/// A run whose patterns are exchanged while it goes on, and whose engine is killed then.
fn run_and_load(config: &str, state: &str, file: &str) -> Value {
    let mut run = Command::new(env!("CARGO_BIN_EXE_kimera"));
    run.args(["supervise", "--config", config, "--state", state, "--for", "100s", "--speed", "10", "--json"]);
    run.current_dir(env!("CARGO_MANIFEST_DIR")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = run.spawn().unwrap();
    let loaded = loop {
        let asked = kimera(&["cep", "load", file, "--state", state, "--json"]);
        // Nobody answers before the control socket is there.
        if asked.status.success() || running.try_wait().unwrap().is_some() {
            break asked;
        }
        std::thread::yield_now();
    };
    let said: Value = serde_json::from_slice(&loaded.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&loaded.stderr)));
    assert_eq!(said["patterns"].as_array().unwrap().len(), 5, "{said}");
    assert!(said["taken"] == true && said["durable"] == true, "{said}");
    let wrong = tempfile().join("wrong.cep");
    std::fs::write(&wrong, "pattern p on trade:\n  a:Trade[pirce > 1]").unwrap();
    let refused = kimera(&["cep", "load", wrong.to_str().unwrap(), "--state", state]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{why}");
    assert!(why.contains("wrong.cep:2:11: Trade has no field \"pirce\""), "{why}");
    assert!(kimera(&["ctl", "actor.restart", "engine", "--state", state]).status.success());
    // The one that comes into its seat from the journal goes on counting.
    while !kimera(&["ctl", "actor.restart", "member.patterns", "--state", state]).status.success() {
        if running.try_wait().unwrap().is_some() {
            let ended = running.wait_with_output().unwrap();
            panic!("{:?}: {}", ended.status.code(), String::from_utf8_lossy(&ended.stderr));
        }
        std::thread::yield_now();
    }
    let ended = running.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{:?}\n{out}\n{err}", ended.status.code());
    let summary: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(summary["sealed_allocations"], 0, "{summary}");
    summary
}

/// Other patterns come while a run goes on: from the very input of their record on it finds theirs and nothing else, a replay
/// says so too, and a later start goes on with them. Without their text nothing is replayed.
#[test]
fn patterns_are_exchanged_in_a_run() {
    let files = "files = [\"config/patterns/orders.cep\"]";
    with_file(&profile_with(files), |config| {
        let folder = tempfile().join("exchanged");
        let state = folder.to_str().unwrap();
        let market = "config/patterns/market.cep";
        let summary = run_and_load(config, state, market);
        let cat = String::from_utf8(kimera(&["journal", "cat", state]).stdout).unwrap();
        let records: Vec<Value> = cat.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |kind: &str| records.iter().filter(|r| r["kind"] == kind).collect::<Vec<_>>();
        let (loads, starts) = (of("patterns-loaded"), of("started"));
        assert_eq!((loads.len(), starts.len()), (1, 2));
        let (at, again) = (loads[0]["seq"].as_u64().unwrap(), starts[1]["seq"].as_u64().unwrap());
        let found: Vec<_> = run(market, state).into_iter().filter(|l| l["pattern"].is_string()).collect();
        let inputs = |m: &Value| -> Vec<u64> {
            m["inputs"].as_array().unwrap().iter().filter_map(Value::as_u64).collect()
        };
        // What began before they came is not theirs, and nothing is said while nobody is there; the rest is what is found in
        // the journal.
        let ends: Vec<_> = of("absent").into_iter().filter_map(|a| a["body"]["to"].as_u64()).collect();
        let begins: Vec<_> = of("absent").into_iter().filter_map(|a| a["body"]["from"].as_u64()).collect();
        let out = begins.iter().min().copied().unwrap_or(0)..ends.iter().max().copied().unwrap_or(0);
        let is_theirs = |m: &&Value| inputs(m)[0] > at && !out.contains(inputs(m).last().unwrap());
        let theirs = found.iter().filter(is_theirs).count();
        let said: Vec<_> = of("match").into_iter().map(|r| &r["body"]).collect();
        let names: Vec<String> =
            found.iter().map(|m| m["pattern"].as_str().unwrap().chars().take(16).collect()).collect();
        let behind: Vec<_> = said.iter().filter(|m| m["last"].as_u64().unwrap() > at).collect();
        assert!(behind.iter().all(|m| names.iter().any(|n| m["pattern"] == n.as_str())), "{behind:?}");
        assert!(behind.len() > 10 && behind.len().abs_diff(theirs) <= 2, "{} {theirs}", behind.len());
        assert!(behind.iter().any(|m| m["last"].as_u64().unwrap() > again), "also behind the kill");
        let counted: u64 = summary["matches"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
        assert!(counted >= said.len() as u64, "{} were said: {summary}", said.len());
        // Where no checkpoint lies behind the newest snapshot, that its state is put into their seats is what is seen.
        for (more, expected) in
            [(None, &["identical"][..]), (Some("--from-snapshot"), &["identical", "nothing compared"])]
        {
            let arguments: Vec<_> = ["replay", state].into_iter().chain(more).collect();
            let replay = kimera(&arguments);
            let said = [replay.stdout, replay.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(expected.iter().any(|e| said.starts_with(e)), "{arguments:?}: {said}");
        }
        let blob_name = loads[0]["body"]["blob"].as_str().unwrap();
        let blob = folder.join("blobs").join(blob_name);
        std::fs::remove_file(blob).unwrap();
        for more in [None, Some("--from-snapshot")] {
            let arguments: Vec<_> = ["replay", state].into_iter().chain(more).collect();
            let replay = kimera(&arguments);
            let why = String::from_utf8_lossy(&replay.stderr).into_owned();
            assert_eq!(replay.status.code(), Some(7), "{why}");
            assert!(why.contains("missing") && why.contains(blob_name), "{why}");
        }
    });
}
