//! What forecasts were worth, said of the shipped recording: the same every time, and nobody who knows what comes passes.

use std::process::{Command, Output};

use serde_json::Value;

const RECORDING: &str = "data/binance-20240808";

fn evaluate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kimera"));
    command.arg("evaluate").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

fn of(output: &Output) -> Value {
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    value["evaluations"][0].clone()
}

#[test]
fn forecasts_are_walked_forward_and_claims_are_judged() {
    let folder = std::env::temp_dir().join(format!("kimera-evaluate-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (trials, html) = (path("trials.jsonl"), path("report.html"));
    let first = evaluate(&["--on", RECORDING, "--json", "--trials", &trials, "--html", &html]);
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let said = of(&first);
    let came = said["came"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum::<u64>();
    assert!(came > 250 && said["purged"].as_u64().unwrap() > 5 && said["leakage"]["differ"] == 0, "{said}");
    let rows = said["rows"].as_array().unwrap();
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap();
    assert!(row("thermodynamic")["decisions"].as_u64().unwrap() > 100);
    assert!(row("majority")["role"] == "baseline" && row("without contradiction")["role"] == "ablation");
    assert_eq!(row("macro")["accuracy"], Value::Null, "who says nothing is not right");
    let verdicts: Vec<_> = said["targets"].as_array().unwrap().iter().map(|t| &t["verdict"]).collect();
    assert_eq!(verdicts, ["not measurable here"; 4], "six minutes are not enough for any claim");
    // The page's dots are the rows' bins, and nothing on it comes from elsewhere.
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.matches("<svg").count() >= 6 && page.matches("data-said").count() > 30);
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("NaN"));
    let again = evaluate(&["--on", RECORDING, "--json", "--trials", &trials]);
    let again = of(&again);
    assert_eq!((said["trials"].as_u64(), again["trials"].as_u64()), (Some(1), Some(2)));
    assert_eq!((&said["rows"], &said["targets"]), (&again["rows"], &again["targets"]));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn who_has_seen_the_end_is_noticed() {
    let planted = evaluate(&["--on", RECORDING, "--json", "--plant-look-ahead"]);
    assert_eq!(planted.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&planted.stderr).contains("depend on what came later"));
    let said = of(&planted);
    assert!(said["leakage"]["differ"].as_u64().unwrap() > 100, "{}", said["leakage"]);
}

#[test]
fn what_cannot_be_evaluated_is_said() {
    for (arguments, code, said) in [
        (vec![], 2, "--on FOLDER"),
        (vec!["--on", "/nowhere"], 7, "/nowhere is neither"),
        (vec!["--bars", "/nowhere.csv"], 7, "cannot read /nowhere.csv"),
        (vec!["--bars", "Cargo.toml"], 7, "no minute"),
        (vec!["--on", RECORDING, "--html", "/nowhere/x.html"], 1, "cannot write /nowhere/x.html"),
        (vec!["--on", RECORDING, "--trials", "/nowhere/x"], 1, "cannot count trials"),
    ] {
        let output = evaluate(&arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && text.contains(said), "{arguments:?}: {text}");
    }
}

/// Minutes from a walk that a seed decides: nobody can know anything, and a day of them is enough to say so.
#[test]
fn on_minutes_of_a_walk_nobody_has_skill() {
    let path = std::env::temp_dir().join(format!("kimera-minutes-{}.csv", std::process::id()));
    let (mut text, mut price, mut word) = (String::new(), 100.0f64, 88_172_645_463_325_252u64);
    for minute in 0..1_500i64 {
        let mut step = 0.0;
        for _ in 0..12 {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            step += (word >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
        }
        price *= 1.0 + 0.0005 * step;
        let (time, volume) = (1_700_000_000_000 + minute * 60_000, 10.0 + (word % 7) as f64);
        text += &format!(
            "{time},{price},{price},{price},{price:.6},{volume},{},0,50,{},0,0\n",
            time + 59_999,
            volume / 2.0
        );
    }
    std::fs::write(&path, text).unwrap();
    let output = evaluate(&["--bars", path.to_str().unwrap(), "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = of(&output);
    let rows = said["rows"].as_array().unwrap();
    let voted = rows.iter().filter(|row| row["role"] == "own" && !row["skill"].is_null());
    assert!(voted.clone().count() >= 2);
    assert!(voted.clone().all(|row| row["skill"].as_f64().unwrap() < 0.05), "{rows:?}");
    let claims = said["targets"].as_array().unwrap();
    assert!(claims.iter().all(|target| target["verdict"] != "met"), "{claims:?}");
    std::fs::remove_file(path).unwrap();
}
