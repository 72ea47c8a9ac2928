//! Comparing builds: nothing is found between a build and itself, a twentieth more work is found, and readers beside the line
//! cost it less than that.

use std::process::Command;

use serde_json::Value;

use crate::cases::Cases;
use crate::run::program;

/// A/A comparisons that say "no change", of so many.
const GOOD_OF: (u64, u64) = (19, 20);

/// Rounds of a comparison: as many as the command takes when nobody says.
const ROUNDS: &str = "20";

/// What whoever computes on the other core may cost the line. They share the processor's last cache and its memory with it:
/// 1 to 2 % were measured on two cores of a guest, which an interval of 20 rounds is narrow enough to find.
const BESIDE_MAX: f64 = 1.03;

fn compare(a: &str, b: &str) -> Value {
    let out = Command::new(program())
        .args(["bench", "compare", a, b, "--metric", "frame_to_order", "--rounds", ROUNDS, "--json"])
        .output()
        .unwrap();
    serde_json::from_slice(&out.stdout).unwrap_or_default()
}

fn said(value: &Value) -> String {
    let r = &value["ratio"];
    format!("{}, ratio {} in {} to {}", value["verdict"], r["ratio"], r["low"], r["high"])
}

pub fn prove(cases: &mut Cases, runs: u64) {
    let mut same = 0;
    for _ in 0..runs {
        let found = compare(".", ".");
        same += u64::from(found["verdict"] == "no change" && found["same_orders"] == true);
        cases.note(&said(&found));
    }
    cases.holds(
        &format!("a build and itself, {runs} times: no change"),
        same * GOOD_OF.1 >= runs * GOOD_OF.0,
        format!("{same} of {runs}"),
    );
    let slower = compare(".", ".+slower=5");
    cases.holds("control: 5 % more work in the line is found", slower["verdict"] == "slower", said(&slower));
    let beside = compare(".", ".+shadow+stat+explain");
    let ratio = beside["ratio"]["ratio"].as_f64();
    let little = ratio.is_some_and(|ratio| ratio <= BESIDE_MAX) && beside["same_orders"] == true;
    let name = format!("shadow, stat readers and explain on the other core: a ratio of {BESIDE_MAX} at most");
    cases.holds(&name, little, said(&beside));
}
