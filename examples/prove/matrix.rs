//! Every actor and every fault: panic, stall, poison, kill. A whole firm in virtual time each, under load: how the actor
//! comes back, after how long, what was missed; and that nothing was gained, lost or left without a trace meanwhile.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kimera::config::WayBack;
use kimera::line;
use kimera::simulate::firm::{self, Outcome, Plan};
use kimera_runtime::topology::SEQUENCER;

use crate::cases::Cases;

const SEED: u64 = 5;
const STEPS: u32 = 4_000;
/// When the fault comes, ms: orders stand by then.
const AT: u64 = 1_500;
/// Longer than a duty cycle may take.
const STALL_MS: u64 = 8_000;
/// What was on its way to the venue when the fault came has arrived by then, s.
const ON_ITS_WAY: f64 = 0.05;
const WITH_ENGINE: &str = "with the engine, from the journal";
const BESIDE: &str = "from the journal beside the line";
const IN_PLACE: &str = "in its place";
const FAULTS: [&str; 4] = ["panic", "stall", "poison", "kill"];

/// One cell of the matrix.
struct Cell {
    actor: String,
    fault: &'static str,
    script: String,
}

impl Cell {
    fn new(actor: &str, fault: &'static str, thread: usize, is_agent: bool) -> Self {
        let script = match fault {
            "panic" => format!("{AT}:panic={actor}"),
            "stall" => format!("{AT}:hold={thread},{STALL_MS}"),
            // An agent is given no inputs: it falls again as soon as it is back.
            "poison" if is_agent => format!("{AT}:panic={actor} {}:panic={actor}", AT + 2_000),
            // A stage that leaves an input out has halted everything.
            "poison" => format!("{AT}:poison={actor} {}:resume", AT + 4_000),
            _ => format!("{AT}:kill"),
        };
        Self { actor: actor.to_owned(), fault, script }
    }
}

fn run(script: &str, drop_fill: Option<u64>) -> Outcome {
    let script = script.parse().expect("a script of ours");
    firm::run(&Plan { seed: SEED, steps: STEPS, script, drop_fill, patch: String::new() })
        .expect("a firm can be built")
}

/// Seconds and text of what was said.
fn said(outcome: &Outcome) -> Vec<(f64, &str)> {
    outcome
        .said
        .iter()
        .filter_map(|line| {
            let (at, text) = line.trim_start().split_once(' ')?;
            Some((at.parse().ok()?, text))
        })
        .collect()
}

/// How the actor came back, and from when to when it was away.
fn ways_back(outcome: &Outcome, actor: &str) -> Option<(&'static str, Vec<(f64, f64)>)> {
    let said = said(outcome);
    let fault = |text: &str| {
        ["panic", "poison", "hold", "kill"]
            .iter()
            .any(|f| text.strip_prefix("fault: ").is_some_and(|t| t.starts_with(f)))
    };
    let with_engine = said.iter().any(|(_, text)| text.starts_with("recovered:"));
    let beside = said.iter().any(|(_, text)| text.starts_with(actor) && text.contains("answers again"));
    let way = match (with_engine, beside) {
        (true, _) => WITH_ENGINE,
        (_, true) => BESIDE,
        _ => IN_PLACE,
    };
    let is_back = |text: &str| match (with_engine, beside) {
        (true, _) => text.starts_with("recovered:"),
        (_, true) => text.starts_with(actor) && text.contains("answers again"),
        // A gateway is there at once, and may send once the venue has explained what those before it have left.
        _ if text.starts_with(actor) && text.contains("can send again") => true,
        _ => {
            !actor.starts_with("gateway.")
                && text.starts_with(actor)
                && text.contains("made anew in its place")
        }
    };
    let mut away = Vec::new();
    for (begun, _) in said.iter().filter(|(_, text)| fault(text)) {
        let over = said.iter().find(|(at, text)| at >= begun && is_back(text))?.0;
        away.push((*begun, over));
    }
    (!away.is_empty()).then_some((way, away))
}

fn row(cell: &Cell, undisturbed: &Outcome) -> (bool, String) {
    let outcome = run(&cell.script, None);
    if let Some(violation) = &outcome.violation {
        return (
            false,
            format!("{violation}; kimera sim --seed {SEED} --steps {STEPS} --script \"{}\"", cell.script),
        );
    }
    let Some((way, away)) = ways_back(&outcome, &cell.actor) else {
        return (false, format!("it does not come back: {:?}", outcome.said));
    };
    // With `async` durability a journal that stands still is noticed after its `lag_max_ms`.
    let noticed = if cell.actor == line::JOURNAL { ON_ITS_WAY + 0.25 } else { ON_ITS_WAY };
    let meanwhile = |at: f64| away.iter().any(|(begun, over)| at > begun + noticed && at < *over);
    let gained = outcome.accepted.iter().filter(|(at, reduces)| meanwhile(*at) && !reduces).count();
    let alone = way != WITH_ENGINE;
    let missed = undisturbed.decisions.saturating_sub(outcome.decisions);
    let orders =
        if alone { format!("{gained} orders meanwhile") } else { format!("{gained} orders while away") };
    let ms: f64 = away.iter().map(|(begun, over)| (over - begun) * 1e3).sum();
    let text =
        format!("{way}; {ms:.0} ms, {missed} decisions missed, {orders}, ledger = venue, replay identical");
    let as_declared = cell.fault != "panic" || way == declared(&cell.actor);
    ((alone || gained == 0) && as_declared, text)
}

/// The way back from a panic that the configuration says.
fn declared(actor: &str) -> &'static str {
    let config = firm::config().expect("the shipped profile");
    match config.supervision.group_of(actor).map(|group| group.way_back) {
        Some(WayBack::FromJournal) if actor.starts_with("member.") => BESIDE,
        Some(WayBack::FromJournal | WayBack::InPlace) => IN_PLACE,
        Some(WayBack::Engine) | None => WITH_ENGINE,
    }
}

pub fn prove(cases: &mut Cases) {
    let config = firm::config().expect("the shipped profile");
    let topology = line::topology(&config);
    let agents = line::agents(&topology);
    let gateway = config.account.gateway.as_str();
    // Threads of the plan that firms run on: line, io, gateway.
    let thread = |name: &str| match name {
        line::JOURNAL => 1,
        name if name == gateway => 2,
        _ => 0,
    };
    let placed = topology.seats.iter().filter(|s| s.is_placed());
    let seats = placed.map(|s| s.name.as_str());
    let cells: Vec<Cell> = seats
        .flat_map(|name| {
            let agent = name == SEQUENCER || agents.iter().any(|a| a == name);
            FAULTS.map(|fault| Cell::new(name, fault, thread(name), agent))
        })
        .collect();
    let undisturbed = run("", None);
    let rows: Mutex<Vec<Option<(bool, String)>>> = Mutex::new(cells.iter().map(|_| None).collect());
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::panic::set_hook(Box::new(|_| {})); // panics are what this is about
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((i, cell)) =
                    Some(next.fetch_add(1, Ordering::AcqRel)).and_then(|i| Some((i, cells.get(i)?)))
                {
                    let found = row(cell, &undisturbed);
                    rows.lock().unwrap()[i] = Some(found);
                }
            });
        }
    });
    let rows = rows.into_inner().unwrap();
    for (cell, row) in cells.iter().zip(&rows) {
        let (good, found) = row.clone().unwrap_or((false, "blank".to_owned()));
        cases.holds(&format!("{:<22} × {}", cell.actor, cell.fault), good, found);
    }
    let seats = topology.seats.iter().filter(|s| s.is_placed()).count();
    cases.is("cells", seats * FAULTS.len(), rows.iter().flatten().count());
    let lost = run(&format!("{AT}:panic=risk"), Some(1));
    let _ = std::panic::take_hook();
    let found = lost.violation.unwrap_or_default();
    cases.holds("control: a fill that nobody is told of is a violation", !found.is_empty(), found);
}
