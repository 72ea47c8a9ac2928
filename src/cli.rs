//! Verbs and their arguments.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::advise::{self, AdviseArgs};
use crate::bench::{self, BenchArgs};
use crate::bisect::{self, BisectArgs};
use crate::book_view::{self, BookArgs};
use crate::config::Config;
use crate::counterfactual::Swap;
use crate::ctl::{self, CtlArgs, KillArgs};
use crate::engine::{EngineOptions, interrupt_flag};
use crate::evaluate::{self, EvaluateArgs};
use crate::exit::{Exit, Failure};
use crate::features::{self, FeaturesArgs};
use crate::guard::GuardArgs;
use crate::machine::doctor::{self, DoctorArgs, TuneArgs};
use crate::opinions::{self, OpinionsArgs};
use crate::patterns::{self, CepArgs};
use crate::portfolio::{self, PortfolioArgs};
use crate::replay::{ExecutorChoice, ReplayOptions};
use crate::report::SCHEMA_VERSION;
use crate::scaffold::{self, NewArgs};
use crate::sessions::{self, SessionArgs};
use crate::shadow::{self, ShadowArgs};
use crate::simulate::args::SimArgs;
use crate::supervise::LaunchOptions;
use crate::venue::VenueArgs;
use crate::{
    config, engine, explain, export, guard, line, replay, simulate, state, supervise, topology_proof, venue,
    verbs,
};

/// The configuration that is used where none is named.
pub(crate) const PROFILE: &str = "config/profiles/paper.toml";

/// An autonomous crypto trading system. This build trades on paper, against a simulated venue on this machine.
#[derive(Debug, Parser)]
#[command(name = "kimera", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Starts venue and engine and shows how they run. Example: kimera supervise --for 60s --speed 20
    Supervise(SuperviseArgs),
    /// Asks a running supervisor. Example: kimera ctl trading.halt; kimera ctl shutdown --orders keep
    Ctl(CtlArgs),
    /// The first decision on which two builds differ, over the journal of a run
    Bisect(BisectArgs),
    /// Measures the line, and compares builds
    Bench(BenchArgs),
    /// Follows a run's journal, computes everything again, compares, and keeps states to start from
    Shadow(ShadowArgs),
    /// Stops all trading at once, supervisor or not. Example: kimera kill; kimera kill --state state/a
    Kill(KillArgs),
    /// The engine alone, against a venue that runs. Example: kimera engine --state state/a --endpoints state/a/endpoints.json
    Engine(EngineArgs),
    /// The simulated venue alone: plays recorded frames. Example: kimera venue --endpoints /tmp/venue.json --speed 10
    Venue(VenueArgs),
    /// Cancels everything where engine and supervisor are silent, or at once. Example: kimera guard --state state/a --now
    Guard(GuardArgs),
    /// Why an order was sent or a decision made. Example: kimera explain state/a k1-12807-0; kimera explain state/a 12807
    Explain(ExplainArgs),
    /// Is this machine fit for it? Every fact with its verdict and its fix; exit 6 where latencies measured here are unofficial
    Doctor(DoctorArgs),
    /// Distinct errors of a run's processes, also after they have died. Example: kimera errors state/a
    Errors(StatArgs),
    /// Runs a journal through the line again and compares. Example: kimera replay state/a --json
    Replay(ReplayArgs),
    /// Looks into a journal. Example: kimera journal verify state/a
    Journal(JournalArgs),
    /// Counters and histograms of an engine, running or not; its memory. Example: kimera stat state/a --json; kimera stat memory state/a
    Stat(StatVerb),
    /// Whole firms in virtual time, with everything that can go wrong. Example: kimera sim --seed 1 --seeds 20
    Sim(SimArgs),
    /// What a fast run wants of the kernel: shown, written, put back. Example: kimera tune restore
    Tune(TuneArgs),
    /// Patterns over trades, quotes and orders. Example: kimera cep run config/patterns/market.cep --on state/a
    Cep(CepArgs),
    /// The estimators at every mark of a run or a recording, as a table. Example: kimera features --on state/a --out features.parquet
    Features(FeaturesArgs),
    /// What the slow estimators think, or thought in a run. Example: kimera opinions --on state/a
    Opinions(OpinionsArgs),
    /// Market contexts in, decisions out, a JSON object a line. Example: kimera advise < contexts.jsonl
    Advise(AdviseArgs),
    /// A crate for a strategy of one's own. Example: kimera new strategy contrarian
    New(NewArgs),
    /// Sessions of a run: list, start, stop, weigh. Example: kimera session start trend --capital 10000
    Session(SessionArgs),
    /// What forecasts were worth: members and ensemble, walked forward over recordings and minutes. Example: kimera evaluate --on data/binance-20240808
    Evaluate(EvaluateArgs),
    /// How much of what to hold. Example: kimera portfolio --bars AVAX.csv LTC.csv --by risk-parity
    Portfolio(PortfolioArgs),
    /// The book at an instant of a run or a recording. Example: kimera book --on state/a --at +30s --svg book.svg
    Book(BookArgs),
    /// Who is wired to whom. Example: kimera topology --dot | dot -Tsvg > topology.svg
    Topology(TopologyArgs),
}

#[derive(Debug, Args)]
struct SuperviseArgs {
    /// Configuration file.
    #[arg(long, default_value = PROFILE)]
    config: PathBuf,
    /// State directory of this run [default: a fresh one under state/].
    #[arg(long)]
    state: Option<PathBuf>,
    /// Market time to run for: 90s, 5m, 1h [default: the whole recording].
    #[arg(long = "for", value_parser = duration)]
    market_ns: Option<i64>,
    /// Market seconds a second.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    speed: u32,
    /// Core plan instead of the configuration's.
    #[arg(long)]
    plan: Option<String>,
    /// First port of the venue; 0 lets the system choose.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// One JSON object on stdout.
    #[arg(long)]
    json: bool,
    /// Say what would be written and started, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Tune the machine for as long as this runs, as far as it lets us; afterwards everything is as it was.
    #[arg(long)]
    tune: bool,
    /// Allocate once where nothing may, to show that it is noticed.
    #[arg(long, hide = true)]
    canary: bool,
    /// The venue tells nobody of this fill, counted from 1.
    #[arg(long, hide = true)]
    drop_fill: Option<u64>,
    /// The engine's control socket may put faults in.
    #[arg(long, hide = true)]
    faults: bool,
}

#[derive(Debug, Args)]
struct EngineArgs {
    /// Configuration file.
    #[arg(long, default_value = PROFILE)]
    config: PathBuf,
    /// State directory.
    #[arg(long)]
    state: PathBuf,
    /// File with the venue's addresses.
    #[arg(long)]
    endpoints: PathBuf,
    /// Market time to run for.
    #[arg(long = "for", value_parser = duration)]
    market_ns: Option<i64>,
    /// Core plan instead of the configuration's.
    #[arg(long)]
    plan: Option<String>,
    /// A supervisor beats in the state directory: without it only ways out leave, then the run ends.
    #[arg(long)]
    supervised: bool,
    /// Allocate once where nothing may, to show that it is noticed.
    #[arg(long, hide = true)]
    canary: bool,
    /// The control socket may put faults in.
    #[arg(long, hide = true)]
    faults: bool,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// State directory of the run.
    state: PathBuf,
    /// `deterministic` or `threaded`.
    #[arg(long, default_value = "deterministic")]
    executor: String,
    /// Seed that permutes the order in which the deterministic executor polls; 0 keeps the topology's.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Core plan of the threaded executor (its threads are not pinned).
    #[arg(long, default_value = "cores-2")]
    plan: String,
    /// From the newest snapshot on, not from the beginning.
    #[arg(long, conflicts_with_all = ["patch", "flip"])]
    from_snapshot: bool,
    /// Partial configuration put over the run's own: what would have been different.
    #[arg(long)]
    patch: Option<PathBuf>,
    /// A member that says nothing, or what a file says: pattern=abstain, pattern=votes.jsonl.
    #[arg(long, value_name = "NAME=abstain|FILE", conflicts_with_all = ["flip", "from_snapshot"])]
    swap: Vec<String>,
    /// Writes decisions and orders as they are computed, a JSON object a line.
    #[arg(long, value_name = "FILE")]
    said: Option<PathBuf>,
    /// A seat that is made to say one bit of something else: shows that it would be noticed.
    #[arg(long, hide = true)]
    flip: Option<String>,
    /// Last input to replay.
    #[arg(long, default_value_t = u64::MAX)]
    until: u64,
    /// One JSON object on stdout.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct JournalArgs {
    #[command(subcommand)]
    action: JournalAction,
}

#[derive(Debug, Subcommand)]
enum JournalAction {
    /// Checks every byte: chain, checksums, order.
    Verify(StatArgs),
    /// Prints records, one JSON object a line.
    Cat(CatArgs),
    /// Counts records by kind.
    Stat(StatArgs),
    /// Writes a Parquet file: a row a record.
    Export(ExportArgs),
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// State directory of the run.
    state: PathBuf,
    /// The file.
    #[arg(long)]
    out: PathBuf,
    /// Records of this kind only; may be said again.
    #[arg(long)]
    kind: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StatArgs {
    /// State directory.
    pub(crate) state: PathBuf,
    /// One JSON object on stdout.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct StatVerb {
    #[command(subcommand)]
    pub(crate) what: Option<StatWhat>,
    #[command(flatten)]
    pub(crate) counters: Option<StatArgs>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StatWhat {
    /// What the processes of a run take of the machine's memory, and whether it grows
    Memory(StatArgs),
}

#[derive(Debug, Args)]
struct ExplainArgs {
    /// State directory.
    state: PathBuf,
    /// An order's identity, or the number of an input.
    what: String,
    /// One JSON object on stdout.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct CatArgs {
    /// State directory.
    state: PathBuf,
    /// First input.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Last input.
    #[arg(long, default_value_t = u64::MAX)]
    to: u64,
}

#[derive(Debug, Args)]
struct TopologyArgs {
    /// Configuration file.
    #[arg(long, default_value = PROFILE)]
    config: PathBuf,
    /// For Graphviz.
    #[arg(long, conflicts_with = "json")]
    dot: bool,
    /// What it promises: credit, order, memory, the way of a kill; exit 1 where one does not hold.
    #[arg(long, conflicts_with = "dot")]
    prove: bool,
    /// One JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// `90s`, `5m`, `1h`, `1500ms` as nanoseconds.
pub(crate) fn duration(text: &str) -> Result<i64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit_ns: i64 = match unit {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err(format!("\"{text}\" is no time: write 90s, 5m, 1h or 1500ms")),
    };
    let ns = number.parse::<i64>().ok().and_then(|n| n.checked_mul(unit_ns)).filter(|ns| *ns > 0);
    ns.ok_or_else(|| format!("\"{text}\" is no time: write 90s, 5m, 1h or 1500ms"))
}

pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|e| Failure::machine(format!("cannot write to stdout: {e}"))),
    }
}

fn to_json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(Failure::defect)
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// A [`Failure`] with its exit code.
    pub fn run(self) -> Result<Exit, Failure> {
        match self.verb {
            Verb::Supervise(a) => supervise::run(&LaunchOptions {
                config: a.config,
                state: a.state,
                market_ns: a.market_ns,
                speed: a.speed,
                plan: a.plan,
                port: a.port,
                json: a.json,
                dry_run: a.dry_run,
                tune: a.tune,
                canary: a.canary,
                drop_fill: a.drop_fill,
                faults: a.faults,
            }),
            Verb::Ctl(a) => ctl::ctl(&a),
            Verb::Shadow(a) => shadow::run(&a),
            Verb::Bench(a) => bench::run(&a),
            Verb::Bisect(a) => bisect::run(&a),
            Verb::Kill(a) => ctl::kill(a.state),
            Verb::Engine(a) => run_engine(a),
            Verb::Venue(a) => venue::run(&a),
            Verb::Guard(a) => guard::run(&a),
            Verb::Explain(a) => {
                let explained = explain::explain(&a.state, &a.what)?;
                print(&if a.json { explained.to_string() } else { explain::text(&explained) })?;
                Ok(Exit::Ok)
            }
            Verb::Errors(a) => {
                print(&verbs::errors(&a.state, a.json)?)?;
                Ok(Exit::Ok)
            }
            Verb::Replay(a) => run_replay(a),
            Verb::Journal(a) => run_journal(a.action),
            Verb::Stat(a) => verbs::run_stat(&a),
            Verb::Doctor(a) => doctor::run(&a),
            Verb::Tune(a) => doctor::tune(&a),
            Verb::Sim(a) => simulate::run(&a.options()),
            Verb::Cep(a) => patterns::run(&a),
            Verb::Features(a) => features::run(&a),
            Verb::Opinions(a) => opinions::run(&a),
            Verb::Advise(a) => advise::advise(&a),
            Verb::New(a) => scaffold::new(&a),
            Verb::Session(a) => sessions::session(&a),
            Verb::Evaluate(a) => evaluate::run(&a),
            Verb::Portfolio(a) => portfolio::run(&a),
            Verb::Book(a) => book_view::run(&a),
            Verb::Topology(a) => run_topology(&a),
        }
    }
}

fn run_engine(a: EngineArgs) -> Result<Exit, Failure> {
    let interrupted = interrupt_flag()?;
    supervise::halt_on_signal(&state::Layout::of(&a.state))?;
    let options = EngineOptions {
        config: a.config,
        state: a.state,
        endpoints: a.endpoints,
        market_ns: a.market_ns,
        plan: a.plan,
        supervised: a.supervised,
        canary: a.canary,
        faults: a.faults,
    };
    let summary = engine::run(&options, &interrupted).inspect_err(|e| e.note("engine"))?;
    let text = to_json(&summary)?;
    let path = state::Layout::of(&options.state).summary();
    state::replace(&path, text.as_bytes())
        .map_err(|e| Failure::machine(format!("cannot write {}: {e}", path.display())))?;
    print(&text)?;
    Ok(Exit::Ok)
}

fn run_replay(a: ReplayArgs) -> Result<Exit, Failure> {
    let executor = match a.executor.as_str() {
        "deterministic" => ExecutorChoice::Deterministic(a.seed),
        "threaded" => ExecutorChoice::Threaded(a.plan),
        other => {
            return Err(Failure::usage(format!("--executor {other}: there are deterministic and threaded")));
        }
    };
    let swaps = a.swap.iter().map(|text| Swap::parse(text)).collect::<Result<_, _>>()?;
    let report = replay::run(&ReplayOptions {
        swaps,
        said: a.said,
        from_snapshot: a.from_snapshot,
        state: a.state,
        executor,
        patch: a.patch,
        until: a.until,
        flip: a.flip,
    })?;
    if a.json {
        print(&to_json(&report)?)?;
    } else if let Some(d) = &report.first_difference {
        print(&format!(
            "different: seat {} between seq {} and seq {}\n  journal: {}\n  replay:  {}",
            d.seat, d.seq, d.cause_seq, d.expected, d.actual
        ))?;
        if let Some(c) = &report.changed {
            print(&format!(
                "{} of {} decisions are other ones; {} orders, {} in the run (fills stay as they were)",
                c.decisions, c.of, c.orders_after, c.orders_before
            ))?;
        }
    } else if report.checkpoints == 0 {
        print("nothing compared: the journal has no checkpoint in what was replayed")?;
    } else {
        print(&format!(
            "identical: {} inputs, {} marks, {} decisions, {} orders, hash {} ({} checkpoints)",
            report.inputs, report.marks, report.decisions, report.orders, report.hash, report.checkpoints
        ))?;
    }
    Ok(if report.identical { Exit::Ok } else { Exit::Failed })
}

fn run_journal(action: JournalAction) -> Result<Exit, Failure> {
    let (args, verifies) = match action {
        JournalAction::Cat(a) => {
            let mut out = std::io::stdout().lock();
            let mut seq = 0;
            verbs::read_journal(&a.state, |record| {
                if record.message.kind().is_some_and(kimera_protocol::Kind::is_input) {
                    seq = record.message.header.seq;
                }
                if (a.from..=a.to).contains(&seq) {
                    let _ = writeln!(out, "{}", verbs::record_json(record));
                }
            })?;
            return Ok(Exit::Ok);
        }
        JournalAction::Export(a) => {
            let rows = export::export(&a.state, &a.out, &a.kind)?;
            print(&format!("{rows} rows in {}", a.out.display()))?;
            return Ok(Exit::Ok);
        }
        JournalAction::Verify(a) => (a, true),
        JournalAction::Stat(a) => (a, false),
    };
    let stat = verbs::read_journal(&args.state, |_| {})?;
    let records: u64 = stat.kinds.values().sum();
    if args.json {
        print(&to_json(&serde_json::json!({
            "schema_version": SCHEMA_VERSION,
            "records": records,
            "kinds": stat.kinds,
            "last_seq": stat.last_seq,
            "segments": stat.segments,
            "tail": stat.tail,
            "chain": stat.chain,
        }))?)?;
    } else if verifies {
        print(&format!(
            "good: {records} records, {} inputs, {} segments, tail {}, chain {}",
            stat.last_seq,
            stat.segments,
            stat.tail,
            &stat.chain[..16]
        ))?;
    } else {
        let rows: Vec<_> = stat.kinds.iter().map(|(kind, n)| format!("{kind:<12} {n:>10}")).collect();
        let seconds = stat.times.map_or(0.0, |(first, last)| (last - first) as f64 / 1e9);
        print(&format!(
            "{}\n{:.1} s of market time, {} segments, tail {}",
            rows.join("\n"),
            seconds,
            stat.segments,
            stat.tail
        ))?;
    }
    Ok(Exit::Ok)
}

fn run_topology(a: &TopologyArgs) -> Result<Exit, Failure> {
    let config = Config::load(&a.config)?;
    let topology = line::topology(&config);
    if a.prove {
        let claims = topology_proof::prove(&config, &topology, &config::plans()?);
        let all = claims.iter().all(|c| c.good);
        let value = serde_json::json!({"schema_version": SCHEMA_VERSION, "good": all, "claims": claims});
        print(&if a.json { value.to_string() } else { topology_proof::text(&claims) })?;
        return Ok(if all { Exit::Ok } else { Exit::Failed });
    }
    topology.check().map_err(Failure::configuration)?;
    let text = if a.dot {
        verbs::topology_dot(&topology)
    } else if a.json {
        to_json(&serde_json::json!({
            "schema_version": SCHEMA_VERSION, "seats": topology.seats, "edges": topology.edges,
        }))?
    } else {
        verbs::topology_table(&topology)
    };
    print(&text)?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn times() {
        assert_eq!(duration("90s"), Ok(90_000_000_000));
        assert_eq!(duration("1500ms"), Ok(1_500_000_000));
        for bad in ["", "s", "0s", "-1s", "5", "1d", "99999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
