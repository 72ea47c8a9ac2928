//! The supervision tree as people read it.

use std::fmt::Write;

use serde_json::Value;

/// Text of what `tree` answers.
#[must_use]
pub fn tree_text(tree: &Value) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "supervisor {}  {}", tree["pid"], intensity(tree));
    for process in tree["children"].as_array().into_iter().flatten() {
        let state = if process["running"] == true { "running" } else { "not there" };
        let _ = writeln!(out, "  {:<8} {:<8} {state}", text(&process["name"]), process["pid"].to_string());
        for thread in process["threads"].as_array().into_iter().flatten() {
            let seats: Vec<_> =
                thread["seats"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let core = thread["core"].as_u64().map_or("-".into(), |core| core.to_string());
            let _ = writeln!(
                out,
                "    thread {:<8} core {core:<3} {:<11} {}",
                text(&thread["thread"]),
                text(&thread["idle"]),
                seats.join(" ")
            );
        }
        for group in process["groups"].as_array().into_iter().flatten() {
            let _ = writeln!(out, "    {:<9} {}", text(&group["group"]), intensity(group));
            for child in group["children"].as_array().into_iter().flatten() {
                let _ = writeln!(out, "      {}", child_text(child));
            }
        }
    }
    out
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Who goes with whom, how they come back, how often.
fn intensity(node: &Value) -> String {
    let mut said = text(&node["strategy"]).to_owned();
    match text(&node["way_back"]) {
        "" => {}
        "engine" => return said + ", back with the engine",
        way => {
            let _ = write!(said, ", back {way}");
        }
    }
    if let (Some(most), Some(within)) = (node["restarts"].as_u64(), node["within_ms"].as_u64()) {
        let _ = write!(said, ", {most} in {} s", within / 1_000);
    }
    said
}

fn child_text(child: &Value) -> String {
    let mut said = format!("{:<22} {:<9}", text(&child["name"]), text(&child["state"]));
    let (falls, restarts) = (child["falls"].as_u64().unwrap_or(0), child["restarts"].as_u64().unwrap_or(0));
    if falls + restarts > 0 {
        let _ = write!(said, " {falls} falls, {restarts} restarts");
    }
    if let Some(last) = child["last_failure"].as_str() {
        let _ = write!(said, "; last: {last}");
    }
    for range in child["absences"].as_array().into_iter().flatten() {
        match range[1].as_u64() {
            Some(to) => write!(said, "; out {} to {to}", range[0]),
            None => write!(said, "; out from {}", range[0]),
        }
        .unwrap_or_default();
    }
    said.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_fall_and_an_absence_are_read_at_a_glance() {
        let child = json!({
            "name": "member.macro", "state": "running", "falls": 1, "restarts": 1,
            "last_failure": "panicked at input 7: unlucky", "absences": [[7, 8_300], [9_000, null]],
        });
        assert_eq!(
            child_text(&child),
            "member.macro           running   1 falls, 1 restarts; last: panicked at input 7: unlucky; out 7 to 8300; out from 9000"
        );
        let group =
            json!({"strategy": "one-for-one", "way_back": "in-place", "restarts": 3, "within_ms": 60_000});
        assert_eq!(intensity(&group), "one-for-one, back in-place, 3 in 60 s");
    }
}
