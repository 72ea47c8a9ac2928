//! `kimera explain`: why an order was sent, or a decision made. The journal goes through the line again up to that input, and
//! what every seat said about it is kept.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use kimera_protocol::{Abstention, Features, Message, NewOrder, OrderUpdate, Quote, Seq, Vote, Weights};
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::line::{self, Probes};
use crate::replay::{self, ExecutorChoice, Recorded};
use crate::report::SCHEMA_VERSION;
use crate::verbs::message_json;

/// Explains an order (`k1-12807-0`) or the decision at an input (`12807`).
///
/// # Errors
/// A journal that cannot be read; an order or input that it does not have.
pub fn explain(state: &Path, what: &str) -> Result<Value, Failure> {
    let recorded = replay::load(state)?;
    let order = recorded.said.orders.iter().find(|m| is_order(m, what)).copied();
    let seq = match (&order, what.parse::<Seq>()) {
        (Some(order), _) => order.header.seq,
        (None, Ok(seq)) => seq,
        (None, Err(_)) => {
            return Err(Failure::usage(format!(
                "\"{what}\" is neither an order of this journal (k1-12807-0) nor the number of an input"
            )));
        }
    };
    let input = recorded.inputs.iter().find(|m| m.header.seq == seq);
    let input = *input.ok_or_else(|| Failure::usage(format!("the journal has no input {seq}")))?;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let probes = Probes { watch: Some((seq, seen.clone())), ..Probes::default() };
    let executor = ExecutorChoice::Deterministic(0);
    let recomputed = replay::recompute(&recorded.config, &recorded.inputs, &executor, seq, &probes)?;
    let weights = recomputed.said.decisions.iter().rev().find_map(|m| m.body::<Weights>().copied());
    let said = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    let mut said: Vec<Value> = said.iter().map(|(seat, message)| said_json(seat, message)).collect();
    // What is passed on unchanged is shown once; of an order, who has passed it.
    let mut shown = BTreeSet::new();
    said.retain(|value| {
        let by =
            if value["kind"] == "new-order" || value["kind"] == "vote" { plain(&value["seat"]) } else { "" };
        shown.insert(format!("{by} {} {}", value["kind"], value["body"]))
    });
    Ok(json!({
        "schema_version": SCHEMA_VERSION,
        "what": what,
        "input": message_json(&input),
        "said": said,
        "weights": weights.map(|w| w.weights[..line::MEMBERS.len()].to_vec()),
        "then": order.map(|order| what_came(&recorded, &order)),
    }))
}

fn is_order(message: &Message, text: &str) -> bool {
    message.body::<NewOrder>().is_some_and(|order| order.id.to_text().as_str() == text)
}

/// One thing that a seat has said.
fn said_json(seat: &str, message: &Message) -> Value {
    let mut value = message_json(message);
    if let Some(vote) = message.body::<Vote>() {
        let abstains = Abstention::from_code(vote.abstains).map(Abstention::name);
        value["body"] =
            json!({"p": vote.p, "abstains": abstains, "level": vote.level, "second": vote.second});
    } else if let Some(f) = message.body::<Features>() {
        value["body"] = json!({
            "microprice": f.microprice, "imbalance": f.imbalance, "order_flow": f.order_flow,
            "order_flow_impact": f.order_flow_impact, "liquidity_flow": f.liquidity_flow,
            "kyle_lambda": f.kyle_lambda,
        });
    } else if let Some(q) = message.body::<Quote>() {
        let level = |l: &kimera_protocol::Level| json!([l.price.0, l.size.to_string()]);
        value["body"] = json!({"bid": level(&q.bid), "ask": level(&q.ask), "update_id": q.update_id});
    }
    json!({"seat": seat, "kind": value["kind"], "body": value["body"]})
}

/// Reports about an order, with the market time since its cause.
fn what_came(recorded: &Recorded, order: &Message) -> Vec<Value> {
    let Some(id) = order.body::<NewOrder>().map(|o| o.id) else { return Vec::new() };
    let about = |m: &&Message| m.body::<OrderUpdate>().is_some_and(|u| u.id == id);
    let report = |m: &Message| {
        let mut value = message_json(m);
        value["after_ms"] = json!((m.header.time - order.header.time) as f64 / 1e6);
        value
    };
    recorded.inputs.iter().filter(about).map(report).collect()
}

/// An explanation as people read it.
#[must_use]
pub fn text(explained: &Value) -> String {
    let mut out = String::new();
    let input = &explained["input"];
    let _ = writeln!(out, "input {}  {}  {}", input["seq"], plain(&input["kind"]), input["body"]);
    for said in explained["said"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "  {:<22} {:<12} {}", plain(&said["seat"]), plain(&said["kind"]), said["body"]);
    }
    if let Some(weights) = explained["weights"].as_array() {
        let of = line::MEMBERS.iter().zip(weights).map(|((name, _), w)| format!("{name} {w}"));
        let _ = writeln!(out, "weights: {}", of.collect::<Vec<_>>().join(", "));
    }
    for came in explained["then"].as_array().into_iter().flatten() {
        let after = came["after_ms"].as_f64().unwrap_or(0.0);
        let _ = writeln!(out, "  +{after:>11.3} ms  input {:<9} {}", came["seq"], came["body"]);
    }
    out
}

fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
