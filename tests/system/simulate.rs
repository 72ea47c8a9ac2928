//! Whole firms in virtual time, through the program.

use std::process::{Command, Output};

use serde_json::Value;

fn sim(arguments: &[&str]) -> (Output, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_kimera")).arg("sim").args(arguments).output().unwrap();
    let value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output, value)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn fixed_seeds_do_the_same_twice_and_break_nothing() {
    let (output, found) = sim(&["--json", "--seed", "1", "--seeds", "12", "--steps", "2000", "--twice"]);
    assert!(output.status.success(), "{}", text(&output));
    let count = |name: &str| found[name].as_u64().unwrap();
    assert!(count("orders") > 100 && count("fills") > 50 && count("starts") > 15, "{found}");
}

#[test]
fn fresh_seeds_break_nothing() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let seed = (now * 1_000).to_string();
    eprintln!("fresh seeds from {seed}");
    let (output, _) = sim(&["--json", "--seed", &seed, "--seeds", "4", "--steps", "2000"]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn a_seed_and_a_script_say_everything() {
    let script = "600:kill 1200:power 1900:cut=/private/ws 2300:venue 2600:panic=member.thermodynamic";
    let run = || sim(&["--json", "--seed", "7", "--steps", "3000", "--script", script]);
    let ((output, first), (_, second)) = (run(), run());
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(first["starts"], 3);
    for name in ["inputs", "handled", "delivered", "writes", "orders", "fills"] {
        assert_eq!(first[name], second[name], "{name}");
    }
    let (wrong, _) = sim(&["--script", "600:kil"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong).contains("is not <milliseconds>:<fault>"));
}

#[test]
fn a_full_disk_halts_and_the_run_goes_on_to_its_end() {
    let run = |script: &str| sim(&["--json", "--trace", "--seed", "5", "--script", script]);
    let (undisturbed, before) = run("");
    let (full, after) = run("1500:disk-full=60000");
    for output in [&undisturbed, &full] {
        assert!(output.status.success(), "{}", text(output));
    }
    assert!(text(&full).contains("the disk is full: halted"), "{}", text(&full));
    assert_eq!([&after["starts"], &before["starts"]], [1, 1]);
    let orders = |found: &Value| found["orders"].as_u64().unwrap();
    assert!(orders(&after) > 0 && orders(&after) < orders(&before), "{before} {after}");
}

#[test]
fn a_fill_that_a_stage_leaves_out_is_booked_all_the_same() {
    // The input that market does not survive is a fill.
    let script =
        "1642:reject=3 1880:panic=member.sentiment 2174:stall=/stream,472 2824:poison=market 2874:away=45";
    let (output, found) = sim(&["--json", "--seed", "303259", "--steps", "500", "--script", script]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(found["starts"], 3);
}
