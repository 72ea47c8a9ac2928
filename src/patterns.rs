//! `kimera cep`: patterns checked, and run over what is recorded.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use kimera_cep::{Bounds, Event, Events, Found, Matcher, Mistake, Overflows, Program, Schema, Type, Value};
use kimera_protocol::{Nanos, Seq};
use serde_json::json;

use crate::cli::{PROFILE, print};
use crate::config::{Config, point_at};
use crate::control::RpcError;
use crate::ctl;
use crate::exit::{Exit, Failure};
use crate::rates::{self, RatesArgs};
use crate::report::SCHEMA_VERSION;
use crate::source::Source;
use crate::utc;

/// Arguments of `kimera cep`.
#[derive(Debug, Args)]
pub struct CepArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Says what is wrong with pattern files, with line and column, or what is in them
    Check(CheckArgs),
    /// Runs a pattern file over a run's journal or a folder with a recording
    Run(RunArgs),
    /// Has a run look for other patterns from now on, in place of those it has
    Load(LoadArgs),
    /// How often each detector is right, how fast, and how often wrong, over markets made from seeds
    Rates(RatesArgs),
    /// The events patterns are written about, with their fields
    Events(EventsArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Pattern files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Configuration with the instruments.
    #[arg(long, default_value = PROFILE)]
    config: PathBuf,
    /// One JSON object on stdout.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Pattern file.
    file: PathBuf,
    /// State directory of a run, or a folder with a recording (tape.toml).
    #[arg(long)]
    on: PathBuf,
    /// Configuration with the instruments; a run has its own.
    #[arg(long, default_value = PROFILE)]
    config: PathBuf,
    /// Matches that are shown of each pattern; all are counted.
    #[arg(long, default_value_t = 10)]
    show: usize,
    /// A JSON object a match, and one at the end.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct LoadArgs {
    /// Pattern files: all that it is to look for.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// State directory of the run [default: the newest under state/ that runs].
    #[arg(long)]
    state: Option<PathBuf>,
    /// One JSON object on one line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct EventsArgs {
    /// Configuration with the instruments.
    #[arg(long, default_value = PROFILE)]
    config: PathBuf,
    /// One JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// Does what was asked.
///
/// # Errors
/// A pattern or configuration that is wrong (3), a recording that is missing (7) or damaged (1).
pub fn run(a: &CepArgs) -> Result<Exit, Failure> {
    match &a.action {
        Action::Check(a) => check(a),
        Action::Run(a) => run_over(a),
        Action::Load(a) => hand_in(a),
        Action::Rates(a) => rates::run(a),
        Action::Events(a) => show_events(a),
    }
}

fn events_of(config: &Config) -> Result<Events, Failure> {
    config.events().map_err(Failure::configuration)
}

/// The patterns of a file; a mistake is shown with its line.
fn load(file: &Path, schema: &Schema) -> Result<Vec<Program>, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| Failure::configuration(format!("cannot read {}: {e}", file.display())))?;
    let shown = |mistake: Mistake| Failure::configuration(point_at(file, &text, &mistake));
    let programs = kimera_cep::compile(&text, schema).map_err(shown)?;
    if programs.is_empty() {
        return Err(Failure::configuration(format!("{} has no pattern", file.display())));
    }
    Ok(programs)
}

fn check(a: &CheckArgs) -> Result<Exit, Failure> {
    let config = Config::load(&a.config)?;
    let events = events_of(&config)?;
    let mut files = Vec::new();
    for file in &a.files {
        files.push((file, load(file, events.schema())?));
    }
    if a.json {
        let of = |program: &Program| json!({"name": program.name, "steps": program.bindings});
        let files: Vec<_> = files
            .iter()
            .map(|(file, programs)| json!({"file": file, "patterns": programs.iter().map(of).collect::<Vec<_>>()}))
            .collect();
        print(&json!({"schema_version": SCHEMA_VERSION, "files": files}).to_string())?;
        return Ok(Exit::Ok);
    }
    let mut text = String::new();
    for (file, programs) in &files {
        let _ = writeln!(text, "{}: good, {} patterns", file.display(), programs.len());
        for program in programs {
            let _ = writeln!(text, "  {:<24} {}", program.name, program.bindings.join(", "));
        }
    }
    print(&text)?;
    Ok(Exit::Ok)
}

/// They are compiled by the run: it knows its instruments, and keeps what it has compiled.
fn hand_in(a: &LoadArgs) -> Result<Exit, Failure> {
    let mut files = Vec::new();
    for file in &a.files {
        let text = std::fs::read_to_string(file)
            .map_err(|e| Failure::configuration(format!("cannot read {}: {e}", file.display())))?;
        files.push(json!({"name": file, "text": text}));
    }
    let asked = json!({"files": files});
    if asked.to_string().len() > HANDED_IN_BYTES_MAX {
        return Err(Failure::usage(format!(
            "these files are larger than a running engine takes ({HANDED_IN_BYTES_MAX} bytes with their names); start it with them"
        )));
    }
    let mut client = ctl::client_of(a.state.as_ref())?;
    match client.call("patterns.load", &asked)? {
        Ok(answer) if a.json => print(&answer.to_string())?,
        Ok(answer) => {
            let names: Vec<_> = answer["patterns"].as_array().into_iter().flatten().collect();
            let names: Vec<_> = names.iter().filter_map(|name| name.as_str()).collect();
            let blob = answer["blob"].as_str().unwrap_or_default();
            let (taken, durable) = (answer["taken"] == true, answer["durable"] == true);
            let state = match (taken, durable) {
                (true, true) => "",
                (true, false) => "; not on disk yet: a crash now would forget it",
                _ => {
                    "; the patterns' seat has not taken them yet: it is out (kimera ctl tree), and takes them when it is back"
                }
            };
            print(&format!("loaded {}: {} (blob {blob}){state}", names.len(), names.join(", ")))?;
        }
        // What is wrong with a pattern is said as kimera cep check says it.
        Err(e) if e.code == RpcError::parameters("").code => return Err(Failure::configuration(e.message)),
        Err(e) => return Err(Failure::refused(e.message)),
    }
    Ok(Exit::Ok)
}

fn type_name(ty: Type) -> &'static str {
    match ty {
        Type::Int => "int",
        Type::Float => "float",
        Type::Bool => "bool",
        Type::Symbol => "word",
    }
}

fn show_events(a: &EventsArgs) -> Result<Exit, Failure> {
    let config = Config::load(&a.config)?;
    let events = events_of(&config)?;
    let schema = events.schema();
    if a.json {
        let fields = |ty: &kimera_cep::EventType| {
            ty.fields.iter().map(|f| json!({"name": f.name, "type": type_name(f.ty)})).collect::<Vec<_>>()
        };
        let of =
            |ty: &kimera_cep::EventType| json!({"stream": ty.stream, "event": ty.name, "fields": fields(ty)});
        let types: Vec<_> = schema.types.iter().map(of).collect();
        print(
            &json!({"schema_version": SCHEMA_VERSION, "events": types, "words": schema.symbols}).to_string(),
        )?;
        return Ok(Exit::Ok);
    }
    let mut text = format!(
        "{:<8} {:<8} fields (each has t, its time in ns, and seq, its input, besides)\n",
        "stream", "event"
    );
    for ty in &schema.types {
        let fields: Vec<_> = ty.fields.iter().map(|f| format!("{} {}", f.name, type_name(f.ty))).collect();
        let _ = writeln!(text, "{:<8} {:<8} {}", ty.stream, ty.name, fields.join(", "));
    }
    let _ = writeln!(text, "words: {}", schema.symbols.join(", "));
    print(&text)?;
    Ok(Exit::Ok)
}

/// A request has at most 64 KiB, and some of it is its own.
const HANDED_IN_BYTES_MAX: usize = 65_000;

/// One pattern at work.
struct Watched {
    matcher: Matcher,
    matches: u64,
}

fn run_over(a: &RunArgs) -> Result<Exit, Failure> {
    let source = Source::open(&a.on, &a.config)?;
    let mut events = events_of(&source.config)?;
    let symbols = events.schema().symbols.clone();
    let programs = load(&a.file, events.schema())?;
    let watch = |program| Watched { matcher: Matcher::new(program, Bounds::default()), matches: 0 };
    let mut watched: Vec<_> = programs.into_iter().map(watch).collect();
    let (mut failed, mut count) = (None, 0u64);
    let mut each = |watched: &mut Watched, event: Option<&Event>, now: Nanos| {
        let Watched { matcher, matches } = watched;
        let mut found = |found: &Found<'_>| {
            *matches += 1;
            if failed.is_none() && (a.json || *matches <= a.show as u64) {
                failed =
                    print(&if a.json { as_json(found, &symbols) } else { as_text(found, &symbols) }).err();
            }
        };
        match event {
            Some(event) => matcher.event(event, &mut found),
            None => matcher.pass(now, &mut found),
        }
    };
    for message in &source.messages {
        let event = events.of(message);
        count += u64::from(event.is_some());
        for watched in &mut watched {
            each(watched, event.as_ref(), message.header.time);
        }
    }
    if let Some(failure) = failed {
        return Err(failure);
    }
    sum_up(a, &watched, count, source.unread)?;
    Ok(Exit::Ok)
}

fn sum_up(a: &RunArgs, watched: &[Watched], events: u64, unread: u64) -> Result<(), Failure> {
    if a.json {
        let of = |w: &Watched| {
            let Overflows { runs, events } = w.matcher.overflows();
            json!({"name": w.matcher.program().name, "matches": w.matches, "runs_given_up": runs, "events_left_out": events})
        };
        let patterns: Vec<_> = watched.iter().map(of).collect();
        return print(
            &json!({"schema_version": SCHEMA_VERSION, "events": events, "frames_unread": unread, "patterns": patterns})
                .to_string(),
        );
    }
    let left_out = if unread > 0 { format!(", {unread} frames could not be read") } else { String::new() };
    let mut text = format!(
        "{events} events{left_out}\n{:<24} {:>9} {:>14} {:>16}\n",
        "pattern", "matches", "runs given up", "events left out"
    );
    for w in watched {
        let Overflows { runs, events } = w.matcher.overflows();
        let _ = writeln!(text, "{:<24} {:>9} {runs:>14} {events:>16}", w.matcher.program().name, w.matches);
    }
    print(&text)
}

fn time_text(time: Nanos) -> String {
    utc::stamp(u64::try_from(time / 1_000).unwrap_or(0))
}

/// The input an event is, or was caused by: what `kimera explain` takes.
fn inputs(found: &Found<'_>) -> Vec<Seq> {
    found.events.iter().map(|(_, event)| event.seq).collect()
}

fn value_json(value: Option<Value>, symbols: &[String]) -> serde_json::Value {
    match value {
        None => serde_json::Value::Null,
        Some(Value::Int(value)) => json!(value),
        Some(Value::Float(value)) => json!(value),
        Some(Value::Bool(value)) => json!(value),
        Some(Value::Symbol(value)) => json!(symbols.get(value as usize)),
    }
}

fn as_json(found: &Found<'_>, symbols: &[String]) -> String {
    let values: Vec<_> = found.values.iter().map(|value| value_json(*value, symbols)).collect();
    let steps: Vec<_> =
        found.events.iter().map(|(to, _)| &found.program.bindings[usize::from(*to)]).collect();
    let value = json!({
        "pattern": found.program.name, "time": time_text(found.time), "time_ns": found.time, "inputs": inputs(found),
        "steps": steps, "values": values,
    });
    value.to_string()
}

fn as_text(found: &Found<'_>, symbols: &[String]) -> String {
    let inputs: Vec<_> = inputs(found).iter().map(Seq::to_string).collect();
    let inputs = match inputs.as_slice() {
        [first, .., last] if inputs.len() > 6 => format!("{first} … {last} ({} events)", inputs.len()),
        _ => inputs.join(" "),
    };
    let text = |value: &Option<Value>| match value_json(*value, symbols) {
        serde_json::Value::String(text) => text,
        serde_json::Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let values: Vec<_> = found.values.iter().map(text).collect();
    format!("{} {:<24} {}  [{inputs}]", time_text(found.time), found.program.name, values.join("  "))
}
