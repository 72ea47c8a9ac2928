//! `kimera session`: sessions of a run: who trades there, on which terms, with which result.

use clap::{Args, Subcommand};
use kimera_protocol::{HoldReason, SESSIONS_MAX};
use kimera_runtime::counters::Snapshot;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::PathBuf;

use crate::cli::print;
use crate::ctl::client_of;
use crate::exit::{Exit, Failure};
use crate::extensions;
use crate::report::money;

/// A session as those who watch see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionLine {
    /// Its identity: the number in every order.
    pub session: u16,
    /// Its place, from 0.
    pub place: usize,
    /// Kind of strategy.
    pub kind: String,
    /// It may take risk.
    pub running: bool,
    /// It holds nothing.
    pub flat: bool,
    /// Its share of the account.
    pub capital: String,
    /// Position in the traded instrument.
    pub position: String,
    /// Earned by what was closed, before fees.
    pub realised: String,
    /// Fees paid.
    pub fees: String,
    /// Fills.
    pub fills: u64,
    /// Why it wants nothing, where that is so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hold: Option<String>,
}

/// Name of a kind; its number where it is none of ours.
fn kind_name(kind: u16) -> String {
    extensions::kind(kind).map_or_else(|| kind.to_string(), |(name, ..)| (*name).to_owned())
}

/// Every session of a run, by place.
#[must_use]
pub fn sessions(counters: &Snapshot) -> Vec<SessionLine> {
    let line = |place: usize| {
        let of = |what: &str| counters.counter(&format!("session.{place}.{what}"));
        let seat = of("seat");
        let session = (seat >> 32) as u16;
        let hold = u8::try_from(of("hold")).ok().and_then(HoldReason::from_code);
        (session != 0).then(|| SessionLine {
            session,
            place,
            kind: kind_name((seat >> 8) as u16),
            running: seat & 1 != 0,
            flat: seat & 2 != 0,
            capital: money(of("capital") as i64),
            position: money(of("position") as i64),
            realised: money(of("realised") as i64),
            fees: money(of("fees") as i64),
            fills: of("fills"),
            hold: hold.map(|reason| reason.name().to_owned()),
        })
    };
    (0..SESSIONS_MAX).filter_map(line).collect()
}

/// A table of them.
#[must_use]
pub fn table(lines: &[SessionLine]) -> String {
    let mut text = format!(
        "{:>7} {:<15} {:<8} {:>14} {:>12} {:>12} {:>10} {:>6}  {}",
        "session", "kind", "", "capital", "position", "realised", "fees", "fills", "wants"
    );
    for l in lines {
        let state = if l.running { "runs" } else { "stopped" };
        let hold = l.hold.as_deref().map_or_else(|| "trades".to_owned(), |why| format!("nothing: {why}"));
        text.push_str(&format!(
            "\n{:>7} {:<15} {state:<8} {:>14} {:>12} {:>12} {:>10} {:>6}  {hold}",
            l.session, l.kind, l.capital, l.position, l.realised, l.fees, l.fills
        ));
    }
    text
}

/// Arguments of `kimera session`.
#[derive(Debug, Args)]
pub struct SessionArgs {
    #[command(subcommand)]
    what: SessionVerb,
    /// State directory of the run [default: the newest under state/ that runs].
    #[arg(long, global = true)]
    state: Option<PathBuf>,
    /// One JSON object on one line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum SessionVerb {
    /// Every session with its terms and its result
    List,
    /// Starts one and says its number. Example: kimera session start trend --capital 10000
    Start {
        /// Kind of strategy.
        kind: String,
        /// Its share of the account, a decimal of the quote asset.
        #[arg(long)]
        capital: String,
        /// Its number [default: the smallest that is free].
        #[arg(long)]
        number: Option<u16>,
        /// Largest worst-case exposure, in ten-thousandths of its capital [default: 10000].
        #[arg(long)]
        exposure_bps: Option<u32>,
        /// Loss from which on only ways out leave, in ten-thousandths of its capital [default: 1000].
        #[arg(long)]
        loss_bps: Option<u32>,
    },
    /// Takes no risk any more, and gives back what it holds
    Stop {
        /// Its number.
        number: u16,
    },
    /// Goes on with another share of the account. Example: kimera session weigh 2 --capital 5000
    Weigh {
        /// Its number.
        number: u16,
        /// Its share of the account, a decimal of the quote asset.
        #[arg(long)]
        capital: String,
        /// Largest worst-case exposure, in ten-thousandths of its capital [default: as it is].
        #[arg(long)]
        exposure_bps: Option<u32>,
        /// Loss from which on only ways out leave, in ten-thousandths of its capital [default: as it is].
        #[arg(long)]
        loss_bps: Option<u32>,
    },
}

/// `kimera session`.
///
/// # Errors
/// Nobody there, nonsense asked, or a refusal.
pub fn session(a: &SessionArgs) -> Result<Exit, Failure> {
    let (method, params): (&str, Value) = match &a.what {
        SessionVerb::List => ("session.list", json!({})),
        SessionVerb::Start { kind, capital, number, exposure_bps, loss_bps } => (
            "session.start",
            json!({"kind": kind, "capital": capital, "number": number, "exposure_bps": exposure_bps, "loss_bps": loss_bps}),
        ),
        SessionVerb::Stop { number } => ("session.stop", json!({"session": number})),
        SessionVerb::Weigh { number, capital, exposure_bps, loss_bps } => (
            "session.weigh",
            json!({"session": number, "capital": capital, "exposure_bps": exposure_bps, "loss_bps": loss_bps}),
        ),
    };
    match client_of(a.state.as_ref())?.call(method, &params)? {
        Ok(result) if a.json => print(&result.to_string())?,
        Ok(result) => {
            let lines = serde_json::from_value::<Vec<SessionLine>>(result["sessions"].clone());
            match (result["session"].as_u64(), lines) {
                (Some(number), _) => print(&format!("session {number}"))?,
                (None, Ok(lines)) => print(&table(&lines))?,
                (None, Err(e)) => return Err(Failure::defect(e)),
            }
        }
        Err(e) if (-32_700..=-32_600).contains(&e.code) => return Err(Failure::usage(e.message)),
        Err(e) => return Err(Failure::refused(e.message)),
    }
    Ok(Exit::Ok)
}
