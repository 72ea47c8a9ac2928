//! `kimera guard`: takes everything back at the venue where nobody else can any more. A process of its own that shares
//! nothing with the engine but the state directory: it looks at the pulses of engine and supervisor, writes the kill word,
//! and speaks to the venue over connections of its own.
//!
//! * [`sweep`]: cancels everything and sees that nothing stands

pub mod sweep;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use kimera_protocol::TradingState;
use kimera_runtime::{KillWord, Listener, Pulse, errors};

use crate::claim::Claim;
use crate::config::Config;
use crate::credentials;
use crate::engine::interrupt_flag;
use crate::exit::{Exit, Failure};
use crate::log;
use crate::log::Category::{Risk, System, Trading};
use crate::report::SCHEMA_VERSION;
use crate::state::Layout;
use kimera_protocol::ErrorKind;
use sweep::{Swept, Venue};

/// Arguments of `kimera guard`.
#[derive(Debug, Args)]
pub struct GuardArgs {
    /// Configuration file.
    #[arg(long, default_value = "config/profiles/paper.toml")]
    config: PathBuf,
    /// State directory of the run.
    #[arg(long)]
    state: PathBuf,
    /// File with the venue's addresses [default: the state directory's].
    #[arg(long)]
    endpoints: Option<PathBuf>,
    /// Halt and cancel everything now, and end.
    #[arg(long)]
    now: bool,
    /// How long engine and supervisor have to be silent [default: the configuration's].
    #[arg(long)]
    silence_ms: Option<u64>,
    /// One JSON object on stdout, with --now.
    #[arg(long, requires = "now")]
    json: bool,
}

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Between two sweeps while nobody has come back.
const AGAIN: Duration = Duration::from_secs(1);
/// A venue that does not answer for this long while nobody is there has gone as well.
const VENUE_GONE: Duration = Duration::from_secs(30);

/// Guards, or takes everything back at once.
///
/// # Errors
/// What could not be had; with `--now`, what still stands.
pub fn run(a: &GuardArgs) -> Result<Exit, Failure> {
    let config = Config::load(&a.config)?;
    if !a.state.is_dir() {
        return Err(Failure::asked_wrongly(format!("{} is no state directory", a.state.display())));
    }
    let layout = Layout::of(&a.state);
    let endpoints = a.endpoints.clone().unwrap_or_else(|| layout.endpoints());
    let word = open_word(&layout.kill_word())?;
    if a.now {
        return now(a, &config, &layout, &endpoints, &word);
    }
    let _claim = Claim::take(&layout.lock("guard"), "guard")?;
    let _log = log::thread::begin("guard", &config.log, &layout.log("guard"))?;
    let log = layout.errors("guard");
    errors::keep_in(&log).map_err(|e| Failure::machine(format!("cannot use {}: {e}", log.display())))?;
    let ms = a.silence_ms.unwrap_or_else(|| config.supervision.guard_silence_ms.into());
    let mut guard = Guard {
        venue: Venue::new(&config, &endpoints, credentials::of(&layout)?),
        word,
        halt_file: layout.halt_file(),
        engine: Listener::new(pulse(&layout, "engine")?),
        supervisor: Listener::new(pulse(&layout, "supervisor")?),
        silence: Duration::from_millis(ms),
        asked: Arc::default(),
        acting: None,
    };
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, guard.asked.clone())
        .map_err(|e| Failure::machine(format!("cannot take a signal: {e}")))?;
    guard.watch(&pulse(&layout, "guard")?, interrupt_flag()?.as_ref())
}

fn open_word(path: &Path) -> Result<KillWord, Failure> {
    KillWord::open(path).map_err(|e| Failure::machine(format!("cannot use the kill word: {e}")))
}

fn pulse(layout: &Layout, process: &str) -> Result<Pulse, Failure> {
    let path = layout.pulse(process);
    Pulse::open(&path).map_err(|e| Failure::machine(format!("cannot use {}: {e}", path.display())))
}

fn now(
    a: &GuardArgs,
    config: &Config,
    layout: &Layout,
    endpoints: &Path,
    word: &KillWord,
) -> Result<Exit, Failure> {
    let begun = Instant::now();
    // The word first, whatever comes after: nothing leaves any more.
    let halted = word.halt();
    let swept = Venue::new(config, endpoints, credentials::of(layout)?).sweep()?;
    halted.map_err(|e| {
        Failure::machine(format!("everything is taken back, but the halt is not on disk: {e}"))
    })?;
    let ms = begun.elapsed().as_secs_f64() * 1e3;
    let text = if a.json {
        let Swept { stood, left, requests } = swept;
        let value = serde_json::json!({
            "schema_version": SCHEMA_VERSION, "stood": stood, "left": left, "requests": requests, "ms": ms,
        });
        value.to_string()
    } else {
        format!("halted; {swept} in {ms:.1} ms; trading resumes with: kimera ctl trading.resume")
    };
    writeln!(std::io::stdout(), "{text}").map_err(|e| Failure::machine(format!("cannot write: {e}")))?;
    Ok(if swept.left == 0 { Exit::Ok } else { Exit::Failed })
}

/// Since when nobody is there, and what came of it.
struct Acting {
    next: Instant,
    answered: Instant,
    said: Option<String>,
}

struct Guard {
    venue: Venue,
    word: KillWord,
    halt_file: PathBuf,
    engine: Listener,
    supervisor: Listener,
    silence: Duration,
    asked: Arc<AtomicBool>,
    acting: Option<Acting>,
}

impl Guard {
    /// True where nobody is there who could take the orders back.
    fn is_alone(&mut self) -> bool {
        let (engine, supervisor) = (self.engine.silence(), self.supervisor.silence());
        // One that has ended in order, or never begun, is gone and not silent.
        let silent = |silence: Option<Duration>| silence.is_some_and(|silence| silence >= self.silence);
        let (engine_silent, supervisor_silent) = (silent(engine), silent(supervisor));
        (engine_silent && (supervisor_silent || supervisor.is_none()))
            || (supervisor_silent && engine.is_none())
    }

    fn watch(&mut self, own: &Pulse, stop: &AtomicBool) -> Result<Exit, Failure> {
        while !stop.load(Ordering::Acquire) {
            own.beat();
            if self.halt_file.exists() && self.word.get().state != TradingState::Halted {
                self.halt(&format!("{} exists", self.halt_file.display()));
            }
            if self.asked.swap(false, Ordering::AcqRel) {
                self.halt("asked by a signal");
                self.sweep();
            }
            if self.is_alone() {
                if !self.act() {
                    own.rest();
                    return Err(Failure::network("engine and supervisor are silent, and so is the venue"));
                }
            } else if self.acting.take().is_some() {
                log::say(System, "somebody is there again; what was halted stays halted");
            }
            std::thread::sleep(LOOK);
        }
        own.rest();
        Ok(Exit::Ok)
    }

    fn halt(&self, why: &str) {
        errors::note(ErrorKind::Network, "guard", &format!("halted: {why}"));
        match self.word.halt() {
            Ok(word) => log::warn(Risk, &format!("halted (epoch {})", word.epoch)),
            Err(e) => log::alarm(Risk, &format!("halted: {why}; but the kill word is not on disk: {e}")),
        }
    }

    fn sweep(&self) -> Option<String> {
        match self.venue.sweep() {
            Ok(swept) => {
                let text = swept.to_string();
                log::warn(Trading, &text);
                Some(text)
            }
            Err(e) => {
                log::alarm(Trading, &e.message);
                None
            }
        }
    }

    /// Takes everything back, again and again while nobody is there; false where the venue is gone too.
    fn act(&mut self) -> bool {
        let now = Instant::now();
        if self.acting.is_none() {
            self.halt(&format!("engine and supervisor have been silent for {} ms", self.silence.as_millis()));
            self.acting = Some(Acting { next: now, answered: now, said: None });
        }
        let Some(mut acting) = self.acting.take().filter(|acting| now >= acting.next) else { return true };
        match self.venue.sweep() {
            Ok(swept) => {
                acting.answered = now;
                let text = (swept.stood > 0 || acting.said.is_none()).then(|| swept.to_string());
                if let Some(text) = text {
                    log::warn(Trading, &text);
                    acting.said = Some(text);
                }
            }
            Err(e) if acting.said.as_ref() != Some(&e.message) => {
                log::fault(e.kind, "guard", &e.message);
                acting.said = Some(e.message);
            }
            Err(_) => {}
        }
        acting.next = now + AGAIN;
        let there = acting.answered.elapsed() < VENUE_GONE;
        self.acting = Some(acting);
        there
    }
}
