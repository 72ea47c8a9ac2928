//! `kimera explain`: why an order was sent, or a decision made. The journal goes through the line again up to that input, and
//! what every seat said about it is kept.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::sync::PoisonError;

use kimera_compliance::CHECKS;
use kimera_ensemble::{pool, sketch};
use kimera_protocol::{
    Abstention, Consensus, Definition, Features, MEMBERS_MAX, Message, Nanos, NewOrder, OrderId, OrderUpdate,
    Quote, Refusal, Seq, Vote, Weights,
};
use kimera_risk::Gate;
use kimera_runtime::Tsc;
use kimera_runtime::seat::Watch;
use serde_json::{Value, json};

use crate::config::Config;
use crate::exit::Failure;
use crate::line::{self, Probes};
use crate::replay::{self, ExecutorChoice, Recorded};
use crate::report::SCHEMA_VERSION;
use crate::verbs::message_json;

/// Explains an order (`k1-12807-0`), sent or refused, or the decision at an input (`12807`).
///
/// # Errors
/// A journal that cannot be read; an order or input that it does not have.
pub fn explain(state: &Path, what: &str) -> Result<Value, Failure> {
    let recorded = replay::load(state)?;
    let order = OrderId::parse(what.as_bytes());
    let seq = order.map_or_else(|| what.parse::<Seq>().ok(), |id| Some(id.seq)).ok_or_else(|| {
        let text = "is neither an order (k1-12807-0) nor the number of an input";
        Failure::usage(format!("\"{what}\" {text}"))
    })?;
    let input = recorded.inputs.iter().find(|m| m.header.seq == seq);
    let input = *input.ok_or_else(|| Failure::usage(format!("the journal has no input {seq}")))?;
    let watch = Watch::new(seq);
    let probes = Probes { watch: Some(watch.clone()), ..Probes::default() };
    let executor = ExecutorChoice::Deterministic(0);
    let from = recorded.from.as_ref();
    let recomputed =
        replay::recompute_from(from, &recorded.config, &recorded.inputs, &executor, seq, &probes)?;
    let weights = recomputed.said.decisions.iter().rev().find_map(|m| m.body::<Weights>().copied());
    let said = std::mem::take(&mut *watch.said.lock().unwrap_or_else(PoisonError::into_inner));
    let adds = contributions(&said, weights.as_ref(), &recorded.config);
    let routes = routes(&recorded, order, &said);
    if routes.is_empty() && order.is_some() {
        return Err(Failure::usage(format!("nobody wanted an order {what} at input {seq}")));
    }
    let waterfall = waterfall(&watch);
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
        "routes": routes,
        "latency": waterfall,
        "weights": weights.map(|w| by_name(&recorded.config, &w.weights)),
        "adds": adds,
        "then": order.map(|order| what_came(&recorded, order, input.header.time)),
    }))
}

/// Values of members by their names.
fn by_name(config: &Config, values: &[f64]) -> Value {
    line::members_of(config).iter().zip(values).map(|((name, _), w)| ((*name).to_owned(), json!(w))).collect()
}

/// What each member's vote at this mark adds to the score, by name; nothing where there was no mark. Before weights have changed they are the
/// configuration's.
fn contributions(said: &[(String, Message)], weights: Option<&Weights>, config: &Config) -> Value {
    let mut votes = [None; MEMBERS_MAX];
    for vote in said.iter().filter_map(|(_, m)| m.body::<Vote>()).filter(|vote| vote.abstains == 0) {
        if let Some(slot) = votes.get_mut(vote.member as usize) {
            *slot = sketch::read(vote.sketch);
        }
    }
    let Some(consensus) = said.iter().find_map(|(_, m)| m.body::<Consensus>()) else { return Value::Null };
    let weights = weights.map_or_else(|| config.ensemble_config().prior, |w| w.weights);
    let each = pool::contributions(&votes, &weights);
    // Weights that were set before the snapshot which the replay began with are not known here.
    let sum = each.iter().flatten().fold(0.0, |sum, by| sum + by);
    if (sum - consensus.score).abs() > 1e-9 {
        return Value::Null;
    }
    line::members_of(config)
        .iter()
        .zip(each)
        .map(|((name, _), adds)| ((*name).to_owned(), json!(adds)))
        .collect()
}

/// Where each wanted order went, or the one that is asked for: with what, and which checks it passed on the way.
fn routes(recorded: &Recorded, only: Option<OrderId>, said: &[(String, Message)]) -> Vec<Value> {
    let wanted = said.iter().filter(|(seat, _)| seat == line::EXECUTION);
    let orders = wanted.filter_map(|(_, m)| Some((m.header.instrument, m.body::<NewOrder>()?)));
    let orders = orders.filter(|(_, new)| only.is_none_or(|id| id == new.id));
    orders.map(|(instrument, new)| route(recorded, instrument, new, said)).collect()
}

fn route(recorded: &Recorded, instrument: u16, wanted: &NewOrder, said: &[(String, Message)]) -> Value {
    let refused =
        said.iter().find_map(|(_, m)| m.body::<Refusal>().filter(|r| r.id == wanted.id).map(|r| r.reason));
    // Risk stamps what it passes.
    let mut passed = said.iter().filter_map(|(_, m)| m.body::<NewOrder>().filter(|new| new.id == wanted.id));
    let new = passed.next_back().unwrap_or(wanted);
    let mut reached = true;
    let mut checks = Vec::new();
    let all = Gate::checks().map(|check| (line::RISK, check));
    for (by, check) in all.chain(CHECKS.map(|check| (line::COMPLIANCE, check))) {
        let no = refused == Some(check as u64);
        let verdict = if !reached {
            "not reached"
        } else if no {
            "refused"
        } else {
            "passed"
        };
        checks.push(json!({"by": by, "check": check.name(), "verdict": verdict}));
        reached &= !no;
    }
    let section = recorded.config.instruments.get(usize::from(instrument));
    // What the venue demanded then; none where it had not said so yet, or before the snapshot that the journal goes on from.
    let defines = |m: &&Message| {
        m.header.seq <= wanted.id.seq && m.header.instrument == instrument && m.body::<Definition>().is_some()
    };
    let rules = recorded.inputs.iter().rev().find(defines).map(message_json);
    json!({
        "id": new.id.to_text().as_str(), "sent": reached,
        "venue": new.venue, "symbol": section.map(|s| s.symbol.clone()), "gateway": recorded.config.account.gateway,
        "side": if new.side == 0 { "buy" } else { "sell" }, "price_ticks": new.price.0,
        "size": new.quantity.to_string(), "parent": new.parent, "stamp_seq": new.stamp_seq,
        "limits_version": new.limits_version, "trading_epoch": new.trading_epoch, "checks": checks,
        "rules": rules.map(|rules| json!({"since": rules["seq"], "body": rules["body"]})),
    })
}

/// How long each stage took for the input in this replay, in the order of the line.
fn waterfall(watch: &Watch) -> Vec<Value> {
    let tsc = Tsc::calibrate();
    let took = watch.took.lock().unwrap_or_else(PoisonError::into_inner);
    let mut stages: Vec<(&str, u64, u64)> = Vec::new();
    for (seat, ticks) in took.iter() {
        match stages.iter_mut().find(|(name, _, _)| name == seat) {
            Some(stage) => (stage.1, stage.2) = (stage.1 + tsc.to_ns(*ticks), stage.2 + 1),
            None => stages.push((seat, tsc.to_ns(*ticks), 1)),
        }
    }
    let mut begins = 0;
    let row = |(seat, ns, messages): (&str, u64, u64)| {
        let value = json!({"seat": seat, "begins_ns": begins, "took_ns": ns, "messages": messages});
        begins += ns;
        value
    };
    stages.into_iter().map(row).collect()
}

/// One thing that a seat has said.
fn said_json(seat: &str, message: &Message) -> Value {
    let mut value = message_json(message);
    if let Some(vote) = message.body::<Vote>() {
        let abstains = Abstention::from_code(vote.abstains).map(Abstention::name);
        value["body"] = json!({"p": sketch::read(vote.sketch), "abstains": abstains, "level": vote.level, "second": vote.second});
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
fn what_came(recorded: &Recorded, id: OrderId, cause_time: Nanos) -> Vec<Value> {
    let about = |m: &&Message| m.body::<OrderUpdate>().is_some_and(|u| u.id == id);
    let report = |m: &Message| {
        let mut value = message_json(m);
        value["after_ms"] = json!((m.header.time - cause_time) as f64 / 1e6);
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
    if let Some(weights) = explained["weights"].as_object() {
        let of = weights.iter().map(|(name, w)| format!("{name} {w}"));
        let _ = writeln!(out, "weights: {}", of.collect::<Vec<_>>().join(", "));
    }
    if let Some(adds) = explained["adds"].as_object() {
        let of = adds.iter().filter_map(|(name, by)| Some(format!("{name} {:+.4}", by.as_f64()?)));
        let of = of.collect::<Vec<_>>();
        let _ = writeln!(
            out,
            "score by member: {}",
            if of.is_empty() { "nobody voted".into() } else { of.join(", ") }
        );
    }
    for route in explained["routes"].as_array().into_iter().flatten() {
        route_text(route, &mut out);
    }
    for stage in explained["latency"].as_array().into_iter().flatten() {
        let (begins, took) =
            (stage["begins_ns"].as_u64().unwrap_or(0), stage["took_ns"].as_u64().unwrap_or(0));
        // A column for each 250 ns, in this replay: caches are not what they were.
        let bar = format!(
            "{}{}",
            " ".repeat((begins / 250).min(80) as usize),
            "#".repeat((took / 250).clamp(1, 60) as usize)
        );
        let _ = writeln!(out, "  {:<22} {took:>7} ns  {bar}", plain(&stage["seat"]));
    }
    for came in explained["then"].as_array().into_iter().flatten() {
        let after = came["after_ms"].as_f64().unwrap_or(0.0);
        let _ = writeln!(out, "  +{after:>11.3} ms  input {:<9} {}", came["seq"], came["body"]);
    }
    out
}

fn route_text(route: &Value, out: &mut String) {
    let checks = route["checks"].as_array();
    let of = |verdict: &str| {
        let named = checks.into_iter().flatten().filter(|c| c["verdict"] == verdict);
        named.map(|c| format!("{}.{}", plain(&c["by"]), plain(&c["check"]))).collect::<Vec<_>>().join(", ")
    };
    let _ = write!(
        out,
        "order {}: {} {} at {} ticks, {} by {}",
        plain(&route["id"]),
        plain(&route["side"]),
        plain(&route["size"]),
        route["price_ticks"],
        plain(&route["symbol"]),
        plain(&route["gateway"]),
    );
    let _ = if route["sent"] == true {
        writeln!(
            out,
            "; sent, stamped at input {} under limits {}, epoch {}",
            route["stamp_seq"], route["limits_version"], route["trading_epoch"]
        )
    } else {
        writeln!(out, "; not sent: refused by {}", of("refused"))
    };
    let _ = writeln!(out, "  checks passed: {}", of("passed"));
    if let Some(rules) = route["rules"].as_object() {
        let _ = writeln!(out, "  the venue's rules since input {}: {}", rules["since"], rules["body"]);
    }
}

fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
