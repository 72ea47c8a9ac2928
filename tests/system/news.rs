//! Headlines in a whole run: read from a file when they are due, heard by the member, journaled, and the same again.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn kimera(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kimera"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

/// The recording begins at 23:54:17 of 2024-08-08.
const BEGIN_MS: i64 = 1_723_161_257_000;
const DAY_MS: i64 = 86_400_000;
/// Days before it of which there are readings.
const DAYS: i64 = 60;

fn headlines() -> String {
    let line = |after_s: i64, source: &str, headline: &str| {
        let at = BEGIN_MS + after_s * 1_000;
        format!("{{\"published_ms\": {at}, \"source\": \"{source}\", \"headline\": \"{headline}\"}}\n")
    };
    [
        line(5, "wire", "Bitcoin surges as regulator approves fund"),
        line(6, "wire", "BITCOIN surges, as regulator approves fund!"),
        "this is no headline\n".to_owned(),
        line(20, "blog", "Exchange hacked, losses feared"),
        line(86_400, "wire", "Bitcoin falls tomorrow"),
    ]
    .concat()
}

/// Of sixty days: a dollar and what the asset cost then, what holders paid each other, an index from outside; the newest an hour before the recording
/// begins.
fn readings() -> String {
    let line = |at: i64, series: &str, value: f64, more: &str| {
        format!("{{\"published_ms\": {at}, \"series\": \"{series}\", \"value\": {value}{more}}}\n")
    };
    let day = |i: i64| {
        let at = BEGIN_MS - 3_600_000 - (DAYS - i) * DAY_MS;
        let dollar = 100.0 + (i * 7 % 11) as f64 * 0.2;
        let price = format!(", \"price\": {}", 100_000.0 - 400.0 * dollar + (i * 5 % 7) as f64);
        let funding = (i * 7 % 13) as f64 * 0.001;
        let crowd = at + 100_000;
        line(at, "dollar", dollar, &price)
            + &line(crowd, "funding", funding, "")
            + &line(crowd, "fear-greed", 20.0, "")
    };
    (0..=DAYS).map(day).collect()
}

/// Minutes of the days before; the last hour ends before the recording begins.
fn minutes() -> String {
    let begin = BEGIN_MS.div_euclid(3_600_000) * 3_600_000 - (DAYS + 1) * DAY_MS;
    let minute = |m: i64| {
        let close = 61_000.0 + (m * 7 % 11) as f64 * (1.0 + (m / 60 % 5) as f64);
        format!("{},{close},{close},{close},{close},3.5,0,0,9,1.5,0,0\n", begin + m * 60_000)
    };
    (0..(DAYS + 1) * 24 * 60).map(minute).collect()
}

/// The shipped profile with news and minutes of its own.
fn profile(folder: &Path) -> String {
    let (news, history) = (folder.join("news.jsonl"), folder.join("minutes.csv"));
    std::fs::write(&news, headlines() + &readings()).unwrap();
    std::fs::write(&history, minutes()).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/profiles/paper.toml");
    let shipped = std::fs::read_to_string(shipped).unwrap();
    let file = "file = \"data/crowd-20240808/readings.jsonl\"";
    assert!(shipped.contains(file));
    let other = format!("file = \"{}\"\ntrusted = [\"wire\"]", news.display());
    let more = format!("\n[history]\nminutes = \"{}\"\n", history.display());
    let profile = folder.join("profile.toml");
    std::fs::write(&profile, shipped.replace(file, &other) + &more).unwrap();
    profile.to_str().unwrap().to_owned()
}

fn records(state: &str) -> Vec<Value> {
    let cat = String::from_utf8(kimera(&["journal", "cat", state]).stdout).unwrap();
    cat.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("kimera-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn headlines_are_heard_when_they_are_due_and_the_replay_knows() {
    let folder = folder("headlines");
    let profile = profile(&folder);
    let state = folder.join("state");
    let state = state.to_str().unwrap();
    let arguments =
        ["supervise", "--config", &profile, "--state", state, "--for", "100s", "--speed", "20", "--json"];
    let ran = kimera(&arguments);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let summary: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert!(summary["ensemble"]["votes"]["sentiment"].as_u64() > Some(0), "{summary}");
    assert!(summary["ensemble"]["votes"]["macro"].as_u64() > Some(100), "{summary}");
    assert_eq!(summary["sealed_allocations"], 0, "{summary}");

    let (heard, rest): (Vec<Value>, Vec<Value>) =
        records(state).into_iter().partition(|r| r["kind"] == "news");
    let read = rest.iter().filter(|r| r["kind"] == "reading");
    let of_series = |series: &str| read.clone().filter(|r| r["body"]["series"] == series).count();
    assert_eq!(["dollar", "funding", "fear-greed"].map(of_series), [61; 3]);
    let primes: Vec<_> = rest.iter().filter(|r| r["kind"] == "prime").collect();
    assert_eq!(primes.len(), 61 * 24);
    let is_over =
        |r: &&Value| r["time"].as_i64() >= r["body"]["begins"].as_i64().map(|b| b + 3_600_000_000_000);
    assert!(primes.iter().all(is_over), "none before it is over");
    let thought = |topic: &str| {
        rest.iter()
            .any(|r| r["kind"] == "opinion" && r["body"]["topic"] == topic && r["body"]["status"] == "ok")
    };
    for topic in ["temperature", "calm", "drive", "crowding", "outside-index"] {
        assert!(thought(topic), "nothing is thought of {topic}");
    }
    let of = |i: usize| (heard[i]["body"]["compound"].as_f64().unwrap(), &heard[i]["body"]["trusted"]);
    assert_eq!(heard.len(), 2, "each once, and none before its time: {heard:?}");
    assert!(of(0).0 > 0.4 && *of(0).1 == true && of(1).0 < -0.4 && *of(1).1 == false, "{heard:?}");
    for n in &heard {
        assert!(n["time"].as_i64() >= n["body"]["published"].as_i64(), "{n}");
    }
    let replay = kimera(&["replay", state]);
    let replayed = String::from_utf8_lossy(&replay.stdout).into_owned();
    assert!(replayed.starts_with("identical"), "{replayed}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_ships_is_heard_by_whom_it_is_of() {
    let folder = folder("crowd");
    let state = folder.join("state");
    let state = state.to_str().unwrap();
    let ran = kimera(&["supervise", "--state", state, "--for", "80s", "--speed", "20", "--json"]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let all = records(state);
    let of = |series: &str| all.iter().filter(|r| r["body"]["series"] == series).collect::<Vec<_>>();
    let (funding, index) = (of("funding"), of("fear-greed"));
    assert_eq!((funding.len(), index.len()), (99, 99), "those of the days that are over");
    for r in funding.iter().chain(&index) {
        assert!(r["time"].as_i64() >= r["body"]["published"].as_i64(), "{r}");
    }
    let thought = |topic: &str| {
        all.iter()
            .rfind(|r| r["kind"] == "opinion" && r["body"]["topic"] == topic)
            .map(|r| (r["body"]["status"].clone(), r["body"]["value"].as_f64().unwrap()))
    };
    // The 7th of August: 29 of 100; funding was below 0, as on 4 of the 89 days before it.
    let (status, value) = thought("outside-index").unwrap();
    assert!(status == "ok" && (value - 0.29).abs() < 1e-12, "{status} {value}");
    let (status, value) = thought("crowding").unwrap();
    assert!(status == "ok" && value < 0.1, "{status} {value}");
    std::fs::remove_dir_all(folder).unwrap();
}
