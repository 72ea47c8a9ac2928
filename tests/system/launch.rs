//! The program as a user starts it: real processes, real sockets on loopback, real files.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kimera");

struct Run(PathBuf);

impl Run {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kimera-system-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn launch(&self, more: &[&str]) -> Output {
        kimera(&[&["supervise", "--state", self.path(), "--speed", "100", "--json"], more].concat())
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn kimera(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

fn says(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_run_is_recorded_and_replays_identically_and_damage_is_named() {
    let run = Run::new("run");
    let output = run.launch(&["--for", "240s"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let summary = json(&output);
    assert_eq!(
        (summary["mode"].as_str(), summary["ended"].as_str()),
        (Some("paper-recorded"), Some("time-reached"))
    );
    assert!(summary["events"].as_u64() > Some(500), "{summary}");
    // However loaded the machine is, no more than 64 frames of an instrument go without a mark.
    let frames: u64 =
        ["feed.spot", "feed.usdm"].iter().filter_map(|f| summary["feeds"][f]["frames"].as_u64()).sum();
    assert!(frames > 300 && summary["marks"].as_u64() >= Some(frames / 64 - 4), "{summary}");
    assert_eq!(summary["sealed_allocations"], 0);
    for feed in ["feed.spot", "feed.usdm"] {
        let counts = &summary["feeds"][feed];
        assert_eq!(
            (counts["slow_path_frames"].as_u64(), counts["undecodable_frames"].as_u64()),
            (Some(0), Some(0))
        );
    }
    let verify = kimera(&["journal", "verify", run.path(), "--json"]);
    assert_eq!((verify.status.code(), json(&verify)["tail"].as_str()), (Some(0), Some("closed")));
    assert_eq!(json(&verify)["last_seq"], summary["events"]);

    let hash = |arguments: &[&str]| {
        let output = kimera(&[&["replay", run.path(), "--json"], arguments].concat());
        let report = json(&output);
        assert_eq!((output.status.code(), &report["identical"]), (Some(0), &Value::Bool(true)), "{report}");
        report["hash"].as_str().unwrap().to_owned()
    };
    let expected = hash(&[]);
    assert_eq!(hash(&["--seed", "99"]), expected);
    assert_eq!(hash(&["--executor", "threaded", "--plan", "cores-4"]), expected);

    let again = run.launch(&["--for", "1s"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(says(&again).contains("holds the journal of an earlier run"), "{}", says(&again));

    damage(&run);
}

#[test]
fn what_risk_refused_is_explained_as_refused() {
    let run = Run::new("refused");
    let profile =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/profiles/paper.toml"));
    let tight = profile.unwrap().replace("order_notional_max = \"10000\"", "order_notional_max = \"100\"");
    let config = std::env::temp_dir().join(format!("kimera-tight-{}.toml", std::process::id()));
    std::fs::write(&config, tight).unwrap();
    let output = run.launch(&["--for", "60s", "--config", config.to_str().unwrap()]);
    std::fs::remove_file(&config).unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let cat = String::from_utf8_lossy(&kimera(&["journal", "cat", run.path()]).stdout).into_owned();
    assert!(!cat.contains("\"kind\":\"new-order\""), "nothing may pass");
    let refusal =
        cat.lines().find(|line| line.contains("\"kind\":\"refusal\"")).expect("something was wanted");
    let refusal: Value = serde_json::from_str(refusal).unwrap();
    let id = refusal["body"]["id"].as_str().unwrap();
    let explained = json(&kimera(&["explain", run.path(), id, "--json"]));
    let routes = explained["routes"].as_array().unwrap();
    assert!(routes.len() == 1 && routes[0]["id"] == id && routes[0]["sent"] == false, "{explained}");
    let checks = routes[0]["checks"].as_array().unwrap();
    let at = checks.iter().position(|c| c["check"] == "order-notional").unwrap();
    assert!(checks[..at].iter().all(|c| c["verdict"] == "passed"), "{explained}");
    assert_eq!((&checks[at]["by"], &checks[at]["verdict"]), (&"risk".into(), &"refused".into()));
    assert!(checks[at + 1..].iter().all(|c| c["verdict"] == "not reached"), "{explained}");
    let nobody = kimera(&["explain", run.path(), "k1-5-0"]);
    assert_eq!(nobody.status.code(), Some(2));
    assert!(says(&nobody).contains("nobody wanted an order k1-5-0 at input 5"), "{}", says(&nobody));
}

/// A patched parameter, a missing blob, a flipped bit: each found and named.
fn damage(run: &Run) {
    let patch = run.0.join("patch.toml");
    std::fs::write(&patch, "[market]\nimbalance_decay = 0.25\n").unwrap();
    let patched = kimera(&["replay", run.path(), "--patch", patch.to_str().unwrap(), "--json"]);
    let difference = &json(&patched)["first_difference"];
    assert_eq!(patched.status.code(), Some(1));
    // Seats that the run did not have say more than it, and nothing else changes.
    let more = run.0.join("more.toml");
    std::fs::write(&more, "[patterns]\ntext = [\"pattern p on trade: t:Trade\"]\n").unwrap();
    let added = json(&kimera(&["replay", run.path(), "--patch", more.to_str().unwrap(), "--json"]));
    assert_eq!(added["first_difference"]["seat"], "member.patterns", "{added}");
    assert_eq!(added["changed"]["decisions"], 0, "{added}");
    assert_eq!(difference["seat"], "market");
    assert!(
        difference["seq"].as_u64() > Some(1) && difference["seq"] == difference["cause_seq"],
        "{difference}"
    );

    let segment = run.0.join("journal/000001.kj");
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    for verb in [&["journal", "verify"][..], &["replay"]] {
        let output = kimera(&[verb, &[run.path()]].concat());
        assert_eq!(output.status.code(), Some(1));
        let text = says(&output);
        assert!(text.contains("journal segment 000001: at offset") && text.contains("(seq "), "{text}");
    }
    bytes[middle] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    std::fs::remove_dir_all(run.0.join("blobs")).unwrap();
    let missing = kimera(&["replay", run.path()]);
    assert_eq!(missing.status.code(), Some(7), "{}", says(&missing));
}

#[test]
fn the_canary_is_seen() {
    let run = Run::new("canary");
    let summary = json(&run.launch(&["--for", "40s", "--canary"]));
    assert!(summary["sealed_allocations"].as_u64() > Some(0), "{summary}");
}

#[test]
fn mistakes_get_one_clear_line_and_the_right_code() {
    let run = Run::new("mistakes");
    let check = |arguments: &[&str], code: i32, text: &str| {
        let output = kimera(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", says(&output));
        assert!(says(&output).contains(text), "{arguments:?}: {}", says(&output));
    };
    check(&["supervise", "--speed", "0"], 2, "0 is not in 1..=100");
    check(&["supervise", "--for", "soon"], 2, "is no time");
    check(&["supervise", "--config", "/nowhere.toml"], 3, "cannot read configuration /nowhere.toml");
    check(&["supervise", "--state", "/proc/nothing"], 1, "cannot make /proc/nothing");
    check(&["supervise", "--state", run.path(), "--plan", "cores-3"], 3, "there is no core plan \"cores-3\"");
    check(&["replay", "/nowhere"], 1, "cannot read /nowhere/journal");
    check(&["replay", run.path(), "--executor", "quantum"], 2, "there are deterministic and threaded");
    check(&["stat", "/nowhere"], 1, "/nowhere/counters");
    let config = run.0.join("wrong.toml");
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/profiles/paper.toml"))
            .unwrap();
    std::fs::write(&config, text.replace("arena_mib", "arena_mb")).unwrap();
    check(&["supervise", "--config", config.to_str().unwrap()], 3, "unknown field `arena_mb`");
    std::fs::write(&config, text.replace("data/binance-20240808", "data/nothing")).unwrap();
    check(
        &["supervise", "--config", config.to_str().unwrap()],
        7,
        "recording data/nothing/tape.toml is missing",
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    check(&["supervise", "--state", run.path(), "--port", &port], 1, "cannot listen on 127.0.0.1:");
}

#[test]
fn a_dry_run_says_everything_and_does_nothing() {
    let run = Run::new("dry");
    let output = kimera(&["supervise", "--state", run.path(), "--dry-run"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0));
    assert!(text.contains("write: ") && text.matches("process: ").count() == 4, "{text}");
    assert!(!run.0.exists());
}

#[test]
fn an_interrupt_ends_the_run_in_order() {
    let run = Run::new("interrupt");
    let child = Command::new(PROGRAM)
        .args(["supervise", "--state", run.path(), "--speed", "1", "--json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // Ended once something has been recorded, however long that takes here.
    let recorded = || {
        let stat = kimera(&["stat", run.path(), "--json"]);
        serde_json::from_slice::<Value>(&stat.stdout)
            .is_ok_and(|v| v["counters"]["journal.durable_seq"].as_u64() > Some(10))
    };
    while !recorded() {
        std::thread::yield_now();
    }
    assert!(kimera_runtime::process::terminate(child.id()));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(json(&output)["ended"], "interrupted");
    let verify = kimera(&["journal", "verify", run.path(), "--json"]);
    assert_eq!(json(&verify)["tail"], "closed");
}

#[test]
fn the_service_manager_hears_that_it_is_ready_alive_and_ending() {
    let run = Run::new("notify");
    let path = std::env::temp_dir().join(format!("kimera-notify-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    let launch = |listens: bool| {
        let mut command = Command::new(PROGRAM);
        command.args(["supervise", "--state", run.path(), "--speed", "20", "--for", "40s", "--json"]);
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000");
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut child = command.current_dir(env!("CARGO_MANIFEST_DIR")).spawn().unwrap();
        let (mut said, mut buffer) = (Vec::new(), [0; 4_096]);
        while listens && !said.last().is_some_and(|s: &String| s.contains("STOPPING=1")) {
            let n = socket.recv(&mut buffer).unwrap();
            said.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
        }
        assert_eq!(child.wait().unwrap().code(), Some(0));
        said
    };
    let said = launch(true);
    // One that never listens, and lets whoever tells it something wait, holds nobody up.
    std::fs::remove_dir_all(run.path()).unwrap();
    launch(false);
    let _ = std::fs::remove_file(&path);
    let first = said.first().map_or("", String::as_str);
    assert!(first.starts_with("READY=1") && first.contains("STATUS=trading"), "{said:?}");
    assert!(said.iter().filter(|s| s.contains("WATCHDOG=1")).count() >= 2, "{said:?}");
}

#[test]
fn doctor_and_tune_say_what_they_find_and_touch_nothing() {
    let doctor = kimera(&["doctor", "--json"]);
    assert!(matches!(doctor.status.code(), Some(0 | 6)), "{doctor:?}");
    let report = json(&doctor);
    let failing = report["facts"].as_array().unwrap().iter().any(|fact| fact["verdict"] == "FAIL");
    assert_eq!(doctor.status.code(), Some(if failing { 6 } else { 0 }));
    assert!(!report["plan"]["why"].as_array().unwrap().is_empty());
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let before = read("/proc/sys/vm/swappiness");
    let tune = kimera(&["tune", "show", "--json"]);
    assert_eq!(tune.status.code(), Some(0), "{tune:?}");
    let rows = json(&tune);
    let row =
        rows["settings"].as_array().unwrap().iter().find(|row| row["setting"] == "/proc/sys/vm/swappiness");
    assert!(row.is_some_and(|row| row["outcome"].is_string()), "{rows}");
    assert_eq!(read("/proc/sys/vm/swappiness"), before);
    let wrong = kimera(&["doctor", "--plan", "cores-3"]);
    assert_eq!(wrong.status.code(), Some(3));
    assert!(says(&wrong).contains("known: auto, cores-2"), "{wrong:?}");
}
