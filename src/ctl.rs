//! `kimera ctl` and `kimera kill`: what a person asks of a run from outside.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kimera_runtime::KillWord;

use crate::cli::print;
use crate::control::{Client, OrdersAtEnd};
use crate::exit::{Exit, Failure};
use crate::state;
use crate::tree_text::tree_text;

/// Arguments of `kimera ctl`.
#[derive(Debug, Args)]
pub struct CtlArgs {
    /// status, tree, actor.restart, actor.stop, actor.start, trading.halt, trading.reduce, trading.resume,
    /// orders.cancel_all, latency.report, log.level or shutdown; of the shadow: positions, orders, books, decisions,
    /// shadow.status, restart.state.
    pub(crate) method: String,
    /// With actor.*: a seat (member.pattern, feed.spot, …), or engine, venue, guard, shadow. With log.level: what the
    /// engine logs from now on, as LEVEL or CATEGORY=LEVEL (debug, trading=warn); nothing to be told what it logs.
    pub(crate) of: Option<String>,
    /// State directory of the run [default: the newest under state/ that runs].
    #[arg(long)]
    pub(crate) state: Option<PathBuf>,
    /// With shutdown: what becomes of the orders that stand [default: cancel].
    #[arg(long)]
    pub(crate) orders: Option<OrdersAtEnd>,
    /// One JSON object on one line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `kimera kill`.
#[derive(Debug, Args)]
pub struct KillArgs {
    /// State directory of the run [default: every one under state/ that runs].
    #[arg(long)]
    pub(crate) state: Option<PathBuf>,
}

/// State directories under `state/`, newest first.
fn known_states() -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir("state") else { return Vec::new() };
    let mut found: Vec<_> = entries.flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect();
    found.sort();
    found.reverse();
    found
}

/// The control socket of a run: the one that is named, or the newest under `state/` that runs.
///
/// # Errors
/// Nobody there.
pub fn client_of(state: Option<&PathBuf>) -> Result<Client, Failure> {
    let socket = |state: &PathBuf| state::Layout::of(state).socket("control");
    let state = match state {
        Some(state) => state.clone(),
        None => known_states()
            .into_iter()
            .find(|s| socket(s).exists())
            .ok_or_else(|| Failure::unreachable("nothing runs under state/; name the run with --state"))?,
    };
    Client::connect(&socket(&state), Duration::from_secs(15))
}

/// `kimera ctl`: asks whoever runs.
///
/// # Errors
/// Nobody there, nonsense asked, or a refusal.
pub fn ctl(a: &CtlArgs) -> Result<Exit, Failure> {
    let names_an_actor = a.method.starts_with("actor.");
    let names_a_level = a.method == "log.level";
    if !names_a_level && names_an_actor != a.of.is_some() {
        let text = if names_an_actor { "says nothing without an actor" } else { "takes no actor" };
        return Err(Failure::usage(format!("{} {text}; see kimera ctl tree", a.method)));
    }
    let params = match (a.method.as_str(), a.orders) {
        _ if names_an_actor => serde_json::json!({"actor": a.of}),
        ("log.level", None) => {
            let of = a.of.as_deref();
            let (category, level) = of.map_or((None, None), |of| {
                of.split_once('=').map_or((None, Some(of)), |(c, l)| (Some(c), Some(l)))
            });
            serde_json::json!({"category": category, "level": level})
        }
        ("shutdown", orders) => serde_json::json!({"orders": orders.unwrap_or_default()}),
        (_, None) => serde_json::json!({}),
        (method, Some(_)) => return Err(Failure::usage(format!("--orders says nothing to {method}"))),
    };
    let mut client = client_of(a.state.as_ref())?;
    match client.call(&a.method, &params)? {
        Ok(result) if a.json => print(&result.to_string())?,
        Ok(result) if a.method == "tree" => print(&tree_text(&result))?,
        Ok(result) => print(&serde_json::to_string_pretty(&result).map_err(Failure::defect)?)?,
        Err(e) if (-32_700..=-32_600).contains(&e.code) => return Err(Failure::usage(e.message)),
        Err(e) => return Err(Failure::refused(e.message)),
    }
    Ok(Exit::Ok)
}

/// `kimera kill`: writes the kill word; needs nobody's help and asks nothing.
///
/// # Errors
/// Where nothing runs, or the word cannot be written.
pub fn kill(state: Option<PathBuf>) -> Result<Exit, Failure> {
    let named = state.is_some();
    let states = match state {
        Some(state) => vec![state],
        None => known_states().into_iter().filter(|s| state::is_held(s)).collect(),
    };
    if states.is_empty() {
        return Err(Failure::asked_wrongly("nothing runs under state/; name the run with --state"));
    }
    for state in states {
        let path = state::Layout::of(&state).kill_word();
        if named && !state.is_dir() {
            return Err(Failure::asked_wrongly(format!("{} is no state directory", state.display())));
        }
        let word = KillWord::open(&path).and_then(|word| word.halt());
        let word = word.map_err(|e| Failure::machine(format!("cannot halt {}: {e}", state.display())))?;
        print(&format!(
            "halted: {} (epoch {}); resume with: kimera ctl trading.resume",
            state.display(),
            word.epoch
        ))?;
    }
    Ok(Exit::Ok)
}
