//! `kimera bench compare A B`: is B slower than A? Both are built, and run in rounds beside one another on one core; the
//! interval of the rounds' ratio says whether there is a change.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use clap::{Args, ValueEnum};
use kimera_runtime::plan::available_cores;
use serde_json::json;

use super::beside::{Beside, Scratch};
use super::statistics::{Ratio, interval, median, quantile};
use crate::builds::Build;
use crate::cli::print;
use crate::exit::{Exit, Failure};
use crate::log;
use crate::log::Category::System;
use crate::report::SCHEMA_VERSION;

/// Changes smaller than this are none: less than what code at other addresses makes.
const LEAST: f64 = 0.01;
/// An interval that reaches further than this from one, on either side, does not say that there is no change.
const TELLS: f64 = 0.05;

/// Parts of the recording: both sides take turns part by part, so that what the machine does meanwhile meets both.
const PARTS: usize = 32;
/// Orders in a part that say something.
const SAMPLES: usize = 16;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Metric {
    /// Half of the frames that lead to an order take no longer.
    #[value(name = "frame_to_order")]
    FrameToOrder,
    /// Half of all frames take no longer.
    #[value(name = "frame_to_rest")]
    FrameToRest,
    /// 99 of 100 of the frames that lead to an order take no longer.
    #[value(name = "frame_to_order_p99")]
    FrameToOrderTail,
}

impl Metric {
    /// The ratio of one round, and what both sides took: parts against parts, so that a machine that changes its mind
    /// meanwhile meets both.
    fn compare(self, a: &[Part], b: &[Part]) -> (f64, (f64, f64)) {
        let all = |parts: &[Part], rests: bool| -> Vec<f64> {
            parts.iter().flat_map(|p| if rests { &p.rests } else { &p.orders }).copied().collect()
        };
        let rests = self == Self::FrameToRest;
        let q = if self == Self::FrameToOrderTail { 0.99 } else { 0.5 };
        let of = (quantile(&all(a, rests), q), quantile(&all(b, rests), q));
        if self == Self::FrameToOrderTail {
            return (of.1 / of.0.max(1.0), of);
        }
        let take = |part: &Part| if rests { part.rests.clone() } else { part.orders.clone() };
        let enough = a.iter().zip(b).map(|(a, b)| (take(a), take(b))).filter(|(a, _)| a.len() >= SAMPLES);
        let ratios: Vec<f64> = enough.map(|(a, b)| median(&b) / median(&a).max(1.0)).collect();
        (median(&ratios), of)
    }
}

/// What one side has measured in one part of the recording, ns.
struct Part {
    orders: Vec<f64>,
    rests: Vec<f64>,
    fingerprint: String,
}

/// Arguments of `kimera bench compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// A revision (`HEAD~3`), or `.` for this very program; with `+shadow`, `+stat`, `+explain` behind it: while those
    /// run on the other cores.
    a: String,
    /// Another one, or the same in other surroundings: `.+shadow+stat`.
    b: String,
    /// What is compared.
    #[arg(long, value_enum, default_value = "frame_to_order")]
    metric: Metric,
    /// Rounds: in each, both are measured once, in turns.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(5..=1_000))]
    rounds: u32,
    /// State directory of a run, for what reads one (`+shadow`, `+explain`) [default: one that is made].
    #[arg(long)]
    state: Option<PathBuf>,
    /// One JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// What is measured: a build and what goes on beside it.
struct Side {
    name: String,
    build: Build,
    slower: u64,
    beside: Vec<&'static str>,
}

impl Side {
    /// # Errors
    /// A revision that cannot be built, surroundings that nobody knows.
    fn parse(text: &str) -> Result<Self, Failure> {
        let mut parts = text.split('+');
        let build = Build::of(parts.next().unwrap_or("."))?;
        let mut side = Self { name: text.to_owned(), build, slower: 0, beside: Vec::new() };
        for part in parts {
            match (part, part.strip_prefix("slower=").and_then(|n| n.parse().ok())) {
                (_, Some(per_cent)) => side.slower = per_cent,
                ("shadow", _) => side.beside.push("shadow"),
                ("stat", _) => side.beside.push("stat"),
                ("explain", _) => side.beside.push("explain"),
                _ => {
                    return Err(Failure::usage(format!(
                        "\"+{part}\": there are +shadow, +stat and +explain"
                    )));
                }
            }
        }
        Ok(side)
    }

    /// The program, waiting for what it is to measure.
    fn start(&self, core: usize, counters: Option<&Path>) -> Result<Server, Failure> {
        let mut command = Command::new(self.build.program());
        command.args(["bench", "frame-to-order", "--serve", "--core", &core.to_string()]);
        command.arg("--config").arg(self.build.profile());
        if let Some(counters) = counters {
            command.arg("--counters").arg(counters);
        }
        if self.slower > 0 {
            command.args(["--slower", &self.slower.to_string()]);
        }
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|e| Failure::machine(format!("cannot start {}: {e}", self.name)))?;
        let (Some(ask), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::defect("a program without stdin and stdout"));
        };
        Ok(Server { name: self.name.clone(), child, ask, answers: BufReader::new(answers) })
    }
}

/// A program that measures parts of the recording.
struct Server {
    name: String,
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Server {
    /// Goes through the first part once without counting it.
    fn warm_up(&mut self) -> Result<Vec<Part>, Failure> {
        self.measure(0).map(|_| Vec::new())
    }

    /// Measures a part, with everything beside it that belongs to it.
    fn measure(&mut self, part: usize) -> Result<Part, Failure> {
        let mut line = String::new();
        let asked = writeln!(self.ask, "{part} {PARTS}").and_then(|()| self.ask.flush());
        let answered = asked.and_then(|()| self.answers.read_line(&mut line));
        let mut fields = line.trim().split(';');
        let (Some(fingerprint), Some(orders), Some(rests), Ok(_)) =
            (fields.next(), fields.next(), fields.next(), answered)
        else {
            let mut said = String::new();
            let _ = self.child.stderr.take().map(|mut e| e.read_to_string(&mut said));
            return Err(Failure::defect(format!("{} does not measure: {}", self.name, said.trim())));
        };
        // What comes first finds the caches as the other side has left them.
        let numbers = |text: &str| {
            let all: Vec<f64> = text.split(' ').filter_map(|n| n.parse().ok()).collect();
            all[all.len() / 8..].to_vec()
        };
        Ok(Part { orders: numbers(orders), rests: numbers(rests), fingerprint: fingerprint.to_owned() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Compares.
///
/// # Errors
/// What cannot be built or measured; two sides that do not send the same orders.
pub fn run(a: &CompareArgs) -> Result<Exit, Failure> {
    let sides = [Side::parse(&a.a)?, Side::parse(&a.b)?];
    let core = available_cores().last().copied().ok_or_else(|| Failure::machine("there is no core"))?;
    let scratch = Scratch::make()?;
    let read = match &a.state {
        Some(state) => state.clone(),
        None if sides.iter().all(|side| side.beside.is_empty()) => PathBuf::new(),
        None => scratch.run()?,
    };
    let (mut pairs, mut ratios, mut same_work) = (Vec::new(), Vec::new(), true);
    for number in 1..=a.rounds {
        // Programs of their own in every round: where their memory lies is a part of chance.
        // Both count in a file where one of them is read there.
        let counts = sides.iter().any(|side| side.beside.contains(&"stat"));
        let server = |i: usize| sides[i].start(core, counts.then_some(scratch.side(i)?.as_path()));
        // Who is started first changes from round to round.
        let mut servers = if number.is_multiple_of(2) {
            [server(0)?, server(1)?]
        } else {
            let second = server(1)?;
            [server(0)?, second]
        };
        let mut rounds = [servers[0].warm_up()?, servers[1].warm_up()?];
        let start = |i: usize| Beside::start(&sides[i].beside, core, &read, &scratch.side(i)?);
        let beside = [start(0)?, start(1)?];
        for part in 0..PARTS {
            // Who goes first changes from part to part.
            for i in if (number as usize + part).is_multiple_of(2) { [0, 1] } else { [1, 0] } {
                beside[i].go_on();
                rounds[i].push(servers[i].measure(part)?);
                beside[i].pause();
            }
        }
        let [first, second] = &rounds;
        same_work &= first.iter().zip(second).all(|(a, b)| a.fingerprint == b.fingerprint);
        let (ratio, of) = a.metric.compare(first, second);
        if !a.json {
            log::say(
                System,
                &format!("round {number:>3}: {:>9.0} ns {:>9.0} ns  ratio {ratio:.4}", of.0, of.1),
            );
        }
        ratios.push(ratio);
        pairs.push(of);
    }
    let ratio = interval(&ratios, u64::from(a.rounds));
    let verdict = verdict(&ratio);
    let of =
        |i: usize| median(&pairs.iter().map(|pair| if i == 0 { pair.0 } else { pair.1 }).collect::<Vec<_>>());
    if a.json {
        print(&json!({
            "schema_version": SCHEMA_VERSION, "metric": format!("{:?}", a.metric), "a": sides[0].name, "b": sides[1].name,
            "a_ns": of(0), "b_ns": of(1), "ratio": ratio, "rounds": a.rounds, "same_orders": same_work, "verdict": verdict,
        }).to_string())?;
    } else {
        print(&format!(
            "{}: {:.0} ns, {}: {:.0} ns; ratio {:.4}, 99 % interval {:.4} to {:.4} over {} rounds: {verdict}{}",
            sides[0].name,
            of(0),
            sides[1].name,
            of(1),
            ratio.ratio,
            ratio.low,
            ratio.high,
            a.rounds,
            if same_work { "" } else { "\nthey do not send the same orders: it is not the same work" }
        ))?;
    }
    Ok(Exit::Ok)
}

fn verdict(ratio: &Ratio) -> &'static str {
    if ratio.low > 1.0 && ratio.ratio > 1.0 + LEAST {
        "slower"
    } else if ratio.high < 1.0 && ratio.ratio < 1.0 - LEAST {
        "faster"
    } else if ratio.low < 1.0 - TELLS || ratio.high > 1.0 + TELLS {
        "cannot tell, more rounds would"
    } else {
        "no change"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_that_is_too_wide_says_nothing() {
        let of = |low, ratio, high| verdict(&Ratio { ratio, low, high });
        assert_eq!(of(0.99, 1.002, 1.02), "no change");
        assert_eq!(of(0.99, 1.02, 1.26), "cannot tell, more rounds would");
        assert_eq!(of(0.94, 0.99, 1.01), "cannot tell, more rounds would");
        assert_eq!(of(1.03, 1.05, 1.07), "slower");
        assert_eq!(of(0.93, 0.95, 0.97), "faster");
        // A change, and too small to be one.
        assert_eq!(of(1.002, 1.005, 1.008), "no change");
    }
}
