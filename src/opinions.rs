//! `kimera opinions`: what the slow estimators thought of a run, or would think of a recording.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use kimera_protocol::{Kind, Message, Nanos, Opinion, Seq, Status, Topic};
use serde_json::{Value, json};

use crate::cli::{PROFILE, print};
use crate::exit::{Exit, Failure};
use crate::features::instrument_of;
use crate::report::SCHEMA_VERSION;
use crate::slow::Slow;
use crate::source::Source;
use crate::utc;

/// Arguments of `kimera opinions`.
#[derive(Debug, Args)]
pub struct OpinionsArgs {
    /// State directory of a run, or a folder with a recording (tape.toml).
    #[arg(long)]
    on: PathBuf,
    /// Configuration with instruments and estimators; a run has its own.
    #[arg(long, default_value = PROFILE)]
    config: PathBuf,
    /// Only this feed's instrument.
    #[arg(long)]
    feed: Option<String>,
    /// Every one, oldest first, a JSON object a line [default: the newest of each topic].
    #[arg(long)]
    all: bool,
    /// One JSON object on stdout.
    #[arg(long, conflicts_with = "all")]
    json: bool,
}

/// An opinion, where it was said.
#[derive(Clone, Copy, PartialEq)]
struct Said {
    instrument: usize,
    opinion: Opinion,
}

/// What was said in a run.
fn said(messages: &[Message]) -> Vec<Said> {
    let of =
        |m: &Message| Some(Said { instrument: m.header.instrument.into(), opinion: *m.body::<Opinion>()? });
    messages.iter().filter_map(of).collect()
}

/// What the estimators think of the same messages.
fn computed(source: &Source) -> Result<Vec<Said>, Failure> {
    let mut slow = Slow::new(&source.config).map_err(Failure::configuration)?;
    let mut all = Vec::new();
    for message in source.messages.iter().filter(|m| m.kind().is_some_and(Kind::is_input)) {
        slow.hear(message, |about, opinion| all.push(Said { instrument: about.0.into(), opinion }));
    }
    Ok(all)
}

/// Shows them.
///
/// # Errors
/// Nothing to look into, a feed that nobody knows.
pub fn run(a: &OpinionsArgs) -> Result<Exit, Failure> {
    let source = Source::open(&a.on, &a.config)?;
    let only = a.feed.as_deref().map(|feed| instrument_of(&source.config, feed)).transpose()?;
    let of_feed = |said: &Said| only.is_none_or(|only| only == said.instrument);
    let (in_run, again) = (said(&source.messages), computed(&source)?);
    let is_run = source.is_run;
    let shown: Vec<Said> = if is_run { &in_run } else { &again }.iter().copied().filter(of_feed).collect();
    let feed = |said: &Said| {
        source.config.instruments.get(said.instrument).map_or("?", |section| section.feed.as_str())
    };
    let times: BTreeMap<Seq, Nanos> = times(&source.messages, &shown);
    let known: BTreeMap<_, _> = again.iter().map(|said| (place(said), said)).collect();
    let is_same = |said: &&Said| known.get(&place(said)).is_some_and(|again| *again == *said);
    let object = |said: &Said| object(said, feed(said), times.get(&said.opinion.basis).copied());
    if a.all {
        let mut text = String::new();
        for said in &shown {
            let mut line = object(said);
            if is_run {
                line["as_computed"] = json!(is_same(&said));
            }
            let _ = writeln!(text, "{line}");
        }
        print(text.trim_end())?;
        return Ok(Exit::Ok);
    }
    let newest: Vec<Said> = shown
        .iter()
        .map(|said| ((said.instrument, said.opinion.topic), *said))
        .collect::<BTreeMap<_, _>>()
        .into_values()
        .collect();
    let same = is_run.then(|| in_run.iter().filter(is_same).count());
    if a.json {
        let newest: Vec<Value> = newest.iter().map(object).collect();
        let text = json!({
            "schema_version": SCHEMA_VERSION, "said": in_run.len(), "computed": again.len(), "as_computed": same,
            "newest": newest,
        });
        print(&text.to_string())?;
        return Ok(Exit::Ok);
    }
    let mut text = String::from(
        "feed            topic                     value  unit             status                        n  at\n",
    );
    for said in &newest {
        let o = said.opinion;
        let at = times
            .get(&o.basis)
            .map_or_else(|| format!("input {}", o.basis), |time| utc::text(time.unsigned_abs() / 1_000_000));
        let (topic, unit) = Topic::from_code(o.topic).map_or(("?", ""), |t| (t.name(), t.unit()));
        let _ = writeln!(
            text,
            "{:<15} {topic:<20} {:>10}  {unit:<16} {:<24} {:>6}  {at}",
            feed(said),
            value(&o),
            status(&o).map_or("?", Status::name),
            o.observations,
        );
    }
    let whole = match same {
        Some(same) => {
            format!("{} said in the run; {same} of them as computed again from its journal", in_run.len())
        }
        None => format!("{} computed from the recording", again.len()),
    };
    text.push_str(&whole);
    print(&text)?;
    Ok(Exit::Ok)
}

/// What tells one from every other: a topic is spoken of once at a time.
fn place(said: &Said) -> (Nanos, usize, u64) {
    (said.opinion.valid_until, said.instrument, said.opinion.topic)
}

/// Four digits behind the point, or as many as there are of what is very little; nothing of what may not be used.
fn value(opinion: &Opinion) -> String {
    match status(opinion) {
        Some(status) if status.is_usable() && opinion.value != 0.0 && opinion.value.abs() < 1e-3 => {
            format!("{:.3e}", opinion.value)
        }
        Some(status) if status.is_usable() => format!("{:.4}", opinion.value),
        _ => "-".into(),
    }
}

fn status(opinion: &Opinion) -> Option<Status> {
    u8::try_from(opinion.status).ok().and_then(Status::from_code)
}

/// Times of the inputs that these rest on.
fn times(messages: &[Message], shown: &[Said]) -> BTreeMap<Seq, Nanos> {
    let bases: std::collections::BTreeSet<Seq> = shown.iter().map(|said| said.opinion.basis).collect();
    let of = |m: &Message| (m.header.seq, m.header.time);
    messages.iter().map(of).filter(|(seq, _)| bases.contains(seq)).collect()
}

fn object(said: &Said, feed: &str, time: Option<Nanos>) -> Value {
    let o = &said.opinion;
    let topic = Topic::from_code(o.topic);
    json!({
        "feed": feed, "topic": topic.map(Topic::name), "unit": topic.map(Topic::unit), "value": o.value,
        "observations": o.observations, "status": status(o).map(Status::name), "basis": o.basis, "time": time,
        "valid_until": o.valid_until, "artefact": format!("{:016x}", o.artefact),
    })
}
