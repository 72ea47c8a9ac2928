//! Headlines in a whole run: read from a file when they are due, heard by the member, journaled, and the same again.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn kimera(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kimera"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

#[test]
fn headlines_are_heard_when_they_are_due_and_the_replay_knows() {
    let folder = std::env::temp_dir().join(format!("kimera-headlines-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let news = folder.join("news.jsonl");
    // The recording begins at 23:54:17 of 2024-08-08.
    let begin = 1_723_161_257_000i64;
    let line = |after_s: i64, source: &str, headline: &str| {
        let at = begin + after_s * 1_000;
        format!("{{\"published_ms\": {at}, \"source\": \"{source}\", \"headline\": \"{headline}\"}}\n")
    };
    let text = [
        line(5, "wire", "Bitcoin surges as regulator approves fund"),
        line(6, "wire", "BITCOIN surges, as regulator approves fund!"),
        "this is no headline\n".to_owned(),
        line(20, "blog", "Exchange hacked, losses feared"),
        line(86_400, "wire", "Bitcoin falls tomorrow"),
    ];
    // What was published on sixty days before, and what the asset cost then; the newest an hour before the recording begins.
    let day = |i: i64| {
        let (at, value) = (begin - 3_600_000 - (60 - i) * 86_400_000, 100.0 + (i * 7 % 11) as f64 * 0.2);
        let price = 60_000.0 - 400.0 * value + 40_000.0 + (i * 5 % 7) as f64;
        format!(
            "{{\"published_ms\": {at}, \"series\": \"dollar\", \"value\": {value}, \"price\": {price}}}\n"
        )
    };
    // What holders paid each other, and an index from outside; and the minutes of sixty-one days before, the last hour an hour before the run.
    let crowd = |i: i64| {
        let at = begin - 3_500_000 - (60 - i) * 86_400_000;
        let line = |series: &str, value: f64| {
            format!("{{\"published_ms\": {at}, \"series\": \"{series}\", \"value\": {value}}}\n")
        };
        line("funding", (i * 7 % 13) as f64 * 0.001) + &line("fear-greed", 20.0)
    };
    let mut readings: Vec<(i64, String)> = Vec::new();
    (0..=60).for_each(|i| readings.extend([(2 * i, day(i)), (2 * i + 1, crowd(i))]));
    let readings: String = readings.into_iter().map(|(_, line)| line).collect();
    std::fs::write(&news, text.concat() + &readings).unwrap();
    let minutes = folder.join("minutes.csv");
    let hours = begin / 3_600_000;
    let minute = |m: i64| {
        let at = (hours - 61 * 24) * 3_600_000 + m * 60_000;
        let close = 61_000.0 + (m * 7 % 11) as f64 * (1.0 + (m / 60 % 5) as f64);
        format!("{at},{close},{close},{close},{close},3.5,0,0,9,1.5,0,0\n")
    };
    std::fs::write(&minutes, (0..61 * 24 * 60).map(minute).collect::<String>()).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/profiles/paper.toml");
    let profile = folder.join("profile.toml");
    let more = format!(
        "\n[news]\nfile = \"{}\"\ntrusted = [\"wire\"]\n[history]\nminutes = \"{}\"\n",
        news.display(),
        minutes.display()
    );
    std::fs::write(&profile, std::fs::read_to_string(shipped).unwrap() + &more).unwrap();
    let (state, profile) = (folder.join("state"), profile.to_str().unwrap().to_owned());
    let state = state.to_str().unwrap();
    let arguments =
        ["supervise", "--config", &profile, "--state", state, "--for", "100s", "--speed", "20", "--json"];
    let ran = kimera(&arguments);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let summary: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert!(summary["ensemble"]["votes"]["sentiment"].as_u64() > Some(0), "{summary}");
    assert!(summary["ensemble"]["votes"]["macro"].as_u64() > Some(100), "{summary}");
    assert_eq!(summary["sealed_allocations"], 0, "{summary}");

    let cat = String::from_utf8(kimera(&["journal", "cat", state]).stdout).unwrap();
    let records = cat.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (heard, rest): (Vec<Value>, Vec<Value>) = records.partition(|r| r["kind"] == "news");
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
