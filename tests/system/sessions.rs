//! Sessions in a whole run: started, weighed and stopped while it trades, each with an account of its own; and the replay
//! knows all of it.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn kimera(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kimera"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// The shipped profile with fees that let nearly everything be worth its cost, and one more session from the beginning.
fn profile(folder: &Path) -> String {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/profiles/paper.toml");
    let text = std::fs::read_to_string(shipped).unwrap();
    let text = text
        .replace("maker_fee_bps = 2.0", "maker_fee_bps = 0.0")
        .replace("fill_decay_per_tick = 0.015", "fill_decay_per_tick = 0.15")
        .replace("orders_free = 1000", "orders_free = 100000")
        .replace("messages_max = 240", "messages_max = 2400");
    let more = "
[[session]]
number = 5
kind = \"forecast\"
capital = \"60000\"

[kinds]
taker_fee_bps = 0.0
latency_ms = 0.0
forecast_takes = true
base_risk = 1.0
";
    let path = folder.join("profile.toml");
    std::fs::write(&path, text + more).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Waits until the run answers, and says what it answers.
fn ask(state: &str, arguments: &[&str]) -> Output {
    for _ in 0..600 {
        let output = kimera(&[&["session"], arguments, &["--state", state]].concat());
        let is_there = output.status.code() != Some(4) && !said(&output).contains("does not answer");
        if is_there {
            return output;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("the run does not answer");
}

fn sessions(state: &str) -> Vec<Value> {
    let output = ask(state, &["list", "--json"]);
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    listed["sessions"].as_array().unwrap().clone()
}

/// Asks until enough is known of the sessions; what was told to the run then.
fn weights_are_told(state: &str) -> Vec<Value> {
    let mut last = String::new();
    for _ in 0..400 {
        let output = kimera(&[
            "portfolio",
            "--sessions",
            state,
            "--bar",
            "1s",
            "--by",
            "minimum-variance",
            "--cap",
            "0.7",
            "--cash",
            "--apply",
            "--json",
        ]);
        if output.status.success() {
            let said: Value = serde_json::from_slice(&output.stdout).unwrap();
            return said["orders"].as_array().unwrap().clone();
        }
        last = said(&output);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{last}");
}

#[test]
fn sessions_come_and_go_in_a_run_and_the_replay_knows() {
    let folder = std::env::temp_dir().join(format!("kimera-sessions-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let (config, state) = (profile(&folder), folder.join("state"));
    let state = state.to_str().unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_kimera"))
        .args([
            "supervise",
            "--config",
            &config,
            "--state",
            state,
            "--for",
            "200s",
            "--speed",
            "10",
            "--json",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let first = sessions(state);
    let of = |l: &Value| (l["session"].as_u64().unwrap(), l["kind"].as_str().unwrap().to_owned());
    assert_eq!(
        first.iter().map(of).collect::<Vec<_>>(),
        [(1, "market-making".into()), (5, "forecast".into())]
    );

    // What makes no sense is refused, and says why.
    let nonsense = ask(state, &["start", "tulips", "--capital", "100"]);
    assert!(
        nonsense.status.code() == Some(2) && said(&nonsense).contains("market-making, forecast"),
        "{nonsense:?}"
    );
    let greedy = ask(state, &["start", "trend", "--capital", "90000"]);
    assert!(
        said(&greedy).contains("more than the account: 150000.00000000 of 100000.00000000"),
        "{greedy:?}"
    );
    let alone = ask(state, &["start", "cross-exchange", "--capital", "100"]);
    assert!(said(&alone).contains("no gateway sends orders for feed.spot"), "{alone:?}");
    let unknown = ask(state, &["stop", "77"]);
    assert!(said(&unknown).contains("there is no session 77; there are 1, 5"), "{unknown:?}");

    let started = ask(state, &["start", "momentum", "--capital", "30000", "--loss-bps", "500"]);
    assert!(said(&started).starts_with("session 2"), "{started:?}");
    assert!(ask(state, &["weigh", "2", "--capital", "10000"]).status.success());
    let weighed = sessions(state);
    assert_eq!(
        (&weighed[2]["session"], &weighed[2]["capital"]),
        (&2.into(), &"10000.00000000".into()),
        "{weighed:?}"
    );
    assert!(ask(state, &["stop", "2"]).status.success());
    let stopped = sessions(state);
    assert_eq!((&stopped[2]["running"], &stopped[0]["running"]), (&false.into(), &true.into()));
    let other = ask(state, &["start", "trend", "--capital", "100", "--number", "2"]);
    assert!(said(&other).contains("the number 2 is taken"), "{other:?}");
    let looser = ["start", "momentum", "--capital", "5000", "--number", "2", "--loss-bps", "501"];
    assert!(said(&ask(state, &looser)).contains("loss_bps is 500, and only made smaller"));
    let again = ask(state, &["start", "momentum", "--capital", "5000", "--number", "2"]);
    assert!(said(&again).starts_with("session 2"), "{again:?}");
    let back = sessions(state);
    let of_it = (&back[2]["running"], &back[2]["capital"], back.len());
    assert_eq!(of_it, (&true.into(), &"5000.00000000".into(), 3));

    let told = weights_are_told(state);
    let weighed = sessions(state);
    let of = |number: &Value| weighed.iter().find(|l| l["session"] == *number).unwrap();
    assert!(!told.is_empty());
    for order in &told {
        let (line, params) = (of(&order["params"]["session"]), &order["params"]);
        match order["method"].as_str().unwrap() {
            "session.weigh" => assert_eq!(line["capital"], params["capital"], "{order} {line}"),
            _ => assert_eq!(line["running"], false, "{order} {line}"),
        }
    }

    let ended = {
        let status = run.wait().unwrap();
        let output = run.wait_with_output().unwrap();
        assert!(status.success(), "{}", said(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    assert_eq!(ended["sealed_allocations"], 0, "{ended}");
    let at_end = ended["sessions"].as_array().unwrap();
    let fills = |i: usize| at_end[i]["fills"].as_u64().unwrap();
    assert!(fills(0) > 0 && fills(1) > 0, "both have traded: {at_end:?}");
    assert_eq!(fills(0) + fills(1) + fills(2), ended["fills"].as_u64().unwrap(), "every fill is somebody's");

    // Whose order it was is part of its identity; each is of the strategy that says so.
    let cat = String::from_utf8(kimera(&["journal", "cat", state]).stdout).unwrap();
    let records: Vec<Value> = cat.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let orders: Vec<&Value> = records.iter().filter(|r| r["kind"] == "new-order").collect();
    for order in &orders {
        let id = order["body"]["id"].as_str().unwrap();
        let child: u64 = id.rsplit('-').next().unwrap().parse().unwrap();
        let strategy = order["body"]["strategy"].as_u64().unwrap();
        assert_eq!([1, 5, 2][(child / 100) as usize], strategy, "{order}");
    }
    // What each returned says how much it might have.
    let shares = kimera(&["portfolio", "--sessions", state, "--bar", "1s", "--by", "risk-parity", "--json"]);
    assert!(shares.status.success(), "{}", said(&shares));
    let shares: Value = serde_json::from_slice(&shares.stdout).unwrap();
    let wanted = shares["assets"].as_array().unwrap().iter().map(|a| a["wanted"].as_f64().unwrap());
    assert!((wanted.sum::<f64>() - 1.0).abs() < 1e-9 && shares["bars"].as_u64() > Some(100), "{shares}");
    let replay = kimera(&["replay", state]);
    assert!(said(&replay).starts_with("identical"), "{}", said(&replay));
    std::fs::remove_dir_all(folder).unwrap();
}
