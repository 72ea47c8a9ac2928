//! The launcher's run: venue, guard and engine as child processes, a live line a second, the summary at the end.
//!
//! * [`directory`]: the state directory and its one supervisor; [`arguments`]: what the children are started with
//! * [`family`]: the children, started or taken up, watched, started again
//! * [`process`]: one child
//! * [`control`]: the control socket
//! * [`restarts`]: how often a child that has fallen is started again
//! * [`live_line`]: how a run goes, once a second; [`tuning`]: the machine's settings while it lasts

pub mod arguments;
pub mod control;
pub mod directory;
pub mod family;
pub mod live_line;
pub mod process;
pub mod restarts;
pub mod tuning;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use kimera_runtime::plan::available_cores;
use kimera_runtime::{KillWord, Pulse, errors};

use crate::config::{Config, chosen};
use crate::control::Server;
use crate::credentials;
use crate::exit::{Exit, Failure};
use crate::log;
use crate::log::Category::{Risk, System};
use crate::machine::Machine;
use crate::report::EngineSummary;
use crate::shadow;
use crate::state::Layout;
use arguments::Arguments;
use control::{Children, SupervisorHandler};
use family::Family;

/// Arguments of a launch.
#[derive(Clone, Debug)]
pub struct LaunchOptions {
    /// Configuration file.
    pub config: PathBuf,
    /// State directory; a fresh one where none.
    pub state: Option<PathBuf>,
    /// Market time after which the run ends.
    pub market_ns: Option<i64>,
    /// Market nanoseconds per nanosecond.
    pub speed: u32,
    /// Core plan instead of the configuration's.
    pub plan: Option<String>,
    /// Port of the venue's first market; 0 lets the system choose.
    pub port: u16,
    /// One JSON object on stdout.
    pub json: bool,
    /// Say what would be done and do nothing.
    pub dry_run: bool,
    /// Tune the machine for as long as this runs.
    pub tune: bool,
    /// As the engine's.
    pub canary: bool,
    /// As the venue's.
    pub drop_fill: Option<u64>,
    /// As the engine's.
    pub faults: bool,
}

/// Between two beats of the supervisor's pulse.
const BEAT: Duration = Duration::from_millis(100);

/// Launches venue, guard and engine, or takes up those that run, and waits for the end of the run.
///
/// # Errors
/// What could not be started, or what the engine said when it failed.
pub fn run(options: &LaunchOptions) -> Result<Exit, Failure> {
    let config = Config::load(&options.config)?;
    let state = directory::state_directory(options.state.as_deref(), options.dry_run);
    let layout = Layout::of(&state);
    let arguments = Arguments::new(options, &config, &state);
    if options.dry_run {
        if options.tune {
            tuning::say_what_would_be(&config, options.plan.as_deref())?;
        }
        return arguments::dry_run(&state, &arguments);
    }
    if !config.data.join("tape.toml").exists() {
        return Err(Failure::missing(format!(
            "the recording {} is missing; start from the project's folder or name one in \"data\"",
            config.data.join("tape.toml").display()
        )));
    }
    let _lock = directory::take(&state, &layout)?;
    let tuned = if options.tune { tuning::hold(&config, options.plan.as_deref())? } else { None };
    let interrupts = count_interrupts()?;
    halt_on_signal(&layout)?;
    log::configure("supervisor", &config.log, true);
    log::say(System, &format!("state: {}", state.display()));
    let log = layout.errors("supervisor");
    errors::keep_in(&log).map_err(|e| Failure::machine(format!("cannot use {}: {e}", log.display())))?;
    let pulse = Beating::start(&layout)?;
    let children = Arc::new(Children::default());
    let name = options.plan.as_deref().unwrap_or(&config.plan);
    let handler = SupervisorHandler {
        layout: layout.clone(),
        children: children.clone(),
        supervision: config.supervision.clone(),
        plan: chosen(name, &Machine::default(), &available_cores()).ok().map(|chosen| chosen.plan),
    };
    let socket = Server::start(&layout.socket("control"), &layout.audit(), Box::new(handler))?;
    let credentials = credentials::for_run(&layout)?;
    let mut family = Family::new(&config, layout.clone(), arguments, credentials, children);
    let ended = family.run(&interrupts).inspect_err(|e| {
        // Who ends a run by hand makes no error.
        if e.code != Exit::Interrupted {
            e.note("supervisor");
        }
    });
    family.close(ended.is_err());
    drop((socket, pulse, tuned));
    ended?;
    finish(options, &layout, interrupts.load(Ordering::Acquire) > 0)
}

/// The supervisor's pulse, until this is dropped.
struct Beating {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Beating {
    fn start(layout: &Layout) -> Result<Self, Failure> {
        let path = layout.pulse("supervisor");
        let fail = |e: std::io::Error| Failure::machine(format!("cannot use {}: {e}", path.display()));
        let pulse = Pulse::open(&path).map_err(fail)?;
        pulse.beat();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let beat = move || {
            while !stopped.load(Ordering::Acquire) {
                pulse.beat();
                std::thread::park_timeout(BEAT);
            }
            pulse.rest();
        };
        let thread = std::thread::Builder::new().name("pulse".into()).spawn(beat).map_err(fail)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// `SIGUSR1` halts: the kill word is written by a thread of its own, whatever the rest is doing.
///
/// # Errors
/// Where the signal cannot be had.
pub fn halt_on_signal(layout: &Layout) -> Result<(), Failure> {
    let fail = |e: std::io::Error| Failure::machine(format!("cannot take SIGUSR1: {e}"));
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGUSR1]).map_err(fail)?;
    let path = layout.kill_word();
    let halt = move || {
        for _ in signals.forever() {
            match KillWord::open(&path).and_then(|word| word.halt()) {
                Ok(word) => log::warn(Risk, &format!("halted by a signal (epoch {})", word.epoch)),
                Err(e) => log::alarm(Risk, &format!("a signal asked for a halt: {e}")),
            }
        }
    };
    std::thread::Builder::new().name("halt".into()).spawn(halt).map(|_| ()).map_err(fail)
}

fn finish(options: &LaunchOptions, layout: &Layout, interrupted: bool) -> Result<Exit, Failure> {
    let path = layout.summary();
    let text = std::fs::read_to_string(&path)
        .map_err(|e| Failure::data(format!("the engine left no summary in {}: {e}", path.display())))?;
    let summary: EngineSummary =
        serde_json::from_str(&text).map_err(|e| Failure::data(format!("{}: {e}", path.display())))?;
    let text = if options.json { text } else { summary.to_text() };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.trim_end())
        .map_err(|e| Failure::machine(format!("cannot write the summary: {e}")))?;
    let shadow = shadow::last_status(layout);
    if let Some(status) = shadow.as_ref().filter(|_| !options.json) {
        writeln!(out, "{}", shadow::summary_line(status)).map_err(Failure::machine)?;
    }
    if shadow.is_some_and(|status| status.difference.is_some()) {
        return Ok(Exit::Failed);
    }
    Ok(if interrupted { Exit::Interrupted } else { Exit::Ok })
}

fn count_interrupts() -> Result<Arc<AtomicUsize>, Failure> {
    let count = Arc::new(AtomicUsize::new(0));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let fail = |e: std::io::Error| Failure::machine(format!("cannot take signal {signal}: {e}"));
        let mut signals = signal_hook::iterator::Signals::new([signal]).map_err(fail)?;
        let count = count.clone();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for _ in signals.forever() {
                    count.fetch_add(1, Ordering::AcqRel);
                }
            })
            .map_err(fail)?;
    }
    Ok(count)
}
