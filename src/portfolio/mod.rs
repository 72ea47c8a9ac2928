//! `kimera portfolio`: how much of what to hold, by what recorded minutes say and what is thought beside them (model book 5.1 to 5.4).
//!
//! * [`estimate`]: returns, their mean and covariance; [`sessions`]: those of a run's sessions; [`optimise`](mod@optimise): weights within bounds, and the band that asks for the least trading

pub mod estimate;
pub mod optimise;
pub mod sessions;

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use kimera_numerics::Matrix;
use kimera_numerics::portfolio::{View, black_litterman};
use kimera_protocol::{HOUR, MINUTE, Nanos};
use serde::Serialize;
use serde_json::json;

use crate::cli::{duration, print};
use crate::ctl::client_of;
use crate::exit::{Exit, Failure};
use crate::report::{SCHEMA_VERSION, money};
use estimate::{Estimate, Returns, estimate};
use optimise::{Bounds, Objective, OptimiseError, Portfolio, distance, optimise, quadratic, within_band};
use sessions::Order;

/// Uncertainty of what is expected without views, as a share of the covariance.
const TAU: f64 = 0.05;
/// Risk aversion of the market that equilibrium is of.
const MARKET: f64 = 3.0;

/// Arguments of `kimera portfolio`.
#[derive(Debug, Args)]
pub struct PortfolioArgs {
    /// Recorded minutes, a file an asset: as Binance's archive has them, plain or .gz.
    #[arg(long, num_args = 1.., required_unless_present = "sessions", conflicts_with = "sessions")]
    bars: Vec<PathBuf>,
    /// State directory of a run: shares of its account for its sessions, by what each returned.
    #[arg(long, value_name = "STATE")]
    sessions: Option<PathBuf>,
    /// Tells the run: sessions are weighed, and stopped where they are left nothing.
    #[arg(long, requires = "sessions")]
    apply: bool,
    /// Length of the bars that returns are of: 15m, 1h, 24h [default: 1h; of sessions 1m].
    #[arg(long, value_parser = duration)]
    bar: Option<Nanos>,
    /// What is wanted: conservative, moderate, aggressive (risk aversion 6, 3, 1), risk-aversion=X, target-return=X (a year), minimum-variance, tangency or
    /// risk-parity.
    #[arg(long, default_value = "moderate")]
    by: String,
    /// Only of bars in the regime that is now: calm or rough.
    #[arg(long)]
    regime: bool,
    /// What assets are expected to return before views: `equilibrium` (what makes the weights held now the best ones for a risk aversion of 3) or
    /// `history` (their mean).
    #[arg(long, default_value = "equilibrium")]
    returns: String,
    /// A view, returns a year: AVAX=0.20, or AVAX-LTC=0.05.
    #[arg(long, value_name = "ASSET[-ASSET]=RETURN")]
    view: Vec<String>,
    /// Most of one asset.
    #[arg(long, default_value_t = 1.0)]
    cap: f64,
    /// Most that is bought and sold, as a share of everything.
    #[arg(long)]
    turnover: Option<f64>,
    /// What is held now: AVAX=0.5,LTC=0.3; the rest is cash [default: the same of each].
    #[arg(long, value_delimiter = ',', value_name = "ASSET=SHARE", conflicts_with = "sessions")]
    now: Vec<String>,
    /// Cash may be held.
    #[arg(long)]
    cash: bool,
    /// Nothing is traded that is within so much of what is wanted, and the rest to the edge only.
    #[arg(long, default_value_t = 0.0)]
    band: f64,
    /// One JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// An asset of the answer.
#[derive(Clone, Debug, Serialize)]
struct Line {
    asset: String,
    now: f64,
    wanted: f64,
    /// Share of the variance of what is wanted.
    risk: f64,
    /// What to buy, below 0 to sell, as a share of everything.
    trade: f64,
    expected: f64,
    expected_error: f64,
    deviation: f64,
}

/// What is held behind the trade.
#[derive(Clone, Copy, Debug, Serialize)]
struct Then {
    expected: f64,
    deviation: f64,
    cash: f64,
}

impl Then {
    fn of(weights: &[f64], expected: &[f64], covariance: &Matrix) -> Self {
        Self {
            expected: weights.iter().zip(expected).map(|(w, r)| w * r).sum(),
            deviation: quadratic(covariance, weights).max(0.0).sqrt(),
            cash: (1.0 - weights.iter().sum::<f64>()).max(0.0),
        }
    }
}

/// Weights for what was asked, and says them.
///
/// # Errors
/// Arguments and files that cannot be read; bounds that exclude each other: what is held stays then.
pub fn run(args: &PortfolioArgs) -> Result<Exit, Failure> {
    let objective = objective(&args.by)?;
    if !(0.0..=1.0).contains(&args.band) || args.turnover.is_some_and(|t| !(0.0..=2.0).contains(&t)) {
        return Err(Failure::usage("--band has to be from 0 to 1, --turnover from 0 to 2".to_owned()));
    }
    let run = args.sessions.as_deref().map(|state| sessions::read(state, args.bar.unwrap_or(MINUTE)));
    let run = run.transpose()?;
    let (returns, now) = match &run {
        Some(run) => (run.returns.clone(), run.now()),
        None => {
            let returns = estimate::read(&args.bars, args.bar.unwrap_or(HOUR))?;
            let now = holdings(&args.now, &returns.names)?;
            (returns, now)
        }
    };
    let of = estimate(&returns, args.regime)?;
    let expected = expected(args, &returns, &of, &now)?;
    // Around a band that lay about a part of the way one would stand still for ever: first what is wanted, then how far.
    let turnover = args.turnover.filter(|_| args.band <= 0.0);
    let bounds = Bounds { cap: args.cap, turnover, now: now.clone(), cash: args.cash };
    let portfolio = optimise(&expected, &of.covariance, objective, &bounds).map_err(|e| match e {
        OptimiseError::Input(_) => Failure::usage(e.to_string()),
        OptimiseError::Infeasible(_) | OptimiseError::Unsolved(_) => Failure::configuration(e.to_string()),
    })?;
    let (moved, is_partial) = moved(args, &now, &portfolio)?;
    let then = Then::of(&moved, &expected, &of.covariance);
    let lines = lines(&returns.names, &of, &now, (&portfolio, &moved, &expected));
    let traded = distance(&moved, &now);
    let orders = run.as_ref().map_or_else(Vec::new, |run| run.orders(&moved));
    if args.json {
        let text = json!({
            "schema_version": SCHEMA_VERSION, "by": args.by, "assets": lines, "cash": portfolio.cash,
            "expected": portfolio.expected, "deviation": portfolio.deviation, "turnover": traded,
            "then": then, "partial": is_partial, "residual": portfolio.residual, "bars": of.rows, "shrunk": of.shrunk,
            "regime": of.regime, "orders": orders.iter().map(Order::to_json).collect::<Vec<_>>(),
            "idle": run.iter().flat_map(|run| &run.idle).map(|held| &held.name).collect::<Vec<_>>(),
        });
        print(&text.to_string())?;
    } else {
        let mut text = said(args, &of, &portfolio, &lines, (&then, traded, is_partial));
        for held in run.iter().flat_map(|run| &run.idle) {
            let _ = write!(text, "\n{} has not traded: it keeps {}", held.name, money(held.capital));
        }
        for order in &orders {
            let _ = write!(text, "\n{order}");
        }
        print(&text)?;
    }
    if args.apply {
        apply(args.sessions.as_ref(), &orders)?;
    }
    Ok(Exit::Ok)
}

/// What is held behind the trade, and whether that is only a part of the way.
fn moved(args: &PortfolioArgs, now: &[f64], portfolio: &Portfolio) -> Result<(Vec<f64>, bool), Failure> {
    let mut moved = within_band(now, &portfolio.weights, args.band, args.cap);
    let (far, limit) = (distance(&moved, now), args.turnover.unwrap_or(f64::INFINITY));
    let is_partial = portfolio.partial || far > limit + 1e-9;
    if far > limit {
        moved.iter_mut().zip(now).for_each(|(to, from)| *to = from + limit / far * (*to - from));
    }
    if moved.iter().any(|w| *w > args.cap + 1e-9) {
        let why = "more is held than the cap allows, and turnover is too small to sell it".to_owned();
        return Err(Failure::configuration(OptimiseError::Infeasible(why).to_string()));
    }
    Ok((moved, is_partial))
}

/// A line an asset; what is wanted, what is held behind the trade, what is expected.
fn lines(
    names: &[String],
    of: &Estimate,
    now: &[f64],
    (portfolio, moved, expected): (&Portfolio, &[f64], &[f64]),
) -> Vec<Line> {
    let variance = quadratic(&of.covariance, &portfolio.weights);
    (0..now.len())
        .map(|i| {
            let with = (0..now.len()).map(|j| of.covariance.at(i, j) * portfolio.weights[j]).sum::<f64>();
            Line {
                asset: names[i].clone(),
                now: now[i],
                wanted: portfolio.weights[i],
                risk: if variance > 0.0 { portfolio.weights[i] * with / variance } else { 0.0 },
                trade: moved[i] - now[i],
                expected: expected[i],
                expected_error: of.mean_error[i],
                deviation: of.covariance.at(i, i).sqrt(),
            }
        })
        .collect()
}

/// Tells a run, one after the other; what is refused ends it, and what was told before stays.
fn apply(state: Option<&PathBuf>, orders: &[Order]) -> Result<(), Failure> {
    let mut client = client_of(state)?;
    for (done, order) in orders.iter().enumerate() {
        let (method, params) = order.request();
        client.call(method, &params)?.map_err(|e| {
            Failure::refused(format!("{order}: {}; {done} of {} were told", e.message, orders.len()))
        })?;
    }
    Ok(())
}

fn objective(by: &str) -> Result<Objective, Failure> {
    let (name, value) = by.split_once('=').map_or((by, None), |(name, value)| (name, Some(value)));
    let number = || {
        let value = value.and_then(|v| v.parse::<f64>().ok()).filter(|v| v.is_finite());
        value.ok_or_else(|| Failure::usage(format!("--by {by}: {name}= needs a number, as in {name}=0.2")))
    };
    let plain = |objective| match value {
        None => Ok(objective),
        Some(_) => Err(Failure::usage(format!("--by {by}: {name} takes no number"))),
    };
    let averse = |risk_aversion| Objective::MeanVariance { risk_aversion };
    match name {
        "conservative" => plain(averse(6.0)),
        "moderate" => plain(averse(3.0)),
        "aggressive" => plain(averse(1.0)),
        "minimum-variance" => plain(Objective::MinimumVariance),
        "tangency" => plain(Objective::Tangency),
        "risk-parity" => plain(Objective::RiskParity),
        "risk-aversion" => Ok(averse(number()?)),
        "target-return" => Ok(Objective::TargetReturn(number()?)),
        _ => Err(Failure::usage(format!(
            "--by {by}: there are conservative, moderate, aggressive, risk-aversion=X, target-return=X, minimum-variance, tangency, risk-parity"
        ))),
    }
}

/// Place of an asset.
fn place(name: &str, names: &[String], option: &str) -> Result<usize, Failure> {
    let found = names.iter().position(|n| n == name);
    found.ok_or_else(|| {
        Failure::usage(format!("{option}: no asset is called {name}: there are {}", names.join(", ")))
    })
}

fn holdings(now: &[String], names: &[String]) -> Result<Vec<f64>, Failure> {
    if now.is_empty() {
        return Ok(vec![1.0 / names.len() as f64; names.len()]);
    }
    let mut held = vec![0.0; names.len()];
    for text in now {
        let wrong = || Failure::usage(format!("--now {text}: as in {}=0.5, shares from 0 to 1", names[0]));
        let (name, share) = text.split_once('=').ok_or_else(wrong)?;
        let share = share.parse::<f64>().ok().filter(|s| (0.0..=1.0).contains(s)).ok_or_else(wrong)?;
        let place = &mut held[place(name, names, "--now")?];
        if *place > 0.0 {
            return Err(Failure::usage(format!("--now: {name} is named twice")));
        }
        *place = share;
    }
    if held.iter().sum::<f64>() > 1.0 + 1e-9 {
        return Err(Failure::usage("--now: shares sum to more than 1".to_owned()));
    }
    Ok(held)
}

fn views(texts: &[String], names: &[String]) -> Result<Vec<View>, Failure> {
    let view = |text: &String| {
        let wrong = || Failure::usage(format!("--view {text}: as in {}=0.2 or {0}-OTHER=0.05", names[0]));
        let (of, expected) = text.split_once('=').ok_or_else(wrong)?;
        let expected = expected.parse::<f64>().ok().filter(|e| e.is_finite()).ok_or_else(wrong)?;
        let mut weights = vec![0.0; names.len()];
        // Names may have hyphens themselves: every one may be the one between two names.
        let at = |name: &str| names.iter().position(|n| n == name);
        let pairs = of.match_indices('-').filter_map(|(i, _)| Some((at(&of[..i])?, at(&of[i + 1..])?)));
        match (at(of), pairs.into_iter().next()) {
            (Some(asset), _) => weights[asset] = 1.0,
            (None, Some((more, less))) if more != less => (weights[more], weights[less]) = (1.0, -1.0),
            _ => {
                let known = names.join(", ");
                return Err(Failure::usage(format!(
                    "--view {text}: {of} is no asset and no two of them with a hyphen between: there are {known}"
                )));
            }
        }
        Ok(View { of: weights, expected, variance: None })
    };
    texts.iter().map(view).collect()
}

/// Returns a year that the optimisation believes in.
fn expected(
    args: &PortfolioArgs,
    returns: &Returns,
    of: &Estimate,
    now: &[f64],
) -> Result<Vec<f64>, Failure> {
    let prior = match args.returns.as_str() {
        "history" => of.mean.clone(),
        "equilibrium" => {
            // π = λΣw (He and Litterman 1999): the market's risk aversion, not that of whoever asks.
            (0..now.len())
                .map(|i| MARKET * (0..now.len()).map(|j| of.covariance.at(i, j) * now[j]).sum::<f64>())
                .collect()
        }
        other => return Err(Failure::usage(format!("--returns {other}: there are equilibrium and history"))),
    };
    let views = views(&args.view, &returns.names)?;
    black_litterman(&of.covariance, &prior, &views, TAU)
        .ok_or_else(|| Failure::usage("--view: nothing can be made of these views together".to_owned()))
}

fn said(
    args: &PortfolioArgs,
    of: &Estimate,
    portfolio: &Portfolio,
    lines: &[Line],
    (then, traded, is_partial): (&Then, f64, bool),
) -> String {
    let mut text = format!(
        "{} bars{}; covariance shrunk by {:.0} %; {}, expected by {}{}\n\n",
        of.rows,
        of.regime.map_or(String::new(), |regime| format!(" of the {regime} regime, which is now")),
        100.0 * of.shrunk,
        args.by,
        args.returns,
        match args.view.len() {
            0 => String::new(),
            1 => " and a view".to_owned(),
            n => format!(" and {n} views"),
        },
    );
    if args.regime && of.regime.is_none() {
        text.push_str("no two regimes can be told apart with enough bars: all bars count\n\n");
    }
    let _ = writeln!(
        text,
        "{:<12} {:>8} {:>8} {:>8} {:>9} {:>18} {:>10}",
        "asset", "now", "wanted", "risk", "trade", "expected a year", "deviation"
    );
    let percent = |x: f64| format!("{:.1} %", 100.0 * x);
    for l in lines {
        // A mean is worth what its error says; what equilibrium implies has none of its own.
        let error = if args.returns == "history" && args.view.is_empty() {
            format!(" ± {:.0} %", 100.0 * l.expected_error)
        } else {
            String::new()
        };
        let expected = percent(l.expected) + &error;
        // Less than is shown is nothing, and nothing has no sign.
        let trade = if l.trade.abs() < 5e-4 { 0.0 } else { 100.0 * l.trade };
        let _ = writeln!(
            text,
            "{:<12} {:>8} {:>8} {:>8} {:>+7.1} % {:>18} {:>10}",
            l.asset,
            percent(l.now),
            percent(l.wanted),
            percent(l.risk),
            trade,
            expected,
            percent(l.deviation)
        );
    }
    let held = 1.0 - lines.iter().map(|l| l.now).sum::<f64>();
    if portfolio.cash > 0.0 || held > 1e-9 {
        let _ = writeln!(text, "{:<12} {:>8} {:>8}", "cash", percent(held.max(0.0)), percent(portfolio.cash));
    }
    let _ = write!(
        text,
        "\n{} of everything is traded; then expected {} a year, deviation {}{}",
        percent(traded),
        percent(then.expected),
        percent(then.deviation),
        if then.cash > 5e-4 { format!(", cash {}", percent(then.cash)) } else { String::new() }
    );
    if is_partial {
        text.push_str("\nthe limit of turnover binds: this is a part of the way");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        ["A", "B-C", "D"].map(str::to_owned).to_vec()
    }

    #[test]
    fn what_is_wanted_is_read_or_refused() {
        assert_eq!(objective("moderate").unwrap(), Objective::MeanVariance { risk_aversion: 3.0 });
        assert_eq!(objective("target-return=0.25").unwrap(), Objective::TargetReturn(0.25));
        for wrong in ["moderate=3", "target-return", "target-return=much", "luck", ""] {
            assert!(objective(wrong).unwrap_err().message.contains("--by"), "{wrong}");
        }
        let views = |text: &str| views(&[text.to_owned()], &names());
        assert_eq!(views("A-D=0.05").unwrap()[0].of, [1.0, 0.0, -1.0]);
        assert_eq!(views("B-C=-0.1").unwrap()[0].of, [0.0, 1.0, 0.0]);
        assert_eq!(views("B-C-D=0.1").unwrap()[0].of, [0.0, 1.0, -1.0]);
        for wrong in ["A", "A=x", "A-E=0.1", "E=0.1", "A-A=0.1", "=0.1", "-=1"] {
            assert!(views(wrong).unwrap_err().message.contains("--view"), "{wrong}");
        }
        let held =
            |texts: &[&str]| holdings(&texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>(), &names());
        assert_eq!(held(&["A=0.5", "D=0.2"]).unwrap(), [0.5, 0.0, 0.2]);
        assert_eq!(held(&[]).unwrap(), [1.0 / 3.0; 3]);
        for wrong in [vec!["A"], vec!["A=2"], vec!["A=0.7", "D=0.7"], vec!["E=0.1"], vec!["A=0.1", "A=0.2"]] {
            assert!(held(&wrong).unwrap_err().message.contains("--now"), "{wrong:?}");
        }
    }
}
